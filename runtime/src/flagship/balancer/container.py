# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A balancer in a container, reached through the Docker engine's API on its socket.

Every change of a key waits for this, so it is not done by the program `docker`, each start of which takes some 25 ms,
nor by the SDK, which takes 10 MiB. What is asked for has been the same since API 1.24, and a path without a version
gets the engine's own: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from flagship.balancer.control import COMMAND_TIMEOUT, BalancerError, NotRunningError, failure
from flagship.http_exchange import exchange

SOCKET = "/var/run/docker.sock"
# No container of that name; it does not run, or is paused.
_ABSENT = (404, 409)
# So many bytes of what a command prints are read.
_LONGEST_ANSWER = 1 << 20


class Container:
    """The container of that name, which reads its file when it is sent the signal."""

    def __init__(self, name: str, signal: str, path: str = SOCKET, timeout: float = COMMAND_TIMEOUT) -> None:
        self._name = name
        self._signal = signal
        self._path = path
        self._timeout = timeout
        self._place = f"/containers/{quote(name, safe='')}"

    def check(self, command: Sequence[str]) -> None:
        """Run the command in the container; () is none."""
        if not command:
            return
        deadline = time.monotonic() + self._timeout
        wanted = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        made = json.loads(self._ask("POST", f"{self._place}/exec", deadline, wanted))
        execution = f"/exec/{made['Id']}"
        output = _words(self._ask("POST", f"{execution}/start", deadline, {"Detach": False, "Tty": False}))
        while (state := json.loads(self._ask("GET", f"{execution}/json", deadline)))["Running"]:
            time.sleep(0.01)
        if state["ExitCode"]:
            self.ask_whether_running()
            raise failure(f"check command `{' '.join(command)}` in container {self._name}", state["ExitCode"], output)

    def reload(self) -> None:
        self._ask("POST", f"{self._place}/kill?signal={self._signal}", time.monotonic() + self._timeout)

    def ask_whether_running(self) -> None:
        state = json.loads(self._ask("GET", f"{self._place}/json", time.monotonic() + self._timeout))["State"]
        if not state["Running"] or state["Paused"] or state["Restarting"]:
            raise NotRunningError(f"container {self._name} is {state['Status']}.")

    def _ask(self, method: str, path: str, deadline: float, body: Any = None) -> bytes:
        """The body of the engine's answer; raises BalancerError, and NotRunningError without engine or container."""
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(text)}\r\n\r\n".encode("ascii") + text
        where = f"the Docker engine at {self._path}"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self._timeout)
                connection.connect(self._path)
                answer = exchange(connection, request, deadline)
                content = answer.read(_LONGEST_ANSWER)
        except TimeoutError:
            raise BalancerError(f"{where} did not answer within {self._timeout:g} s.") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"{where} is away, and container {self._name} with it.") from None
        except (OSError, http.client.HTTPException) as error:
            reason = (getattr(error, "strerror", "") or str(error)).rstrip(".").lower()
            raise BalancerError(f"{where} cannot be asked: {reason or type(error).__name__}.") from None
        if answer.status in _ABSENT:
            raise NotRunningError(f"container {self._name} cannot be asked: {_message(content)}.")
        if answer.status >= 300:
            raise BalancerError(f"{where} refused {method} {path} with status {answer.status}: {_message(content)}.")
        return content


def _message(content: bytes) -> str:
    try:
        said = json.loads(content)["message"]
    except (ValueError, TypeError, KeyError):
        said = content.decode("utf-8", "replace")
    return " ".join(str(said).split()).rstrip(".")


def _words(stream: bytes) -> bytes:
    """What an attached command says of a failure: its standard error, else its standard output.

    Each part of the stream follows 8 bytes: the first is the number of its file, the last four are its length.
    """
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    while len(stream) >= 8:
        end = 8 + int.from_bytes(stream[4:8], "big")
        parts.setdefault(stream[0], []).append(stream[8:end])
        stream = stream[end:]
    return b"".join(parts[2]).strip() or b"".join(parts[1])
