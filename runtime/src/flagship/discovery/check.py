# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Health checks of a service, and when their results count."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flagship.http_exchange import exchange
from flagship.services import parse_address

# A check returns "" when it passes, else what is wrong; it ends within the seconds it is given.
Check = Callable[[float], str]
Statuses = tuple[range, ...]

# A text is looked for in so many bytes of the answer's body.
LONGEST_BODY = 1 << 20


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


def parse_statuses(text: str) -> Statuses:
    """The HTTP statuses that `text` means: 200, 2xx or 200-299, or several of these with commas; else ValueError."""
    found = []
    for part in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", part)
        if match is None:
            raise ValueError(f"status {part!r} is none such as 200, 2xx or 200-299")
        hundred, first, last = match.groups()
        found.append(
            range(int(hundred) * 100, int(hundred) * 100 + 100)
            if hundred
            else range(int(first), int(last or first) + 1)
        )
        if not found[-1]:
            raise ValueError(f"status {part!r} is empty: the second number is the smaller one")
    return tuple(found)


def parse_check(text: str, address: str, statuses: Statuses | None = None, body: str = "") -> Check:
    """The check that `text` means: an http:// URL, or `tcp` for a connection to `address`; ValueError if neither.

    A URL must answer with one of `statuses` (None: 2xx) and, unless it is "", with `body` somewhere in the first
    LONGEST_BODY bytes of what it sends. Both mean nothing to `tcp`: ValueError.
    """
    if text == "tcp":
        if statuses or body:
            raise ValueError("a check by tcp sees neither status nor text: give a URL such as http://10.0.0.1:80/")
        host, port = parse_address(address)
        return lambda timeout: _tcp(host, port, timeout)
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"check {text!r} is neither tcp nor a URL such as http://10.0.0.1:80/")
    hostname, port, path = parts.hostname, parts.port or 80, parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: flagship\r\nConnection: close\r\n\r\n"
    expected = statuses or parse_statuses("2xx")
    return lambda timeout: _http(hostname, port, request.encode("ascii"), expected, body.encode(), timeout)


def _tcp(host: str, port: int, timeout: float) -> str:
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return _reason(error)
    return ""


def _http(host: str, port: int, request: bytes, statuses: Statuses, body: bytes, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection((host, port), timeout) as connection:
            answer = exchange(connection, request, deadline)
            if not any(answer.status in accepted for accepted in statuses):
                return f"status {answer.status}"
            if body and body not in answer.read(LONGEST_BODY):
                return f"its text is without {body.decode()!r}"
    except OSError as error:  # a connection that ends before the answer begins is both
        return "it does not answer in HTTP" if isinstance(error, http.client.HTTPException) else _reason(error)
    except http.client.HTTPException:
        return "it does not answer in HTTP"
    return ""


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
