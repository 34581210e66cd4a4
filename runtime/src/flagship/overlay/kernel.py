# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel has to hold so that containers reach those of other nodes: wanted state, found state, and the steps.

The vxlan entries are those of flannel (its pkg/backend/vxlan): per peer a permanent neighbour <peer's .0> with the MAC
of its device, a forwarding entry MAC -> public address, and a route <subnet> via <peer's .0>.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Literal, Union

from flagship.overlay.network import Lease, NetworkConfig

# Marks our routes and neighbours, so that those of nodes that vanished meanwhile are found. It is a number that
# rt_protos(5) gives to nobody.
PROTOCOL = 70
# Outer Ethernet, IPv4, UDP and VXLAN headers, in bytes.
VXLAN_OVERHEAD = 50
_DEVICE_PREFIX = "flannel."


@dataclass(frozen=True)
class Uplink:
    """The interface with this node's public address, which it has with the prefix length of its link."""

    name: str
    mtu: int
    address: IPv4Interface


@dataclass(frozen=True)
class Device:
    """A vxlan device; `plain` = it neither learns addresses nor has extensions."""

    name: str
    vni: int
    local: IPv4Address | None
    port: int
    mac: str
    mtu: int
    up: bool = True
    plain: bool = True


@dataclass(frozen=True)
class Address:
    device: str
    address: IPv4Interface


@dataclass(frozen=True)
class Neighbour:
    device: str
    address: IPv4Address
    mac: str


@dataclass(frozen=True)
class Forwarding:
    """Frames for `mac` go to the machine `to`."""

    device: str
    mac: str
    to: IPv4Address


@dataclass(frozen=True)
class Route:
    subnet: IPv4Network
    via: IPv4Address | None
    device: str
    protocol: int = PROTOCOL


InterfaceAddress = tuple[str, int, IPv4Interface]
"""Name and MTU of an interface, and one address of it."""

Item = Union[Device, Address, Neighbour, Forwarding, Route]


@dataclass(frozen=True)
class Step:
    """One change; `set` creates an item or replaces the one that is in its place."""

    action: Literal["set", "delete", "adjust"]
    item: Item


@dataclass(frozen=True)
class Kernel:
    """What is there: vxlan devices with names like flannel's, all that is on them, and the routes of the main table."""

    devices: tuple[Device, ...] = ()
    addresses: frozenset[Address] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwardings: frozenset[Forwarding] = frozenset()
    routes: frozenset[Route] = frozenset()

    def ours(self, devices: Iterable[str]) -> set[Item]:
        """All that hangs on the devices, and the marked routes."""
        names = set(devices)
        found: set[Item] = {route for route in self.routes if route.protocol == PROTOCOL or route.device in names}
        on_devices: list[Address | Neighbour | Forwarding] = [*self.addresses, *self.neighbours, *self.forwardings]
        found.update(item for item in on_devices if item.device in names)
        return found


@dataclass(frozen=True)
class Wanted:
    device: Device | None
    items: frozenset[Item]
    unreachable: tuple[Lease, ...] = ()
    """Peers that host-gw cannot reach, because they are on another link."""


def vtep_mac(public_ip: IPv4Address, vni: int) -> str:
    """The MAC of a device that we make: from the address that identifies the node, so it survives a reboot.

    An address that is given at creation is also left alone by systemd's MACAddressPolicy (systemd.link(5)).
    """
    digest = hashlib.sha256(f"flagship overlay {public_ip} {vni}".encode()).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest))


def own_device(config: NetworkConfig, uplink: Uplink, found: Kernel) -> Device | None:
    """The vxlan device that this node should have; one that is there and fits keeps its MAC."""
    if config.backend != "vxlan":
        return None
    local = uplink.address.ip
    mac = vtep_mac(local, config.vni)
    wanted = Device(config.device, config.vni, local, config.port, mac, uplink.mtu - VXLAN_OVERHEAD)
    there = next((device for device in found.devices if _same_device(device, wanted)), None)
    return replace(wanted, mac=there.mac) if there else wanted


def wanted_state(
    config: NetworkConfig, uplink: Uplink, device: Device | None, subnet: IPv4Network, peers: Iterable[Lease]
) -> Wanted:
    """What the kernel shall hold for our subnet and the peers; as in flannel not those with another backend."""
    items: set[Item] = set()
    unreachable = []
    if device:
        items.add(Address(device.name, IPv4Interface((subnet.network_address, 32))))
    for peer in peers:
        if peer.backend != config.backend or peer.public_ip is None:
            continue
        # Whoever may write to etcd shall not take other addresses away from us.
        if not peer.subnet.subnet_of(config.network) or peer.subnet.overlaps(subnet):
            continue
        adjacent = peer.public_ip in uplink.address.network
        if device is None or (config.direct_routing and adjacent):
            if adjacent:
                items.add(Route(peer.subnet, peer.public_ip, uplink.name))
            else:
                unreachable.append(peer)
        elif peer.vtep_mac and peer.vni == config.vni:
            gateway = peer.subnet.network_address
            items.add(Neighbour(device.name, gateway, peer.vtep_mac))
            items.add(Forwarding(device.name, peer.vtep_mac, peer.public_ip))
            items.add(Route(peer.subnet, gateway, device.name))
    return Wanted(device, frozenset(items), tuple(unreachable))


def plan(wanted: Wanted, found: Kernel, collect: bool) -> list[Step]:
    """The steps from `found` to `wanted`; without `collect` nothing is removed that is not in the way."""
    steps: list[Step] = []
    device_name = wanted.device.name if wanted.device else ""
    blocking = [d for d in found.devices if d.name == device_name and not _same_device(d, wanted.device)]
    leftover = [d for d in found.devices if d.name != device_name and _made_here(d)] if collect else []
    lost = {device.name for device in (*blocking, *leftover)}
    steps += [Step("delete", device) for device in blocking]
    present = {item for item in found.ours([device_name]) if getattr(item, "device", "") not in lost}
    if wanted.device:
        there = next((d for d in found.devices if d.name == wanted.device.name and d.name not in lost), None)
        if there is None:
            steps.append(Step("set", wanted.device))
        elif there != wanted.device:
            steps.append(Step("adjust", wanted.device))
    replaced = {_place(item) for item in wanted.items}
    stale = [item for item in present - wanted.items if _place(item) not in replaced]
    # An address that is ours no more is in the way of the route to the node that has it now.
    steps += [Step("delete", item) for item in stale if isinstance(item, Address)]
    # The route comes last, so that no packet takes it before its neighbour is known, and goes first.
    order = (Address, Forwarding, Neighbour, Route)
    steps += [Step("set", item) for item in _sorted(wanted.items - present, order)]
    if collect:
        rest = [item for item in stale if not isinstance(item, Address)]
        steps += [Step("delete", item) for item in _sorted(rest, order[::-1])]
    return steps + [Step("delete", device) for device in leftover]


def commands(step: Step) -> list[list[str]]:
    """The programs to run, as arguments, for one step."""
    item, verb = step.item, "del" if step.action == "delete" else "replace"
    tag = ["protocol", str(PROTOCOL)]
    if isinstance(item, Device):
        return _device_commands(step.action, item)
    if isinstance(item, Address):
        return [["ip", "address", verb, str(item.address), "dev", item.device]]
    if isinstance(item, Neighbour):
        entry = ["ip", "neighbour", verb, str(item.address), "dev", item.device]
        return [entry if verb == "del" else [*entry, "lladdr", item.mac, "nud", "permanent", *tag]]
    if isinstance(item, Forwarding):
        kind = [] if verb == "del" else ["permanent"]
        return [["bridge", "fdb", verb, item.mac, "dev", item.device, "dst", str(item.to), "self", *kind]]
    hop = ["via", str(item.via)] if item.via else []
    onlink = ["onlink"] if verb == "replace" and item.via == item.subnet.network_address else []
    protocol = ["protocol", str(item.protocol)]
    return [["ip", "route", verb, str(item.subnet), *hop, "dev", item.device, *onlink, *protocol]]


def parse_devices(document: Sequence[Mapping[str, Any]]) -> tuple[Device, ...]:
    """The vxlan devices from `ip -json -details address show`."""
    devices = []
    for link in document:
        data = link.get("linkinfo", {}).get("info_data", {})
        if not str(link.get("ifname", "")).startswith(_DEVICE_PREFIX) or "id" not in data:
            continue
        devices.append(
            Device(
                name=link["ifname"],
                vni=int(data["id"]),
                local=IPv4Address(data["local"]) if data.get("local") else None,
                port=int(data.get("port", 0)),
                mac=str(link.get("address", "")),
                mtu=int(link.get("mtu", 0)),
                up="UP" in link.get("flags", ()),
                plain=not (data.get("learning") or data.get("gbp") or data.get("group")),
            )
        )
    return tuple(devices)


def parse_addresses(document: Sequence[Mapping[str, Any]]) -> list[InterfaceAddress]:
    """Name, MTU and address of every IPv4 address from `ip -json address show`."""
    return [
        (link["ifname"], int(link["mtu"]), IPv4Interface((entry["local"], entry["prefixlen"])))
        for link in document
        for entry in link.get("addr_info", ())
        if entry.get("family") == "inet"
    ]


def find_uplink(addresses: Iterable[InterfaceAddress], public_ip: IPv4Address) -> Uplink | None:
    """The interface that has the public address."""
    return next((Uplink(*entry) for entry in addresses if entry[2].ip == public_ip), None)


def parse_neighbours(document: Sequence[Mapping[str, Any]], device: str) -> set[Neighbour]:
    """The permanent neighbours from `ip -json -4 neighbour show dev DEVICE`."""
    return {
        Neighbour(device, IPv4Address(entry["dst"]), entry["lladdr"])
        for entry in document
        if "PERMANENT" in entry.get("state", ()) and "lladdr" in entry
    }


def parse_forwardings(document: Sequence[Mapping[str, Any]], device: str) -> set[Forwarding]:
    """The forwarding entries from `bridge -json fdb show dev DEVICE`."""
    return {
        Forwarding(device, entry["mac"], IPv4Address(entry["dst"]))
        for entry in document
        if "self" in entry.get("flags", ()) and ":" not in entry.get("dst", ":")
    }


def parse_routes(document: Sequence[Mapping[str, Any]]) -> set[Route]:
    """The routes from `ip -json -N -4 route show table main`."""
    return {
        Route(
            IPv4Network(entry["dst"]),
            IPv4Address(entry["gateway"]) if "gateway" in entry else None,
            entry["dev"],
            int(entry.get("protocol", 3)),  # boot, which ip leaves out
        )
        for entry in document
        if entry["dst"] != "default" and "dev" in entry and entry.get("type", "1") in ("1", "unicast")
    }


def _same_device(one: Device, other: Device | None) -> bool:
    """Whether they differ in nothing but what can be changed while packets flow."""
    return other is not None and replace(one, mac=other.mac, mtu=other.mtu, up=other.up) == other


def _made_here(device: Device) -> bool:
    """Whether it is one of ours, by its MAC; another flannel network on this machine has devices, too."""
    return device.local is not None and device.mac == vtep_mac(device.local, device.vni)


def _place(item: Item) -> object:
    """What can be there once only, so that setting one replaces the other."""
    if isinstance(item, Neighbour):
        return (Neighbour, item.device, item.address)
    if isinstance(item, Forwarding):
        return (Forwarding, item.device, item.mac)
    if isinstance(item, Route):
        return (Route, item.subnet)
    return item


def _sorted(items: Iterable[Item], order: Sequence[type]) -> list[Item]:
    return sorted(items, key=lambda item: (order.index(type(item)), str(item)))


def _device_commands(action: str, device: Device) -> list[list[str]]:
    if action == "delete":
        return [["ip", "link", "delete", "dev", device.name]]
    kind = f"type vxlan id {device.vni} local {device.local} dstport {device.port} nolearning".split()
    link = ["dev", device.name, "mtu", str(device.mtu)]
    # It is not bound to the uplink, for the kernel would remove it together with that one.
    create = [["ip", "link", "add", device.name, "address", device.mac, "mtu", str(device.mtu), *kind]]
    return [*(create if action == "set" else []), ["ip", "link", "set", *link, "up"]]
