# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `flagship`: reads the settings and hands over to a subcommand."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from flagship import __version__
from flagship.settings import DEFAULT_FILE, Settings, SettingsError, load

COMMANDS = {
    "fleet": "run the fleet engine, agent and API of this machine",
    "fleetctl": "ask and command a fleet, as fleetctl does",
    "announce": "keep a service's key in etcd while its check passes",
    "register": "keep the keys of this machine's containers in etcd",
    "watch": "write configuration files that follow keys in etcd",
    "overlay": "keep this node's containers in the overlay network",
}


class CommandError(Exception):
    """A subcommand cannot do its work; the text is one sentence for the operator (exit code 1)."""


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence on standard error, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.rstrip('.')}; see {self.prog} --help.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `flagship` with `argv` (default: the process's) and return its exit code: 2 usage or settings, 1 the rest."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.error(f"no command was given: name one of {', '.join(COMMANDS)}")
    try:
        return _run(arguments.command, arguments.arguments, arguments.config)
    except SettingsError as error:
        return _complain(arguments.command, str(error), 2)
    except CommandError as error:
        return _complain(arguments.command, str(error), 1)
    except ModuleNotFoundError as error:
        return _complain(
            arguments.command, f"the Python library {error.name} is missing: install the runtime again.", 1
        )
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python would complain again when it flushes at exit: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items())
    parser = ArgumentParser(
        prog="flagship",
        description=f"commands:\n{listing}",
        epilog="`flagship COMMAND --help` tells about one command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"flagship {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"settings file (default: {DEFAULT_FILE} if it exists)")
    # Optional only for argparse, which would else name the empty rest among what is missing.
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=COMMANDS)
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="what the command takes")
    return parser


def _run(command: str, arguments: list[str], config: str | None) -> int:
    if command == "fleetctl":
        return int(importlib.import_module("flagship.fleet.fleetctl").main(arguments) or 0)
    if command == "fleet":
        return _fleet(arguments, config)
    settings: Settings = load(config, os.environ)
    module = {
        "announce": "flagship.discovery.announce",
        "register": "flagship.discovery.register",
        "watch": "flagship.balancer.watch",
        "overlay": "flagship.overlay.main",
    }[command]
    return int(importlib.import_module(module).main(arguments, settings) or 0)


def _fleet(arguments: list[str], config: str | None) -> int:
    """Run the engine, with the arguments of fleet 1.0.0's fleetd."""
    parser = ArgumentParser(prog="flagship fleet", description=COMMANDS["fleet"])
    parser.add_argument(
        "-config",
        "--config",
        metavar="FILE",
        help="fleet's own settings file (default: /etc/fleet/fleet.conf if it exists)",
    )
    parser.add_argument("-version", "--version", action="store_true", help="print the fleet release that it speaks")
    parser.add_argument("version_word", metavar="version", nargs="?", choices=["version"], help="the same")
    given = parser.parse_args(arguments)
    if given.version or given.version_word:
        print(f"fleetd version {importlib.import_module('flagship.fleet').VERSION}")
        return 0
    return int(importlib.import_module("flagship.fleet.service").main(config, given.config) or 0)


def _complain(command: str, sentence: str, code: int) -> int:
    print(f"flagship {command}: {sentence}", file=sys.stderr)
    return code
