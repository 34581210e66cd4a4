# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP as the fleet modules speak it: one request a connection, one deadline a request, errors that say the way out."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class FleetError(Exception):
    """The API could not be asked, or refused; the text names the endpoint, what was found, and the way out."""


class FleetUnavailableError(FleetError):
    """The API did not answer, or answered that it cannot reach its store: asking again later may help."""


class FleetGoneError(FleetError):
    """The machine has left the cluster."""


class ExpiredError(Exception):
    """An exchange took longer than it may."""


def fleet_argument_spec() -> dict[str, dict[str, Any]]:
    """The connection options that all fleet modules share; documented in the doc fragment C{fleet}."""
    return {
        "endpoint": {"type": "str", "default": "unix:///run/fleet.sock"},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "user": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "timeout": {"type": "float", "default": 10.0},
    }


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def exchange(
    connection: http.client.HTTPConnection,
    timeout: float,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """One request on a connection of its own, which is closed then: status and text.

    A socket's timeout restarts with every byte that arrives; the timer ends a server that drips. Raises ExpiredError,
    OSError or HTTPException.
    """
    expired = threading.Event()
    opened: list[socket.socket] = []

    def expire() -> None:
        expired.set()
        for sock in (connection.sock, *opened):
            if sock:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        # While an answer is read whose length is not given, the connection has forgotten its socket.
        opened.append(connection.sock)
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        if expired.is_set():
            raise ExpiredError
        return response.status, text
    except (OSError, http.client.HTTPException) as error:
        # Before Python 3.10 socket.timeout was a class of its own.
        if expired.is_set() or isinstance(error, (TimeoutError, socket.timeout)):
            raise ExpiredError from error
        raise
    finally:
        timer.cancel()
        connection.close()


class FleetHttp:
    """One endpoint, given by the options of fleet_argument_spec.

    Every request ends within C{timeout} seconds and raises FleetError when it gets no proper answer.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.endpoint = params["endpoint"]
        self.timeout = float(params["timeout"])
        host = os.uname().nodename
        place = f" on {host}" if self.endpoint.startswith("unix:") else f", asked from {host},"
        self.at = f"the fleet API at {self.endpoint}{place}"
        self._ca_cert = params["ca_cert"]
        self._client_cert = params["client_cert"]
        self._client_key = params["client_key"]
        self._headers = {"Accept": "application/json", "User-Agent": "flagship.coreos", "Connection": "close"}
        # First of all: the other errors show the endpoint.
        if "@" in self.endpoint and not self.endpoint.startswith("unix:"):
            raise FleetError("the fleet endpoint contains a user or password; give them as options user and password")
        try:
            self._url = urlsplit(self.endpoint)
            self._port = self._url.port
        except ValueError as error:
            raise FleetError(f"the fleet endpoint {self.endpoint!r} is no URL ({error}); correct it") from error
        if self._url.scheme not in ("unix", "http", "https") or not (
            self._url.path.startswith("/") if self._url.scheme == "unix" else self._url.hostname
        ):
            raise FleetError(
                f"the fleet endpoint {self.endpoint!r} is not understood; "
                "write it as unix:///path, http://host:port or https://host:port"
            )
        if self._url.scheme == "unix" and self._url.netloc:
            raise FleetError(
                f"the fleet endpoint {self.endpoint!r} names a host; a socket path follows unix:// with a third /"
            )
        if self.timeout <= 0:
            raise FleetError(f"the timeout {self.timeout:g} is not above zero; give a number of seconds")
        tls_options = [name for name in ("ca_cert", "client_cert", "client_key") if params[name]]
        if tls_options and self._url.scheme != "https":
            raise FleetError(
                f"{tls_options[0]} is given but the fleet endpoint {self.endpoint} has no TLS; use https://"
            )
        if bool(self._client_cert) != bool(self._client_key):
            raise FleetError("client_cert and client_key belong together; give both or neither")
        if bool(params["user"]) != bool(params["password"]):
            raise FleetError("user and password belong together; give both or neither")
        if params["user"]:
            if self._url.scheme == "http":
                raise FleetError(
                    f"the password would cross the network in clear to the fleet endpoint {self.endpoint}; use https://"
                )
            credentials = base64.b64encode(f"{params['user']}:{params['password']}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._prefix = "" if self._url.scheme == "unix" else self._url.path.rstrip("/")

    def request(
        self, method: str, path: str, body: Any = None, *, accept: tuple[int, ...]
    ) -> tuple[int, dict[str, Any]]:
        """Status, which is one of those to accept, and the JSON object of the answer; empty if there is none."""
        path = self._prefix + path
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        text = None if body is None else json.dumps(body)
        try:
            status, found = exchange(self._connection(), self.timeout, method, path, text, headers)
        except (OSError, http.client.HTTPException, ExpiredError) as error:
            raise self._failure(error) from error
        try:
            answer = json.loads(found) if found.strip() else {}
        except ValueError:
            answer = None
        if status not in accept:
            raise self._refusal(status, answer, method, path)
        if not isinstance(answer, dict):
            if status != 200:
                return status, {}
            raise FleetError(
                f"{self.at} answered {method} {path} with something that is not JSON; "
                "check that the endpoint is fleet's"
            )
        return status, answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.scheme == "unix":
            return _UnixConnection(self._url.path, self.timeout)
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._port, timeout=self.timeout)
        try:
            context = ssl.create_default_context(cafile=self._ca_cert or None)
        except (OSError, ssl.SSLError) as error:
            raise FleetError(
                f"ca_cert {self._ca_cert} cannot be used ({error_text(error)}); give a PEM file of CAs"
            ) from error
        if self._client_cert:
            try:
                # An encrypted key would make OpenSSL ask on the terminal; the empty password makes it fail instead.
                context.load_cert_chain(self._client_cert, self._client_key, password="")
            except (OSError, ssl.SSLError) as error:
                raise FleetError(
                    f"client_cert {self._client_cert} with client_key {self._client_key} cannot be used "
                    f"({error_text(error)}); give a PEM pair without passphrase"
                ) from error
        return http.client.HTTPSConnection(host, self._port, timeout=self.timeout, context=context)

    def _failure(self, error: Exception) -> FleetError:
        at = self.at
        if isinstance(error, ExpiredError):
            return FleetUnavailableError(
                f"{at} did not answer within {self.timeout:g} s; check that fleet runs there, or raise timeout"
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return FleetError(
                f"{at} has a certificate that is not trusted ({error.verify_message}); set ca_cert to its CA"
            )
        if isinstance(error, ssl.SSLError):
            return FleetError(
                f"{at} ended the TLS handshake ({error_text(error)}); "
                "check that it speaks TLS and whether it wants client_cert"
            )
        if isinstance(error, FileNotFoundError):
            return FleetUnavailableError(f"{at} has no socket; start fleet.socket on this host, or correct endpoint")
        if isinstance(error, PermissionError):
            return FleetError(f"{at} refuses this user; become root or join the group fleet")
        if isinstance(error, ConnectionRefusedError):
            return FleetUnavailableError(f"{at} refuses connections; start fleet there, or correct endpoint")
        if isinstance(error, socket.gaierror):
            return FleetUnavailableError(f"{at} has a host name that does not resolve; correct endpoint")
        way_out = {
            "http": "if it has TLS, use https://",
            "https": "check that it has TLS, and whether it wants client_cert",
        }
        return FleetUnavailableError(
            f"{at} broke the connection off ({error_text(error)}); "
            f"{way_out.get(self._url.scheme, 'check that the socket belongs to fleet')}, or look at its log"
        )

    def _refusal(self, status: int, answer: Any, method: str, path: str) -> FleetError:
        message = ""
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            message = str(answer["error"].get("message") or "")
        text = f"{self.at} answered {method} {path} with {status}" + (f" ({message})" if message else "")
        if status in (401, 403):
            return FleetError(f"{text}; check user and password, or the client certificate")
        if status == 503:
            return FleetUnavailableError(f"{text}; check that etcd has a leader and that fleet reaches it")
        if status >= 500:
            return FleetUnavailableError(f"{text}; look at the log of fleet.service")
        return FleetError(f"{text}; check that the endpoint is fleet's" if status == 404 else f"{text}; correct that")


def error_text(error: Exception) -> str:
    """What an error of a connection says, without numbers and tracebacks."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
