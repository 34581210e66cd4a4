# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: from a snapshot of units, machines and schedule to decisions. Pure, deterministic, sticky.

A unit stays where it is until something forbids it. On a present machine it has to be gone before it is placed
again, and before anything that conflicts with it may come. On a machine that is gone it is withdrawn only in
the same step that places it elsewhere: a unit for which there is no other place is found running when its machine
returns, and is not stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flagship.fleet.board import Board
from flagship.fleet.drain import groups
from flagship.fleet.model import INACTIVE, Cordon, Entry, Machine, Unit, name_parts
from flagship.fleet.requirements import Requirements, requirements


@dataclass(frozen=True)
class Cluster:
    """What placement looks at.

    `machines` are present, with effective metadata. `schedule` is machine to unit to entry. `awaited` are machines
    that are absent but not yet to be called dead. `unreadable` are units whose record cannot be read: they are
    left exactly as they are. `cordons` are orders to cordon or drain a machine, by its id; of the units that these
    name as moving, `unsettled` are those that do not run elsewhere yet.
    """

    units: Mapping[str, Unit] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)
    schedule: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()
    cordons: Mapping[str, Cordon] = field(default_factory=dict)
    unsettled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """One entry to write: `place` a unit, `withdraw` it, `update` the entry of a unit that stays, or `drain`.

    To drain is to withdraw a unit for no other reason than that its machine is being drained.
    """

    kind: Literal["place", "withdraw", "update", "drain"]
    unit: str
    machine: str
    entry: Entry


def plan(cluster: Cluster) -> list[Decision]:
    """Decisions that bring the schedule in line, by unit name; none when it already is."""
    return _Planner(cluster).decisions()


def why_not(cluster: Cluster, name: str) -> dict[str, str]:
    """For each present machine, why unit *name* does not run there; "" for the machines it is scheduled to."""
    planner = _Planner(cluster)
    unit = cluster.units.get(name)
    if name in cluster.unreadable:
        reason = "the unit's record cannot be read, so nothing is changed; submit the unit again"
    elif unit is None:
        reason = "no such unit"
    elif not _is_active(unit):
        reason = "its desired state is inactive"
    else:
        return planner.reasons(name)
    return dict.fromkeys(sorted(cluster.machines), reason)


def drain_report(cluster: Cluster, machine: str) -> dict[str, str]:
    """The units on a present machine, and for each what keeps it there while the machine is being drained."""
    return _Planner(cluster).remaining(machine)


def _is_active(unit: Unit) -> bool:
    return unit.desired_state != INACTIVE and not name_parts(unit.name).is_template


class _Planner:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.active = {
            name: unit for name, unit in cluster.units.items() if _is_active(unit) and name not in cluster.unreadable
        }
        self.needs: dict[str, Requirements] = {n: requirements(n, u.options) for n, u in self.active.items()}
        self.held: dict[str, list[str]] = {}
        self.lost: dict[str, list[str]] = {}
        self.leaving: dict[str, set[str]] = {}
        self.withdrawn: list[tuple[str, str]] = []
        self.drained: list[tuple[str, str]] = []
        self.placed: set[tuple[str, str]] = set()
        self.evicted: set[str] = set()
        self.stopping: list[tuple[str, str, Requirements]] = []
        fixed = self._read_schedule()
        self.followers: dict[str, list[str]] = {}
        for name in sorted(self.needs):
            for peer in self.needs[name].machine_of:
                self.followers.setdefault(peer, []).append(name)
        stopping = [(name, needs) for name, _machine, needs in self.stopping]
        self.board = Board(cluster.machines, self.needs, stopping, cluster.cordons)
        for name, machine in fixed:
            self.board.put(name, machine)
        self._keep()
        self._leave()
        self._place_globals()
        self._place(self._unplaced())
        while self._replace():
            pass
        for machine in sorted(cluster.cordons.keys() & cluster.machines.keys()):
            self._drain(machine)

    def _read_schedule(self) -> list[tuple[str, str]]:
        """Sort the entries into held, lost, leaving and to withdraw; return those that are not to be touched."""
        fixed: list[tuple[str, str]] = []
        for machine in sorted(self.cluster.schedule):
            reachable = machine in self.cluster.machines or machine in self.cluster.awaited
            for name, entry in self.cluster.schedule[machine].items():
                if name in self.cluster.unreadable:
                    self.needs.setdefault(name, requirements(name, entry.options))
                    if not entry.withdrawn:
                        fixed.append((name, machine))
                elif entry.withdrawn:
                    if reachable:
                        self._stops(name, machine, requirements(name, entry.options))
                elif name in self.active:
                    (self.held if reachable else self.lost).setdefault(name, []).append(machine)
                elif name in self.cluster.units or not entry.damaged:
                    self.withdrawn.append((name, machine))
                    if reachable:
                        self._stops(name, machine, requirements(name, entry.options))
        return fixed

    def _stops(self, name: str, machine: str, needs: Requirements) -> None:
        self.leaving.setdefault(name, set()).add(machine)
        self.stopping.append((name, machine, needs))

    def _leave(self) -> None:
        """Let the board know what still stops: it keeps others from coming, but pushes out none that stands."""
        for name, machine, needs in self.stopping:
            self.board.leave(name, machine, needs)
        self.stopping.clear()

    def _keep(self) -> None:
        """Stand every unit that may stay where it is; withdraw the others."""
        stays: dict[tuple[str, str], None] = {}
        for name in sorted(self.held):
            machines = sorted(self.held[name], key=lambda m: (m not in self.cluster.machines, m))
            if not self.needs[name].is_global:
                for extra in machines[1:]:
                    self._withdraw(name, extra)
                machines = machines[:1]
            for machine in machines:
                if machine in self.cluster.awaited or machine in self.board.eligible(self.needs[name]):
                    stays[name, machine] = None
                else:
                    self._withdraw(name, machine)
        # Peers first: what has to go for its peer's sake must not push out anything by its conflicts.
        here: dict[str, set[str]] = {name: set(machines) for name, machines in self.board.where.items()}
        for name, machine in stays:
            here.setdefault(name, set()).add(machine)
        queue = deque(stays)
        while queue:
            name, machine = queue.popleft()
            if (name, machine) not in stays or machine in self.cluster.awaited:
                continue
            if not all(machine in here.get(peer, ()) for peer in self.needs[name].machine_of):
                del stays[name, machine]
                here[name].discard(machine)
                self._withdraw(name, machine)
                queue.extend((follower, machine) for follower in self.followers.get(name, ()))
        gone: list[tuple[str, str]] = []
        for name, machine in stays:
            if self.board.bars(name, machine) and machine not in self.cluster.awaited:
                self._withdraw(name, machine)
                gone.append((name, machine))
            else:
                self.board.put(name, machine)
        for name, machine in gone:
            self._drop_followers(name, machine)

    def _withdraw(self, name: str, machine: str) -> None:
        self.withdrawn.append((name, machine))
        self._stops(name, machine, self.needs[name])

    def _drop(self, name: str, machine: str) -> None:
        """Take a standing unit off the board, and its followers with it; one placed in this very pass never started."""
        self.board.take(name, machine)
        if (name, machine) in self.placed:
            self.placed.discard((name, machine))
        else:
            self._withdraw(name, machine)

    def _drop_followers(self, name: str, machine: str) -> None:
        queue = deque(self.followers.get(name, ()))
        while queue and machine not in self.cluster.awaited:
            follower = queue.popleft()
            if follower in self.active and machine in self.board.where.get(follower, ()):
                self._drop(follower, machine)
                queue.extend(self.followers.get(follower, ()))

    def _place_globals(self) -> None:
        for name in sorted(n for n in self.active if self.needs[n].is_global):
            taken = {*self.board.where.get(name, ()), *self.leaving.get(name, ())}
            for machine in sorted(self.board.eligible(self.needs[name]) - taken - self.cluster.cordons.keys()):
                if self.board.peers_at(name, machine) and not self.board.bars(name, machine):
                    self._put(name, machine)

    def _unplaced(self) -> list[str]:
        return [
            name
            for name in sorted(self.active)
            if not self.needs[name].is_global and not self.board.where.get(name) and not self.leaving.get(name)
        ]

    def _put(self, name: str, machine: str) -> None:
        self.board.put(name, machine)
        self.placed.add((name, machine))

    def _place(self, names: Iterable[str]) -> None:
        """Place *names* in order; a unit whose peer comes later is tried again when the peer stands."""
        queue = deque(names)
        while queue:
            name = queue.popleft()
            if self.board.where.get(name) or self.leaving.get(name) or self.needs[name].is_global:
                continue
            machine = self.board.find(name)
            if machine is not None:
                self._put(name, machine)
                queue.extendleft(f for f in reversed(self.followers.get(name, ())) if f in self.active)

    def _replace(self) -> bool:
        """Part a unit from one on its machine that replaces it, if another machine can take it; True if one moved."""
        for name in sorted(self.board.replaced_by):
            places = self.board.where.get(name)
            if name not in self.active or self.needs[name].is_global or not places or name in self.evicted:
                continue
            machine = next(iter(places))
            # A unit that follows the one it replaces would go with it, for ever.
            replacers = set(self.board.replacers_at(name, machine)) - self._following(name)
            if machine not in self.cluster.machines or not replacers:
                continue
            if self.board.find(name, other_than=machine) is not None:
                self.evicted.add(name)
                self._drop(name, machine)
                self._drop_followers(name, machine)
                self._leave()
                self._place(self._unplaced())
                return True
        return False

    def _movable(self, machine: str) -> list[list[str]]:
        """What a drain can take from *machine*, by groups; global units have nowhere else to go."""
        here = (n for n in self.board.units_on[machine] if n in self.active and not self.needs[n].is_global)
        return groups(here, self.needs)

    def _waits_for(self, machine: str) -> list[str]:
        """What has to come to rest before a drain takes the next units from *machine*."""
        unsettled = self.cluster.unsettled.intersection(self.cluster.cordons[machine].moving)
        return sorted(unsettled | {name for name, machines in self.leaving.items() if machine in machines})

    def _drain(self, machine: str) -> None:
        """Let the first group go that has a place elsewhere, unless one is on its way still."""
        if not self.cluster.cordons[machine].drain or self._waits_for(machine):
            return
        group = next((group for group in self._movable(machine) if self._has_place(group, machine)), [])
        for name in group:
            self.board.take(name, machine)
            self.drained.append((name, machine))
            self._stops(name, machine, self.needs[name])
        self._leave()

    def _has_place(self, group: list[str], machine: str) -> bool:
        """Whether all of *group* would be placed if it left *machine* now; the board stays as it is."""
        before = set(self.placed)
        for name in group:
            self.board.take(name, machine)
        self._place(group)
        found = all(self.board.where[name] for name in group)
        for name, where in self.placed - before:
            self.board.take(name, where)
        self.placed = before
        for name in group:
            self.board.put(name, machine)
        return found

    def _following(self, name: str) -> set[str]:
        """Followers of *name*, their followers and so on."""
        found: set[str] = set()
        queue = deque([name])
        while queue:
            new = set(self.followers.get(queue.popleft(), ())) - found
            found |= new
            queue.extend(new)
        return found

    def decisions(self) -> list[Decision]:
        found: list[Decision] = []
        schedule = self.cluster.schedule
        for name, machine in self.withdrawn:
            # The next pass has to see the conflicts that this one has decided by.
            options = (self.active.get(name) or schedule[machine][name]).options
            found.append(Decision("withdraw", name, machine, Entry(options, INACTIVE)))
        for name, machine in self.drained:
            found.append(Decision("drain", name, machine, Entry(self.active[name].options, INACTIVE)))
        for name, unit in self.active.items():
            standing = self.board.where.get(name, set())
            for machine in standing:
                entry = schedule.get(machine, {}).get(name)
                if entry is None:
                    found.append(Decision("place", name, machine, unit.entry))
                elif entry != unit.entry:
                    found.append(Decision("update", name, machine, unit.entry))
            for machine in self.lost.get(name, ()):
                entry = schedule[machine][name]
                if standing and not self.needs[name].is_global:
                    found.append(Decision("withdraw", name, machine, Entry(entry.options, INACTIVE)))
                elif entry != unit.entry:
                    found.append(Decision("update", name, machine, unit.entry))
        found.sort(key=lambda d: (d.unit, d.kind not in ("withdraw", "drain"), d.machine))
        return found

    def remaining(self, machine: str) -> dict[str, str]:
        found = {name: "it is still stopping here" for name, places in self.leaving.items() if machine in places}
        found |= dict.fromkeys(self.board.units_on[machine], "")
        cordon = self.cluster.cordons.get(machine, Cordon())
        if cordon.drain:
            found |= dict.fromkeys(self.board.units_on[machine], "a global unit, or one that cannot be read, stays")
            waits = ", ".join(self._waits_for(machine))
            for group in self._movable(machine):
                reason = f"it goes when {waits} runs elsewhere" if waits else "it goes next"
                found |= dict.fromkeys(
                    group, reason if self._has_place(group, machine) else "no other machine takes it"
                )
        return dict(sorted(found.items()))

    def reasons(self, name: str) -> dict[str, str]:
        standing = self.board.where.get(name, set())
        found: dict[str, str] = {}
        for machine in sorted(self.cluster.machines):
            if machine in standing:
                found[machine] = ""
            elif machine in self.leaving.get(name, ()):
                found[machine] = "it is still stopping here"
            elif objection := self.board.objection(name, self.cluster.machines[machine]):
                found[machine] = objection
            elif standing:
                found[machine] = f"it could run here, and is on machine {', '.join(sorted(standing))}"
            else:
                busy = ", ".join(sorted(self.leaving.get(name, ())))
                found[machine] = f"it is still stopping on machine {busy}" if busy else "it will be placed next"
        return found
