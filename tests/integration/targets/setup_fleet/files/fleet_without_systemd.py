# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real `flagship fleet` (API, engine and agent) on a machine without systemd, whose part a table plays.

A unit with /bin/false in it fails when it is started; every other one is active at once. Each start adds the unit's
name to the file `starts` beside the directory for unit files.
Arguments: the number of the machine (1 or 2), the socket to serve, etcd's URL, a directory for unit files; to serve
TLS too, a port of loopback and a directory with server.pem, server.key and ca.pem.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence

from flagship.fleet import VERSION
from flagship.fleet.model import Machine
from flagship.fleet.service import Service
from flagship.fleet.systemd import Listener, UnitStatus
from flagship.settings import EtcdConnection, FleetSettings, Settings

MACHINES = {
    "1": Machine("0123456789abcdef0123456789abcdef", "192.0.2.1", {"disk": "ssd"}, "boot1", VERSION),
    "2": Machine("123456789abcdef0123456789abcdef0", "192.0.2.2", {"disk": "hdd"}, "boot2", VERSION),
}
JOB_SECONDS = 0.1


class TableOfUnits:
    """systemd's answers, from a dictionary of unit states."""

    def __init__(self, starts: str) -> None:
        self._starts = starts
        self._states: dict[str, UnitStatus] = {}
        self._texts: dict[str, str] = {}
        self._jobs = 0

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def close(self) -> None:
        self._states.clear()

    def link(self, paths: Sequence[str]) -> None:
        for path in paths:
            with open(path, encoding="utf-8") as file:
                self._texts[os.path.basename(path)] = file.read()

    def enable(self, paths: Sequence[str]) -> None:
        self.link(paths)

    def disable(self, names: Sequence[str]) -> None:
        for name in names:
            self._texts.pop(name, None)

    def reload(self) -> None:
        for name in self._texts.keys() - self._states.keys():
            self._states[name] = UnitStatus("loaded", "inactive", "dead")
        for name in self._states.keys() - self._texts.keys():
            del self._states[name]

    def start(self, name: str) -> str:
        with open(self._starts, "a", encoding="utf-8") as file:
            file.write(name + "\n")
        failed = "/bin/false" in self._texts[name]
        return self._job(name, UnitStatus("loaded", *(("failed", "failed") if failed else ("active", "running"))))

    def stop(self, name: str) -> str:
        return self._job(name, UnitStatus("loaded", "inactive", "dead"))

    def restart(self, name: str) -> str:
        return self.start(name)

    def reset_failed(self, name: str) -> None:
        pass

    def statuses(self, names: Sequence[str]) -> dict[str, UnitStatus]:
        absent = UnitStatus("not-found", "inactive", "dead")
        return {name: self._states.get(name, absent) for name in names}

    def _job(self, name: str, outcome: UnitStatus) -> str:
        self._jobs += 1
        job = f"/job/{self._jobs}"
        before = self._states.get(name, outcome)
        self._states[name] = UnitStatus(before.load, before.active, before.sub, job)

        def end() -> None:
            self._states[name] = outcome
            self._listener.on_unit(name)
            self._listener.on_job(job, name, "failed" if outcome.active == "failed" else "done")

        self._later(end)
        return job

    @staticmethod
    def _later(action: Callable[[], None]) -> None:
        timer = threading.Timer(JOB_SECONDS, action)
        timer.daemon = True
        timer.start()


def main(number: str, path: str, etcd: str, directory: str, port: str = "", certificates: str = "") -> None:
    listening = [socket.socket(socket.AF_UNIX)]
    listening[0].bind(path)
    listening[0].listen(64)
    tls = {}
    if port:
        listening.append(socket.create_server(("127.0.0.1", int(port))))
        files = {"api_cert": "server.pem", "api_key": "server.key", "api_client_ca": "ca.pem"}
        tls = {name: os.path.join(certificates, file) for name, file in files.items()}
    machine = MACHINES[number]
    fleet = FleetSettings(
        metadata=machine.metadata,
        public_ip=machine.primary_ip,
        agent_ttl=2.0,
        units_directory=directory,
        etcd_key_prefix="/_coreos.com/fleet",
        disable_engine=False,
        token_limit=3,
        **tls,
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    table = TableOfUnits(os.path.join(os.path.dirname(directory), "starts"))
    service = Service(Settings(EtcdConnection((etcd,)), fleet), machine, listening, table)
    service.start()
    ended.wait()
    service.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
