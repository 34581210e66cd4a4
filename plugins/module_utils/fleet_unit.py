# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do with a fleet unit and how far the cluster has got with it; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine, Unit, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    UnitOption,
    check_name,
    content_hash,
    is_global,
    split_name,
)

Options = tuple[UnitOption, ...]


class Wanted(NamedTuple):
    """One unit as the task wants it: options None keeps the contents, desired_state None removes the unit.

    A unit to restart is stopped and started even when nothing else is to be done with it.
    """

    name: str
    options: Options | None
    desired_state: str | None
    restart: bool = False


class Progress(NamedTuple):
    """How far one unit is: reached, failed by systemd's word, or neither; what to say about it, and of which machines."""

    reached: bool
    failed: bool
    text: str
    machines: tuple[str, ...] = ()


def read_instances(template: str, given: Any) -> tuple[list[str], int | None]:
    """The instances' unit names, and the number when a number was given; raises UnitError."""
    if isinstance(given, list):
        instances = [str(item) for item in given]
        number = None
    else:
        if isinstance(given, bool) or not str(given).isdecimal():
            raise UnitError(f"instances {given!r} is neither a number nor a list of names; give one of the two")
        number = int(given)
        instances = [str(item) for item in range(1, number + 1)]
    names = [split_name(template).with_instance(instance) for instance in instances]
    for name, instance in zip(names, instances):
        if not instance:
            raise UnitError(f"an instance of {template} has an empty name; name it")
        check_name(name)
    return names, number


def surplus(template: str, number: int, known: Sequence[Unit]) -> list[str]:
    """Names of the known instances that are numbered above the number."""
    parts = split_name(template)
    names = []
    for unit in known:
        other = split_name(unit.name)
        instance = other.instance or ""
        if (
            other[::2] == parts[::2]
            and instance.isdecimal()
            and str(int(instance)) == instance
            and int(instance) > number
        ):
            names.append(unit.name)
    return names


def decide(wanted: Wanted, found: Unit | None) -> str:
    """What to do: create, replace, set_state, restart, delete or nothing (empty).

    Raises UnitError where that is impossible. What is replaced or started needs no restart of its own.
    """
    if wanted.desired_state is None:
        return "delete" if found else ""
    if found is None:
        if wanted.options is None:
            raise UnitError("it does not exist in the cluster; give its contents as content, src or options")
        return "create"
    if wanted.options is not None and content_hash(wanted.options) != content_hash(found.options):
        return "replace"
    if found.desired_state != wanted.desired_state:
        return "set_state"
    return "restart" if wanted.restart else ""


def keep_contents(wanted: Wanted, found: Unit | None) -> Wanted:
    """The same without new contents, for a unit that the cluster knows."""
    return wanted if found is None else wanted._replace(options=None)


def assess(wanted: Wanted, unit: Unit | None, states: Sequence[UnitState], machines: Sequence[Machine]) -> Progress:
    """Compare what the cluster reports with what is wanted; machines are those where a global unit has to be."""
    if wanted.desired_state is None or unit is None:
        if unit is None and wanted.desired_state is not None:
            return Progress(False, False, "somebody removed it meanwhile")
        return Progress(unit is None and not states, False, _describe(states) or "the cluster still knows it")
    if wanted.desired_state == "inactive":
        return Progress(
            unit.current_state in ("", "inactive") and not states, False, _describe(states) or "not unloaded yet"
        )
    by_machine = {state.machine_id: state for state in states}
    if is_global(unit.options):
        places = [machine.id for machine in machines]
    elif unit.machine_id:
        places = [unit.machine_id]
    else:
        return Progress(False, False, "it is placed on no machine")
    verdicts = [_assess_on(place, unit, by_machine.get(place)) for place in places]
    waiting = [verdict for verdict in verdicts if not verdict.reached]
    return Progress(
        not waiting,
        any(verdict.failed for verdict in waiting),
        ", ".join(verdict.text for verdict in waiting),
        tuple(machine for verdict in waiting for machine in verdict.machines),
    )


def assess_stop(unit: Unit | None, states: Sequence[UnitState]) -> Progress:
    """How far a unit is on the way to its restart: it has to be seen stopped, whoever runs it."""
    if unit is None:
        return Progress(False, False, "somebody removed it meanwhile")
    running = [state for state in states if state.active_state not in ("inactive", "failed")]
    stopped = not running and (is_global(unit.options) or unit.current_state != "launched")
    text = _describe(running) or "the cluster has not stopped it"
    return Progress(stopped, False, text, tuple(state.machine_id for state in running))


def _assess_on(machine_id: str, unit: Unit, state: UnitState | None) -> Progress:
    if state is None:
        return Progress(False, False, f"machine {machine_id} has not reported it", (machine_id,))
    text = _describe([state])
    at = (machine_id,)
    if state.hash != content_hash(unit.options):
        return Progress(False, False, f"machine {machine_id} still has the contents of before", at)
    launched = unit.current_state == "launched" or is_global(unit.options)
    if unit.desired_state == "loaded":
        stopped = state.active_state not in ("deactivating", "activating")
        return Progress(stopped and (unit.current_state == "loaded" or is_global(unit.options)), False, text, at)
    if state.active_state == "active" or (state.active_state == "inactive" and _ends_by_itself(unit.options)):
        return Progress(launched, False, text, at)
    return Progress(False, launched and state.active_state == "failed", text, at)


def _ends_by_itself(options: Options) -> bool:
    service = {option.name: option.value.lower() for option in options if option.section == "Service"}
    return service.get("Type") == "oneshot" and service.get("RemainAfterExit") not in ("yes", "true", "on", "1")


def _describe(states: Sequence[UnitState]) -> str:
    return ", ".join(
        f"machine {state.machine_id} reports {state.active_state}/{state.sub_state} ({state.load_state})"
        for state in states
    )
