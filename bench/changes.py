# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures on a node, where it is sent over SSH, how soon a site uses a server whose key is written.

Arguments: the site's URL, the prefix of its keys. Prints the seconds of each change as a JSON list. The server is one
of this program; its key is `<prefix>bench`, and is gone before and after.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import sys
import threading
import time
from urllib.parse import urlsplit

from flagship.etcd import Client, Delete, Put
from flagship.settings import load

CHANGES = 100
LIMIT = 10.0
OWN = b"<title>bench</title>"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(OWN)))
        self.end_headers()
        self.wfile.write(OWN)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    # The requests of a site that is under load besides come here, too.
    request_queue_size = 1000


def own_answers(host: str, port: int) -> bool:
    """Ask the site for a page: whether it came from the server of this program."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read() == OWN
    finally:
        connection.close()


def change(etcd: Client, key: str, address: str, host: str, port: int) -> float:
    """Seconds from the start of the key's write to the end of the first answer; the key is gone again afterwards."""
    began = time.monotonic()
    etcd.txn([], [Put(key, address.encode())])
    while not own_answers(host, port):
        if time.monotonic() > began + LIMIT:
            raise SystemExit(f"The site did not use {address} within {LIMIT:g} s: see `systemctl status nginx-watch`.")
    taken = time.monotonic() - began
    etcd.txn([], [Delete(key)])
    others = 0
    while others < 30:
        others = 0 if own_answers(host, port) else others + 1
        if time.monotonic() > began + 2 * LIMIT:
            raise SystemExit(f"The site still uses {address}, whose key is gone.")
    return taken


def main() -> None:
    url, prefix = sys.argv[1:]
    parts = urlsplit(url)
    own = os.environ["COREOS_PRIVATE_IPV4"]
    with Server((own, 0), Handler) as server, Client(load(None, os.environ).etcd) as etcd:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        key, address = f"{prefix}bench", f"{own}:{server.server_port}"
        try:
            taken = [change(etcd, key, address, str(parts.hostname), parts.port or 80) for _number in range(CHANGES)]
        finally:
            etcd.txn([], [Delete(key)])
            server.shutdown()
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
