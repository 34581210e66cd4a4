# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The board that placement plays on: who stands where, and whom a machine can still take.

Each question costs what one unit has (its globs, its peers), never a walk over all units.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping

from flagship.fleet.globs import glob_matches
from flagship.fleet.model import Machine
from flagship.fleet.requirements import MACHINE, Requirements

_GLOB_SIGNS = frozenset("*?[\\")


def names_matching(glob: str, names: list[str]) -> Iterator[str]:
    """Members of the sorted list *names* that match *glob*; the glob's literal head limits the search."""
    head = ""
    for char in glob:
        if char in _GLOB_SIGNS:
            break
        head += char
    at = bisect_left(names, head)
    while at < len(names) and names[at].startswith(head):
        if glob_matches(glob, names[at]):
            yield names[at]
        at += 1


class Board:
    """Units on machines, and what that rules out.

    *machines* are the present ones, with effective metadata; *requirements* has every unit that may come to stand
    on the board, and *leaving* those that may only come to leave it, by name. *cordoned* machines take no more units.
    """

    def __init__(
        self,
        machines: Mapping[str, Machine],
        requirements: Mapping[str, Requirements],
        leaving: Iterable[tuple[str, Requirements]] = (),
        cordoned: Container[str] = (),
    ) -> None:
        self.machines = machines
        self.cordoned = cordoned
        self.requirements = requirements
        self.units_on: dict[str, set[str]] = {machine: set() for machine in machines}
        self.where: dict[str, set[str]] = {}
        self.leaving_on: dict[str, dict[str, Requirements]] = {}
        self._order = sorted((0, machine) for machine in machines)
        self._eligible: dict[object, frozenset[str]] = {}
        leaving = list(leaving)
        names = sorted({*requirements, *(name for name, _needs in leaving)})
        self._globs_on: dict[str, list[str]] = {}
        self.replaced_by: dict[str, list[str]] = {}
        every = [*requirements.values(), *(needs for _name, needs in leaving)]
        self._spread: dict[str, set[str]] = {}
        for needs in every:
            for key, glob in needs.spread:
                self._spread.setdefault(glob, set()).add(key)
        limited = (glob for needs in every for glob, _limit in needs.limits)
        conflicting = (glob for needs in every for glob in needs.conflicts)
        for glob in dict.fromkeys((*conflicting, *limited, *self._spread)):
            for name in names_matching(glob, names):
                self._globs_on.setdefault(name, []).append(glob)
        for owner, needs in requirements.items():
            for glob in needs.replaces:
                for name in names_matching(glob, names):
                    self.replaced_by.setdefault(name, []).append(owner)
        self._matched: Counter[tuple[str, str]] = Counter()
        self._owned: Counter[tuple[str, str]] = Counter()
        self._limits: dict[tuple[str, str], Counter[int]] = {}
        self._in_domain: Counter[tuple[str, str, str]] = Counter()

    def _count(self, name: str, machine: str, needs: Requirements, step: int) -> None:
        for glob in self._globs_on.get(name, ()):
            self._matched[glob, machine] += step
            for key in self._spread.get(glob, ()):
                self._in_domain[glob, key, self._domain(key, machine)] += step
        for glob in needs.conflicts:
            self._owned[glob, machine] += step
        for glob, limit in needs.limits:
            self._limits.setdefault((glob, machine), Counter())[limit] += step

    def _domain(self, key: str, machine: str) -> str:
        """Which of the parts that *key* makes of the cluster *machine* is in; "" for machines without the key."""
        found = self.machines.get(machine)
        return machine if key == MACHINE or found is None else found.metadata.get(key, "")

    def _load(self, machine: str, step: int) -> None:
        if machine not in self.units_on:
            return
        load = len(self.units_on[machine])
        self._order.pop(bisect_left(self._order, (load - step, machine)))
        insort(self._order, (load, machine))

    def put(self, name: str, machine: str) -> None:
        """Stand *name* on *machine*; a machine that is not present counts for conflicts and peers only."""
        self.where.setdefault(name, set()).add(machine)
        if machine in self.units_on:
            self.units_on[machine].add(name)
            self._load(machine, 1)
        self._count(name, machine, self.requirements[name], 1)

    def take(self, name: str, machine: str) -> None:
        """Undo `put`."""
        self.where[name].discard(machine)
        if machine in self.units_on:
            self.units_on[machine].discard(name)
            self._load(machine, -1)
        self._count(name, machine, self.requirements[name], -1)

    def leave(self, name: str, machine: str, needs: Requirements) -> None:
        """Note that *name* still stops on *machine*: until it is gone, nothing that conflicts with it may come."""
        self.leaving_on.setdefault(machine, {})[name] = needs
        self._count(name, machine, needs, 1)

    def eligible(self, needs: Requirements) -> frozenset[str]:
        """Present machines that satisfy MachineID and MachineMetadata."""
        key = (needs.machine_id, needs.metadata, needs.metadata_not)
        if key not in self._eligible:
            self._eligible[key] = frozenset(
                machine.id
                for machine in self.machines.values()
                if needs.accepts_machine_id(machine.id) and needs.accepts_metadata(machine.metadata)
            )
        return self._eligible[key]

    def peers_at(self, name: str, machine: str) -> bool:
        """Whether every MachineOf peer of *name* stands on *machine*."""
        return all(machine in self.where.get(peer, ()) for peer in self.requirements[name].machine_of)

    def conflicts_at(self, name: str, machine: str) -> bool:
        """Whether *name*, not standing on *machine*, conflicts there with anything, in either direction."""
        return any(self._matched[glob, machine] > 0 for glob in self.requirements[name].conflicts) or any(
            self._owned[glob, machine] > 0 for glob in self._globs_on.get(name, ())
        )

    def full_at(self, name: str, machine: str) -> str:
        """The glob of a limit that *name*, not standing on *machine*, would exceed there; "" for none.

        Limits bind in both directions, as conflicts do: those of the unit, and those of the units that are there.
        """
        mine = self._globs_on.get(name, ())
        for glob, limit in self.requirements[name].limits:
            if self._matched[glob, machine] + (glob in mine) > limit:
                return glob
        for glob in mine:
            owned = self._limits.get((glob, machine), Counter())
            if any(count > 0 and self._matched[glob, machine] + 1 > limit for limit, count in owned.items()):
                return glob
        return ""

    def bars(self, name: str, machine: str) -> bool:
        """Whether what is on *machine* keeps *name* from it, be it by a conflict or by a limit."""
        return self.conflicts_at(name, machine) or bool(self.full_at(name, machine))

    def replacers_at(self, name: str, machine: str) -> list[str]:
        """Units on *machine* that replace *name*; two units that name each other do not count."""
        return [
            owner
            for owner in self.replaced_by.get(name, ())
            if owner != name and machine in self.where.get(owner, ()) and name not in self.replaced_by.get(owner, ())
        ]

    def candidates(self, name: str) -> Iterator[str]:
        """Present machines that can take *name*: where Spread has fewest, then the least loaded first, then by id."""
        needs = self.requirements[name]
        eligible = self.eligible(needs)
        if needs.machine_of:
            together = set.intersection(*(self.where.get(peer, set()) for peer in needs.machine_of))
            order = sorted((len(self.units_on[machine]), machine) for machine in together & eligible)
        else:
            order = self._order
        if needs.spread:
            order = sorted((place for place in order if place[1] in eligible), key=lambda p: self._crowd(needs, *p))
        for _load, machine in order:
            if machine in eligible and machine not in self.cordoned and not self.bars(name, machine):
                yield machine

    def _crowd(self, needs: Requirements, load: int, machine: str) -> tuple[tuple[int, ...], int, str]:
        """How many of the families that *needs* spreads are where *machine* is; then its load and id."""
        crowd = tuple(self._in_domain[glob, key, self._domain(key, machine)] for key, glob in needs.spread)
        return crowd, load, machine

    def find(self, name: str, *, other_than: str = "") -> str | None:
        """The machine for *name*: the first candidate without a unit that replaces it, else the first one.

        With *other_than* the search is for a way out of that machine: only a place free of replacing units will do.
        """
        fallback = None
        for machine in self.candidates(name):
            if machine == other_than:
                continue
            if not self.replacers_at(name, machine):
                return machine
            fallback = fallback or machine
        return None if other_than else fallback

    def objection(self, name: str, machine: Machine) -> str:
        """Why *machine* cannot take *name*, as a sentence without a full stop; "" when it can."""
        needs = self.requirements[name]
        if machine.id in self.cordoned:
            return "the machine is cordoned and takes no more units"
        if not needs.accepts_machine_id(machine.id):
            return f"the unit is bound to machine {needs.machine_id}"
        for key, values in needs.metadata:
            if machine.metadata.get(key) not in values:
                found = f"{key}={machine.metadata[key]}" if key in machine.metadata else f"no {key}"
                return f"needs metadata {' or '.join(f'{key}={v}' for v in sorted(values))}; the machine has {found}"
        for key, values in needs.metadata_not:
            if machine.metadata.get(key) in values:
                return f"must not have metadata {key}={machine.metadata[key]}"
        for peer in needs.machine_of:
            if machine.id not in self.where.get(peer, ()):
                places = ", ".join(sorted(self.where.get(peer, ())))
                return f"peer {peer} is {f'on machine {places}' if places else 'not scheduled'}"
        if self.conflicts_at(name, machine.id):
            return self._conflict_sentence(name, machine.id)
        if glob := self.full_at(name, machine.id):
            return f"there is no more room for units {glob}, by a MaxPerMachine"
        return ""

    def _conflict_sentence(self, name: str, machine: str) -> str:
        standing = {other: self.requirements[other] for other in self.units_on.get(machine, ())}
        for other, needs in sorted({**self.leaving_on.get(machine, {}), **standing}.items()):
            if any(glob_matches(glob, other) for glob in self.requirements[name].conflicts) or any(
                glob_matches(glob, name) for glob in needs.conflicts
            ):
                return f"conflicts with {other}" + ("" if other in standing else ", which is still stopping")
        return "conflicts with another unit"
