# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps from the found state of the kernel to the wanted one."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from flagship.overlay import kernel
from flagship.overlay.kernel import (
    Address,
    Device,
    Forwarding,
    Kernel,
    Neighbour,
    Route,
    Step,
    Uplink,
    commands,
    own_device,
    plan,
    vtep_mac,
    wanted_state,
)
from flagship.overlay.network import Lease, NetworkConfig, parse_config
from hypothesis import given
from hypothesis import strategies as st

ME = IPv4Address("192.0.2.11")
UPLINK = Uplink("eth0", 1500, IPv4Interface("192.0.2.11/24"))
SUBNET = IPv4Network("10.1.11.0/24")
OTHER_NETWORK = Device("flannel.9", 9, ME, 8472, "4a:00:00:00:00:09", 1450)
FOREIGN_ROUTE = Route(IPv4Network("10.99.0.0/16"), IPv4Address("192.0.2.1"), "eth0", 4)


def config(kind: str = "vxlan", **backend: object) -> NetworkConfig:
    return parse_config(json.dumps({"Network": "10.1.0.0/16", "Backend": {"Type": kind, **backend}}))


def peer(number: int, kind: str = "vxlan", address: str = "") -> Lease:
    public = IPv4Address(address or f"192.0.2.{number}")
    mac = f"02:00:00:00:00:{number:02x}" if kind == "vxlan" else ""
    return Lease(IPv4Network(f"10.1.{number}.0/24"), public, kind, 1 if mac else 0, mac)


def wanted(settings: NetworkConfig, found: Kernel, *peers: Lease, subnet: IPv4Network = SUBNET) -> kernel.Wanted:
    return wanted_state(settings, UPLINK, own_device(settings, UPLINK, found), subnet, peers)


def applied(steps: list[Step], found: Kernel) -> Kernel:
    """What a kernel holds after the steps; it refuses what Linux refuses."""
    devices = {device.name: device for device in found.devices}
    items = set(found.addresses | found.neighbours | found.forwardings | found.routes)
    for step in steps:
        item = step.item
        if isinstance(item, Device):
            assert (item.name in devices) == (step.action != "set")
            if step.action == "delete":
                del devices[item.name]
                items = {other for other in items if other.device != item.name}
            else:
                devices[item.name] = item
        elif step.action == "delete":
            items.remove(item)
        else:
            assert item.device in devices or item.device == "eth0"
            if isinstance(item, Route) and item.device != "eth0":
                assert any(isinstance(other, Neighbour) and other.address == item.via for other in items)
                # "Nexthop has invalid gateway"
                own = {
                    other.address.ip for other in items if isinstance(other, Address) and other.device == item.device
                }
                assert item.via not in own
            items = {other for other in items if kernel._place(other) != kernel._place(item)} | {item}
    return Kernel(
        tuple(devices.values()),
        frozenset(item for item in items if isinstance(item, Address)),
        frozenset(item for item in items if isinstance(item, Neighbour)),
        frozenset(item for item in items if isinstance(item, Forwarding)),
        frozenset(item for item in items if isinstance(item, Route)),
    )


def test_vxlan_as_flannel_has_it() -> None:
    settings = config()
    steps = plan(wanted(settings, Kernel(), peer(12)), Kernel(), collect=True)
    assert [" ".join(command) for step in steps for command in commands(step)] == [
        f"ip link add flannel.1 address {vtep_mac(ME, 1)} mtu 1450"
        " type vxlan id 1 local 192.0.2.11 dstport 8472 nolearning",
        "ip link set dev flannel.1 mtu 1450 up",
        "ip address replace 10.1.11.0/32 dev flannel.1",
        "bridge fdb replace 02:00:00:00:00:0c dev flannel.1 dst 192.0.2.12 self permanent",
        "ip neighbour replace 10.1.12.0 dev flannel.1 lladdr 02:00:00:00:00:0c nud permanent protocol 70",
        "ip route replace 10.1.12.0/24 via 10.1.12.0 dev flannel.1 onlink protocol 70",
    ]


def test_host_gw_routes_to_neighbours_and_reports_the_rest() -> None:
    found = wanted(config("host-gw"), Kernel(), peer(12, "host-gw"), peer(13, "host-gw", "198.51.100.3"), peer(14))
    steps = plan(found, Kernel(), collect=True)
    assert [" ".join(command) for step in steps for command in commands(step)] == [
        "ip route replace 10.1.12.0/24 via 192.0.2.12 dev eth0 protocol 70"
    ]
    assert [str(lease.public_ip) for lease in found.unreachable] == ["198.51.100.3"]


@pytest.mark.parametrize("subnet", ["0.0.0.0/0", "198.51.100.0/24", "10.0.0.0/8", "10.1.11.0/24", "10.1.11.128/25"])
def test_a_lease_outside_of_the_network_or_inside_our_subnet_gets_no_route(subnet: str) -> None:
    assert wanted(config("host-gw"), Kernel(), replace(peer(12, "host-gw"), subnet=IPv4Network(subnet))).items == set()


def test_direct_routing_uses_the_tunnel_only_beyond_the_link() -> None:
    found = wanted(config(DirectRouting=True), Kernel(), peer(12), peer(13, address="198.51.100.3"))
    routes = {item for item in found.items if isinstance(item, Route)}
    assert {(str(route.subnet), route.device) for route in routes} == {
        ("10.1.12.0/24", "eth0"),
        ("10.1.13.0/24", "flannel.1"),
    }


def test_a_device_that_fits_keeps_its_mac_and_one_that_does_not_is_made_anew() -> None:
    made_by_flanneld = Device("flannel.1", 1, ME, 8472, "8e:00:00:00:00:01", 1400)
    found = Kernel((made_by_flanneld,))
    goal = wanted(config(), found)
    assert goal.device and goal.device.mac == made_by_flanneld.mac
    assert [step.action for step in plan(goal, found, collect=True)] == ["adjust", "set"]
    for wrong in (replace(made_by_flanneld, port=4789), replace(made_by_flanneld, plain=False)):
        goal = wanted(config(), Kernel((wrong,)))
        assert goal.device and goal.device.mac == vtep_mac(ME, 1)
        assert [step.action for step in plan(goal, Kernel((wrong,)), collect=True)][:2] == ["delete", "set"]


def test_entries_of_vanished_nodes_go_and_those_of_others_stay() -> None:
    settings = config()
    before = applied(plan(wanted(settings, Kernel(), peer(12), peer(13)), Kernel(), True), Kernel())
    before = replace(before, devices=(*before.devices, OTHER_NETWORK), routes=before.routes | {FOREIGN_ROUTE})
    goal = wanted(settings, before, peer(12))
    assert plan(goal, before, collect=False) == []
    after = applied(plan(goal, before, collect=True), before)
    assert {route.subnet for route in after.routes} == {IPv4Network("10.1.12.0/24"), FOREIGN_ROUTE.subnet}
    assert len(after.neighbours) == len(after.forwardings) == 1
    assert OTHER_NETWORK in after.devices


def test_a_change_of_the_backend_moves_the_routes_before_the_device_goes() -> None:
    before = applied(plan(wanted(config(), Kernel(), peer(12)), Kernel(), True), Kernel())
    steps = plan(wanted(config("host-gw"), before, peer(12, "host-gw")), before, collect=True)
    assert [(step.action, type(step.item).__name__) for step in steps] == [("set", "Route"), ("delete", "Device")]


def test_all_is_removed_at_the_end() -> None:
    found = applied(plan(wanted(config(), Kernel(), peer(12)), Kernel(), True), Kernel())
    found = replace(found, routes=found.routes | {FOREIGN_ROUTE})
    assert applied(plan(kernel.Wanted(None, frozenset()), found, True), found) == Kernel(
        routes=frozenset({FOREIGN_ROUTE})
    )


PEERS = st.builds(
    lambda number, host, mac, kind, where: Lease(
        IPv4Network(f"10.1.{number}.0/24"),
        IPv4Address(f"{where}.{host}"),
        kind,
        1 if kind == "vxlan" else 0,
        f"02:00:00:00:00:{mac:02x}" if kind == "vxlan" else "",
    ),
    st.integers(12, 20), st.integers(12, 20), st.integers(1, 9), st.sampled_from(["vxlan", "host-gw", "udp"]),
    st.sampled_from(["192.0.2", "198.51.100"]),
)  # fmt: skip
NETWORKS = st.lists(
    PEERS, max_size=6, unique_by=(lambda lease: lease.subnet, lambda lease: lease.vtep_mac or lease.subnet)
)
CONFIGS = st.sampled_from([config(), config("host-gw"), config(DirectRouting=True), config(VNI=3), config(Port=4789)])


OWN = st.sampled_from([SUBNET, IPv4Network("10.1.12.0/24"), IPv4Network("10.1.13.0/24")])


@given(history=st.lists(st.tuples(CONFIGS, OWN, NETWORKS), min_size=1, max_size=4), made_by_flanneld=st.booleans())
def test_the_steps_lead_to_the_wanted_state_and_then_there_are_none(
    history: list[tuple[NetworkConfig, IPv4Network, list[Lease]]], made_by_flanneld: bool
) -> None:
    found = Kernel((OTHER_NETWORK,), routes=frozenset({FOREIGN_ROUTE}))
    if made_by_flanneld:
        device = Device("flannel.1", 1, ME, 8472, "8e:00:00:00:00:01", 1450)
        subnet = IPv4Network("10.1.77.0/24")
        stale = Route(subnet, subnet.network_address, "flannel.1", 3)
        entry = Neighbour("flannel.1", subnet.network_address, "8e:00:00:00:00:02")
        found = replace(
            found, devices=(*found.devices, device), routes=found.routes | {stale}, neighbours=frozenset({entry})
        )
    for settings, subnet, peers in history:
        goal = wanted(settings, found, *peers, subnet=subnet)
        found = applied(plan(goal, found, collect=True), found)
        assert plan(wanted(settings, found, *peers, subnet=subnet), found, collect=True) == []
        assert goal.items == found.ours([goal.device.name] if goal.device else [])
        assert FOREIGN_ROUTE in found.routes and OTHER_NETWORK in found.devices
        assert goal.device is None or goal.device in found.devices


def test_what_ip_says() -> None:
    links = json.loads(
        '[{"ifname":"lo","mtu":65536,"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},'
        '{"ifname":"eth0","mtu":1500,"addr_info":[{"family":"inet","local":"192.0.2.11","prefixlen":24},'
        '{"family":"inet6","local":"fe80::1","prefixlen":64}]},'
        '{"ifname":"flannel.1","flags":["BROADCAST","UP"],"mtu":1450,"address":"02:11:22:33:44:55","linkinfo":'
        '{"info_kind":"vxlan","info_data":{"id":1,"local":"192.0.2.11","port":8472,"learning":false}},"addr_info":[]},'
        '{"ifname":"vxlan7","linkinfo":{"info_kind":"vxlan","info_data":{"id":7}}}]'
    )
    assert kernel.parse_devices(links) == (Device("flannel.1", 1, ME, 8472, "02:11:22:33:44:55", 1450),)
    assert kernel.find_uplink(kernel.parse_addresses(links), ME) == UPLINK
    assert kernel.find_uplink(kernel.parse_addresses(links), ME + 1) is None
    routes = json.loads(
        '[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},'
        '{"dst":"10.1.6.0/24","gateway":"10.1.6.0","dev":"flannel.1","protocol":"70","flags":["onlink"]},'
        '{"dst":"10.1.7.0/24","gateway":"192.0.2.9","dev":"eth0","flags":[]},'
        '{"type":"7","dst":"10.1.8.0/24","protocol":"4","flags":[]},'
        '{"dst":"10.9.0.0/16","nexthops":[{"gateway":"192.0.2.1"}],"flags":[]}]'
    )
    assert kernel.parse_routes(routes) == {
        Route(IPv4Network("10.1.6.0/24"), IPv4Address("10.1.6.0"), "flannel.1", 70),
        Route(IPv4Network("10.1.7.0/24"), IPv4Address("192.0.2.9"), "eth0", 3),
    }
    neighbours = (
        '[{"dst":"10.1.6.0","lladdr":"02:aa:bb:cc:dd:ee","state":["PERMANENT"]},{"dst":"10.1.7.0","state":["FAILED"]}]'
    )
    assert kernel.parse_neighbours(json.loads(neighbours), "flannel.1") == {
        Neighbour("flannel.1", IPv4Address("10.1.6.0"), "02:aa:bb:cc:dd:ee")
    }
    entries = (
        '[{"mac":"02:aa:bb:cc:dd:ee","dst":"192.0.2.12","flags":["self"],"state":"permanent"},'
        '{"mac":"33:33:00:00:00:01","flags":["self"]}]'
    )
    assert kernel.parse_forwardings(json.loads(entries), "flannel.1") == {
        Forwarding("flannel.1", "02:aa:bb:cc:dd:ee", IPv4Address("192.0.2.12"))
    }


@pytest.mark.parametrize("vni", [1, 2])
def test_a_made_mac_is_local_and_of_one_node(vni: int) -> None:
    mac = vtep_mac(ME, vni)
    assert int(mac[:2], 16) & 3 == 2
    assert mac == vtep_mac(ME, vni) != vtep_mac(ME + 1, vni)
