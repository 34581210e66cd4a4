# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The overlay network of a lab's nodes: containers reach each other whatever happens to daemons, etcd and nodes.

A lab without it is left alone. RESILIENCE_LAB names the lab.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from lab import Lab, Node, wait_for

PREFIX = "/coreos.com/network"
PROBE = Path(__file__).resolve().parents[2] / "runtime/tests/overlay/probe.py"
CONTAINER = "overlay-probe"
# How long a node keeps the route to one whose lease is gone, and how often it looks: flagship.overlay.loop.
GRACE, INTERVAL = 30.0, 10.0


class Member:
    """A node with a container on Docker's own bridge; the probe runs in the container's network."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.address = ""
        self._pid = ""

    def start_container(self) -> None:
        run = self.node.run
        run("sh", "-c", "cat > /run/overlay-probe.py", stdin=PROBE.read_text())
        self.remove_container()
        image = run("docker", "images", "--format={{.Repository}}:{{.Tag}}").split()[0]
        # Its image may have a port that a registrator would announce.
        options = ["--detach", f"--name={CONTAINER}", "--env=SERVICE_IGNORE=1", "--entrypoint=sleep"]
        run("docker", "run", *options, image, "infinity")
        form = "--format={{.State.Pid}} {{.NetworkSettings.Networks.bridge.IPAddress}}"
        self._pid, self.address = run("docker", "inspect", form, CONTAINER).split()
        subprocess.run(
            ["docker", "exec", "--detach", self.node.name, *self._probe("serve")], check=True, timeout=60
        )  # fmt: skip

    def remove_container(self) -> None:
        self.node.run("docker", "rm", "--force", CONTAINER, check=False)

    def asked_from(self, other: Member, size: int = 100) -> str:
        """The address that the other container sees when ours asks it with `size` bytes; empty without an answer."""
        return self.node.run(*self._probe("ask", other.address, str(size)), check=False)

    def reaches(self, other: Member, size: int = 100) -> bool:
        return self.asked_from(other, size) == self.address

    @contextmanager
    def asking(self, other: Member) -> Iterator[None]:
        """Ask 50 times a second meanwhile; no answer may be missing."""
        command = [
            "docker",
            "exec",
            self.node.name,
            "timeout",
            "--signal=INT",
            "600",
            *self._probe("stream", other.address),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "running\n"
            try:
                yield
            finally:
                self.node.run("pkill", "--signal", "INT", "--full", "^python3 .*probe.py stream")
                output, errors = process.communicate(timeout=30)
        sent, answered = map(int, output.split())
        print(f"{answered} of {sent} questions were answered.")
        assert sent > 100 and answered == sent, f"{sent - answered} of {sent} were not answered: {errors[-200:]}"

    def routes(self) -> dict[str, str]:
        """Subnets of other nodes, and the devices that lead to them."""
        found = json.loads(self.node.run("ip", "-json", "-N", "route", "show", "protocol", "70") or "[]")
        return {route["dst"]: route["dev"] for route in found}

    def setting(self, name: str) -> str:
        """A value of subnet.env."""
        text = self.node.run("cat", "/run/flannel/subnet.env", check=False)
        return dict(line.partition("=")[::2] for line in text.splitlines()).get(name, "")

    @property
    def subnet(self) -> str:
        return re.sub(r"\.\d+/", ".0/", self.setting("FLANNEL_SUBNET"))

    @property
    def lease(self) -> str:
        """The key of its lease."""
        return f"{PREFIX}/subnets/{self.subnet.replace('/', '-')}"

    def _probe(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._pid}/ns/net", "python3", "/run/overlay-probe.py", *arguments]


@pytest.fixture(scope="module")
def _members() -> Iterator[list[Member]]:
    nodes = Lab(os.environ.get("RESILIENCE_LAB", "molecule-resilience")).nodes
    state = [node.run("systemctl", "is-enabled", "flagship-overlay", check=False) for node in nodes]
    if "enabled" not in state:
        pytest.skip("the lab has no overlay network")
    members = [Member(node) for node in nodes]
    for member in members:
        member.start_container()
    yield members
    for member in members:
        member.remove_container()


@pytest.fixture
def members(_members: list[Member]) -> list[Member]:
    """Three nodes that reach each other."""
    pairs = [(one, other) for one in _members[:3] for other in _members[:3] if one is not other]
    wait_for(lambda: all(one.reaches(other) for one, other in pairs), "a whole overlay")
    return _members


def test_every_node_has_a_subnet_of_its_own(members: list[Member]) -> None:
    subnets = [member.subnet for member in members]
    assert len(set(subnets)) == len(members)
    for member in members:
        value = json.loads(members[0].node.etcdctl("get", "--print-value-only", member.lease))
        assert value["PublicIP"] == member.node.address and value["PublicIPv6"] is None
        assert set(member.routes()) == set(subnets) - {member.subnet}
        assert member.address.rpartition(".")[0] == member.subnet.rpartition(".")[0], "Docker's bridge is elsewhere"


def test_the_largest_packet_fits_and_a_larger_one_does_not(members: list[Member]) -> None:
    one, other, *_rest = members
    largest = int(one.setting("FLANNEL_MTU")) - 28
    assert one.reaches(other, largest)
    assert not one.reaches(other, largest + 1)


def test_a_restart_of_the_daemon_loses_no_packet(members: list[Member]) -> None:
    one, other, *_rest = members
    with one.asking(other):
        for member in (one, other):
            member.node.run("systemctl", "restart", "flagship-overlay")
            member.node.kill("flagship-overlay")
        time.sleep(5)
    assert all(member.node.run("systemctl", "is-active", "docker") == "active" for member in (one, other))


def test_packets_flow_while_etcd_is_away(members: list[Member]) -> None:
    one, other, *_rest = members
    with one.asking(other), ExitStack() as frozen:
        for member in members:
            if member.node.run("systemctl", "is-active", "etcd", check=False) == "active":
                frozen.enter_context(member.node.frozen("etcd"))
        time.sleep(2 * INTERVAL)


def test_a_node_dies_and_comes_back(members: list[Member]) -> None:
    """It has its old subnet, and the others reach each other all the time."""
    one, other, third, *_rest = members
    subnet = third.subnet
    with one.asking(other), third.node.dead():
        pass
    wait_for(lambda: third.subnet == subnet, "its old subnet")
    third.start_container()
    wait_for(lambda: one.reaches(third) and third.reaches(one), "the way to the node that came back")


def test_docker_restarts(members: list[Member]) -> None:
    """Docker puts its own rules before others' then, and flushes some."""
    one, other, *_rest = members
    other.node.run("systemctl", "restart", "docker")
    other.start_container()
    other.node.run("iptables", "--wait", "--flush", "FLAGSHIP-OVERLAY")
    wait_for(lambda: one.reaches(other) and other.reaches(one), "the way through the restarted Docker", 2 * INTERVAL)


def test_the_route_to_a_removed_node_goes(members: list[Member]) -> None:
    one, _other, third, *_rest = members
    subnet = third.subnet
    third.node.run("systemctl", "stop", "flagship-overlay")
    try:
        one.node.etcdctl("del", third.lease)
        assert subnet in one.routes()
        wait_for(lambda: subnet not in one.routes(), "the end of the route", GRACE + 3 * INTERVAL)
    finally:
        third.node.run("systemctl", "start", "flagship-overlay")
    assert third.subnet == subnet, "a subnet that was free was not taken again"


def test_host_gw_and_back(members: list[Member]) -> None:
    one, other, *_rest = members
    config = one.node.etcdctl("get", "--print-value-only", f"{PREFIX}/config")
    before = set(one.routes().values())
    wanted = "host-gw" if json.loads(config)["Backend"]["Type"] == "vxlan" else "vxlan"
    try:
        changed = {**json.loads(config), "Backend": {"Type": wanted}}
        one.node.etcdctl("put", f"{PREFIX}/config", json.dumps(changed))
        wait_for(lambda: not before & set(one.routes().values()), "the routes of the other backend")
        wait_for(lambda: one.reaches(other) and other.reaches(one), "the way of the other backend")
    finally:
        one.node.etcdctl("put", f"{PREFIX}/config", config)
    wait_for(lambda: set(one.routes().values()) == before, "the routes as they were")
