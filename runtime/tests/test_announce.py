# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship announce`: decisions as tables, and the real command against a real etcd and a real web server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from etcd_server import EtcdCluster, EtcdServer, wait_for
from flagship.discovery.announce import decide
from flagship.discovery.check import Health, judge, parse_check, parse_statuses
from flagship.discovery.lifetime import lease_seconds
from flagship.etcd import Client, EtcdConnection, KeyValue
from hypothesis import given
from hypothesis import strategies as st
from website import Website

SOURCE = Path(__file__).parents[1] / "src"
MINE, OTHER = 7, 8


@pytest.mark.parametrize(
    ("results", "rise", "fall", "expected"),
    [
        ("+", 1, 1, "u"),
        ("-", 1, 1, "d"),
        ("+-+-", 1, 1, "udud"),
        ("++-+--", 1, 2, "uuuuud"),
        ("++-++", 2, 1, "duddu"),
        ("+--+--", 1, 3, "uuuuuu"),
        ("+---+++", 3, 3, "ddddddu"),
    ],
)
def test_rise_and_fall(results: str, rise: int, fall: int, expected: str) -> None:
    health, seen = Health(), ""
    for result in results:
        health = judge(health, result == "+", rise, fall)
        seen += "u" if health.up else "d"
    assert seen == expected


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_health_changes_only_after_as_many_equal_results(results: list[bool], rise: int, fall: int) -> None:
    health = Health()
    for index, passed in enumerate(results):
        before, health = health, judge(health, passed, rise, fall)
        if health.up == before.up:
            assert health.contrary < (fall if health.up else rise)
            continue
        needed = rise if health.up else fall
        assert results[index + 1 - needed : index + 1] == [health.up] * needed


def found(value: bytes, lease: int) -> KeyValue:
    return KeyValue("/services/website/nginx@1", value, 1, 5, lease)


@pytest.mark.parametrize(
    ("key", "wanted", "step"),
    [
        (None, True, "put"),
        (None, False, "nothing"),
        (found(b"me", MINE), True, "nothing"),
        (found(b"me", MINE), False, "delete"),
        (found(b"else", MINE), True, "put"),
        (found(b"me", OTHER), True, "put"),  # left behind by this announcer's previous life
        (found(b"me", OTHER), False, "nothing"),
        (found(b"else", OTHER), True, "taken"),
        (found(b"else", OTHER), False, "nothing"),
        (found(b"else", 0), True, "put"),
        (found(b"else", 0), False, "nothing"),
    ],
)
def test_steps(key: KeyValue | None, wanted: bool, step: str) -> None:
    assert decide(key, wanted, b"me", MINE) == step


@pytest.fixture
def website() -> Iterator[Website]:
    site = Website()
    site.start()
    yield site
    site.stop()


def test_http_check(website: Website) -> None:
    check = parse_check(f"http://{website.address}/status?x=1", website.address)
    assert check(1.0) == ""
    website.status = 503
    assert check(1.0) == "status 503"
    website.status = 302
    assert check(1.0) == "status 302"
    website.stop()
    assert check(1.0) == "connection refused"
    assert parse_check("tcp", website.address)(1.0) == "connection refused"


def test_http_check_of_status_and_text(website: Website) -> None:
    def check(statuses: str = "2xx", text: str = "") -> str:
        return parse_check(f"http://{website.address}/", website.address, parse_statuses(statuses), text)(1.0)

    assert check("200,204") == check("200-299") == check(text="Welcome for 127.0.0.1") == ""
    assert check("204,3xx") == "status 200"
    assert check(text="Goodbye") == "its text is without 'Goodbye'"
    website.status = 404
    assert check("200-299, 404") == check("4xx", "Welcome") == ""


def test_text_is_found_across_the_chunks_of_an_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with tcp_server(lambda connection: connection.sendall(head + b"4\r\nI am\r\n5\r\n well\r\n0\r\n\r\n")) as address:
        assert parse_check(f"http://{address}/", address, None, "am well")(2.0) == ""


def test_an_answer_that_never_ends_is_read_in_vain_for_so_long_only() -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(bytes(1000))
                time.sleep(0.01)
        except OSError:
            pass

    with tcp_server(pour) as address:
        started = time.monotonic()
        assert parse_check(f"http://{address}/", address, None, "well")(0.5) == "no answer in time"
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("text", ["", "20", "600", "2xx;3xx", "299-200", "2XX "])
def test_statuses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="status"):
        parse_statuses(text)


@pytest.mark.parametrize(
    ("ttl", "lease"), [(2, 2), (3.5, 3), (4, 4), (5, 4), (7, 4), (7.9, 4), (8, 4), (9, 5), (10, 6), (60, 56)]
)
def test_lease_for_a_promise(ttl: float, lease: int) -> None:
    assert lease_seconds(ttl) == lease


@given(st.floats(8, 3600))
def test_a_promise_holds_when_the_leader_of_etcd_dies(ttl: float) -> None:
    election, extension = 3, 1
    assert election + lease_seconds(ttl) + extension <= ttl


@contextmanager
def tcp_server(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection:
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_check_of_a_server_that_accepts_and_never_answers_ends_in_time() -> None:
    release = threading.Event()
    with tcp_server(lambda _connection: release.wait(10)) as address:
        started = time.monotonic()
        assert parse_check(f"http://{address}/", address)(0.3) == "no answer in time"
        assert time.monotonic() - started < 2
        release.set()


def test_check_of_a_server_that_drips_its_answer_ends_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        try:
            for _attempt in range(100):
                connection.sendall(b"H")
                time.sleep(0.1)
        except OSError:
            pass

    with tcp_server(drip) as address:
        started = time.monotonic()
        assert parse_check(f"http://{address}/", address)(0.5) == "no answer in time"
        assert time.monotonic() - started < 3


def test_check_of_a_server_that_does_not_speak_http() -> None:
    with tcp_server(lambda connection: connection.sendall(b"220 smtp ready\r\n")) as address:
        assert parse_check(f"http://{address}/", address)(2.0) == "it does not answer in HTTP"
    with tcp_server(lambda connection: None) as address:
        assert parse_check("tcp", address)(2.0) == ""


class Announce:
    """The real command as a process."""

    def __init__(self, server: EtcdServer | EtcdCluster, prefix: str, website: Website, *options: str) -> None:
        self.key = f"{prefix}website/nginx@1"
        command = [
            *(sys.executable, "-m", "flagship", "announce", "--prefix", prefix, "--service", "website"),
            *("--instance", "nginx@1", "--address", website.address, "--check", f"http://{website.address}/"),
            *("--interval", "0.1s", "--ttl", "2s", *options),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "FLAGSHIP_ETCD_ENDPOINTS": ",".join(server.endpoints),
            "FLAGSHIP_ETCD_TIMEOUT": "1",
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (kill() closes it)
        self.process = subprocess.Popen(command, env=environment, stderr=self._log)

    @property
    def said(self) -> str:
        """What it has said so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def stop(self) -> str:
        """SIGTERM; returns what it said."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return self.said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._log.close()


Start = Callable[..., Announce]


@pytest.fixture
def announce(etcd_server: EtcdServer, prefix: str, website: Website) -> Iterator[Start]:
    """Starts the command; whatever is left of it ends with the test."""
    started: list[Announce] = []

    def start(*options: str) -> Announce:
        started.append(Announce(etcd_server, prefix, website, *options))
        return started[-1]

    yield start
    for announcer in started:
        announcer.kill()


def test_key_follows_the_check_and_goes_on_sigterm(announce: Start, website: Website, etcd_client: Client) -> None:
    announcer = announce("--fall", "2", "--rise", "2")
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    key = etcd_client.get(announcer.key)
    assert key is not None and key.value == website.address.encode() and key.lease != 0
    website.status = 500
    wait_for(lambda: etcd_client.get(announcer.key) is None, what="removal after failed checks")
    website.status = 200
    wait_for(lambda: etcd_client.get(announcer.key), what="the key after passed checks")
    said = announcer.stop()
    assert announcer.process.returncode == 0, said
    assert etcd_client.get(announcer.key) is None
    assert "Traceback" not in said


def test_a_failing_service_is_gone_after_one_interval_and_as_many_checks_as_fall_says(
    announce: Start, website: Website, etcd_client: Client
) -> None:
    announcer = announce("--interval", "0.5s", "--fall", "2")
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    website.stop()
    wait_for(lambda: etcd_client.get(announcer.key) is None, 0.5 + 2 * 0.5, "removal in time")


def test_the_key_goes_at_once_when_the_service_hangs_as_it_stops(announce: Start, etcd_client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        announcer = announce("--fall", "3", "--timeout", "30s")
        wait_for(lambda: etcd_client.get(announcer.key), what="the key")
        hung = announce("--instance", "nginx@2", "--check", f"http://{address}/", "--timeout", "30s")
        silent.settimeout(10)
        silent.accept()
        started = time.monotonic()
        hung.stop()
        assert time.monotonic() - started < 5, "it waited for a check that hangs"


def test_a_lost_lease_takes_the_key_away_for_a_moment_only(announce: Start, etcd_client: Client) -> None:
    announcer = announce("--interval", "30s")
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    key = etcd_client.get(announcer.key)
    assert key is not None
    etcd_client.revoke(key.lease)
    wait_for(lambda: etcd_client.get(announcer.key), 2, "the key under a new lease")


def test_a_node_that_freezes_together_with_the_leader_of_etcd_is_out_in_time(
    etcd_cluster: EtcdCluster, prefix: str, website: Website
) -> None:
    announcer = Announce(etcd_cluster, prefix, website, "--ttl", "8s")
    leader = etcd_cluster.leader()
    others = [member for member in etcd_cluster.members if member is not leader]
    with Client(EtcdConnection(tuple(member.endpoint for member in others))) as client:
        try:
            wait_for(lambda: client.get(announcer.key), what="the key")
            announcer.process.send_signal(signal.SIGSTOP)
            leader.pause()
            wait_for(lambda: client.get(announcer.key) is None, 8 + 1, "the end of the key")
            announcer.process.send_signal(signal.SIGCONT)
            wait_for(lambda: client.get(announcer.key), 10, "the key when the node is back")
        finally:
            announcer.kill()


def test_nothing_is_written_while_nothing_changes(announce: Start, etcd_client: Client) -> None:
    announcer = announce()
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    before = etcd_client.range("/").revision
    time.sleep(2.5)  # longer than the TTL: lease renewals and looks at the key are no writes
    after = etcd_client.get(announcer.key)
    assert after is not None
    assert etcd_client.range("/").revision == before


def test_a_deleted_key_is_restored(announce: Start, etcd_client: Client) -> None:
    announcer = announce()
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    etcd_client.delete(announcer.key)
    wait_for(lambda: etcd_client.get(announcer.key), what="the key again")


def test_a_key_of_the_same_name_elsewhere_is_respected(
    announce: Start, website: Website, etcd_client: Client, prefix: str
) -> None:
    lease = etcd_client.grant(60)
    etcd_client.put(f"{prefix}website/nginx@1", b"10.9.9.9:80", lease)
    announcer = announce()
    wait_for(lambda: "belongs to b'10.9.9.9:80'" in announcer.said, what="the complaint")
    key = etcd_client.get(announcer.key)
    assert key is not None and key.value == b"10.9.9.9:80"
    etcd_client.revoke(lease)
    wait_for(lambda: etcd_client.get(announcer.key), what="the key, once it is free")
    etcd_client.put(announcer.key, b"10.9.9.9:80", lease := etcd_client.grant(60))
    announcer.stop()
    key = etcd_client.get(announcer.key)
    assert key is not None and key.value == b"10.9.9.9:80", "a stopping announcer removed another one's key"
    etcd_client.revoke(lease)


def test_an_etcd_outage_is_ridden_out(announce: Start, etcd_server: EtcdServer, etcd_client: Client) -> None:
    announcer = announce()
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    etcd_server.stop()
    time.sleep(3.0)  # longer than the TTL
    assert announcer.process.poll() is None
    etcd_server.start()
    wait_for(lambda: etcd_client.get(announcer.key), what="the key after the outage")
    said = announcer.stop()
    assert announcer.process.returncode == 0
    assert "Check" in said and said.count("passed") == 1, "the check flapped"


def test_a_killed_announcer_leaves_its_key_to_the_lease(announce: Start, etcd_client: Client) -> None:
    announcer = announce()
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    announcer.process.kill()
    wait_for(lambda: etcd_client.get(announcer.key) is None, 8, "the end of the lease")


def test_drain_removes_the_key_first_and_then_waits(announce: Start, website: Website, etcd_client: Client) -> None:
    announcer = announce("--drain", "30s")
    wait_for(lambda: etcd_client.get(announcer.key), what="the key")
    announcer.process.send_signal(signal.SIGTERM)
    wait_for(lambda: etcd_client.get(announcer.key) is None, what="removal before the drain")
    time.sleep(0.5)
    assert announcer.process.poll() is None, "it did not wait"
    website.stop()
    assert announcer.process.wait(5) == 0, "it waited for a service that is gone"
