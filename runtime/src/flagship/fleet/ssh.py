# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh program as the way to other machines: commands there, and connections through there."""

from __future__ import annotations

import math
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

from flagship.fleet.client import ClientError, Dial, address_of

_CHUNK = 65536


@dataclass(frozen=True)
class SshOptions:
    """How to reach machines; *timeout* in seconds is that of connecting, *tunnel* a HOST[:PORT] to go through."""

    username: str = "core"
    timeout: float = 10.0
    strict: bool = True
    known_hosts: str = "~/.fleetctl/known_hosts"
    tunnel: str = ""


def split_host(text: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT or [ADDRESS]:PORT; the port is 22 without one. Raises ClientError."""
    host, port = text, "22"
    if text.startswith("["):
        host, _bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "22"
    elif text.count(":") == 1:
        host, _colon, port = text.partition(":")
    if not host or host.startswith("-") or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClientError(f"ssh host {text!r} must be like HOST or HOST:PORT")
    return host, int(port)


def ssh_command(
    options: SshOptions, target: str, remote: Sequence[str] = (), *, agent: bool = False, forward: str = ""
) -> list[str]:
    """The ssh program's arguments that run *remote* on *target*, HOST[:PORT], or connect it to *forward*, HOST:PORT.

    *remote* is joined with blanks and read by the shell there (ssh(1)). Raises ClientError.
    """
    host, port = split_host(target)
    command = ["ssh", "-o", "ServerAliveInterval=10", "-o", f"ConnectTimeout={max(1, math.ceil(options.timeout))}"]
    command += ["-o", f"StrictHostKeyChecking={'ask' if options.strict else 'no'}"]
    command += ["-o", f'UserKnownHostsFile="{Path(options.known_hosts).expanduser()}"']
    if options.tunnel and target != options.tunnel:
        proxy = ssh_command(options, options.tunnel, forward="[%h]:%p")
        command += ["-o", f"ProxyCommand={shlex.join(proxy)}"]
    command += ["-A"] if agent else []
    command += ["-W", forward] if forward else []
    return [*command, "-p", str(port), "-l", options.username, "--", host, *remote]


def run_on(options: SshOptions, target: str, remote: Sequence[str], *, agent: bool = False) -> int:
    """Run *remote* (nothing: a shell) on *target* with this process's terminal; the exit code."""
    # ssh itself makes no directory but ~/.ssh for the keys that it learns.
    with suppress(OSError):
        Path(options.known_hosts).expanduser().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return run_here(ssh_command(options, target, remote, agent=agent))


def run_here(command: Sequence[str]) -> int:
    """Run *command* with this process's terminal; the exit code. Raises ClientError when the program is missing."""
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        raise ClientError(f"{command[0]} cannot be run: {error.strerror}") from None


def tunnel_to(options: SshOptions, endpoint: SplitResult) -> Dial:
    """Connections to *endpoint* from the host `options.tunnel`: to a unix socket by fd-forward there, or to TCP."""
    if endpoint.scheme in ("unix", "file"):
        remote = ["fleetctl", "fd-forward", shlex.quote(endpoint.path)]
        command = ssh_command(options, options.tunnel, remote)
    else:
        host, port = address_of(endpoint)
        forward = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        command = ssh_command(options, options.tunnel, forward=forward)
    # ssh ends by itself when its standard input does, which is when the connection is closed.
    return lambda timeout: _connect(command, timeout)


def _connect(command: Sequence[str], timeout: float) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
    threading.Thread(target=process.wait, name="ssh", daemon=True).start()
    ours.settimeout(timeout)
    return ours


def forward(path: str) -> None:
    """Connect standard input and output to the unix socket at *path* until it closes. Raises ClientError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError as error:
            raise ClientError(f"socket {path} cannot be reached: {error.strerror}") from None
        threading.Thread(target=_send_input, args=(sock,), name="input", daemon=True).start()
        with suppress(ConnectionError):
            while chunk := sock.recv(_CHUNK):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()


def _send_input(sock: socket.socket) -> None:
    with suppress(OSError):
        while chunk := os.read(sys.stdin.fileno(), _CHUNK):
            sock.sendall(chunk)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
