# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship overlay`: the command."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from flagship import daemon
from flagship.cli import ArgumentParser, CommandError
from flagship.etcd import Client, EtcdError
from flagship.overlay import files, firewall, kernel, system
from flagship.overlay.lease import LeaseHolder
from flagship.overlay.loop import Overlay, Paths, apply_to_docker, bridge_differs
from flagship.overlay.network import config_key
from flagship.settings import Settings

log = logging.getLogger(__name__)

PREFIX = "/coreos.com/network"
SUBNET_ENV = "/run/flannel/subnet.env"
STATE_DIRECTORY = "/var/lib/flagship/overlay"


def main(argv: Sequence[str], settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, which leave the network as it is; returns the exit code."""
    options = _parse(argv, settings)
    daemon.log_to_journal()
    docker = Path(options.docker_settings) if options.docker_settings else None
    # systemd sets STATE_DIRECTORY for a unit with StateDirectory=flagship/overlay.
    state = Path(os.environ.get("STATE_DIRECTORY", STATE_DIRECTORY)) / "state.json"
    paths = Paths(Path(options.subnet_file), state, docker)
    try:
        if options.docker_only:
            return _set_docker(paths)
        with Client(settings.etcd) as client:
            if options.remove:
                return _remove(client, options, paths)
            return _run(client, options, paths)
    except (files.FileError, system.SystemCallError) as error:
        raise CommandError(f"{error}.") from None


def _run(client: Client, options: argparse.Namespace, paths: Paths) -> int:
    wait = daemon.signal_requests()
    overlay = Overlay(client, options.prefix, options.public_ip, paths)
    overlay.start()
    while wait() != "stop":
        overlay.wake()
    overlay.stop()
    return 0


def _set_docker(paths: Paths) -> int:
    """Put Docker's bridge on the subnet that subnet.env names, for a flanneld that has written it."""
    if paths.docker_settings is None:
        raise CommandError("--docker-only needs --docker-settings.")
    try:
        assignment = files.parse_subnet_env(files.read(paths.subnet_env))
    except files.FileError as error:
        raise CommandError(f"{paths.subnet_env} cannot be used: {error}.") from None
    apply_to_docker(paths.docker_settings, assignment)
    if bridge_differs(assignment.subnet, system.read_kernel()[1]):
        system.restart_docker()
    return 0


def _remove(client: Client, options: argparse.Namespace, paths: Paths) -> int:
    """Take this node out of the overlay: lease, routes, devices, rules, files, Docker's settings."""
    try:
        items = client.range(f"{options.prefix}/subnets/").items
        released = LeaseHolder(client, options.prefix, options.public_ip, None).release(items)
        if not items.keys() - released:  # the last one
            client.delete(config_key(options.prefix))
    except EtcdError as error:
        log.warning("The lease of this node stays until it ends: %s", error)
    for step in kernel.plan(kernel.Wanted(None, frozenset()), system.read_kernel()[0], collect=True):
        system.apply(step)
    for text in firewall.removal(system.read_firewall()).values():
        system.restore_firewall(text)
    for path in (paths.subnet_env, paths.saved_state):
        path.unlink(missing_ok=True)
    if paths.docker_settings and apply_to_docker(paths.docker_settings, None):
        system.restart_docker()
    return 0


def _parse(argv: Sequence[str], settings: Settings) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="flagship overlay",
        description="Lease a subnet for this node's containers, as flannel does, and connect it with the others.",
    )
    parser.add_argument("--prefix", default=PREFIX, help="where configuration and leases are (default: %(default)s)")
    parser.add_argument(
        "--public-ip",
        metavar="ADDRESS",
        default=settings.fleet.public_ip,
        help="address of this node for the others (default: public_ip of [fleet] in the settings)",
    )
    parser.add_argument("--subnet-file", metavar="FILE", default=SUBNET_ENV, help="default: %(default)s")
    parser.add_argument(
        "--docker-settings", metavar="FILE", help="Docker's daemon.json, to have its bridge on the subnet"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--docker-only", action="store_true", help="give Docker what the subnet file says, and end")
    modes.add_argument("--remove", action="store_true", help="take this node out of the overlay, and end")
    options = parser.parse_args(argv)
    if not options.prefix.startswith("/") or len(options.prefix) < 2:
        parser.error(f"--prefix is {options.prefix!r}: it must begin with / and name something")
    options.prefix = options.prefix.rstrip("/")
    try:
        options.public_ip = IPv4Address(options.public_ip)
    except ValueError:
        parser.error(f"--public-ip is {options.public_ip!r}: write the IPv4 address of this node for the others")
    return options
