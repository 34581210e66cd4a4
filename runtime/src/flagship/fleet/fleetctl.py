# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`fleetctl`: ask and command a fleet, with the verbs and columns of fleet 1.0.0's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NoReturn

from flagship.fleet import VERSION, ctl_listings, ctl_remote, ctl_units
from flagship.fleet.client import TIMEOUT, ClientError, FleetClient, split_endpoint
from flagship.fleet.ctl import Command, Context, complain
from flagship.fleet.model import ModelError
from flagship.fleet.ssh import SshOptions, tunnel_to
from flagship.fleet.unit_file import UnitFileError

DEFAULT_ENDPOINT = "unix:///run/fleet.sock"
COMMANDS = {c.name: c for c in (*ctl_listings.COMMANDS, *ctl_units.COMMANDS, *ctl_remote.COMMANDS)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.rstrip('.')}; see {self.prog} --help.\n")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run fleetctl with *argv* and *environ* (default: the process's); exit code 1 for a failure, 2 for wrong usage."""
    parser = _parser(os.environ if environ is None else environ)
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.error(f"no command was given: name one of {', '.join(COMMANDS)}")
    if arguments.verb == "help" and not arguments.rest:
        parser.print_help()
        return 0
    if arguments.verb == "help":
        arguments.verb, arguments.rest = arguments.rest[0], ["--help"]
    if arguments.verb == "version":
        print(f"fleetctl version {VERSION}")
        return 0
    command = _command(parser, arguments.verb)
    own = _Parser(prog=f"fleetctl {command.name}", description=command.purpose)
    command.arguments(own)
    # argparse takes at least one word for the rest of a line, and fleetctl ssh may have none.
    given = own.parse_args([*arguments.rest, *([""] if command.name == "ssh" else [])])
    try:
        ssh = SshOptions(
            arguments.ssh_username,
            arguments.ssh_timeout,
            arguments.strict_host_key_checking,
            arguments.known_hosts_file,
            arguments.tunnel,
        )
        client = FleetClient(
            arguments.endpoint,
            ca_cert=arguments.ca_file,
            client_cert=arguments.cert_file,
            client_key=arguments.key_file,
            timeout=arguments.request_timeout,
            dial=tunnel_to(ssh, split_endpoint(arguments.endpoint)) if ssh.tunnel else None,
            trace=complain if arguments.debug else None,
        )
        with closing(client):
            return command.run(Context(client, ssh), given)
    except (ClientError, ModelError, UnitFileError) as error:
        complain(str(error))
        return 1


def _command(parser: argparse.ArgumentParser, verb: str) -> Command:
    """The command that *verb* names, by its full name or a beginning that no other one has."""
    found = [verb] if verb in COMMANDS else [name for name in COMMANDS if name.startswith(verb)]
    if len(found) > 1:
        parser.error(f"command {verb} may be {', '.join(found)}: write more of it")
    if not found:
        parser.error(f"there is no command {verb}: take one of {', '.join(COMMANDS)}")
    return COMMANDS[found[0]]


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {command.name:{width}}  {command.purpose}" for command in COMMANDS.values())
    parser = _Parser(
        prog="fleetctl",
        description=f"Ask and command a fleet of systemd units.\n\ncommands:\n{listing}",
        epilog="Each option may be given in the environment as FLEETCTL_ and its name, such as FLEETCTL_SSH_USERNAME.\n"
        "`fleetctl COMMAND --help` tells about one command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", "-v", action="version", version=f"fleetctl version {VERSION}")

    def option(name: str, default: str, purpose: str, kind: Callable[[str], Any] = str) -> None:
        variable = f"FLEETCTL_{name.upper().replace('-', '_')}"
        shown = f"{purpose} ({default})" if default else purpose
        parser.add_argument(f"--{name}", default=environ.get(variable, default), type=kind, help=shown, metavar="X")

    option("endpoint", DEFAULT_ENDPOINT, "the API: unix:///PATH, http:// or https://[USER:PASSWORD@]HOST[:PORT]")
    option("driver", "API", "how to reach the fleet; API is the only way", _driver)
    debug = environ.get("FLEETCTL_DEBUG", "").lower() in ("true", "t", "1", "yes")
    parser.add_argument("--debug", action="store_true", default=debug, help="tell of each request on standard error")
    option("ca-file", "", "certificate authority that verifies https, instead of the system's")
    option("cert-file", "", "certificate to show to https")
    option("key-file", "", "key of the certificate")
    option("request-timeout", f"{TIMEOUT:g}", "seconds that one request may take", _seconds)
    option("tunnel", "", "HOST[:PORT] to go through by ssh")
    option("ssh-username", "core", "user on the machines")
    option("ssh-timeout", "10", "seconds that connecting by ssh may take", _seconds)
    option("strict-host-key-checking", "true", "ask before a machine's unknown key is trusted: true or false", _truth)
    option("known-hosts-file", "~/.fleetctl/known_hosts", "where ssh keeps the machines' keys")
    # Optional only for argparse, which would else name the empty rest among what is missing.
    parser.add_argument("verb", metavar="COMMAND", nargs="?")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="what the command takes")
    return parser


def _driver(text: str) -> str:
    if text.upper() != "API":
        raise argparse.ArgumentTypeError(
            f"{text!r} is not to be had: name the fleet API with --endpoint, and leave --driver and FLEETCTL_DRIVER out"
        )
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _truth(text: str) -> bool:
    if text.lower() in ("true", "t", "1", "yes"):
        return True
    if text.lower() in ("false", "f", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
