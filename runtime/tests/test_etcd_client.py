# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The etcd client against real servers: what it does, and what it does when they are gone, frozen or strict."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from etcd_server import EtcdCluster, EtcdServer, free_port, wait_for
from flagship.etcd import (
    Client,
    Compacted,
    Compare,
    Delete,
    EtcdConnection,
    EtcdError,
    Get,
    LeaseGone,
    Put,
    Unavailable,
)
from flagship.etcd.client import more_telling, prefix_range
from flagship.etcd.rpc import grpc
from flagship.etcd.transport import Failure
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_prefix_range_holds_exactly_the_keys_with_the_prefix(prefix: bytes, key: bytes) -> None:
    start, end = prefix_range(prefix.decode("utf-8", "surrogateescape"))
    key = key or b"\0"  # etcd has no empty key
    inside = key >= start and (end == b"\0" or key < end)
    assert inside == key.startswith(prefix)


@pytest.mark.parametrize(
    ("code", "details", "temporary", "never_applied"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: refused", True, True),
        ("UNAVAILABLE", "etcdserver: no leader", True, True),
        ("UNAVAILABLE", "etcdserver: request timed out", True, False),
        ("UNAVAILABLE", "etcdserver: leader changed", True, False),
        ("UNAVAILABLE", "Socket closed", True, False),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", True, False),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", False, False),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", False, False),
        ("NOT_FOUND", "etcdserver: requested lease not found", False, False),
    ],
)
def test_meaning_of_failures(code: str, details: str, temporary: bool, never_applied: bool) -> None:
    failure = Failure(code, details)
    assert (failure.temporary, failure.never_applied) == (temporary, never_applied)
    sentence = str(failure.error("http://10.0.0.1:2379"))
    assert "http://10.0.0.1:2379" in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def test_keys(etcd_client: Client, prefix: str) -> None:
    key = f"{prefix}a"
    assert etcd_client.get(key) is None
    revision = etcd_client.put(key, b"\0\xff")
    found = etcd_client.get(key)
    assert found is not None
    assert (found.key, found.value, found.create_revision, found.mod_revision, found.lease) == (
        key,
        b"\0\xff",
        revision,
        revision,
        0,
    )
    assert etcd_client.put(key, b"") == revision + 1
    snapshot = etcd_client.range(prefix)
    assert snapshot.revision == revision + 1
    assert {name: item.value for name, item in snapshot.items.items()} == {key: b""}
    assert etcd_client.range(prefix, revision=revision).items[key].value == b"\0\xff"
    assert etcd_client.delete(key)
    assert not etcd_client.delete(key)
    assert etcd_client.range(prefix).items == {}


def test_transactions(etcd_client: Client, prefix: str) -> None:
    key, other = f"{prefix}a", f"{prefix}b"
    create = etcd_client.txn([Compare(key, "create", 0)], [Put(key, b"1"), Get(key), Get(other)], [Get(key)])
    assert create.succeeded
    assert [item and item.value for item in create.gets] == [b"1", None]
    again = etcd_client.txn([Compare(key, "create", 0)], [Put(key, b"2")], [Get(key)])
    assert not again.succeeded
    assert [item and item.value for item in again.gets] == [b"1"]
    replace = [Compare(key, "mod", create.revision)]
    both = etcd_client.txn(replace, [Delete(key), Put(other, b"3")])
    assert both.succeeded
    assert both.revision == create.revision + 1
    assert not etcd_client.txn(replace, [Put(key, b"4")]).succeeded
    assert list(etcd_client.range(prefix).items) == [other]


class ForgottenCall:
    """A call that never ends."""

    def future(self, _request: object, *, timeout: float, metadata: object) -> ForgottenCall:
        return self

    def result(self, timeout: float) -> None:
        raise grpc.FutureTimeoutError

    def cancel(self) -> None:
        pass


def test_a_renewal_that_grpc_forgets_is_asked_for_on_another_connection(etcd_client: Client) -> None:
    lease = etcd_client.grant(60)
    with etcd_client.endpoints.shared() as link:
        link.renew = ForgottenCall()
    assert etcd_client.keep_alive(lease) == 60
    with etcd_client.endpoints.shared() as other:
        assert other is not link


def test_leases(etcd_client: Client, prefix: str) -> None:
    lease = etcd_client.grant(60)
    etcd_client.put(f"{prefix}a", b"", lease)
    assert etcd_client.keep_alive(lease) == 60
    etcd_client.revoke(lease)
    etcd_client.revoke(lease)
    assert etcd_client.get(f"{prefix}a") is None
    with pytest.raises(LeaseGone, match="expired or was revoked"):
        etcd_client.keep_alive(lease)
    with pytest.raises(LeaseGone, match="expired or was revoked"):
        etcd_client.put(f"{prefix}a", b"", lease)


def test_old_revisions_are_compacted(etcd_server: EtcdServer, etcd_client: Client, prefix: str) -> None:
    first = etcd_client.put(f"{prefix}a", b"1")
    etcd_server.compact(etcd_client.put(f"{prefix}a", b"2"))
    with pytest.raises(Compacted):
        etcd_client.range(prefix, revision=first)


def test_a_request_that_is_too_large_is_refused_at_once(etcd_client: Client, prefix: str) -> None:
    with pytest.raises(EtcdError, match="request is too large") as caught:
        etcd_client.put(f"{prefix}a", b"x" * 1_600_000)
    assert not isinstance(caught.value, Unavailable)


def test_large_answers_arrive(etcd_client: Client, prefix: str) -> None:
    for number in range(6):
        etcd_client.put(f"{prefix}{number}", b"x" * 1_000_000)
    assert len(etcd_client.range(prefix).items) == 6
    for number in range(6):
        etcd_client.delete(f"{prefix}{number}")


@pytest.mark.parametrize(
    ("before", "now", "limit", "told"),
    [
        (None, "DEADLINE_EXCEEDED", 0.1, "DEADLINE_EXCEEDED"),
        ("UNAVAILABLE", "DEADLINE_EXCEEDED", 0.1, "UNAVAILABLE"),
        ("UNAVAILABLE", "DEADLINE_EXCEEDED", 1.0, "DEADLINE_EXCEEDED"),
        ("UNAVAILABLE", "INTERNAL", 0.1, "INTERNAL"),
    ],
)
def test_an_attempt_without_time_does_not_know_better(before: str | None, now: str, limit: float, told: str) -> None:
    known = Failure(before, "") if before else None
    assert more_telling(known, Failure(now, ""), limit).code == told


Call = Callable[[Client], object]
CALLS: dict[str, Call] = {
    "get": lambda client: client.get("a"),
    "range": lambda client: client.range("a"),
    "put": lambda client: client.put("a", b""),
    "delete": lambda client: client.delete("a"),
    "txn": lambda client: client.txn([], [Put("a", b"")]),
    "grant": lambda client: client.grant(5),
    "keep_alive": lambda client: client.keep_alive(1),
    "revoke": lambda client: client.revoke(1),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_listens(name: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with Client(EtcdConnection((endpoint,), timeout=0.5)) as client, pytest.raises(Unavailable) as caught:
        CALLS[name](client)
    assert time.monotonic() - started < 2
    assert str(caught.value) == f"etcd is not available, tried for 0.5 s ({endpoint}: connection refused)."


@pytest.mark.parametrize("name", CALLS)
def test_a_frozen_server_hangs_nobody(name: str, etcd_server: EtcdServer) -> None:
    with Client(etcd_server.connection(timeout=0.5)) as client:
        client.get("a")
        etcd_server.pause()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            CALLS[name](client)
        assert time.monotonic() - started < 2
        etcd_server.resume()
        wait_for(lambda: client.get("a") is None or True, what="an answer after the thaw")


def test_a_transaction_of_unknown_outcome_is_not_repeated(etcd_server: EtcdServer, prefix: str) -> None:
    """The server receives it before it freezes' end, so it is applied once, and the caller knows that it may be."""
    with Client(etcd_server.connection(timeout=1.0)) as client:
        before = client.put(f"{prefix}a", b"")
        etcd_server.pause()
        with pytest.raises(Unavailable, match="may be applied"):
            client.txn([], [Put(f"{prefix}a", b"1")])
        etcd_server.resume()
        time.sleep(0.5)
        found = client.get(f"{prefix}a")
        assert found is not None
        assert found.mod_revision <= before + 1


def test_a_transaction_moves_on_from_an_endpoint_that_refuses(etcd_server: EtcdServer, prefix: str) -> None:
    endpoints = (f"http://127.0.0.1:{free_port()}", *etcd_server.endpoints)
    with Client(EtcdConnection(endpoints)) as client:
        assert client.txn([Compare(f"{prefix}a", "create", 0)], [Put(f"{prefix}a", b"1")]).succeeded


def test_close_ends_calls_in_progress(etcd_server: EtcdServer) -> None:
    client = Client(etcd_server.connection(timeout=30))
    client.get("a")
    etcd_server.pause()
    ended = threading.Event()

    def call() -> None:
        with pytest.raises(Unavailable):
            client.get("a")
        ended.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    time.sleep(0.3)
    client.close()
    assert ended.wait(5)
    thread.join(5)
    with pytest.raises(Unavailable, match="is closed"):
        client.get("a")


def test_one_dead_and_one_frozen_member(etcd_cluster: EtcdCluster) -> None:
    with Client(EtcdConnection(etcd_cluster.endpoints, timeout=3)) as client:
        client.put("a", b"1")
        etcd_cluster.members[0].pause()
        started = time.monotonic()
        wait_for(lambda: client.put("a", b"2"), 10, "a write past the frozen member")
        assert time.monotonic() - started < 6
        started = time.monotonic()
        client.put("a", b"3")
        assert time.monotonic() - started < 1, "the frozen member is asked again"
        etcd_cluster.members[0].resume()
        etcd_cluster.members[1].stop()
        wait_for(lambda: _writes(client), 10, "a write past the dead member")
        etcd_cluster.members[2].stop()
        with pytest.raises(Unavailable):
            client.put("a", b"4")  # one member of three is no quorum
        etcd_cluster.members[1].launch()
        wait_for(lambda: _writes(client), 15, "a write with two members")


def test_a_renewal_does_not_wait_for_a_leader_that_is_frozen(etcd_cluster: EtcdCluster) -> None:
    """A follower passes it on, and would go on waiting for the frozen one when there has long been another leader."""
    leader = etcd_cluster.leader()
    first, second = (member.endpoint for member in etcd_cluster.members if member is not leader)
    with Client(EtcdConnection((first, leader.endpoint, second), timeout=30)) as client:
        lease = client.grant(60)
        leader.pause()
        frozen = time.monotonic()
        assert client.keep_alive(lease) == 60
        assert time.monotonic() - frozen < 6
        assert client.elected_at > frozen


def _writes(client: Client) -> bool:
    try:
        return client.put("a", b"") > 0
    except Unavailable:
        return False
