# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine: who it is, and its record in the registry that says it is present."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from flagship.etcd import Client, Compare, EtcdError, KeyValue, LeaseGone, LeaseKeeper, Put
from flagship.fleet import registry
from flagship.fleet.model import Machine
from flagship.fleet.registry import Keys, RecordError
from flagship.fleet.view import View

log = logging.getLogger(__name__)


class MachineError(Exception):
    """This machine cannot say who it is; the message is one sentence with the way out."""


def machine_id(path: str = "/etc/machine-id") -> str:
    """The machine id, 32 hex digits (machine-id(5))."""
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise MachineError(f"{path} cannot be read ({error.strerror}); run systemd-machine-id-setup.") from None
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise MachineError(f"{path} holds {text[:40]!r} instead of 32 hex digits; run systemd-machine-id-setup.")
    return text


def boot_id() -> str:
    """What tells this boot from every other one, of other machines too.

    Containers share their kernel's boot id: the start of process 1 (proc(5), field 22) tells them apart.
    """
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    started = Path("/proc/1/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return f"{kernel}-{started}"


def primary_ip() -> str:
    """The address that this machine's packets to elsewhere carry; "" without a route."""
    # Connecting a datagram socket sends nothing, it only asks the routing table; RFC 5737 and 3849 addresses.
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""


def this_machine(metadata: Mapping[str, str], public_ip: str, version: str) -> Machine:
    """The record of this machine; raises MachineError."""
    return Machine(machine_id(), public_ip or primary_ip(), dict(metadata), boot_id(), version)


class Presence:
    """Keeps this machine's record under its lease, and never takes the record of another live machine.

    `register` is for LeaseKeeper's on_new_lease. A thread repairs the record when someone else changes or deletes
    it, and waits while another machine with the same id is present.
    """

    def __init__(self, client: Client, keys: Keys, view: View, machine: Machine) -> None:
        self.machine = machine
        self._client = client
        self._key = keys.machine(machine.id)
        self._view = view
        self._value = registry.dump_machine(machine)
        self._lock = threading.Lock()
        self._keeper: LeaseKeeper | None = None
        self._registered: int | None = None
        self._reported = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self, keeper: LeaseKeeper) -> None:
        self._keeper = keeper
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._view.wake()
        if self._thread.is_alive():
            self._thread.join(2 * self._client.connection.timeout)

    def update(self, machine: Machine) -> None:
        """Have the record say *machine*, the same one with other metadata or another address, from now on."""
        with self._lock:
            self.machine = machine
            self._value = registry.dump_machine(machine)
        self._view.wake()

    @property
    def registered(self) -> bool:
        """Whether the record hangs on the present lease."""
        return self._registered is not None and self._keeper is not None and self._registered == self._keeper.lease

    def register(self, lease: int) -> None:
        """Write the record under *lease*, unless another live machine holds it; raises EtcdError."""
        with self._lock:
            found = self._client.get(self._key)
            if not self._is_mine(found, lease) and not self._write(found, lease):
                self._registered = None
                return
            self._registered = lease
        self._view.wake()

    def _is_mine(self, found: KeyValue | None, lease: int) -> bool:
        return found is not None and found.lease == lease and found.value == self._value

    def _write(self, found: KeyValue | None, lease: int) -> bool:
        other = self._other(found)
        if other is not None:
            message = (
                f"machine id {self.machine.id} is in use by the machine at {other.primary_ip}, so nothing is done here "
                "until that one is gone; give one of them a new id: rm /etc/machine-id && systemd-machine-id-setup"
            )
            if message != self._reported:
                log.error("%s.", message)
            self._reported = message
            return False
        revision = found.mod_revision if found else 0
        put = Put(self._key, self._value, lease)
        if not self._client.txn([Compare(self._key, "mod", revision)], [put]).succeeded:
            return False
        log.info("Machine %s is present with address %s.", self.machine.id, self.machine.primary_ip)
        self._reported = ""
        return True

    def _other(self, found: KeyValue | None) -> Machine | None:
        """The other live machine that *found* speaks of, if it does."""
        if found is None or found.lease == 0:
            return None
        try:
            record = registry.load_machine(self._key, self.machine.id, found.value)
        except RecordError:
            return None
        # Two live machines cannot have one address: the same one means this machine before a quick reboot.
        same = record.boot_id == self.machine.boot_id or record.primary_ip == self.machine.primary_ip
        return None if same else record

    def _run(self) -> None:
        seen = -1
        while not self._stop.is_set():
            seen = self._view.wait_change(seen, None if self.registered else 1.0)
            keeper = self._keeper
            lease = keeper.lease if keeper else None
            if keeper is None or lease is None or not self._view.synced or self._stop.is_set():
                continue
            if self.registered and self._is_mine(self._view.record(self._key), lease):
                continue
            try:
                self.register(lease)
            except LeaseGone:
                # Others wait no longer than Patience.comeback for this machine's record under another lease.
                keeper.renew_now()
            except EtcdError as error:
                log.warning("This machine's record was not written, trying on: %s", error)
                self._stop.wait(1.0)
