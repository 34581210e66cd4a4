# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.filter.site_state import FilterModule, site_state

MACHINES = [{"id": f"machine{number}", "primary_ip": f"10.0.0.{number}", "metadata": {}} for number in (1, 2, 3)]
PLACES = {
    "nginx@1.service": "machine1",
    "nginx-discovery@1.service": "machine1",
    "nginx@2.service": "machine3",
    "nginx-discovery@2.service": "machine3",
    "nginx-watch.service": "machine2",
    "nginx-loadbalancer.service": "machine2",
}


def units(**changes: Any) -> list[dict[str, Any]]:
    """A site without faults, but for `changes`: unit name (- and @ and . as _) -> what differs; None: unknown unit."""
    found = []
    for name, machine in PLACES.items():
        change = changes.get(name.translate(str.maketrans("-@.", "___")), {})
        if change is None:
            continue
        machine = change.get("machine_id", machine)
        state = {"machine_id": machine, "hash": "a" * 40, "active_state": "active", "sub_state": "running"}
        state.update(change.get("state", {}))
        found.append({"name": name, "machine_id": machine, "hash": "a" * 40, "states": [state]})
    return found


def test_a_good_site_has_no_faults() -> None:
    state = FilterModule().filters()["site_state"](units(), MACHINES, 2)
    assert state == {
        "faults": [],
        "keys": {"/services/website/nginx@1": "10.0.0.1:80", "/services/website/nginx@2": "10.0.0.3:80"},
        "titles": ["Welcome to nginx1", "Welcome to nginx2"],
        "balancer": "machine2",
    }


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"nginx_1_service": None}, "does not know nginx@1.service"),
        ({"nginx_watch_service": {"machine_id": ""}}, "nginx-watch.service has no machine"),
        ({"nginx_2_service": {"machine_id": "machine9"}}, "on machine machine9, which is gone"),
        (
            {"nginx_1_service": {"state": {"active_state": "failed", "sub_state": "failed"}}},
            "is failed (failed) on 10.0.0.1",
        ),
        ({"nginx_1_service": {"state": {"hash": "b" * 40}}}, "older contents on 10.0.0.1"),
        ({"nginx_1_service": {"state": {"machine_id": "machine2"}}}, "nginx@1.service is not reported by 10.0.0.1"),
        (
            {"nginx_2_service": {"machine_id": "machine1"}, "nginx_discovery_2_service": {"machine_id": "machine1"}},
            "nginx@1.service and nginx@2.service share 10.0.0.1",
        ),
        ({"nginx_discovery_2_service": {"machine_id": "machine1"}}, "nginx-discovery@2.service is not on 10.0.0.3"),
        (
            {
                "nginx_watch_service": {"machine_id": "machine1"},
                "nginx_loadbalancer_service": {"machine_id": "machine1"},
            },
            "nginx-watch.service and nginx@1.service share 10.0.0.1",
        ),
        ({"nginx_loadbalancer_service": {"machine_id": "machine1"}}, "nginx-loadbalancer.service is not on 10.0.0.2"),
    ],
)
def test_each_fault_is_one_sentence(changes: dict[str, Any], fault: str) -> None:
    faults = site_state(units(**changes), MACHINES, 2)["faults"]
    assert len(faults) == 1
    assert fault in faults[0]
    assert faults[0].endswith(".")


def test_an_empty_fleet_lacks_every_unit() -> None:
    state = site_state([], [], 1)
    assert len(state["faults"]) == 4
    assert (state["keys"], state["balancer"]) == ({}, "")
