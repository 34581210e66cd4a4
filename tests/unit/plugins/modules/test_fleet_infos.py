# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import MachineError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError
from ansible_collections.flagship.coreos.plugins.modules.fleet_machine_info import read_machines
from ansible_collections.flagship.coreos.plugins.modules.fleet_unit_info import read_units
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

OTHER_MACHINE = "f" * 32


@pytest.fixture
def server() -> Iterator[FleetServer]:
    with FleetServer() as fleet:
        fleet.machines.append({"id": OTHER_MACHINE, "primaryIP": "192.0.2.2"})
        for name, desired in (("a.service", "inactive"), ("web@1.service", "launched"), ("web@2.service", "launched")):
            options = [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}]
            fleet.units[name] = {"name": name, "options": options, "desiredState": desired}
        fleet.settle("a.service")
        fleet.settle("web@1.service")
        fleet.settle("web@2.service", active="failed", machine=OTHER_MACHINE)
        yield fleet


def client(server: FleetServer) -> FleetClient:
    names = ("ca_cert", "client_cert", "client_key", "user", "password")
    return FleetClient({"endpoint": server.endpoint, "timeout": 5.0, **dict.fromkeys(names)})


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["a.service", "web@1.service", "web@2.service"]),
        ({"name": "web@1.service"}, ["web@1.service"]),
        ({"name": "unknown.service"}, []),
        ({"name": "web@*"}, ["web@1.service", "web@2.service"]),
        ({"name": "web@[^1].service"}, ["web@2.service"]),
        ({"name": "?.service"}, ["a.service"]),
        ({"machine": MACHINE}, ["web@1.service"]),
        ({"machine": "192.0.2.2"}, ["web@2.service"]),
        ({"machine": "ff"}, ["web@2.service"]),
        ({"machine": "nobody"}, []),
        ({"state": "submitted"}, ["a.service"]),
        ({"state": "launched"}, ["web@1.service", "web@2.service"]),
        ({"state": "loaded"}, []),
        ({"active_state": "failed"}, ["web@2.service"]),
        ({"active_state": "active", "state": "launched", "name": "web@*", "machine": MACHINE}, ["web@1.service"]),
    ],
)
def test_units_are_filtered(server: FleetServer, filters: dict[str, Any], names: list[str]) -> None:
    params = {**dict.fromkeys(("name", "machine", "state", "active_state")), **filters}
    assert [unit["name"] for unit in read_units(client(server), params)] == names


def test_a_unit(server: FleetServer) -> None:
    params = {**dict.fromkeys(("name", "machine", "state", "active_state")), "name": "web@1.service"}
    found = read_units(client(server), params)[0]
    assert found["content"] == "[Service]\nExecStart=/bin/true\n"
    assert found["options"] == [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}]
    assert [state["active_state"] for state in found["states"]] == ["active"]


@pytest.mark.parametrize("name", ["a/b.service", "a/*.service", "a", ""])
def test_names_that_no_unit_has(server: FleetServer, name: str) -> None:
    with pytest.raises(UnitError):
        read_units(client(server), {**dict.fromkeys(("machine", "state", "active_state")), "name": name})
    assert server.requests == []


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, [MACHINE, OTHER_MACHINE]),
        ({"machine": "fff"}, [OTHER_MACHINE]),
        ({"machine": "192.0.2.1"}, [MACHINE]),
        ({"machine": "nobody"}, []),
        ({"metadata": {"disk": "ssd"}}, [MACHINE]),
        ({"metadata": {"disk": None}}, [OTHER_MACHINE]),
        ({"metadata": {"disk": "hdd"}}, []),
    ],
)
def test_machines_are_filtered(server: FleetServer, filters: dict[str, Any], ids: list[str]) -> None:
    params = {"machine": None, "metadata": None, "details": True, **filters}
    assert [machine["id"] for machine in read_machines(client(server), params)] == ids


def test_details_of_machines(server: FleetServer) -> None:
    params = {"machine": None, "metadata": None, "details": True}
    server.cordons[OTHER_MACHINE] = {"schedulable": False, "drain": True}
    first, second = read_machines(client(server), params)
    assert (first["schedulable"], first["drain"], second["schedulable"], second["drain"]) == (True, False, False, True)
    assert first["units"] == [{"name": "web@1.service", "active_state": "active", "sub_state": "running", "reason": ""}]
    assert second["units"][0]["active_state"] == "failed"

    server.flagship = False
    first, _second = read_machines(client(server), params)
    assert first["schedulable"] is None and first["units"][0]["name"] == "web@1.service"
    assert "units" not in read_machines(client(server), {**params, "details": False})[0]


def test_a_machine_that_leaves_meanwhile(server: FleetServer) -> None:
    respond = server.respond

    def leave(method: str, target: str, body: Any) -> Any:
        answer = respond(method, target, body)
        if target.startswith("/fleet/v1/state"):
            server.machines.pop()
        return answer

    server.respond = leave
    params = {"machine": None, "metadata": None, "details": True}
    assert [machine["id"] for machine in read_machines(client(server), params)] == [MACHINE]


def test_metadata_that_no_machine_has(server: FleetServer) -> None:
    with pytest.raises(MachineError, match="truth value"):
        read_machines(client(server), {"machine": None, "metadata": {"disk": True}, "details": True})
    assert server.requests == []
