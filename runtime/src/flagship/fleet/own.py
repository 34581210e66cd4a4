# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine's own part of the registry: the schedule it is given, and the states it gives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from flagship.etcd import Client, Compare, Delete, EtcdError, Event, KeyValue, LeaseKeeper, Operation, Put, Snapshot
from flagship.fleet import registry
from flagship.fleet.model import INACTIVE, Entry, UnitState
from flagship.fleet.registry import Keys, RecordError

log = logging.getLogger(__name__)

BATCH = 60


class Schedule:
    """Mirrors the schedule of one machine; handler of a Follower. *changed* is called after every change."""

    def __init__(self, keys: Keys, changed: Callable[[], None]) -> None:
        self._keys = keys
        self._changed = changed
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[Entry, int]] = {}
        self._complete = False

    def read(self) -> dict[str, tuple[Entry, int]] | None:
        """Each unit's entry with its revision; None while the schedule is not completely known and followed."""
        with self._lock:
            return dict(self._entries) if self._complete else None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def on_snapshot(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._entries = {}
            for item in snapshot.items.values():
                self._set(item)
            self._complete = True
        self._changed()

    def on_events(self, events: list[Event], revision: int) -> None:
        with self._lock:
            for event in events:
                if event.value is None:
                    self._entries.pop(event.key.rpartition("/")[2], None)
                else:
                    self._set(event.value)
        self._changed()

    def on_lost(self, error: EtcdError) -> None:
        log.warning("This machine's schedule cannot be followed, its units stay as they are: %s", error)
        with self._lock:
            self._complete = False
        self._changed()

    def _set(self, item: KeyValue) -> None:
        try:
            name = self._keys.parts(item.key)[-1]
        except RecordError as error:
            log.warning("%s.", error)
            return
        try:
            entry = registry.load_entry(item.key, name, item.value)
        except RecordError as error:
            log.warning("%s; the unit stays as it is.", error)
            entry = Entry((), INACTIVE, damaged=True)
        self._entries[name] = (entry, item.mod_revision)


class Publisher:
    """Writes what one machine's agent says; the methods raise EtcdError."""

    def __init__(self, client: Client, keys: Keys, machine: str, keeper: LeaseKeeper) -> None:
        self._client = client
        self._keys = keys
        self._machine = machine
        self._keeper = keeper
        self._states: dict[str, UnitState] = {}
        self._lease: int | None = None

    def publish(self, states: Mapping[str, UnitState]) -> None:
        """Make *states* what the registry has of this machine, under its lease, with as few writes as that takes."""
        lease = self._keeper.lease
        if lease is None:
            return
        if lease != self._lease:
            self._states, self._lease = {}, lease
        changes: dict[str, UnitState | None] = {n: s for n, s in states.items() if self._states.get(n) != s}
        changes.update(dict.fromkeys(self._states.keys() - states.keys()))
        names = list(changes)
        for at in range(0, len(names), BATCH):
            batch = names[at : at + BATCH]
            self._client.txn([], [self._change(name, changes[name], lease) for name in batch])
            for name in batch:
                state = changes[name]
                if state is None:
                    del self._states[name]
                else:
                    self._states[name] = state

    def _change(self, name: str, state: UnitState | None, lease: int) -> Operation:
        key = self._keys.state(name, self._machine)
        return Delete(key) if state is None else Put(key, registry.dump_state(state), lease)

    def acknowledge(self, withdrawals: Mapping[str, int]) -> None:
        """Delete entries and states of what is gone from here, each only if its entry still has the revision given."""
        names = list(withdrawals)
        for at in range(0, len(names), BATCH):
            batch = names[at : at + BATCH]
            if not self._acknowledge({name: withdrawals[name] for name in batch}):
                for name in batch:
                    self._acknowledge({name: withdrawals[name]})

    def _acknowledge(self, withdrawals: Mapping[str, int]) -> bool:
        compare = [Compare(self._keys.schedule(self._machine, n), "mod", r) for n, r in withdrawals.items()]
        gone: list[Operation] = [Delete(self._keys.schedule(self._machine, name)) for name in withdrawals]
        gone += [Delete(self._keys.state(name, self._machine)) for name in withdrawals]
        if not self._client.txn(compare, gone).succeeded:
            return False
        for name in withdrawals:
            self._states.pop(name, None)
        return True
