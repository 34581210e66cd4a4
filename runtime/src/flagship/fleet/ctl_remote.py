# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleetctl's commands that run something on the machine of a unit: status, journal, ssh; and fd-forward."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.columns import options_of
from flagship.fleet.ctl import Command, Context, complain, known, unit_name
from flagship.fleet.machine import MachineError, machine_id
from flagship.fleet.requirements import is_global
from flagship.fleet.ssh import forward, run_here, run_on

_OUTPUTS = ("short", "short-iso", "short-precise", "short-monotonic", "verbose", "export", "json", "cat")


def _status(context: Context, arguments: argparse.Namespace) -> int:
    for at, argument in enumerate(arguments.units):
        unit = known(context.client, argument)
        if is_global(options_of(unit)):
            complain(f"unit {unit['name']} is global: fleetctl why {unit['name']} shows it on every machine")
            continue
        machine = _machine_of(unit)
        if at:
            print(flush=True)
        code = _run(context, arguments, machine, ["systemctl", "status", "-l", "--no-pager", unit["name"]])
        if code:
            return code
    return 0


def _journal(context: Context, arguments: argparse.Namespace) -> int:
    unit = known(context.client, arguments.unit)
    if is_global(options_of(unit)):
        raise ClientError(f"unit {unit['name']} is global: fleetctl ssh MACHINE journalctl -u {unit['name']} shows one")
    command = ["sudo"] if arguments.sudo else []
    command += ["journalctl", "--unit", unit["name"], "--no-pager", "-n", str(arguments.lines)]
    command += ["--output", arguments.output, *(["-f"] if arguments.follow else [])]
    return _run(context, arguments, _machine_of(unit), command)


def _machine_of(unit: dict[str, Any]) -> str:
    if unit.get("currentState", "inactive") == "inactive" or not unit.get("machineID"):
        raise ClientError(f"unit {unit['name']} does not appear to be loaded; fleetctl why {unit['name']} tells why")
    return str(unit["machineID"])


def _run(context: Context, arguments: argparse.Namespace, machine: str, command: list[str]) -> int:
    """Run *command* on *machine*: here if this is it, else by ssh."""
    try:
        if machine == machine_id():
            return run_here(command)
    except MachineError:
        # Where fleetctl runs need not be a machine of the fleet.
        pass
    found = context.client.machines().get(machine)
    if found is None:
        complain(f"machine {machine} is not present, so nothing can be run there")
        # As fleetctl 1.0.0: the machine of a unit that is about to move is no error.
        return 0
    return run_on(context.ssh, _target(found, arguments.ssh_port), [shlex.join(command)])


def _target(machine: dict[str, Any], port: int) -> str:
    if not machine.get("primaryIP"):
        raise ClientError(f"machine {machine['id']} has no address in the cluster; set public_ip in its settings")
    return f"[{machine['primaryIP']}]:{port}"


def _ssh(context: Context, arguments: argparse.Namespace) -> int:
    # The empty word is the parser's, see fleetctl.py.
    words = arguments.words[:-1]
    if arguments.machine:
        machine = _by_machine(context.client, arguments.machine)
    elif arguments.of_unit:
        machine = _by_unit(context.client, arguments.of_unit)
    elif words:
        word, *words = words
        machine = _by_either(context.client, word)
    else:
        raise ClientError("name the machine or the unit to connect to: fleetctl ssh MACHINE|UNIT [COMMAND...]")
    found = context.client.machines().get(machine)
    if found is None:
        raise ClientError(f"machine {machine} is not present; fleetctl list-machines shows those that are")
    return run_on(context.ssh, _target(found, arguments.ssh_port), words, agent=arguments.forward_agent)


def _matches(client: FleetClient, word: str) -> list[str]:
    found = [identity for identity in client.machines() if identity.startswith(word)]
    if len(found) > 1:
        raise ClientError(f"{word} is the beginning of {len(found)} machine ids: write more of it")
    return found


def _by_machine(client: FleetClient, word: str) -> str:
    found = _matches(client, word)
    if not found:
        raise ClientError(f"no machine has an id that begins with {word}; fleetctl list-machines --full shows them")
    return found[0]


def _by_unit(client: FleetClient, word: str) -> str:
    unit = known(client, word)
    if is_global(options_of(unit)):
        raise ClientError(f"unit {unit['name']} is global: name a machine instead")
    return _machine_of(unit)


def _by_either(client: FleetClient, word: str) -> str:
    machines = _matches(client, word)
    unit = client.unit(unit_name(word))
    if machines and unit is not None:
        raise ClientError(f"{word} is a machine and a unit: write --machine {word} or --unit {word}")
    if not machines and unit is None:
        raise ClientError(f"{word} is neither the beginning of a machine's id nor a unit")
    return machines[0] if machines else _by_unit(client, word)


def _fd_forward(_context: Context, arguments: argparse.Namespace) -> int:
    forward(arguments.path)
    return 0


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ssh-port", type=int, default=22, help="port of the machines' ssh server (%(default)s)")


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    _port(parser)
    parser.add_argument("units", nargs="+", metavar="UNIT")


def _journal_arguments(parser: argparse.ArgumentParser) -> None:
    _port(parser)
    parser.add_argument("--lines", type=int, default=10, help="how many of the last lines (%(default)s)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    parser.add_argument("--output", choices=_OUTPUTS, default="short", help="journalctl's format (%(default)s)")
    parser.add_argument("--sudo", action="store_true", help="run journalctl with sudo")
    parser.add_argument("unit", metavar="UNIT")


def _ssh_arguments(parser: argparse.ArgumentParser) -> None:
    _port(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--machine", "-m", default="", help="machine to connect to: its id or the beginning of it")
    which.add_argument(
        "--unit", "-u", dest="of_unit", default="", metavar="UNIT", help="connect to this unit's machine"
    )
    parser.add_argument("--forward-agent", "-A", action="store_true", help="let the machine use this ssh agent")
    parser.add_argument("words", nargs=argparse.PARSER, metavar="[MACHINE|UNIT] [COMMAND...]")


def _fd_forward_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="SOCKET")


COMMANDS = (
    Command("status", "Show what systemd says of units on their machines.", _status_arguments, _status),
    Command("journal", "Show the journal of a unit from its machine.", _journal_arguments, _journal),
    Command("ssh", "Connect to a machine, or to that of a unit, and run a command there.", _ssh_arguments, _ssh),
    Command(
        "fd-forward",
        "Connect standard input and output to a unix socket (for --tunnel).",
        _fd_forward_arguments,
        _fd_forward,
    ),
)
