# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of etcd's v3 API that fails over between endpoints and never hangs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from flagship.daemon import Backoff
from flagship.etcd.model import (
    Compare,
    Delete,
    EtcdError,
    Get,
    KeyValue,
    LeaseGone,
    Operation,
    Put,
    Snapshot,
    TxnResult,
    Unavailable,
)
from flagship.etcd.rpc import etcdrpc, grpc
from flagship.etcd.transport import Endpoints, Failure, Link, failure_of
from flagship.settings import EtcdConnection

# Of several endpoints one may be frozen: each gets its share of the deadline, but at least this many seconds.
_SHORTEST_ATTEMPT = 0.5
# A member that has passed a renewal on to a dead leader waits for that one longer than the election of the next takes.
_FIRST_RENEWALS = 0.5
# A call of grpc may not end at its deadline: one that waits while its member restarts was seen to wait for good, as in
# https://github.com/grpc/grpc/issues/20562.
_GRACE = 0.5
# With less than this left another attempt is not worth while, in seconds.
_SHORTEST_REMAINDER = 0.05


class Client:
    """A client for any number of threads; close it, or use it as a context manager.

    Every call ends within `connection.timeout` seconds and raises EtcdError or a class derived from it.
    A call is repeated on the next endpoint while time remains; txn only when it surely was not applied.
    `on_election` is called, in any thread, when an answer tells that etcd has another leader.
    """

    def __init__(self, connection: EtcdConnection, on_election: Callable[[], None] = lambda: None) -> None:
        self.connection = connection
        self.elected_at = -math.inf
        """When (time.monotonic) an answer told for the first time that etcd has another leader."""
        self._on_election = on_election
        self.endpoints = Endpoints(connection)
        self._closed = threading.Event()
        self._token_lock = threading.Lock()
        self._token = ""
        self._without_auth = not connection.user
        self._term = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; calls in progress end with Unavailable."""
        self._closed.set()
        self.endpoints.close()

    def get(self, key: str) -> KeyValue | None:
        """The key, or None when it does not exist."""
        request = etcdrpc.RangeRequest(key=_encode(key))
        response = self._call(lambda link, **how: link.kv.Range(request, **how))
        return key_value(response.kvs[0]) if response.kvs else None

    def range(self, prefix: str, *, revision: int = 0) -> Snapshot:
        """All keys that begin with `prefix`, now or as they were at `revision`; Compacted if that is too old."""
        key, end = prefix_range(prefix)
        request = etcdrpc.RangeRequest(key=key, range_end=end, revision=revision)
        response = self._call(lambda link, **how: link.kv.Range(request, **how))
        items = {item.key: item for item in map(key_value, response.kvs)}
        return Snapshot(items, revision or int(response.header.revision))

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Write the key and return the revision; LeaseGone when the lease does not exist."""
        request = etcdrpc.PutRequest(key=_encode(key), value=value, lease=lease)
        response = self._call(lambda link, **how: link.kv.Put(request, **how))
        return int(response.header.revision)

    def delete(self, key: str) -> bool:
        """Remove the key; False when there was none (or a repeated attempt had already removed it)."""
        request = etcdrpc.DeleteRangeRequest(key=_encode(key))
        response = self._call(lambda link, **how: link.kv.DeleteRange(request, **how))
        return bool(response.deleted)

    def txn(
        self, compare: Sequence[Compare], success: Sequence[Operation], failure: Sequence[Operation] = ()
    ) -> TxnResult:
        """Run `success` if all comparisons hold, else `failure`, as one revision.

        Unavailable leaves open whether the transaction was applied: read before deciding again.
        """
        request = etcdrpc.TxnRequest(
            compare=[_compare(comparison) for comparison in compare],
            success=[_operation(operation) for operation in success],
            failure=[_operation(operation) for operation in failure],
        )
        response = self._call(lambda link, **how: link.kv.Txn(request, **how), repeatable=False)
        gets = [
            key_value(answer.response_range.kvs[0]) if answer.response_range.kvs else None
            for answer in response.responses
            if answer.WhichOneof("response") == "response_range"
        ]
        return TxnResult(bool(response.succeeded), int(response.header.revision), gets)

    def grant(self, ttl: int) -> int:
        """A new lease that lives `ttl` seconds (etcd raises very short ones); returns its id."""
        request = etcdrpc.LeaseGrantRequest(TTL=ttl)
        return int(self._call(lambda link, **how: link.lease.LeaseGrant(request, **how)).ID)

    def keep_alive(self, lease: int) -> int:
        """Renew the lease and return the seconds it lives from now; LeaseGone when it does not exist."""
        request = etcdrpc.LeaseKeepAliveRequest(ID=lease)

        def renew(link: Link, **how: Any) -> Any:
            call = link.renew.future(request, **how)
            try:
                answer = call.result(how["timeout"] + _GRACE)
            except grpc.FutureTimeoutError:
                answer = None
            finally:
                call.cancel()
            if answer is None:
                raise _NoAnswerError
            return answer

        seconds = int(self._call(renew, first=_FIRST_RENEWALS).TTL)
        if seconds <= 0:
            raise LeaseGone(
                f"etcd at {self.endpoints.where} does not know lease {lease:x}: it has expired or was revoked."
            )
        return seconds

    def remaining(self, lease: int) -> int:
        """Seconds, rounded down, that the lease lives on unless it is renewed; below 0 when it does not exist."""
        request = etcdrpc.LeaseTimeToLiveRequest(ID=lease)
        return int(self._call(lambda link, **how: link.lease.LeaseTimeToLive(request, **how)).TTL)

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys; no error when it is gone already."""
        request = etcdrpc.LeaseRevokeRequest(ID=lease)
        try:
            self._call(lambda link, **how: link.lease.LeaseRevoke(request, **how))
        except LeaseGone:
            return

    def attempt(self, link: Link, perform: Callable[..., Any], timeout: float) -> Any:
        """One try of `perform(link, timeout=, metadata=)` on one connection, with a new token if the old one is stale.

        Raises grpc.RpcError.
        """
        deadline = time.monotonic() + timeout
        for last in (False, True):
            token = self._authenticate(link, timeout)
            try:
                answer = perform(link, timeout=max(0.001, deadline - time.monotonic()), metadata=_metadata(token))
            except grpc.RpcError as error:
                if last or not token or not failure_of(error).stale_token:
                    raise
                self._forget(token)
            else:
                self._note_term(int(answer.header.raft_term))
                return answer
        raise AssertionError("unreachable")

    def metadata(self, link: Link, timeout: float) -> tuple[tuple[str, str], ...]:
        """The metadata of a request on `link`; raises grpc.RpcError when the user cannot be authenticated."""
        return _metadata(self._authenticate(link, timeout))

    def _call(self, perform: Callable[..., Any], *, repeatable: bool = True, first: float = math.inf) -> Any:
        """The answer of the first endpoint that gives one; at first each has *first* seconds at most to do so."""
        timeout = self.connection.timeout
        deadline = time.monotonic() + timeout
        share = max(timeout / len(self.endpoints.urls), _SHORTEST_ATTEMPT)
        backoff = Backoff(first=0.05, limit=1.0)
        failures: dict[str, Failure] = {}
        tries = 0
        while not self._closed.is_set():
            with self.endpoints.shared() as link:
                limit = min(share, first) if tries < len(self.endpoints.urls) else share
                limit = min(limit, deadline - time.monotonic())
                try:
                    return self.attempt(link, perform, limit)
                except _NoAnswerError:
                    failure = Failure("DEADLINE_EXCEEDED", "")
                except grpc.RpcError as error:
                    failure = failure_of(error)
                except ValueError as error:  # grpc: "Cannot invoke RPC on closed channel!"
                    failure = Failure("CANCELLED", str(error))
                if not failure.temporary:
                    raise failure.error(self.endpoints.where)
                failures[link.endpoint] = more_telling(failures.get(link.endpoint), failure, limit)
                self.endpoints.reject(link)
            if not (repeatable or failure.never_applied):
                raise Unavailable(
                    f"etcd at {link.endpoint} did not confirm a transaction, which may be applied: {failure.reason}."
                )
            tries += 1
            pause = backoff.next() if tries % len(self.endpoints.urls) == 0 else 0.0
            remaining = deadline - time.monotonic()
            if remaining < _SHORTEST_REMAINDER:
                raise _unavailable(failures, timeout)
            self._closed.wait(min(pause, remaining / 2))
        raise Unavailable(f"the client of etcd at {self.endpoints.where} is closed.")

    def _note_term(self, term: int) -> None:
        before, self._term = self._term, max(self._term, term)
        if 0 < before < term:
            self.elected_at = time.monotonic()
            self._on_election()

    def _authenticate(self, link: Link, timeout: float) -> str:
        with self._token_lock:
            if self._without_auth or self._token:
                return self._token
        request = etcdrpc.AuthenticateRequest(name=self.connection.user, password=self.connection.password)
        try:
            token = str(link.auth.Authenticate(request, timeout=timeout, metadata=_metadata("")).token)
        except grpc.RpcError as error:
            # Users may be set here before the cluster switches authentication on; etcd's own client allows that too.
            if "authentication is not enabled" in failure_of(error).details:
                return ""
            raise
        with self._token_lock:
            self._token = token
        return token

    def _forget(self, token: str) -> None:
        with self._token_lock:
            if self._token == token:
                self._token = ""


class _NoAnswerError(Exception):
    """A call ended without an answer, or grpc did not end it at its deadline."""


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """The key and range_end of all keys with that prefix (etcd API: range_end is the first key beyond)."""
    key = _encode(prefix)
    stem = key.rstrip(b"\xff")
    if not stem:
        return key or b"\0", b"\0"
    return key, stem[:-1] + bytes([stem[-1] + 1])


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    # hasleader: a member that is cut off from the others refuses at once instead of keeping the caller waiting.
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token)) if token else leader


def more_telling(before: Failure | None, now: Failure, limit: float) -> Failure:
    """What to tell of an endpoint: the attempt to which the caller's deadline left `limit` seconds may know less."""
    if before is not None and now.code == "DEADLINE_EXCEEDED" and limit < _SHORTEST_ATTEMPT:
        return before
    return now


def _unavailable(failures: dict[str, Failure], timeout: float) -> EtcdError:
    reasons = "; ".join(f"{endpoint}: {failure.reason}" for endpoint, failure in failures.items())
    return Unavailable(f"etcd is not available, tried for {timeout:g} s ({reasons}).")


def _encode(key: str) -> bytes:
    # surrogateescape carries foreign keys that are not UTF-8 through a listing unharmed.
    return key.encode("utf-8", "surrogateescape")


def key_value(item: Any) -> KeyValue:
    return KeyValue(
        key=item.key.decode("utf-8", "surrogateescape"),
        value=bytes(item.value),
        create_revision=int(item.create_revision),
        mod_revision=int(item.mod_revision),
        lease=int(item.lease),
    )


def _compare(comparison: Compare) -> Any:
    message = etcdrpc.Compare(key=_encode(comparison.key), result=etcdrpc.Compare.EQUAL)
    if comparison.kind == "mod":
        message.target = etcdrpc.Compare.MOD
        message.mod_revision = comparison.revision
    else:
        message.target = etcdrpc.Compare.CREATE
        message.create_revision = comparison.revision
    return message


def _operation(operation: Operation) -> Any:
    if isinstance(operation, Put):
        put = etcdrpc.PutRequest(key=_encode(operation.key), value=operation.value, lease=operation.lease)
        return etcdrpc.RequestOp(request_put=put)
    if isinstance(operation, Delete):
        return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=_encode(operation.key)))
    if isinstance(operation, Get):
        return etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=_encode(operation.key)))
    raise TypeError(f"not an operation: {operation!r}")
