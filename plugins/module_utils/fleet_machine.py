# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine is meant, what to change in its metadata, and how far a drain is; no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Details, Machine, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError

METADATA_KEY = re.compile(r"[A-Za-z0-9_.-]+")
# What the engine says of a unit that a drain cannot move as things are.
STUCK = "no other machine takes it"
# state -> (schedulable, drain), as the engine names them.
STATES = {"schedulable": (True, False), "cordoned": (False, False), "drained": (False, True)}


class MachineError(Exception):
    """Options of a task that no machine can be brought to; the text says why and what to do."""


class DrainProgress(NamedTuple):
    """How far a drain is; stuck when none of what is left can go as things are, and what to say of what is left."""

    done: bool
    stuck: bool
    text: str


def matches(machine: Machine, given: str) -> bool:
    """Whether a machine is meant by an id, the beginning of an id, or an address."""
    return machine.primary_ip == given or (given != "" and machine.id.startswith(given))


def find_machine(machines: Sequence[Machine], given: str) -> Machine:
    """The one machine that is meant; raises MachineError when there is none, or more than one."""
    if not given:
        raise MachineError("the machine's name is empty; give its id, the beginning of its id, or its address")
    found = [machine for machine in machines if matches(machine, given)]
    exact = [machine for machine in found if given in (machine.id, machine.primary_ip)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise MachineError(f"machine {given} may be each of {_names(found)}; give more of its id")
    raise MachineError(f"there is no live machine {given} in the cluster; it has {_names(machines) or 'none'}")


def _names(machines: Sequence[Machine]) -> str:
    return ", ".join(f"{machine.id} ({machine.primary_ip})" for machine in machines)


def read_metadata(given: Mapping[Any, Any]) -> dict[str, str | None]:
    """The wanted metadata, None for keys that shall not be there; raises MachineError."""
    wanted: dict[str, str | None] = {}
    for key, value in given.items():
        if not METADATA_KEY.fullmatch(str(key)):
            raise MachineError(f"the metadata key {str(key)!r} is not made of letters, digits, _ . and -; rename it")
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            kind = "a truth value" if isinstance(value, bool) else type(value).__name__
            raise MachineError(f"the metadata {key} has {kind} for a value; give a string, in quotes if YAML needs it")
        text = None if value is None else str(value)
        if text == "":
            raise MachineError(
                f"the metadata {key} has an empty value, which fleet does not take; give null to remove it"
            )
        wanted[str(key)] = text
    return wanted


def metadata_changes(found: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, str | None]:
    """What of the wanted metadata is not so yet."""
    return {key: value for key, value in wanted.items() if found.get(key) != value}


def changed_metadata(found: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The metadata after the changes, sorted by key."""
    after = {**found, **changes}
    return {key: value for key, value in sorted(after.items()) if value is not None}


def assess_drain(remaining: Mapping[str, str], global_units: Collection[str]) -> DrainProgress:
    """How far a drain is, from the units that the machine still has with their reasons; global units stay anyway."""
    left = {name: reason for name, reason in remaining.items() if name not in global_units}
    text = ", ".join(f"{name} ({reason or 'it still runs here'})" for name, reason in sorted(left.items()))
    return DrainProgress(not left, bool(left) and all(reason == STUCK for reason in left.values()), text)


def describe(machine: Machine, details: Details | None, states: Sequence[UnitState]) -> dict[str, Any]:
    """A machine as modules return it; schedulable and drain are None where the server cannot tell."""
    reported = {state.name: state for state in states if state.machine_id == machine.id}
    reasons = details.units if details else {}
    return {
        **machine._asdict(),
        "schedulable": details.schedulable if details else None,
        "drain": details.drain if details else None,
        "units": [
            {
                "name": name,
                "active_state": reported[name].active_state if name in reported else "",
                "sub_state": reported[name].sub_state if name in reported else "",
                "reason": reasons.get(name, ""),
            }
            for name in sorted({*reported, *reasons})
        ],
    }


def require_engine(details: Details | None, at: str) -> Details:
    """The details, or FleetError where the server knows neither cordon nor drain."""
    if details is None:
        raise FleetError(
            f"{at} can neither cordon nor drain machines, as fleet 1.0.0 cannot; leave state out, "
            "or run the engine of this collection there"
        )
    return details
