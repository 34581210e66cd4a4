# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that only keep their lease and acknowledge what they are given, any number of them in one process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flagship.etcd import Client, Delete, EtcdError, Event, Follower, Operation, Put, Snapshot
from flagship.etcd.rpc import etcdrpc
from flagship.fleet import registry
from flagship.fleet.model import Entry, Machine, UnitState
from flagship.fleet.registry import Keys

BATCH = 100


def write(client: Client, operations: Sequence[Operation]) -> None:
    """Carry out any number of operations, 100 in a transaction."""
    for at in range(0, len(operations), BATCH):
        client.txn([], operations[at : at + BATCH])


class Agents:
    """Handler of a Follower of all schedules.

    `entries` is what machines are to run, by (machine, unit), those of machines that are not simulated here too.
    """

    def __init__(self, client: Client, keys: Keys, machines: Sequence[str], ttl: int) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.leases = {machine: client.grant(ttl) for machine in machines}
        self._client = client
        self._keys = keys
        self._changed = threading.Condition()
        self._news: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._link = client.endpoints.open()
        self._keep_alive = self._link.lease.LeaseKeepAlive(self._requests(ttl / 3))
        self._threads = [
            threading.Thread(target=self._drain, daemon=True),
            threading.Thread(target=self._acknowledge, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        write(client, [Put(keys.machine(m), registry.dump_machine(Machine(m)), self.leases[m]) for m in machines])
        self._follower = Follower(client, f"{keys.prefix}schedule/", handler=self)
        self._follower.start()

    def stop(self) -> None:
        self._stop.set()
        self._news.put(None)
        self._keep_alive.cancel()
        self._follower.stop()
        for thread in self._threads:
            thread.join(10)
        self._link.close()

    def lose(self, machine: str) -> None:
        """End the machine's lease, as its death would after the TTL, and forget its entries."""
        with self._changed:
            lease = self.leases.pop(machine)
            self.entries = {key: entry for key, entry in self.entries.items() if key[0] != machine}
        self._client.revoke(lease)

    def wait_for(self, condition: Callable[[], bool], limit: float) -> bool:
        """Wait up to *limit* seconds until *condition* of the entries holds."""
        with self._changed:
            return self._changed.wait_for(condition, limit)

    def _requests(self, interval: float) -> Iterator[Any]:
        while not self._stop.is_set():
            for lease in list(self.leases.values()):
                yield etcdrpc.LeaseKeepAliveRequest(ID=lease)
            self._stop.wait(interval)

    def _drain(self) -> None:
        try:
            for _answer in self._keep_alive:
                pass
        except Exception:
            if not self._stop.is_set():
                raise

    def on_snapshot(self, snapshot: Snapshot) -> None:
        with self._changed:
            for item in snapshot.items.values():
                self._take(item.key, item.value)
            self._changed.notify_all()

    def on_events(self, events: list[Event], revision: int) -> None:
        with self._changed:
            for event in events:
                if event.value is not None:
                    self._take(event.key, event.value.value)
            self._changed.notify_all()

    def on_lost(self, error: EtcdError) -> None:
        raise error

    def _take(self, key: str, value: bytes) -> None:
        _kind, machine, name = self._keys.parts(key)
        entry = registry.load_entry(key, name, value)
        if self.entries.get((machine, name)) == entry:
            return
        if entry.withdrawn:
            self.entries.pop((machine, name), None)
        else:
            self.entries[machine, name] = entry
        if machine not in self.leases:
            return
        state_key = self._keys.state(name, machine)
        if entry.withdrawn:
            self._news.put(Delete(key))
            self._news.put(Delete(state_key))
            return
        state = UnitState(entry.hash, "loaded", "active", "running", entry.desired_state)
        self._news.put(Put(state_key, registry.dump_state(state), self.leases[machine]))

    def _acknowledge(self) -> None:
        while (first := self._news.get()) is not None:
            batch = [first]
            while len(batch) < BATCH and not self._news.empty():
                if (operation := self._news.get()) is not None:
                    batch.append(operation)
            write(self._client, batch)
