# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real etcd servers for tests: they can be frozen, killed and started again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flagship.etcd import Client, EtcdConnection, EtcdError, PermissionDenied

# Each process of pytest-xdist has ports of its own, below those that the kernel takes for outgoing connections: a
# server that a test has stopped finds its port free when it starts again.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(range(20_000 + 3_000 * _WORKER, 23_000 + 3_000 * _WORKER))


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable")


def wait_for(condition: Callable[[], object], limit: float = 10.0, what: str = "the condition") -> None:
    """Wait until `condition()` is true; fails the test after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {limit} s"
        time.sleep(0.02)


class EtcdServer:
    """One etcd member on loopback; `arguments` go to etcd, `scheme` is that of its client URL."""

    def __init__(
        self, directory: Path, *, name: str = "m0", scheme: str = "http", arguments: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.endpoint = f"{scheme}://127.0.0.1:{free_port()}"
        self.peer = f"http://127.0.0.1:{free_port()}"
        self.initial_cluster = f"{name}={self.peer}"
        self.log = directory / f"{name}.log"
        self.security: dict[str, str] = {}
        self._directory = directory
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        return (self.endpoint,)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def connection(self, timeout: float = 5.0) -> EtcdConnection:
        return EtcdConnection(self.endpoints, timeout=timeout, **self.security)

    def etcdctl(self, *arguments: str) -> str:
        """Run etcdctl against it and return what it prints; `security` supplies the certificates."""
        flags = {"ca_cert": "--cacert", "client_cert": "--cert", "client_key": "--key"}
        secured = [f"{flags[name]}={value}" for name, value in self.security.items()]
        return subprocess.run(
            ["etcdctl", f"--endpoints={self.endpoint}", *secured, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout

    def compact(self, revision: int) -> None:
        """Forget what was before the revision."""
        self.etcdctl("compact", str(revision))

    def launch(self) -> None:
        """Start the process without waiting for it."""
        command = [
            "etcd",
            f"--name={self.name}",
            f"--data-dir={self._directory / self.name}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={self.initial_cluster}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--unsafe-no-fsync",
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def start(self) -> None:
        """Start and wait until it answers."""
        self.launch()
        wait_ready(self.connection())

    def stop(self) -> None:
        """Kill it as a power loss would; it may be frozen."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Freeze it: its kernel still accepts connections, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal takes its time; the stop is reported when the last thread has stopped.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)


class EtcdCluster:
    """Three members on loopback."""

    def __init__(self, directory: Path) -> None:
        self.members = [EtcdServer(directory, name=f"m{number}") for number in range(3)]
        for member in self.members:
            member.initial_cluster = ",".join(f"{other.name}={other.peer}" for other in self.members)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def leader(self) -> EtcdServer:
        """The member that leads now."""
        for member in self.members:
            shown = json.loads(member.etcdctl("endpoint", "status", "--write-out=json"))[0]["Status"]
            if shown["leader"] == shown["header"]["member_id"]:
                return member
        raise AssertionError("no member leads")

    def start(self) -> None:
        for member in self.members:
            member.launch()
        for member in self.members:
            wait_ready(member.connection())

    def stop(self) -> None:
        for member in self.members:
            member.stop()


def wait_ready(connection: EtcdConnection) -> None:
    """Wait until a read through the connection is answered, be it with a refusal."""
    with Client(connection) as client:

        def answers() -> bool:
            try:
                client.get("ready")
            except EtcdError as error:
                return isinstance(error, PermissionDenied)
            return True

        wait_for(answers, 20, f"an answer from etcd at {connection.endpoints}")
