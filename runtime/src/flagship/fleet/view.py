# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror of the registry in memory, fed by one Follower: what the API reads and the engine decides on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flagship.etcd import EtcdError, Event, KeyValue, Snapshot
from flagship.fleet import registry
from flagship.fleet.model import INACTIVE, LOADED, Cordon, Entry, Machine, Unit, UnitState
from flagship.fleet.patience import Patience
from flagship.fleet.placement import Cluster
from flagship.fleet.registry import Keys, RecordError
from flagship.fleet.unit_file import Option

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leader:
    """The leader's key: whose it is ("" when unreadable) and what fences its writes."""

    machine: str
    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True)
class UnitView:
    """A unit as clients see it; `machine` is "" while it is not scheduled."""

    unit: Unit
    current_state: str
    machine: str


class View:
    """The registry as of `revision`, for any number of reading threads.

    A record that cannot be read is reported once and skipped. It is never a reason to stop anything: its unit is
    unreadable to placement, its entry damaged, its machine neither usable nor dead.
    """

    def __init__(self, keys: Keys, patience: Patience) -> None:
        self._keys = keys
        self._patience = patience
        self._changed = threading.Condition()
        self._records: dict[str, KeyValue] = {}
        self._clear()
        self._lost_at: float | None = None
        self._synced_then: float | None = None
        self._gone_at: dict[str, float] = {}
        self.version = 0
        """Counts the changes that there is anything to decide about: all but those of states, unless a drain waits."""
        self.revision = 0
        self.synced_since: float | None = None
        """When (time.monotonic) the registry began to be followed without an outage; None while it is not."""

    def _clear(self) -> None:
        self.units: dict[str, Unit] = {}
        self.unreadable: set[str] = set()
        self.machines: dict[str, Machine] = {}
        self.odd_machines: set[str] = set()
        self.metadata: dict[str, dict[str, str]] = {}
        self.cordons: dict[str, Cordon] = {}
        self.schedule: dict[str, dict[str, Entry]] = {}
        self.places: dict[str, set[str]] = {}
        self.states: dict[str, dict[str, UnitState]] = {}
        self.leader: Leader | None = None

    # The Follower's side.

    def on_snapshot(self, snapshot: Snapshot) -> None:
        with self._changed:
            gap = self.synced_since is None
            if gap:
                self.synced_since = self._synced_before_gap() or time.monotonic()
            same = self._records.keys() == snapshot.items.keys() and all(
                self._records[key].mod_revision == item.mod_revision for key, item in snapshot.items.items()
            )
            self.revision = max(self.revision, snapshot.revision)
            if not same:
                present = self.machines.keys() | self.odd_machines
                self._clear()
                self._records = {}
                for item in snapshot.items.values():
                    self._put(item)
                self._note_gone(present - self.machines.keys() - self.odd_machines)
            if gap or not same:
                self.version += 1
            self._changed.notify_all()

    def on_events(self, events: list[Event], revision: int) -> None:
        with self._changed:
            for event in events:
                if event.value is None:
                    self._delete(event.key)
                else:
                    self._put(event.value)
            self.revision = revision
            # A large placement is followed by thousands of states, and planning again for each would hold it up;
            # only a drain waits for them.
            draining = any(cordon.moving for cordon in self.cordons.values())
            if draining or not all(event.key.startswith(self._keys.states) for event in events):
                self.version += 1
            self._changed.notify_all()

    def on_lost(self, error: EtcdError) -> None:
        log.warning("The registry cannot be followed, nothing is decided meanwhile: %s", error)
        with self._changed:
            self._synced_then, self._lost_at = self.synced_since, time.monotonic()
            self.synced_since = None
            self.version += 1
            self._changed.notify_all()

    def _synced_before_gap(self) -> float | None:
        """Since when the registry was followed before a gap that was too short to be an outage."""
        brief = self._lost_at is not None and time.monotonic() - self._lost_at < self._patience.brief
        return self._synced_then if brief else None

    def _note_gone(self, machines: Iterable[str]) -> None:
        now = time.monotonic()
        self._gone_at = {m: at for m, at in self._gone_at.items() if now < at + self._patience.comeback}
        self._gone_at.update(dict.fromkeys(machines, now))

    def _put(self, item: KeyValue) -> None:
        self._records[item.key] = item
        try:
            kind, *names = self._keys.parts(item.key)
        except RecordError as error:
            log.warning("%s.", error)
            return
        try:
            self._set(kind, names, item)
        except RecordError as error:
            log.warning("%s.", error)
            self._set_unreadable(kind, names, item)

    def _set(self, kind: str, names: list[str], item: KeyValue) -> None:
        key, value = item.key, item.value
        if kind == "unit":
            self.units[names[0]] = registry.load_unit(key, names[0], value)
            self.unreadable.discard(names[0])
        elif kind == "machine":
            self.machines[names[0]] = registry.load_machine(key, names[0], value)
            self.odd_machines.discard(names[0])
        elif kind == "metadata":
            self.metadata.setdefault(names[0], {})[names[1]] = value.decode("utf-8", "replace")
        elif kind == "cordon":
            self.cordons[names[0]] = registry.load_cordon(key, value)
        elif kind == "schedule":
            self._set_entry(names, registry.load_entry(key, names[1], value))
        elif kind == "state":
            self.states.setdefault(names[0], {})[names[1]] = registry.load_state(key, value)
        else:
            self._set_leader(item, registry.load_leader(key, value))

    def _set_unreadable(self, kind: str, names: list[str], item: KeyValue) -> None:
        if kind == "unit":
            self.units.pop(names[0], None)
            self.unreadable.add(names[0])
        elif kind == "machine":
            self.machines.pop(names[0], None)
            self.odd_machines.add(names[0])
        elif kind == "cordon":
            self.cordons[names[0]] = Cordon()
        elif kind == "schedule":
            self._set_entry(names, Entry((), INACTIVE, damaged=True))
        elif kind == "state":
            self.states.get(names[0], {}).pop(names[1], None)
        elif kind == "leader":
            self._set_leader(item, "")

    def _set_entry(self, names: list[str], entry: Entry) -> None:
        machine, name = names
        self.schedule.setdefault(machine, {})[name] = entry
        self.places.setdefault(name, set()).add(machine)

    def _set_leader(self, item: KeyValue, machine: str) -> None:
        self.leader = Leader(machine, item.create_revision, item.mod_revision, item.lease)

    def _delete(self, key: str) -> None:
        self._records.pop(key, None)
        try:
            kind, *names = self._keys.parts(key)
        except RecordError:
            return
        if kind == "unit":
            self.units.pop(names[0], None)
            self.unreadable.discard(names[0])
        elif kind == "machine":
            self.machines.pop(names[0], None)
            self.odd_machines.discard(names[0])
            self._note_gone(names)
        elif kind == "cordon":
            self.cordons.pop(names[0], None)
        elif kind == "leader":
            self.leader = None
        else:
            tables: dict[str, dict[str, dict[str, Any]]] = {
                "metadata": self.metadata, "schedule": self.schedule, "state": self.states
            }  # fmt: skip
            table = tables[kind]
            table.get(names[0], {}).pop(names[1], None)
            if not table.get(names[0], True):
                del table[names[0]]
            if kind == "schedule":
                self.places.get(names[1], set()).discard(names[0])
                if not self.places.get(names[1], True):
                    del self.places[names[1]]

    # The readers' side.

    @property
    def synced(self) -> bool:
        """Whether the mirror follows the registry now."""
        return self.synced_since is not None

    def wait_revision(self, revision: int, timeout: float) -> bool:
        """Wait up to *timeout* seconds until the mirror shows *revision*; whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: self.revision >= revision, timeout)

    def wait_change(self, seen: int, timeout: float | None) -> int:
        """Wait until `version` is not *seen* any more, up to *timeout* seconds; returns it."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != seen, timeout)
            return self.version

    def wake(self) -> None:
        """Let every waiting thread look again."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()

    def read(self, reader: Callable[[View], Any]) -> Any:
        """What *reader* makes of the view while nothing changes in it."""
        with self._changed:
            return reader(self)

    def record(self, key: str) -> KeyValue | None:
        """A key of the registry as it is stored."""
        with self._changed:
            return self._records.get(key)

    def effective_machines(self) -> list[Machine]:
        """Present machines with effective metadata, by id."""
        with self._changed:
            return [m.with_overlay(self.metadata.get(m.id, {})) for _id, m in sorted(self.machines.items())]

    def bury(self, machine: str) -> None:
        """Call a machine dead whose record has just gone: nobody waits for it to come back."""
        with self._changed:
            self._gone_at.pop(machine, None)

    def verdict(self, machine: str) -> float:
        """When (time.monotonic) a machine that is absent may be called dead: a whole TTL after an outage.

        It is infinite for one whose record cannot be read.
        """
        with self._changed:
            if self.synced_since is None or machine in self.odd_machines:
                return math.inf
            gone_at = self._gone_at.get(machine, -math.inf)
            return max(self.synced_since + self._patience.ttl, gone_at + self._patience.comeback)

    def cluster(self) -> Cluster:
        """What placement decides on."""
        with self._changed:
            absent = self.schedule.keys() - self.machines.keys()
            now = time.monotonic()
            return Cluster(
                units=dict(self.units),
                machines={machine.id: machine for machine in self.effective_machines()},
                schedule={machine: dict(entries) for machine, entries in self.schedule.items()},
                awaited=frozenset(machine for machine in absent if now < self.verdict(machine)),
                unreadable=frozenset(self.unreadable),
                cordons=dict(self.cordons),
                unsettled=frozenset(n for c in self.cordons.values() for n in c.moving if not self._settled(n)),
            )

    def _settled(self, name: str) -> bool:
        """Whether a unit that had to move has arrived: it runs, is a job that has ended well, or is wanted no more."""
        unit = self.units.get(name)
        if unit is None or unit.desired_state == INACTIVE:
            return True
        places = self._scheduled(name)
        state = self.states.get(name, {}).get(places[0]) if places else None
        if state is None or state.current_state != unit.desired_state:
            return False
        # Between its start and systemd's first signal a service is inactive too.
        ends = Option("Service", "Type", "oneshot") in unit.options
        return unit.desired_state == LOADED or state.active_state in (("active", "inactive") if ends else ("active",))

    def unit(self, name: str) -> UnitView | None:
        """A unit with its machine and its current state; None when there is no such unit."""
        with self._changed:
            unit = self.units.get(name)
            return None if unit is None else self._view_of(unit)

    def stored_unit(self, name: str) -> tuple[Unit | None, int]:
        """The unit and the revision of its record, as Store.read has them, but as of the view's own revision."""
        with self._changed:
            record = self._records.get(self._keys.unit(name))
            return (self.units.get(name), record.mod_revision) if record else (None, 0)

    def unit_list(self) -> list[UnitView]:
        """All units, by name."""
        with self._changed:
            return [self._view_of(self.units[name]) for name in sorted(self.units)]

    def state_of(self, name: str) -> tuple[str, UnitState] | None:
        """The machine and state of a unit: where it is scheduled, else where it has not stopped yet."""
        with self._changed:
            states = self.states.get(name, {})
            places = self._scheduled(name) or sorted(self.places.get(name, ()))
            return next(((machine, states[machine]) for machine in places if machine in states), None)

    def state_list(self) -> list[tuple[str, str, UnitState]]:
        """All states as (unit, machine, state), in that order."""
        with self._changed:
            return [(n, m, self.states[n][m]) for n in sorted(self.states) for m in sorted(self.states[n])]

    def _scheduled(self, name: str) -> list[str]:
        """Machines that the unit is scheduled to and not withdrawn from, present ones first."""
        places = [m for m in self.places.get(name, ()) if not self.schedule[m][name].withdrawn]
        return sorted(places, key=lambda m: (m not in self.machines, m))

    def _view_of(self, unit: Unit) -> UnitView:
        states = self.states.get(unit.name, {})
        scheduled = self._scheduled(unit.name)
        if scheduled:
            state = states.get(scheduled[0])
            return UnitView(unit, state.current_state if state else INACTIVE, scheduled[0])
        still_there = any(machine in states for machine in self.places.get(unit.name, ()))
        return UnitView(unit, LOADED if still_there else INACTIVE, "")
