# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real nginx or HAProxy on loopback with what `flagship watch` is told about it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends import request
from etcd_server import EtcdServer, free_port, wait_for
from flagship.balancer.config import TemplateConfig, load_templates
from flagship.balancer.haproxy import RuntimeApi
from flagship.balancer.output import Output
from flagship.balancer.render import BUNDLED, Rendered, render
from flagship.services import Instance, parse_address

SOURCE = Path(__file__).parents[1] / "src"


def instances(addresses: Mapping[str, str], service: str = "website") -> dict[str, list[Instance]]:
    """Services with one service, from names and addresses."""
    made = [Instance(name, *parse_address(text), f"/services/{service}/{name}") for name, text in addresses.items()]
    return {service: sorted(made)}


class BalancerProcess:
    """Files of a balancer in a directory, and the balancer; `change` does what the daemon does for a change of keys."""

    name = ""

    def __init__(self, directory: Path, prefix: str = "/services/website", **variables: object) -> None:
        self.directory = directory
        self.port, self.health_port = free_port(), free_port()
        self.destination = directory / "live" / self.name
        self.template = directory / "template.j2"
        self.template.write_text(self.template_text())
        self.variables = {"port": self.port, "health_port": self.health_port, **variables}
        self.reloads = directory / "reloads"
        self.ini = directory / "watch.ini"
        self.prefix = prefix
        self.write_ini()
        self._output: Output | None = None
        self._revision = 0

    def template_text(self) -> str:
        """The bundled template."""
        return (BUNDLED / f"{self.name}.conf.j2").read_text()

    def ini_lines(self) -> str:
        """What the section has for this kind of balancer."""
        raise NotImplementedError

    def write_ini(self, more: str = "") -> None:
        self.ini.write_text(
            f"[{self.name}]\nprefix = {self.prefix}\ntemplate = {self.template}\ndestination = {self.destination}\n"
            f"confirm = http://127.0.0.1:{self.health_port}/\nvariables = {json.dumps(self.variables)}\n"
            f"{self.ini_lines()}{more}"
        )

    def config(self) -> TemplateConfig:
        return load_templates(str(self.ini))[0]

    @property
    def output(self) -> Output:
        if self._output is None:
            self._output = Output(self.config(), self.directory / "status")
        return self._output

    def rendered(self, addresses: Mapping[str, str]) -> Rendered:
        return render(str(self.template), instances(addresses), variables=self.variables)

    def change(self, addresses: Mapping[str, str]) -> bool:
        self._revision += 1
        return self.output.apply(self.rendered(addresses), self._revision)

    def status(self) -> dict[str, Any]:
        content = json.loads((self.directory / "status" / f"{self.name}.json").read_text())
        assert isinstance(content, dict)
        return content

    def get(self, path: str = "/", **how: Any) -> tuple[int, str]:
        return request(self.port, path, **how)

    def shown(self) -> str:
        """The digest that the balancer shows."""
        return request(self.health_port)[1].strip()

    def reload_count(self) -> int:
        return len(self.reloads.read_text().splitlines()) if self.reloads.exists() else 0

    def in_step(self) -> bool:
        """Whether the status names the file that is there."""
        return bool(self.status()["hash"] == hashlib.sha256(self.destination.read_bytes()).hexdigest())

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def _script(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


class Nginx(BalancerProcess):
    """nginx as a daemon."""

    name = "nginx"

    def template_text(self) -> str:
        text = super().template_text().replace("worker_processes auto", "worker_processes 2")
        return text.replace("/dev/stderr", f"{self.directory}/error.log").replace(
            "/dev/stdout", f"{self.directory}/log"
        )

    def ini_lines(self) -> str:
        pid = f"pid {self.directory}/nginx.pid;"
        self._command = ["nginx", "-q", "-c", str(self.destination), "-g", pid]
        hangup = f'kill -HUP "$(cat {self.directory}/nginx.pid)"'
        reload = self._script("reload", f"{hangup} && echo >> {self.reloads}")
        return (
            f"check = nginx -t -q -c {{staged}} -g '{pid}'\nreload = {reload}\n"
            f"running = test -s {self.directory}/nginx.pid\n"
        )

    def start(self) -> None:
        subprocess.run(self._command, timeout=30, check=True)
        wait_for(self._runs, what="nginx's pid")

    def stop(self) -> None:
        if self._runs():
            subprocess.run([*self._command, "-s", "stop"], timeout=30, check=False)
            wait_for(lambda: not self._runs(), what="nginx's end")

    def _runs(self) -> bool:
        # `nginx -t` leaves an empty file.
        try:
            return (self.directory / "nginx.pid").stat().st_size > 0
        except FileNotFoundError:
            return False


class Haproxy(BalancerProcess):
    """HAProxy as a master with workers."""

    name = "haproxy"

    def __init__(self, directory: Path, prefix: str = "/services/website", **variables: object) -> None:
        self.socket = directory / "admin.sock"
        super().__init__(directory, prefix, socket=str(self.socket), **variables)
        self._process: subprocess.Popen[bytes] | None = None

    def ini_lines(self) -> str:
        pid = self.directory / "haproxy.pid"
        reload = self._script("reload", f'kill -USR2 "$(cat {pid})" && echo >> {self.reloads}')
        return (
            f"check = haproxy -c -f {self.destination.parent}/{{staged_name}}\nreload = {reload}\n"
            f"running = test -s {pid}\nhaproxy_socket = {self.socket}\n"
        )

    def start(self) -> None:
        with (self.directory / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(["haproxy", "-W", "-f", str(self.destination)], stdout=log, stderr=log)
        (self.directory / "haproxy.pid").write_text(str(self._process.pid))
        wait_for(self._answers, what="an answer on HAProxy's socket")

    def stop(self) -> None:
        """End master and workers at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None
            (self.directory / "haproxy.pid").unlink()

    def ask(self, command: str) -> str:
        return RuntimeApi(str(self.socket)).ask(command)

    def worker(self) -> str:
        """The process id of the worker that answers."""
        return next(line for line in self.ask("show info").splitlines() if line.startswith("Pid:"))

    def servers(self) -> dict[str, str]:
        """The servers that get requests, by name."""
        found = RuntimeApi(str(self.socket)).servers().values()
        return {name: live.address for servers in found for name, live in servers.items() if not live.away}

    def _answers(self) -> bool:
        try:
            return bool(self.shown())
        except OSError:
            return False


class Watch:
    """The command `flagship watch` for some balancers, connected to an etcd."""

    def __init__(self, directory: Path, server: EtcdServer, *balancers: BalancerProcess) -> None:
        self.balancers = balancers
        self.process: subprocess.Popen[str] | None = None
        self._directory = directory
        self._server = server

    def command(self, *options: str) -> list[str]:
        configs = [word for balancer in self.balancers for word in ("--template-config", str(balancer.ini))]
        return [sys.executable, "-m", "flagship", "watch", *configs, *options]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "FLAGSHIP_ETCD_ENDPOINTS": ",".join(self._server.endpoints),
            "FLAGSHIP_ETCD_TIMEOUT": "1",
            "RUNTIME_DIRECTORY": str(self._directory / "status"),
            **more,
        }

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options), env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def start(self) -> float:
        """Start the daemon and wait until it tells systemd that it is ready; returns how long that took."""
        started = time.monotonic()
        path = str(self._directory / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path)
            systemd.settimeout(20)
            with (self._directory / "watch.log").open("a") as log:
                self.process = subprocess.Popen(
                    self.command(), env=self.environment(NOTIFY_SOCKET=path), stderr=log, text=True
                )
            assert systemd.recv(100) == b"READY=1"
        Path(path).unlink()
        return time.monotonic() - started

    def stop(self) -> None:
        """Stop it as systemd does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20) == 0
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def log(self) -> str:
        return (self._directory / "watch.log").read_text()
