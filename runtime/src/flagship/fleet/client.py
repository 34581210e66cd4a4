# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of fleet's API v1 over a unix socket, TCP, TLS or a tunnel, for the command line."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

TIMEOUT = 10.0

Dial = Callable[[float], socket.socket]
"""Opens a connection to the endpoint, given a deadline in seconds; raises OSError."""


class ClientError(Exception):
    """The API could not be reached, or refused; the message is one sentence. `code` is the HTTP status, 0 without."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def split_endpoint(endpoint: str) -> SplitResult:
    """Parts of unix:///path, file:///path, http://host or https://host; of several with commas between, the first.

    Raises ClientError.
    """
    first = endpoint.partition(",")[0].strip()
    shown = f"...@{first.rpartition('@')[2]}" if "@" in first else first
    complaint = f"endpoint {shown!r} must be like unix:///run/fleet.sock, http://host:port or https://..."
    try:
        parts = urlsplit(first)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ClientError(complaint) from None
    local = parts.scheme in ("unix", "file") and bool(parts.path) and not parts.netloc
    if not local and not (parts.scheme in ("http", "https") and reachable):
        raise ClientError(complaint)
    return parts


class FleetClient:
    """Calls to one *endpoint* as split_endpoint takes it, each within *timeout* seconds; methods raise ClientError.

    Name and password in the endpoint are sent as Basic authentication. https is verified with *ca_cert*, or with the
    system's authorities. *dial* replaces the way to the endpoint, TLS goes through it. *trace* is told of each
    request and its status. One connection is kept: a client belongs to one thread.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        ca_cert: str = "",
        client_cert: str = "",
        client_key: str = "",
        timeout: float = TIMEOUT,
        dial: Dial | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        parts = split_endpoint(endpoint)
        local = parts.scheme in ("unix", "file")
        self._host = "localhost" if local else parts.netloc.rpartition("@")[2]
        self._shown = f"unix://{parts.path}" if local else f"{parts.scheme}://{self._host}"
        self._prefix = "" if local else parts.path.rstrip("/")
        self._timeout = timeout
        self._trace = trace
        self._headers = {}
        if parts.username is not None and not local:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
        self._dial = dial or _direct(parts)
        if parts.scheme == "https":
            self._dial = _encrypted(self._dial, _context(ca_cert, client_cert, client_key), parts.hostname or "")
        self._connection: _Connection | None = None

    def close(self) -> None:
        """End the kept connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, None for an empty one."""
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        status, reason, content = self._exchange(
            method, f"{self._prefix}{path}", None if body is None else json.dumps(body), headers
        )
        if self._trace is not None:
            self._trace(f"{method} {self._prefix}{path}: {status}")
        try:
            answer = json.loads(content) if content.strip() else None
        except ValueError:
            answer = None
        if status >= 400:
            found = answer.get("error", {}) if isinstance(answer, dict) else {}
            raise ClientError(f"Error {status}: {found.get('message') or reason}", status)
        return answer

    def _exchange(self, method: str, path: str, data: str | None, headers: dict[str, str]) -> tuple[int, str, bytes]:
        kept = self._connection is not None
        try:
            if self._connection is None:
                self._connection = _Connection(self._host, self._dial, self._timeout)
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            return response.status, response.reason, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # A kept connection may have ended meanwhile; every call of the API may be sent twice.
            if kept and isinstance(error, ConnectionError):
                return self._exchange(method, path, data, headers)
            said = error or type(error).__name__
            raise ClientError(f"the fleet API at {self._shown} does not answer: {said}") from None

    def pages(self, path: str, member: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """All items of a listing, filtered by *parameters* of its query."""
        token = ""
        while True:
            query = urlencode({**parameters, **({"nextPageToken": token} if token else {})})
            answer = self.call("GET", f"/fleet/v1/{path}{'?' if query else ''}{query}") or {}
            yield from answer.get(member, [])
            token = answer.get("nextPageToken", "")
            if not token:
                return

    def machines(self) -> dict[str, dict[str, Any]]:
        """All machines by id."""
        return {machine["id"]: machine for machine in self.pages("machines", "machines")}

    def unit(self, name: str) -> dict[str, Any] | None:
        """The unit, or None when there is none."""
        try:
            found: dict[str, Any] = self.call("GET", f"/fleet/v1/units/{quote(name, safe='')}")
        except ClientError as error:
            if error.code == 404:
                return None
            raise
        return found

    def state(self, name: str) -> dict[str, Any]:
        """What the machine that has the unit says of it; only its name when none does."""
        try:
            found: dict[str, Any] = self.call("GET", f"/fleet/v1/state/{quote(name, safe='')}") or {}
        except ClientError as error:
            if error.code != 404:
                raise
            found = {}
        return {"name": name, **found}

    def put_unit(self, name: str, **members: Any) -> None:
        self.call("PUT", f"/fleet/v1/units/{quote(name, safe='')}", {"name": name, **members})

    def delete_unit(self, name: str) -> None:
        self.call("DELETE", f"/fleet/v1/units/{quote(name, safe='')}")


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, dial: Dial, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._dial = dial
        self._deadline = timeout

    def connect(self) -> None:
        self.sock = self._dial(self._deadline)


def _direct(parts: SplitResult) -> Dial:
    def unix(timeout: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(parts.path)
        except OSError:
            sock.close()
            raise
        return sock

    def tcp(timeout: float) -> socket.socket:
        return socket.create_connection(address_of(parts), timeout)

    return unix if parts.scheme in ("unix", "file") else tcp


def address_of(parts: SplitResult) -> tuple[str, int]:
    """Host and port of an http or https endpoint."""
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _encrypted(dial: Dial, context: ssl.SSLContext, host: str) -> Dial:
    def tls(timeout: float) -> socket.socket:
        sock = dial(timeout)
        try:
            return context.wrap_socket(sock, server_hostname=host)
        except OSError:
            sock.close()
            raise

    return tls


def _context(ca_cert: str, client_cert: str, client_key: str) -> ssl.SSLContext:
    if bool(client_cert) != bool(client_key):
        raise ClientError("a client certificate and its key belong together: name both or none")
    try:
        context = ssl.create_default_context(cafile=ca_cert or None)
    except OSError as error:
        raise ClientError(f"CA file {ca_cert} cannot be used: {error}") from None
    if client_cert:
        try:
            context.load_cert_chain(client_cert, client_key)
        except OSError as error:
            raise ClientError(
                f"client certificate {client_cert} with key {client_key} cannot be used: {error}"
            ) from None
    return context
