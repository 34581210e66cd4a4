# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Health checks of a service, and when their results count."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flagship.services import parse_address

# A check returns "" when it passes, else what is wrong; it ends within the seconds it is given.
Check = Callable[[float], str]

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_LONGEST_STATUS_LINE = 4096


@dataclass(frozen=True)
class Health:
    """Whether a service counts as up, and how many checks in a row said otherwise."""

    up: bool = False
    contrary: int = 0


def judge(health: Health, passed: bool, rise: int, fall: int) -> Health:
    """The health after one more check: `rise` passes in a row bring it up, `fall` failures in a row bring it down."""
    if passed == health.up:
        return Health(health.up)
    contrary = health.contrary + 1
    if contrary >= (fall if health.up else rise):
        return Health(not health.up)
    return Health(health.up, contrary)


def parse_check(text: str, address: str) -> Check:
    """The check that `text` means: an http:// URL, or `tcp` for a connection to `address`; ValueError if neither."""
    if text == "tcp":
        host, port = parse_address(address)
        return lambda timeout: _tcp(host, port, timeout)
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"check {text!r} is neither tcp nor a URL such as http://10.0.0.1:80/")
    hostname, port, path = parts.hostname, parts.port or 80, parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return lambda timeout: _http(hostname, port, parts.netloc, path, timeout)


def _tcp(host: str, port: int, timeout: float) -> str:
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return _reason(error)
    return ""


def _http(host: str, port: int, authority: str, path: str, timeout: float) -> str:
    # http.client's timeout is per read: a server that drips its answer would hold the check for ever.
    deadline = time.monotonic() + timeout
    request = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: flagship\r\nConnection: close\r\n\r\n"
    received = b""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(request.encode("ascii"))
            while b"\n" not in received and len(received) < _LONGEST_STATUS_LINE:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                part = connection.recv(_LONGEST_STATUS_LINE)
                if not part:
                    break
                received += part
    except OSError as error:
        return _reason(error)
    match = _STATUS_LINE.match(received)
    if match is None:
        return "it does not answer in HTTP"
    status = int(match.group(1))
    return "" if 200 <= status < 300 else f"status {status}"


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
