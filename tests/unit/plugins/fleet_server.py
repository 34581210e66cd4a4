# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet's HTTP API v1 with a test in the engine's place: units obey at once, or as the test says, or not at all.

It answers as the engine of this collection does, or as fleet 1.0.0 does, which has nothing below /flagship.
"""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitOption, content_hash

MACHINE = "0123456789abcdef0123456789abcdef"


class FleetServer:
    """State and faults of the API; start it with C{with}."""

    def __init__(self, path: str = "", context: ssl.SSLContext | None = None, page_size: int = 100) -> None:
        self.units: dict[str, dict[str, Any]] = {}
        self.states: list[dict[str, str]] = []
        self.machines: list[dict[str, Any]] = [{"id": MACHINE, "primaryIP": "192.0.2.1", "metadata": {"disk": "ssd"}}]
        self.reasons: dict[str, dict[str, str]] = {}
        self.cordons: dict[str, dict[str, bool]] = {}
        self.remaining: dict[str, str] = {}
        # What fleet 1.0.0 does not have: /flagship/v1, and mux answers in plain text there.
        self.flagship = True
        self.requests: list[tuple[str, str, Any]] = []
        self.answer: tuple[int, str] | None = None
        self.authorization = ""
        self.page_size = page_size
        self.obey: Callable[[str], None] = self.settle
        handler = type("BoundHandler", (Handler,), {"fleet": self})
        if path:
            self._server: socketserver.BaseServer = _UnixServer(path, handler)
            self.endpoint = f"unix://{path}"
        else:
            tcp = _TcpServer(("127.0.0.1", 0), handler)
            if context:
                tcp.socket = context.wrap_socket(tcp.socket, server_side=True, do_handshake_on_connect=False)
            self._server = tcp
            self.endpoint = f"{'https' if context else 'http'}://127.0.0.1:{tcp.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> FleetServer:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def settle(self, name: str, active: str = "active", machine: str = MACHINE) -> None:
        """What engine and agent do in the end; a test calls it itself to make a unit fail or to move it."""
        unit = self.units.get(name)
        self.states = [state for state in self.states if state["name"] != name]
        if unit is None:
            return
        unit["currentState"] = unit["desiredState"]
        unit.pop("machineID", None)
        if unit["desiredState"] == "inactive":
            return
        unit["machineID"] = machine
        self.states.append(self.state(name, machine, active if unit["desiredState"] == "launched" else "inactive"))

    def state(self, name: str, machine: str, active: str) -> dict[str, str]:
        options = self.units[name]["options"]
        return {
            "name": name,
            "hash": content_hash([UnitOption(o["section"], o["name"], o.get("value", "")) for o in options]),
            "machineID": machine,
            "systemdLoadState": "loaded",
            "systemdActiveState": active,
            "systemdSubState": {"active": "running", "failed": "failed"}.get(active, "dead"),
        }

    def respond(self, method: str, target: str, body: Any) -> tuple[int, dict[str, Any] | None]:
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        kind, _slash, escaped = url.path.removeprefix("/fleet/v1/").partition("/")
        name = unquote(escaped)
        if url.path.startswith("/flagship/") and not self.flagship:
            return 404, None
        if url.path.startswith("/flagship/v1/machines/"):
            return self.respond_machine(method, url.path.removeprefix("/flagship/v1/machines/"), body)
        if kind == "machines" and method == "PATCH":
            return self.patch_machines(body)
        if url.path.startswith("/flagship/v1/why/"):
            name = unquote(url.path.removeprefix("/flagship/v1/why/"))
            rows = [{"id": machine, "reason": reason} for machine, reason in self.reasons.get(name, {}).items()]
            return (200, {"unit": name, "machines": rows}) if rows else (404, None)
        if kind == "units" and name:
            return self.respond_unit(method, name, body)
        listed = {
            "units": [self.units[key] for key in sorted(self.units)],
            "state": [state for state in self.states if query.get("unitName") in (None, state["name"])],
            "machines": self.machines,
        }
        if method != "GET" or kind not in listed:
            return 404, None
        start = int(base64.urlsafe_b64decode(query.get("nextPageToken", "MA==")))
        page: dict[str, Any] = {}
        if listed[kind][start : start + self.page_size]:
            page["states" if kind == "state" else kind] = listed[kind][start : start + self.page_size]
        if start + self.page_size < len(listed[kind]):
            page["nextPageToken"] = base64.urlsafe_b64encode(str(start + self.page_size).encode()).decode()
        return 200, page

    def patch_machines(self, operations: Any) -> tuple[int, dict[str, Any] | None]:
        for operation in operations:
            machine, _metadata, key = operation["path"].removeprefix("/").split("/")
            found = next(item for item in self.machines if item["id"] == machine)
            found["metadata"].pop(key, None)
            if operation["op"] != "remove":
                found["metadata"][key] = operation["value"]["value"]
        return 204, None

    def respond_machine(self, method: str, target: str, body: Any) -> tuple[int, dict[str, Any] | None]:
        machine = target.partition("/")[0]
        if machine not in [item["id"] for item in self.machines]:
            return 404, {"error": {"code": 404, "message": "machine does not exist"}}
        if method == "PUT":
            self.cordons[machine] = body
            return 204, None
        cordon = self.cordons.get(machine, {"schedulable": True, "drain": False})
        units = [{"name": name, "reason": reason} for name, reason in self.remaining.items()]
        return 200, {"id": machine, **cordon, "units": units}

    def respond_unit(self, method: str, name: str, body: Any) -> tuple[int, dict[str, Any] | None]:
        if method == "GET":
            return (200, self.units[name]) if name in self.units else (404, {"error": {"code": 404, "message": "no"}})
        if method == "DELETE":
            self.units.pop(name, None)
            self.obey(name)
            return 204, None
        status = 204
        if body.get("options"):
            self.units[name] = {"name": name, "options": body["options"], "currentState": "inactive"}
            status = 201
        self.units[name]["desiredState"] = body["desiredState"]
        self.obey(name)
        return status, None


class Handler(BaseHTTPRequestHandler):
    fleet: FleetServer

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.fleet.requests.append((self.command, self.path, body))
        if self.fleet.answer:
            status, text = self.fleet.answer
        elif self.headers.get("Authorization", "") != self.fleet.authorization:
            status, text = 401, "not for you"
        else:
            status, answer = self.fleet.respond(self.command, self.path, body)
            text = "" if answer is None else json.dumps(answer)
        self.send_response(status)
        if text:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        pass


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        connection, _address = super().get_request()
        return connection, ("unix", 0)


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_arguments: object) -> None:
        pass
