# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Web servers as processes, which can be frozen and killed, and a load that counts what goes wrong meanwhile."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from etcd_server import free_port, wait_for

PROGRAM = Path(__file__).with_name("backend_program.py")


class Backend:
    """A web server in a process of its own."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, str(PROGRAM), str(self.port), self.title])
        wait_for(self._accepts, what=f"a connection to {self.title}")

    def freeze(self) -> None:
        """It accepts connections and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def count(self, method: str) -> int:
        """How many requests of that method it has begun to handle."""
        return int(request(self.port, "/count?" + method)[1])

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def request(
    port: int,
    path: str = "/",
    *,
    host: str = "site.example",
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Status and body of one request on a connection of its own; OSError or HTTPException when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=body, headers={"Host": host, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Load:
    """Sends GETs until the end of the block: `failed` holds every one that was not 200 within 3 s."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.failed: list[str] = []
        self.answered: Counter[str] = Counter()
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _client in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                status, body = request(self._port)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                continue
            took = time.monotonic() - started
            if status != 200 or took > 3:
                self.failed.append(f"{status} after {took:.3f} s: {body[:100]}")
            self.answered[body] += 1
            self._stop.wait(0.005)
