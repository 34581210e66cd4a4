# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of fleet's HTTP API v1, for fleet 1.0.0 and the engine of this collection alike; standard library only."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitOption


class FleetError(Exception):
    """The API could not be asked, or refused; the text names the endpoint, what was found, and the way out."""


class FleetUnavailableError(FleetError):
    """The API did not answer, or answered that it cannot reach its store: asking again later may help."""


class Unit(NamedTuple):
    """A unit as the cluster knows it; current_state and machine_id are empty where fleet reports none."""

    name: str
    options: tuple[UnitOption, ...]
    desired_state: str
    current_state: str
    machine_id: str


class UnitState(NamedTuple):
    """What one machine's systemd says of one unit; hash is that of the file which this machine really has."""

    name: str
    hash: str
    machine_id: str
    load_state: str
    active_state: str
    sub_state: str


class Machine(NamedTuple):
    """A live machine of the cluster with its effective metadata."""

    id: str
    primary_ip: str
    metadata: dict[str, str]


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


class FleetClient:
    """The API at one endpoint, given by the options of fleet_argument_spec.

    Every call ends within C{timeout} seconds and raises FleetError when it gets no proper answer.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.endpoint = params["endpoint"]
        self.timeout = float(params["timeout"])
        host = os.uname().nodename
        place = f" on {host}" if self.endpoint.startswith("unix:") else f", asked from {host},"
        self._at = f"the fleet API at {self.endpoint}{place}"
        self._ca_cert = params["ca_cert"]
        self._client_cert = params["client_cert"]
        self._client_key = params["client_key"]
        self._headers = {"Accept": "application/json", "User-Agent": "flagship.coreos", "Connection": "close"}
        try:
            self._url = urlsplit(self.endpoint)
            self._port = self._url.port
        except ValueError as error:
            raise FleetError(f"the fleet endpoint {self.endpoint!r} is no URL ({error}); correct it") from error
        if self._url.username or self._url.password:
            raise FleetError("the fleet endpoint contains a user or password; give them as options user and password")
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
        prefix = "" if self._url.scheme == "unix" else self._url.path.rstrip("/")
        self._fleet_path = prefix + "/fleet/v1"
        self._why_path = prefix + "/flagship/v1/why"

    def unit(self, name: str) -> Unit | None:
        """One unit, or None when the cluster does not know it."""
        status, body = self._request("GET", f"{self._fleet_path}/units/{_escape(name)}", accept=(200, 404))
        return None if status == 404 else _unit(body)

    def units(self) -> list[Unit]:
        """All units, sorted by name."""
        return [_unit(item) for item in self._pages("units", "units")]

    def put_unit(self, name: str, desired_state: str, options: Iterable[UnitOption] = ()) -> None:
        """Create or replace a unit (with options), or only set its desired state (without)."""
        body: dict[str, Any] = {"name": name, "desiredState": desired_state}
        listed = [option._asdict() for option in options]
        if listed:
            body["options"] = listed
        self._request("PUT", f"{self._fleet_path}/units/{_escape(name)}", body, accept=(201, 204))

    def delete_unit(self, name: str) -> None:
        """Remove a unit; fine when it is gone already."""
        self._request("DELETE", f"{self._fleet_path}/units/{_escape(name)}", accept=(204, 404))

    def states(self, unit_name: str = "") -> list[UnitState]:
        """What the machines report, of one unit or of all, sorted by name and machine."""
        query = f"unitName={_escape(unit_name)}" if unit_name else ""
        return [
            UnitState(
                item.get("name", ""),
                item.get("hash", ""),
                item.get("machineID", ""),
                item.get("systemdLoadState", ""),
                item.get("systemdActiveState", ""),
                item.get("systemdSubState", ""),
            )
            for item in self._pages("state", "states", query)
        ]

    def machines(self) -> list[Machine]:
        """The live machines, sorted by id."""
        return [
            Machine(item.get("id", ""), item.get("primaryIP", ""), item.get("metadata") or {})
            for item in self._pages("machines", "machines")
        ]

    def why_not_placed(self, name: str) -> dict[str, str]:
        """Reasons by machine id why a unit does not run there; empty where the server cannot tell (fleet 1.0.0)."""
        status, body = self._request("GET", f"{self._why_path}/{_escape(name)}", accept=(200, 404))
        rows = body.get("machines") or [] if status == 200 else []
        return {row["id"]: row["reason"] for row in rows if row["reason"]}

    def _pages(self, resource: str, member: str, query: str = "") -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = "&".join(part for part in (query, f"nextPageToken={_escape(token)}" if token else "") if part)
            path = f"{self._fleet_path}/{resource}" + (f"?{page}" if page else "")
            _status, body = self._request("GET", path, accept=(200,))
            yield from body.get(member) or []
            following = body.get("nextPageToken") or ""
            if not following:
                return
            if following == token:
                raise FleetError(f"the fleet API XX repeats the same page of {resource}; look at its log")
            token = following

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, accept: tuple[int, ...]
    ) -> tuple[int, dict[str, Any]]:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        status, text = self._exchange(method, path, None if body is None else json.dumps(body), headers)
        try:
            answer = json.loads(text) if text.strip() else {}
        except ValueError:
            answer = None
        if status not in accept:
            raise self._refusal(status, answer, method, path)
        if not isinstance(answer, dict):
            if status != 200:
                return status, {}
            raise FleetError(
                f"{self._at} answered {method} {path} with something that is not JSON; "
                "check that the endpoint is fleet's"
            )
        return status, answer

    def _exchange(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str]:
        """One request on a connection of its own.

        A socket's timeout restarts with every byte that arrives; the timer ends a server that drips.
        """
        connection = self._connection()
        expired = threading.Event()
        timer = threading.Timer(self.timeout, self._expire, (connection, expired))
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error, expired.is_set()) from error
        finally:
            timer.cancel()
            connection.close()

    @staticmethod
    def _expire(connection: http.client.HTTPConnection, expired: threading.Event) -> None:
        expired.set()
        if connection.sock:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

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
                f"ca_cert {self._ca_cert} cannot be used ({_reason(error)}); give a PEM file of CAs"
            ) from error
        if self._client_cert:
            try:
                # An encrypted key would make OpenSSL ask on the terminal; the empty password makes it fail instead.
                context.load_cert_chain(self._client_cert, self._client_key, password="")
            except (OSError, ssl.SSLError) as error:
                raise FleetError(
                    f"client_cert {self._client_cert} with client_key {self._client_key} cannot be used "
                    f"({_reason(error)}); give a PEM pair without passphrase"
                ) from error
        return http.client.HTTPSConnection(host, self._port, timeout=self.timeout, context=context)

    def _failure(self, error: Exception, expired: bool) -> FleetError:
        at = self._at
        # Before Python 3.10 socket.timeout was a class of its own.
        if expired or isinstance(error, (TimeoutError, socket.timeout)):
            return FleetUnavailableError(
                f"{at} did not answer within {self.timeout:g} s; check that fleet runs there, or raise timeout"
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return FleetError(
                f"{at} has a certificate that is not trusted ({error.verify_message}); set ca_cert to its CA"
            )
        if isinstance(error, ssl.SSLError):
            return FleetError(
                f"{at} ended the TLS handshake ({_reason(error)}); "
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
        return FleetUnavailableError(
            f"{at} broke the connection off ({_reason(error)}); check that the endpoint is fleet's and look at its log"
        )

    def _refusal(self, status: int, answer: Any, method: str, path: str) -> FleetError:
        message = ""
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            message = str(answer["error"].get("message") or "")
        text = f"{self._at} answered {method} {path} with {status}" + (f" ({message})" if message else "")
        if status in (401, 403):
            return FleetError(f"{text}; check user and password, or the client certificate")
        if status == 503:
            return FleetUnavailableError(f"{text}; check that etcd has a leader and that fleet reaches it")
        if status >= 500:
            return FleetUnavailableError(f"{text}; look at the log of fleet.service")
        return FleetError(
            f"{text}; check that the endpoint is fleet's" if status == 404 else f"{text}; correct the unit"
        )


def state_values(state: UnitState) -> dict[str, str]:
    """A state as the modules return it, below the unit that it belongs to."""
    return {key: value for key, value in state._asdict().items() if key != "name"}


def _escape(text: str) -> str:
    return quote(text, safe="")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unit(item: Mapping[str, Any]) -> Unit:
    options = tuple(
        UnitOption(option.get("section", ""), option.get("name", ""), option.get("value", ""))
        for option in item.get("options") or ()
    )
    return Unit(
        item.get("name", ""),
        options,
        item.get("desiredState", ""),
        item.get("currentState", ""),
        item.get("machineID", ""),
    )
