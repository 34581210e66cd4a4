# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of etcd's v3 API: keys, guarded writes, leases and watches. How to reach it: etcd_transport.py."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import (
    Change,
    CompactedError,
    ConflictError,
    Entry,
    EtcdError,
    KeyValue,
    Listing,
    RefusedError,
    RevisionError,
    UnreachableError,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_options import (
    check_connection,
    check_seconds,
    etcd_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_transport import ETCD3_IMPORT_ERROR, Transport

if ETCD3_IMPORT_ERROR is None:
    from etcd3 import etcdrpc

__all__ = [
    "ETCD3_IMPORT_ERROR",
    "MAX_OPERATIONS",
    "Change",
    "CompactedError",
    "ConflictError",
    "Entry",
    "EtcdClient",
    "EtcdError",
    "KeyValue",
    "Listing",
    "RefusedError",
    "RevisionError",
    "UnreachableError",
    "check_connection",
    "check_seconds",
    "etcd_argument_spec",
    "fail_without_library",
    "prefix_end",
]

# etcd takes 128 operations in one transaction unless its --max-txn-ops says otherwise.
MAX_OPERATIONS = 100


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with the prefix; a zero byte, which means no end, for the empty one."""
    stripped = encoded(prefix).rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class EtcdClient:
    """A cluster's key-value API, reached by the options of etcd_argument_spec.

    Every call ends within C{timeout} seconds, whatever number of endpoints it has to try, and raises EtcdError.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.transport = Transport(params)

    def __enter__(self) -> EtcdClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def get(self, key: str) -> KeyValue | None:
        """What the cluster's majority holds for the key, or None."""
        answer = self.transport.call("KV", "Range", etcdrpc.RangeRequest(key=encoded(key)))
        return _key_value(answer)

    def get_many(self, keys: Sequence[str]) -> dict[str, KeyValue]:
        """Those of the keys that exist."""
        found = {}
        for start in range(0, len(keys), MAX_OPERATIONS):
            batch = keys[start : start + MAX_OPERATIONS]
            answer = self.transport.call("KV", "Txn", etcdrpc.TxnRequest(success=[_read(key) for key in batch]))
            for key, response in zip(batch, answer.responses):
                value = _key_value(response.response_range)
                if value:
                    found[key] = value
        return found

    def listing(
        self,
        key: str,
        prefix: bool,
        keys_only: bool = False,
        limit: int = 0,
        sort_by: str = "key",
        descending: bool = False,
        revision: int = 0,
    ) -> Listing:
        """The key, or those that begin with it; at an earlier revision of the store if one is given."""
        request = etcdrpc.RangeRequest(key=encoded(key), keys_only=keys_only, limit=limit, revision=revision)
        if prefix:
            _set_range(request, key)
            request.sort_target = etcdrpc.RangeRequest.SortTarget.Value(
                {"key": "KEY", "create_revision": "CREATE", "revision": "MOD", "version": "VERSION"}[sort_by]
            )
            # Keys come in ascending order by themselves.
            if descending or sort_by != "key":
                request.sort_order = etcdrpc.RangeRequest.DESCEND if descending else etcdrpc.RangeRequest.ASCEND
        answer = self.transport.call("KV", "Range", request)
        return Listing([_entry(found) for found in answer.kvs], answer.count, answer.header.revision)

    def put_if_unchanged(self, key: str, value: bytes, lease: int, mod_revision: int) -> int:
        """Write the key if its last change was at the revision (0: if it does not exist); the new revision.

        Raises RevisionError, and has not written, if it was not.
        """
        return self.write([Change(key, value, lease, mod_revision)])[key]

    def delete_if_unchanged(self, key: str, mod_revision: int) -> None:
        """Remove the key if its last change was at the revision or it is gone; raises RevisionError otherwise."""
        self.write([Change(key, None, 0, mod_revision)])

    def write(self, changes: Sequence[Change]) -> dict[str, int]:
        """Do all the changes in one transaction, or none; the keys' revisions, 0 for one that is removed.

        A key that somebody else has brought to just what the change wants is left as it is. Raises RevisionError, and
        has not written, if a key was changed to anything else. At most MAX_OPERATIONS changes.
        """
        revisions: dict[str, int] = {}
        remaining = list(changes)
        while remaining:
            answer = self.transport.call(
                "KV",
                "Txn",
                etcdrpc.TxnRequest(
                    compare=[
                        etcdrpc.Compare(
                            key=encoded(change.key),
                            target=etcdrpc.Compare.MOD,
                            result=etcdrpc.Compare.EQUAL,
                            mod_revision=change.mod_revision,
                        )
                        for change in remaining
                    ],
                    success=[_write(change) for change in remaining],
                    failure=[_read(change.key) for change in remaining],
                ),
            )
            if answer.succeeded:
                revision = int(answer.header.revision)
                revisions.update((change.key, 0 if change.value is None else revision) for change in remaining)
                break
            found = [_key_value(response.response_range) for response in answer.responses]
            # An endpoint may have written and then died before it answered: the next one finds our own write.
            pending = [(change, now) for change, now in zip(remaining, found) if not _is_done(change, now)]
            for change, now in pending:
                if (now.mod_revision if now else 0) != change.mod_revision:
                    raise RevisionError(change.key, now, change.mod_revision)
            revisions.update(
                (change.key, now.mod_revision if now else 0)
                for change, now in zip(remaining, found)
                if _is_done(change, now)
            )
            remaining = [change for change, _now in pending]
        return revisions

    def delete_prefix(self, prefix: str, revision: int) -> None:
        """Remove all keys that begin with the prefix, or none and raise ConflictError if one is newer than the revision."""
        compare = etcdrpc.Compare(
            key=encoded(prefix),
            range_end=prefix_end(prefix),
            target=etcdrpc.Compare.MOD,
            result=etcdrpc.Compare.LESS,
            mod_revision=revision + 1,
        )
        delete = etcdrpc.DeleteRangeRequest(key=encoded(prefix), range_end=prefix_end(prefix))
        newer = etcdrpc.RangeRequest(
            key=encoded(prefix), range_end=prefix_end(prefix), min_mod_revision=revision + 1, limit=1
        )
        answer = self.transport.call(
            "KV",
            "Txn",
            etcdrpc.TxnRequest(
                compare=[compare],
                success=[etcdrpc.RequestOp(request_delete_range=delete)],
                failure=[etcdrpc.RequestOp(request_range=newer)],
            ),
        )
        if not answer.succeeded:
            entry = _entry(answer.responses[0].response_range.kvs[0])
            raise ConflictError(entry.key, f"was changed meanwhile, at revision {entry.mod_revision}", entry.key_value)

    def watch(self, key: str, prefix: bool, revision: int, deadline: float) -> Iterator[dict[str, Entry | None]]:
        """The changes from the revision on: keys as they are now, None for one that is gone.

        Ends at the deadline (monotonic). Raises UnreachableError when the connection breaks, CompactedError when changes are lost.
        """
        create = etcdrpc.WatchCreateRequest(key=encoded(key), start_revision=revision)
        if prefix:
            _set_range(create, key)
        request = etcdrpc.WatchRequest(create_request=create)
        lifetime = max(deadline - time.monotonic(), 0.001)
        for message in self.transport.stream("Watch", "Watch", request, lifetime=lifetime):
            if message.compact_revision:
                raise CompactedError("the cluster has compacted changes that were not seen yet")
            if message.canceled and "no leader" in message.cancel_reason:
                raise UnreachableError("the member that was watched has lost its cluster")
            if message.canceled:
                raise self.transport.refused(message.cancel_reason)
            if message.events:
                yield {
                    # The last one wins, as in the store.
                    event.kv.key.decode("utf-8", "surrogateescape"): None if event.type else _entry(event.kv)
                    for event in message.events
                }

    def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease of the time to live (seconds); its id, and the time to live that the server chose."""
        answer = self.transport.call("Lease", "LeaseGrant", etcdrpc.LeaseGrantRequest(TTL=ttl))
        return answer.ID, answer.TTL

    def granted_ttl(self, lease: int) -> int:
        """The time to live (seconds) that a lease was made for; 0 when there is no such lease."""
        request = etcdrpc.LeaseTimeToLiveRequest(ID=lease)
        return int(self.transport.call("Lease", "LeaseTimeToLive", request).grantedTTL)

    def refresh(self, lease: int) -> None:
        """Let a lease live for its whole time from now on; fine when it is gone."""
        self.transport.call("Lease", "LeaseKeepAlive", etcdrpc.LeaseKeepAliveRequest(ID=lease))

    def revoke(self, lease: int) -> None:
        """End a lease and remove the keys that hang on it."""
        self.transport.call("Lease", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=lease))


def fail_without_library(module: Any) -> None:
    """Fail the module if the Python library is missing."""
    # Not at the top: the lookup plugin has no module.
    from ansible.module_utils.basic import missing_required_lib

    if ETCD3_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("etcd3", reason="(on nodes of this collection, /opt/flagship/bin/python has it)"),
            exception=ETCD3_IMPORT_ERROR,
        )


def _set_range(request: Any, prefix: str) -> None:
    # The empty key is refused: all keys begin at the zero byte.
    request.key = encoded(prefix) or b"\0"
    request.range_end = prefix_end(prefix)


def _read(key: str) -> Any:
    return etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=encoded(key)))


def _write(change: Change) -> Any:
    key = encoded(change.key)
    if change.value is None:
        return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=key))
    return etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=key, value=change.value, lease=change.lease))


def _is_done(change: Change, found: KeyValue | None) -> bool:
    if change.value is None:
        return found is None
    return found is not None and (found.value, found.lease) == (change.value, change.lease)


def _key_value(answer: Any) -> KeyValue | None:
    return _entry(answer.kvs[0]).key_value if answer.kvs else None


def _entry(found: Any) -> Entry:
    key = found.key.decode("utf-8", "surrogateescape")
    return Entry(key, found.value, found.create_revision, found.mod_revision, found.version, found.lease)
