# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of etcd's v3 API on the stubs of etcd3 0.12.0: several endpoints, a deadline for each call, TLS, users."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# etcd3 0.12.0's generated code is refused by protobuf 4 and later ("Descriptors cannot be created directly") except in
# pure Python, which must be chosen before the first import: https://github.com/kragniz/python-etcd3/issues/1957
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
# grpc's C core writes connection failures to standard error by itself, where they would spoil the module's answer.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

ETCD3_IMPORT_ERROR: str | None
try:
    import grpc
    from etcd3 import etcdrpc
except (ImportError, TypeError):
    ETCD3_IMPORT_ERROR = traceback.format_exc()
else:
    ETCD3_IMPORT_ERROR = None

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_failures import (
    FAILOVER_CODES,
    STALE_TOKEN,
    reason,
    refusal,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError, UnreachableError
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_options import check_connection
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_tls import read_tls_files

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
# Seconds between questions whether the server behind a watch is alive: a frozen one keeps the connection open, and
# grpc's own keepalive does not notice.
HEARTBEAT = 5.0


class Transport:
    """Calls to a cluster that is reached by the options of etcd_argument_spec.

    Every call ends within C{timeout} seconds, whatever number of endpoints it has to try, and raises EtcdError.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._targets = check_connection(params)
        self.urls = list(params["endpoints"])
        self.timeout = float(params["timeout"])
        self._user = params["user"]
        self._password = params["password"]
        self._credentials = None
        if self.urls[0].startswith("https:"):
            self._credentials = grpc.ssl_channel_credentials(*read_tls_files(params))
        self._token = ""
        self._auth_is_off = False
        self._preferred = 0
        self._channels: dict[int, Any] = {}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def call(self, service: str, method: str, request: Any, answer: Any = None) -> Any:
        """What one endpoint answers; C{answer} is the type of the answer where etcd3 has none."""
        deadline = time.monotonic() + self.timeout
        self._log_in(deadline)
        try:
            return self._try_endpoints(service, method, request, deadline, answer)
        except grpc.RpcError as error:
            if not (self._token and any(text in (error.details() or "") for text in STALE_TOKEN)):
                raise self._refusal(error, request) from error
        self._authenticate(deadline)
        try:
            return self._try_endpoints(service, method, request, deadline, answer)
        except grpc.RpcError as error:
            raise self._refusal(error, request) from error

    def ask_each(self, service: str, method: str, request: Any, answer: Any) -> list[Any]:
        """What every endpoint answers, all asked at once: the answer, or a sentence that says why there is none."""
        deadline = time.monotonic() + self.timeout
        self._log_in(deadline)
        calls = [
            self._method(index, service, method, answer).future(
                request, timeout=max(deadline - time.monotonic(), 0.001), metadata=self._metadata()
            )
            for index in range(len(self._targets))
        ]
        answers: list[Any] = []
        for url, call in zip(self.urls, calls):
            try:
                answers.append(call.result())
            except grpc.RpcError as error:
                answers.append(f"{url} {self._reason(error, self.timeout)}")
        return answers

    def stream(self, service: str, method: str, request: Any, silence: float = 0, lifetime: float = 0) -> Iterator[Any]:
        """The messages of a streaming call to the first endpoint that sends one.

        Ends after C{lifetime} seconds, and raises UnreachableError when no message arrives for C{silence} seconds (0: no
        limit) or the connection breaks. The first message must arrive within the client's timeout.
        """
        deadline = time.monotonic() + self.timeout
        # A token may expire at any time, and a stream cannot be repeated in the middle: begin with a new one.
        self._token = ""
        self._log_in(deadline)
        failures = []
        for index, share in self._turns(deadline):
            alive = (lambda index=index: self._is_alive(index)) if method == "Watch" else None
            with _Stream(
                self._method(index, service, method), request, alive, self._metadata(method), lifetime
            ) as stream:
                try:
                    first = stream.next(share)
                except grpc.RpcError as error:
                    if stream.too_late:
                        failures.append(f"{self.urls[index]} gave no answer within {share:.2g} s (raise timeout)")
                    elif error.code().name in FAILOVER_CODES:
                        failures.append(f"{self.urls[index]} {self._reason(error, share)}")
                    else:
                        self._preferred = index
                        raise self._refusal(error, request) from error
                    continue
                if first is None:
                    failures.append(f"{self.urls[index]} ended its answer before it began (look at its log)")
                    continue
                self._preferred = index
                yield first
                try:
                    while True:
                        message = stream.next(silence)
                        if message is None:
                            return
                        yield message
                except grpc.RpcError as error:
                    if stream.too_late:
                        text = f"stopped answering for {silence or self.timeout:.2g} s (check it, or raise timeout)"
                    elif lifetime and error.code().name == "DEADLINE_EXCEEDED":
                        return
                    else:
                        text = self._reason(error, silence)
                    raise self._unreachable([f"{self.urls[index]} {text}"]) from error
        raise self._unreachable(failures)

    def _is_alive(self, index: int) -> bool:
        try:
            self._ask(index, "Maintenance", "Status", etcdrpc.StatusRequest(), self.timeout, None)
        except grpc.RpcError as error:
            return error.code().name not in FAILOVER_CODES
        except ValueError:  # the client was closed just now
            return True
        return True

    def _log_in(self, deadline: float) -> None:
        if self._user and not self._token and not self._auth_is_off:
            self._authenticate(deadline)

    def _authenticate(self, deadline: float) -> None:
        self._token = ""
        request = etcdrpc.AuthenticateRequest(name=self._user, password=self._password)
        try:
            self._token = self._try_endpoints("Auth", "Authenticate", request, deadline).token
        except grpc.RpcError as error:
            # As etcd's own clients do: credentials may be set before authentication is switched on.
            self._auth_is_off = "authentication is not enabled" in (error.details() or "")
            if not self._auth_is_off:
                raise self._refusal(error, request) from error

    def _turns(self, deadline: float) -> Iterator[tuple[int, float]]:
        """The endpoints, the one that answered last first, each with a fair share of the time that is left."""
        count = len(self._targets)
        first = self._preferred
        for turn in range(count):
            yield (first + turn) % count, max(deadline - time.monotonic(), 0.001) / (count - turn)

    def _try_endpoints(self, service: str, method: str, request: Any, deadline: float, answer: Any = None) -> Any:
        """Ask one endpoint after the other.

        A write that got no answer may have been done, so the guarded writes are repeated without harm.
        """
        failures = []
        for index, share in self._turns(deadline):
            try:
                found = self._ask(index, service, method, request, share, answer)
            except grpc.RpcError as error:
                if error.code() is None or error.code().name not in FAILOVER_CODES:
                    self._preferred = index
                    raise
                failures.append(f"{self.urls[index]} {self._reason(error, share)}")
            else:
                self._preferred = index
                return found
        raise self._unreachable(failures)

    def _ask(self, index: int, service: str, method: str, request: Any, timeout: float, answer: Any) -> Any:
        call = self._method(index, service, method, answer)
        if method == "LeaseKeepAlive":
            return next(call(iter([request]), timeout=timeout, metadata=self._metadata()))
        return call(request, timeout=timeout, metadata=self._metadata())

    def _method(self, index: int, service: str, method: str, answer: Any = None) -> Any:
        channel = self._channels.get(index)
        if channel is None:
            target = self._targets[index]
            if self._credentials is None:
                channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
            else:
                channel = grpc.secure_channel(target, self._credentials, options=CHANNEL_OPTIONS)
            self._channels[index] = channel
        if answer is None:
            return getattr(getattr(etcdrpc, service + "Stub")(channel), method)
        return channel.unary_unary(
            f"/etcdserverpb.{service}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def _metadata(self, method: str = "") -> tuple[tuple[str, str], ...]:
        # hasleader: a member that is cut off from the others refuses a watch instead of keeping silent for ever. All
        # else waits for an election that may be going on.
        leader = (("hasleader", "true"),) if method == "Watch" else ()
        return leader + ((("token", self._token),) if self._token else ())

    def _reason(self, error: Any, waited: float) -> str:
        text: str = reason(error.code().name, error.details() or "", waited, tls=self._credentials is not None)
        return text

    def _unreachable(self, failures: list[str]) -> UnreachableError:
        host = os.uname().nodename
        return UnreachableError(f"no etcd endpoint answered as it should, asked from {host}: {'; '.join(failures)}")

    def _refusal(self, error: Any, request: Any) -> EtcdError:
        return self.refused(error.details() or error.code().name, request.ByteSize(), error.code().name)

    def refused(self, details: str, size: int = 0, code: str = "") -> EtcdError:
        """The error for what the endpoint that was asked last says against a request of the size."""
        at = f"etcd at {self.urls[self._preferred]}, asked from {os.uname().nodename},"
        return refusal(at, code, details, size, self._user)


class _Stream:
    """One streaming call, cancelled when a message is awaited for too long and when it is left.

    With C{alive}, which says whether the server is, it is one that ends with its requests and may be silent for long.
    """

    def __init__(
        self, method: Any, request: Any, alive: Callable[[], bool] | None, metadata: Any, lifetime: float
    ) -> None:
        self._left = threading.Event()
        requests = self._requests(request) if alive else request
        self._call = method(requests, timeout=lifetime or None, metadata=metadata)
        self.too_late = False
        if alive:
            threading.Thread(target=self._listen, args=(alive,), daemon=True).start()

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._left.set()
        self._call.cancel()

    def next(self, limit: float) -> Any:
        """The next message, or None after the last; raises grpc.RpcError."""
        if not limit:
            return next(self._call, None)
        timer = threading.Timer(limit, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            return next(self._call, None)
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self.too_late = True
        self._call.cancel()

    def _listen(self, alive: Callable[[], bool]) -> None:
        while not self._left.wait(HEARTBEAT):
            if not alive() and not self._left.is_set():
                self._give_up()
                return

    def _requests(self, request: Any) -> Iterator[Any]:
        yield request
        self._left.wait()
