# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine with a test in its place: it answers what the test says, and notes what it was asked."""

from __future__ import annotations

import json
import re
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

HANG, BREAK = "hang", "break"


class DockerServer:
    """Answers by method and path (without the API version), each a status and a body, HANG, BREAK, or a list of these.

    Of a list, each request gets the next one, and all further ones the last.
    """

    def __init__(self, api: str = "1.41", oldest: str = "1.12", context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Any] = {"GET /version": (200, {"ApiVersion": api, "MinAPIVersion": oldest})}
        self.requests: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.closing = threading.Event()
        tcp = _TcpServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"engine": self}))
        if context:
            tcp.socket = context.wrap_socket(tcp.socket, server_side=True, do_handshake_on_connect=False)
        self._server = tcp
        self.host = f"tcp://127.0.0.1:{tcp.server_address[1]}"
        self._thread = threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> DockerServer:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, container: dict[str, Any], image: dict[str, Any]) -> None:
        """Have a container and its image."""
        name = container["Name"].lstrip("/")
        self.answers["GET /containers/json"] = (200, [{"Id": container["Id"], "Names": [container["Name"]]}])
        for key in (name, container["Id"]):
            self.answers[f"GET /containers/{key}/json"] = (200, container)
        for key in (image["Id"], *image["RepoTags"]):
            self.answers[f"GET /images/{key}/json"] = (200, image)

    def asked(self, *methods: str) -> list[str]:
        """The requests with these methods, all of them by default."""
        return [request for request in self.requests if not methods or request.split()[0] in methods]


class Handler(BaseHTTPRequestHandler):
    engine: DockerServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        path = re.sub(r"^/v\d+\.\d+", "", unquote(urlsplit(self.path).path))
        request = f"{self.command} {path}"
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        self.engine.requests.append(request)
        self.engine.bodies[request] = json.loads(content) if content else None
        answer = self.engine.answers.get(request, (404, {"message": f"there is no {path}"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer == HANG:
            self.engine.closing.wait(30)
        if answer in (HANG, BREAK):
            self.close_connection = True
            return
        status, body = answer
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def handle_error(self, *_arguments: Any) -> None:
        """A client that gives up is what the tests are about."""
