# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon says of itself upon SIGUSR1: one line of JSON, as fleet 1.0.0 did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flagship.fleet.model import Entry, Machine
from flagship.fleet.view import View


def dump_line(
    machine: Machine,
    presence: Mapping[str, Any],
    view: View,
    schedule: Mapping[str, tuple[Entry, int]] | None,
    units: Mapping[str, Mapping[str, Any]],
) -> str:
    """The state of *machine* in one line: its *presence*, what it sees of the registry, its schedule and its units."""
    state = {
        "machine": {**asdict(machine), "metadata": dict(machine.metadata)},
        **presence,
        "registry": view.read(_registry),
        "schedule": None if schedule is None else {name: _entry(*schedule[name]) for name in sorted(schedule)},
        "units": units,
    }
    return json.dumps(state, separators=(",", ":"))


def _registry(view: View) -> dict[str, Any]:
    return {
        "synced": view.synced,
        "revision": view.revision,
        "leader": view.leader.machine if view.leader else "",
        "machines": sorted(view.machines),
        "unreadable_machines": sorted(view.odd_machines),
        "units": len(view.units),
        "unreadable_units": sorted(view.unreadable),
        "states": sum(map(len, view.states.values())),
    }


def _entry(entry: Entry, revision: int) -> dict[str, Any]:
    return {
        "desired_state": entry.desired_state,
        "hash": entry.hash,
        "restarts": entry.restarts,
        "damaged": entry.damaged,
        "revision": revision,
    }
