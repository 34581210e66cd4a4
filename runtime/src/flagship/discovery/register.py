# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship register`: keeps the keys of this node's containers in etcd, as registrator does."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from flagship import daemon
from flagship.cli import ArgumentParser, CommandError
from flagship.discovery.containers import Container, Node, signal_number, wanted_keys
from flagship.discovery.engine import ContainerFollower, Engine, EngineError
from flagship.discovery.lifetime import lease_seconds
from flagship.discovery.plan import Change, changes
from flagship.discovery.process import birth
from flagship.discovery.withdrawal import DIRECTORY, Order, Orders, withdraw
from flagship.etcd import Client, EtcdError, KeyValue, LeaseKeeper, Put
from flagship.services import service_key
from flagship.settings import Settings, parse_duration

log = logging.getLogger(__name__)

# How often orders are looked for, and how often the kernel is asked whether containers live, in seconds.
_TICK = 0.25
_PULSE = 1.0
# Between two comparisons with everything that etcd and the engine have, in seconds.
_RESYNC = 30.0
# A container that was told to stop and goes on for so long, in seconds, is listed again.
_LEAVING = 60.0
# etcd takes 128 operations in a transaction (--max-txn-ops).
_BATCH = 100


def main(argv: Sequence[str], settings: Settings) -> int:
    """Register until SIGTERM or SIGINT, or withdraw one container; returns the exit code."""
    options = _parse(argv, settings)
    orders = Orders(Path(options.directory))
    if options.withdraw:
        withdraw(options.withdraw, orders, options.docker, options.drain)
        return 0
    daemon.log_to_journal()
    stop = daemon.stop_on_signals()
    try:
        if not orders.obey():
            raise CommandError(f"another one runs already, with orders in {orders.directory}.")
    except OSError as error:
        raise CommandError(f"{orders.directory} cannot be used ({error.strerror}).") from None
    with Client(settings.etcd) as client:
        register = Register(client, options.node, orders, lease_seconds(options.ttl))
        containers = ContainerFollower(lambda: Engine(options.docker), register, _RESYNC)
        register.start()
        containers.start()
        # Ready when the keys are there; without etcd or the engine nobody is kept waiting for long.
        deadline = time.monotonic() + settings.etcd.timeout
        while not (stop.is_set() or register.settled.wait(0.1) or time.monotonic() >= deadline):
            pass
        daemon.notify("READY=1")
        stop.wait()
        containers.stop()
        register.stop()
    return 0


class Register:
    """Makes etcd agree with the containers, in a thread of its own; all keys are under one lease.

    When it stops, its keys stay until the lease ends, so that another one can take them over: a restart of the register
    says nothing about the containers.
    """

    def __init__(self, client: Client, node: Node, orders: Orders, ttl: int) -> None:
        self.settled = threading.Event()
        self._client = client
        self._node = node
        self._orders = orders
        self._ttl = ttl
        self._keeper = LeaseKeeper(client, ttl, [lambda _lease: self._note()])
        self._changed = threading.Condition()
        self._due = False
        self._stopping = False
        # What the engine said, by container id; None until it has said anything.
        self._containers: dict[str, Container] | None = None
        self._births: dict[str, str] = {}
        self._lost_at: float | None = None
        self._pulse_at = 0.0
        # Containers that were told to stop, and until when that counts.
        self._killed: dict[str, float] = {}
        # What etcd has below the prefix, as far as it is known, and what it was made to agree with, and when.
        self._found: dict[str, KeyValue] | None = None
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._agreed: tuple[object, ...] = ()
        self._look_at = 0.0
        self._retry_at = 0.0
        self._backoff = daemon.Backoff(first=0.1, limit=2.0)
        self._complaints: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="register", daemon=True)

    def start(self) -> None:
        self._keeper.start()
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2 * self._client.connection.timeout)
        self._keeper.stop(revoke=False)

    def on_containers(self, containers: list[Container]) -> None:
        with self._changed:
            if self._lost_at is not None:
                log.info("The Docker engine answers again.")
                self._killed.clear()
            self._lost_at = None
            self._containers = {}
            births, self._births = self._births, {}
            for container in containers:
                self._take(container, births.get(container.id))
            self._note()

    def on_container(self, identity: str, container: Container | None) -> None:
        with self._changed:
            if self._containers is None:
                return
            self._containers.pop(identity, None)
            born = self._births.pop(identity, None)
            if container is not None:
                self._take(container, born)
            self._note()

    def on_kill(self, identity: str, number: int) -> None:
        with self._changed:
            container = (self._containers or {}).get(identity)
            if container is not None and number in (9, signal_number(container.stop_signal)):
                self._killed[identity] = time.monotonic() + _LEAVING
                self._note()

    def on_start(self, identity: str) -> None:
        with self._changed:
            self._killed.pop(identity, None)

    def on_lost(self, error: EngineError) -> None:
        log.warning("Containers stay listed as long as their processes live: %s", error)
        with self._changed:
            self._lost_at = time.monotonic()

    def _take(self, container: Container, born: str | None) -> None:
        if container.pid and self._containers is not None:
            self._containers[container.id] = container
            self._births[container.id] = born or birth(container.pid)

    def _note(self) -> None:
        with self._changed:
            self._due = True
            self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception:
                log.exception("The keys are as they were, trying on.")
                self._retry_at = time.monotonic() + self._backoff.next()

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._due or self._stopping, _TICK)
            self._due = False
            return not self._stopping

    def _turn(self) -> None:
        orders = self._orders.read()
        with self._changed:
            if self._containers is None:
                return
            self._drop_dead()
            containers = dict(self._containers)
        for identity, order in list(orders.items()):
            container = containers.get(identity)
            if container is None or container.started != order.started:
                self._orders.forget(identity)
                del orders[identity]
        leaving = frozenset(orders) | self._dying(containers)
        lease, now = self._keeper.lease, time.monotonic()
        state = (containers, leaving, lease)
        if state != self._agreed or now >= self._look_at:
            if lease is None or now < self._retry_at:
                return
            listed = {identity for identity, _value in self._keys.values()}
            if not self._settle(containers, leaving, lease):
                self._retry_at = now + self._backoff.next()
                return
            self._backoff.reset()
            self._agreed, self._look_at = state, time.monotonic() + _RESYNC
            self.settled.set()
        else:
            listed = set()
        for identity, order in orders.items():
            if not order.answer:
                self._orders.put(identity, Order(order.started, "removed" if identity in listed else "unlisted"))

    def _drop_dead(self) -> None:
        """A container whose first process is gone has ended; the kernel says so also while the engine says nothing."""
        now = time.monotonic()
        if self._containers is None or now < self._pulse_at:
            return
        self._pulse_at = now + _PULSE
        blind = self._lost_at is not None and now > self._lost_at + self._ttl
        for identity, container in list(self._containers.items()):
            born = self._births[identity]
            # Without a birth its processes cannot be seen from here: it is believed for a while.
            if birth(container.pid) != born if born else blind:
                log.info("Container %s has ended.", container.name)
                del self._containers[identity], self._births[identity]

    def _dying(self, containers: dict[str, Container]) -> frozenset[str]:
        now = time.monotonic()
        with self._changed:
            self._killed = {
                identity: until for identity, until in self._killed.items() if identity in containers and now < until
            }
            return frozenset(self._killed)

    def _settle(self, containers: dict[str, Container], leaving: frozenset[str], lease: int) -> bool:
        """Make etcd agree; writes only what differs, and nothing that was changed since it was read."""
        keys, complaints = wanted_keys(containers.values(), self._node, leaving)
        try:
            # Read again when anything may have changed behind its back: a lease that ended takes its keys along.
            if self._found is None or time.monotonic() >= self._look_at or self._agreed[2:] != (lease,):
                self._found = None
                self._found = self._client.range(self._node.prefix + "/").items
            wanted = {key: value for key, (_identity, value) in keys.items()}
            wanted_changes, more = changes(wanted, self._found, lease, self._node.hostname)
            for start in range(0, len(wanted_changes), _BATCH):
                if not self._write(wanted_changes[start : start + _BATCH], self._found):
                    self._found = None
                    return False
        except EtcdError as error:
            self._found = None
            self._complain({f"Keys are as they were: {error}"})
            return False
        self._complain({*complaints, *more})
        self._keys = keys
        daemon.notify(f"STATUS={len(keys)} keys of {len({identity for identity, _value in keys.values()})} containers")
        return True

    def _write(self, batch: Sequence[Change], found: dict[str, KeyValue]) -> bool:
        result = self._client.txn([change.guard for change in batch], [change.operation for change in batch])
        if not result.succeeded:
            return False
        for change in batch:
            operation = change.operation
            if isinstance(operation, Put):
                created = found[operation.key].create_revision if operation.key in found else result.revision
                found[operation.key] = KeyValue(
                    operation.key, operation.value, created, result.revision, operation.lease
                )
                log.info("Key %s is set to %s.", operation.key, operation.value.decode())
            else:
                found.pop(operation.key, None)
                log.info("Key %s is removed.", operation.key)
        return True

    def _complain(self, complaints: set[str]) -> None:
        for complaint in sorted(complaints - self._complaints):
            log.warning("%s", complaint)
        self._complaints = complaints


def _parse(argv: Sequence[str], settings: Settings) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="flagship register",
        description="Keep the keys PREFIX/SERVICE/HOSTNAME:CONTAINER:PORT of this machine's containers in etcd, under "
        "a lease: of each that runs and is not paused, unhealthy or yet to become healthy. Names are registrator's: by "
        "SERVICE_NAME, SERVICE_ID, SERVICE_IGNORE and SERVICE_<port>_... in a container's environment and labels.",
        epilog="Durations are numbers with a unit, such as 500ms, 10s or 1m30s.",
    )
    parser.add_argument(
        "--internal",
        action="store_true",
        help="register exposed ports at the containers' own addresses, instead of published ports at this machine's",
    )
    parser.add_argument(
        "--ip",
        default=settings.fleet.public_ip,
        help="this machine's address (default: fleet's public_ip: %(default)s)",
    )
    parser.add_argument("--hostname", default=socket.gethostname(), help="this machine's name (default: %(default)s)")
    parser.add_argument(
        "--ttl", default="10s", help="the keys outlive this machine by this at most (default: %(default)s)"
    )
    parser.add_argument("--prefix", default="/services", help="where service keys are (default: %(default)s)")
    parser.add_argument(
        "--docker",
        default=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        metavar="URL",
        help="where the Docker engine is (default: %(default)s)",
    )
    parser.add_argument(
        "--directory", default=DIRECTORY, help="where orders to withdraw containers are left (default: %(default)s)"
    )
    parser.add_argument(
        "--withdraw",
        default="",
        metavar="CONTAINER",
        help="before a container is stopped: have its keys removed, and wait until they are gone and for --drain",
    )
    parser.add_argument(
        "--drain", default="0s", help="wait between the removal of the keys and the end (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    for name, least in (("ttl", 2.0), ("drain", 0.0)):
        text = getattr(options, name)
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            parser.error(f"--{name} is {text!r}: {error}")
        if seconds < least:
            parser.error(f"--{name} is {text!r}: it must be {least:g}s or longer")
        setattr(options, name, seconds)
    try:
        service_key(options.prefix, "name", f"{options.hostname}:container:1")
        address = str(ipaddress.ip_address(options.ip)) if options.ip else ""
    except ValueError as error:
        parser.error(str(error))
    if not (address or options.withdraw):
        parser.error("--ip is not given, and the settings have no public_ip in [fleet]")
    options.node = Node(options.hostname, address, options.internal, options.prefix.rstrip("/"))
    return options
