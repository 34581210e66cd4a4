# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleetctl's commands that only read: the listings, cat, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from flagship.fleet.columns import FILE_FIELDS, MACHINE_FIELDS, STATE_FIELDS, Fields, options_of, render
from flagship.fleet.ctl import Command, Context, known, unit_name
from flagship.fleet.unit_file import serialise


def _listing(fields: Fields, default: str) -> Callable[[argparse.ArgumentParser], None]:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--fields", default=default, help=f"columns: {', '.join(fields)} (default %(default)s)")
        parser.add_argument("--full", "-l", action="store_true", help="do not shorten ids and hashes")
        parser.add_argument("--no-legend", action="store_true", help="no head line")

    return add


def _print(rows: list[dict[str, Any]], fields: Fields, arguments: argparse.Namespace) -> int:
    names = arguments.fields.split(",")
    sys.stdout.write(render(rows, fields, names, full=arguments.full, legend=not arguments.no_legend))
    return 0


def _list_machines(context: Context, arguments: argparse.Namespace) -> int:
    return _print(list(context.client.machines().values()), MACHINE_FIELDS, arguments)


def _list_units(context: Context, arguments: argparse.Namespace) -> int:
    rows = list(context.client.pages("state", "states"))
    machines = context.client.machines()
    return _print([{**row, "_machines": machines} for row in rows], STATE_FIELDS, arguments)


def _list_unit_files(context: Context, arguments: argparse.Namespace) -> int:
    rows = list(context.client.pages("units", "units"))
    machines = context.client.machines()
    return _print([{**row, "_machines": machines} for row in rows], FILE_FIELDS, arguments)


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT")


def _cat(context: Context, arguments: argparse.Namespace) -> int:
    sys.stdout.write(serialise(options_of(known(context.client, arguments.unit))))
    return 0


def _why(context: Context, arguments: argparse.Namespace) -> int:
    """For each machine the unit's states, or why it is not there; exit code 1 when no machine has it."""
    client = context.client
    name = unit_name(arguments.unit)
    unit = known(client, name)
    print(f"{name}: desired {unit.get('desiredState', '-')}, current {unit.get('currentState', '-')}")
    machines = client.machines()
    states = client.pages("state", "states", unitName=name)
    by_machine = {state["machineID"]: state for state in states if "machineID" in state}
    for row in client.call("GET", f"/flagship/v1/why/{quote(name, safe='')}")["machines"]:
        state = by_machine.get(row["id"], {})
        said = " ".join(state.get(f"systemd{kind}State", "-") for kind in ("Load", "Active", "Sub"))
        address = machines.get(row["id"], {}).get("primaryIP", "-")
        print(f"  {row['id'][:8]}.../{address}: {row['reason'] or said}")
    return 0 if by_machine else 1


COMMANDS = (
    Command(
        "list-machines",
        "List the machines of the cluster.",
        _listing(MACHINE_FIELDS, "machine,ip,metadata"),
        _list_machines,
    ),
    Command(
        "list-units", "List the states of loaded units.", _listing(STATE_FIELDS, "unit,machine,active,sub"), _list_units
    ),
    Command(
        "list-unit-files",
        "List all units.",
        _listing(FILE_FIELDS, "unit,hash,dstate,state,target"),
        _list_unit_files,
    ),
    Command("cat", "Print a unit's file.", _one, _cat),
    Command("why", "Tell for each machine why a unit runs there, or does not.", _one, _why),
)
