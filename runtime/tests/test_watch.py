# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship watch`: the real command between a real etcd and a real nginx."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Load
from balancers import Haproxy, Nginx, Watch
from etcd_server import EtcdServer, wait_for
from flagship.balancer.watch import due
from flagship.etcd import Client
from hypothesis import given
from hypothesis import strategies as st
from website import Website

milliseconds = st.integers(0, 100_000)


@given(milliseconds, milliseconds, milliseconds, milliseconds)
def test_quiescence(first: int, gap: int, shortest: int, more: int) -> None:
    when = due(first, first + gap, shortest, shortest + more)
    assert when <= first + gap + shortest
    assert when <= first + shortest + more
    assert when >= first + shortest or when >= first + shortest + more


class Site(Nginx):
    """nginx, the keys of its site, and `flagship watch` between them."""

    def __init__(self, directory: Path, server: EtcdServer, prefix: str) -> None:
        super().__init__(directory, f"{prefix}website")
        self.watch = Watch(directory, server, self)

    def put(self, client: Client, instance: str, address: str) -> None:
        client.put(f"{self.prefix}/{instance}", address.encode())

    def servers(self) -> list[str]:
        return re.findall(r"server ([0-9.:]+) max_fails=1", self.destination.read_text())


@pytest.fixture
def site(tmp_path: Path, etcd_server: EtcdServer, prefix: str) -> Iterator[Site]:
    made = Site(tmp_path, etcd_server, prefix)
    yield made
    made.watch.kill()
    made.stop()


def test_from_keys_to_answers(site: Site, etcd_client: Client) -> None:
    one, two = Website("Welcome to nginx1"), Website("Welcome to nginx2")
    one.start()
    two.start()
    site.watch.start()
    site.start()
    assert site.get() == (503, "No instance of this site is running.\n")
    site.put(etcd_client, "nginx@1", one.address)
    site.put(etcd_client, "nginx@2", two.address)
    wait_for(lambda: site.servers() == [one.address, two.address], what="both backends in the file")
    # Workers of the old configuration answer for a moment after the reload.
    titles = {f"{website.title} for site.example" for website in (one, two)}
    wait_for(lambda: {site.get()[1] for _request in range(4)} == titles, what="both titles in turn")
    one.stop()
    wait_for(lambda: [site.get()[0] for _request in range(6)] == [200] * 6, what="answers without the dead backend")
    time.sleep(2.1)  # nginx tries the dead backend again
    assert [site.get()[0] for _request in range(6)] == [200] * 6, "a dead backend shows through"
    etcd_client.delete(f"{site.prefix}/nginx@1")
    wait_for(lambda: site.servers() == [two.address], what="one backend in the file")
    etcd_client.delete(f"{site.prefix}/nginx@2")
    wait_for(lambda: site.servers() == [], what="no backend in the file")
    wait_for(lambda: site.get()[0] == 503, what="503")
    two.stop()
    site.watch.stop()
    assert site.status()["error"] == ""


def test_a_storm_of_changes_causes_few_reloads(site: Site, etcd_client: Client) -> None:
    website = Website()
    website.start()
    site.put(etcd_client, "nginx@0", website.address)
    site.watch.start()
    site.start()
    with Load(site.port) as load:
        started = time.monotonic()
        for number in range(500):
            site.put(etcd_client, f"nginx@{1 + number % 7}", f"127.0.0.{2 + number % 200}:{website.port}")
            time.sleep(max(0.0, started + number * 0.01 - time.monotonic()))
        site.put(etcd_client, "nginx@1", "127.0.0.1:1")
        wait_for(lambda: "127.0.0.1:1" in site.servers() and len(site.servers()) == 8, what="the last state")
        wait_for(site.in_step, what="the status")
    website.stop()
    assert load.failed == []
    assert 1 <= site.reload_count() <= 20
    assert site.status()["confirmed"] is True
    assert site.shown() == site.status()["digest"]


def test_several_templates_in_one_process(site: Site, etcd_server: EtcdServer, etcd_client: Client) -> None:
    directory = site.directory / "second"
    directory.mkdir()
    second = Haproxy(directory, site.prefix)
    watch = Watch(site.directory, etcd_server, site, second)
    site.watch.kill()
    site.watch = watch
    watch.start()
    site.start()
    second.start()
    try:
        site.template.write_text("{% broken")
        site.put(etcd_client, "nginx@1", "127.0.0.1:1")
        wait_for(second.servers, what="the backend in HAProxy, whatever the other template is like")
        status = json.loads((site.directory / "status" / "haproxy.json").read_text())
        assert status["error"] == ""
        wait_for(lambda: "line 1" in str(site.status()["error"]), what="the other template's error")
        site.template.write_text(site.template_text())
        wait_for(lambda: site.servers() == ["127.0.0.1:1"], what="the backend in nginx")
        assert second.reload_count() == 0
        watch.stop()
    finally:
        second.stop()


def test_the_file_is_put_right_by_the_timer(site: Site, etcd_client: Client) -> None:
    site.write_ini("resync = 1s\n")
    site.put(etcd_client, "nginx@1", "127.0.0.1:1")
    site.watch.start()
    site.start()
    good = site.destination.read_text()
    site.destination.write_text("nonsense")
    wait_for(lambda: site.destination.read_text() == good, what="the right file")


def test_failures_are_retried_less_and_less_often(site: Site, etcd_client: Client) -> None:
    site.watch.start()
    site.start()
    site.template.write_text("{{ nothing }}")
    site.put(etcd_client, "nginx@1", "127.0.0.1:1")
    wait_for(lambda: site.watch.log().count("Trying again") >= 3, 20, "retries")
    began = time.monotonic()
    wait_for(lambda: site.watch.log().count("Trying again") >= 4, 20, "one more")
    assert time.monotonic() - began > 0.8, "it tries as often as at first"
    assert site.watch.log().count("'nothing' is undefined") == site.watch.log().count("Trying again")


def test_a_bad_template_keeps_the_last_good_file(site: Site, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "127.0.0.1:1")
    site.watch.start()
    site.start()
    good = site.destination.read_text()
    site.template.write_text(site.template_text().replace("server_tokens off", "server_tokens perhaps"))
    site.put(etcd_client, "nginx@2", "127.0.0.1:2")
    wait_for(lambda: "perhaps" in str(site.status()["error"]), what="nginx's refusal in the status")
    site.template.write_text("{% broken")
    wait_for(lambda: "line 1" in str(site.status()["error"]), what="the template's error in the status")
    assert site.destination.read_text() == good
    assert site.get()[0] == 502, "nginx does not serve with the last good file"
    site.template.write_text(site.template_text())
    wait_for(lambda: site.servers() == ["127.0.0.1:1", "127.0.0.1:2"], what="a retry without any further change")
    wait_for(lambda: site.status()["error"] == "", what="the end of the error in the status")
    assert "Traceback" not in site.watch.log()


def test_start_without_etcd_and_without_a_file(site: Site, etcd_server: EtcdServer, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    etcd_server.pause()
    assert site.watch.start() < 10
    assert site.servers() == []
    site.start()
    assert site.get()[0] == 503
    etcd_server.resume()
    wait_for(lambda: site.servers() == ["10.0.0.1:80"], what="the backend once etcd answers")


def test_start_without_etcd_keeps_the_file_that_is_there(
    site: Site, etcd_server: EtcdServer, etcd_client: Client
) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    site.watch.start()
    site.watch.stop()
    etcd_server.stop()
    assert site.watch.start() < 10
    assert site.servers() == ["10.0.0.1:80"]
    etcd_server.start()
    with Client(etcd_server.connection()) as client:
        site.put(client, "nginx@2", "10.0.0.2:80")
    wait_for(lambda: len(site.servers()) == 2, 20, "the change after the outage")
    site.watch.stop()
    assert site.reload_count() == 0, "nothing ran that could be reloaded"


def test_once_and_dry_run(site: Site, etcd_server: EtcdServer, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    result = site.watch.run("--dry-run")
    assert result.returncode == 0
    assert "server 10.0.0.1:80 " in result.stdout
    assert not site.destination.exists()
    result = site.watch.run("--once")
    assert result.returncode == 0
    assert site.servers() == ["10.0.0.1:80"]
    etcd_server.stop()
    result = site.watch.run("--once")
    assert result.returncode == 1
    assert result.stderr.startswith(f"flagship watch: {site.destination} stays as it is: etcd is not available")
    assert result.stderr.count("\n") == 1
    assert site.servers() == ["10.0.0.1:80"]
