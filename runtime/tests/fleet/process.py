# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import flagship


class Daemon:
    """`flagship fleet` as systemd starts it, with one socket; there is no systemd, so no unit can run."""

    def __init__(self, directory: Path, etcd: str, prefix: str, listener: socket.socket, *settings: str) -> None:
        self.journal = directory / "journal"
        self.output = directory / "output"
        self.conf = directory / "flagship.conf"
        head = f"[etcd]\nendpoints = {etcd}\n[fleet]\netcd_key_prefix = {prefix}\n"
        self.conf.write_text("\n".join([f"{head}units_directory = {directory}/units", *settings, ""]))
        # systemd passes sockets as descriptors from 3 on, to the process id named in LISTEN_PID.
        script = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        program = [sys.executable, "-m", "flagship", "--config", str(self.conf), "fleet"]
        environ = {**os.environ, "PYTHONPATH": str(Path(flagship.__file__).parent.parent)}
        with self.journal.open("wb") as journal, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", *program],
                stdin=listener.fileno(),
                stdout=output,
                stderr=journal,
                env=environ,
            )

    def said(self, text: str) -> bool:
        return text in self.journal.read_text()
