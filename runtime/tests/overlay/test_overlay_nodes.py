# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole daemons on a real kernel: network namespaces are the nodes and the containers, a bridge is their link.

Of what a node forwards only that is accepted which comes from its own containers, as Docker has it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from etcd_server import wait_for

PREFIX = "/coreos.com/network"
SOURCE = Path(__file__).resolve().parents[2] / "src"
# The daemon as it is, but with less patience than a real network needs.
DAEMON = (
    "import sys; from flagship import cli; from flagship.overlay import loop;"
    "loop.GRACE = loop.INTERVAL = loop.PATIENCE = 1.0; sys.exit(cli.main(sys.argv[1:]))"
)
PROBE = str(Path(__file__).with_name("probe.py"))


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


class Namespace:
    """A network namespace with a name that no other has."""

    def __init__(self, name: str) -> None:
        self.name = f"flagship-{os.getpid()}-{name}"
        self.processes: list[subprocess.Popen[bytes]] = []
        _run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str, check: bool = True) -> str:
        return _run("ip", "netns", "exec", self.name, *command, check=check)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(["ip", "netns", "exec", self.name, *command], stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command) or "[]")

    def remove(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)
        _run("ip", "netns", "delete", self.name)


class Node:
    """A node with its daemon, Docker's bridge, and one container once the subnet is known."""

    def __init__(self, number: int, hub: Namespace, directory: Path) -> None:
        self.address = f"192.0.2.{number}"
        self.directory = directory
        self.namespace, self.container = Namespace(f"n{number}"), Namespace(f"c{number}")
        self.daemon: subprocess.Popen[bytes] | None = None
        self.environment = [
            f"PYTHONPATH={SOURCE}", f"STATE_DIRECTORY={directory}", "FLAGSHIP_ETCD_ENDPOINTS=http://192.0.2.1:2379"
        ]  # fmt: skip
        self.command = [
            *(sys.executable, "-c", DAEMON, "overlay"),
            *(f"--public-ip={self.address}", f"--subnet-file={self.subnet_env}"),
        ]
        self.subnet = ""
        hub.run("ip", "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", self.namespace.name)
        hub.run("ip", "link", "set", f"p{number}", "master", "br0", "up")
        run = self.namespace.run
        run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
        run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        run("iptables", "-P", "FORWARD", "DROP")
        run("iptables", "-A", "FORWARD", "-i", "docker0", "!", "-o", "docker0", "-j", "ACCEPT")

    @property
    def subnet_env(self) -> Path:
        return self.directory / "subnet.env"

    def start(self) -> None:
        self.daemon = self.namespace.start("env", *self.environment, *self.command, log=self.directory / "log")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(20)

    def add_container(self) -> None:
        """Do what Docker does with the subnet."""
        found = re.search(r"FLANNEL_SUBNET=((\S+)\.1)/24", self.subnet_env.read_text())
        assert found
        self.subnet = f"{found[2]}.0/24"
        run, inside = self.namespace.run, self.container.run
        run("ip", "link", "add", "docker0", "type", "bridge")
        run("ip", "address", "add", f"{found[1]}/24", "dev", "docker0")
        run("ip", "link", "set", "docker0", "up")
        run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", self.container.name)
        run("ip", "link", "set", "v0", "master", "docker0", "up")
        inside("ip", "address", "add", f"{self.container_address}/24", "dev", "eth0")
        inside("ip", "link", "set", "eth0", "mtu", "1450", "up")
        inside("ip", "route", "add", "default", "via", found[1])
        self.container.start(sys.executable, PROBE, "serve", log=self.directory / "server")

    @property
    def container_address(self) -> str:
        return self.subnet.replace(".0/24", ".2")

    def asked_from(self, other: Node, size: int = 100) -> str:
        """The address that the other container sees when ours asks it with `size` bytes; empty without an answer."""
        return self.container.run(sys.executable, PROBE, "ask", other.container_address, str(size), check=False).strip()

    def reaches(self, other: Node, size: int = 100) -> bool:
        return self.asked_from(other, size) == self.container_address

    def routes(self) -> dict[str, str]:
        """Subnets of other nodes, and the devices that lead to them."""
        found = self.namespace.json("ip", "-json", "-N", "route", "show", "protocol", "70")
        return {route["dst"]: route["dev"] for route in found}

    @contextmanager
    def asking(self, other: Node) -> Iterator[None]:
        """Ask from container to container meanwhile, 50 times a second; no answer may be missing."""
        log = self.directory / "stream"
        log.unlink(missing_ok=True)
        process = self.container.start(sys.executable, PROBE, "stream", other.container_address, log=log)
        wait_for(lambda: log.exists() and "running" in log.read_text(), what="the first answers")
        yield
        process.send_signal(signal.SIGINT)
        process.wait(10)
        sent, answered = map(int, log.read_text().splitlines()[-1].split())
        assert sent > 100 and answered == sent, log.read_text()[-500:]


class Network:
    """A link with etcd on it, and three nodes."""

    def __init__(self, directory: Path) -> None:
        self.hub = Namespace("hub")
        self.directory = directory
        self.hub.run("ip", "link", "add", "name", "br0", "type", "bridge")
        self.hub.run("ip", "address", "add", "192.0.2.1/24", "dev", "br0")
        self.hub.run("ip", "link", "set", "br0", "up")
        self.nodes: list[Node] = []
        for number in (11, 12, 13):
            (directory / str(number)).mkdir()
            self.nodes.append(Node(number, self.hub, directory / str(number)))
        self.start_etcd()

    def start_etcd(self) -> None:
        url = "http://192.0.2.1:2379"
        self.etcd = self.hub.start(
            "etcd", f"--data-dir={self.directory / 'etcd'}", f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}", "--unsafe-no-fsync", log=self.directory / "etcd.log",
        )  # fmt: skip
        wait_for(lambda: "is healthy" in self.etcdctl("endpoint", "health", check=False), 20, "a healthy etcd")

    def etcdctl(self, *arguments: str, check: bool = True) -> str:
        command = 'ETCDCTL_API=3 exec etcdctl --endpoints=http://192.0.2.1:2379 "$@" 2>&1'
        return self.hub.run("sh", "-c", command, "sh", *arguments, check=check)

    def configure(self, backend: str) -> None:
        config = {"Network": "10.1.0.0/16", "SubnetLen": 24, "Backend": {"Type": backend}}
        self.etcdctl("put", f"{PREFIX}/config", json.dumps(config))

    def settle(self) -> None:
        """Wait until every container reaches every other."""
        pairs = [(one, other) for one in self.nodes for other in self.nodes if one is not other]
        wait_for(lambda: all(one.reaches(other) for one, other in pairs), 30, "a whole overlay")

    def remove(self) -> None:
        for node in self.nodes:
            node.container.remove()
            node.namespace.remove()
        self.hub.remove()


@pytest.fixture(scope="module")
def etcd_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces need root")
    network = Network(tmp_path_factory.mktemp("network"))
    try:
        network.configure("vxlan")
        for node in network.nodes:
            node.start()
        for node in network.nodes:
            wait_for(node.subnet_env.exists, 20, f"subnet.env of {node.address}")
            node.add_container()
        yield network
    finally:
        network.remove()


@pytest.fixture
def network(etcd_network: Network) -> Network:
    """The overlay as it should be: vxlan, everybody reaches everybody."""
    etcd_network.configure("vxlan")
    for node in etcd_network.nodes:
        if node.daemon is None or node.daemon.poll() is not None:
            node.start()
    etcd_network.settle()
    return etcd_network


def test_containers_see_each_others_addresses(network: Network) -> None:
    one, other, _third = network.nodes
    assert len({node.subnet for node in network.nodes}) == 3
    assert one.asked_from(other) == one.container_address
    assert set(one.routes().values()) == {"flannel.1"}


def test_the_largest_packet_fits_and_a_larger_one_does_not(network: Network) -> None:
    one, other, _third = network.nodes
    assert "FLANNEL_MTU=1450" in one.subnet_env.read_text()
    assert one.reaches(other, 1422)
    assert not one.reaches(other, 1423)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_daemon_loses_no_packet(network: Network, number: signal.Signals) -> None:
    one, other, _third = network.nodes
    with one.asking(other):
        for node in (one, other):
            node.stop(number)
            written = node.subnet_env.stat().st_mtime_ns
            node.start()
            time.sleep(3)
            assert node.subnet_env.stat().st_mtime_ns == written


def test_packets_flow_while_etcd_is_away(network: Network) -> None:
    one, other, _third = network.nodes
    with one.asking(other):
        network.etcd.kill()
        network.etcd.wait(10)
        time.sleep(3)
        network.start_etcd()
        time.sleep(2)
    assert all(node.daemon and node.daemon.poll() is None for node in network.nodes)


def test_a_boot_without_etcd_gives_the_old_subnet_and_the_old_peers(network: Network) -> None:
    one, other, _third = network.nodes
    network.etcd.kill()
    network.etcd.wait(10)
    one.stop()
    subnet = one.subnet_env.read_text()
    one.subnet_env.unlink()
    one.namespace.run("ip", "link", "delete", "flannel.1")
    try:
        one.start()
        wait_for(one.subnet_env.exists, 20, "subnet.env without etcd")
        assert one.subnet_env.read_text() == subnet
        wait_for(lambda: one.reaches(other), 10, "a way to the other container without etcd")
    finally:
        network.start_etcd()


def test_what_others_break_is_repaired(network: Network) -> None:
    one, other, _third = network.nodes
    link = one.namespace.json("ip", "-json", "link", "show", "dev", "flannel.1")
    one.namespace.run("ip", "link", "delete", "flannel.1")
    one.namespace.run("iptables", "-F", "FLAGSHIP-OVERLAY")
    one.namespace.run("iptables", "-t", "nat", "-F")
    wait_for(lambda: one.reaches(other), 10, "the repair")
    assert one.namespace.json("ip", "-json", "link", "show", "dev", "flannel.1")[0]["address"] == link[0]["address"]
    assert one.asked_from(other) == one.container_address


@pytest.mark.parametrize("down", [False, True])
def test_routes_of_a_removed_node_go(network: Network, down: bool) -> None:
    """Also those of one that was removed while the daemon was down."""
    one, other, third = network.nodes
    third.stop()
    if down:
        one.stop()
    network.etcdctl("del", f"{PREFIX}/subnets/{third.subnet.replace('/', '-')}")
    assert third.subnet in one.routes()
    if down:
        one.start()
    wait_for(lambda: third.subnet not in one.routes(), 15, "the end of the route")
    # The route goes first, so that no packet is sent where nobody is known any more.
    gateway = third.subnet.replace("/24", "")
    run, device = one.namespace.run, ("show", "dev", "flannel.1")
    wait_for(lambda: gateway not in run("ip", "neighbour", *device), 5, "the end of the neighbour")
    wait_for(lambda: third.address not in run("bridge", "fdb", *device), 5, "the end of the forwarding")
    assert other.subnet in one.routes() and one.reaches(other)


def test_host_gw_and_back(network: Network) -> None:
    one, other, _third = network.nodes
    network.configure("host-gw")
    wait_for(
        lambda: all(set(node.routes().values()) == {"eth0"} for node in network.nodes), 20, "the routes of host-gw"
    )
    network.settle()
    assert one.asked_from(other) == one.container_address
    wait_for(lambda: "flannel.1" not in one.namespace.run("ip", "link", "show"), 5, "the end of the device")
    assert "FLANNEL_MTU=1500" in one.subnet_env.read_text()
    # The node itself reaches the containers of others, too.
    one.namespace.run(sys.executable, PROBE, "ask", other.container_address, "100")
    values = network.etcdctl("get", "--prefix", "--print-value-only", f"{PREFIX}/subnets/").split()
    assert all(json.loads(value)["BackendType"] == "host-gw" for value in values)


def flannel_lease(subnet: str) -> tuple[str, str]:
    """Key and value as flanneld writes them for a node 192.0.2.14."""
    value = (
        '{"PublicIP":"192.0.2.14","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"8e:3c:60:be:25:6d"}}'
    )
    return f"{PREFIX}/subnets/{subnet.replace('/', '-')}", value


def test_a_node_joins_that_runs_flanneld(network: Network) -> None:
    """What flanneld puts into etcd and into its kernel, by hand: the daemons take it for one of theirs."""
    one = network.nodes[0]
    taken = {node.subnet for node in network.nodes}
    subnet = next(net for net in (f"10.1.{number}.0/24" for number in range(1, 9)) if net not in taken)
    key, value = flannel_lease(subnet)
    network.etcdctl("put", key, value)
    peer = Node(14, network.hub, network.directory)
    try:
        run = peer.namespace.run
        for line in (
            "link add flannel.1 address 8e:3c:60:be:25:6d mtu 1450 type vxlan id 1 dev eth0 local 192.0.2.14"
            " dstport 8472 nolearning",
            f"address add {subnet.replace('/24', '/32')} dev flannel.1",
            "link set flannel.1 up",
        ):
            run("ip", *line.split())
        mac = one.namespace.json("ip", "-json", "link", "show", "dev", "flannel.1")[0]["address"]
        gateway = one.subnet.replace("/24", "")
        run("ip", "neighbour", "add", gateway, "lladdr", mac, "dev", "flannel.1", "nud", "permanent")
        run("bridge", "fdb", "add", mac, "dev", "flannel.1", "dst", one.address, "self", "permanent")
        run("ip", "route", "add", one.subnet, "via", gateway, "dev", "flannel.1", "onlink")
        wait_for(lambda: subnet in one.routes(), 10, "the route to the other kind of node")
        assert run(sys.executable, PROBE, "ask", one.container_address, "100").strip() == subnet.replace("/24", "")
    finally:
        network.etcdctl("del", key)
        peer.container.remove()
        peer.namespace.remove()


def test_a_node_whose_subnet_was_given_away_takes_another_one(network: Network) -> None:
    """As one does that was away for more than a day; here Docker's bridge stays where it was."""
    one, _other, third = network.nodes
    third.stop()
    key, value = flannel_lease(third.subnet)
    network.etcdctl("put", key, value)
    try:
        third.start()
        old = third.subnet.replace(".0/24", ".1/24")
        wait_for(lambda: f"SUBNET={old}\n" not in third.subnet_env.read_text(), 10, "another subnet")
        wait_for(lambda: third.routes().get(third.subnet) == "flannel.1", 10, "the route to the new owner")
        wait_for(lambda: len(one.routes()) == 3, 10, "the routes to all four nodes")
        assert "from now on" in (third.directory / "log").read_text()
    finally:
        # Back to the subnet that the container has.
        third.stop()
        network.etcdctl("del", "--prefix", f"{PREFIX}/subnets/")
        (third.directory / "state.json").unlink()
        third.namespace.run("ip", "route", "replace", third.subnet, "dev", "docker0", "scope", "link")
        third.subnet_env.write_text(f"FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET={old}\nFLANNEL_MTU=1450\n")
        third.start()


def test_remove_leaves_nothing(network: Network) -> None:
    third = network.nodes[2]
    third.stop()
    third.namespace.run("env", *third.environment, *third.command, "--remove")
    assert third.routes() == {} and not third.subnet_env.exists()
    assert "flannel.1" not in third.namespace.run("ip", "link", "show")
    assert "FLAGSHIP" not in third.namespace.run("iptables-save")
    assert third.subnet.replace("/", "-") not in network.etcdctl("get", "--prefix", "--keys-only", PREFIX)
