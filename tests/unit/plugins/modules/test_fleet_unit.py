# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError
from ansible_collections.flagship.coreos.plugins.modules import fleet_unit
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

TEXT = "[Service]\nExecStart=/bin/true\n"
OTHER_MACHINE = "f" * 32


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, server: FleetServer, check_mode: bool = False, **arguments: Any) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password", "content", "src", "options", "instances")
        self.params = {**dict.fromkeys(names), "endpoint": server.endpoint, "timeout": 5.0, "state": "launched"}
        self.params.update({"wait": True, "wait_timeout": 5.0, "name": "a.service"}, **arguments)
        self.check_mode = check_mode
        self.warnings: list[str] = []
        self.result: dict[str, Any] = {"changed": False}

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run(self) -> dict[str, Any]:
        fleet_unit.run(self, self.result)
        return self.result


@pytest.fixture
def server() -> Iterator[FleetServer]:
    with FleetServer() as fleet:
        yield fleet


def writes(server: FleetServer) -> list[tuple[str, str]]:
    return [(method, path.rpartition("/")[2]) for method, path, _body in server.requests if method != "GET"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "a/b.service", "content": TEXT}, "contains '/'"),
        ({"content": TEXT + "nonsense"}, "line 3: 'nonsense'"),
        ({"content": "[X-Fleet]\nMachineof=b.service"}, "did you mean MachineOf"),
        ({"content": "[X-Fleet]\nGlobal=true\nMachineOf=b.service"}, "Global cannot be used with MachineOf"),
        ({"content": ""}, "no option"),
        ({"options": [{"section": "S", "name": "a", "value": "b\nc"}]}, "cannot be written"),
        ({"src": "/does/not/exist"}, "src /does/not/exist cannot be read"),
        ({"name": "a@.service", "content": TEXT}, "a template cannot run itself"),
        ({"content": TEXT, "instances": 2}, "no template"),
        ({"name": "a@.service", "content": TEXT, "instances": "two"}, "neither a number nor a list"),
        ({"name": "a@.service", "instances": ["1"], "state": "absent"}, "remove each by its full name"),
    ],
)
def test_bad_input_is_refused_before_the_cluster_is_asked(
    server: FleetServer, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UnitError, match=expected):
        Task(server, **arguments).run()
    assert server.requests == []


def test_an_unknown_unit_without_contents_changes_nothing(server: FleetServer) -> None:
    with pytest.raises(UnitError, match="does not exist"):
        Task(server).run()
    assert writes(server) == []


def test_life_of_a_unit(server: FleetServer, tmp_path: Path) -> None:
    predicted = Task(server, check_mode=True, content=TEXT).run()
    assert predicted["changed"] and not writes(server)
    created = Task(server, content=TEXT).run()
    assert created["changed"] and created["diff"] == predicted["diff"]
    assert (created["current_state"], created["machine_id"]) == ("launched", MACHINE)
    assert created["states"][0]["active_state"] == "active"

    source = tmp_path / "a.service"
    source.write_text("# the same\n" + TEXT)
    assert not Task(server, src=str(source)).run()["changed"]
    options = [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}]
    assert not Task(server, options=options).run()["changed"]
    assert not Task(server, options=options, check_mode=True).run()["changed"]

    replaced = Task(server, content=TEXT + "User=www\n", state="loaded").run()
    assert replaced["current_state"] == "loaded"
    assert "+User=www" not in replaced["diff"][0]["before"] and "User=www" in replaced["diff"][0]["after"]
    assert Task(server).run()["hash"] == replaced["hash"], "without contents only the state changes"
    assert Task(server, state="absent").run()["changed"]
    assert not Task(server, state="absent").run()["changed"]
    assert writes(server) == [("PUT", "a.service")] * 3 + [("DELETE", "a.service")]


def test_a_source_that_is_not_text(server: FleetServer, tmp_path: Path) -> None:
    (tmp_path / "a.service").write_bytes(b"\xff")
    with pytest.raises(UnitError, match="not UTF-8"):
        Task(server, src=str(tmp_path / "a.service")).run()


def test_instances_follow_the_number(server: FleetServer) -> None:
    def names() -> list[str]:
        return sorted(server.units)

    result = Task(server, name="w@.service", content=TEXT, instances=2).run()
    assert names() == ["w@.service", "w@1.service", "w@2.service"]
    assert [item["current_state"] for item in result["instances"]] == ["launched", "launched"]
    assert result["current_state"] == "inactive"
    assert Task(server, name="w@.service", content=TEXT, instances=2).run()["changed"] is False
    Task(server, name="w@.service", instances=["blue"]).run()
    Task(server, name="w@.service", content=TEXT, instances=1).run()
    assert names() == ["w@.service", "w@1.service", "w@blue.service"]


def test_a_unit_that_fails_ends_the_wait(server: FleetServer) -> None:
    server.obey = lambda name: server.settle(name, active="failed")
    began = time.monotonic()
    task = Task(server, content=TEXT, wait_timeout=30.0)
    with pytest.raises(FleetError, match=f"a.service does not run: machine {MACHINE} reports failed/failed"):
        task.run()
    assert time.monotonic() - began < 5
    assert task.result["changed"] and task.result["states"][0]["active_state"] == "failed"


def test_a_failure_that_passes_is_waited_out(server: FleetServer) -> None:
    looks = 0

    def respond(method: str, target: str, body: Any) -> Any:
        nonlocal looks
        looks += target.startswith("/fleet/v1/state")
        if looks == 3:
            server.settle("a.service")
        return FleetServer.respond(server, method, target, body)

    server.obey = lambda name: server.settle(name, active="failed")
    server.respond = respond
    assert Task(server, content=TEXT).run()["states"][0]["active_state"] == "active"


def test_the_reason_for_no_place_is_told(server: FleetServer) -> None:
    server.obey = lambda name: None
    server.reasons["a.service"] = {MACHINE: "conflicts with b.service"}
    with pytest.raises(FleetError, match=f"placed on no machine .{MACHINE}: conflicts with b.service"):
        Task(server, content=TEXT, wait_timeout=0.5).run()


def test_no_place_on_an_engine_without_reasons(server: FleetServer) -> None:
    server.obey = lambda name: None
    with pytest.raises(FleetError, match=r"after 0\.5 s: it is placed on no machine; compare its"):
        Task(server, content=TEXT, wait_timeout=0.5).run()


def test_an_api_that_goes_away_is_waited_for(server: FleetServer) -> None:
    def obey(name: str) -> None:
        server.settle(name)
        server.answer = (503, "{}")

    server.obey = obey
    task = Task(server, content=TEXT, wait_timeout=0.5)
    with pytest.raises(FleetError, match=r"not known after 0\.5 s, because .* 503"):
        task.run()
    assert task.result["changed"]


def test_no_wait(server: FleetServer) -> None:
    server.obey = lambda name: None
    result = Task(server, content=TEXT, wait=False).run()
    assert (result["desired_state"], result["current_state"], result["states"]) == ("launched", "inactive", [])


GLOBAL = TEXT + "[X-Fleet]\nGlobal=true\nMachineMetadata=disk=ssd\n"


def test_a_global_unit_without_a_machine_warns(server: FleetServer) -> None:
    server.obey = lambda name: None
    task = Task(server, content=GLOBAL.replace("ssd", "tape"))
    task.run()
    assert "no machine can run the global unit a.service" in task.warnings[0]


def test_a_global_unit_is_awaited_where_it_can_run(server: FleetServer) -> None:
    server.machines.append({"id": OTHER_MACHINE, "primaryIP": "192.0.2.2", "metadata": {"disk": "ssd"}})
    task = Task(server, content=GLOBAL, wait_timeout=0.5)
    with pytest.raises(FleetError, match=f"machine {OTHER_MACHINE} has not reported it"):
        task.run()
    server.reasons["a.service"] = {OTHER_MACHINE: "conflicts with b.service"}
    assert not Task(server, content=GLOBAL, wait_timeout=0.5).run()["changed"]


def test_a_unit_moved_by_the_engine_is_still_reached(server: FleetServer) -> None:
    server.obey = lambda name: server.settle(name, machine=OTHER_MACHINE)
    assert Task(server, content=TEXT).run()["machine_id"] == OTHER_MACHINE
