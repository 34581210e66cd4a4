# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab seen from outside: what runs on its nodes, and the faults that can be put into them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TTL = 10.0  # fleet_agent_ttl's default, in seconds
LIMIT = 60.0
PREFIX = "/_coreos.com/fleet/"
_TLS = "/etc/flagship/tls"
_ETCDCTL = (
    "env", "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=https://127.0.0.1:2379", f"ETCDCTL_CACERT={_TLS}/ca.crt",
    f"ETCDCTL_CERT={_TLS}/root.crt", f"ETCDCTL_KEY={_TLS}/root.key", "etcdctl",
)  # fmt: skip
# A node that has just booted has no such directory yet.
_UNITS = "$(ls /run/fleet/units 2>/dev/null)"
_RUNNING = f"""
systemctl show --property=Id,ActiveState,InvocationID -- {_UNITS}
docker ps --quiet --no-trunc | sort |
xargs --no-run-if-empty docker inspect --format '{{{{.Id}}}} {{{{.Name}}}} {{{{.State.StartedAt}}}}'
"""

_ASK = "curl -sf --max-time 5 --unix-socket /run/fleet.sock http://fleet/fleet/v1"
_SHOW = f"systemctl show --property=Id,ActiveState -- {_UNITS}"
_VIEW = f"""
{_SHOW}
echo ---; {_ASK}/machines
echo ---; {_ASK}/state
echo ---; echo end
"""

Running = dict[str, str]
States = dict[tuple[str, str], str]


@dataclass(frozen=True)
class View:
    """One node's active units, and from its API the number of machines, and the active state by (unit, machine)."""

    active: set[str]
    machines: int
    states: States


def _active(show: str) -> set[str]:
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in show.split("\n\n")]
    return {block["Id"] for block in blocks if block.get("ActiveState") == "active"}


def _states(answer: dict[str, Any]) -> States:
    return {(s["name"], s["machineID"]): s["systemdActiveState"] for s in answer.get("states", [])}


def wait_for(condition: Callable[[], object], what: str, limit: float = LIMIT, every: float = 0.2) -> None:
    """Wait until `condition()` is true; fails the test after *limit* seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {limit:g} s"
        time.sleep(every)


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

    def copy(self, file: Path, destination: str) -> None:
        """Copy a file there, to no tmpfs: Docker does not see those."""
        _docker("cp", str(file), f"{self.name}:{destination}")

    @cached_property
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
        return _active(self.run("sh", "-c", _SHOW))

    def view(self) -> View:
        """What runs here, and what the API here says, in one call: each costs more than all that it asks."""
        show, machines, states, _end = self.run("sh", "-c", _VIEW).split("---\n")
        return View(
            _active(show),
            len(json.loads(machines or "{}").get("machines", [])),
            _states(json.loads(states or "{}")),
        )

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer, None for an empty one or none at all."""
        command = ["curl", "-sf", "--max-time", "5", "--unix-socket", "/run/fleet.sock", "--request", method]
        command += ["--header", "Content-Type: application/json", "--data", "@-"] if body is not None else []
        answer = self.run(*command, f"http://fleet/fleet/v1/{path}", check=False, stdin=json.dumps(body))
        return json.loads(answer) if answer else None

    def etcdctl(self, *arguments: str, check: bool = True) -> str:
        return self.run(*_ETCDCTL, *arguments, check=check)

    def python(self, program: str, data: Any, identity: str) -> Any:
        """What the program prints when that user of etcd runs it with `data` on standard input: both are JSON."""
        # The settings there name the certificate of the engine.
        files = f"{_TLS}/{identity}"
        settings = [f"FLAGSHIP_ETCD_CLIENT_CERT={files}.crt", f"FLAGSHIP_ETCD_CLIENT_KEY={files}.key"]
        command = ["env", *settings, "/opt/flagship/bin/python", "-c", program]
        return json.loads(self.run(*command, stdin=json.dumps(data)))

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
    def paused(self) -> Iterator[None]:
        """Freeze the whole node: its kernel, which is ours, still accepts connections, and nobody ever answers."""
        _docker("pause", self.name)
        try:
            yield
        finally:
            _docker("unpause", self.name)

    @contextmanager
    def without_network(self) -> Iterator[None]:
        """Take the node off the lab's bridge, as a switch that dies: its interface stays, also up."""
        peer = self.run("cat", "/sys/class/net/eth0/iflink")
        name, bridge = self._on_host(
            f"ip -o link | sed -n 's/^{peer}: \\([^@:]*\\).* master \\([^ ]*\\) .*/\\1 \\2/p'"
        ).split()
        self._on_host(f"ip link set dev {name} nomaster")
        try:
            yield
        finally:
            self._on_host(f"ip link set dev {name} master {bridge}")

    def _on_host(self, script: str) -> str:
        """What the script prints in the network of the engine's machine."""
        options = ["--rm", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=/bin/sh"]
        return _docker(
            "run", *options, _docker("inspect", "--format={{.Config.Image}}", self.name).strip(), "-c", script
        )


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
        assert names, f"the lab {name} does not run: molecule converge --scenario-name {name.removeprefix('molecule-')}"
        self.name = name
        self.nodes = [Node(name) for name in sorted(names)]

    @cached_property
    def members(self) -> list[Node]:
        """The nodes with a member of etcd; in a lab of more than three the others have none."""
        return [node for node in self.nodes if node.run("sh", "-c", "ls /etc/systemd/system/etcd.service", check=False)]

    def running(self) -> Running:
        return {node.name: node.running() for node in self.nodes}

    def states(self, asked: Node | None = None) -> States:
        """The active state by (unit, machine), as the API has it; nothing when it does not answer."""
        return _states((asked or self.nodes[0]).api("GET", "state") or {})

    def places(self, asked: Node | None = None) -> dict[str, list[Node]]:
        """Where each unit is active, as the API has it."""
        nodes = {node.machine_id: node for node in self.nodes}
        found: dict[str, list[Node]] = {}
        for (unit, machine), state in self.states(asked).items():
            if state == "active" and machine in nodes:
                found.setdefault(unit, []).append(nodes[machine])
        return found

    def whole(self, nodes: Sequence[Node] = ()) -> bool:
        """Whether every node's API answers, sees all nodes, and all units as active just where they run."""
        views = {node: node.view() for node in self.nodes}
        actual = {(unit, node.machine_id): "active" for node, view in views.items() for unit in view.active}
        asked = [views[node] for node in nodes or self.nodes]
        return all(view.machines == len(self.nodes) and view.states == actual for view in asked)

    def settle(self, limit: float = LIMIT) -> None:
        wait_for(self.whole, "a whole fleet", limit, every=0.5)

    def stays(self, before: Running, seconds: float) -> None:
        stays(self.nodes, before, seconds)

    def set_state(self, unit: str, desired: str) -> None:
        self.members[0].api("PUT", f"units/{unit}", {"name": unit, "desiredState": desired})

    def units(self) -> dict[str, dict[str, Any]]:
        """All units of the fleet by name."""
        return {unit["name"]: unit for unit in (self.members[0].api("GET", "units") or {}).get("units", [])}

    def etcd_leader(self) -> Node | None:
        """The node whose member leads; None while there is none."""
        for node in self.members:
            answer = node.etcdctl("endpoint", "status", "--write-out=json", check=False)
            for member in json.loads(answer) if answer else []:
                status = member["Status"]
                if status["leader"] == status["header"]["member_id"]:
                    return node
        return None

    def etcd_healthy(self) -> bool:
        """Whether every member takes part."""
        return all("is healthy" in node.run(
            "sh", "-c", '"$@" 2>&1', "sh", *_ETCDCTL, "endpoint", "health", check=False
        ) for node in self.members)  # fmt: skip

    def fleet_leader(self, asked: Node) -> Node | None:
        """The node whose engine leads."""
        answer = asked.etcdctl("get", "--print-value-only", f"{PREFIX}leader", check=False)
        leader = json.loads(answer)["machine_id"] if answer else ""
        return next((node for node in self.nodes if node.machine_id == leader), None)
