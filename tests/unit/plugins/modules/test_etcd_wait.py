# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils import etcd_transport
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    Entry,
    EtcdClient,
    EtcdError,
    UnreachableError,
)
from ansible_collections.flagship.coreos.plugins.modules.etcd_wait import check_task, condition_of, run
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer, free_port


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


def params(*endpoints: str, **options: Any) -> dict[str, Any]:
    names = ("ca_cert", "client_cert", "client_key", "user", "password", "key", "prefix", "value", "count")
    fixed = {"value_type": "text", "condition": "exists", "timeout": 5.0, "wait_timeout": 30.0}
    return {**dict.fromkeys(names), **fixed, "endpoints": list(endpoints), **options}


class Waiter(threading.Thread):
    """A task that waits beside the test."""

    def __init__(self, **options: Any) -> None:
        super().__init__(daemon=True)
        self.params = options
        self.result: dict[str, Any] = {}
        self.error: EtcdError | None = None
        self.start()

    def run(self) -> None:
        try:
            run(self.params, self.result)
        except EtcdError as error:
            self.error = error

    def watches(self) -> None:
        """Wait until it has seen that it has to wait."""
        deadline = time.monotonic() + 10
        while "entries" not in self.result:
            assert time.monotonic() < deadline and self.is_alive()
            time.sleep(0.01)

    def end(self) -> dict[str, Any]:
        self.join(15)
        assert not self.is_alive() and self.error is None, self.error
        return self.result


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({"condition": "exists"}, [], False),
        ({"condition": "exists"}, [b""], True),
        ({"condition": "absent"}, [], True),
        ({"condition": "absent"}, [b""], False),
        ({"condition": "equals", "value": "x"}, [], False),
        ({"condition": "equals", "value": "x"}, [b"x", b"x"], True),
        ({"condition": "equals", "value": "x"}, [b"x", b"y"], False),
        ({"condition": "equals", "value": {"a": 1}, "value_type": "json"}, [b'{"a":1}'], True),
        ({"condition": "equals", "value": "/w==", "value_type": "base64"}, [b"\xff"], True),
        ({"condition": "count", "count": 2}, [b"x"], False),
        ({"condition": "count", "count": 2}, [b"x", b"x"], True),
        ({"condition": "count", "count": 2}, [b"x", b"x", b"x"], True),
    ],
)
def test_conditions(options: dict[str, Any], values: list[bytes], expected: bool) -> None:
    found = {f"/{number}": Entry(f"/{number}", value, 1, 1, 1, 0) for number, value in enumerate(values)}
    assert condition_of(params(**options))(found) is expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"key": ""}, "name of the key is empty"),
        ({"key": "/a", "wait_timeout": 0.0}, "wait_timeout 0 is not above zero"),
        ({"key": "/a", "wait_timeout": float("inf")}, "over a year"),
        ({"key": "/a", "value": "x"}, "value is for the condition equals, not exists"),
        ({"key": "/a", "count": 1}, "count is for the condition count"),
        ({"key": "/a", "condition": "equals"}, "the condition equals needs value"),
        ({"prefix": "/a", "condition": "count"}, "the condition count needs count"),
        ({"prefix": "/a", "condition": "count", "count": 0}, "use the condition absent"),
        ({"key": "/a", "condition": "count", "count": 1}, "use exists for one key"),
    ],
)
def test_bad_arguments(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        check_task(params("http://a", **options))


@pytest.mark.parametrize(
    ("options", "before", "act", "after"),
    [
        ({"key": "/w/a"}, [], ["put", "/w/a", "x"], ["/w/a"]),
        ({"key": "/w/a", "condition": "absent"}, ["/w/a"], ["del", "/w/a"], []),
        ({"prefix": "/w/", "condition": "absent"}, ["/w/a", "/w/b"], ["del", "--prefix", "/w/"], []),
        ({"key": "/w/a", "condition": "equals", "value": "y"}, ["/w/a"], ["put", "/w/a", "y"], ["/w/a"]),
        ({"prefix": "/w/", "condition": "equals", "value": "x"}, ["/w/a"], ["put", "/w/b", "x"], ["/w/a", "/w/b"]),
        ({"prefix": "/w/", "condition": "count", "count": 2}, ["/w/a"], ["put", "/w/b", "x"], ["/w/a", "/w/b"]),
    ],
)
def test_a_change_ends_the_wait_at_once(
    etcd: EtcdServer, options: dict[str, Any], before: list[str], act: list[str], after: list[str]
) -> None:
    etcd.etcdctl("del", "--prefix", "/")
    for key in before:
        etcd.etcdctl("put", key, "w" if "equals" in options.values() and "prefix" in options else "x")
    waiter = Waiter(**params(etcd.url, **options))
    waiter.watches()
    etcd.etcdctl("put", "/other", "x")
    if "prefix" in options and "equals" in options.values():
        etcd.etcdctl("put", "/w/a", "x" if before else "w")
    else:
        etcd.etcdctl(*act)
    result = waiter.end()
    assert [entry["key"] for entry in result["entries"]] in (after, before) and result["elapsed"] < 10


def test_it_watches_and_does_not_poll(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd.etcdctl("del", "--prefix", "/")
    asked = []
    original: Callable[..., Any] = EtcdClient.listing

    def listing(*arguments: Any, **more: Any) -> Any:
        asked.append(1)
        return original(*arguments, **more)

    monkeypatch.setattr(EtcdClient, "listing", listing)
    with pytest.raises(EtcdError, match=r"was not satisfied within 2\.5 s, 0 keys were found"):
        run(params(etcd.url, key="/w/a", wait_timeout=2.5), {})
    assert len(asked) == 1


def test_what_is_there_already_needs_no_wait(etcd: EtcdServer) -> None:
    etcd.etcdctl("put", "/there", "x")
    result: dict[str, Any] = {}
    run(params(etcd.url, key="/there", condition="equals", value="x"), result)
    assert result["entries"][0]["value"] == "x" and result["count"] == 1 and result["elapsed"] < 5


def test_an_expired_lease_counts(etcd: EtcdServer) -> None:
    lease = etcd.etcdctl("lease", "grant", "2").split()[1]
    etcd.etcdctl("put", "--lease", lease, "/w/leased", "x")
    result: dict[str, Any] = {}
    run(params(etcd.url, key="/w/leased", condition="absent"), result)
    assert result["entries"] == [] and result["elapsed"] > 0.5


def test_a_restart_of_the_server_is_survived(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path)
    with server:
        waiter = Waiter(**params(f"http://127.0.0.1:{free_port()}", server.url, key="/w/late"))
        waiter.watches()
    with server:
        server.etcdctl("put", "/w/late", "x")
        assert waiter.end()["count"] == 1


def test_a_frozen_server_is_left_for_another(tmp_path: Path, etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_transport, "HEARTBEAT", 0.5)
    etcd.etcdctl("del", "--prefix", "/")
    with EtcdServer(tmp_path) as frozen:
        waiter = Waiter(**params(frozen.url, etcd.url, key="/w/a", timeout=2.0, wait_timeout=40.0))
        waiter.watches()
        frozen.freeze()
        etcd.etcdctl("put", "/w/a", "x")
        waiter.join(30)
        assert waiter.end()["count"] == 1


@pytest.mark.parametrize("wait_timeout", [0.5, 30.0])
def test_a_cluster_that_cannot_be_reached_fails_the_task_soon(wait_timeout: float) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(UnreachableError, match="gave no answer within"):
        run(params(f"http://127.0.0.1:{mute.getsockname()[1]}", key="/a", timeout=1.0, wait_timeout=wait_timeout), {})
    assert time.monotonic() - began < 5


def test_changes_that_were_compacted_are_read_again(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd.etcdctl("del", "--prefix", "/")
    original: Callable[..., Any] = EtcdClient.listing
    turns = []

    def listing(*arguments: Any, **more: Any) -> Any:
        found = original(*arguments, **more)
        if not turns:
            etcd.etcdctl("put", "/w/a", "y")
            etcd.etcdctl("put", "/w/a", "x")
            etcd.etcdctl("compact", str(found.revision + 2))
        turns.append(1)
        return found

    monkeypatch.setattr(EtcdClient, "listing", listing)
    run(params(etcd.url, key="/w/a"), {})
    assert len(turns) == 2
