# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real etcd servers for tests, on free ports of loopback, with TLS if asked for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates

# A server listens only some time after its port was chosen.
_chosen: set[int] = set()


def free_port() -> int:
    """A free TCP port on loopback, below those that the kernel takes for outgoing connections."""
    while True:
        port = random.randint(20000, 32000)  # noqa: S311
        if port in _chosen:
            continue
        _chosen.add(port)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class EtcdServer:
    """One etcd server, with an empty store; start it with C{with}."""

    def __init__(self, directory: Path, certificates: Certificates | None = None, *arguments: str) -> None:
        scheme = "https" if certificates else "http"
        self.url = f"{scheme}://127.0.0.1:{free_port()}"
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        self.name = directory.name
        # Of an existing cluster, to join it.
        self.initial_cluster = ""
        self._directory = directory
        self._certificates = certificates
        self._arguments = list(arguments)
        if certificates:
            self._arguments += [f"--cert-file={certificates.server}", f"--key-file={certificates.key('server')}"]

    def __enter__(self) -> EtcdServer:
        self._log = (self._directory / "etcd.log").open("ab")
        self._process = subprocess.Popen(
            [
                # ansible-test runs each test in a process of its own, and no module fixture is ended there.
                "setpriv",
                "--pdeathsig=KILL",
                "etcd",
                f"--data-dir={self._directory / 'data'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--name={self.name}",
                f"--listen-peer-urls={self.peer_url}",
                f"--initial-advertise-peer-urls={self.peer_url}",
                f"--initial-cluster={self.initial_cluster or f'{self.name}={self.peer_url}'}",
                f"--initial-cluster-state={'existing' if self.initial_cluster else 'new'}",
                "--heartbeat-interval=50",
                "--election-timeout=500",
                *self._arguments,
            ],
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 20
        # A learner answers no question but this one.
        question = ("endpoint", "status") if self.initial_cluster else ("endpoint", "health")
        while self._etcdctl(*question).returncode != 0:
            assert time.monotonic() < deadline, (
                f"etcd did not start: {(self._directory / 'etcd.log').read_text()[-2000:]}"
            )
            time.sleep(0.05)
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._log.close()

    def etcdctl(self, *arguments: str) -> str:
        """Run etcd's own client against this server; what it prints."""
        done = self._etcdctl(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self._process.send_signal(signal.SIGCONT)

    def freeze(self) -> None:
        """The kernel goes on to accept connections for it, but nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def _etcdctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        tls = ["--cacert", self._certificates.ca] if self._certificates else []
        if self._certificates:
            tls += ["--cert", self._certificates.client, "--key", self._certificates.key("client")]
        return subprocess.run(
            ["etcdctl", "--endpoints", self.url, *tls, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
