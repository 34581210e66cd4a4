# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unmodified fleetctl of fleet 1.0.0: each of its commands comes to an end, and did what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from etcd_server import wait_for
from flagship.fleet.unit_file import Option, content_hash, parse

from fleet.fleetctl_1_0_0 import ApiError, Original
from fleet.simulated import Node

HELLO = parse("[Unit]\nDescription=Hello\n[Service]\nExecStartPre=\nExecStart=/bin/sleep 1\n")
NEW = parse("[Service]\nExecStart=/bin/sleep 2\n")
GLOBAL = (*HELLO, Option("X-Fleet", "Global", "true"))


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node("m1", token_limit=3).start()


@pytest.fixture
def fleetctl(node: Node) -> Iterator[Original]:
    with closing(Original(node.socket)) as found:
        yield found


def state(fleetctl: Original, name: str) -> tuple[str, str]:
    unit = fleetctl.unit(name) or {}
    return unit.get("desiredState", ""), unit.get("currentState", "")


def test_submit_load_start_stop_unload_destroy(fleetctl: Original, node: Node) -> None:
    names = ("a.service", "web@1.service", "web@1.timer", "x-y_z:1.service", "d\\x2db.mount")
    fleetctl.submit(*((name, HELLO) for name in names))
    assert all(state(fleetctl, name) == ("inactive", "inactive") for name in names)
    assert fleetctl.list_unit_files() == dict.fromkeys(sorted(names), content_hash(HELLO))
    fleetctl.load(*((name, HELLO) for name in names))
    assert not node.running
    assert fleetctl.start(*((name, HELLO) for name in names))
    assert node.running == set(names)
    assert [found["name"] for found in fleetctl.list_units()] == sorted(names)
    assert fleetctl.machine_of("a.service") == "192.0.2.1"
    assert fleetctl.stop(*names) == 0
    assert not node.running
    before = len(fleetctl.requests)
    assert fleetctl.stop(*names) == 0
    assert not [found for found in fleetctl.requests[before:] if found[0] == "PUT"]
    fleetctl.unload(*names)
    assert fleetctl.stop("a.service") == 1
    assert fleetctl.machine_of("a.service") == ""
    fleetctl.destroy(*names, "none.service")
    assert fleetctl.list_unit_files() == {}
    assert not node.running and not fleetctl.warnings


def test_start_at_once_and_destroy_what_runs(fleetctl: Original, node: Node) -> None:
    assert fleetctl.start(("a.service", HELLO))
    sent = [(method, path, status) for method, path, status in fleetctl.requests if method != "GET"]
    assert sent == [("PUT", "units/a.service", 201), ("PUT", "units/a.service", 204)]
    fleetctl.destroy("a.service", no_block=True)
    wait_for(lambda: not node.running and fleetctl.list_units() == [], what="nothing to be left")


def test_what_cannot_run_ends_with_an_error_and_not_never(fleetctl: Original, node: Node) -> None:
    node.systemd.failing.add("a.service")
    assert not fleetctl.start(("a.service", HELLO))
    # Its service comes with the next command only.
    assert not fleetctl.start(("b.timer", HELLO))
    assert fleetctl.start(("b.service", HELLO))
    wait_for(lambda: node.running == {"b.service", "b.timer"}, what="the timer to run")
    assert fleetctl.stop("a.service", "b.timer", "b.service") == 0
    assert not node.running


def test_load_stops_what_runs(fleetctl: Original, node: Node) -> None:
    assert fleetctl.start(("a.service", HELLO))
    fleetctl.load(("a.service", HELLO))
    assert not node.running and state(fleetctl, "a.service") == ("loaded", "loaded")


@pytest.mark.parametrize("no_block", [False, True])
def test_restart_is_one_restart(fleetctl: Original, node: Node, no_block: bool) -> None:
    assert fleetctl.start(("a.service", HELLO), ("b.service", HELLO))
    started = time.monotonic()
    fleetctl.restart("a.service", "b.service", no_block=no_block)
    assert time.monotonic() - started < 5
    for name in ("a.service", "b.service"):
        wait_for(lambda n=name: node.systemd.count("restart", n) == 1, what="the restart")  # type: ignore[misc]
        assert state(fleetctl, name) == ("launched", "launched")
        assert node.systemd.count("stop", name) == 0


def test_restart_of_what_does_not_run(fleetctl: Original, node: Node) -> None:
    fleetctl.submit(("a.service", HELLO))
    fleetctl.load(("b.service", HELLO))
    fleetctl.restart("a.service", "b.service")
    assert fleetctl.warnings == ["a.service"]
    assert node.running == {"b.service"}


def test_replace(fleetctl: Original, node: Node) -> None:
    fleetctl.submit(("a.service", HELLO))
    fleetctl.submit(("a.service", NEW), replace=True)
    assert fleetctl.list_unit_files() == {"a.service": content_hash(NEW)}
    fleetctl.load(("a.service", HELLO), replace=True)
    assert fleetctl.start(("a.service", NEW), replace=True)
    # What runs is stopped, is `inactive` for a moment, and then runs with the new contents.
    assert fleetctl.start(("a.service", HELLO), replace=True)
    assert node.running == {"a.service"} and node.systemd.count("stop", "a.service") == 1
    assert fleetctl.list_units()[0]["hash"] == content_hash(HELLO)
    assert not fleetctl.warnings
    # load and submit may not replace what runs, and load then just stops it.
    fleetctl.submit(("a.service", NEW), replace=True)
    fleetctl.load(("a.service", NEW), replace=True)
    assert fleetctl.warnings == ["a.service", "a.service"] and not node.running


def test_replace_waits_for_a_slow_stop(fleetctl: Original, node: Node) -> None:
    assert fleetctl.start(("a.service", HELLO))
    node.systemd.stuck.add("a.service")
    done = threading.Event()

    def finish() -> None:
        wait_for(lambda: node.systemd.count("stop", "a.service"), what="the stop")
        time.sleep(1.0)
        done.set()
        node.systemd.finish_stop("a.service")

    thread = threading.Thread(target=finish)
    thread.start()
    assert fleetctl.start(("a.service", NEW), replace=True)
    thread.join()
    assert done.is_set() and fleetctl.list_units()[0]["hash"] == content_hash(NEW)


def test_instances_of_a_template(fleetctl: Original, node: Node) -> None:
    fleetctl.submit(("web@.service", HELLO))
    assert fleetctl.start(("web@1.service", ()), ("web@a@b.service", ()))
    assert node.running == {"web@1.service", "web@a@b.service"}
    with pytest.raises(ApiError, match=r"googleapi: Error 400: unit web@\.service is a template"):
        fleetctl.start(("web@.service", ()))
    fleetctl.submit(("web@.service", NEW), replace=True)
    assert fleetctl.list_unit_files() == {
        "web@.service": content_hash(NEW),
        "web@1.service": content_hash(HELLO),
        "web@a@b.service": content_hash(HELLO),
    }


def test_global_units_are_not_waited_for(fleetctl: Original, node: Node) -> None:
    fleetctl.submit(("g.service", GLOBAL))
    assert fleetctl.start(("g.service", GLOBAL))
    wait_for(lambda: node.running == {"g.service"}, what="g.service to run")
    assert (fleetctl.unit("g.service") or {}).keys() == {"name", "options", "desiredState"}
    fleetctl.restart("g.service")
    wait_for(lambda: node.systemd.count("restart", "g.service") == 1, what="the restart")
    fleetctl.stop("g.service")
    wait_for(lambda: not node.running, what="g.service to stop")
    fleetctl.unload("g.service")
    fleetctl.destroy("g.service")
    wait_for(lambda: fleetctl.list_units() == [], what="nothing to be left")


def test_a_unit_without_a_place_crashes_nothing(fleetctl: Original) -> None:
    fleetctl.submit(("a.service", (*HELLO, Option("X-Fleet", "MachineID", "none"))))
    assert not fleetctl.wait_active("a.service")
    fleetctl.destroy("a.service")
    assert not fleetctl.wait_active("a.service")


def test_many_pages(fleetctl: Original, node: Node) -> None:
    names = [f"u{number}.service" for number in range(7)]
    fleetctl.submit(*((name, HELLO) for name in names))
    assert list(fleetctl.list_unit_files()) == names
    assert sum(path == "units" for _method, path, _status in fleetctl.requests) == 3
    assert [machine["id"] for machine in fleetctl.pages("machines", "machines")] == [node.id]


def test_what_is_wrong_is_told_in_one_line(fleetctl: Original) -> None:
    with pytest.raises(ApiError, match=r"googleapi: Error 400: unit name 'a\.scope' must end in"):
        fleetctl.put("a.scope", options=[{"section": "A", "name": "b"}])
    with pytest.raises(ApiError, match="googleapi: Error 409: unit does not exist and options field empty"):
        fleetctl.put("a.service", desiredState="launched")


def test_a_name_and_password_in_the_endpoint_do_no_harm(node: Node) -> None:
    with closing(Original(node.socket, user="me:secret")) as fleetctl:
        assert fleetctl.start(("a.service", HELLO))
        assert fleetctl.stop("a.service") == 0


def test_a_tunnel_by_fd_forward(node: Node) -> None:
    # What fd-forward carries are the same bytes, in any pieces, and the end of one side is not that of the other.
    request = b"GET /fleet/v1/machines?alt=json HTTP/1.1\r\nHost: domain-sock\r\nAccept-Encoding: gzip\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(node.socket)
        for at in range(0, len(request), 7):
            sock.sendall(request[at : at + 7])
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b'"machines"' in answer
