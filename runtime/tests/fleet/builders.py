# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, machines and schedules in a line each, and what agents do to a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flagship.fleet.model import DesiredState, Entry, Machine, Unit
from flagship.fleet.placement import Cluster, Decision
from flagship.fleet.unit_file import parse


def launched(name: str, *requirements: str, desired: DesiredState = "launched") -> Unit:
    text = "[Service]\nExecStart=/bin/sleep 1000\n[X-Fleet]\n" + "\n".join(requirements)
    return Unit(name, parse(text), desired)


def machine(machine_id: str, **metadata: str) -> Machine:
    return Machine(machine_id, primary_ip="192.0.2.1", metadata=metadata)


def schedule_of(places: Mapping[str, str], units: Iterable[Unit]) -> dict[str, dict[str, Entry]]:
    entries = {unit.name: Entry(unit.options, "launched") for unit in units}
    schedule: dict[str, dict[str, Entry]] = {}
    for name, where in places.items():
        schedule.setdefault(where, {})[name] = entries[name]
    return schedule


def apply(state: Cluster, decisions: Iterable[Decision]) -> Cluster:
    """The cluster after the engine has written *decisions*."""
    schedule = {where: dict(entries) for where, entries in state.schedule.items()}
    for decision in decisions:
        schedule.setdefault(decision.machine, {})[decision.unit] = decision.entry
    return replace(state, schedule=schedule)


def settle(state: Cluster) -> Cluster:
    """The cluster after every present machine's agent has stopped and acknowledged what was withdrawn."""
    return replace(
        state,
        schedule={
            where: {name: entry for name, entry in entries.items() if not (entry.withdrawn and where in state.machines)}
            for where, entries in state.schedule.items()
        },
    )
