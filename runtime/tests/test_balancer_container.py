# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A balancer in a container of a real Docker engine: its check, its signal, and what it means when it is not there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_engine import Containers, Proxy, docker, have_engine
from etcd_server import wait_for
from flagship.balancer.container import Container
from flagship.balancer.control import BalancerError, NotRunningError

# Counts the signals that it gets, and lives until it is removed.
PROGRAM = "trap 'echo reloaded' HUP; trap 'exit' TERM; echo started; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    if not have_engine():
        pytest.skip("no Docker engine answers here")
    containers = Containers()
    yield containers
    containers.remove()


@pytest.fixture
def name(containers: Containers) -> Iterator[str]:
    """A container that runs."""
    name = containers.name("balancer")
    docker("run", "--detach", f"--label={containers.label}", f"--name={name}", containers.image, "sh", "-c", PROGRAM)
    wait_for(lambda: docker("logs", name) == "started", what="the start of the program")
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True, timeout=60)


def test_its_check_is_run_inside(name: str) -> None:
    balancer = Container(name, "HUP")
    balancer.check([])
    balancer.check(["sh", "-c", "test -x /bin/sleep && echo 'fine, thanks' && echo 'really' >&2"])
    with pytest.raises(BalancerError) as caught:
        balancer.check(["sh", "-c", "echo '[NOTICE] hello' >&2; echo 'one is bad' >&2; echo two; exit 3"])
    assert str(caught.value).startswith("check command `sh -c ")
    assert str(caught.value).endswith(f"in container {name} failed with exit code 3: one is bad.")


def test_a_check_that_cannot_be_run_is_named(name: str) -> None:
    with pytest.raises(BalancerError, match=rf"check command `nginx -t` in container {name} failed .*nginx"):
        Container(name, "HUP").check(["nginx", "-t"])


def test_a_check_that_says_much_or_nothing(name: str) -> None:
    with pytest.raises(BalancerError, match="exit code 1: no output"):
        Container(name, "HUP").check(["sh", "-c", "exit 1"])
    with pytest.raises(BalancerError, match=r"exit code 1: 1+; 2; 3\."):
        long = "i=0; while [ $i -lt 3000 ]; do printf 1111111111; i=$((i+1)); done; echo"
        Container(name, "HUP").check(["sh", "-c", f"{long}; echo 2; echo 3; echo 4; exit 1"])


def test_its_signal_makes_it_read_its_file(name: str) -> None:
    Container(name, "HUP").reload()
    wait_for(lambda: "reloaded" in docker("logs", name), what="the signal")


@pytest.mark.parametrize("how", ["stop", "pause", "rm"])
def test_one_that_does_not_run(name: str, how: str) -> None:
    docker(how, *(["--force"] if how == "rm" else []), name)
    balancer = Container(name, "HUP")
    for call in (balancer.ask_whether_running, lambda: balancer.check(["true"]), balancer.reload):
        if how == "pause" and call == balancer.reload:
            continue  # the engine sends it, and the container gets it when it goes on
        with pytest.raises(NotRunningError, match=f"container {name}"):
            call()


def test_an_engine_that_is_away_or_hangs(name: str, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    balancer = Container(name, "HUP", str(proxy.path), timeout=1)
    with pytest.raises(NotRunningError, match=rf"{proxy.path} is away, and container {name} with it"):
        balancer.reload()
    proxy.start()
    try:
        balancer.ask_whether_running()
        began = time.monotonic()
        with pytest.raises(BalancerError, match=r"did not answer within 1 s"):
            balancer.check(["sleep", "5"])
        proxy.freeze()
        with pytest.raises(BalancerError, match=r"did not answer within 1 s"):
            balancer.check(["sh", "-c", "exit"])
        assert time.monotonic() - began < 4
    finally:
        proxy.cut()
