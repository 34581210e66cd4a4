# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP request on a connection, all of it within one deadline."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, cast


def exchange(connection: socket.socket, request: bytes, deadline: float) -> http.client.HTTPResponse:
    """Send the request, and return the answer with its head read; its body can be read until the deadline.

    The deadline is one of time.monotonic(). Raises OSError (TimeoutError when it has come) and
    http.client.HTTPException, also from reading the body.
    """
    connection.settimeout(_remaining(deadline))
    connection.sendall(request)
    answer = http.client.HTTPResponse(cast(socket.socket, _Bounded(connection, deadline)))
    answer.begin()
    return answer


class _Bounded(io.RawIOBase):
    """What a connection receives until a deadline; http.client's own is per read, and a slow drip never reaches it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._connection.settimeout(_remaining(self._deadline))
        return self._connection.recv_into(buffer)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
