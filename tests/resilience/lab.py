# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab seen from outside: what runs on its nodes, and the faults that can be put into them."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

TTL = 10.0  # fleet_agent_ttl's default, in seconds
LIMIT = 60.0
PREFIX = "/_coreos.com/fleet/"
# A node that has just booted has no such directory yet.
_UNITS = "$(ls /run/fleet/units 2>/dev/null)"
_RUNNING = f"""
systemctl show --property=Id,ActiveState,InvocationID -- {_UNITS}
docker ps --quiet --no-trunc | sort |
xargs --no-run-if-empty docker inspect --format '{{{{.Id}}}} {{{{.Name}}}} {{{{.State.StartedAt}}}}'
"""

Running = dict[str, str]


def wait_for(condition: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Wait until `condition()` is true; fails the test after *limit* seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {limit:g} s"
        time.sleep(0.2)


class Node:
    """One node, reached through Docker, so that no fault of its network matters."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """What the command prints; with *check* it must succeed."""
        answer = subprocess.run(
            ["docker", "exec", "--interactive", self.name, *command],
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not check or answer.returncode == 0, f"{command} on {self.name}: {answer.stderr.strip()}"
        return answer.stdout.strip()

    @property
    def machine_id(self) -> str:
        return self.run("cat", "/etc/machine-id")

    @property
    def address(self) -> str:
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return _docker("inspect", f"--format={form}", self.name).strip()

    def running(self) -> str:
        """Units with their invocation ids, and containers with their ids and start times."""
        return self.run("sh", "-c", _RUNNING)

    def active_units(self) -> set[str]:
        show = self.run("sh", "-c", f"systemctl show --property=Id,ActiveState -- {_UNITS}")
        blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in show.split("\n\n")]
        return {block["Id"] for block in blocks if block.get("ActiveState") == "active"}

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer, None for an empty one or none at all."""
        command = ["curl", "-sf", "--max-time", "5", "--unix-socket", "/run/fleet.sock", "--request", method]
        command += ["--header", "Content-Type: application/json", "--data", "@-"] if body is not None else []
        answer = self.run(*command, f"http://fleet/fleet/v1/{path}", check=False, stdin=json.dumps(body))
        return json.loads(answer) if answer else None

    def etcdctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("env", "ETCDCTL_API=3", "etcdctl", *arguments, check=check)

    def signal(self, service: str, name: str) -> None:
        self.run("systemctl", "kill", f"--signal={name}", service)

    def kill(self, service: str) -> None:
        """Kill the service's processes, and wait until systemd has started it again."""
        old = self._pid(service)
        self.signal(service, "KILL")
        wait_for(lambda: self._pid(service) not in ("0", old), f"the restart of {service} on {self.name}")

    def _pid(self, service: str) -> str:
        return self.run("systemctl", "show", "--property=MainPID", "--value", service)

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        self.signal(service, "STOP")
        try:
            yield
        finally:
            self.signal(service, "CONT")

    @contextmanager
    def without_etcd(self) -> Iterator[None]:
        """Lose every packet from here to any etcd, also to the member on this node."""
        rule = ["OUTPUT", "--protocol", "tcp", "--dport", "2379", "--jump", "DROP"]
        self.run("iptables", "--wait", "--insert", *rule)
        try:
            yield
        finally:
            self.run("iptables", "--wait", "--delete", *rule)

    def started(self, units: Iterable[str]) -> dict[str, float]:
        """When the units' programs began, as time.monotonic tells it here: the nodes share our kernel. 0 is never."""
        asked = sorted(units)
        times = self.run("systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value", "--", *asked)
        return {unit: int(text) / 1e6 for unit, text in zip(asked, times.split(), strict=True)}

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Power loss, and power again."""
        _docker("kill", self.name)
        try:
            yield
        finally:
            _docker("start", self.name)
            wait_for(self._is_up, f"{self.name} to boot")

    def _is_up(self) -> bool:
        return self.run("systemctl", "is-active", "docker", check=False) == "active"

    @contextmanager
    def without_network(self) -> Iterator[None]:
        attached = subprocess.check_output(
            ["docker", "inspect", "--format={{json .NetworkSettings.Networks}}", self.name], text=True, timeout=30
        )
        ((network, settings),) = json.loads(attached).items()
        _docker("network", "disconnect", network, self.name)
        try:
            yield
        finally:
            _docker("network", "connect", f"--ip={settings['IPAMConfig']['IPv4Address']}", network, self.name)


def _docker(*arguments: str) -> str:
    return subprocess.check_output(["docker", *arguments], text=True, timeout=60)


def stays(nodes: Sequence[Node], before: Running, seconds: float) -> None:
    """Watch the nodes for *seconds*, and once at least: nothing stops, starts or restarts there."""
    deadline = time.monotonic() + seconds
    while True:
        for node in nodes:
            now = node.running()
            assert now == before[node.name], f"on {node.name} something changed:\n{before[node.name]}\nis now\n{now}"
        if time.monotonic() >= deadline:
            return
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))


class Lab:
    """All nodes of one lab."""

    def __init__(self, name: str) -> None:
        names = _docker("ps", f"--filter=label=flagship.lab={name}", "--format={{.Names}}").split()
        assert names, f"the lab {name} does not run: molecule converge --scenario-name resilience"
        self.nodes = [Node(name) for name in sorted(names)]

    def running(self) -> Running:
        return {node.name: node.running() for node in self.nodes}

    def states(self, asked: Node | None = None) -> dict[tuple[str, str], str]:
        """The active state by (unit, machine), as the API has it; nothing when it does not answer."""
        answer = (asked or self.nodes[0]).api("GET", "state")
        return {(s["name"], s["machineID"]): s["systemdActiveState"] for s in (answer or {}).get("states", [])}

    def whole(self, nodes: Sequence[Node] = ()) -> bool:
        """Whether every node's API answers, sees all nodes, and all units as active just where they run."""
        actual = {(unit, node.machine_id): "active" for node in self.nodes for unit in node.active_units()}
        return all(
            len((node.api("GET", "machines") or {}).get("machines", [])) == len(self.nodes)
            and self.states(node) == actual
            for node in nodes or self.nodes
        )

    def settle(self, limit: float = LIMIT) -> None:
        wait_for(self.whole, "a whole fleet", limit)

    def stays(self, before: Running, seconds: float) -> None:
        stays(self.nodes, before, seconds)

    def balancer(self) -> Node:
        return next(node for node in self.nodes if "nginx-loadbalancer.service" in node.active_units())

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Use the site and its nodes' APIs meanwhile, some 20 times a second; every page has to come."""
        balancer = self.balancer()
        ended, pages, failures = threading.Event(), [0], []

        def use() -> None:
            while not ended.wait(0.05):
                try:
                    with urllib.request.urlopen(f"http://{balancer.address}/", timeout=3) as answer:
                        answer.read()
                        pages[0] += 1
                except OSError as error:
                    failures.append(str(error))

        def ask() -> None:
            # What an API that restarts answers is not the point, but that it is asked.
            while not ended.is_set():
                for node in self.nodes:
                    node.api("GET", "state")

        threads = [threading.Thread(target=target) for target in (use, ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join(30)
        assert pages[0] and not failures, f"{len(failures)} of {len(failures) + pages[0]} pages failed: {failures[:3]}"

    def etcd_leader(self) -> Node | None:
        """The node whose member leads; None while there is none."""
        for node in self.nodes:
            answer = node.etcdctl("endpoint", "status", "--write-out=json", check=False)
            for member in json.loads(answer) if answer else []:
                status = member["Status"]
                if status["leader"] == status["header"]["member_id"]:
                    return node
        return None

    def etcd_healthy(self) -> bool:
        """Whether every member takes part."""
        return all("is healthy" in node.run(
            "sh", "-c", "ETCDCTL_API=3 etcdctl endpoint health 2>&1", check=False
        ) for node in self.nodes)  # fmt: skip

    def fleet_leader(self, asked: Node) -> Node | None:
        """The node whose engine leads."""
        answer = asked.etcdctl("get", "--print-value-only", f"{PREFIX}leader", check=False)
        leader = json.loads(answer)["machine_id"] if answer else ""
        return next((node for node in self.nodes if node.machine_id == leader), None)
