# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""flannel's formats in etcd, and the choice of a subnet."""

from __future__ import annotations

import json
import random
from ipaddress import IPv4Address, IPv4Network

import pytest
from flagship.etcd import KeyValue
from flagship.overlay.network import (
    Lease,
    NetworkConfig,
    NetworkError,
    choose_subnet,
    config_key,
    lease_value,
    own_subnet,
    parse_config,
    parse_lease,
    subnet_key,
)
from hypothesis import given
from hypothesis import strategies as st

ME = IPv4Address("192.0.2.11")
CHANCE = random.Random(1)  # noqa: S311 (guards nothing)


def config(**fields: object) -> NetworkConfig:
    return parse_config(json.dumps({"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan"}, **fields}))


def net(text: str) -> IPv4Network:
    return IPv4Network(text)


@pytest.mark.parametrize(
    ("network", "fields", "length", "first", "last"),
    [
        ("10.1.0.0/16", {}, 24, "10.1.1.0", "10.1.255.0"),
        ("10.1.0.0/22", {}, 24, "10.1.1.0", "10.1.3.0"),
        ("10.1.0.0/23", {}, 25, "10.1.0.128", "10.1.1.128"),
        ("10.1.0.0/28", {}, 30, "10.1.0.4", "10.1.0.12"),
        ("10.1.0.0/16", {"SubnetLen": 28}, 28, "10.1.0.16", "10.1.255.240"),
        ("10.1.0.0/16", {"SubnetMin": "10.1.10.0", "SubnetMax": "10.1.20.0"}, 24, "10.1.10.0", "10.1.20.0"),
        ("10.1.2.3/16", {"subnetlen": 24}, 24, "10.1.1.0", "10.1.255.0"),
    ],
)
def test_subnets_of_a_network(network: str, fields: dict[str, object], length: int, first: str, last: str) -> None:
    found = config(Network=network, **fields)
    assert (found.length, str(found.first), str(found.last)) == (length, first, last)


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        ({"Type": "vxlan"}, ("vxlan", 1, 8472, False)),
        ({"Type": "vxlan", "VNI": 7, "Port": 4789, "DirectRouting": True}, ("vxlan", 7, 4789, True)),
        ({"Type": "vxlan", "Port": 0, "GBP": False}, ("vxlan", 1, 8472, False)),
        ({"type": "host-gw"}, ("host-gw", 1, 8472, False)),
    ],
)
def test_backends(backend: dict[str, object], wanted: tuple[object, ...]) -> None:
    found = config(Backend=backend)
    assert (found.backend, found.vni, found.port, found.direct_routing) == wanted
    assert found.device == f"flannel.{wanted[1]}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "Network is None"),
        ('{"Network": 7}', "Network is 7"),
        ('{"Network": "10.1.0.0/29"}', "four subnets"),
        ('{"Network": "10.1.0.0/16", "SubnetLen": 17}', "SubnetLen is 17"),
        ('{"Network": "10.1.0.0/16", "SubnetLen": 31}', "SubnetLen is 31"),
        ('{"Network": "10.1.0.0/16", "SubnetLen": "24"}', "SubnetLen is '24'"),
        ('{"Network": "10.1.0.0/16", "SubnetMin": "10.2.0.0"}', "outside 10.1.0.0/16"),
        ('{"Network": "10.1.0.0/16", "SubnetMax": "10.1.9.1"}', "not where a /24 begins"),
        ('{"Network": "10.1.0.0/16", "SubnetMin": "10.1.9.0", "SubnetMax": "10.1.8.0"}', "no subnet is left"),
        ('{"Network": "10.1.0.0/16", "SubnetMin": "x"}', "write an IPv4 address"),
        ('{"Network": "10.1.0.0/16"}', "Backend.Type is 'udp'"),
        ('{"Network": "10.1.0.0/16", "Backend": {"Type": "wireguard"}}', "flanneld"),
        ('{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan", "VNI": 0}}', "Backend.VNI"),
        ('{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan", "Port": 70000}}', "Backend.Port"),
        ('{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan", "GBP": true}}', "Backend.GBP"),
        ('{"Network": "10.1.0.0/16", "EnableIPv6": true}', "IPv4 only"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(NetworkError, match=complaint) as error:
        parse_config(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lease", "text"),
    [
        (
            Lease(net("10.1.52.0/24"), ME, "vxlan", 1, "8e:3c:60:be:25:6d"),
            b'{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"8e:3c:60:be:25:6d"}}',
        ),
        (
            Lease(net("10.1.52.0/24"), ME, "host-gw"),
            b'{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"host-gw"}',
        ),
    ],
)
def test_leases_are_those_of_flannel_byte_for_byte(lease: Lease, text: bytes) -> None:
    assert lease_value(lease) == text
    key = subnet_key("/coreos.com/network", lease.subnet)
    assert key == "/coreos.com/network/subnets/10.1.52.0-24"
    assert parse_lease(KeyValue(key, text, 1, 1, 1)) == lease


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        # flanneld before 0.14 knew no IPv6; udp leaves its type out.
        ("10.1.3.0-24", '{"PublicIP":"192.0.2.12"}', Lease(net("10.1.3.0/24"), IPv4Address("192.0.2.12"), "udp")),
        (
            "10.1.3.0-24&fd00::-64",
            '{"PublicIP":"192.0.2.12","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:0A"}}',
            Lease(net("10.1.3.0/24"), IPv4Address("192.0.2.12"), "vxlan", 1, "02:00:00:00:00:0a"),
        ),
        ("10.1.3.0-24", "nonsense", Lease(net("10.1.3.0/24"))),
        ("10.1.3.0-24", '{"PublicIP":"core02"}', Lease(net("10.1.3.0/24"))),
        ("10.1.3.0-24", '{"PublicIP":"192.0.2.12","BackendData":[]}', None),
        ("10.1.3.7-24", "{}", None),
        ("10.1.3.0-33", "{}", None),
        ("config", "{}", None),
    ],
)
def test_leases_of_others(name: str, value: str, wanted: Lease | None) -> None:
    found = parse_lease(KeyValue(f"/coreos.com/network/subnets/{name}", value.encode(), 1, 1, 1))
    if wanted is None and found is not None:
        assert found.vtep_mac == ""
    else:
        assert found == wanted


def test_the_subnet_of_our_address_is_ours() -> None:
    leases = [Lease(net("10.1.9.0/24"), ME), Lease(net("10.1.5.0/24"), ME), Lease(net("10.1.4.0/24"), ME + 1)]
    assert own_subnet(config(), leases, ME, net("10.1.9.0/24")) == net("10.1.9.0/24")
    assert own_subnet(config(), leases, ME, None) == net("10.1.5.0/24")
    assert own_subnet(config(), leases, ME + 2, net("10.1.9.0/24")) is None
    assert own_subnet(config(Network="10.2.0.0/16"), leases, ME, None) is None


def test_the_subnet_we_had_comes_first_if_it_is_free() -> None:
    previous = net("10.1.200.0/24")
    assert choose_subnet(config(), [net("10.1.5.0/24")], previous, CHANCE) == previous
    assert choose_subnet(config(), [previous], previous, CHANCE) != previous
    assert choose_subnet(config(SubnetLen=26), [], previous, CHANCE).prefixlen == 26


def test_no_subnet_is_free() -> None:
    small = config(Network="10.1.0.0/22")
    with pytest.raises(NetworkError, match=r"no subnet of 10\.1\.0\.0/22 is free, 3 are leased"):
        choose_subnet(small, list(small.subnets()), None, CHANCE)


@given(
    length=st.integers(18, 30),
    taken=st.sets(st.tuples(st.integers(0, 0xFFFF), st.integers(18, 30)), max_size=40),
    nodes=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_subnets_never_overlap(length: int, taken: set[tuple[int, int]], nodes: int, seed: int) -> None:
    wanted = config(SubnetLen=length)
    leased = [IPv4Network((int(wanted.network.network_address) + offset, bits), strict=False) for offset, bits in taken]
    CHANCE.seed(seed)
    for _node in range(nodes):
        try:
            subnet = choose_subnet(wanted, leased, None, CHANCE)
        except NetworkError:
            return
        assert wanted.holds(subnet) and subnet.subnet_of(wanted.network)
        assert not any(subnet.overlaps(other) for other in leased)
        leased.append(subnet)


def test_keys() -> None:
    assert config_key("/coreos.com/network") == "/coreos.com/network/config"
