# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.filter.site_state import FilterModule, site_state

MACHINES = [{"id": f"machine{number}", "primary_ip": f"10.0.0.{number}", "metadata": {}} for number in (1, 2, 3)]
NGINX = {
    "nginx@1": "machine1",
    "nginx-discovery@1": "machine1",
    "nginx@2": "machine3",
    "nginx-discovery@2": "machine3",
    "nginx-watch": "machine2",
    "nginx-loadbalancer": "machine2",
}
HAPROXY = {
    "dumbserve@1": "machine1",
    "dumbserve@2": "machine1",
    "haproxy-dvc": "machine2",
    "haproxy": "machine2",
    "haproxy-watch": "machine2",
    "registrator": "",
}
PAIR = {
    "nginx@1": "machine1",
    "nginx-discovery@1": "machine1",
    "nginx-watch@1": "machine2",
    "nginx-loadbalancer@1": "machine2",
    "nginx-virtual-ip@1": "machine2",
    "nginx-watch@2": "machine3",
    "nginx-loadbalancer@2": "machine3",
    "nginx-virtual-ip@2": "machine3",
}
HAPROXY_PAIR = {
    "registrator": "",
    "shop@1": "machine1",
    "haproxy-dvc@1": "machine3",
    "haproxy@1": "machine3",
    "haproxy-watch@1": "machine3",
    "haproxy-virtual-ip@1": "machine3",
    "haproxy-dvc@2": "machine1",
    "haproxy@2": "machine1",
    "haproxy-watch@2": "machine1",
    "haproxy-virtual-ip@2": "machine1",
}


def units(places: dict[str, str], changes: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A site without faults, but for `changes`: unit -> what differs (`state`: in all its states); None: unknown."""
    found = []
    for name, machine in places.items():
        change = (changes or {}).get(name, {})
        if change is None:
            continue
        machine = change.get("machine_id", machine)
        states = [
            {"machine_id": where, "hash": "a" * 40, "active_state": "active", "sub_state": "running"}
            | change.get("state", {})
            for where in ([machine] if machine else [known["id"] for known in MACHINES])
        ]
        found.append({"name": f"{name}.service", "machine_id": machine, "hash": "a" * 40, "states": states})
    return found


def test_a_good_site_has_no_faults() -> None:
    state = FilterModule().filters()["site_state"](units(NGINX), MACHINES, 2)
    assert state == {
        "faults": [],
        "servers": {"nginx1": "machine1", "nginx2": "machine3"},
        "keys": {"/services/website/nginx@1": "10.0.0.1:80", "/services/website/nginx@2": "10.0.0.3:80"},
        "titles": ["Welcome to nginx1", "Welcome to nginx2"],
        "balancers": ["machine2"],
    }


def test_a_good_site_with_haproxy_has_no_faults() -> None:
    assert site_state(units(HAPROXY), MACHINES, 2, stack="haproxy") == {
        "faults": [],
        "servers": {"dumbserve1": "machine1", "dumbserve2": "machine1"},
        "keys": {},
        "titles": ["Welcome to dumbserve1", "Welcome to dumbserve2"],
        "balancers": ["machine2"],
    }


def test_several_balancers_have_numbers() -> None:
    state = site_state(units(PAIR), MACHINES, 1, balancers=2)
    assert (state["faults"], state["balancers"]) == ([], ["machine2", "machine3"])
    state = site_state(units(HAPROXY_PAIR), MACHINES, 1, stack="haproxy", balancers=2, service="shop")
    assert (state["faults"], state["balancers"]) == ([], ["machine3", "machine1"])
    assert state["titles"] == ["Welcome to shop1"]


def test_servers_of_nginx_have_the_port_that_they_are_published_at() -> None:
    assert site_state(units(NGINX), MACHINES, 1, port=8000)["keys"] == {"/services/website/nginx@1": "10.0.0.1:8000"}


def test_a_balancer_may_be_beside_a_server_where_that_is_wanted() -> None:
    beside = {"nginx-watch": {"machine_id": "machine1"}, "nginx-loadbalancer": {"machine_id": "machine1"}}
    assert site_state(units(NGINX, beside), MACHINES, 2, shares_node=True)["faults"] == []
    assert len(site_state(units(NGINX, beside), MACHINES, 2)["faults"]) == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"nginx@1": None}, "does not know nginx@1.service"),
        ({"nginx-watch": {"machine_id": "", "states": []}}, "nginx-watch.service has no machine"),
        ({"nginx@2": {"machine_id": "machine9"}}, "on machine machine9, which is gone"),
        ({"nginx@1": {"state": {"active_state": "failed", "sub_state": "failed"}}}, "is failed (failed) on 10.0.0.1"),
        ({"nginx@1": {"state": {"hash": "b" * 40}}}, "older contents on 10.0.0.1"),
        ({"nginx@1": {"state": {"machine_id": "machine2"}}}, "nginx@1.service is not reported by 10.0.0.1"),
        (
            {"nginx@2": {"machine_id": "machine1"}, "nginx-discovery@2": {"machine_id": "machine1"}},
            "nginx@1.service and nginx@2.service share 10.0.0.1",
        ),
        ({"nginx-discovery@2": {"machine_id": "machine1"}}, "nginx-discovery@2.service is not on 10.0.0.3"),
        (
            {"nginx-watch": {"machine_id": "machine1"}, "nginx-loadbalancer": {"machine_id": "machine1"}},
            "nginx@1.service and nginx-watch.service share 10.0.0.1",
        ),
        ({"nginx-loadbalancer": {"machine_id": "machine1"}}, "nginx-loadbalancer.service is not on 10.0.0.2"),
    ],
)
def test_each_fault_is_one_sentence(changes: dict[str, Any], fault: str) -> None:
    _check_fault(site_state(units(NGINX, changes), MACHINES, 2)["faults"], fault)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"registrator": None}, "does not know registrator.service"),
        ({"registrator": {"state": {"active_state": "failed"}}}, "registrator.service is failed (running) on 10.0.0.1"),
        ({"registrator": {"state": {"machine_id": "machine2"}}}, "registrator.service is not reported by 10.0.0.1"),
        ({"dumbserve@2": None}, "does not know dumbserve@2.service"),
        ({"haproxy": {"machine_id": "machine1"}}, "haproxy.service is not on 10.0.0.2 beside haproxy-dvc.service"),
        ({"haproxy-watch": {"machine_id": "machine3"}}, "haproxy-watch.service is not on 10.0.0.2"),
    ],
)
def test_each_fault_with_haproxy_is_one_sentence(changes: dict[str, Any], fault: str) -> None:
    _check_fault(site_state(units(HAPROXY, changes), MACHINES, 2, stack="haproxy")["faults"], fault)


def test_two_balancers_on_one_machine_are_a_fault() -> None:
    moved = {name: {"machine_id": "machine3"} for name in HAPROXY_PAIR if name.endswith("@2")}
    faults = site_state(units(HAPROXY_PAIR, moved), MACHINES, 1, "haproxy", 2, service="shop")["faults"]
    _check_fault(faults, "haproxy-dvc@1.service and haproxy-dvc@2.service share 10.0.0.3")


def _check_fault(faults: list[str], fault: str) -> None:
    assert len(faults) == 1
    assert fault in faults[0]
    assert faults[0].endswith(".")


def test_an_empty_fleet_lacks_every_unit() -> None:
    state = site_state([], [], 1)
    assert len(state["faults"]) == 4
    assert (state["keys"], state["balancers"]) == ({}, [])
    assert len(site_state([], [], 1, "haproxy", 2)["faults"]) == 10
