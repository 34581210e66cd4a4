# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparison of a wanted network with what a Docker engine reports. Pure: nothing here talks to an engine."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import matches, text_dict

IPAM_KEYS = {"subnet": "Subnet", "gateway": "Gateway", "ip_range": "IPRange", "aux_addresses": "AuxiliaryAddresses"}

# The options that a network keeps as long as it exists, besides ipam: where the engine reports them, and what it
# reports when nothing was asked for.
FIXED: dict[str, tuple[str, Any]] = {
    "driver": ("Driver", ""),
    "internal": ("Internal", False),
    "attachable": ("Attachable", False),
    "enable_ipv6": ("EnableIPv6", False),
    "labels": ("Labels", {}),
    "options": ("Options", {}),
}
# Engines add driver options of their own, such as com.docker.network.enable_ipv6.
LOOSE = ("options",)


def prepared(params: dict[str, Any]) -> dict[str, Any]:
    """The module's options, with addresses in one form and texts made of labels and options. Raises ValueError."""
    result = dict(params)
    for name in ("labels", "options", "ipam_options"):
        if params[name] is not None:
            result[name] = text_dict(params[name])
    if params["ipam"] is not None:
        result["ipam"] = [_pool(entry) for entry in params["ipam"]]
    twice = {name for name in params["connected"] or [] if params["connected"].count(name) > 1}
    if twice:
        raise ValueError(f"connected names {', '.join(sorted(twice))} twice; keep one of each")
    if params["appends"] and params["connected"] is None:
        raise ValueError("appends only means something with connected; set that or leave it out")
    return result


def _pool(entry: dict[str, Any]) -> dict[str, Any]:
    subnet = ipaddress.ip_network(entry["subnet"])
    pool: dict[str, Any] = {"subnet": str(subnet)}
    if entry.get("gateway"):
        pool["gateway"] = _inside(subnet, "gateway", entry["gateway"])
    if entry.get("ip_range"):
        span = ipaddress.ip_network(entry["ip_range"])
        if not (span.network_address in subnet and span.broadcast_address in subnet):
            raise ValueError(f"the ip_range {span} is not in the subnet {subnet}; choose a part of it")
        pool["ip_range"] = str(span)
    if entry.get("aux_addresses"):
        pool["aux_addresses"] = {
            str(name): _inside(subnet, f"aux_addresses entry {name}", address)
            for name, address in sorted(entry["aux_addresses"].items())
        }
    return pool


def _inside(subnet: Any, name: str, text: Any) -> str:
    address = ipaddress.ip_address(str(text))
    if address not in subnet:
        raise ValueError(f"the {name} {address} is not in the subnet {subnet}; choose an address inside it")
    return str(address)


def differences(params: dict[str, Any], network: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The options that were given and that the network does not have: name to (found, wanted)."""
    ipam = network.get("IPAM") or {}
    found: dict[str, Any] = {name: network.get(key) or empty for name, (key, empty) in FIXED.items()}
    found["ipam_driver"], found["ipam_options"] = ipam.get("Driver") or "default", ipam.get("Options") or {}
    result = {
        name: (found[name], params[name])
        for name in found
        if params[name] is not None
        and not matches(params[name], found[name], "allow_more_present" if name in LOOSE else "strict")
    }
    if params["ipam"] is not None:
        wanted, present = _ipam(params["ipam"]), _found_ipam(params["ipam"], network)
        if wanted != present:
            result["ipam"] = (present, wanted)
    return result


def _ipam(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries in a fixed order."""
    return sorted(entries, key=lambda entry: str(entry.get("subnet", "")))


def _found_ipam(wanted: list[dict[str, Any]], network: dict[str, Any]) -> list[dict[str, Any]]:
    """The network's entries; of a wanted subnet, only the members that were given."""
    given = {entry["subnet"]: entry.keys() for entry in wanted}
    entries = []
    for config in (network.get("IPAM") or {}).get("Config") or []:
        entry = {key: config[name] for key, name in IPAM_KEYS.items() if config.get(name)}
        if "gateway" in entry:
            # Some drivers report it with the length of the prefix.
            entry["gateway"] = entry["gateway"].partition("/")[0]
        keys = given.get(entry.get("subnet", ""), IPAM_KEYS.keys())
        entries.append({key: value for key, value in entry.items() if key in keys})
    return _ipam(entries)


def membership(params: dict[str, Any], members: list[str]) -> tuple[list[str], list[str]]:
    """The containers to connect and those to disconnect, from the names of those that are in the network."""
    wanted = params["connected"]
    if wanted is None:
        return [], []
    gone = [] if params["appends"] else [name for name in members if name not in wanted]
    return [name for name in wanted if name not in members], gone


def create_request(params: dict[str, Any], network: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments for APIClient.create_network from options as prepared; what is not given is as in the network."""
    request: dict[str, Any] = request_like(network or {"Driver": "bridge"})
    request.update((name, params[name]) for name in FIXED if params[name] is not None)
    ipam: dict[str, Any] = {}
    if params["ipam"]:
        ipam["Config"] = [{IPAM_KEYS[key]: value for key, value in pool.items()} for pool in _ipam(params["ipam"])]
    for name, key in (("ipam_driver", "Driver"), ("ipam_options", "Options")):
        if params[name] is not None:
            ipam[key] = params[name]
    if ipam:
        request["ipam"] = {"Driver": "default", **(request["ipam"] or {}), **ipam}
    return request


def request_like(network: dict[str, Any]) -> dict[str, Any]:
    """The arguments for APIClient.create_network that make a network as the engine reports it."""
    request = {name: network.get(key) or empty for name, (key, empty) in FIXED.items()}
    return {**request, "ipam": network.get("IPAM")}


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
