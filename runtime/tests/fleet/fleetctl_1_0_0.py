# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of fleet 1.0.0's own fleetctl, in its order, with its headers, its waits and its mistakes."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from flagship.fleet.requirements import is_global
from flagship.fleet.unit_file import Option, content_hash

POLL = 0.25
WINDOW = 2.0


class ApiError(Exception):
    """What fleetctl prints as "googleapi: Error ...", and ends with exit code 1."""


class PanicError(Exception):
    """Where fleetctl 1.0.0 crashes."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("domain-sock", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class Original:
    """fleetctl on a unix socket, with *user* NAME:PASSWORD in its endpoint; `requests` is all it sent, with its status.

    A wait of the original has no end; here it gets *patience* seconds.
    """

    def __init__(self, path: str, user: str = "", patience: float = 15.0) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.warnings: list[str] = []
        self._user = user
        self._patience = patience
        self._connection = _UnixConnection(path)

    # Requests.

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        """One request as google-api-go-client makes it; raises ApiError."""
        target = f"/fleet/v1/{path}?alt=json" + (f"&nextPageToken={quote(token, safe='')}" if token else "")
        connection = self._connection
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "domain-sock")
        connection.putheader("User-Agent", "google-api-go-client/0.5")
        connection.putheader("Accept-Encoding", "gzip")
        if self._user:
            connection.putheader("Authorization", "Basic " + base64.b64encode(self._user.encode()).decode())
        data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode() + b"\n"
        if body is not None:
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data or None)
        response = connection.getresponse()
        content = response.read()
        if response.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        self.requests.append((method, path, response.status))
        if response.status >= 300:
            error = json.loads(content)["error"]
            raise ApiError(f"googleapi: Error {error['code']}: {error['message']}", response.status)
        assert response.headers["Server"] == "fleetd/1.0.0"
        return json.loads(content) if content else None

    def close(self) -> None:
        self._connection.close()

    def pages(self, path: str, member: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.call("GET", path, token=token)
            found += page.get(member, [])
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def unit(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.call("GET", f"units/{quote(name, safe='')}")
        except ApiError as error:
            if error.args[1] == 404:
                return None
            raise
        return found

    def put(self, name: str, **members: Any) -> None:
        self.call("PUT", f"units/{quote(name, safe='')}", {**members, "name": name})

    # Waits: a poll every 0.25 s, the first one 0.25 s after the change; errors meanwhile are passed over.

    def _poll(self, seen: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(POLL)
            try:
                if seen():
                    return True
            except (ApiError, OSError):
                continue
        return False

    def _wait(self, name: str, what: str, seen: Callable[[], bool]) -> None:
        assert self._poll(seen, self._patience), f"fleetctl 1.0.0 would wait for ever for {name} to be {what}"

    def wait_current(self, name: str, state: str) -> None:
        self._wait(name, state, lambda: (self.unit(name) or {}).get("currentState") == state)

    def wait_created(self, name: str) -> None:
        member = "desiredState" if _is_global(self.unit(name) or {}) else "currentState"
        self._wait(name, "created", lambda: (self.unit(name) or {}).get(member) == "inactive")

    def wait_active(self, name: str) -> bool:
        """Whether the unit is loaded and active within the one window that fleetctl gives it."""

        def seen() -> bool:
            try:
                state = self.call("GET", f"state/{quote(name, safe='')}")
            except ApiError as error:
                if error.args[1] == 404:
                    raise PanicError(f"nil pointer for the state of {name}") from None
                raise
            return (state.get("systemdLoadState"), state.get("systemdActiveState")) == ("loaded", "active")

        return self._poll(seen, WINDOW)

    # Commands. Units are names with the options of a local file, () for none.

    def submit(
        self, *units: tuple[str, Sequence[Option]], replace: bool = False, replaceable: Sequence[str] = ("inactive",)
    ) -> None:
        for name, local in units:
            found = self.unit(name)
            if found is None:
                self._create(name, local)
            elif local and content_hash(local) != content_hash(_options(found)):
                if not replace or found["desiredState"] not in replaceable:
                    self.warnings.append(name)
                    continue
                self.put(name, options=_json(local))
                self.wait_created(name)

    def _create(self, name: str, local: Sequence[Option]) -> None:
        if not local:
            prefix, _at, rest = name.partition("@")
            template = self.unit(f"{prefix}@.{rest.rpartition('.')[2]}")
            assert template is not None, f"no template for {name}"
            local = _options(template)
        self.put(name, options=_json(local))
        self.wait_created(name)

    def _to(self, state: str, *units: tuple[str, Sequence[Option]], replace: bool) -> list[dict[str, Any]]:
        allowed = {"loaded": ("inactive", "loaded"), "launched": ("inactive", "loaded", "launched")}[state]
        self.submit(*units, replace=replace, replaceable=allowed)
        waiting = []
        for name, _local in units:
            found = self.unit(name)
            assert found is not None
            if found["desiredState"] != state:
                self.put(name, desiredState=state)
            if not _is_global(found):
                waiting.append(found)
        for found in waiting:
            self.wait_current(found["name"], state)
        return waiting

    def load(self, *units: tuple[str, Sequence[Option]], replace: bool = False) -> None:
        self._to("loaded", *units, replace=replace)

    def start(self, *units: tuple[str, Sequence[Option]], replace: bool = False) -> bool:
        """Whether all are active in time (exit code 0)."""
        return all(self.wait_active(found["name"]) for found in self._to("launched", *units, replace=replace))

    def _known(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [unit for unit in self.pages("units", "units") if unit["name"] in names]

    def stop(self, *names: str) -> int:
        waiting = []
        for unit in self._known(names):
            if not _is_global(unit):
                if unit["currentState"] == "inactive":
                    return 1
                if unit["currentState"] == "loaded":
                    continue
                waiting.append(unit["name"])
            self.put(unit["name"], desiredState="loaded")
        for name in waiting:
            self.wait_current(name, "loaded")
        return 0

    def unload(self, *names: str) -> None:
        waiting = []
        for unit in self._known(names):
            if not _is_global(unit):
                if unit["currentState"] == "inactive":
                    continue
                waiting.append(unit["name"])
            self.put(unit["name"], desiredState="inactive")
        for name in waiting:
            self.wait_current(name, "inactive")

    def destroy(self, *names: str, no_block: bool = False) -> None:
        for unit in self._known(names):
            try:
                self.call("DELETE", f"units/{quote(unit['name'], safe='')}")
            except ApiError as error:
                assert error.args[1] == 404
            # The original has it the wrong way round.
            if no_block:
                self._wait(unit["name"], "gone", lambda name=unit["name"]: self.unit(name) is None)  # type: ignore[misc]

    def restart(self, *names: str, no_block: bool = False) -> None:
        for unit in self._known(names):
            name = unit["name"]
            assert self.unit(name) is not None
            if not _is_global(unit) and unit["currentState"] == "inactive":
                self.warnings.append(name)
                continue
            if unit.get("currentState") != "loaded":
                self.put(name, desiredState="loaded")
                if not _is_global(unit) and not no_block:
                    # A mistake of the original: it means `loaded`.
                    self.wait_current(name, "launched")
            self.put(name, desiredState="launched")
            if not _is_global(unit) and not no_block:
                self.wait_current(name, "launched")

    def list_units(self) -> list[dict[str, Any]]:
        states = self.pages("state", "states")
        self.pages("machines", "machines")
        for state in states:
            if 0 < len(state.get("hash", "")) < 7:
                raise PanicError("slice bounds out of range for a hash")
        return states

    def list_unit_files(self) -> dict[str, str]:
        """Hash by unit, which fleetctl computes itself."""
        units = self.pages("units", "units")
        self.pages("machines", "machines")
        return {unit["name"]: content_hash(_options(unit)) for unit in units}

    def machine_of(self, name: str) -> str:
        """Where status and journal go."""
        found = self.unit(name) or {}
        if found.get("currentState", "inactive") == "inactive":
            return ""
        machines = {machine["id"]: machine for machine in self.pages("machines", "machines")}
        return str(machines[found["machineID"]]["primaryIP"])


def _options(unit: dict[str, Any]) -> tuple[Option, ...]:
    return tuple(Option(o["section"], o["name"], o.get("value", "")) for o in unit.get("options", []))


def _json(options: Sequence[Option]) -> list[dict[str, str]]:
    """Options as Go writes them: without empty values."""
    found = [{"name": o.name, "section": o.section, "value": o.value} for o in options]
    return [{key: value for key, value in option.items() if value} for option in found]


def _is_global(unit: dict[str, Any]) -> bool:
    return is_global(_options(unit))
