# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer
from flagship.fleet.fleetctl import main

from fleet.process import Daemon
from fleet.simulated import Node


@pytest.fixture
def prefix() -> str:
    """A fleet of one's own in the session's etcd."""
    return f"/fleet-{uuid.uuid4().hex}"


@pytest.fixture
def make_node(etcd_server: EtcdServer, tmp_path: Path, prefix: str) -> Iterator[Callable[..., Node]]:
    """make_node("m1", metadata={...}): a machine of the fleet, started by the caller, ended after the test."""
    nodes: list[Node] = []

    def make(name: str, **fleet: object) -> Node:
        nodes.append(Node(tmp_path, etcd_server.connection(timeout=2.0), prefix, name, **fleet))
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()


@pytest.fixture
def fleet_node(make_node: Callable[..., Node]) -> Node:
    """The only machine of a fleet, running."""
    return make_node("m1", metadata={"zone": "a", "disk": "ssd"}).start()


@pytest.fixture
def run(fleet_node: Node, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run("cat", "a"): exit code, standard output and standard error of fleetctl against `fleet_node`."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["--endpoint", f"unix://{fleet_node.socket}", *arguments], {})
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def daemon(etcd_server: EtcdServer, tmp_path: Path, prefix: str) -> Iterator[Callable[..., Daemon]]:
    """daemon(listener, "key = value"): `flagship fleet` with that socket and those lines of its [fleet] section."""
    daemons: list[Daemon] = []

    def start(listener: socket.socket, *settings: str) -> Daemon:
        (endpoint,) = etcd_server.connection(timeout=2.0).endpoints
        daemons.append(Daemon(tmp_path, endpoint, prefix, listener, *settings))
        return daemons[-1]

    yield start
    for found in daemons:
        found.process.kill()
        found.process.wait(10)
