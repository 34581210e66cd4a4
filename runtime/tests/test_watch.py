# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship watch`: the real command between a real etcd and a real nginx."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer, free_port, wait_for
from flagship.balancer.render import BUNDLED
from flagship.balancer.watch import due
from flagship.etcd import Client
from hypothesis import given
from hypothesis import strategies as st
from website import Website

SOURCE = Path(__file__).parents[1] / "src"

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
milliseconds = st.integers(0, 100_000)


@given(milliseconds, milliseconds, milliseconds, milliseconds)
def test_quiescence(first: int, gap: int, shortest: int, more: int) -> None:
    when = due(first, first + gap, shortest, shortest + more)
    assert when <= first + gap + shortest
    assert when <= first + shortest + more
    assert when >= first + shortest or when >= first + shortest + more


class Site:
    """A directory with a template, nginx on a port of its own, and the command that connects it to etcd."""

    def __init__(self, directory: Path, server: EtcdServer, prefix: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.destination = directory / "live" / "nginx.conf"
        self.template = directory / "site.j2"
        self.template.write_text(self.template_text())
        self.reloads = directory / "reloads"
        self._prefix = prefix
        self._server = server
        self._watch: subprocess.Popen[str] | None = None
        pid = f"pid {directory}/nginx.pid;"
        self._nginx = ["nginx", "-c", str(self.destination), "-g", pid]
        reload = directory / "reload"
        reload.write_text(f"#!/bin/sh\necho >> {self.reloads}\nexec nginx -s reload -c {self.destination} -g '{pid}'\n")
        reload.chmod(0o755)
        (directory / "watch.ini").write_text(
            f"[site]\nprefix = {prefix}website\ntemplate = {self.template}\ndestination = {self.destination}\n"
            f"check = nginx -t -q -c {{staged}} -g '{pid}'\nreload = {reload}\n"
            f"running = test -s {directory}/nginx.pid\n"
        )

    def template_text(self) -> str:
        text = (BUNDLED / "nginx.conf.j2").read_text()
        text = text.replace("worker_processes auto", "worker_processes 1")
        text = text.replace("/dev/stderr", f"{self.directory}/error.log")
        text = text.replace("/dev/stdout", f"{self.directory}/access.log")
        return text.replace("listen 80", f"listen 127.0.0.1:{self.port}")

    def command(self, *options: str) -> list[str]:
        config = str(self.directory / "watch.ini")
        return [sys.executable, "-m", "flagship", "watch", "--template-config", config, *options]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "FLAGSHIP_ETCD_ENDPOINTS": ",".join(self._server.endpoints),
            "FLAGSHIP_ETCD_TIMEOUT": "1",
            "RUNTIME_DIRECTORY": str(self.directory / "run"),
            **more,
        }

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options), env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def start_watch(self) -> float:
        """Start the daemon and wait until it tells systemd that it is ready; returns how long that took."""
        started = time.monotonic()
        path = str(self.directory / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path)
            systemd.settimeout(20)
            with (self.directory / "watch.log").open("a") as log:
                self._watch = subprocess.Popen(
                    self.command(), env=self.environment(NOTIFY_SOCKET=path), stderr=log, text=True
                )
            assert systemd.recv(100) == b"READY=1"
        Path(path).unlink()
        return time.monotonic() - started

    def stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.send_signal(signal.SIGTERM)
            assert self._watch.wait(20) == 0
            self._watch = None

    def start_nginx(self) -> None:
        subprocess.run(self._nginx, timeout=30, check=True)

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait(10)
        if (self.directory / "nginx.pid").exists():
            subprocess.run([*self._nginx, "-s", "stop"], timeout=30, check=False)

    def put(self, client: Client, instance: str, address: str) -> None:
        client.put(f"{self._prefix}website/{instance}", address.encode())

    def servers(self) -> list[str]:
        return re.findall(r"server ([0-9.:]+) max_fails", self.destination.read_text())

    def get(self) -> tuple[int, str]:
        """Status and body of a request through nginx."""
        try:
            with _opener.open(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
                return int(answer.status), str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self) -> dict[str, object]:
        content = json.loads((self.directory / "run" / "site.json").read_text())
        assert isinstance(content, dict)
        return content

    def log(self) -> str:
        return (self.directory / "watch.log").read_text()

    def reload_count(self) -> int:
        return len(self.reloads.read_text()) if self.reloads.exists() else 0


@pytest.fixture
def site(tmp_path: Path, etcd_server: EtcdServer, prefix: str) -> Iterator[Site]:
    made = Site(tmp_path, etcd_server, prefix)
    yield made
    made.stop()


def test_from_keys_to_answers(site: Site, etcd_client: Client) -> None:
    one, two = Website("Welcome to nginx1"), Website("Welcome to nginx2")
    one.start()
    two.start()
    site.start_watch()
    site.start_nginx()
    assert site.get() == (503, "No instance of this site is running.\n")
    site.put(etcd_client, "nginx@1", one.address)
    site.put(etcd_client, "nginx@2", two.address)
    wait_for(lambda: site.servers() == [one.address, two.address], what="both backends in the file")
    host = f"127.0.0.1:{site.port}"
    # Workers of the old configuration answer for a moment after the reload.
    titles = {f"{website.title} for {host}" for website in (one, two)}
    wait_for(lambda: {site.get()[1] for _request in range(4)} == titles, what="both titles in turn")
    one.stop()
    wait_for(lambda: [site.get()[0] for _request in range(6)] == [200] * 6, what="answers without the dead backend")
    time.sleep(2.1)  # nginx tries the dead backend again
    assert [site.get()[0] for _request in range(6)] == [200] * 6, "a dead backend shows through"
    etcd_client.delete(f"{site._prefix}website/nginx@1")
    wait_for(lambda: site.servers() == [two.address], what="one backend in the file")
    etcd_client.delete(f"{site._prefix}website/nginx@2")
    wait_for(lambda: site.servers() == [], what="no backend in the file")
    wait_for(lambda: site.get()[0] == 503, what="503")
    two.stop()
    site.stop_watch()
    assert site.status()["error"] == ""


def test_a_storm_of_changes_causes_few_reloads(site: Site, etcd_client: Client) -> None:
    site.start_watch()
    site.start_nginx()
    started = time.monotonic()
    for number in range(200):
        site.put(etcd_client, f"nginx@{number % 7}", f"10.0.0.1:{1000 + number}")
    site.put(etcd_client, "nginx@0", "10.0.0.1:80")
    wait_for(lambda: "10.0.0.1:80" in site.servers() and len(site.servers()) == 7, what="the last state")
    wait_for(lambda: site.status()["hash"] == hashlib.sha256(site.destination.read_bytes()).hexdigest())
    assert 1 <= site.reload_count() <= 2 + (time.monotonic() - started) / 0.5


def test_a_bad_template_keeps_the_last_good_file(site: Site, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "127.0.0.1:1")
    site.start_watch()
    site.start_nginx()
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
    assert "Traceback" not in site.log()


def test_start_without_etcd_and_without_a_file(site: Site, etcd_server: EtcdServer, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    etcd_server.pause()
    assert site.start_watch() < 10
    assert site.servers() == []
    site.start_nginx()
    assert site.get()[0] == 503
    etcd_server.resume()
    wait_for(lambda: site.servers() == ["10.0.0.1:80"], what="the backend once etcd answers")


def test_start_without_etcd_keeps_the_file_that_is_there(
    site: Site, etcd_server: EtcdServer, etcd_client: Client
) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    site.start_watch()
    site.stop_watch()
    etcd_server.stop()
    assert site.start_watch() < 10
    assert site.servers() == ["10.0.0.1:80"]
    etcd_server.start()
    with Client(etcd_server.connection()) as client:
        site.put(client, "nginx@2", "10.0.0.2:80")
    wait_for(lambda: len(site.servers()) == 2, 20, "the change after the outage")
    site.stop_watch()
    assert site.reload_count() == 0, "nothing ran that could be reloaded"


def test_once_and_dry_run(site: Site, etcd_server: EtcdServer, etcd_client: Client) -> None:
    site.put(etcd_client, "nginx@1", "10.0.0.1:80")
    result = site.run("--dry-run")
    assert result.returncode == 0
    assert "server 10.0.0.1:80 " in result.stdout
    assert not site.destination.exists()
    result = site.run("--once")
    assert result.returncode == 0
    assert site.servers() == ["10.0.0.1:80"]
    etcd_server.stop()
    result = site.run("--once")
    assert result.returncode == 1
    assert result.stderr.startswith(f"flagship watch: {site.destination} stays as it is: etcd is not available")
    assert result.stderr.count("\n") == 1
    assert site.servers() == ["10.0.0.1:80"]
