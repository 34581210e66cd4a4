# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real Docker engine of this machine for tests: containers of one's own, and a socket that can be cut off."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import uuid
from pathlib import Path

SOCKET = "/var/run/docker.sock"
LABEL = "flagship.test"


def docker(*arguments: str, text: bytes | None = None) -> str:
    """Run docker and return what it prints."""
    done = subprocess.run(["docker", *arguments], input=text, check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


class Containers:
    """An image with a shell and `sleep`, made without a registry, and containers of it; .remove() takes all away."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex[:8]
        self.label = f"{LABEL}={self.run}"
        self.image = f"flagship-test-register-{self.run}:1"
        archive = io.BytesIO()
        files = {}
        for name in ("sh", "sleep"):
            program = shutil.which(name)
            assert program is not None
            files[f"bin/{name}"] = program
            libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
            files.update({library.lstrip("/"): library for library in re.findall(r"(/\S+) \(0x", libraries)})
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, source in files.items():
                tar.add(Path(source).resolve(), name)
        # Process 1 ends at the first SIGTERM, but not before it has counted to a second: a stop takes its time.
        command = 'CMD ["/bin/sh", "-c", "trap \'sleep 1; exit\' TERM; while :; do sleep 0.1; done"]'
        docker("import", "--change", command, "--change", "ENV PATH=/bin", "-", self.image, text=archive.getvalue())

    def name(self, name: str) -> str:
        return f"{name}-{self.run}"

    def start(self, name: str, *options: str) -> str:
        """A running container; returns its id."""
        return docker("run", "--detach", f"--label={self.label}", f"--name={self.name(name)}", *options, self.image)

    def address(self, name: str, network: str = "bridge") -> str:
        path = f"{{{{(index .NetworkSettings.Networks {network!r}).IPAddress}}}}".replace("'", '"')
        return docker("inspect", "--format", path, self.name(name))

    def remove(self) -> None:
        for kind, how in (("container", ["--force", "--volumes"]), ("network", [])):
            every = ["--all"] if kind == "container" else []
            found = docker(kind, "ls", *every, "--quiet", "--filter", f"label={self.label}").split()
            if found:
                docker(kind, "rm", *how, *found)
        docker("image", "rm", "--force", self.image)


class Proxy:
    """A socket in front of the engine's: cut() ends all connections and refuses new ones, as a dead engine does."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "docker.sock"
        self.url = f"unix://{self.path}"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()

    def start(self) -> None:
        self._flowing.set()
        self._listener = listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def freeze(self) -> None:
        """Pass nothing on any more, as an engine that hangs; until cut()."""
        self._flowing.clear()

    def cut(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._flowing.set()
        self.path.unlink(missing_ok=True)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(SOCKET)
            self._open |= {client, engine}
            for source, sink in ((client, engine), (engine, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                self._flowing.wait()
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        self._open.discard(source)


def have_engine() -> bool:
    """Whether an engine answers here."""
    if not os.path.exists(SOCKET):
        return False
    return subprocess.run(["docker", "version"], check=False, capture_output=True, timeout=20).returncode == 0
