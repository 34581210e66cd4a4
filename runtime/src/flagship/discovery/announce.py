# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship announce`: keeps a service's key in etcd while its check passes."""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Sequence
from typing import Literal

from flagship import daemon
from flagship.cli import ArgumentParser
from flagship.discovery.check import Check, Health, judge, parse_check, parse_statuses
from flagship.discovery.lifetime import lease_seconds
from flagship.etcd import Client, Compare, Delete, EtcdError, KeyValue, LeaseGone, LeaseKeeper, Put
from flagship.services import format_address, parse_address, service_key
from flagship.settings import Settings, parse_duration

log = logging.getLogger(__name__)

Step = Literal["put", "delete", "nothing", "taken"]


def main(argv: Sequence[str], settings: Settings) -> int:
    """Announce until SIGTERM or SIGINT; returns the exit code."""
    options = _parse(argv)
    daemon.log_to_journal()
    stop = daemon.stop_on_signals()
    with Client(settings.etcd) as client:
        announcer = Announcer(client, options.key, options.address.encode(), lease_seconds(options.ttl))
        announcer.start()
        # A thread of their own: checks go on while etcd hangs, and the end need not wait for one that hangs.
        checks = threading.Thread(target=_follow_checks, args=(announcer, options, stop), name="check", daemon=True)
        checks.start()
        daemon.notify("READY=1")
        stop.wait()
        if announcer.stop():
            _drain(options)
        checks.join(options.timeout)
    return 0


def decide(found: KeyValue | None, wanted: bool, value: bytes, lease: int) -> Step:
    """What to do about the key `found` in etcd, for one who holds `lease` and wants `value` there, or nothing.

    A key with another value under another lease is "taken": it belongs to an instance of the same name elsewhere, which
    keeps it as long as it lives. A key without a lease belongs to nobody.
    """
    mine = found is not None and found.lease == lease
    if not wanted:
        return "delete" if mine else "nothing"
    if found is None:
        return "put"
    if mine or found.lease == 0:
        return "nothing" if mine and found.value == value else "put"
    return "put" if found.value == value else "taken"


class Announcer:
    """One key in etcd under a lease of its own; every write is guarded by what was read before."""

    def __init__(self, client: Client, key: str, value: bytes, ttl: int) -> None:
        self._client = client
        self._key = key
        self._value = value
        self._keeper = LeaseKeeper(client, ttl, [self._note_lease])
        # Nobody but a stranger removes the key of a lease that lives.
        self._look_every = float(ttl)
        self._changed = threading.Condition()
        self._due = False
        self._wanted = False
        self._stopping = False
        self._announced = False
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)

    def start(self) -> None:
        self._keeper.start()
        self._thread.start()

    def stop(self) -> bool:
        """Remove the key, by ending the lease; returns whether it was announced."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(2 * self._client.connection.timeout)
        self._keeper.stop(revoke=True)
        return self._announced

    def want(self, wanted: bool) -> None:
        """Say whether the key is to be in etcd; returns at once."""
        with self._changed:
            self._due = self._due or wanted != self._wanted
            self._wanted = wanted
            self._changed.notify()

    def _note_lease(self, _lease: int) -> None:
        with self._changed:
            self._due = True
            self._changed.notify()

    def _run(self) -> None:
        backoff = daemon.Backoff(first=0.1, limit=1.0)
        pause = self._look_every
        while self._wait(pause):
            if self._settle():
                backoff.reset()
                pause = self._look_every
            else:
                pause = backoff.next()

    def _wait(self, pause: float) -> bool:
        """Wait for a change, or for `pause` seconds; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._due or self._stopping, pause)
            self._due = False
            return not self._stopping

    def _settle(self) -> bool:
        """Make etcd agree with what is wanted: reads, and writes only on a difference; returns whether it does."""
        lease, wanted = self._keeper.lease, self._wanted
        if lease is None:
            return not wanted  # the keeper is about to take one, and says so
        try:
            done = self._step(wanted, lease)
        except LeaseGone:
            return False  # the keeper is about to find out, and takes a new one
        except EtcdError as error:
            self._complain(f"Key {self._key} is as it was: {error}")
            return False
        if done:
            self._announced = wanted
        return done

    def _step(self, wanted: bool, lease: int) -> bool:
        found = self._client.get(self._key)
        step = decide(found, wanted, self._value, lease)
        if step == "taken" and found is not None:
            self._complain(f"Key {self._key} belongs to {found.value!r} under another lease; waiting until that ends.")
            return False
        self._complaint = ""
        if step == "nothing":
            return True
        guard = Compare(self._key, "create", 0) if found is None else Compare(self._key, "mod", found.mod_revision)
        operation = Put(self._key, self._value, lease) if step == "put" else Delete(self._key)
        done = self._client.txn([guard], [operation]).succeeded
        if done:
            log.info("Key %s is %s.", self._key, f"set to {self._value.decode()}" if step == "put" else "removed")
        return done

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.warning("%s", text)
        self._complaint = text


def _follow_checks(announcer: Announcer, options: argparse.Namespace, stop: threading.Event) -> None:
    check: Check = options.run_check
    health, problem = Health(), None
    while not stop.is_set():
        started = time.monotonic()
        found = check(options.timeout)
        health = judge(health, not found, options.rise, options.fall)
        if found != problem:
            problem = found
            log.info("Check %s of %s: %s.", options.check, options.key, problem or "passed")
            daemon.notify(f"STATUS=check {options.check}: {problem or 'passed'}")
        announcer.want(health.up)
        stop.wait(max(0.0, started + options.interval - time.monotonic()))


def _drain(options: argparse.Namespace) -> None:
    # The balancers need a moment to let go; when the service itself is down already there is nothing to wait for.
    end = time.monotonic() + options.drain
    while time.monotonic() < end and not options.run_check(options.timeout):
        time.sleep(max(0.0, min(options.interval, end - time.monotonic())))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="flagship announce",
        description="Keep the key PREFIX/SERVICE/INSTANCE in etcd, under a lease, while the check passes.",
        epilog="Durations are numbers with a unit, such as 500ms, 10s or 1m30s.",
    )
    parser.add_argument("--service", required=True, help="name of the service, such as website")
    parser.add_argument("--instance", required=True, help="name of this instance, such as nginx@1")
    parser.add_argument("--address", required=True, metavar="IP:PORT", help="where the service can be used: the value")
    parser.add_argument(
        "--check",
        required=True,
        metavar="URL|tcp",
        help="an http:// URL that must answer 2xx, or a connection to IP:PORT",
    )
    parser.add_argument(
        "--check-status",
        metavar="LIST",
        help="the statuses that pass, such as 200,301 or 2xx or 200-399 (default: 2xx)",
    )
    parser.add_argument("--check-text", default="", metavar="TEXT", help="what the answer's text must hold to pass")
    parser.add_argument("--interval", default="1s", help="from check to check (default: %(default)s)")
    parser.add_argument("--timeout", default="1s", help="longest time of a check (default: %(default)s)")
    parser.add_argument("--rise", type=int, default=1, help="passes in a row that bring it up (default: %(default)s)")
    parser.add_argument(
        "--fall", type=int, default=2, help="failures in a row that bring it down (default: %(default)s)"
    )
    parser.add_argument(
        "--ttl", default="10s", help="the key outlives this machine by this at most (default: %(default)s)"
    )
    parser.add_argument("--prefix", default="/services", help="where service keys are (default: %(default)s)")
    parser.add_argument("--drain", default="0s", help="wait between removing the key and exit (default: %(default)s)")
    options = parser.parse_args(argv)
    for name, least in (("interval", 0.1), ("timeout", 0.1), ("ttl", 2.0), ("drain", 0.0)):
        text = getattr(options, name)
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            parser.error(f"--{name} is {text!r}: {error}")
        if seconds < least:
            parser.error(f"--{name} is {text!r}: it must be {least:g}s or longer")
        setattr(options, name, seconds)
    for name in ("rise", "fall"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}: it must be 1 or more")
    try:
        options.key = service_key(options.prefix, options.service, options.instance)
        options.address = format_address(*parse_address(options.address))
        statuses = parse_statuses(options.check_status) if options.check_status else None
        options.run_check = parse_check(options.check, options.address, statuses, options.check_text)
    except ValueError as error:
        parser.error(str(error))
    return options
