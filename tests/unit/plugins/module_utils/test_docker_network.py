# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_endpoint import endpoint_again
from ansible_collections.flagship.coreos.plugins.module_utils.docker_network import (
    create_request,
    differences,
    membership,
    overlapping,
    prepared,
)

POOL = {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1", "IPRange": "192.0.2.128/25"}
NETWORK: dict[str, Any] = {
    "Name": "lab",
    "Driver": "bridge",
    "Internal": False,
    "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": [POOL]},
    "Labels": {"a": "b"},
    "Options": {"com.docker.network.bridge.name": "lab0", "com.docker.network.enable_ipv6": "false"},
}


def pool(subnet: str, gateway: str | None = None, ip_range: str | None = None) -> dict[str, Any]:
    return {"subnet": subnet, "gateway": gateway, "ip_range": ip_range}


def params(**options: Any) -> dict[str, Any]:
    names = (
        "driver",
        "ipam",
        "ipam_driver",
        "ipam_options",
        "internal",
        "attachable",
        "enable_ipv6",
        "labels",
        "options",
    )
    defaults = {**dict.fromkeys(names), "name": "lab", "connected": None, "appends": False}
    return dict(prepared({**defaults, **options}))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, []),
        ({"driver": "bridge", "internal": False, "labels": {"a": "b"}}, []),
        ({"ipam": [pool("192.0.2.0/24")]}, []),
        ({"ipam": [pool("192.0.2.0/24", "192.0.2.1", "192.0.2.128/25")]}, []),
        ({"ipam": [pool("192.0.2.0/24", "192.0.2.2")]}, ["ipam"]),
        ({"ipam": [pool("198.51.100.0/24")]}, ["ipam"]),
        ({"ipam": [pool("192.0.2.0/24"), pool("2001:db8::/64")]}, ["ipam"]),
        ({"ipam": []}, ["ipam"]),
        ({"options": {"com.docker.network.bridge.name": "lab0"}}, []),
        ({"options": {"com.docker.network.bridge.name": "lab1"}}, ["options"]),
        ({"labels": {}}, ["labels"]),
        ({"driver": "macvlan", "internal": True}, ["driver", "internal"]),
        ({"attachable": False, "enable_ipv6": False, "ipam_driver": "default", "ipam_options": {}}, []),
        ({"attachable": True}, ["attachable"]),
        ({"enable_ipv6": True}, ["enable_ipv6"]),
        ({"ipam_driver": "other", "ipam_options": {"a": 1}}, ["ipam_driver", "ipam_options"]),
        ({"ipam": [{"subnet": "192.0.2.0/24", "aux_addresses": {"router": "192.0.2.3"}}]}, ["ipam"]),
    ],
)
def test_differences(options: dict[str, Any], names: list[str]) -> None:
    assert list(differences(params(**options), NETWORK)) == names


def test_addresses_are_compared_in_one_form() -> None:
    config = {"Subnet": "2001:db8::/64", "Gateway": "2001:db8::1/64", "AuxiliaryAddresses": {"a": "2001:db8::2"}}
    found = {**NETWORK, "IPAM": {"Config": [config]}}
    entry = {"subnet": "2001:DB8:0::/64", "gateway": "2001:db8:0::1", "aux_addresses": {"a": "2001:DB8::2"}}
    assert differences(params(ipam=[entry]), found) == {}


@pytest.mark.parametrize(
    ("wanted", "appends", "members", "coming", "going"),
    [
        (None, False, ["a"], [], []),
        ([], False, ["a"], [], ["a"]),
        (["a"], False, ["a"], [], []),
        (["b", "c"], False, ["a", "b"], ["c"], ["a"]),
        (["b", "c"], True, ["a", "b"], ["c"], []),
    ],
)
def test_membership(
    wanted: list[str] | None, appends: bool, members: list[str], coming: list[str], going: list[str]
) -> None:
    assert membership(params(connected=wanted, appends=appends), members) == (coming, going)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"connected": ["a", "a"]}, "connected names a twice"),
        ({"appends": True}, "appends only means something with connected"),
        ({"options": {"a": True}}, "the value of a is not text"),
        ({"ipam_options": {"a": 1.5}}, "the value of a is not text"),
    ],
)
def test_contradictions_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        params(**options)


def test_a_difference_has_what_was_found_and_what_is_wanted() -> None:
    wanted = params(ipam=[pool("198.51.100.0/24", "198.51.100.1")])
    found = {"subnet": "192.0.2.0/24", "gateway": "192.0.2.1", "ip_range": "192.0.2.128/25"}
    assert differences(wanted, NETWORK)["ipam"] == ([found], [{"subnet": "198.51.100.0/24", "gateway": "198.51.100.1"}])


@pytest.mark.parametrize(
    ("ipam", "says"),
    [
        (pool("192.0.2.1/24"), "has host bits set"),
        (pool("lab"), "'lab' does not appear to be an IPv4 or IPv6 network"),
        (pool("192.0.2.0/24", "198.51.100.1"), "the gateway 198.51.100.1 is not in the subnet 192.0.2.0/24"),
        (pool("192.0.2.0/24", None, "192.0.0.0/16"), "the ip_range 192.0.0.0/16 is not in the subnet 192.0.2.0/24"),
        ({"subnet": "192.0.2.0/24", "aux_addresses": {"x": "192.0.3.1"}}, "the aux_addresses entry x 192.0.3.1 is not"),
        (pool("192.0.2.0/24", None, "2001:db8::/64"), "the ip_range 2001:db8::/64 is not in the subnet"),
    ],
)
def test_bad_addresses_are_named(ipam: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        params(ipam=[ipam])


def test_create_request() -> None:
    request = create_request(params(ipam=[pool("192.0.2.0/24", "192.0.2.1")], labels={"n": 1}))
    assert request["driver"] == "bridge"
    assert request["labels"] == {"n": "1"}
    assert request["ipam"]["Config"] == [{"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"}]
    assert create_request(params())["ipam"] is None
    assert create_request(params(ipam_driver="x"), NETWORK)["ipam"] == {
        "Driver": "x",
        "Options": None,
        "Config": [POOL],
    }
    assert create_request(params(ipam_options={"a": 1}))["ipam"] == {"Driver": "default", "Options": {"a": "1"}}
    flags = create_request(params(attachable=True, enable_ipv6=True))
    assert (flags["attachable"], flags["enable_ipv6"]) == (True, True)


def test_a_network_made_anew_keeps_what_is_not_said_otherwise() -> None:
    request = create_request(params(internal=True), NETWORK)
    assert request["internal"] is True
    assert (request["labels"], request["options"]) == (NETWORK["Labels"], NETWORK["Options"])
    assert request["ipam"]["Config"] == [POOL]


def test_overlapping() -> None:
    networks = [
        NETWORK,
        {"Name": "six", "IPAM": {"Config": [{"Subnet": "2001:db8::/32"}]}},
        {"Name": "host", "IPAM": {}},
    ]
    wanted = params(name="new", ipam=[pool("192.0.2.128/25"), pool("2001:db8:1::/48")])
    assert overlapping(wanted, networks) == (
        "192.0.2.128/25 overlaps with 192.0.2.0/24 of the network lab, "
        "2001:db8:1::/48 overlaps with 2001:db8::/32 of the network six"
    )
    assert overlapping(params(ipam=[pool("192.0.2.0/24")]), networks) == "", "a network does not overlap with itself"
    assert overlapping(params(name="new"), networks) == ""


@pytest.mark.parametrize(
    ("endpoint", "subnets", "again"),
    [
        ({"IPAMConfig": None, "Aliases": None}, ["192.0.2.0/24"], {}),
        ({"IPAMConfig": {}, "Aliases": ["abcdef123456"]}, [], {}),
        (
            {"IPAMConfig": {"IPv4Address": "192.0.2.7"}},
            ["2001:db8::/64", "192.0.2.0/24"],
            {"ipv4_address": "192.0.2.7"},
        ),
        ({"IPAMConfig": {"IPv4Address": "192.0.2.7"}, "Aliases": ["a"]}, ["198.51.100.0/24"], {"aliases": ["a"]}),
        ({"IPAMConfig": {"IPv6Address": "2001:db8::7"}}, ["2001:db8::/64"], {"ipv6_address": "2001:db8::7"}),
    ],
)
def test_endpoint_again(endpoint: dict[str, Any], subnets: list[str], again: dict[str, Any]) -> None:
    assert endpoint_again(endpoint, "abcdef1234567890", subnets) == again
