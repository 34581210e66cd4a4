# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leases in a real etcd."""

from __future__ import annotations

import json
import threading
import time
from ipaddress import IPv4Address, IPv4Network

import pytest
from flagship.etcd import Client
from flagship.overlay import lease as lease_module
from flagship.overlay.lease import LeaseHolder
from flagship.overlay.network import NetworkConfig, NetworkError, parse_config

MAC = "02:00:00:00:00:01"
ME, OTHER = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")


def config(**fields: object) -> NetworkConfig:
    return parse_config(json.dumps({"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan"}, **fields}))


class Node:
    """A holder that sees every change at once."""

    def __init__(
        self, client: Client, prefix: str, address: IPv4Address, previous: str = "", lease: int = 86400
    ) -> None:
        self.client, self.prefix = client, prefix.rstrip("/")
        subnet = IPv4Network(previous) if previous else None
        self.holder = LeaseHolder(client, self.prefix, address, subnet, lease=lease, margin=lease / 2)

    def hold(self, settings: NetworkConfig | None = None, mac: str = MAC) -> IPv4Network | None:
        seen = self.client.range(f"{self.prefix}/")
        return self.holder.hold(settings or config(), seen.items, seen.revision, mac)

    def keys(self) -> dict[str, tuple[bytes, int]]:
        items = self.client.range(f"{self.prefix}/subnets/").items
        return {key.rpartition("/")[2]: (item.value, item.lease) for key, item in items.items()}


def test_a_new_node_gets_a_key_as_flannel_writes_it(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    subnet = node.hold()
    assert subnet
    ((name, (value, lease)),) = node.keys().items()
    assert name == f"{subnet.network_address}-24"
    assert value == (
        b'{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
    )
    assert 86000 < etcd_client.remaining(lease) <= 86400


def test_nothing_is_written_while_nothing_changes(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    node.hold()
    before = etcd_client.range(prefix).revision
    for _time in range(3):
        node.hold()
    assert etcd_client.range(prefix).revision == before


def test_a_restart_renews_the_lease_of_the_same_subnet(etcd_client: Client, prefix: str) -> None:
    subnet = Node(etcd_client, prefix, ME).hold()
    node = Node(etcd_client, prefix, ME)
    first = node.keys()
    assert node.hold() == subnet
    assert node.keys().keys() == first.keys() and node.keys() != first, "the lease is not a fresh one"


def test_a_made_anew_device_is_told(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    subnet = node.hold()
    assert node.hold(mac="02:00:00:00:00:02") == subnet
    ((value, _lease),) = node.keys().values()
    assert b"02:00:00:00:00:02" in value


def test_the_lease_is_renewed_in_time(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME, lease=4)
    node.hold()
    deadline = time.monotonic() + 7
    while time.monotonic() < deadline:
        assert node.hold() and len(node.keys()) == 1
        time.sleep(0.2)


def test_a_lost_lease_is_taken_again_if_the_subnet_is_free(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    subnet = node.hold()
    assert subnet
    etcd_client.delete(f"{prefix}subnets/{subnet.network_address}-24")
    assert node.hold() == subnet
    assert len(node.keys()) == 1


def test_a_subnet_that_another_node_has_now_is_left_to_it(
    etcd_client: Client, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(etcd_client, prefix, ME)
    subnet = node.hold()
    assert subnet
    etcd_client.delete(f"{prefix}subnets/{subnet.network_address}-24")
    assert Node(etcd_client, prefix, OTHER, str(subnet)).hold() == subnet
    other = node.hold()
    assert other and other != subnet and node.holder.subnet == other
    assert f"{subnet} is not free any more" in caplog.text
    assert len(node.keys()) == 2


def test_a_reservation_has_no_end(etcd_client: Client, prefix: str) -> None:
    etcd_client.put(f"{prefix}subnets/10.1.7.0-24", b'{"PublicIP":"192.0.2.11"}')
    node = Node(etcd_client, prefix, ME)
    assert node.hold() == IPv4Network("10.1.7.0/24")
    ((value, lease),) = node.keys().values()
    assert lease == 0 and b"vxlan" in value


def test_another_network_gives_another_subnet(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    node.hold()
    moved = config(Network="10.2.0.0/16")
    assert node.hold(moved) is None
    assert node.keys() == {}
    subnet = node.hold(moved)
    assert subnet and subnet.subnet_of(moved.network)


def test_no_subnet_is_free(etcd_client: Client, prefix: str) -> None:
    for number in (1, 2, 3):
        etcd_client.put(f"{prefix}subnets/10.1.{number}.0-24", b"{}")
    with pytest.raises(NetworkError, match="3 are leased"):
        Node(etcd_client, prefix, ME).hold(config(Network="10.1.0.0/22"))


def test_nodes_that_race_get_subnets_of_their_own(etcd_client: Client, prefix: str) -> None:
    """Three nodes for three subnets: each loses races, none fails, none shares."""
    small = config(Network="10.1.0.0/22")
    nodes = [Node(etcd_client, prefix, IPv4Address(f"192.0.2.{number}")) for number in (21, 22, 23)]
    barrier = threading.Barrier(len(nodes))
    got: dict[int, IPv4Network] = {}

    def take(index: int) -> None:
        barrier.wait(10)
        for _time in range(50):
            subnet = nodes[index].hold(small)
            if subnet:
                got[index] = subnet
                return

    threads = [threading.Thread(target=take, args=(index,)) for index in range(len(nodes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(got.values())) == len(nodes)
    assert len(nodes[0].keys()) == len(nodes)


def test_two_machines_with_one_address_do_not_write_in_a_loop(
    etcd_client: Client, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = Node(etcd_client, prefix, ME), Node(etcd_client, prefix, ME)
    one.hold()
    other.hold(mac="02:00:00:00:00:02")
    before = etcd_client.range(prefix).revision
    for _time in range(20):
        one.hold()
        other.hold(mac="02:00:00:00:00:02")
    assert etcd_client.range(prefix).revision <= before + 4
    assert "does another machine have the public address 192.0.2.11?" in caplog.text


def test_what_we_wrote_counts_before_it_comes_back(etcd_client: Client, prefix: str) -> None:
    node = Node(etcd_client, prefix, ME)
    old = etcd_client.range(prefix)
    subnet = node.hold()
    assert node.holder.hold(config(), old.items, old.revision, MAC) == subnet
    assert len(node.keys()) == 1


def test_a_write_on_an_old_view_changes_nothing(etcd_client: Client, prefix: str) -> None:
    old = etcd_client.range(prefix)
    subnet = Node(etcd_client, prefix, OTHER, "10.1.9.0/24").hold()
    late = Node(etcd_client, prefix, ME, "10.1.9.0/24")
    assert late.holder.hold(config(), old.items, old.revision, MAC) is None
    assert late.hold() not in (None, subnet)


def test_release(etcd_client: Client, prefix: str) -> None:
    node, other = Node(etcd_client, prefix, ME), Node(etcd_client, prefix, OTHER)
    node.hold()
    other.hold()
    keys = node.holder.release(etcd_client.range(f"{node.prefix}/subnets/").items)
    assert len(keys) == 1 and len(other.keys()) == 1


def test_the_times_are_those_of_flannel() -> None:
    assert (lease_module.LEASE, lease_module.RENEW_MARGIN) == (24 * 3600, 3600)
