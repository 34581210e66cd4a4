# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundled template and the runtime API, with a real HAProxy under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Backend, Load, request
from balancers import Haproxy
from etcd_server import wait_for
from flagship.balancer.output import OutputError
from flagship.balancer.render import server_name

pytestmark = pytest.mark.real


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    made = Haproxy(tmp_path)
    yield made
    made.stop()


def addresses(backends: list[Backend]) -> dict[str, str]:
    return {f"core01:dumbserve{number}:8080": backend.address for number, backend in enumerate(backends, 1)}


def server_names(backends: list[Backend]) -> set[str]:
    """Each server is there a second time, for when no check succeeds."""
    return {server_name("website:" + name) + again for name in addresses(backends) for again in ("", ":again")}


def test_servers_come_and_go_without_a_reload(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    assert haproxy.change({}), "the file for HAProxy's start"
    assert haproxy.status()["confirmed"] is False
    haproxy.start()
    assert haproxy.get()[0] == 503
    haproxy.change(addresses(three_backends[:1]))
    worker = haproxy.worker()
    with Load(haproxy.port) as load:
        for _round in range(5):
            haproxy.change(addresses(three_backends))
            assert haproxy.servers().keys() == server_names(three_backends)
            wait_for(lambda: load.answered["backend 2"], what="answers of a new server")
            haproxy.change(addresses(three_backends[:2]))
            assert haproxy.servers().keys() == server_names(three_backends[:2])
            load.answered.clear()
    assert load.failed == []
    assert haproxy.worker() == worker
    assert haproxy.reload_count() == 0
    assert haproxy.shown() == haproxy.rendered(addresses(three_backends[:2])).digest
    assert haproxy.status()["confirmed"] is True
    assert haproxy.in_step()


def test_a_server_that_has_left_is_deleted_after_its_last_request(
    haproxy: Haproxy, three_backends: list[Backend]
) -> None:
    haproxy.change(addresses(three_backends[:2]))
    haproxy.start()
    answers: list[tuple[int, str]] = []
    asks = [
        threading.Thread(target=lambda: answers.append(haproxy.get("/slow?1", method="POST", body=b"x")))
        for _request in range(2)
    ]
    for ask in asks:
        ask.start()
    wait_for(lambda: three_backends[1].count("POST") == 1, what="the request at the server that leaves")
    haproxy.change(addresses(three_backends[:1]))
    assert haproxy.output.unfinished
    assert haproxy.servers().keys() == server_names(three_backends[:1])
    for ask in asks:
        ask.join(10)
    assert sorted(answers) == [(200, "backend 0"), (200, "backend 1")]

    def tidy() -> bool:
        haproxy.change(addresses(three_backends[:1]))
        return not haproxy.output.unfinished

    wait_for(tidy, what="the end of the server that has left")
    assert "dumbserve2" not in haproxy.ask("show servers state")
    assert haproxy.reload_count() == 0


def test_servers_are_asked_though_no_check_succeeds(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.template.write_text(haproxy.template_text().replace("expect status 100-599", "expect status 599"))
    haproxy.change({})
    haproxy.start()
    haproxy.change(addresses(three_backends))
    wait_for(lambda: haproxy.ask("show stat").count(",DOWN,") == 3, what="three servers that are down")
    with Load(haproxy.port) as load:
        wait_for(lambda: len(load.answered) == 3, what="answers of all three")
    assert load.failed == []


def test_a_server_moves_and_comes_back(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change({"a": three_backends[0].address, "b": three_backends[1].address})
    haproxy.start()
    haproxy.change({"a": three_backends[2].address})
    assert {haproxy.get()[1] for _request in range(4)} == {"backend 2"}
    haproxy.change({"a": three_backends[0].address, "b": three_backends[1].address})
    wait_for(lambda: {haproxy.get()[1] for _request in range(4)} == {"backend 0", "backend 1"}, what="both")
    assert haproxy.reload_count() == 0


def test_another_skeleton_is_reloaded_without_a_failed_request(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends))
    haproxy.start()
    worker = haproxy.worker()
    with Load(haproxy.port) as load:
        for number in range(10):
            haproxy.template.write_text(haproxy.template_text().replace("maxconn 4096", f"maxconn {4000 + number}"))
            assert haproxy.change(addresses(three_backends))
            assert haproxy.status()["confirmed"] is True
    assert load.failed == []
    assert haproxy.reload_count() >= 10
    assert haproxy.worker() != worker


def test_a_refused_configuration_keeps_the_last_good_one(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends))
    haproxy.start()
    good = haproxy.destination.read_text()
    haproxy.template.write_text(haproxy.template_text().replace("balance roundrobin", "balance sometimes"))
    with pytest.raises(OutputError, match="balance only supports"):
        haproxy.change(addresses(three_backends))
    assert haproxy.destination.read_text() == good
    assert "balance only supports" in haproxy.status()["error"]
    assert haproxy.get()[0] == 200
    haproxy.template.write_text(haproxy.template_text())
    assert not haproxy.change(addresses(three_backends)), "nothing has changed since"
    assert haproxy.status()["error"] == ""
    assert haproxy.reload_count() == 0


def test_what_the_runtime_api_refuses_is_done_by_a_reload(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.template.write_text(haproxy.template_text().replace("rise 1", "rise 1 cookie {{ instance.port }}"))
    haproxy.change(addresses(three_backends[:1]))
    haproxy.start()
    assert haproxy.change(addresses(three_backends))
    assert haproxy.reload_count() == 1
    assert haproxy.servers().keys() == server_names(three_backends)
    assert haproxy.status()["confirmed"] is True


def test_haproxy_starts_again_with_what_the_file_says(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends[:1]))
    haproxy.start()
    haproxy.change(addresses(three_backends))
    haproxy.stop()
    haproxy.change(addresses(three_backends[:2]))
    haproxy.start()
    assert haproxy.servers().keys() == server_names(three_backends[:2])
    assert not haproxy.change(addresses(three_backends[:2]))
    haproxy.change(addresses(three_backends))
    assert haproxy.servers().keys() == server_names(three_backends)
    assert haproxy.reload_count() == 0


def test_servers_changed_by_hand_are_put_right(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends))
    haproxy.start()
    haproxy.change(addresses(three_backends))
    for name in server_names(three_backends):
        haproxy.ask(f"set server services/{name} state maint")
    assert haproxy.get()[0] == 503
    haproxy.change(addresses(three_backends))
    assert haproxy.get()[0] == 200


def test_a_frozen_server_costs_no_request(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends))
    haproxy.start()
    with Load(haproxy.port) as load:
        wait_for(lambda: load.answered["backend 0"] > 20, what="load")
        three_backends[0].freeze()
        time.sleep(6)
    assert load.failed == []
    assert load.answered.total() > 100


def test_a_killed_server_costs_no_request(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends))
    haproxy.start()
    with Load(haproxy.port) as load:
        for _round in range(3):
            load.answered.clear()
            wait_for(lambda: load.answered["backend 0"] > 20, what="load")
            three_backends[0].kill()
            time.sleep(1.5)
            three_backends[0].start()
    assert load.failed == []


def test_sites_are_told_apart_by_name(tmp_path: Path, three_backends: list[Backend]) -> None:
    made = Haproxy(tmp_path, sites=[{"hosts": ["a.example"], "service": "website"}], statistics_password="se'cret")
    made.change(addresses(three_backends))
    made.start()
    try:
        assert made.get(host="www.a.example")[0] == 200
        assert made.get(host="A.Example:8080")[0] == 200
        assert made.get(host="b.example") == (404, "There is no site of this name here.\n")
    finally:
        made.stop()


def test_a_page_that_is_slow_everywhere_is_waited_for(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends[:2]))
    haproxy.start()
    with Load(haproxy.port) as load:
        assert haproxy.get("/slow?2.5")[0] == 200
        assert haproxy.get("/slow?2.5", method="HEAD")[0] == 200
    assert load.failed == [], "a slow page takes others with it"


def test_a_stream_may_fall_silent(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends[:2]))
    haproxy.start()
    started = time.monotonic()
    assert haproxy.get("/slow?2", headers={"Accept": "text/event-stream"})[0] == 200
    assert time.monotonic() - started < 3
    assert sum(backend.count("GET") for backend in three_backends) == 1


def test_a_request_that_must_not_be_repeated_is_not(haproxy: Haproxy, three_backends: list[Backend]) -> None:
    haproxy.change(addresses(three_backends[:2]))
    haproxy.start()
    assert haproxy.get("/slow?2.5", method="POST", body=b"x")[0] == 200
    assert three_backends[0].count("POST") + three_backends[1].count("POST") == 1


def test_health(haproxy: Haproxy) -> None:
    haproxy.change({})
    haproxy.start()
    assert request(haproxy.health_port) == (200, haproxy.rendered({}).digest + "\n")


def test_a_thousand_servers(haproxy: Haproxy) -> None:
    haproxy.change({})
    haproxy.start()
    many = {f"dumbserve@{number}": f"127.{number // 250}.{number % 250}.1:80" for number in range(1000)}
    started = time.monotonic()
    assert haproxy.change(many)
    print(f"1,000 servers added in {time.monotonic() - started:.3f} s")
    assert time.monotonic() - started < 5
    assert haproxy.status()["confirmed"] is True
    assert haproxy.reload_count() == 0
