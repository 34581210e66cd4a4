# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a new HAProxy configuration its runtime API can do, so that servers come and go without a reload.

The commands are those of https://docs.haproxy.org/2.6/management.html#9.3. HAProxy 2.4 and 2.5 refuse some of them,
and then there is a reload instead.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flagship.services import format_address, parse_address

TIMEOUT = 5.0  # seconds for one connection
MAX_BATCH = 8000  # characters of commands in one connection; HAProxy takes 16 KiB

# A backend's servers that are not known by name and address alone, and settings that `add server` does not see.
_STATIC = {"server-template", "default-server"}
_NEEDS_QUOTES = re.compile(r"""[;\\"']""")
# Bits of srv_admin_state: an operator or this program put the server in maintenance, or lets it drain.
_FORCED = 0x01 | 0x04 | 0x08


@dataclass(frozen=True)
class Server:
    """One `server` line: address as `ip:port`, options as they stand behind it."""

    address: str
    options: str


@dataclass(frozen=True)
class Live:
    """A server as HAProxy has it; `away` while it takes no new connections by command."""

    address: str
    away: bool


@dataclass(frozen=True)
class Configuration:
    """A configuration taken apart; `static` says why its servers cannot be changed one by one, "" when they can."""

    skeleton: tuple[str, ...]
    servers: dict[str, dict[str, Server]]
    static: str = ""


@dataclass
class _Parts:
    skeleton: list[str] = field(default_factory=list)
    servers: dict[str, dict[str, Server]] = field(default_factory=dict)
    static: str = ""


class RuntimeApiError(Exception):
    """HAProxy's socket cannot be used; the text is one sentence."""


def split(text: str, digest: str) -> Configuration:
    """The servers of each backend, and all other lines but comments, without the digest, which changes always."""
    parts = _Parts()
    section = ""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not line[0].isspace():
            section = words[1] if words[0] in ("backend", "listen") and len(words) > 1 else ""
        server = list(itertools.takewhile(lambda word: not word.startswith("#"), words))
        # A socket's servers do not come and go.
        if section and words[0] == "server" and len(server) > 2 and "@" not in server[2]:
            _add_server(parts, section, *server[1:])
            continue
        if words[0] in _STATIC:
            parts.static = f"{words[0]} is used"
        parts.skeleton.append(line.strip().replace(digest, "") if digest else line.strip())
    return Configuration(tuple(parts.skeleton), parts.servers, parts.static)


def _add_server(parts: _Parts, backend: str, name: str, address: str, *options: str) -> None:
    try:
        address = format_address(*parse_address(address))
    except ValueError as error:
        parts.static = f"server {name}: {error}"
    if "disabled" in options or _NEEDS_QUOTES.search(" ".join(options)):
        parts.static = f"server {name} has options that the runtime API does not take"
    parts.servers.setdefault(backend, {})[name] = Server(address, " ".join(options))


def same_but_servers(old: Configuration, new: Configuration) -> bool:
    """Whether servers coming, going and changing their address are all that tells the two apart."""
    return (
        not old.static
        and not new.static
        and old.skeleton == new.skeleton
        and all(
            server.options == old.servers.get(backend, {}).get(name, server).options
            for backend, servers in new.servers.items()
            for name, server in servers.items()
        )
    )


def parse_state(text: str) -> dict[str, dict[str, Live]]:
    """The servers of each backend from what `show servers state` prints; ValueError if it is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0].strip() != "1" or not lines[1].startswith("# "):
        raise ValueError(f"`show servers state` says {text[:80]!r}")
    columns = lines[1][2:].split()
    found: dict[str, dict[str, Live]] = {}
    for line in lines[2:]:
        row = dict(zip(columns, line.split()))
        try:
            host = str(ipaddress.ip_address(row["srv_addr"]))
        except ValueError:  # a socket's
            continue
        live = Live(format_address(host, int(row["srv_port"])), bool(int(row["srv_admin_state"]) & _FORCED))
        found.setdefault(row["be_name"], {})[row["srv_name"]] = live
    return found


def plan(wanted: Mapping[str, Mapping[str, Server]], live: Mapping[str, Mapping[str, Live]]) -> list[str]:
    """The commands that lead from the servers there are to those wanted; new ones first, so none is empty between.

    A server that leaves is put into maintenance: it gets no new connections, those that it has go on. It is deleted by
    a later plan, which HAProxy refuses until its last connection is closed.
    """
    coming, leaving = [], []
    for backend, servers in wanted.items():
        for name, server in servers.items():
            where = f"{backend}/{name}"
            found = live.get(backend, {}).get(name)
            if found is None:
                coming.append(f"add server {where} {server.address} {server.options}".rstrip())
                if "check" in server.options.split():
                    coming.append(f"enable health {where}")
                coming.append(f"enable server {where}")
                continue
            if found.address != server.address:
                host, port = parse_address(server.address)
                coming.append(f"set server {where} addr {host} port {port}")
            if found.away:
                coming.append(f"set server {where} state ready")
    for backend, found_servers in live.items():
        for name, found in found_servers.items():
            if name not in wanted.get(backend, {}):
                where = f"{backend}/{name}"
                leaving.append(f"del server {where}" if found.away else f"set server {where} state maint")
    return coming + leaving


def differences(wanted: Mapping[str, Mapping[str, Server]], live: Mapping[str, Mapping[str, Live]]) -> list[str]:
    """What keeps HAProxy from serving with just the wanted servers, in words; those on their way out do not count."""
    return [command for command in plan(wanted, live) if not command.startswith("del server ")]


class RuntimeApi:
    """HAProxy's runtime API on a unix socket of level admin."""

    def __init__(self, path: str) -> None:
        self._path = path

    def servers(self) -> dict[str, dict[str, Live]]:
        """The servers of each backend; raises RuntimeApiError."""
        try:
            return parse_state(self.ask("show servers state"))
        except ValueError as error:
            raise RuntimeApiError(f"HAProxy's socket {self._path} gives no list of servers: {error}.") from None

    def ask_all(self, commands: Iterable[str]) -> str:
        """What HAProxy says to the commands, of which one that it refuses stops no other; raises RuntimeApiError."""
        said, batch = [], ""
        for command in commands:
            if batch and len(batch) + len(command) > MAX_BATCH:
                said.append(self.ask(batch))
                batch = ""
            batch += f"; {command}" if batch else command
        if batch:
            said.append(self.ask(batch))
        return "\n".join(said)

    def ask(self, command: str) -> str:
        """What HAProxy answers to commands with ; between them, be it a complaint; raises RuntimeApiError."""
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(TIMEOUT)
                connection.connect(self._path)
                # 2.6 calls `set var` experimental; the mode ends with the connection.
                connection.sendall(f"experimental-mode on; {command}\n".encode())
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answer += part
        except OSError as error:
            reason = error.strerror or "it does not answer in time"
            raise RuntimeApiError(f"HAProxy's socket {self._path} cannot be used: {reason}.") from None
        return answer.decode("utf-8", "replace").strip()
