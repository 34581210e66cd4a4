# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparison of a wanted network with what a Docker engine reports. Pure: nothing here talks to an engine."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import matches, text_dict

IPAM_KEYS = {"subnet": "Subnet", "gateway": "Gateway", "ip_range": "IPRange"}


def prepared(params: dict[str, Any]) -> dict[str, Any]:
    """The module's options, with addresses checked and texts made of labels and options. Raises ValueError."""
    result = dict(params)
    for entry in params["ipam"] or []:
        subnet = ipaddress.ip_network(entry["subnet"])
        if entry["gateway"] and ipaddress.ip_address(entry["gateway"]) not in subnet:
            raise ValueError(
                f"the gateway {entry['gateway']} is not in the subnet {subnet}; choose an address inside it"
            )
        span = entry["ip_range"] and ipaddress.ip_network(entry["ip_range"])
        if span and not (span.network_address in subnet and span.broadcast_address in subnet):
            raise ValueError(f"the ip_range {span} is not in the subnet {subnet}; choose a part of it")
    for name in ("labels", "options"):
        if params[name] is not None:
            result[name] = text_dict(params[name])
    return result


def differences(params: dict[str, Any], network: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The options that were given and that the network does not have: name to (found, wanted)."""
    found: dict[str, Any] = {
        "driver": network["Driver"],
        "internal": bool(network.get("Internal")),
        "labels": network.get("Labels") or {},
        "options": network.get("Options") or {},
    }
    # Engines add driver options of their own, such as com.docker.network.enable_ipv6.
    loose = {"options": "allow_more_present"}
    result = {
        name: (found[name], params[name])
        for name in found
        if params[name] is not None and not matches(params[name], found[name], loose.get(name, "strict"))
    }
    if params["ipam"] is not None:
        wanted, present = _ipam(params["ipam"]), _found_ipam(params["ipam"], network)
        if wanted != present:
            result["ipam"] = (present, wanted)
    return result


def _ipam(entries: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The entries in a fixed order, with the members that were given."""
    given = [{key: entry[key] for key in IPAM_KEYS if entry.get(key)} for entry in entries]
    return sorted(given, key=lambda entry: entry["subnet"])


def _found_ipam(wanted: list[dict[str, Any]], network: dict[str, Any]) -> list[dict[str, str]]:
    """The network's entries; of a wanted subnet, only the members that were given."""
    given = {entry["subnet"]: {key for key in IPAM_KEYS if entry.get(key)} for entry in wanted}
    entries = []
    for config in network.get("IPAM", {}).get("Config") or []:
        entry = {key: config[name] for key, name in IPAM_KEYS.items() if config.get(name)}
        keys = given.get(entry.get("subnet", ""), set(IPAM_KEYS))
        entries.append({key: value for key, value in entry.items() if key in keys})
    return sorted(entries, key=lambda entry: entry.get("subnet", ""))


def create_request(params: dict[str, Any], network: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments for APIClient.create_network from options as prepared; what is not given is as in the network."""
    request: dict[str, Any] = request_like(network or {"Driver": "bridge"})
    request.update(
        (name, params[name]) for name in ("driver", "internal", "labels", "options") if params[name] is not None
    )
    if params["ipam"]:
        config = [{IPAM_KEYS[key]: value for key, value in entry.items()} for entry in _ipam(params["ipam"])]
        request["ipam"] = {"Driver": "default", "Config": config}
    return request


def request_like(network: dict[str, Any]) -> dict[str, Any]:
    """The arguments for APIClient.create_network that make a network as the engine reports it."""
    return {
        "driver": network["Driver"],
        "internal": bool(network.get("Internal")),
        "labels": network.get("Labels") or {},
        "options": network.get("Options") or {},
        "ipam": network.get("IPAM"),
        "enable_ipv6": bool(network.get("EnableIPv6")),
    }


def overlapping(params: dict[str, Any], networks: list[dict[str, Any]]) -> str:
    """A sentence part that names networks whose subnets overlap with wanted ones; empty when there are none."""
    found = []
    for entry in params["ipam"] or []:
        wanted = ipaddress.ip_network(entry["subnet"])
        for network in networks:
            for config in network.get("IPAM", {}).get("Config") or []:
                subnet = ipaddress.ip_network(config["Subnet"])
                if network["Name"] != params["name"] and wanted.version == subnet.version and wanted.overlaps(subnet):
                    found.append(f"{wanted} overlaps with {subnet} of the network {network['Name']}")
    return ", ".join(found)


def endpoint_again(endpoint: dict[str, Any], container_id: str, subnets: list[str]) -> dict[str, Any]:
    """The arguments that connect a container as it was; a fixed address only where one of the subnets still has it."""
    again: dict[str, Any] = {}
    # Before API 1.44 the engine adds the beginning of the container's id.
    aliases = [alias for alias in endpoint.get("Aliases") or [] if alias != container_id[:12]]
    if aliases:
        again["aliases"] = aliases
    address = (endpoint.get("IPAMConfig") or {}).get("IPv4Address")
    if address and any(ipaddress.ip_address(address) in ipaddress.ip_network(subnet) for subnet in subnets):
        again["ipv4_address"] = address
    return again
