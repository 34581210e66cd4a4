# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import STUCK, MachineError
from ansible_collections.flagship.coreos.plugins.modules import fleet_machine
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer


class Task:
    """The task's arguments in the place of AnsibleModule."""

    def __init__(self, server: FleetServer, check_mode: bool = False, **arguments: Any) -> None:
        self.params = dict.fromkeys(("ca_cert", "client_cert", "client_key", "user", "password", "metadata", "state"))
        self.params |= {"endpoint": server.endpoint, "timeout": 5.0, "wait": True, "wait_timeout": 5.0}
        self.params |= {"machine": MACHINE, **arguments}
        self.check_mode = check_mode
        self.result: dict[str, Any] = {"changed": False}

    def run(self) -> dict[str, Any]:
        fleet_machine.run(self, self.result)
        return self.result


@pytest.fixture
def server() -> Iterator[FleetServer]:
    with FleetServer() as fleet:
        yield fleet


def writes(server: FleetServer) -> list[tuple[str, Any]]:
    return [(method, body) for method, _path, body in server.requests if method != "GET"]


def test_metadata(server: FleetServer) -> None:
    wanted = {"metadata": {"disk": None, "zone": "a", "tape": None}}
    predicted = Task(server, check_mode=True, **wanted).run()
    assert predicted["changed"] and predicted["metadata"] == {"zone": "a"} and not writes(server)
    result = Task(server, **wanted).run()
    assert result == predicted
    assert (result["diff"]["before"]["metadata"], result["diff"]["after"]["metadata"]) == (
        {"disk": "ssd"},
        {"zone": "a"},
    )
    assert writes(server) == [
        (
            "PATCH",
            [
                {"op": "remove", "path": f"/{MACHINE}/metadata/disk"},
                {"op": "replace", "path": f"/{MACHINE}/metadata/zone", "value": {"value": "a"}},
            ],
        )
    ]
    assert server.machines[0]["metadata"] == {"zone": "a"}
    assert Task(server, **wanted).run()["changed"] is False
    assert len(writes(server)) == 1


def test_cordon_and_drain(server: FleetServer) -> None:
    predicted = Task(server, check_mode=True, state="cordoned").run()
    assert predicted["changed"] and not writes(server)
    result = Task(server, machine="192.0.2.1", state="cordoned").run()
    assert result == predicted and (result["schedulable"], result["drain"]) == (False, False)
    assert not Task(server, state="cordoned").run()["changed"]
    assert Task(server, state="drained").run()["drain"]
    assert not Task(server, state="drained").run()["changed"]
    assert Task(server, machine=MACHINE[:8], state="schedulable").run()["schedulable"]
    assert [body for _method, body in writes(server)] == [
        {"schedulable": False, "drain": False},
        {"schedulable": False, "drain": True},
        {"schedulable": True, "drain": False},
    ]


def unit(server: FleetServer, name: str, options: list[dict[str, str]]) -> None:
    server.units[name] = {"name": name, "options": options, "desiredState": "launched"}
    server.settle(name)


def test_a_drain_is_waited_for(server: FleetServer) -> None:
    unit(server, "a.service", [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}])
    unit(server, "g.service", [{"section": "X-Fleet", "name": "Global", "value": "true"}])
    server.remaining = {"a.service": "it goes next", "g.service": "a global unit, or one that cannot be read, stays"}
    timer = threading.Timer(1.0, server.remaining.pop, ("a.service",))
    timer.start()
    result = Task(server, state="drained").run()
    assert [item["name"] for item in result["units"] if item["reason"]] == ["g.service"]
    timer.join()


def test_a_drain_that_takes_too_long(server: FleetServer) -> None:
    server.remaining = {"a.service": "it goes next"}
    task = Task(server, state="drained", wait_timeout=0.5)
    with pytest.raises(
        FleetError, match=r"\(192\.0\.2\.1\) is not drained after 0\.5 s: a\.service \(it goes next\) still"
    ):
        task.run()
    assert task.result["changed"] and task.result["drain"]
    assert task.result["units"][0]["reason"] == "it goes next"
    assert not Task(server, state="drained", wait=False).run()["changed"]


def test_a_drain_that_cannot_succeed_ends_early(server: FleetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_machine, "STUCK_FOR", 0.5)
    server.remaining = {"a.service": STUCK}
    with pytest.raises(FleetError, match=f"cannot be drained as things are: a.service .{STUCK}. still there; give the"):
        Task(server, state="drained", wait_timeout=60.0).run()


@pytest.mark.parametrize("check_mode", [True, False])
def test_fleet_1_0_0(server: FleetServer, check_mode: bool) -> None:
    server.flagship = False
    with pytest.raises(
        FleetError, match=r"can neither cordon nor drain machines, as fleet 1\.0\.0 cannot; leave state out"
    ):
        Task(server, check_mode, state="drained", metadata={"zone": "a"}).run()
    assert writes(server) == []
    result = Task(server, metadata={"zone": "a"}).run()
    assert result["changed"] and result["schedulable"] is None


def test_bad_input(server: FleetServer) -> None:
    with pytest.raises(MachineError, match="is not made of letters"):
        Task(server, metadata={"a b": "c"}).run()
    with pytest.raises(MachineError, match="wait_timeout -1 is below zero"):
        Task(server, state="drained", wait_timeout=-1.0).run()
    assert server.requests == []
    with pytest.raises(MachineError, match=f"there is no live machine nobody in the cluster; it has {MACHINE}"):
        Task(server, machine="nobody", state="cordoned").run()
    assert writes(server) == []
