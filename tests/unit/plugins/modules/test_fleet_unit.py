# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils import fleet_wait
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, parse
from ansible_collections.flagship.coreos.plugins.modules import fleet_unit
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

TEXT = "[Service]\nExecStart=/bin/true\n"
OTHER_TEXT = TEXT + "User=www\n"
OTHER_MACHINE = "f" * 32


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, server: FleetServer, check_mode: bool = False, **arguments: Any) -> None:
        names = ["ca_cert", "client_cert", "client_key", "user", "password", "content", "src", "options", "instances"]
        names += ["serial", "pause", "health"]
        self.params = {**dict.fromkeys(names), "endpoint": server.endpoint, "timeout": 5.0, "state": "launched"}
        self.params.update({"wait": True, "wait_timeout": 5.0, "name": "a.service", "replace": "at_once"}, **arguments)
        self.check_mode = check_mode
        self.warnings: list[str] = []
        self.result: dict[str, Any] = {"changed": False}

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run_command(self, command: list[str], **_options: Any) -> tuple[int, str, str]:
        assert command[2] == "journalctl"
        return 0, f"{command[4]}: no such file\n", ""

    def run(self) -> dict[str, Any]:
        check = self.params["health"]
        if check:
            etcd = {**dict.fromkeys(("ca_cert", "client_cert", "client_key", "user", "password")), "timeout": 2.0}
            self.params["health"] = {"etcd_key": None, "url": None, "ca_cert": None, **check}
            self.params["health"]["etcd"] = {**etcd, "endpoints": ["http://127.0.0.1:2379"], **check.get("etcd", {})}
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
        ({"name": "a@.service", "content": TEXT, "state": "restarted"}, "a template cannot run itself"),
        ({"content": TEXT, "serial": 2}, "serial is given but replace is at_once"),
        ({"content": TEXT, "replace": "rolling", "wait": False}, "wait is false"),
        ({"content": TEXT, "health": {"url": "{address}"}}, "is not understood"),
        ({"name": "a@.service", "instances": 1, "health": {"etcd_key": "/{x}"}}, "which the unit does not have"),
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


WEB = {"name": "w@.service", "instances": 3}


def instances(server: FleetServer, text: str) -> list[str]:
    """The instances that have this text."""
    options = [{"section": option.section, "name": option.name, "value": option.value} for option in parse(text)]
    return [name for name, unit in sorted(server.units.items()) if unit["options"] == options and "@." not in name]


def test_no_instances_need_no_contents(server: FleetServer) -> None:
    none = {**WEB, "instances": 0}
    result = Task(server, **none).run()
    assert not result["changed"] and not writes(server) and result["instances"] == []
    Task(server, content=TEXT, **WEB).run()
    assert [item["action"] for item in Task(server, **none).run()["actions"]] == ["delete"] * 3
    assert instances(server, TEXT) == []
    assert not Task(server, **none).run()["changed"]


def test_contents_are_kept_if_they_shall_be(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    task = Task(server, content=OTHER_TEXT, replace="never", state="loaded", **{**WEB, "instances": 4})
    result = task.run()
    assert instances(server, TEXT) == ["w@1.service", "w@2.service", "w@3.service"]
    assert instances(server, OTHER_TEXT) == ["w@4.service"]
    assert [item["current_state"] for item in result["instances"]] == ["loaded"] * 4
    assert result["instances"][0]["hash"] != result["instances"][3]["hash"]
    assert "unit w@1.service has other contents in the cluster and keeps them" in task.warnings[1]


def test_a_roll_replaces_one_after_the_other(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    server.requests.clear()
    predicted = Task(server, content=OTHER_TEXT, replace="rolling", check_mode=True, **WEB).run()
    assert predicted["changed"] and not writes(server)
    running: list[int] = []

    def obey(name: str) -> None:
        running.append(sum(state["systemdActiveState"] == "active" for state in server.states))
        server.settle(name)

    server.obey = obey
    result = Task(server, content=OTHER_TEXT, replace="rolling", pause=0.1, **WEB).run()
    assert running == [3, 3, 3, 3]
    assert result["actions"] == predicted["actions"] and result["diff"] == predicted["diff"]
    assert [item["action"] for item in result["actions"]] == ["replace"] * 4
    assert instances(server, OTHER_TEXT) == ["w@1.service", "w@2.service", "w@3.service"]
    assert not Task(server, content=OTHER_TEXT, replace="rolling", **WEB).run()["changed"]


def test_a_roll_stops_at_the_first_failure_and_goes_on_later(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    server.obey = lambda name: server.settle(name, active="failed" if name == "w@2.service" else "active")
    server.requests.clear()
    task = Task(server, content=OTHER_TEXT, replace="rolling", **WEB)
    with pytest.raises(FleetError, match=r"unit w@2.service does not run") as caught:
        task.run()
    assert "the roll stopped in step 4 of 4" not in str(caught.value)
    here = f"on machine {MACHINE} (192.0.2.1)"
    assert f"untouched: w@3.service {here}" in str(caught.value)
    assert task.result["roll"]["failed"] == ["w@2.service"]
    assert task.result["roll"]["untouched"] == ["w@3.service"]
    assert task.result["changed"]
    reported = {item["name"]: item["hash"] for item in task.result["instances"]}
    assert reported["w@3.service"] != reported["w@1.service"] == reported["w@2.service"]

    # While the second is not well, the third is left alone; then the roll goes on.
    server.requests.clear()
    with pytest.raises(FleetError, match=r"unit w@2.service does not run"):
        Task(server, content=OTHER_TEXT, replace="rolling", **WEB).run()
    assert writes(server) == []
    server.obey = server.settle
    server.settle("w@2.service")
    Task(server, content=OTHER_TEXT, replace="rolling", **WEB).run()
    assert writes(server) == [("PUT", "w%403.service")]


def test_a_roll_begins_with_the_unit_that_is_not_well(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    server.settle("w@2.service", active="failed")
    server.requests.clear()
    Task(server, content=OTHER_TEXT, replace="rolling", **WEB).run()
    assert [path[4:5] for _method, path in writes(server)] == [".", "2", "1", "3"]


def test_a_roll_waits_for_the_health_of_each(server: FleetServer, tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as etcd:
        health = {"etcd_key": "/services/w/{instance}", "etcd": {"endpoints": [etcd.url]}}
        for number in (1, 2, 3):
            etcd.etcdctl("put", f"/services/w/{number}", "192.0.2.1:80")
        Task(server, content=TEXT, health=health, **WEB).run()

        def obey(name: str) -> None:
            server.settle(name)
            if name == "w@2.service":
                etcd.etcdctl("del", "/services/w/2")

        server.obey = obey
        task = Task(server, content=OTHER_TEXT, replace="rolling", health=health, wait_timeout=1.0, **WEB)
        with pytest.raises(FleetError, match=r"but the key /services/w/2 is not in etcd; .*untouched: w@3.service"):
            task.run()
        assert instances(server, OTHER_TEXT) == ["w@1.service", "w@2.service"]
        etcd.etcdctl("put", "/services/w/2", "192.0.2.1:80")
        Task(server, content=OTHER_TEXT, replace="rolling", health=health, **WEB).run()
        assert instances(server, OTHER_TEXT) == ["w@1.service", "w@2.service", "w@3.service"]


def test_a_unit_that_dies_in_the_pause_stops_the_roll(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    timers: list[threading.Timer] = []

    def obey(name: str) -> None:
        server.settle(name)
        if name == "w@1.service":
            timers.append(threading.Timer(0.5, server.settle, (name, "failed")))
            timers[0].start()

    server.obey = obey
    with pytest.raises(FleetError, match=r"unit w@1.service does not run.*untouched: w@2.service"):
        Task(server, content=OTHER_TEXT, replace="rolling", pause=1.0, **WEB).run()
    timers[0].join()


class SlowAgent:
    """An agent that looks once a second and acts on what it finds then, as that of fleet 1.0.0; counts starts."""

    def __init__(self, server: FleetServer) -> None:
        self._server = server
        self._running: dict[str, Any] = {}
        self.starts = 0
        server.obey = lambda name: None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SlowAgent:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.4):
            for name, unit in list(self._server.units.items()):
                runs = unit["options"] if unit["desiredState"] == "launched" else None
                if runs != self._running.get(name):
                    self.starts += runs is not None
                    self._running[name] = runs
                    self._server.settle(name)


def test_a_restart_is_seen_to_happen(server: FleetServer) -> None:
    with SlowAgent(server) as agent:
        assert Task(server, content=TEXT, state="restarted").run()["changed"]
        assert agent.starts == 1, "a new unit is started once"
        predicted = Task(server, state="restarted", check_mode=True).run()
        assert predicted["changed"] and predicted["actions"] == [{"name": "a.service", "action": "restart"}]
        assert "launched again" in predicted["diff"][0]["after"]
        result = Task(server, state="restarted", wait=False).run()
        assert result["changed"] and result["actions"] == predicted["actions"]
        assert Task(server).run()["current_state"] == "launched"
        assert agent.starts == 2
        Task(server, content=OTHER_TEXT, state="restarted").run()
        assert agent.starts == 3, "new contents restart by themselves"


def test_a_roll_restarts_one_after_the_other(server: FleetServer) -> None:
    Task(server, content=TEXT, **WEB).run()
    server.requests.clear()
    result = Task(server, state="restarted", replace="rolling", serial=2, **WEB).run()
    assert [item["action"] for item in result["actions"]] == ["restart"] * 3
    assert [path[4:5] for _method, path in writes(server)] == ["1", "2", "1", "2", "3", "3"]


def test_a_unit_that_does_not_stop_is_told_to_run_again(server: FleetServer) -> None:
    Task(server, content=TEXT).run()
    server.obey = lambda name: None
    with pytest.raises(FleetError, match=r"reports active/running .*did not stop for its restart and is told to run"):
        Task(server, state="restarted", wait_timeout=0.5).run()
    assert server.units["a.service"]["desiredState"] == "launched"


def test_the_start_after_a_stop_is_tried_until_the_api_answers(server: FleetServer) -> None:
    Task(server, content=TEXT).run()
    timers: list[threading.Timer] = []

    def back() -> None:
        server.answer = None

    def obey(name: str) -> None:
        server.settle(name)
        if not timers:
            server.answer = (503, "{}")
            timers.append(threading.Timer(1.0, back))
            timers[0].start()

    server.obey = obey
    assert Task(server, state="restarted").run()["changed"]
    assert server.units["a.service"]["desiredState"] == "launched"
    timers[0].join()


def test_the_journal_of_a_unit_on_this_host(server: FleetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_wait, "local_machine_id", lambda: MACHINE)
    server.obey = lambda name: server.settle(name, active="failed")
    task = Task(server, content=TEXT)
    with pytest.raises(FleetError, match=r"failed/failed .loaded.; its journal ends with: a.service: no such file"):
        task.run()
    assert task.result["journal"] == ["a.service: no such file"]


def test_where_the_journal_of_another_host_is(server: FleetServer) -> None:
    server.obey = lambda name: server.settle(name, active="failed")
    with pytest.raises(FleetError, match=rf"read journalctl --unit a.service on machine {MACHINE} \(192\.0\.2\.1\)"):
        Task(server, content=TEXT).run()


def test_fleet_1_0_0_is_served_as_well(server: FleetServer) -> None:
    server.flagship = False
    Task(server, content=TEXT, **WEB).run()
    Task(server, content=OTHER_TEXT, replace="rolling", state="restarted", **WEB).run()
    assert instances(server, OTHER_TEXT) == ["w@1.service", "w@2.service", "w@3.service"]
    assert len(Task(server, name="g.service", content=GLOBAL).run()["states"]) == 1
