# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of fleetctl have in common: their form, what they are given, how they name units."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.ssh import SshOptions

# The suffixes that fleetctl 1.0.0 knows; it takes everything else for the name of a service.
_SUFFIXES = ("service", "socket", "timer", "path", "device", "mount", "automount")


@dataclass(frozen=True)
class Context:
    """What a command works with."""

    client: FleetClient
    ssh: SshOptions


@dataclass(frozen=True)
class Command:
    """One verb: its arguments, and what it does with them; `run` returns the exit code and raises ClientError."""

    name: str
    purpose: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Context, argparse.Namespace], int]


def unit_name(argument: str) -> str:
    """The unit that *argument*, a name or a path, means: .service is added to what has no suffix that fleet knows."""
    name = os.path.basename(argument)
    return name if name.rpartition(".")[2] in _SUFFIXES and "." in name else f"{name}.service"


def known(client: FleetClient, argument: str) -> dict[str, Any]:
    """The unit of the cluster that *argument* means."""
    unit = client.unit(unit_name(argument))
    if unit is None:
        raise ClientError(f"Unit {unit_name(argument)} does not exist; fleetctl submit stores it")
    return unit


def complain(sentence: str) -> None:
    """Say *sentence* on standard error."""
    print(f"fleetctl: {sentence}", file=sys.stderr)
