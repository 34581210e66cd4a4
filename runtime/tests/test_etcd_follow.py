# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list-and-watch loop: nothing is lost, nothing hangs, whatever happens to the servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from etcd_server import EtcdCluster, EtcdServer, wait_for
from flagship.etcd import Client, EtcdConnection, EtcdError, Event, Follower, Put, Snapshot, Unavailable


class Record:
    """A handler that keeps what it was told, as a daemon would."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.revision = 0
        self.snapshots = 0
        self.lost: list[str] = []
        self.events: list[Event] = []
        self.calls = 0
        self.on_first_snapshot: Callable[[], object] | None = None

    def on_snapshot(self, snapshot: Snapshot) -> None:
        assert snapshot.revision >= self.revision, "time ran backwards"
        self.items = {key: item.value for key, item in snapshot.items.items()}
        self.revision = snapshot.revision
        self.snapshots += 1
        if self.snapshots == 1 and self.on_first_snapshot is not None:
            self.on_first_snapshot()

    def on_events(self, events: list[Event], revision: int) -> None:
        for event in events:
            assert event.revision > self.revision or event is not events[0], "an event was shown twice"
            if event.value is None:
                del self.items[event.key]
            else:
                self.items[event.key] = event.value.value
        assert revision == events[-1].revision
        self.revision = revision
        self.events += events
        self.calls += 1

    def on_lost(self, error: EtcdError) -> None:
        self.lost.append(str(error))


@pytest.fixture
def record() -> Record:
    return Record()


def test_snapshot_then_events(etcd_client: Client, prefix: str, record: Record) -> None:
    etcd_client.put(f"{prefix}a", b"1")
    follower = Follower(etcd_client, prefix, handler=record)
    follower.start()
    assert follower.wait_synced(5)
    assert record.items == {f"{prefix}a": b"1"}
    revision = etcd_client.put(f"{prefix}b", b"2")
    etcd_client.put(f"/other{prefix}", b"")
    etcd_client.delete(f"{prefix}a")
    wait_for(lambda: record.items == {f"{prefix}b": b"2"}, what="both events")
    assert [(event.kind, event.key) for event in record.events] == [("put", f"{prefix}b"), ("delete", f"{prefix}a")]
    assert record.events[0].revision == revision
    assert record.snapshots == 1
    follower.stop()


def test_the_gap_between_list_and_watch_is_closed(etcd_client: Client, prefix: str, record: Record) -> None:
    record.on_first_snapshot = lambda: etcd_client.put(f"{prefix}a", b"in between")
    follower = Follower(etcd_client, prefix, handler=record)
    follower.start()
    wait_for(lambda: record.items == {f"{prefix}a": b"in between"}, what="the event in between")
    assert record.snapshots == 1
    follower.stop()


def test_one_transaction_is_one_call(etcd_client: Client, prefix: str, record: Record) -> None:
    follower = Follower(etcd_client, prefix, handler=record)
    follower.start()
    assert follower.wait_synced(5)
    etcd_client.txn([], [Put(f"{prefix}{number}", b"") for number in range(5)])
    wait_for(lambda: len(record.items) == 5, what="five keys")
    assert record.calls == 1
    follower.stop()


def test_compaction_leads_to_a_new_list(
    etcd_server: EtcdServer, etcd_client: Client, prefix: str, record: Record
) -> None:
    def write_and_compact() -> None:
        etcd_client.put(f"{prefix}a", b"1")
        etcd_server.compact(etcd_client.put(f"{prefix}a", b"2"))

    record.on_first_snapshot = write_and_compact
    follower = Follower(etcd_client, prefix, handler=record)
    follower.start()
    wait_for(lambda: record.items == {f"{prefix}a": b"2"}, what="the list after the compaction")
    assert record.lost == [], "a compaction is no loss of the store"
    follower.stop()


def test_resync_shows_everything_again_and_no_event_twice(etcd_client: Client, prefix: str, record: Record) -> None:
    follower = Follower(etcd_client, prefix, handler=record, resync=0.2)
    follower.start()
    for number in range(200):
        etcd_client.put(f"{prefix}{number % 10}", str(number).encode())
    wait_for(lambda: record.items.get(f"{prefix}9") == b"199", what="the last write")
    wait_for(lambda: record.snapshots >= 3, what="resyncs")
    assert record.lost == []
    follower.stop()


def test_a_handler_that_fails_gets_another_chance(etcd_client: Client, prefix: str, record: Record) -> None:
    def fail() -> None:
        raise ValueError("a mistake")

    record.on_first_snapshot = fail
    follower = Follower(etcd_client, prefix, handler=record)
    follower.start()
    wait_for(lambda: record.snapshots == 2, what="a second snapshot")
    follower.stop()


def test_stop_is_prompt_and_leaves_nothing(etcd_server: EtcdServer, prefix: str) -> None:
    before = threading.active_count()
    with Client(etcd_server.connection()) as client:
        follower = Follower(client, prefix, handler=Record())
        follower.start()
        assert follower.wait_synced(5)
        started = time.monotonic()
        follower.stop()
        assert time.monotonic() - started < 1
    wait_for(lambda: threading.active_count() <= before, what="the end of all threads")


def test_a_frozen_server_is_noticed_once(etcd_server: EtcdServer, prefix: str, record: Record) -> None:
    with Client(etcd_server.connection(timeout=1)) as client:
        follower = Follower(client, prefix, handler=record)
        follower.start()
        assert follower.wait_synced(5)
        etcd_server.pause()
        wait_for(lambda: record.lost, 6, "the notice of the freeze")
        time.sleep(1.5)
        assert len(record.lost) == 1
        assert not follower.wait_synced(0)
        started = time.monotonic()
        etcd_server.resume()
        assert follower.wait_synced(10)
        assert time.monotonic() - started < 8
        client.put(f"{prefix}a", b"1")
        wait_for(lambda: record.items, what="an event after the thaw")
        etcd_server.pause()
        started = time.monotonic()
        follower.stop()
        assert time.monotonic() - started < 3, "stop() waits for a frozen server"


class Writer(threading.Thread):
    """Writes one key after the other through a client of its own, and knows what was confirmed."""

    def __init__(self, endpoints: tuple[str, ...], prefix: str) -> None:
        super().__init__(daemon=True)
        self.confirmed: dict[str, bytes] = {}
        self._client = Client(EtcdConnection(endpoints, timeout=3))
        self._prefix = prefix
        self._stop_writing = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._stop_writing.wait(0.01):
            number += 1
            try:
                self._client.put(f"{self._prefix}{number}", str(number).encode())
            except Unavailable:
                continue
            self.confirmed[f"{self._prefix}{number}"] = str(number).encode()

    def stop(self) -> None:
        self._stop_writing.set()
        self.join(10)
        self._client.close()


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_member_that_goes_takes_nothing_along(
    etcd_cluster: EtcdCluster, prefix: str, record: Record, fault: str
) -> None:
    victim = etcd_cluster.members[0]
    writer = Writer(etcd_cluster.endpoints[1:], prefix)
    with Client(EtcdConnection(etcd_cluster.endpoints, timeout=3)) as client:
        follower = Follower(client, prefix, handler=record)
        follower.start()
        assert follower.wait_synced(5)
        writer.start()
        wait_for(lambda: record.items, what="the first event")
        victim.stop() if fault == "kill" else victim.pause()
        wait_for(lambda: record.snapshots == 2, 10, "a list from another member")
        written = len(writer.confirmed)
        wait_for(lambda: len(writer.confirmed) > written + 20, what="more writes")
        if fault == "kill":
            victim.launch()
        else:
            victim.resume()
        writer.stop()
        assert writer.confirmed
        wait_for(lambda: writer.confirmed.items() <= record.items.items(), what="every confirmed write")
        assert record.items == {key: item.value for key, item in client.range(prefix).items.items()}
        assert len(record.lost) == 1
        follower.stop()


def test_a_member_without_a_leader_is_left(etcd_cluster: EtcdCluster, prefix: str, record: Record) -> None:
    """Its process is alive and would keep an ordinary watch open for ever, without any event."""
    alone, *others = etcd_cluster.members
    with Client(EtcdConnection((alone.endpoint,), timeout=1)) as client:
        follower = Follower(client, prefix, handler=record)
        follower.start()
        assert follower.wait_synced(5)
        for member in others:
            member.pause()
        wait_for(lambda: record.lost, 15, "the notice that there is no leader")
        for member in others:
            member.resume()
        assert follower.wait_synced(15)
        follower.stop()
