# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites of a lab, each on a stack of its own: where its web servers and balancers are, and what these know."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from lab import LIMIT, Lab, Node, wait_for

ROOT = Path(__file__).parents[2]
# What a balancer uses is read on its node by a program that stays there, and tells each change with its time: a
# docker exec for each look would cost more than the site. time.monotonic is the same everywhere: nodes share a kernel.
_LOOK = r"""
import json, os, re, socket, sys, threading, time

def nginx(place):
    with open(place) as file:
        # Each server is there a second time, for the last try, without its key.
        return re.findall(r"^\s*server ([\d.]+:\d+) .*# /", file.read(), re.M)

def haproxy(place):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(place)
        connection.sendall(b"show servers state\n")
        lines = b"".join(iter(lambda: connection.recv(65536), b"")).decode().splitlines()
    servers = [line.split() for line in lines[2:] if line]
    # Each server is there a second time, for the last try, under the name ...:again.
    # srv_addr - is a server inside HAProxy, srv_op_state 0 stopped (also by a check), any srv_admin_state maintenance.
    return [row[4] + ":" + row[18] for row in servers
            if row[4] != "-" and row[5] != "0" and row[6] == "0" and not row[3].endswith(":again")]

threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
look, before = {"nginx": nginx, "haproxy": haproxy}[sys.argv[1]], ()
while True:
    try:
        found = sorted(look(sys.argv[2]))
    except OSError:
        found = None
    if found != before:
        print(json.dumps([time.monotonic(), found]), flush=True)
        before = found
    time.sleep(0.05)
"""


class Balancer:
    """What the balancer on a node has sent requests to since this began: looks are 0.05 s apart."""

    def __init__(self, node: Node, stack: str, place: str) -> None:
        self.node = node
        self._history: list[tuple[float, list[str] | None]] = []
        command = ["docker", "exec", "--interactive", node.name, "/usr/bin/python3", "-u", "-c", _LOOK, stack, place]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for(lambda: self._history, f"a first look at the balancer of {node.name}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, backends = json.loads(line)
            self._history.append((at, backends))

    @property
    def backends(self) -> list[str] | None:
        """Addresses of the servers in use, None while there is no balancer."""
        return self._history[-1][1]

    def out_since(self, address: str, moment: float) -> float | None:
        """The first time from *moment* on when the address was not in use, None if it always was."""
        states = [(max(at, moment), found) for at, found in self._history]
        last = max(index for index, (at, _found) in enumerate(self._history) if index == 0 or at <= moment)
        return next((at for at, found in states[last:] if address not in (found or [])), None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stack:
    """One site: its units, keys and balancers."""

    def __init__(self, lab: Lab, name: str, variables: dict[str, Any]) -> None:
        self.lab, self.name, self.variables = lab, name, variables
        self.title = {"nginx": "nginx", "haproxy": "HAProxy"}[name]
        self.web = {"nginx": "nginx", "haproxy": "dumbserve"}[name]
        self.unit = {"nginx": "nginx-loadbalancer", "haproxy": "haproxy"}[name]
        self.watch = f"{name}-watch"
        self.prefix = {"nginx": "/services/website/", "haproxy": "/services/dumbserve/"}[name]
        self._looks: dict[Node, Balancer] = {}
        self._place = {
            "nginx": "/var/lib/flagship/nginx-lb/nginx.conf",
            "haproxy": "/run/flagship/haproxy/admin.sock",
        }[name]

    @property
    def pair(self) -> bool:
        return int(self.variables.get("load_balancer_instances", 1)) > 1

    def balancer_nodes(self) -> list[Node]:
        """The nodes on which a balancer runs."""
        name = re.compile(rf"{self.unit}(@\d+)?\.service")
        return sorted(
            {node for unit, nodes in self.lab.places().items() if name.fullmatch(unit) for node in nodes},
            key=lambda node: node.name,
        )

    def active(self) -> Node:
        """The node that requests come to."""
        nodes = self.balancer_nodes()
        if not self.pair:
            return nodes[0]
        holders = [node for node in nodes if self.holds(node)]
        assert len(holders) == 1, f"{self.address} is on {[node.name for node in holders]} instead of on one node"
        return holders[0]

    def holds(self, node: Node) -> bool:
        """Whether the virtual IP is there."""
        return bool(node.run("ip", "-4", "-o", "address", "show", "to", self.address))

    @property
    def address(self) -> str:
        """Where requests go: the virtual IP, or the address of the only balancer."""
        if not self.pair:
            return self.active().address
        text = self.lab.nodes[0].run("cat", f"/etc/flagship/keepalived-{self.name}.conf")
        found = re.search(r"virtual_ipaddress \{\s*([\d.]+)", text)
        assert found is not None
        return found.group(1)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.variables.get('load_balancer_port', 80)}/"

    def look(self, node: Node) -> Balancer:
        """The balancer on the node, looked at from the first time on."""
        found = self._looks.get(node)
        if found is None or not found.alive:
            found = self._looks[node] = Balancer(node, self.name, self._place)
        return found

    def close(self) -> None:
        for look in self._looks.values():
            look.close()

    def web_units(self) -> dict[str, int]:
        """The numbers of the web servers that shall run, by unit."""
        return self._numbers(self.lab.units())

    def web_places(self) -> dict[str, list[Node]]:
        """Where the web servers run, by unit."""
        places = self.lab.places()
        return {unit: places[unit] for unit in self._numbers(places)}

    def web_on(self, node: Node) -> dict[str, int]:
        """The web servers that run on the node."""
        return self._numbers([unit for unit, nodes in self.web_places().items() if node in nodes])

    def _numbers(self, units: Iterable[str]) -> dict[str, int]:
        found = {unit: re.fullmatch(rf"{self.web}@(\d+)\.service", unit) for unit in units}
        return {unit: int(match.group(1)) for unit, match in found.items() if match}

    def keys(self) -> dict[str, str]:
        """What etcd has of the site's servers: address by instance."""
        lines = self.lab.members[0].etcdctl("get", "--prefix", self.prefix).split()
        return {key.removeprefix(self.prefix): value for key, value in zip(lines[::2], lines[1::2], strict=True)}

    def address_of(self, number: int, keys: Mapping[str, str] | None = None) -> str | None:
        """The value of that web server's key, of those or of what etcd has now; None without a key."""
        name = re.compile(rf"nginx@{number}" if self.name == "nginx" else rf"[^:]+:dumbserve{number}:\d+")
        return next((value for key, value in (keys or self.keys()).items() if name.fullmatch(key)), None)

    def whole(self) -> bool:
        """Whether all web servers run and have keys, and just these are in use by all balancers."""
        units, keys, nodes = self.web_units(), self.keys(), self.balancer_nodes()
        wanted = sorted(self.address_of(number, keys) or "" for number in units.values())
        return (
            {unit: len(places) for unit, places in self.web_places().items()} == dict.fromkeys(units, 1)
            and sorted(keys.values()) == wanted
            and len(nodes) == int(self.variables.get("load_balancer_instances", 1))
            and all(sorted(self.look(node).backends or []) == wanted for node in nodes)
        )

    def settle(self, limit: float = LIMIT) -> None:
        wait_for(self.whole, f"all of {self.title}", limit, every=0.5)

    def playbook(self, name: str, **variables: Any) -> str:
        """Run a playbook of the collection for this site; what it printed."""
        inventory = ROOT / ".cache/lab" / self.lab.name / "inventory.yml"
        extra = json.dumps({**self.variables, **variables})
        answer = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), f"playbooks/{name}.yml", "-e", extra],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, f"{name} failed:\n{answer.stdout[-4000:]}{answer.stderr[-2000:]}"
        return answer.stdout


def stacks_of(lab: Lab) -> list[Stack]:
    """The sites of the lab, with the variables that the scenario has made them with."""
    scenario = ROOT / "molecule" / lab.name.removeprefix("molecule-") / "converge.yml"
    settings = [play.get("vars", {}) for play in yaml.safe_load(scenario.read_text())]
    variables = {found.get("site_stack", "nginx"): found for found in settings}
    return [Stack(lab, name, variables[name]) for name in sorted(variables, reverse=True)]
