# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which service keys the containers of a node make: registrator's names and keys. Pure, no engine is asked here.

Names, keys and the variables SERVICE_... are those of
https://gliderlabs.github.io/registrator/latest/user/services/; the answers of the engine those of
https://docs.docker.com/reference/api/engine/version/v1.44/#tag/Container/operation/ContainerInspect.
"""

from __future__ import annotations

import ipaddress
import re
import signal
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flagship.services import format_address, service_key

_PORT = re.compile(r"([0-9]{1,5})/(tcp|udp|sctp)")
_PORT_VARIABLE = re.compile(r"SERVICE_([0-9]+)_(.+)", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """What keys need of a node: its name, its address, and whether containers are reached at addresses of their own."""

    hostname: str
    address: str
    internal: bool
    prefix: str = "/services"


@dataclass(frozen=True)
class Container:
    """What matters of a container here; `pid` is that of its first process on the node, 0 when it does not run.

    `variables` are those of the environment and labels that begin with SERVICE_. `exposed` holds ports such as 80/tcp,
    `published` for some of them the host's addresses and ports, `addresses` those in its networks, the best one first.
    """

    id: str
    name: str
    image: str
    started: str
    pid: int
    up: bool
    stop_signal: str
    network_mode: str
    variables: Mapping[str, str]
    exposed: tuple[str, ...]
    published: Mapping[str, tuple[tuple[str, int], ...]]
    addresses: tuple[str, ...]


def parse_container(inspection: Mapping[str, Any]) -> Container:
    """The container that the engine's answer to an inspection describes."""
    state, config = inspection["State"], inspection["Config"]
    mode = inspection.get("HostConfig", {}).get("NetworkMode") or "default"
    network = inspection.get("NetworkSettings") or {}
    ports: Mapping[str, Any] = network.get("Ports") or {}
    return Container(
        id=inspection["Id"],
        name=inspection["Name"].lstrip("/"),
        image=config.get("Image") or "",
        started=state.get("StartedAt") or "",
        pid=int(state.get("Pid") or 0),
        up=_is_up(state),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
        network_mode=mode,
        variables=_variables(config),
        exposed=tuple(sorted(filter(_PORT.fullmatch, {*(config.get("ExposedPorts") or {}), *ports}), key=_split)),
        published={
            port: tuple((binding.get("HostIp") or "", int(binding["HostPort"])) for binding in bindings)
            for port, bindings in ports.items()
            if bindings and _PORT.fullmatch(port)
        },
        addresses=_addresses(network.get("Networks") or {}, mode),
    )


def wanted_keys(
    containers: Iterable[Container], node: Node, leaving: Collection[str] = ()
) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """Each key with the id of its container and its value, and a sentence for each port that cannot have one.

    Containers whose ids are in `leaving` have none.
    """
    keys: dict[str, tuple[str, bytes]] = {}
    complaints = []
    everyone = sorted(containers, key=lambda container: container.name)
    for container in everyone:
        if not container.up or container.id in leaving:
            continue
        # A container in another one's network has that one's addresses and published ports.
        owner = _network_owner(container, everyone)
        ports = _registrable(container, owner, node)
        for port in ports:
            number, protocol = _split(port)
            settings = _settings(container, number)
            if settings.get("IGNORE"):
                continue
            try:
                key = _key(container, settings, number, protocol, len(ports) > 1, node)
                value = _value(container, owner, port, node)
            except ValueError as error:
                complaints.append(f"Port {port} of container {container.name} is left out: {error}.")
                continue
            if value is None:
                continue
            if key in keys:
                complaints.append(f"Port {port} of container {container.name} is left out: {key} is another one's.")
                continue
            keys[key] = (container.id, value.encode())
    return keys, complaints


def signal_number(name: str) -> int:
    """The number of a signal as it is written for a container: 15, TERM, SIGTERM or SIGRTMIN+3; 0 when it is none."""
    name = name.upper().removeprefix("SIG")
    if name.isdigit():
        return int(name)
    # For the engine SIGRTMIN is 34 on every machine.
    match = re.fullmatch(r"RTMIN(?:\+([0-9]+))?", name)
    return 34 + int(match[1] or 0) if match else int(getattr(signal, f"SIG{name}", 0))


def _is_up(state: Mapping[str, Any]) -> bool:
    # Without a health check there is no "Health"; with one it is starting, healthy or unhealthy.
    health = (state.get("Health") or {}).get("Status") or "none"
    down = state.get("Paused") or state.get("Restarting") or state.get("Dead")
    return bool(state.get("Running")) and not down and health in ("none", "healthy")


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    pairs = [entry.partition("=")[::2] for entry in config.get("Env") or []]
    pairs += (config.get("Labels") or {}).items()
    return {name: value for name, value in pairs if name.startswith("SERVICE_")}


def _addresses(networks: Mapping[str, Any], mode: str) -> tuple[str, ...]:
    own = "bridge" if mode == "default" else mode
    found = []
    for name in sorted(networks, key=lambda name: (name != own, name)):
        endpoint = networks[name] or {}
        found += [endpoint.get("IPAddress") or "", endpoint.get("GlobalIPv6Address") or ""]
    return tuple(address for address in found if address)


def _split(port: str) -> tuple[int, str]:
    number, _slash, protocol = port.partition("/")
    return int(number), protocol


def _settings(container: Container, number: int) -> dict[str, str]:
    """SERVICE_NAME as NAME, and so on; what is said for the port counts more, and NAME_OF_PORT is a name so said."""
    general, own = {}, {}
    for variable, value in container.variables.items():
        match = _PORT_VARIABLE.fullmatch(variable)
        if match is None:
            general[variable.removeprefix("SERVICE_")] = value
        elif int(match[1]) == number:
            own[match[2]] = value
    if own.get("NAME"):
        own["NAME_OF_PORT"] = own["NAME"]
    return {**general, **own}


def _network_owner(container: Container, everyone: Iterable[Container]) -> Container:
    if not container.network_mode.startswith("container:"):
        return container
    target = container.network_mode.partition(":")[2]
    return next((other for other in everyone if target and target in (other.id, other.name)), container)


def _registrable(container: Container, owner: Container, node: Node) -> list[str]:
    if node.internal or container.network_mode == "host":
        return list(container.exposed)
    return [port for port in container.exposed if port in owner.published]


def _key(
    container: Container, settings: Mapping[str, str], number: int, protocol: str, several: bool, node: Node
) -> str:
    name = settings.get("NAME") or re.split("[:@]", container.image.rpartition("/")[2])[0]
    if several and "NAME_OF_PORT" not in settings:
        name += f"-{number}"
    own_id = f"{node.hostname}:{container.name}:{number}" + (f":{protocol}" if protocol != "tcp" else "")
    return service_key(node.prefix, name, settings.get("ID") or own_id)


def _value(container: Container, owner: Container, port: str, node: Node) -> str | None:
    number, _protocol = _split(port)
    if owner.network_mode == "host":
        return format_address(node.address, number)
    if node.internal:
        if owner.network_mode == "none":
            return None
        if not owner.addresses:
            raise ValueError("it has no address in any network")
        return format_address(owner.addresses[0], number)
    # Of several bindings the first by address, IPv4 before IPv6; loopback is of no use to anybody else.
    bindings = sorted((":" in host, host, number) for host, number in owner.published[port] if not _is_loopback(host))
    if not bindings:
        return None
    _v6, host, number = bindings[0]
    return format_address(node.address if _is_any(host) else host, number)


def _is_any(host: str) -> bool:
    return not host or ipaddress.ip_address(host).is_unspecified


def _is_loopback(host: str) -> bool:
    return bool(host) and ipaddress.ip_address(host).is_loopback
