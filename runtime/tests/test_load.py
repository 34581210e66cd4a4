# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load counts right: what a site does well, badly, late and not at all."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from bench.load import AnswerError, Failure, Load, Result, main, page, percentiles

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def titled(title: str) -> bytes:
    body = f"<html><title>{title}</title></html>".encode()
    return WELL % (len(body), body)


@contextmanager
def site(answer: Callable[[int, socket.socket], None]) -> Iterator[str]:
    """A server that calls `answer(number, connection)` for each connection, from 0; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    numbers = itertools.count()

    def serve(connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            connection.recv(4096)
            answer(number, connection)

    def accept() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, next(numbers)), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_pages_are_counted_by_title_and_requests_keep_to_the_schedule() -> None:
    with site(lambda number, connection: connection.sendall(titled(f"server{number % 2}"))) as url:
        with Load(url, rate=100) as load:
            time.sleep(1)
        result = load.result
    assert not result.failures and result.span == 0
    assert 80 <= result.requests <= 200
    assert set(result.answered) == {"server0", "server1"}
    assert sum(result.answered.values()) == result.requests
    assert abs(result.requests - 100 * (result.ended - result.began)) < 60
    assert 0 < result.percentiles["p50"] <= result.percentiles["p100"] < 3


def test_each_failure_is_counted_once_with_when_and_why() -> None:
    answers = {
        10: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        20: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        30: b"",
    }
    with (
        site(lambda number, connection: connection.sendall(answers.get(number, titled("a")))) as url,
        Load(url, 50) as load,
    ):
        time.sleep(1.2)
    result = load.result
    assert sorted(failure.why for failure in result.failures) == [
        "status 502 Bad Gateway", "the connection ends without an answer", "the page ends early"
    ]  # fmt: skip
    assert result.answered == {"a": result.requests - 3}
    # Twenty requests at 50 a second lie between the first one and the last.
    assert 0.2 < result.span < 0.6
    assert all(0.1 < failure.began - result.began < 1 for failure in result.failures)


def test_a_slow_site_does_not_slow_the_load_down() -> None:
    """Every request hangs; as many as on a quick site begin, and each is failed after three seconds."""
    ended = threading.Event()

    def hang(number: int, connection: socket.socket) -> None:
        ended.wait(10)

    with site(hang) as url:
        with Load(url, rate=20) as load:
            time.sleep(1)
        ended.set()
    assert 15 <= load.result.requests == len(load.result.failures)
    assert {failure.why for failure in load.result.failures} == {"no whole answer within 3 s"}
    assert all(2.9 < failure.seconds < 3.5 for failure in load.result.failures)


def test_a_page_that_drips_is_failed_after_three_seconds() -> None:
    def drip(number: int, connection: socket.socket) -> None:
        for letter in titled("slow").decode():
            connection.sendall(letter.encode())
            time.sleep(0.2)

    with site(drip) as url, Load(url, rate=5) as load:
        time.sleep(0.5)
    assert load.result.failures and len(load.result.failures) == load.result.requests


def test_a_page_may_take_as_long_as_the_limit() -> None:
    def late(number: int, connection: socket.socket) -> None:
        time.sleep(1.5)
        connection.sendall(titled("late"))

    with site(late) as url, Load(url, rate=20) as load:
        time.sleep(0.5)
    assert not load.result.failures
    assert 1.5 <= load.result.percentiles["p50"] < 3


def test_a_dead_site_fails_every_request() -> None:
    with site(lambda number, connection: None) as url:
        pass
    with Load(url, rate=50) as load:
        time.sleep(0.5)
    assert len(load.result.failures) == load.result.requests > 10
    assert [why for why, _failures in load.result.reasons()] == ["Connection refused"]


def test_the_load_begins_when_it_is_entered_and_ends_with_its_caller() -> None:
    with site(lambda number, connection: connection.sendall(titled("a"))) as url:
        with pytest.raises(KeyError), Load(url) as load:
            raise KeyError
        assert load._process.poll() == 0
        assert load.result.ended - load.result.began < 3


def test_a_person_gets_a_table_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with site(lambda number, connection: connection.sendall(titled("mine"))) as url:
        assert main([url, "--rate", "40", "--seconds", "0.5"]) == 0
        assert main([url.replace("127.0.0.1", "localhost"), "--rate", "40", "--seconds", "0.1"]) == 0
    assert "20 requests in 0.5 s, 0 failed" in (shown := capsys.readouterr().out)
    assert "20  mine" in shown
    assert main([url, "--rate", "40", "--seconds", "0.5"]) == 1
    assert re.search(r" 20     0\.0\d s     0\.[45]\d s  Connection refused", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["http://93.184.215.14/"], "for your own nodes"),
        (["https://127.0.0.1/"], "not an http:// URL"),
        (["http://127.0.0.1/", "--rate", "0"], "--rate must be"),
        (["http://none.invalid/"], "has no address"),
    ],
)
def test_what_cannot_be_loaded_is_refused(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "ended", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nConte", False, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", False, b"ab"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", False, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", False, b"1\r\na\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", False, None),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", True, b"abc"),
    ],
)
def test_an_answer_is_whole_when_its_page_is(data: bytes, ended: bool, body: bytes | None) -> None:
    assert page(data, ended) == body


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n", b"garbage\r\n\r\n"])
def test_an_answer_that_is_none_is_bad(data: bytes) -> None:
    with pytest.raises(AnswerError):
        page(data, ended=True)


def test_percentiles() -> None:
    found = percentiles([number / 1000 for number in range(1000, 0, -1)])
    assert found == {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p100": 1.0}
    assert percentiles([]) == {}


def test_the_summary_tells_when_and_why() -> None:
    result = Result("http://127.0.0.1/", began=100.0, requests=4000)
    assert result.summary() == "0 of 4,000 failed"
    result.failures = [Failure(110.5, 3.0, "slow"), Failure(110.0, 0.1, "refused"), Failure(110.25, 0.1, "refused")]
    assert result.summary() == (
        "3 of 4,000 failed, the first 10.00 s after the start, the last 0.50 s later: refused (2), slow (1)"
    )
