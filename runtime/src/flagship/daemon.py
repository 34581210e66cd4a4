# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every daemon of the runtime does the same way: signals, the journal, systemd's notifications, backing off."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping

# sd-daemon(3): the journal reads a priority from the head of each line on standard error.
_PRIORITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class Backoff:
    """Delays in seconds that double from `first` to `limit`, each shortened by up to half at random."""

    def __init__(self, first: float = 0.1, limit: float = 5.0) -> None:
        self._first = first
        self._limit = limit
        self._delay = first

    def next(self) -> float:
        delay = self._delay
        self._delay = min(self._limit, delay * 2)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, guards nothing)

    def reset(self) -> None:
        self._delay = self._first


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; call it in the main thread."""
    stop = threading.Event()
    wait = _signals({signal.SIGTERM: "stop", signal.SIGINT: "stop"})

    def run() -> None:
        wait()
        stop.set()

    # Not from the handler: it would wait for ever for a lock that the main thread, interrupted in stop.wait(), holds.
    threading.Thread(target=run, name="signals", daemon=True).start()
    return stop


def signal_requests() -> Callable[[], str]:
    """A function that waits for a signal and tells what it asks for.

    That is "stop" (SIGTERM, SIGINT), "reload" (SIGHUP) or "dump" (SIGUSR1). Call both in the main thread.
    """
    return _signals({signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGHUP: "reload", signal.SIGUSR1: "dump"})


def _signals(wanted: Mapping[int, str]) -> Callable[[], str]:
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # A wait for a lock can miss a signal that comes just before it begins; a byte in a socket is never missed.
    signal.set_wakeup_fd(sender.detach())
    for number in wanted:
        signal.signal(number, lambda _number, _frame: None)

    def wait() -> str:
        while (found := receiver.recv(1)[0]) not in wanted:
            pass
        return wanted[found]

    return wait


def log_to_journal(level: int = logging.INFO) -> None:
    """Send log records to standard error, with priorities when the journal reads it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def notify(state: str) -> None:
    """Tell systemd `state`, such as READY=1 or STATUS=..., if it asked to be told (sd_notify(3)); never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        notifier.settimeout(1)
        try:
            notifier.sendto(state.encode(), address)
        except OSError as error:
            logging.getLogger(__name__).warning("systemd was not told %s: %s.", state, error)


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if "JOURNAL_STREAM" not in os.environ:
            return text
        priority = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(priority + line for line in text.splitlines())
