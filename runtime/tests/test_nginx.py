# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundled template with a real nginx under load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Backend, Load, request
from balancers import Nginx
from etcd_server import wait_for
from flagship.balancer.output import OutputError

pytestmark = pytest.mark.real


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    made = Nginx(tmp_path)
    yield made
    made.stop()


def addresses(backends: list[Backend]) -> dict[str, str]:
    return {f"nginx@{number}": backend.address for number, backend in enumerate(backends, 1)}


def test_a_frozen_server_costs_no_request(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends))
    nginx.start()
    with Load(nginx.port) as load:
        wait_for(lambda: load.answered["backend 0"] > 20, what="load")
        three_backends[0].freeze()
        time.sleep(6)
    assert load.failed == []
    assert load.answered.total() > 100


def test_a_killed_server_costs_no_request(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends))
    nginx.start()
    with Load(nginx.port) as load:
        for _round in range(3):
            load.answered.clear()
            wait_for(lambda: load.answered["backend 0"] > 20, what="load")
            three_backends[0].kill()
            time.sleep(1)
            three_backends[0].start()
    assert load.failed == []


def test_a_storm_of_reloads_costs_no_request(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends))
    nginx.start()
    with Load(nginx.port) as load:
        for number in range(30):
            assert nginx.change(addresses(three_backends[: 1 + number % 3]))
            assert nginx.status()["confirmed"] is True
    assert load.failed == []
    assert nginx.reload_count() == 30


def test_a_page_that_is_slow_everywhere_is_waited_for(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends[:2]))
    nginx.start()
    with Load(nginx.port) as load:
        assert nginx.get("/slow?2.5")[0] == 200
        assert nginx.get("/slow?2.5", method="HEAD")[0] == 200
    assert load.failed == [], "a slow page takes others with it"


def test_a_request_that_must_not_be_repeated_is_not(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends[:2]))
    nginx.start()
    for method in ("POST", "PUT"):
        assert nginx.get("/slow?2.5", method=method, body=b"x" * 100_000)[0] == 200
        assert sum(backend.count(method) for backend in three_backends) == 1


def test_a_stream_may_fall_silent(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends[:2]))
    nginx.start()
    started = time.monotonic()
    assert nginx.get("/slow?2", headers={"Accept": "text/event-stream"})[0] == 200
    assert time.monotonic() - started < 3
    assert sum(backend.count("GET") for backend in three_backends) == 1


def test_sites_are_told_apart_by_name(tmp_path: Path, three_backends: list[Backend]) -> None:
    sites = [{"hosts": ["a.example", "www.a.example"], "service": "website"}, {"hosts": ["b.example"], "service": "b"}]
    made = Nginx(tmp_path, sites=sites)
    made.change(addresses(three_backends))
    made.start()
    try:
        assert made.get(host="www.a.example")[0] == 200
        assert made.get(host="A.Example:8080")[0] == 200
        assert made.get(host="b.example") == (503, "No instance of this site is running.\n")
        assert made.get(host="c.example") == (404, "There is no site of this name here.\n")
        made.variables["sites"] = [*sites, {"service": "website"}]
        made.change(addresses(three_backends))
        wait_for(lambda: made.get(host="c.example")[0] == 200, what="the site for all other hosts")
    finally:
        made.stop()


def test_health(nginx: Nginx) -> None:
    nginx.change({})
    nginx.start()
    assert request(nginx.health_port) == (200, nginx.rendered({}).digest + "\n")


def test_what_was_accepted_but_does_not_come_live_is_noticed(
    nginx: Nginx, three_backends: list[Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flagship.balancer.process.CONFIRM_TIMEOUT", 0.3)
    nginx.change(addresses(three_backends[:1]))
    nginx.start()
    good = nginx.destination.read_text()
    reload = nginx.directory / "reload"
    works = reload.read_text()
    reload.write_text("#!/bin/sh\n")
    with pytest.raises(
        OutputError, match=r"does not run with the new file after 0.3 s: http://.* answers '\w+' instead"
    ):
        nginx.change(addresses(three_backends))
    assert nginx.destination.read_text() == good, "nginx would start with a file that it has never run with"
    assert nginx.status()["confirmed"] is False
    assert "does not run with the new file" in nginx.status()["error"]
    reload.write_text(works)
    assert nginx.change(addresses(three_backends))
    assert nginx.status()["confirmed"] is True
    assert nginx.status()["error"] == ""


def test_nginx_that_runs_with_something_else_is_reloaded(nginx: Nginx, three_backends: list[Backend]) -> None:
    nginx.change(addresses(three_backends))
    wanted = nginx.destination.read_text()
    nginx.destination.write_text(nginx.rendered({}).text)
    nginx.start()
    nginx.destination.write_text(wanted)
    assert nginx.get()[0] == 503
    assert nginx.change(addresses(three_backends))
    wait_for(lambda: nginx.get()[0] == 200, what="the new workers")
    assert not nginx.change(addresses(three_backends))


def test_a_thousand_servers(nginx: Nginx) -> None:
    nginx.change({})
    nginx.start()
    many = {f"nginx@{number}": f"10.{number // 250}.{number % 250}.1:80" for number in range(1000)}
    started = time.monotonic()
    assert nginx.change(many)
    assert time.monotonic() - started < 5
    assert nginx.status()["confirmed"] is True
