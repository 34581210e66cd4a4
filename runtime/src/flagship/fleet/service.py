# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flagship fleet`: API, engine and agent of this machine in one process; owns all its threads."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Protocol

from flagship.daemon import log_to_journal, notify, signal_requests
from flagship.etcd import Client, EtcdError, Follower, LeaseKeeper
from flagship.fleet import VERSION
from flagship.fleet.agent import Agent
from flagship.fleet.api import Api
from flagship.fleet.conf import DEFAULT_FILE, load_fleet
from flagship.fleet.disk import Disk
from flagship.fleet.dump import dump_line
from flagship.fleet.engine import Engine
from flagship.fleet.machine import MachineError, Presence, primary_ip, this_machine
from flagship.fleet.model import Machine
from flagship.fleet.own import Publisher, Schedule
from flagship.fleet.patience import Patience
from flagship.fleet.registry import Keys, Store
from flagship.fleet.server import Server
from flagship.fleet.systemd import Listener, Manager, Systemd, SystemdError, own_job
from flagship.fleet.tls import TlsListener, split_sockets
from flagship.fleet.view import View
from flagship.settings import Settings, SettingsError

log = logging.getLogger(__name__)

# sd_listen_fds(3): the first descriptor that systemd passes.
_FIRST_FD = 3
ADDRESS_CHECK = 60.0
"""Seconds after which to look again whether this machine's address has changed, as fleet 1.0.0 did."""
LEAVE_TIMEOUT = 100.0
"""Seconds that units have to stop in when their machine leaves: systemd's own default is 90 for each."""


class SystemdService(Manager, Protocol):
    """systemd with its signals."""

    def listen(self, listener: Listener) -> None:
        """Send signals to *listener* from now on."""

    def close(self) -> None:
        """End the thread that receives them."""


class Service:
    """All parts of the daemon, wired; `stop` ends them."""

    def __init__(
        self, settings: Settings, machine: Machine, sockets: Sequence[socket.socket], systemd: SystemdService
    ) -> None:
        self._settings = settings
        self._machine = threading.Lock()
        fleet = settings.fleet
        listening, remote = split_sockets(sockets)
        self._tls = TlsListener(fleet, remote) if remote else None
        if self._tls is not None:
            listening.append(self._tls.inner)
        keys = Keys(fleet.etcd_key_prefix)
        patience = Patience(fleet.agent_ttl)
        self._systemd = systemd
        self.view = View(keys, patience)
        self._client = Client(settings.etcd, self.view.wake)
        self.presence = Presence(self._client, keys, self.view, machine)
        self.keeper = LeaseKeeper(
            self._client, patience.lease, (self.presence.register, self._wake_agent), renewal=patience.renewal
        )
        self.engine: Engine | None = None
        if not fleet.disable_engine:
            self.engine = Engine(self._client, keys, self.view, self.keeper, self.presence, patience)
        self.schedule = Schedule(keys, self._wake_agent)
        publisher = Publisher(self._client, keys, machine.id, self.keeper)
        self.agent = Agent(
            self.schedule,
            publisher,
            Disk(fleet.units_directory),
            systemd,
            self.registered,
            lambda: not self.keeper.live,
        )
        self._followers = [
            Follower(self._client, keys.prefix, handler=self.view),
            Follower(self._client, keys.schedule_of(machine.id), handler=self.schedule),
        ]
        store = Store(self._client, keys)
        api = Api(store, self.view, self.available, fleet.token_limit, self.engine)
        self._server = Server(api.application, listening, f"fleetd/{VERSION}")

    def _wake_agent(self, _lease: int = 0) -> None:
        self.agent.wake()

    def registered(self) -> bool:
        """Whether this machine surely is in the registry now."""
        return self.presence.registered and self.keeper.live

    def available(self) -> bool:
        """Whether the API can answer from what it knows."""
        return self.registered() and self.view.synced and self.presence.machine.id in self.view.machines

    def start(self) -> None:
        self._server.start()
        if self._tls is not None:
            self._tls.start()
        for follower in self._followers:
            follower.start()
        self.presence.start(self.keeper)
        self.keeper.start()
        self._systemd.listen(self.agent)
        self.agent.start()
        if self.engine is not None:
            self.engine.start()

    def reload(self, read: Callable[[], Settings]) -> None:
        """Read the settings again and apply what needs no restart: metadata, public_ip, verbosity, a new certificate.

        Settings that are wrong are logged, and change nothing.
        """
        # fleet 1.0.0 said these words, and scripts look for them.
        log.info("Reloading configuration")
        try:
            settings = read()
            if self._tls is not None:
                self._tls.renew()
        except SettingsError as error:
            log.error("The settings stay as they were: %s", error)
            return
        fleet, before = settings.fleet, self._settings.fleet
        set_verbosity(fleet.verbosity)
        with self._machine:
            machine = replace(self.presence.machine, metadata=dict(fleet.metadata))
            if fleet.public_ip != before.public_ip:
                machine = replace(machine, primary_ip=fleet.public_ip or primary_ip())
            self.presence.update(machine)
        before = replace(before, metadata=fleet.metadata, public_ip=fleet.public_ip, verbosity=fleet.verbosity)
        self._settings = replace(self._settings, fleet=before)
        waiting = changed(self._settings, settings)
        if waiting:
            log.warning("What changed in %s is applied by systemctl restart fleet.", ", ".join(waiting))

    def refresh_address(self) -> None:
        """Have the registry say this machine's address as it is now, unless the settings name one."""
        with self._machine:
            found = self._settings.fleet.public_ip or primary_ip()
            if found and found != self.presence.machine.primary_ip:
                log.info("The address of this machine is %s now.", found)
                self.presence.update(replace(self.presence.machine, primary_ip=found))

    def dump(self) -> str:
        """The state of all parts as one line of JSON, for people to read."""
        return dump_line(
            self.presence.machine,
            {"registered": self.registered(), "available": self.available(), "lease": self.keeper.lease or 0},
            self.view,
            self.schedule.read(),
            self.agent.report(),
        )

    def stop(self, *, leave: bool = False) -> None:
        """End all threads, and leave units as they are.

        The lease is left to expire, so that a new process finds its machine still present. To *leave* the cluster is
        to stop all units first, and then to give up the lease, upon which they start elsewhere at once.
        """
        if self._tls is not None:
            self._tls.stop()
        self._server.stop()
        if leave:
            self._leave()
        else:
            _all_at_once([self._renew, *([self.engine.stop] if self.engine else [])], 2.0)
        # From here on calls to etcd that are under way fail at once instead of at their deadline.
        self._client.close()
        parts: list[Callable[[], None]] = [lambda: self.agent.stop(5.0), self.presence.stop, self._systemd.close]
        parts += [lambda: self.keeper.stop(revoke=False), *(follower.stop for follower in self._followers)]
        _all_at_once(parts, 5.0)

    def _leave(self) -> None:
        if not self.agent.leave(LEAVE_TIMEOUT):
            log.warning("Not all units have stopped within %.0f s; they may run twice for a while.", LEAVE_TIMEOUT)
        # Without etcd there is nobody to tell, and the lease ends by itself.
        _all_at_once([self._give_up], 3.0)

    def _give_up(self) -> None:
        if self.engine is not None:
            self.engine.stop()
        self.agent.stop(5.0)
        self.presence.stop()
        self.keeper.stop(revoke=True)

    def _renew(self) -> None:
        """Give the next process the whole TTL to start in."""
        lease = self.keeper.lease
        if lease is not None and self.keeper.live:
            try:
                self._client.keep_alive(lease)
            except EtcdError as error:
                log.info("The lease was not renewed before the end: %s", error)


def changed(before: Settings, after: Settings) -> list[str]:
    """Names of the settings that differ, such as "fleet agent_ttl"."""
    return [
        f"{section} {field.name}"
        for section, old, new in (("etcd", before.etcd, after.etcd), ("fleet", before.fleet, after.fleet))
        for field in fields(old)
        if getattr(old, field.name) != getattr(new, field.name)
    ]


def set_verbosity(verbosity: int) -> None:
    """Log everything when *verbosity* is above 0, else what an operator wants to know."""
    logging.getLogger("flagship").setLevel(logging.DEBUG if verbosity else logging.INFO)


def _all_at_once(calls: Sequence[Callable[[], None]], timeout: float) -> None:
    """Run *calls* side by side, and wait for them *timeout* seconds at most."""
    deadline = time.monotonic() + timeout
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def inherited_sockets() -> list[socket.socket]:
    """Listening sockets that systemd passed to this process (sd_listen_fds(3)); none if it passed none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + count)]


def main(config: str | None, fleet_config: str | None = None) -> int:
    """Run until SIGTERM or SIGINT; exit code 1 when the machine or its sockets are not as they must be.

    *config* is the settings file as load takes it, *fleet_config* fleet's own if it is not the default one, which
    may be missing. Raises SettingsError.
    """

    def read() -> Settings:
        return load_fleet(config, os.environ, fleet_config or DEFAULT_FILE, required=bool(fleet_config))

    log_to_journal()
    next_request = signal_requests()
    settings = read()
    set_verbosity(settings.fleet.verbosity)
    sockets = inherited_sockets()
    if not sockets:
        log.error("No socket was passed to flagship fleet: start it with systemctl start fleet.socket fleet.service.")
        return 1
    try:
        machine = this_machine(settings.fleet.metadata, settings.fleet.public_ip, VERSION)
    except MachineError as error:
        log.error("%s", error)
        return 1
    service = Service(settings, machine, sockets, Systemd())
    service.start()
    ended = threading.Event()
    threading.Thread(target=_follow_address, args=(service, ended), name="address", daemon=True).start()
    notify("READY=1")
    log.info("The fleet engine of machine %s runs.", machine.id)
    while (request := next_request()) != "stop":
        if request == "reload":
            service.reload(read)
        else:
            _print(service.dump())
    notify("STOPPING=1")
    ended.set()
    leave = _is_to_leave()
    service.stop(leave=leave)
    log.info("The fleet engine has ended; %s.", "this machine has left" if leave else "units are left as they are")
    return 0


def _follow_address(service: Service, ended: threading.Event) -> None:
    while not ended.wait(ADDRESS_CHECK):
        service.refresh_address()


def _print(line: str) -> None:
    # Whoever read standard output may have gone.
    with suppress(OSError):
        print(line, flush=True)


def _is_to_leave() -> bool:
    """Whether systemd stops this service, or the machine; it is not to leave for a restart, and not in doubt."""
    try:
        return own_job() == "stop"
    except SystemdError as error:
        log.warning("%s; units are left as they are.", error)
        return False
