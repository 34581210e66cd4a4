# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web server for tests: `backend_program.py PORT TITLE`.

Every path shows the title; `/slow?SECONDS` does so late, and `/count?METHOD` says how many requests of that method have
arrived so far.
"""

from __future__ import annotations

import http.server
import sys
import time
from collections import Counter


def serve(port: int, title: str) -> None:
    seen: Counter[str] = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _mark, argument = self.path.partition("?")
            if path != "/count":
                seen[self.command] += 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path == "/slow":
                time.sleep(float(argument))
            body = (str(seen[argument]) if path == "/count" else title).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 (the names that http.server looks for)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a balancer that has lost patience

        request_queue_size = 128
        disable_nagle_algorithm = True

    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
