# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry in etcd: which keys there are, their JSON, and the transactions that change them.

P/unit/<name>                   what a user asked for: options and desired state
P/machine/<id>                  a machine that is present, under its lease
P/metadata/<id>/<key>           metadata set through the API, over the configured one; "" hides a key
P/cordon/<id>                   a machine that takes no more units, and whether it is being drained
P/schedule/<id>/<name>          what that machine's agent has to do
P/state/<name>/<id>             what that machine's agent says, under its machine's lease
P/leader                        the engine that decides, under its machine's lease
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from flagship.etcd import Client, Compare, Delete, Put
from flagship.fleet.model import (
    DESIRED_STATES,
    Cordon,
    Entry,
    Machine,
    ModelError,
    Unit,
    UnitState,
    check_desired_state,
    check_name,
)
from flagship.fleet.unit_file import Option


class RecordError(Exception):
    """A record that is not one of ours, or is damaged; the message is one sentence that names the key."""


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix.rstrip('/')}/"
        self.leader = f"{self.prefix}leader"
        self.states = f"{self.prefix}state/"

    def unit(self, name: str) -> str:
        return f"{self.prefix}unit/{name}"

    def machine(self, machine: str) -> str:
        return f"{self.prefix}machine/{machine}"

    def metadata(self, machine: str, key: str) -> str:
        return f"{self.prefix}metadata/{machine}/{key}"

    def cordon(self, machine: str) -> str:
        return f"{self.prefix}cordon/{machine}"

    def schedule_of(self, machine: str) -> str:
        """The prefix that one machine's agent follows."""
        return f"{self.prefix}schedule/{machine}/"

    def schedule(self, machine: str, name: str) -> str:
        return self.schedule_of(machine) + name

    def state(self, name: str, machine: str) -> str:
        return f"{self.states}{name}/{machine}"

    def parts(self, key: str) -> tuple[str, ...]:
        """A key as its kind and the names in it; RecordError when it is no key of the registry."""
        kind, *names = key.removeprefix(self.prefix).split("/")
        lengths = {"unit": 1, "machine": 1, "metadata": 2, "cordon": 1, "schedule": 2, "state": 2, "leader": 0}
        if not key.startswith(self.prefix) or lengths.get(kind) != len(names) or not all(names):
            raise RecordError(f"etcd key {key!r} is not part of the fleet registry and is ignored")
        if kind in ("unit", "schedule", "state"):
            try:
                check_name(names[-1] if kind == "schedule" else names[0])
            except ModelError as error:
                raise RecordError(f"etcd key {key!r} is ignored: {error}") from None
        return kind, *names


def _dump(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def _load(key: str, value: bytes) -> Mapping[str, Any]:
    try:
        text = value.decode()
        record = json.loads(text)
        if "\\ud" in text.lower():
            # JSON may hold half of a surrogate pair, which nobody could write to a file or hash.
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise RecordError(
            f"the value of etcd key {key!r} is not a JSON object in UTF-8 and is ignored; write it again or delete it"
        )
    return record


def _text(key: str, record: Mapping[str, Any], member: str) -> str:
    value = record.get(member, "")
    if not isinstance(value, str):
        raise RecordError(f"member {member!r} of etcd key {key!r} is no string; the record is ignored")
    return value


def _options(options: Iterable[Option]) -> list[dict[str, str]]:
    return [{"section": o.section, "name": o.name, "value": o.value} for o in options]


def _load_options(key: str, record: Mapping[str, Any]) -> tuple[Option, ...]:
    options = record.get("options")
    if not isinstance(options, list) or not all(isinstance(option, dict) for option in options):
        raise RecordError(f"etcd key {key!r} has no list of options; the record is ignored")
    return tuple(Option(_text(key, o, "section"), _text(key, o, "name"), _text(key, o, "value")) for o in options)


def dump_unit(unit: Unit | Entry) -> bytes:
    """The value of a unit's key, and of its entries in a schedule."""
    restarts = {"restarts": unit.restarts} if unit.restarts else {}
    return _dump({"options": _options(unit.options), "desired_state": unit.desired_state, **restarts})


def load_unit(key: str, name: str, value: bytes) -> Unit:
    record = _load(key, value)
    try:
        state = check_desired_state(_text(key, record, "desired_state"))
    except ModelError as error:
        raise RecordError(f"etcd key {key!r} is ignored: {error}") from None
    restarts = record.get("restarts", 0)
    if not isinstance(restarts, int) or isinstance(restarts, bool):
        raise RecordError(f"member 'restarts' of etcd key {key!r} is no number; the record is ignored")
    return Unit(name, _load_options(key, record), state, restarts)


def load_entry(key: str, name: str, value: bytes) -> Entry:
    return load_unit(key, name, value).entry


def dump_machine(machine: Machine) -> bytes:
    return _dump({**asdict(machine), "metadata": dict(machine.metadata)})


def load_machine(key: str, machine: str, value: bytes) -> Machine:
    record = _load(key, value)
    metadata = record.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise RecordError(f"the metadata of etcd key {key!r} are no strings; the record is ignored")
    if _text(key, record, "id") != machine:
        raise RecordError(f"etcd key {key!r} is the record of another machine and is ignored")
    address, boot_id, version = (_text(key, record, member) for member in ("primary_ip", "boot_id", "version"))
    return Machine(machine, address, metadata, boot_id, version)


def dump_state(state: UnitState) -> bytes:
    return _dump(asdict(state))


def load_state(key: str, value: bytes) -> UnitState:
    record = _load(key, value)
    members = ("hash", "load_state", "active_state", "sub_state", "current_state")
    state = UnitState(*(_text(key, record, member) for member in members))
    # fleetctl 1.0.0 crashes over a short hash, and waits for ever without a current state.
    if state.current_state not in DESIRED_STATES or not re.fullmatch("([0-9a-f]{40})?", state.hash):
        raise RecordError(f"etcd key {key!r} is no state of a unit and is ignored")
    return state


def dump_cordon(cordon: Cordon) -> bytes:
    return _dump(asdict(cordon))


def load_cordon(key: str, value: bytes) -> Cordon:
    record = _load(key, value)
    drain, moving = record.get("drain", False), record.get("moving", [])
    if not isinstance(drain, bool) or not isinstance(moving, list) or not all(isinstance(n, str) for n in moving):
        raise RecordError(f"etcd key {key!r} is no order to cordon or drain; the machine counts as cordoned")
    return Cordon(drain, tuple(moving))


def dump_leader(machine: str) -> bytes:
    return _dump({"machine_id": machine})


def load_leader(key: str, value: bytes) -> str:
    """The machine whose engine decides."""
    return _text(key, _load(key, value), "machine_id")


class Store:
    """What clients change: units, one transaction each (what was read is replaced, or nothing is), and metadata."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.timeout = client.connection.timeout

    def read(self, name: str) -> tuple[Unit | None, int]:
        """The unit now, and the revision to give to `write` or `delete`: 0 when there is none.

        A record that cannot be read is no unit, but has a revision: it may be written over or deleted.
        """
        key = self._keys.unit(name)
        found = self._client.get(key)
        if found is None:
            return None, 0
        try:
            return load_unit(key, name, found.value), found.mod_revision
        except RecordError:
            return None, found.mod_revision

    def write(self, unit: Unit, revision: int) -> int | None:
        """Create or replace the unit if it is still at *revision*; the new revision, or None when it is not."""
        key = self._keys.unit(unit.name)
        result = self._client.txn([Compare(key, "mod", revision)], [Put(key, dump_unit(unit))])
        return result.revision if result.succeeded else None

    def delete(self, name: str, revision: int) -> int | None:
        """Delete the unit if it is still at *revision*; the new revision, or None when it is not."""
        key = self._keys.unit(name)
        result = self._client.txn([Compare(key, "mod", revision)], [Delete(key)])
        return result.revision if result.succeeded else None

    def set_cordon(self, machine: str, cordon: Cordon | None) -> int:
        """Cordon or drain a machine, or with None neither any more; the new revision."""
        key = self._keys.cordon(machine)
        change = Delete(key) if cordon is None else Put(key, dump_cordon(cordon))
        return self._client.txn([], [change]).revision

    def set_metadata(self, machine: str, key: str, value: str) -> int:
        """Lay a value over a machine's configured metadata, "" to hide the key; the new revision."""
        return self._client.put(self._keys.metadata(machine, key), value.encode())
