# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine, UnitState
from ansible_collections.flagship.coreos.plugins.plugin_utils.fleet_inventory import (
    Host,
    InventoryError,
    check_hostnames,
    host_name,
    hosts,
)

MACHINES = [
    Machine("f" * 32, "192.0.2.2", {"zone": "b"}),
    Machine("0" * 32, "192.0.2.1", {"zone": "a", "name": "core01"}),
    Machine("a" * 32, "", {}),
]


def state(unit: str, machine: Machine, active: str) -> UnitState:
    return UnitState(unit, "", machine.id, "loaded", active, "sub")


STATES = [
    state("nginx@1.service", MACHINES[0], "active"),
    state("nginx@2.service", MACHINES[1], "failed"),
    state("agent.service", MACHINES[0], "reloading"),
    state("agent.service", MACHINES[1], "active"),
]


@pytest.mark.parametrize(
    ("hostnames", "names"),
    [
        (["id"], ["f" * 32, "0" * 32, "a" * 32]),
        (["metadata.name", "primary_ip"], ["192.0.2.2", "core01", "a" * 32]),
        (["primary_ip", "metadata.name"], ["192.0.2.2", "192.0.2.1", "a" * 32]),
        ([], ["f" * 32, "0" * 32, "a" * 32]),
    ],
)
def test_names(hostnames: list[str], names: list[str]) -> None:
    check_hostnames(hostnames)
    assert [host_name(machine, hostnames) for machine in MACHINES] == names


@pytest.mark.parametrize("preference", ["name", "metadata.", "", "ID"])
def test_names_that_are_not_understood(preference: str) -> None:
    with pytest.raises(InventoryError, match="hostnames has"):
        check_hostnames(["id", preference])


def test_hosts() -> None:
    found = hosts(MACHINES, STATES, ["metadata.name", "id"], metadata_groups=True, unit_groups=True)
    assert [host.name for host in found] == ["a" * 32, "core01", "f" * 32]
    assert found[0] == Host("a" * 32, {"fleet_machine": {**MACHINES[2]._asdict(), "units": {}}}, [])
    assert found[1].variables["ansible_host"] == "192.0.2.1"
    assert found[1].variables["fleet_machine"]["units"] == {"nginx@2.service": "failed", "agent.service": "active"}
    assert found[1].groups == ["metadata_name_core01", "metadata_zone_a", "unit_agent.service"]
    assert found[2].groups == [
        "metadata_zone_b",
        "template_nginx.service",
        "unit_agent.service",
        "unit_nginx@1.service",
    ]


def test_groups_that_are_not_wanted() -> None:
    found = hosts(MACHINES, STATES, [], metadata_groups=False, unit_groups=False)
    assert [host.groups for host in found] == [[], [], []]


def test_two_machines_of_one_name() -> None:
    machines = [machine._replace(metadata={"name": "core01"}) for machine in MACHINES]
    with pytest.raises(InventoryError, match="would both be host core01; give them different metadata"):
        hosts(machines, [], ["metadata.name"], metadata_groups=True, unit_groups=True)
