# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon as a process: how it ends, and what it tells of itself."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.columns import vars_of
from flagship.fleet.machine import machine_id

from fleet.builders import launched
from fleet.process import Daemon
from fleet.simulated import Node

Start = Callable[..., Daemon]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "fleet.sock"))
        found.listen()
        yield found


def present(tmp_path: Path) -> bool:
    try:
        return machine_id() in FleetClient(f"unix://{tmp_path}/fleet.sock").machines()
    except ClientError:
        return False


@pytest.mark.parametrize("fault", ["frozen", "frozen for long", "gone"])
def test_it_ends_fast_without_etcd_too(
    daemon: Start, listener: socket.socket, tmp_path: Path, etcd_server: EtcdServer, fault: str
) -> None:
    found = daemon(listener, "agent_ttl = 2s")
    wait_for(lambda: present(tmp_path), what="the machine")
    if fault == "gone":
        etcd_server.stop()
    else:
        etcd_server.pause()
    if fault == "frozen for long":
        wait_for(lambda: not present(tmp_path), limit=20, what="the loss of the lease")
    begin = time.monotonic()
    found.process.send_signal(signal.SIGTERM)
    assert found.process.wait(20) == 0
    assert time.monotonic() - begin < 8
    assert "Traceback" not in found.journal.read_text()


def test_it_ends_at_once_when_etcd_never_was(daemon: Start, listener: socket.socket, etcd_server: EtcdServer) -> None:
    etcd_server.stop()
    found = daemon(listener)
    wait_for(lambda: found.said("runs."), what="the daemon")
    begin = time.monotonic()
    found.process.send_signal(signal.SIGINT)
    assert found.process.wait(20) == 0
    assert time.monotonic() - begin < 8


@pytest.mark.parametrize("fault", ["frozen", "gone"])
def test_leaving_ends_fast_without_etcd_too(
    make_node: Callable[..., Node], etcd_server: EtcdServer, fault: str
) -> None:
    node = make_node("m1")
    node.settings = replace(node.settings, etcd=replace(node.settings.etcd, timeout=5.0))
    node.start()
    options = [vars_of(option) for option in launched("a.service").options]
    node.client.put_unit("a.service", options=options, desiredState="launched")
    wait_for(lambda: node.running, what="a.service to run")
    if fault == "gone":
        etcd_server.stop()
    else:
        etcd_server.pause()
    begin = time.monotonic()
    node.stop(leave=True)
    assert time.monotonic() - begin < 8
    assert not node.running


def test_sigusr1_dumps_the_state_in_one_line(
    daemon: Start, listener: socket.socket, tmp_path: Path, etcd_server: EtcdServer
) -> None:
    found = daemon(listener, "agent_ttl = 2s")
    wait_for(lambda: present(tmp_path), what="the machine")
    etcd_server.pause()
    for number in (1, 2):
        found.process.send_signal(signal.SIGUSR1)
        wait_for(lambda n=number: found.output.read_text().count("\n") == n, what="a line")  # type: ignore[misc]
    state = json.loads(found.output.read_text().splitlines()[1])
    assert state["machine"]["id"] == machine_id()
    assert state["registry"]["machines"] == [machine_id()]
    assert (state["schedule"], state["units"]) == ({}, {})
    assert found.process.poll() is None


def test_the_dump_tells_of_units(fleet_node: Node) -> None:
    options = [vars_of(option) for option in launched("a.service").options]
    fleet_node.client.put_unit("a.service", options=options, desiredState="launched")
    wait_for(lambda: "active" in str(fleet_node.client.state("a.service")), what="a.service to run")
    assert fleet_node.service is not None
    line = fleet_node.service.dump()
    assert "\n" not in line
    state = json.loads(line)
    assert (state["registered"], state["available"], state["registry"]["leader"]) == (True, True, fleet_node.id)
    assert state["schedule"]["a.service"]["desired_state"] == "launched"
    unit = state["units"]["a.service"]
    assert (unit["active"], unit["stopping"]) == ("active", False)
    assert unit["file_hash"] == unit["launched_hash"] == state["schedule"]["a.service"]["hash"]
