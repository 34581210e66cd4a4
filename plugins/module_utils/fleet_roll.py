# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which steps units are changed, and what to say when the steps end before the last one; no I/O."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, split_name

# What takes a running unit away for a moment; all else takes away nothing that is wanted.
DISTURBING = ("replace", "restart")


def check_policy(params: Mapping[str, Any]) -> None:
    """Raise UnitError for options of a task that cannot be meant together."""
    rolling = params["replace"] == "rolling"
    for name in ("serial", "pause"):
        if params[name] is not None and not rolling:
            raise UnitError(f"{name} is given but replace is {params['replace']}; set replace to rolling, or remove it")
    if rolling and not params["wait"]:
        raise UnitError("replace is rolling, which waits for each step, but wait is false; set wait to true")
    if rolling and params["state"] == "absent":
        raise UnitError("replace is rolling but state is absent, which replaces nothing; remove one of them")
    if params["health"] and not params["wait"]:
        raise UnitError("health is given but wait is false, so nobody would look at it; set wait to true")
    if params["health"] and params["state"] not in ("launched", "restarted"):
        raise UnitError(
            f"health is given but state is {params['state']}; a unit that does not run has none, remove health"
        )
    if params["serial"] is not None and params["serial"] < 1:
        raise UnitError(f"serial {params['serial']} is not above zero; give the number of units to replace at a time")
    if params["pause"] is not None and params["pause"] < 0:
        raise UnitError(f"pause {params['pause']:g} is below zero; give a number of seconds")
    if params["wait_timeout"] < 0:
        raise UnitError(f"wait_timeout {params['wait_timeout']:g} is below zero; give a number of seconds")


def steps(actions: Mapping[str, str], serial: int | None, unwell: Container[str] = ()) -> list[list[str]]:
    """The units by the step in which they are brought to their state, in order; serial None makes it one step.

    The first step takes all that disturbs no running unit, and all that is done already: a roll begins only when
    these are well, so that running the task again after a failure does not disturb the next unit. Units that are not
    well before they are disturbed are the next: they have nothing to lose.
    """
    if serial is None:
        return [list(actions)]
    disturbed = [name for name, action in actions.items() if action in DISTURBING and not split_name(name).is_template]
    disturbed.sort(key=lambda name: name not in unwell)
    first = [name for name in actions if name not in disturbed]
    rest = [disturbed[at : at + serial] for at in range(0, len(disturbed), serial)]
    return [first, *rest] if first else rest


def outcome(planned: Sequence[Sequence[str]], at: int) -> dict[str, list[str]]:
    """The units of the steps before, in and after the one that failed."""
    return {
        "done": [name for step in planned[:at] for name in step],
        "failed": list(planned[at]),
        "untouched": [name for step in planned[at + 1 :] for name in step],
    }


def stopped_text(planned: Sequence[Sequence[str]], at: int, places: Mapping[str, str]) -> str:
    """Where the units are after a roll has ended early; places says where each one is, as far as it is known."""
    parts = [f"the roll stopped in step {at + 1} of {len(planned)}"]
    for label, names in outcome(planned, at).items():
        if names:
            parts.append(f"{label}: " + ", ".join(f"{name} {places[name]}".rstrip() for name in names))
    return "; ".join(parts)
