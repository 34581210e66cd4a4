# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container's network: its kind, names and published ports. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import text_dict
from ansible_collections.flagship.coreos.plugins.module_utils.docker_option import Option, field


def _network_mode(value: str) -> str:
    # Engine 26.1 began to report "bridge" where older ones say "default" (moby#47431).
    return "bridge" if value in ("", "default") else value


def _span(text: str, spec: str) -> range:
    first, _dash, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise ValueError(
            f"{spec!r} is not a port to publish; write [[IP:]HOST:]CONTAINER[/tcp|udp|sctp], such as 8080:80"
        )
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise ValueError(f"{spec!r} names a port outside 1 to 65535 or a range that runs backwards")
    return ports


def _publications(spec: str) -> Iterator[str]:
    rest, _slash, protocol = spec.partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise ValueError(f"{spec!r} names the protocol {protocol!r}; use tcp, udp or sctp")
    address, host, inside = ([""] * 2 + rest.rsplit(":", 2))[-3:]
    if address:
        try:
            parsed = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            raise ValueError(f"{spec!r} starts with {address!r}, which is not an IP address") from None
        address = f"[{parsed}]" if parsed.version == 6 else str(parsed)
    ports = _span(inside, spec)
    hosts: list[str] = [""] * len(ports)
    if host:
        span = _span(host, spec)
        # One container port with a range of host ports: the engine picks a free one.
        hosts = [host] if len(ports) == 1 else [str(port) for port in span]
        if len(hosts) != len(ports):
            raise ValueError(
                f"{spec!r} maps {len(span)} host ports to {len(ports)} container ports; make both ranges as long"
            )
    for outer, port in zip(hosts, ports):
        prefix = f"{address}:{outer}:" if address else f"{outer}:" if outer else ""
        yield f"{prefix}{port}/{protocol or 'tcp'}"


def _ports(value: list[str]) -> frozenset[str]:
    return frozenset(publication for spec in value for publication in _publications(str(spec)))


def _read_ports(container: dict[str, Any]) -> list[str]:
    found = []
    for port, bindings in (container["HostConfig"].get("PortBindings") or {}).items():
        for binding in bindings or [{}]:
            address, outer = binding.get("HostIp") or "", binding.get("HostPort") or ""
            address = f"[{address}]" if ":" in address else address
            found.append(f"{address}:{outer}:{port}")
    return found


def _write_ports(body: dict[str, Any], value: frozenset[str]) -> None:
    bindings = body["HostConfig"].setdefault("PortBindings", {})
    for publication in sorted(value):
        address, outer, port = ([""] * 2 + publication.rsplit(":", 2))[-3:]
        bindings.setdefault(port, []).append({"HostIp": address.strip("[]"), "HostPort": outer})
        body["Config"].setdefault("ExposedPorts", {})[port] = {}


def _read_hosts(container: dict[str, Any]) -> dict[str, str]:
    return dict(entry.partition(":")[::2] for entry in container["HostConfig"].get("ExtraHosts") or [])


def _write_hosts(body: dict[str, Any], value: dict[str, str]) -> None:
    body["HostConfig"]["ExtraHosts"] = [f"{name}:{address}" for name, address in sorted(value.items())]


OPTIONS: tuple[Option, ...] = (
    field("network_mode", "HostConfig", "NetworkMode", _network_mode, ""),
    Option("published_ports", _ports, _read_ports, _write_ports),
    field("dns", "HostConfig", "Dns", list, []),
    field("dns_search", "HostConfig", "DnsSearch", list, []),
    Option("extra_hosts", text_dict, _read_hosts, _write_hosts),
)
