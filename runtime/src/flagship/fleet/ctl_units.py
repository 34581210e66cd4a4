# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleetctl's commands that change units, and how they wait for the change."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.columns import options_of
from flagship.fleet.ctl import Command, Context, complain, known, unit_name
from flagship.fleet.ctl_source import Submitted, submit
from flagship.fleet.requirements import is_global

_POLL = 0.25
_ATTEMPT = 2.0
_ANY = ("inactive", "loaded", "launched")
# What load and submit may replace: a unit that is in use is left to start --replace, as in fleet 1.0.0.
_REPLACEABLE = {"inactive": ("inactive",), "loaded": ("inactive", "loaded"), "launched": _ANY}


def _submit(context: Context, arguments: argparse.Namespace) -> int:
    _submit_all(context.client, arguments, "inactive")
    return 0


def _submit_all(client: FleetClient, arguments: argparse.Namespace, target: str) -> list[Submitted]:
    return [
        submit(client, argument, replace=arguments.replace, replaceable=_REPLACEABLE[target], target=target)
        for argument in arguments.units
    ]


def _to(target: str) -> Callable[[Context, argparse.Namespace], int]:
    """load and start."""

    def run(context: Context, arguments: argparse.Namespace) -> int:
        units = _submit_all(context.client, arguments, target)
        for found in units:
            if found.unit.get("desiredState") != target:
                context.client.put_unit(found.unit["name"], desiredState=target)
        return _wait_all(context.client, arguments, target, units)

    return run


def _back_to(target: str) -> Callable[[Context, argparse.Namespace], int]:
    """stop and unload."""

    def run(context: Context, arguments: argparse.Namespace) -> int:
        client = context.client
        units = [known(client, argument) for argument in arguments.units]
        code = 0
        waiting = []
        for unit in units:
            desired = unit.get("desiredState", "inactive")
            if desired == "inactive" and unit.get("currentState", "inactive") == "inactive" and target == "loaded":
                complain(f"unit {unit['name']} is not loaded, so it cannot be stopped")
                code = 1
                continue
            if desired != target:
                client.put_unit(unit["name"], desiredState=target)
            waiting.append(Submitted(unit))
        code |= _wait_all(client, arguments, target, waiting)
        if target == "loaded" and waiting and not code:
            print(f"Successfully stopped units [{' '.join(found.unit['name'] for found in waiting)}].", file=sys.stderr)
        return code

    return run


def _restart(context: Context, arguments: argparse.Namespace) -> int:
    client = context.client
    units = [known(client, argument) for argument in arguments.units]
    code = 0
    waiting = []
    for unit in units:
        name = unit["name"]
        if "inactive" in (unit.get("desiredState"), None if is_global(options_of(unit)) else unit.get("currentState")):
            complain(f"unit {name} is not loaded, so it cannot be restarted; fleetctl start starts it")
            code = 1
            continue
        if unit.get("desiredState") == "launched":
            client.put_unit(name, desiredState="loaded")
            # The engine takes launched after loaded for a restart if it comes within a second.
            time.sleep(_POLL)
        client.put_unit(name, desiredState="launched")
        waiting.append(Submitted(unit))
    return code | _wait_all(client, arguments, "launched", waiting)


def _destroy(context: Context, arguments: argparse.Namespace) -> int:
    code = 0
    for argument in arguments.units:
        try:
            context.client.delete_unit(unit_name(argument))
            print(f"Destroyed {unit_name(argument)}")
        except ClientError as error:
            if error.code != 404:
                complain(f"unit {unit_name(argument)} was not destroyed: {error}")
                code = 1
    return code


def _wait_all(client: FleetClient, arguments: argparse.Namespace, target: str, units: Sequence[Submitted]) -> int:
    attempts = arguments.block_attempts
    deadline = time.monotonic() + _ATTEMPT * attempts if attempts else float("inf")
    code = 0
    for found in units:
        name = found.unit["name"]
        if is_global(options_of(found.unit)):
            print(f"Triggered global unit {name} {_VERBS[target]}")
        elif arguments.no_block:
            print(f"Triggered unit {name} {_VERBS[target]}")
        else:
            code |= _wait(client, found, target, deadline)
    return code


_VERBS = {"inactive": "unload", "loaded": "load", "launched": "start"}


def _wait(client: FleetClient, found: Submitted, target: str, deadline: float) -> int:
    """Wait until *deadline*, by time.monotonic, that the unit is *target* and, if launched, active."""
    name = found.unit["name"]
    unit: dict[str, Any] = {}
    state: dict[str, Any] = {}
    while True:
        try:
            unit = client.unit(name) or {}
            state = client.state(name) if target == "launched" or found.replaced else {}
        except ClientError as error:
            # An API that starts again answers soon; the first calls have shown that it is the right one.
            complaint = str(error)
        else:
            complaint = _missing(unit, state, target, found.replaced)
            if not complaint:
                where = f" on {unit['machineID'][:8]}..." if unit.get("machineID") else ""
                print(f"Unit {name} {target}{where}")
                return 0
            if complaint.endswith("failed"):
                break
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL)
    complain(f"unit {name} {complaint}; fleetctl why {name} and fleetctl status {name} tell more")
    return 1


def _missing(unit: dict[str, Any], state: dict[str, Any], target: str, replaced: str) -> str:
    """What keeps *unit* from being as wanted, "" if nothing does."""
    if unit.get("currentState") != target:
        return f"is not {target} yet"
    if replaced and target != "inactive" and state.get("hash") != replaced:
        return "still has its old contents"
    load, active = state.get("systemdLoadState", "-"), state.get("systemdActiveState", "-")
    if target == "launched" and (load, active) != ("loaded", "active"):
        return f"is launched but {load} and {active}"
    return ""


def _units(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("units", nargs="+", metavar="UNIT")


def _replacing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replace", action="store_true", help="give a unit of the cluster the contents of its file")
    _units(parser)


def _blocking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-block", action="store_true", help="do not wait for the change")
    parser.add_argument(
        "--block-attempts", type=_attempts, default=30, help="how often 2 seconds to wait, 0: for ever (%(default)s)"
    )


def _changing(parser: argparse.ArgumentParser) -> None:
    _blocking(parser)
    _units(parser)


def _submitting(parser: argparse.ArgumentParser) -> None:
    _blocking(parser)
    _replacing(parser)


def _attempts(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return int(text)


COMMANDS = (
    Command("submit", "Store units without starting them.", _replacing, _submit),
    Command("load", "Place units on machines without starting them.", _submitting, _to("loaded")),
    Command("start", "Place and start units.", _submitting, _to("launched")),
    Command("stop", "Stop units and leave them on their machines.", _changing, _back_to("loaded")),
    Command("unload", "Stop units and take them from their machines.", _changing, _back_to("inactive")),
    Command("restart", "Stop units and start them again where they are.", _changing, _restart),
    # The API answers when the unit is gone, there is nothing to wait for.
    Command("destroy", "Stop units and forget them.", _changing, _destroy),
)
