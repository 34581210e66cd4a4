# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines without a systemd: everything of the daemon is real except the manager behind its agent."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from etcd_server import wait_for
from flagship.fleet.client import FleetClient
from flagship.fleet.model import Machine
from flagship.fleet.service import Service
from flagship.fleet.systemd import Listener, SystemdError, UnitStatus
from flagship.settings import EtcdConnection, FleetSettings, Settings


class SimulatedSystemd:
    """Starts and stops at once what its files say; *calls* is everything it was asked to do.

    Units in `failing` refuse their start, units in `missing` are not found, those in `unlinkable` are not even linked;
    units in `stuck` take their stop and never finish it; units in `referenced` stay in memory without their files until
    a reload.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.active: set[str] = set()
        self.linked: set[str] = set()
        self.loaded: set[str] = set()
        self.failing: set[str] = set()
        self.stuck: set[str] = set()
        self.referenced: set[str] = set()
        self.missing: set[str] = set()
        self.unlinkable: set[str] = set()
        self._jobs = 0
        self._pending: dict[str, str] = {}
        self._listener: Listener | None = None
        self._lock = threading.Lock()

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        listener.on_reconnect()

    def close(self) -> None:
        pass

    def count(self, call: str, name: str) -> int:
        return self.calls.count((call, name))

    def link(self, paths: Sequence[str]) -> None:
        self._all("link", [Path(path).name for path in paths], self._add)

    def _add(self, name: str) -> None:
        self.linked.add(name)
        # What it has never read it finds by itself.
        if name not in self.missing:
            self.loaded.add(name)

    def enable(self, paths: Sequence[str]) -> None:
        self._all("enable", [Path(path).name for path in paths], lambda name: None)

    def disable(self, names: Sequence[str]) -> None:
        self._all("disable", names, self._forget)

    def _forget(self, name: str) -> None:
        self.linked.discard(name)
        if name not in self.referenced:
            self.loaded.discard(name)

    def _all(self, call: str, names: Sequence[str], change: Callable[[str], None]) -> None:
        with self._lock:
            if call == "link" and self.unlinkable.intersection(names):
                raise SystemdError("systemd refused LinkUnitFiles: no space left on device")
            for name in names:
                self.calls.append((call, name))
                change(name)

    def reload(self) -> None:
        with self._lock:
            self.calls.append(("reload", ""))
            self.loaded = (self.linked | self.active) - self.missing

    def start(self, name: str) -> str:
        with self._lock:
            self.calls.append(("start", name))
            if name in self.failing or name not in self.loaded:
                raise SystemdError(f"systemd refused StartUnit: unit {name} has a bad unit file setting")
            self.active.add(name)
        return self._job(name)

    def restart(self, name: str) -> str:
        with self._lock:
            self.calls.append(("restart", name))
            self.active.add(name)
        return self._job(name)

    def stop(self, name: str) -> str:
        with self._lock:
            self.calls.append(("stop", name))
            if name in self.stuck:
                self._jobs += 1
                self._pending[name] = f"/job/{self._jobs}"
                return self._pending[name]
            self.active.discard(name)
        return self._job(name)

    def _job(self, name: str) -> str:
        self._jobs += 1
        if self._listener is not None:
            self._listener.on_job(f"/job/{self._jobs}", name, "done")
        return f"/job/{self._jobs}"

    def finish_stop(self, name: str) -> None:
        with self._lock:
            self.stuck.discard(name)
            self.active.discard(name)
            job = self._pending.pop(name)
        if self._listener is not None:
            self._listener.on_job(job, name, "done")

    def reset_failed(self, name: str) -> None:
        self.calls.append(("reset_failed", name))

    def statuses(self, names: Sequence[str]) -> dict[str, UnitStatus]:
        with self._lock:
            return {name: self._status(name) for name in names}

    def _status(self, name: str) -> UnitStatus:
        load = "loaded" if name in self.loaded or name in self.active else "not-found"
        active = name in self.active
        return UnitStatus(
            load, *(("active", "running") if active else ("inactive", "dead")), self._pending.get(name, "")
        )


class Node:
    """One machine with a daemon that can be started, stopped and started again; its systemd and disk stay."""

    def __init__(self, directory: Path, connection: EtcdConnection, prefix: str, name: str, **fleet: Any) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.systemd = SimulatedSystemd()
        self.machine = Machine((name.encode().hex() + "0" * 32)[:32], f"192.0.2.{int(name[-1])}", {}, uuid.uuid4().hex)
        self.socket = str(self.directory / "fleet.sock")
        self.client = FleetClient(f"unix://{self.socket}")
        settings = {
            "metadata": {"name": name},
            "public_ip": "",
            "agent_ttl": 2.0,
            "units_directory": str(self.directory / "units"),
            "etcd_key_prefix": prefix,
            "disable_engine": False,
            "token_limit": 100,
            **fleet,
        }
        self.settings = Settings(connection, FleetSettings(**settings))
        self.service: Service | None = None

    @property
    def id(self) -> str:
        return self.machine.id

    def start(self, *, wait: bool = True) -> Node:
        listener = socket.socket(socket.AF_UNIX)
        Path(self.socket).unlink(missing_ok=True)
        listener.bind(self.socket)
        listener.listen()
        machine = Machine(self.id, self.machine.primary_ip, self.settings.fleet.metadata, self.machine.boot_id, "1.0.0")
        self.service = Service(self.settings, machine, [listener], self.systemd)
        self.service.start()
        if wait:
            wait_for(self.service.available, what=f"{self.directory.name} to be available")
        return self

    def stop(self, *, leave: bool = False) -> None:
        if self.service is not None:
            self.service.stop(leave=leave)
            self.service = None

    @property
    def running(self) -> set[str]:
        return set(self.systemd.active)
