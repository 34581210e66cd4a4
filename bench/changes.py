# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures on a node, where it is sent over SSH, how soon a site uses a server whose key is written.

Arguments: the site's URL, the prefix of its keys. Prints the seconds of each change as a JSON list. Each change gives
the key `<prefix>bench` the address of another server of this program; it is gone before and after.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from flagship.etcd import Client, Delete, Put
from flagship.settings import load

CHANGES = 100
PAUSE = 0.3  # between changes, so that each is one of its own
LIMIT = 10.0
# The nodes share the cores of one machine, and asking without a pause takes one of them from the watcher.
ASK_EVERY = 0.01
# The settings are those of fleet, which may not write there; a cluster without TLS has no such files.
IDENTITY = {"FLAGSHIP_ETCD_CLIENT_CERT": "/etc/flagship/tls/announce.crt",
            "FLAGSHIP_ETCD_CLIENT_KEY": "/etc/flagship/tls/announce.key"}  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """A web server with a page of its own."""

    # What the site gets from others comes here, too.
    request_queue_size = 1000

    def __init__(self, host: str, number: int) -> None:
        self.page = f"<title>bench{number}</title>".encode()
        super().__init__((host, 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"{self.server_address[0]!s}:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: object) -> None:
        pass


def page(host: str, port: int) -> bytes:
    """What the site answers on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def change(etcd: Client, key: str, server: Server, host: str, port: int) -> float:
    """Seconds from the start of the key's write to the end of the new server's first answer."""
    began = time.monotonic()
    etcd.txn([], [Put(key, server.address.encode())])
    while page(host, port) != server.page:
        if time.monotonic() > began + LIMIT:
            raise SystemExit(f"The site did not use {server.address} within {LIMIT:g} s: see the watcher's journal.")
        time.sleep(ASK_EVERY)
    return time.monotonic() - began


def main() -> None:
    url, prefix = sys.argv[1:]
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or 80
    key, taken, servers = f"{prefix}bench", [], deque[Server]()
    identity = IDENTITY if all(Path(file).exists() for file in IDENTITY.values()) else {}
    with Client(load(None, {**os.environ, **identity}).etcd) as etcd:
        try:
            for number in range(CHANGES):
                servers.append(Server(os.environ["COREOS_PRIVATE_IPV4"], number))
                taken.append(change(etcd, key, servers[-1], host, port))
                time.sleep(PAUSE)
                if len(servers) > 2:
                    servers.popleft().stop()
        finally:
            etcd.txn([], [Delete(key)])
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
