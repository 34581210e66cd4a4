# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of etcd_key wants, and what has to be written for it. All pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    MAX_OPERATIONS,
    Change,
    ConflictError,
    EtcdError,
    KeyValue,
    RevisionError,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import (
    from_bytes,
    same_value,
    shown,
    text_of,
    to_bytes,
)

# etcd takes requests of 1.5 MiB; the names and revisions of a batch's keys need some of it.
MAX_BATCH_BYTES = 1_000_000
# etcd's own limit, 285 years.
MAX_TTL = 9_000_000_000
MAX_REVISION = 2**63 - 1


class Wanted(NamedTuple):
    """A key as the task wants it: value None removes it, lease_ttl None keeps the lease that it has."""

    value: bytes | None
    lease_ttl: int | None = None
    value_type: str = "text"


class Plan(NamedTuple):
    """What to do: put, delete or nothing (empty); whether a put needs a lease of its own; a lease to refresh, or 0."""

    action: str
    new_lease: bool = False
    refresh: int = 0


def check_task(params: Mapping[str, Any]) -> None:
    """Raises EtcdError for options that cannot be meant together."""
    present = params["state"] == "present"
    for option, highest in (("lease_ttl", MAX_TTL), ("compare_revision", MAX_REVISION)):
        number = params[option]
        if number is not None and not 0 <= number <= highest:
            problem = "negative; give 0 or more" if number < 0 else f"too large; give at most {highest}"
            raise EtcdError(f"{option} {number} is {problem}")
    if params["key"] is not None:
        if not params["key"]:
            raise EtcdError("its name is empty; give one such as /services/website/nginx@1")
        if params["prefix"] is not None:
            raise EtcdError("prefix is for many keys; give key or prefix, not both")
        if present and params["value"] is None:
            raise EtcdError("state is present but all of the following are missing: value; give it, it may be empty")
    for option in ("value", "compare_revision", "compare_value"):
        if params["key"] is None and params[option] is not None:
            raise EtcdError(f"{option} is for one key; leave it out, every key of a mapping is guarded by itself")
    if params["prefix"] is not None:
        _check_prefix(params, present)
    elif params["purge"]:
        raise EtcdError("purge needs to know where; set prefix to what the keys begin with that may be removed")
    for key in params["mapping"] or ():
        if not str(key):
            raise EtcdError("the mapping has a key without a name; give one such as /services/website/nginx@1")
        if params["prefix"] is not None and not str(key).startswith(params["prefix"]):
            raise EtcdError(f"{shown(str(key))} does not begin with the prefix {params['prefix']}; correct one of them")


def _check_prefix(params: Mapping[str, Any], present: bool) -> None:
    if not params["prefix"]:
        raise EtcdError("the prefix is empty, which would be every key of the cluster; give one such as /services/")
    if present and not params["purge"]:
        raise EtcdError("a prefix alone says nothing of present keys; set purge, or leave prefix out")
    if not present and params["mapping"] is not None:
        raise EtcdError("prefix and mapping would both say what is absent; give one of them")
    if not present and params["purge"]:
        raise EtcdError("purge belongs to keys that are present; leave it out when state is absent")
    if present and params["mapping"] is None:
        raise EtcdError("purge removes what is not in the mapping, but there is none; give mapping")
    if not params["confirm_removal"] and not (present and params["mapping"]):
        what = "the mapping is empty, so purge" if present else "this"
        raise EtcdError(
            f"{what} would remove every key that begins with {params['prefix']}; set confirm_removal if it shall"
        )


def wanted_keys(params: Mapping[str, Any]) -> dict[str, Wanted]:
    """The keys that the task names, as it wants them; raises EtcdError for a value that is not of its type."""
    values = {params["key"]: params["value"]} if params["key"] is not None else params["mapping"] or {}
    value_type = params["value_type"]
    wanted = {}
    for key, value in values.items():
        if params["state"] == "absent":
            wanted[str(key)] = Wanted(None)
            continue
        try:
            wanted[str(key)] = Wanted(to_bytes(value, value_type), params["lease_ttl"], value_type)
        except EtcdError as error:
            raise EtcdError(f"{shown(str(key))}: {error}" if params["key"] is None else str(error)) from error
    return wanted


def decide(wanted: Wanted, found: KeyValue | None, granted_ttl: int) -> Plan:
    """Compare the key with what is wanted; granted_ttl (seconds) is that of the lease found, 0 for none."""
    if wanted.value is None:
        return Plan("delete" if found else "")
    lease_differs = wanted.lease_ttl is not None and wanted.lease_ttl != granted_ttl
    refresh = found.lease if found and wanted.lease_ttl and not lease_differs else 0
    if found is None or lease_differs or not same_value(found.value, wanted.value, wanted.value_type):
        return Plan("put", new_lease=bool(wanted.lease_ttl) and lease_differs, refresh=refresh)
    return Plan("", refresh=refresh)


def check_expected(params: Mapping[str, Any], found: KeyValue | None) -> None:
    """Raises ConflictError if the key that has to be written is not as the task expects it."""
    key, revision, value = params["key"], params["compare_revision"], params["compare_value"]
    if revision is not None and revision != (found.mod_revision if found else 0):
        raise RevisionError(key, found, revision)
    if value is None:
        return
    if found is None:
        raise ConflictError(key, "does not exist but compare_value expects a value", None)
    if not same_value(found.value, to_bytes(value, params["value_type"]), params["value_type"]):
        raise ConflictError(key, f"has another value than compare_value, since revision {found.mod_revision}", found)


def lease_for(wanted: Wanted, found: KeyValue | None) -> int:
    """The lease for a put that needs no new one: the one found, unless none is wanted."""
    return found.lease if found and wanted.lease_ttl != 0 else 0


def batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in their order, in groups that etcd takes as one transaction."""
    batch: list[Change] = []
    size = 0
    for change in changes:
        # A key's name is there in the comparison, in the write, and in the reading that explains a conflict.
        weight = len(change.value or b"") + 3 * len(change.key.encode("utf-8", "surrogateescape"))
        if batch and (len(batch) == MAX_OPERATIONS or size + weight > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += weight
    if batch:
        yield batch


def described(found: KeyValue | None, value_type: str = "text") -> dict[str, Any] | None:
    """A key as the module returns it."""
    if found is None:
        return None
    return {
        "value": _value_text(found.value, value_type),
        "revision": found.mod_revision,
        "create_revision": found.create_revision,
        "lease": found.lease,
    }


def predicted(wanted: Wanted) -> dict[str, Any] | None:
    """What check mode returns of a key that would be written: only its value is known."""
    if wanted.value is None:
        return None
    value = _value_text(wanted.value, wanted.value_type)
    return {"value": value, "revision": None, "create_revision": None, "lease": None}


def diff_of_key(key: str, wanted: Wanted, found: KeyValue | None, granted_ttl: int) -> dict[str, str]:
    """The values; the leases are shown only if the task says something about them."""
    return {
        "before_header": shown(key),
        "after_header": shown(key),
        "before": _text(found.value if found else None, wanted, granted_ttl),
        "after": _text(wanted.value, wanted, wanted.lease_ttl or 0),
    }


def diff_of_keys(header: str, diffs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The diffs of several keys as one, each value below its key's name."""

    def text(side: str) -> str:
        return "".join(f"{diff[side + '_header']}:\n{diff[side]}" for diff in diffs if diff[side])

    return {"before_header": header, "after_header": header, "before": text("before"), "after": text("after")}


def _text(value: bytes | None, wanted: Wanted, lease_ttl: int) -> str:
    if value is None:
        return ""
    lease = "" if wanted.lease_ttl is None else f"# lease_ttl: {lease_ttl}\n"
    return f"{lease}{text_of(value)}\n"


def _value_text(value: bytes, value_type: str) -> str:
    return str(from_bytes(value, "base64") if value_type == "base64" else text_of(value))
