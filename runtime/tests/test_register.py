# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship register`: the real command between a real etcd and a real Docker engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker_engine import LABEL, Containers, Proxy, docker, have_engine
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client, KeyValue

SOURCE = Path(__file__).parents[1] / "src"
NODE = "node1"


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    if not have_engine():
        pytest.skip("no Docker engine answers here")


@pytest.fixture(scope="module")
def _containers() -> Iterator[Containers]:
    containers = Containers()
    yield containers
    containers.remove()


@pytest.fixture
def containers(_containers: Containers) -> Iterator[Containers]:
    """Containers of one's own, gone after the test."""
    yield _containers
    found = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={_containers.run}").split()
    if found:
        docker("rm", "--force", "--volumes", *found)


class Register:
    """The real command as a process; it sees all containers of the machine, so tests look for their own."""

    def __init__(self, server: EtcdServer, prefix: str, directory: Path, proxy: Proxy, *options: str) -> None:
        self.prefix = prefix.rstrip("/")
        self.orders = directory / "orders"
        self.proxy = proxy
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "FLAGSHIP_ETCD_ENDPOINTS": ",".join(server.endpoints),
            "FLAGSHIP_ETCD_TIMEOUT": "1",
            "DOCKER_HOST": proxy.url,
        }
        self.log = directory / "register.log"
        self._options = options
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        options = ["--prefix", self.prefix, "--ip", "127.0.0.1", "--hostname", NODE, *self._options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command(*options), env=self._environment, stderr=log)
        return self.process

    def withdraw(self, name: str, *options: str) -> subprocess.Popen[str]:
        command = self._command("--withdraw", name, *options)
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "flagship", "register", "--directory", str(self.orders), *options]


Start = Callable[..., Register]


@pytest.fixture
def register(etcd_server: EtcdServer, prefix: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the command; whatever is left of it ends with the test."""
    proxy = Proxy(tmp_path)
    proxy.start()
    started: list[Register] = []

    def start(*options: str) -> Register:
        started.append(Register(etcd_server, prefix, tmp_path, proxy, *options))
        return started[-1]

    yield start
    for registered in started:
        registered.kill()
        print(registered.log.read_text())
    proxy.cut()


class Site:
    """What etcd has of this test's containers, by the key's end: website/node1:one:80 without the run's mark."""

    def __init__(self, client: Client, prefix: str, run: str) -> None:
        self._client = client
        self._prefix = prefix
        self._mark = f"-{run}"

    def keys(self) -> dict[str, KeyValue]:
        items = self._client.range(self._prefix).items.values()
        return {
            item.key.removeprefix(self._prefix).replace(self._mark, ""): item
            for item in items
            if self._mark in item.key
        }

    def values(self) -> dict[str, str]:
        return {key: item.value.decode() for key, item in self.keys().items()}

    def wait(self, expected: dict[str, str], limit: float = 10.0) -> None:
        try:
            wait_for(lambda: self.values() == expected, limit)
        except AssertionError:
            assert self.values() == expected

    def wait_names(self, *names: str, limit: float = 10.0) -> None:
        try:
            wait_for(lambda: sorted(self.keys()) == sorted(names), limit)
        except AssertionError:
            assert sorted(self.keys()) == sorted(names)


@pytest.fixture
def site(etcd_client: Client, prefix: str, containers: Containers) -> Site:
    return Site(etcd_client, prefix, containers.run)


WEB = "web/node1:web:80"
OPTIONS = ("--expose", "80", "--env", "SERVICE_NAME=web")


def test_containers_are_listed_as_registrator_lists_them(register: Start, containers: Containers, site: Site) -> None:
    containers.start("before", *OPTIONS)
    register("--internal")
    site.wait({"web/node1:before:80": f"{containers.address('before')}:80"})
    containers.start("after", "--expose", "80", "--expose", "53/udp", "--label", "SERVICE_80_NAME=web")
    image = containers.image.rpartition(":")[0].removesuffix(f"-{containers.run}")
    site.wait(
        {
            "web/node1:before:80": f"{containers.address('before')}:80",
            "web/node1:after:80": f"{containers.address('after')}:80",
            f"{image}-53/node1:after:53:udp": f"{containers.address('after')}:53",
        }
    )
    docker("rename", containers.name("before"), containers.name("renamed"))
    docker("rm", "--force", containers.name("after"))
    site.wait({"web/node1:renamed:80": f"{containers.address('renamed')}:80"})
    docker("rename", containers.name("renamed"), containers.name("before"))


def test_published_ports_are_listed_at_the_address_of_the_machine(
    register: Start, containers: Containers, site: Site
) -> None:
    containers.start("web", *OPTIONS, "--publish", "80", "--publish", "127.0.0.1::81", "--expose", "82")
    register()
    port = docker("port", containers.name("web"), "80/tcp").splitlines()[0].rpartition(":")[2]
    site.wait({"web-80/node1:web:80": f"127.0.0.1:{port}"})


def test_a_container_is_listed_while_it_is_healthy_and_runs(
    register: Start, containers: Containers, site: Site
) -> None:
    health = ("--health-cmd", "test -e /healthy", "--health-interval", "0.3s", "--health-retries", "2")
    containers.start("web", *OPTIONS, *health)
    containers.start("other", *OPTIONS)
    register("--internal")
    other = "web/node1:other:80"
    site.wait_names(other)
    docker("exec", containers.name("web"), "sh", "-c", ": > /healthy")
    site.wait_names(WEB, other)
    docker("pause", containers.name("other"))
    site.wait_names(WEB, limit=2)
    docker("unpause", containers.name("other"))
    site.wait_names(WEB, other, limit=2)
    docker("kill", containers.name("other"))
    site.wait_names(WEB, limit=2)
    docker("start", containers.name("other"))
    site.wait_names(WEB, other)


def test_an_unhealthy_container_is_not_listed(register: Start, containers: Containers, site: Site) -> None:
    health = ("--health-cmd", "test ! -e /sick", "--health-interval", "0.3s", "--health-retries", "2")
    containers.start("web", *OPTIONS, *health)
    register("--internal")
    site.wait_names(WEB)
    docker("exec", containers.name("web"), "sh", "-c", ": > /sick")
    site.wait_names()


def test_a_stop_takes_the_key_away_before_the_container_ends(
    register: Start, containers: Containers, site: Site
) -> None:
    containers.start("web", *OPTIONS)
    register("--internal")
    site.wait_names(WEB)
    with subprocess.Popen(["docker", "stop", containers.name("web")], stdout=subprocess.DEVNULL) as stopping:
        site.wait_names(limit=0.9)
        assert stopping.poll() is None, "the container ended before its key"


def test_a_signal_that_is_not_the_one_to_stop_says_nothing(register: Start, containers: Containers, site: Site) -> None:
    containers.start("web", *OPTIONS, "--env", "SERVICE_IGNORE=")
    register("--internal")
    site.wait_names(WEB)
    before = site.keys()
    docker("kill", "--signal", "WINCH", containers.name("web"))
    time.sleep(1)
    assert site.keys() == before


def test_nothing_is_written_while_nothing_changes(register: Start, containers: Containers, site: Site) -> None:
    containers.start("web", *OPTIONS, "--health-cmd", "true", "--health-interval", "0.2s")
    register("--internal", "--ttl", "2s")
    site.wait_names(WEB)
    before = site.keys()
    time.sleep(3)  # longer than the TTL, with a dozen health checks
    assert site.keys() == before


def test_all_keys_hang_on_one_lease_and_end_with_the_node(register: Start, containers: Containers, site: Site) -> None:
    containers.start("web", *OPTIONS, "--expose", "81")
    node = register("--internal", "--ttl", "2s")
    site.wait_names("web-80/node1:web:80", "web-81/node1:web:81")
    assert len({item.lease for item in site.keys().values()} - {0}) == 1
    node.kill()
    site.wait_names(limit=2 + 2)


def test_a_crash_is_taken_over_without_a_gap_and_leaves_nothing_stale(
    register: Start, containers: Containers, site: Site, etcd_client: Client
) -> None:
    containers.start("web", *OPTIONS)
    containers.start("gone", *OPTIONS)
    node = register("--internal", "--ttl", "60s")
    site.wait_names(WEB, "web/node1:gone:80")
    before = site.keys()[WEB]
    node.kill()
    docker("rm", "--force", containers.name("gone"))
    node.start()
    site.wait_names(WEB, limit=5)
    wait_for(lambda: site.keys()[WEB].lease != before.lease, what="the new lease")
    after = site.keys()[WEB]
    assert after.create_revision == before.create_revision, "the key was away in between"
    etcd_client.revoke(before.lease)
    assert site.keys()[WEB] == after


def test_a_restart_is_taken_over_without_a_gap(register: Start, containers: Containers, site: Site) -> None:
    containers.start("web", *OPTIONS)
    node = register("--internal")
    site.wait_names(WEB)
    before = site.keys()[WEB]
    node.stop()
    assert site.keys()[WEB] == before
    node.start()
    wait_for(lambda: site.keys()[WEB].lease != before.lease, 5, "the new lease")
    assert site.keys()[WEB].create_revision == before.create_revision


def test_a_second_one_on_the_same_node_says_so(register: Start, containers: Containers, site: Site) -> None:
    containers.start("web", *OPTIONS)
    first = register("--internal")
    site.wait_names(WEB)
    second = register("--internal")
    assert second.process.wait(10) == 1
    assert "another one runs already" in second.log.read_text()
    assert first.process.poll() is None


def test_a_key_that_somebody_removed_comes_back_with_the_lease(
    register: Start, containers: Containers, site: Site, etcd_client: Client
) -> None:
    containers.start("web", *OPTIONS)
    register("--internal")
    site.wait_names(WEB)
    etcd_client.revoke(site.keys()[WEB].lease)
    site.wait_names(WEB, limit=4)


def test_an_etcd_outage_is_ridden_out(
    register: Start, containers: Containers, site: Site, etcd_server: EtcdServer
) -> None:
    containers.start("web", *OPTIONS)
    containers.start("gone", *OPTIONS)
    node = register("--internal", "--ttl", "2s")
    site.wait_names(WEB, "web/node1:gone:80")
    before = site.keys()[WEB]
    etcd_server.stop()
    docker("rm", "--force", containers.name("gone"))
    time.sleep(3)  # longer than the TTL
    assert node.process.poll() is None
    etcd_server.start()
    site.wait_names(WEB)
    assert site.keys()[WEB].create_revision == before.create_revision, "the key was away in between"


def test_containers_stay_listed_while_the_engine_is_away_and_as_long_as_they_live(
    register: Start, containers: Containers, site: Site
) -> None:
    containers.start("web", *OPTIONS)
    containers.start("dying", *OPTIONS)
    node = register("--internal", "--ttl", "2s")
    site.wait_names(WEB, "web/node1:dying:80")
    before = site.keys()[WEB]
    node.proxy.cut()
    time.sleep(3)  # longer than the TTL
    assert site.keys()[WEB] == before
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", containers.name("dying")))
    os.kill(pid, signal.SIGKILL)
    site.wait_names(WEB, limit=2)
    containers.start("new", *OPTIONS)
    node.proxy.start()
    site.wait_names(WEB, "web/node1:new:80")
    assert site.keys()[WEB] == before


def test_a_container_that_dies_while_the_engine_hangs_is_not_listed(
    register: Start, containers: Containers, site: Site
) -> None:
    containers.start("web", *OPTIONS)
    containers.start("dying", *OPTIONS)
    node = register("--internal")
    site.wait_names(WEB, "web/node1:dying:80")
    node.proxy.freeze()
    docker("kill", containers.name("dying"))
    site.wait_names(WEB, limit=2)


def test_a_container_is_withdrawn_before_it_stops(register: Start, containers: Containers, site: Site) -> None:
    name = containers.name("web")
    identity = containers.start("web", *OPTIONS)
    containers.start("other", *OPTIONS)
    node = register("--internal")
    other = "web/node1:other:80"
    site.wait_names(WEB, other)
    with node.withdraw(name, "--drain", "2s") as leaving:
        site.wait_names(other, limit=3)
        gone = time.monotonic()
        assert leaving.wait(10) == 0
        assert 1 < time.monotonic() - gone < 4, "it did not wait for the balancers"
    assert docker("inspect", "--format", "{{.State.Running}}", name) == "true"
    node.kill()
    node.start()
    time.sleep(2)
    assert sorted(site.keys()) == [other], "the order was forgotten in a restart"
    docker("restart", "--time", "0", name)
    site.wait_names(WEB, other)
    wait_for(lambda: not (node.orders / identity).exists(), what="the end of the order")


def test_a_withdrawal_never_holds_up_a_stop(
    register: Start, containers: Containers, site: Site, etcd_server: EtcdServer
) -> None:
    name = containers.name("web")
    containers.start("web", "--env", "SERVICE_NAME=web")  # without a port
    node = register("--internal")

    def withdraw(name: str) -> str:
        leaving = node.withdraw(name, "--drain", "30s")
        _output, said = leaving.communicate(timeout=20)
        assert leaving.returncode == 0
        return str(said)

    assert withdraw("nonexistent") == ""
    wait_for((node.orders / "lock").exists)
    assert withdraw(name) == ""
    node.kill()
    assert "no `flagship register` runs here" in withdraw(name)
    node.proxy.cut()
    assert "cannot be asked" in withdraw(name)
    docker("stop", "--time", "0", name)
    node.proxy.start()
    assert withdraw(name) == ""
