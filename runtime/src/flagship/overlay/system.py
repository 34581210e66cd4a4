# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge to the kernel and to systemd: runs ip, bridge, iptables and systemctl, each with a deadline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from flagship.overlay import firewall, kernel

_DEADLINE = 10.0


class SystemCallError(Exception):
    """A program failed; the text is one sentence for the operator."""


def read_kernel() -> tuple[kernel.Kernel, list[kernel.InterfaceAddress]]:
    """What the kernel holds, and all IPv4 addresses with the names and MTUs of their interfaces."""
    links = _json("ip", "-json", "-details", "address", "show")
    devices, addresses = kernel.parse_devices(links), kernel.parse_addresses(links)
    names = {device.name for device in devices}
    neighbours: set[kernel.Neighbour] = set()
    forwardings: set[kernel.Forwarding] = set()
    for name in names:
        neighbours |= kernel.parse_neighbours(_json("ip", "-json", "-4", "neighbour", "show", "dev", name), name)
        forwardings |= kernel.parse_forwardings(_json("bridge", "-json", "fdb", "show", "dev", name), name)
    found = kernel.Kernel(
        devices,
        frozenset(kernel.Address(name, address) for name, _mtu, address in addresses if name in names),
        frozenset(neighbours),
        frozenset(forwardings),
        frozenset(kernel.parse_routes(_json("ip", "-json", "-N", "-4", "route", "show", "table", "main"))),
    )
    return found, addresses


def apply(step: kernel.Step) -> None:
    """Do one step; what is gone already counts as deleted."""
    for command in kernel.commands(step):
        try:
            run(command)
        except SystemCallError:
            if step.action != "delete" or _exists(step.item):
                raise


def read_firewall() -> dict[str, list[str]]:
    """The rules of all tables."""
    return firewall.parse_save(run(["iptables-save"]))


def restore_firewall(text: str) -> None:
    """Apply the text to its table as a whole."""
    run(["iptables-restore", "--wait", "5", "--noflush"], text)


def restart_docker() -> None:
    """Have systemd restart Docker if it runs, without waiting: at a boot systemd may be waiting for us."""
    run(["systemctl", "try-restart", "--no-block", "docker.service"])


def run(command: Sequence[str], stdin: str = "") -> str:
    """What the program prints; raises SystemCallError when it fails, is missing, or takes too long."""
    text = " ".join(command)
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except FileNotFoundError:
        raise SystemCallError(f"`{text}` failed: the program {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise SystemCallError(f"`{text}` did not end within {_DEADLINE:g} s") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise SystemCallError(f"`{text}` failed: {reason}")
    return done.stdout


def _json(*command: str) -> Any:
    return json.loads(run(command) or "[]")


def _exists(item: kernel.Item) -> bool:
    found, _addresses = read_kernel()
    return item in {*found.devices, *found.ours(device.name for device in found.devices)}
