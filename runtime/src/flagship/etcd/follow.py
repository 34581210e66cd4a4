# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list-and-watch loop that all daemons share."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any, Protocol

from flagship.daemon import Backoff
from flagship.etcd.client import Client, key_value, prefix_range
from flagship.etcd.model import Compacted, EtcdError, Event, Snapshot, Unavailable
from flagship.etcd.rpc import etcdrpc, grpc
from flagship.etcd.transport import Failure, failure_of

log = logging.getLogger(__name__)

# A frozen member keeps its connections open and says nothing: a quiet one is asked this often, and given this long.
PROBE_INTERVAL = 2.0
PROBE_TIMEOUT = 2.0


class Handler(Protocol):
    """What a Follower tells; all calls come from its one thread."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """The whole prefix: at the start, after every loss of the store, and by the resync timer."""

    def on_events(self, events: list[Event], revision: int) -> None:
        """What changed since, in order and never half a revision; `revision` is the last event's."""

    def on_lost(self, error: EtcdError) -> None:
        """The store cannot be followed; called once, until the next snapshot."""


class Follower:
    """Lists a prefix, watches it from the next revision on, and starts over when anything is in doubt."""

    def __init__(self, client: Client, prefix: str, *, handler: Handler, resync: float = 60.0) -> None:
        self._client = client
        self._prefix = prefix
        self._handler = handler
        self._resync = resync
        self._stop = threading.Event()
        self._synced = threading.Event()
        self._lost = False
        self._stream: _Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"follow {prefix}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the watch and end the thread; a call to etcd in progress is waited for, its deadline at most."""
        self._stop.set()
        stream = self._stream
        if stream is not None:
            stream.wake()
        if self._thread.is_alive():
            self._thread.join(2 * self._client.connection.timeout)

    def wait_synced(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the handler has seen a snapshot that is being followed."""
        return self._synced.wait(timeout)

    def _run(self) -> None:
        backoff = Backoff(first=0.1, limit=5.0)
        while not self._stop.is_set():
            try:
                self._follow_or_report(backoff)
            except Exception:
                # A mistake in a handler must not end the loop silently: the next snapshot gives it another chance.
                log.exception("Listing %s again, because handling its changes failed.", self._prefix)
            self._synced.clear()
            self._stop.wait(backoff.next())

    def _follow_or_report(self, backoff: Backoff) -> None:
        try:
            self._follow(backoff)
        except Compacted as error:
            log.info("Listing %s again: %s", self._prefix, error)
        except EtcdError as error:
            if not self._lost:
                self._lost = True
                self._handler.on_lost(error)

    def _follow(self, backoff: Backoff) -> None:
        revision = self._list(0)
        self._stream = stream = _Stream(self._client, self._prefix, revision + 1)
        try:
            next_resync = time.monotonic() + self._resync
            next_probe = time.monotonic() + PROBE_INTERVAL
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= next_resync:
                    revision = self._list(revision)
                    next_resync = now + self._resync
                response = stream.next(max(0.0, min(next_probe, next_resync) - now))
                if response is not None:
                    backoff.reset()
                    next_probe = time.monotonic() + PROBE_INTERVAL
                    revision = self._deliver(response, revision)
                elif time.monotonic() >= next_probe:
                    stream.probe()
                    next_probe = time.monotonic() + PROBE_INTERVAL
        finally:
            self._stream = None
            stream.close()

    def _list(self, at_least: int) -> int:
        snapshot = self._client.range(self._prefix)
        if snapshot.revision < at_least:
            where = self._client.endpoints.where
            raise Unavailable(f"etcd at {where} went back from revision {at_least} to {snapshot.revision}.")
        self._handler.on_snapshot(snapshot)
        self._lost = False
        self._synced.set()
        return snapshot.revision

    def _deliver(self, response: Any, revision: int) -> int:
        # A resync may have shown these changes already.
        events = [event for event in map(_event, response.events) if event.revision > revision]
        if not events:
            return revision
        self._handler.on_events(events, events[-1].revision)
        return events[-1].revision


class _Stream:
    """One watch on a connection of its own, read by a thread; raises EtcdError when it is broken."""

    def __init__(self, client: Client, prefix: str, start_revision: int) -> None:
        self._client = client
        self._key, end = prefix_range(prefix)
        self._link = client.endpoints.open()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        create = etcdrpc.WatchCreateRequest(
            key=self._key, range_end=end, start_revision=start_revision, progress_notify=True
        )
        self._requests.put(etcdrpc.WatchRequest(create_request=create))
        try:
            metadata = client.metadata(self._link, PROBE_TIMEOUT)
        except grpc.RpcError as error:
            self._link.close()
            raise self._broken(failure_of(error)) from None
        self._call = self._link.watch.Watch(iter(self._requests.get, None), metadata=metadata)
        self._reader = threading.Thread(target=self._read, name=f"watch {prefix}", daemon=True)
        self._reader.start()

    def next(self, timeout: float) -> Any:
        """The next response, or None after `timeout` seconds or a wake()."""
        try:
            item = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, Failure):
            raise self._broken(item)
        if item is not None and item.canceled:
            if item.compact_revision:
                raise Compacted(f"etcd at {self._link.endpoint} keeps only revisions from {item.compact_revision} on.")
            raise self._broken(Failure("UNAVAILABLE", item.cancel_reason or "the watch was cancelled"))
        return item

    def wake(self) -> None:
        """Make a waiting next() return None."""
        self._inbox.put(None)

    def probe(self) -> None:
        """Ask the member for a sign of life on the watch's own connection; it must also know a leader."""
        request = etcdrpc.RangeRequest(key=self._key, limit=1, count_only=True, serializable=True)
        try:
            self._client.attempt(self._link, lambda link, **how: link.kv.Range(request, **how), PROBE_TIMEOUT)
        except grpc.RpcError as error:
            raise self._broken(failure_of(error)) from None

    def close(self) -> None:
        self._requests.put(None)
        self._call.cancel()
        self._link.close()
        self._reader.join(self._client.connection.timeout)

    def _read(self) -> None:
        try:
            for response in self._call:
                self._inbox.put(response)
            self._inbox.put(Failure("UNAVAILABLE", "the watch ended"))
        except grpc.RpcError as error:
            self._inbox.put(failure_of(error))

    def _broken(self, failure: Failure) -> EtcdError:
        self._client.endpoints.reject(self._link)
        return failure.error(self._link.endpoint)


def _event(event: Any) -> Event:
    item = key_value(event.kv)
    deleted = event.type == event.DELETE
    return Event("delete" if deleted else "put", item.key, None if deleted else item, item.mod_revision)
