# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Continuous load on a site of one's own, with every failed request counted: `python -m bench.load URL`.

The load is an open loop: requests begin on a schedule, however slow the site is, each on a connection of its own, as
strangers' browsers would come. A request is failed if it ends with an error, with another status than 200 or not whole,
or takes longer than 3 s from the moment it was due. It is for the nodes of this project and no others: an address
that is not private is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import math
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

LIMIT = 3.0
RATE = 200.0
STARTED = "started\n"
ROOT = Path(__file__).parents[1]
_TITLE = re.compile(rb"<title>([^<]*)")
_PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)


class AnswerError(Exception):
    """The site answered something else than a whole page with status 200; the text says what."""


@dataclass(frozen=True)
class Failure:
    """A failed request: when it was due (time.monotonic, which all processes of a machine share), how long, why."""

    began: float
    seconds: float
    why: str

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass
class Result:
    """What a load has seen; times in seconds, `began` and `ended` of time.monotonic, `late` as the worst start.

    `answered` counts pages by title, "" for one without; `percentiles` are of the pages' times.
    """

    url: str
    began: float
    ended: float = 0.0
    requests: int = 0
    failures: list[Failure] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    percentiles: dict[str, float] = field(default_factory=dict)
    late: float = 0.0

    @property
    def span(self) -> float:
        """Seconds from the start of the first failed request to that of the last one."""
        times = [failure.began for failure in self.failures]
        return max(times) - min(times) if times else 0.0

    def reasons(self) -> list[tuple[str, list[Failure]]]:
        """The failures by what went wrong, the most frequent first."""
        found: dict[str, list[Failure]] = {}
        for failure in sorted(self.failures, key=lambda failure: failure.began):
            found.setdefault(failure.why, []).append(failure)
        return sorted(found.items(), key=lambda item: -len(item[1]))

    def summary(self) -> str:
        """One line: how many failed, when and why."""
        text = f"{len(self.failures):,} of {self.requests:,} failed"
        if not self.failures:
            return text
        first = min(failure.began for failure in self.failures) - self.began
        why = ", ".join(f"{why} ({len(failures)})" for why, failures in self.reasons())
        return f"{text}, the first {first:.2f} s after the start, the last {self.span:.2f} s later: {why}"

    def table(self) -> str:
        """All of it, for a person."""
        lines = [
            f"{self.url}: {self.requests:,} requests in {self.ended - self.began:.1f} s, {len(self.failures):,} failed",
            "times of pages: " + ", ".join(f"{name} {1000 * time:.1f} ms" for name, time in self.percentiles.items()),
            f"latest start of a request: {1000 * self.late:.1f} ms behind the schedule",
            *(f"{count:8,}  {title or 'a page without title'}" for title, count in sorted(self.answered.items())),
        ]
        if self.failures:
            lines.append("  failed  first at   last at    why")
        for why, failures in self.reasons():
            first, last = (failure.began - self.began for failure in (failures[0], failures[-1]))
            lines.append(f"{len(failures):8,}  {first:7.2f} s  {last:7.2f} s  {why} ({_clock(failures[0].began)})")
        return "\n".join(lines)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The result that `--json` has printed."""
        members = json.loads(text)
        return cls(**{**members, "failures": [Failure(**failure) for failure in members["failures"]]})


def _clock(moment: float) -> str:
    """The time of day of a time.monotonic()."""
    wall = time.time() - time.monotonic() + moment
    return time.strftime("%H:%M:%S", time.localtime(wall)) + f".{int(wall * 1000) % 1000:03}"


def page(data: bytes, ended: bool) -> bytes | None:
    """The body in an HTTP answer, None while more of it is to come; raises AnswerError.

    *data* is all that has come, and *ended* tells that no more will.
    """
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        if ended:
            raise AnswerError("the answer ends early" if data else "the connection ends without an answer")
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    if not re.match(r"HTTP/1\.[01] 200\b", status):
        raise AnswerError(f"status {status.partition(' ')[2] or status}"[:80])
    fields = {name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
    if "content-length" in fields:
        whole = len(body) >= int(fields["content-length"])
    elif "chunked" in fields.get("transfer-encoding", ""):
        whole = body.endswith(b"0\r\n\r\n")
    else:
        whole = ended
    if ended and not whole:
        raise AnswerError("the page ends early")
    return body if whole else None


class _Site:
    """One request at a time of many, against one URL."""

    def __init__(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url} is not an http:// URL.")
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ValueError(f"{parts.hostname} has no address: {error.strerror}.") from None
        self.family, self.address = found[0][0], found[0][4]
        if not ipaddress.ip_address(str(self.address[0])).is_private:
            raise ValueError(f"{url} is at {self.address[0]}: this load is for your own nodes, at private addresses.")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", f"Host: {host or parts.netloc}", "User-Agent: load", "Connection: close"]
        self.request = "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    async def ask(self) -> str:
        """The title of the page that comes; raises OSError and AnswerError."""
        loop = asyncio.get_running_loop()
        with socket.socket(self.family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, self.address)
            await loop.sock_sendall(connection, self.request)
            data, body = b"", None
            while body is None:
                more = await loop.sock_recv(connection, 65536)
                data += more
                body = page(data, ended=not more)
        title = _TITLE.search(body)
        return title.group(1).decode("utf-8", "replace") if title else ""


class _Count:
    """What the requests of one load have come to."""

    def __init__(self, url: str) -> None:
        self.result = Result(url, began=time.monotonic())
        self._answered: Counter[str] = Counter()
        self._times: list[float] = []

    async def request(self, site: _Site, due: float) -> None:
        now = time.monotonic()
        self.result.requests += 1
        self.result.late = max(self.result.late, now - due)
        try:
            title = await asyncio.wait_for(site.ask(), max(0.0, due + LIMIT - now))
        except asyncio.TimeoutError:
            why = f"no whole answer within {LIMIT:g} s"
        except (OSError, AnswerError, ValueError) as error:
            # asyncio puts the address into the text of an error, and with it into the reason.
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        else:
            self._answered[title] += 1
            self._times.append(time.monotonic() - due)
            return
        self.result.failures.append(Failure(due, time.monotonic() - due, why))

    def finish(self) -> Result:
        self.result.ended = time.monotonic()
        self.result.answered = dict(self._answered)
        self.result.percentiles = percentiles(self._times)
        return self.result


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """The least times that so many of them, in percent, do not exceed ("p50" is the median); none of none."""
    ordered = sorted(times)
    ranks = {part: math.ceil(round(part * len(ordered) / 100, 6)) for part in _PERCENTILES}
    return {f"p{part:g}": ordered[rank - 1] for part, rank in ranks.items() if ordered}


async def _run(site: _Site, url: str, rate: float, seconds: float, stop: threading.Event) -> Result:
    count, requests = _Count(url), set()
    began = count.result.began
    number = 0
    while (due := began + number / rate) < began + seconds and not stop.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        request = asyncio.ensure_future(count.request(site, due))
        requests.add(request)
        request.add_done_callback(requests.discard)
        number += 1
    if requests:
        await asyncio.wait(requests)
    return count.finish()


class Load:
    """A load in a process of its own from entry to exit; then `result` has what it has seen.

    In this process, whatever else runs here would hold up the schedule.
    """

    def __init__(self, url: str, rate: float = RATE, host: str = "") -> None:
        self._command = [sys.executable, "-m", "bench.load", url, f"--rate={rate}", f"--host={host}", "--json"]
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        if self._result is None:
            raise RuntimeError("The load has not ended yet.")
        return self._result

    def __enter__(self) -> Load:
        command = [*self._command, "--seconds=86400"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or self._process.stdout.readline() != STARTED:
            raise RuntimeError(f"The load does not start: run {' '.join(command)}.")
        # Where that is allowed, it goes before what it measures: late requests would be counted against the site.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, -10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            answer, _errors = self._process.communicate(timeout=LIMIT + 10)
        finally:
            self._process.kill()
            self._process.wait()
        self._result = Result.from_json(answer)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description="Ask a site of your own for a page, on a schedule, and count every request that fails.",
        epilog="Exit code: 0 if no request failed, 1 if one did, 2 if the load cannot be run. Ctrl-C ends it early.",
    )
    parser.add_argument("url", metavar="URL", help="an http:// URL at a private address: this is for your own nodes")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)g)")
    parser.add_argument("--host", default="", help="name of the site to ask for, if it is not the URL's")
    parser.add_argument("--json", action="store_true", help="print JSON; ends when the standard input does")
    options = parser.parse_args(argv)
    if not 0 < options.rate <= 10_000 or options.seconds <= 0:
        parser.error("--rate must be above 0 and at most 10000, --seconds above 0")
    try:
        options.site = _Site(options.url, options.host)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    stop = threading.Event()
    if options.json:
        print(STARTED, end="", flush=True)
        threading.Thread(target=_await_end_of_input, args=(stop,), daemon=True).start()
    # A site that hangs holds the connections of LIMIT seconds.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = int(options.rate * LIMIT) + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(most, wanted), most))
    result = asyncio.run(_until_stopped(options, stop))
    print(json.dumps(asdict(result)) if options.json else result.table())
    return 1 if result.failures else 0


def _await_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


async def _until_stopped(options: argparse.Namespace, stop: threading.Event) -> Result:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    return await _run(options.site, options.url, options.rate, options.seconds, stop)


if __name__ == "__main__":
    sys.exit(main())
