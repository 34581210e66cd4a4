# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connections between a container and its networks. Pure: nothing here talks to an engine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import matches

# The options of a connection, as the modules and the SDK call them: what the engine calls an address.
ADDRESSES = {"ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address"}


def check_networks(params: dict[str, Any]) -> None:
    """Raise ValueError for networks that cannot be."""
    mode = params["network_mode"] or ""
    if params["networks"] and not can_be_connected(mode):
        raise ValueError(f"a container with network_mode {mode} cannot be in networks; leave one of the two out")
    names = [network["name"] for network in params["networks"] or []]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"networks names {', '.join(sorted(twice))} twice; keep one entry for each network")
    for network in params["networks"] or []:
        for key, version in (("ipv4_address", 4), ("ipv6_address", 6)):
            text = network.get(key)
            if text and _version(text) != version:
                raise ValueError(f"the {key} {text!r} in the network {network['name']} is not an IPv{version} address")


def _version(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def can_be_connected(mode: str) -> bool:
    """Whether a container with this network_mode can be in networks."""
    return mode not in ("host", "none") and not mode.startswith("container:")


def network_changes(
    params: dict[str, Any], container: dict[str, Any], comparison: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The connections to make and to break while the container exists, as kind and detail of an action."""
    if params["networks"] is None or comparison == "ignore":
        return
    found = container["NetworkSettings"]["Networks"] or {}
    names = {network["name"] for network in params["networks"]}
    own = params["network_mode"] and _mode_network(params["network_mode"])
    if comparison == "strict":
        for name in sorted(set(found) - names - {own}):
            yield "disconnect", {"network": name}
    for network in params["networks"]:
        endpoint = found.get(network["name"])
        if endpoint is not None:
            if _connected_as_wanted(network, endpoint, container, comparison):
                continue
            yield "disconnect", {"network": network["name"]}
        yield "connect", {"network": network["name"], **endpoint_options(network)}


def _mode_network(mode: str) -> str:
    return "bridge" if mode == "default" else mode


def endpoint_options(network: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection that were given, by the names that the SDK has for them."""
    return {key: network[key] for key in (*ADDRESSES, "aliases") if network.get(key) is not None}


def _connected_as_wanted(
    network: dict[str, Any], endpoint: dict[str, Any], container: dict[str, Any], comparison: str
) -> bool:
    fixed = endpoint.get("IPAMConfig") or {}
    for option, key in ADDRESSES.items():
        wanted = network.get(option)
        if wanted is not None and _address(wanted) != _address(fixed.get(key) or ""):
            return False
    if network.get("aliases") is None:
        return True
    # Before API 1.44 the engine adds the beginning of the container's id.
    aliases = frozenset(endpoint.get("Aliases") or []) - {container["Id"][:12], container["Name"].lstrip("/")}
    return bool(matches(frozenset(network["aliases"]) - {container["Name"].lstrip("/")}, aliases, comparison))


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text)) if text else ""


def endpoint_request(network: dict[str, Any]) -> dict[str, Any]:
    """The connection as a create request has it."""
    endpoint: dict[str, Any] = {}
    fixed = {key: network[option] for option, key in ADDRESSES.items() if network.get(option)}
    if fixed:
        endpoint["IPAMConfig"] = fixed
    if network.get("aliases"):
        endpoint["Aliases"] = network["aliases"]
    return endpoint


def endpoint_shown(endpoint: dict[str, Any]) -> dict[str, Any]:
    """A connection that the engine reports, in the form that a diff prints."""
    fixed = endpoint.get("IPAMConfig") or {}
    shown = {option: fixed.get(key) for option, key in ADDRESSES.items()}
    shown["aliases"] = endpoint.get("Aliases")
    return {key: value for key, value in shown.items() if value}


def endpoint_again(endpoint: dict[str, Any], container_id: str, subnets: list[str]) -> dict[str, Any]:
    """The arguments that connect a container as it was; a fixed address only where one of the subnets still has it."""
    again: dict[str, Any] = {}
    # Before API 1.44 the engine adds the beginning of the container's id.
    aliases = [alias for alias in endpoint.get("Aliases") or [] if alias != container_id[:12]]
    if aliases:
        again["aliases"] = aliases
    for option, key in ADDRESSES.items():
        address = (endpoint.get("IPAMConfig") or {}).get(key)
        if address and any(ipaddress.ip_address(address) in ipaddress.ip_network(subnet) for subnet in subnets):
            again[option] = address
    return again
