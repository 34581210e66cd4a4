# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What flannel keeps in etcd: the network's configuration and the leases of subnets.

Formats: https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md, pkg/subnet/config.go for the
checks, and pkg/lease/lease.go for the values of leases (the JSON that Go makes of the fields in their order).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from flagship.etcd import KeyValue

BACKENDS = ("vxlan", "host-gw")
# What flannel's vxlan backend takes where the configuration says nothing; the port is the Linux kernel's.
VNI = 1
PORT = 8472

# flannel picks at random among so many free subnets, which makes two nodes that start together rarely collide.
_CANDIDATES = 100
_SUBNET_KEY = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)-([0-9]+)(?:&[0-9a-f:]+-[0-9]+)?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


class NetworkError(Exception):
    """The configuration in etcd cannot be used, or no subnet is free; the text is one sentence for the operator."""


@dataclass(frozen=True)
class NetworkConfig:
    """The checked configuration; subnets go from `first` to `last`, both included, each `length` bits long."""

    network: IPv4Network
    length: int
    first: IPv4Address
    last: IPv4Address
    backend: str
    vni: int = VNI
    port: int = PORT
    direct_routing: bool = False

    @property
    def device(self) -> str:
        """The name of the vxlan device."""
        return f"flannel.{self.vni}"

    def holds(self, subnet: IPv4Network) -> bool:
        """Whether the subnet may be leased in this network."""
        return subnet.prefixlen == self.length and self.first <= subnet.network_address <= self.last

    def subnets(self) -> Iterator[IPv4Network]:
        """All subnets that may be leased, in their order."""
        for start in range(int(self.first), int(self.last) + 1, 1 << (32 - self.length)):
            yield IPv4Network((start, self.length))


@dataclass(frozen=True)
class Lease:
    """A subnet as its key says; what the value does not tell, or not in flannel's format, is None or empty."""

    subnet: IPv4Network
    public_ip: IPv4Address | None = None
    backend: str = ""
    vni: int = 0
    vtep_mac: str = ""


def config_key(prefix: str) -> str:
    """The key of the configuration."""
    return f"{prefix}/config"


def subnet_key(prefix: str, subnet: IPv4Network) -> str:
    """The key of the lease of a subnet."""
    return f"{prefix}/subnets/{subnet.network_address}-{subnet.prefixlen}"


def parse_config(text: str) -> NetworkConfig:
    """The configuration from the JSON in etcd; raises NetworkError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NetworkError(f"it is not JSON: {error}") from None
    fields = _fields(document, "it")
    if fields.get("enableipv4") is False or fields.get("enableipv6") is True:
        raise NetworkError("EnableIPv4 and EnableIPv6 ask for IPv6: this overlay has IPv4 only, or run backend flannel")
    network = _network(fields.get("network"))
    length = _length(fields.get("subnetlen") or 0, network)
    size = 1 << (32 - length)
    # The first subnet is left out: its address .0 would be that of the whole network.
    first = _edge("SubnetMin", fields.get("subnetmin"), network.network_address + size, network, length)
    last = _edge("SubnetMax", fields.get("subnetmax"), network.broadcast_address + 1 - size, network, length)
    if first > last:
        raise NetworkError(f"SubnetMin {first} is beyond SubnetMax {last}: no subnet is left")
    return NetworkConfig(network, length, first, last, **_backend(fields.get("backend")))


def parse_lease(item: KeyValue) -> Lease | None:
    """The lease that a key below subnets/ stands for; None when its name is none of a subnet.

    A value that makes no sense still holds its subnet.
    """
    match = _SUBNET_KEY.fullmatch(item.key.rpartition("/")[2])
    if not match:
        return None
    try:
        subnet = IPv4Network((match[1], int(match[2])))
    except ValueError:
        return None
    try:
        fields = _fields(json.loads(item.value), "the lease")
        data = fields.get("backenddata")
        backend_data = _fields(data, "BackendData") if data else {}
        mac = str(backend_data.get("vtepmac") or "").lower()
        return Lease(
            subnet,
            IPv4Address(fields.get("publicip")),
            str(fields.get("backendtype") or "udp"),
            int(backend_data.get("vni") or 0),
            mac if _MAC.fullmatch(mac) else "",
        )
    except (ValueError, TypeError, NetworkError):
        return Lease(subnet)


def lease_value(lease: Lease) -> bytes:
    """The value of our own lease, byte for byte as flannel writes it."""
    fields: dict[str, Any] = {"PublicIP": str(lease.public_ip), "PublicIPv6": None, "BackendType": lease.backend}
    if lease.backend == "vxlan":
        fields["BackendData"] = {"VNI": lease.vni, "VtepMAC": lease.vtep_mac}
    return json.dumps(fields, separators=(",", ":")).encode()


def own_subnet(
    config: NetworkConfig, leases: Iterable[Lease], public_ip: IPv4Address, previous: IPv4Network | None
) -> IPv4Network | None:
    """The subnet that is ours already: leased to our public address and fit for the configuration."""
    mine = [lease.subnet for lease in leases if lease.public_ip == public_ip and config.holds(lease.subnet)]
    return previous if previous in mine else min(mine, default=None)


def choose_subnet(
    config: NetworkConfig, taken: Collection[IPv4Network], previous: IPv4Network | None, chance: random.Random
) -> IPv4Network:
    """The subnet to lease when none is ours: the one we had before if it is free, else a free one at random.

    Raises NetworkError when all are taken.
    """
    if previous and config.holds(previous) and not any(previous.overlaps(other) for other in taken):
        return previous
    larger = [other for other in taken if other.prefixlen < config.length]
    occupied = {other.supernet(new_prefix=config.length) for other in taken if other.prefixlen >= config.length}
    free: list[IPv4Network] = []
    for subnet in config.subnets():
        if subnet not in occupied and not any(subnet.overlaps(other) for other in larger):
            free.append(subnet)
        if len(free) == _CANDIDATES:
            break
    if not free:
        raise NetworkError(
            f"no subnet of {config.network} is free, {len(taken)} are leased: remove keys of machines that are gone "
            "from subnets/, wait until their leases end, or take a larger network"
        )
    return chance.choice(free)


def _fields(document: Any, name: str) -> dict[str, Any]:
    # Go takes the names of fields in any case: https://pkg.go.dev/encoding/json#Unmarshal
    if not isinstance(document, dict):
        raise NetworkError(f"{name} is not a JSON object")
    return {key.lower(): value for key, value in document.items()}


def _network(text: Any) -> IPv4Network:
    try:
        network = IPv4Network(text, strict=False)
    except (ValueError, TypeError):
        raise NetworkError(f"Network is {text!r}: write an IPv4 network such as 10.1.0.0/16") from None
    if network.prefixlen > 28 or not isinstance(text, str):
        raise NetworkError(f"Network is {text!r}: it must be /28 or larger to hold four subnets")
    return network


def _length(value: Any, network: IPv4Network) -> int:
    if not isinstance(value, int):
        raise NetworkError(f"SubnetLen is {value!r}: write a number such as 24")
    length = value or (24 if network.prefixlen <= 22 else network.prefixlen + 2)
    if not network.prefixlen + 2 <= length <= 30:
        raise NetworkError(
            f"SubnetLen is {length}: it must be from {network.prefixlen + 2}, so that {network} holds four, to 30"
        )
    return length


def _edge(name: str, text: Any, default: IPv4Address, network: IPv4Network, length: int) -> IPv4Address:
    try:
        address = IPv4Address(text) if text else default
    except ValueError:
        raise NetworkError(f"{name} is {text!r}: write an IPv4 address") from None
    if address not in network:
        raise NetworkError(f"{name} is {address}: that is outside {network}")
    if int(address) % (1 << (32 - length)):
        raise NetworkError(f"{name} is {address}: that is not where a /{length} begins")
    return address


def _backend(document: Any) -> dict[str, Any]:
    fields = _fields(document or {}, "Backend")
    # flannel takes a missing Backend for udp, whatever its documentation says, so it has to be written.
    backend = fields.get("type") or "udp"
    if backend not in BACKENDS:
        raise NetworkError(f"Backend.Type is {backend!r}: this daemon has {' and '.join(BACKENDS)}, flanneld the rest")
    if backend == "host-gw":
        return {"backend": backend}
    unsupported = [name for name in ("GBP", "Learning", "MTU") if fields.get(name.lower())]
    if unsupported:
        raise NetworkError(f"Backend.{unsupported[0]} is set: this daemon does not have it, flanneld has")
    vni, port = fields.get("vni", VNI), fields.get("port") or PORT
    if not isinstance(vni, int) or not 0 < vni < 1 << 24:
        raise NetworkError(f"Backend.VNI is {vni!r}: write a number from 1 to 16777215")
    if not isinstance(port, int) or not 0 < port < 1 << 16:
        raise NetworkError(f"Backend.Port is {port!r}: write a number from 1 to 65535")
    return {"backend": backend, "vni": vni, "port": port, "direct_routing": fields.get("directrouting") is True}
