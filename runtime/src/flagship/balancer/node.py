# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What templates are told about the machine that they are rendered on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TypedDict

from flagship.cli import CommandError
from flagship.fleet.machine import MachineError, machine_id, primary_ip
from flagship.settings import Settings


class Node(TypedDict):
    """The machine; "" for an address that it does not have."""

    machine_id: str
    hostname: str
    private_ipv4: str
    public_ipv4: str
    metadata: dict[str, str]


def own_node(settings: Settings, environ: Mapping[str, str]) -> Node:
    """This machine, with the addresses of /etc/environment as CoreOS writes it; raises CommandError."""
    try:
        identity = machine_id()
    except MachineError as error:
        raise CommandError(str(error)) from None
    return {
        "machine_id": identity,
        "hostname": socket.gethostname(),
        "private_ipv4": environ.get("COREOS_PRIVATE_IPV4") or primary_ip(),
        "public_ipv4": environ.get("COREOS_PUBLIC_IPV4") or settings.fleet.public_ip,
        "metadata": dict(settings.fleet.metadata),
    }
