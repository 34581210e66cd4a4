# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of a whole daemon over its unix socket, on a real etcd; only systemd is simulated."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.fleet.columns import vars_of
from flagship.fleet.model import Unit
from flagship.fleet.unit_file import parse

from fleet.simulated import Node

HELLO = [vars_of(o) for o in parse("[Unit]\nDescription=Hello\n[Service]\nExecStart=/bin/sleep 1\n")]
OTHER = [vars_of(o) for o in parse("[Service]\nExecStart=/bin/sleep 2\n")]
UNAVAILABLE = "fleet server unable to communicate with etcd"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def message(self) -> str:
        assert self.json["error"]["code"] == self.status
        return str(self.json["error"]["message"])


class Caller:
    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, method: str, path: str, body: Any = None, content_type: str | None = None) -> Answer:
        connection = http.client.HTTPConnection("domain-sock", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(self.node.socket)
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type or "application/json"}
        if content_type == "":
            headers = {}
        connection.request(method, path, data, headers)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def put(self, name: str, **members: Any) -> Answer:
        return self("PUT", f"/fleet/v1/units/{name}", {"name": name, **members})

    def unit(self, name: str) -> Any:
        return self("GET", f"/fleet/v1/units/{name}").json


@pytest.fixture
def call(make_node: Callable[..., Node]) -> Iterator[Caller]:
    yield Caller(make_node("m1", metadata={"region": "west"}, token_limit=3).start())


def test_life_of_a_unit(call: Caller) -> None:
    created = call.put("hello.service", options=HELLO)
    assert (created.status, created.body, created.headers["Content-Type"]) == (201, b"", None)
    assert created.headers["Server"] == "fleetd/1.0.0"
    # fleetctl 1.0.0 waits for ever if a new unit has no currentState.
    assert call.unit("hello.service") == {
        "name": "hello.service",
        "options": HELLO,
        "desiredState": "inactive",
        "currentState": "inactive",
    }
    changed = call.put("hello.service", desiredState="launched")
    assert (changed.status, changed.body, changed.headers["Content-Type"]) == (204, b"", None)
    assert call.unit("hello.service")["desiredState"] == "launched"
    wait_for(lambda: call.unit("hello.service")["currentState"] == "launched", what="launched")
    assert call.unit("hello.service")["machineID"] == call.node.id
    state = call("GET", "/fleet/v1/state/hello.service").json
    assert state["machineID"] == call.node.id and len(state["hash"]) == 40
    assert (state["systemdLoadState"], state["systemdActiveState"]) == ("loaded", "active")
    assert call.put("hello.service", desiredState="launched").status == 204

    assert call.put("hello.service", options=OTHER).status == 201
    assert call.unit("hello.service")["desiredState"] == "inactive"
    wait_for(lambda: call.unit("hello.service")["currentState"] == "inactive", what="inactive after a replacement")
    deleted = call("DELETE", "/fleet/v1/units/hello.service")
    assert (deleted.status, deleted.body, deleted.headers["Content-Type"]) == (204, b"", None)
    missing = call("GET", "/fleet/v1/units/hello.service")
    assert (missing.status, missing.message) == (404, "unit does not exist")
    assert call("DELETE", "/fleet/v1/units/hello.service").message == "unit does not exist"
    # A 404 here crashes fleetctl 1.0.0.
    assert call("GET", "/fleet/v1/state/hello.service").json == {"name": "hello.service"}


@pytest.mark.parametrize(
    ("name", "body", "content_type", "status", "message"),
    [
        ("a.service", {"options": HELLO}, "text/plain", 415, "only Content-Type application/json"),
        ("a.service", {"options": HELLO}, "", 415, "only Content-Type application/json"),
        # As WSGI shows two headers.
        (
            "a.service",
            {"options": HELLO},
            "application/json; charset=utf-8, application/json",
            415,
            "only Content-Type",
        ),
        ("a.service", "{", None, 400, "the request body is not JSON"),
        ("a.service", "[]", None, 400, "the request body must be a JSON object"),
        (
            "a.service",
            {"name": "b.service", "options": HELLO},
            None,
            400,
            "name 'b.service' in the request body",
        ),
        ("a.serviceX", {"options": HELLO}, None, 400, "unit name 'a.serviceX' must end in"),
        ("a.service", {}, None, 409, "unit does not exist and options field empty"),
        ("a.service", {"options": HELLO, "desiredState": "on"}, None, 400, "desiredState 'on' must be one of"),
        ("a@.service", {"options": HELLO, "desiredState": "launched"}, None, 400, "unit a@.service is a template"),
        ("a.service", {"options": [1]}, None, 400, "each of options must be a JSON object"),
        ("a.service", {"options": {}}, None, 400, "member options must be a list"),
        (
            "a.service",
            {"options": [{"section": "A", "name": "b", "value": "c\nd=e"}]},
            None,
            400,
            "unit a.service cannot",
        ),
        ("a.service", {"options": [{"section": 1}]}, None, 400, "member section must be a string"),
        (
            "a.service",
            {"options": [{"section": "X-Fleet", "name": "MachineOff", "value": "x"}]},
            None,
            400,
            'unrecognized requirement in [X-Fleet] section: "MachineOff"',
        ),
    ],
)
def test_refused_puts_say_why_and_store_nothing(
    call: Caller, name: str, body: Any, content_type: str | None, status: int, message: str
) -> None:
    answer = call("PUT", f"/fleet/v1/units/{name}", body, content_type)
    assert (answer.status, answer.message[: len(message)]) == (status, message)
    assert call("GET", "/fleet/v1/units").json == {}


def test_restart_as_fleetctl_1_0_0_does_it(call: Caller) -> None:
    call.put("a.service", options=HELLO, desiredState="launched")
    wait_for(lambda: call.unit("a.service")["currentState"] == "launched", what="launched")
    for number in (1, 2):
        assert call.put("a.service", desiredState="loaded").status == 204
        # It asks for the first time after 0.25 s, and waits for ever unless it finds `launched` now.
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            assert call.unit("a.service")["currentState"] == "launched"
        assert call.put("a.service", desiredState="launched").status == 204
        wait_for(lambda n=number: call.node.systemd.count("restart", "a.service") == n, what="a restart")  # type: ignore[misc]
        assert call.unit("a.service")["currentState"] == "launched"
    assert call.node.systemd.count("stop", "a.service") == 0


def test_stop_and_start_again(call: Caller) -> None:
    call.put("a.service", options=HELLO, desiredState="launched")
    wait_for(lambda: call.unit("a.service")["currentState"] == "launched", what="launched")
    call.put("a.service", desiredState="loaded")
    wait_for(lambda: call.unit("a.service")["currentState"] == "loaded", limit=5, what="loaded")
    assert not call.node.running
    call.put("a.service", desiredState="launched")
    wait_for(lambda: call.unit("a.service")["currentState"] == "launched", what="launched again")
    assert call.node.running == {"a.service"} and call.node.systemd.count("restart", "a.service") == 0


def test_puts_to_a_known_unit(call: Caller) -> None:
    assert call.put("a.service", options=HELLO).status == 201
    assert call.put("a.service").status == 409
    assert call.put("a.service", options=HELLO).status == 409
    assert call.put("a.service", desiredState="on").status == 400
    assert call.put("a.service", options=[{"section": "X-Fleet", "name": "Foo", "value": "x"}]).status == 400
    assert call.put("a.service", options=HELLO, desiredState="loaded").status == 204
    wait_for(lambda: call.unit("a.service")["currentState"] == "loaded", what="loaded")
    assert call.put("t@.service", options=HELLO).status == 201
    assert call.put("t@.service", desiredState="loaded").status == 400


def test_bodies_are_read_as_leniently_as_go_does(call: Caller) -> None:
    body = '{"Name":"a.service","OPTIONS":[{"Section":"Service","NAME":"ExecStart"}],"new":1} trailing'
    assert call("PUT", "/fleet/v1/units/a.service", body, "application/json; charset=utf-8").status == 201
    assert call.unit("a.service")["options"] == [{"section": "Service", "name": "ExecStart"}]


def test_options_are_stored_as_a_file_would_hold_them(call: Caller) -> None:
    sent = [("Unit", " Description ", " Hello\t"), ("Service", "ExecStart", "a \\\n  b "), ("Unit", "After", "x")]
    options = [{"section": section, "name": name, "value": value} for section, name, value in sent]
    assert call.put("a.service", options=options, desiredState="loaded").status == 201
    found = [(o["section"], o["name"], o["value"]) for o in call.unit("a.service")["options"]]
    assert found == [("Unit", "Description", "Hello"), ("Unit", "After", "x"), ("Service", "ExecStart", "a \\\n  b")]
    # What says the same is no change, which would stop the unit.
    assert call.put("a.service", options=options).status == 409
    assert call.put("a.service", options=options, desiredState="loaded").status == 204


@pytest.mark.parametrize("name", ["web%401.service", "a%5Cx2db.service", "a%3A1.service"])
def test_names_are_percent_decoded(call: Caller, name: str) -> None:
    assert call("PUT", f"/fleet/v1/units/{name}", {"options": HELLO}).status == 201
    assert call("GET", f"/fleet/v1/units/{name}?alt=json").status == 200
    assert call("GET", f"/v1-alpha/units/{name}").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 405),
        ("GET", "/fleet/v1", 405),
        ("GET", "/nothing", 404),
        ("GET", "/fleet/v1/units/", 404),
        ("GET", "/fleet/v1/machines/", 404),
        ("GET", "/fleet/v1/units/a/b", 404),
        ("GET", "/fleet/v1/units/a%2Fb.service", 404),
        ("HEAD", "/fleet/v1/units", 405),
        ("OPTIONS", "/fleet/v1/units", 405),
        ("POST", "/fleet/v1/units", 405),
        ("POST", "/fleet/v1/state", 405),
        ("POST", "/fleet/v1/discovery", 400),
        ("TRACE", "/fleet/v1/discovery", 400),
        ("TRACE", "/fleet/v1", 405),
        ("GET", "/fleet/v1/discovery", 200),
        ("GET", "/v1-alpha/machines", 200),
        ("GET", "/metrics", 200),
        ("DELETE", "/fleet/v1/units/none.service", 404),
        ("GET", "/fleet/v1/units?nextPageToken=EwBMLg==", 400),
        ("GET", "/fleet/v1/units?nextPageToken=!", 400),
        ("GET", "/fleet/v1/units?nextPageToken=AwABAA==&nextPageToken=AwABAA==", 400),
        ("GET", "/fleet/v1/units?nextPageToken=AwAAAA==", 400),
        ("GET", "/fleet/v1/units?nextPageToken=AwAJAA==", 200),
    ],
)
def test_routes(call: Caller, method: str, path: str, status: int) -> None:
    assert call(method, path).status == status


def test_errors_have_json_and_405_names_the_methods(call: Caller) -> None:
    assert call("GET", "/nothing").json == {"error": {"code": 404, "message": ""}}
    assert call("POST", "/fleet/v1/machines").message == "only GET, PATCH supported against this resource"


@pytest.mark.parametrize(
    ("path", "location"),
    [("/fleet//v1/units?a=b", "/fleet/v1/units?a=b"), ("//fleet/v1/units", "/fleet/v1/units"), ("/x//", "/x/")],
)
def test_duplicate_slashes_are_cleaned(call: Caller, path: str, location: str) -> None:
    answer = call("GET", path)
    assert (answer.status, answer.headers["Location"]) == (301, location)


def test_pages(call: Caller) -> None:
    names = [f"u{n}.service" for n in range(6)]
    for name in reversed(names):
        assert call.put(name, options=HELLO).status == 201
    first = call("GET", "/fleet/v1/units").json
    assert [unit["name"] for unit in first["units"]] == names[:3]
    assert first["nextPageToken"] == base64.urlsafe_b64encode(struct.pack("<HH", 3, 2)).decode()
    second = call("GET", f"/fleet/v1/units?nextPageToken={first['nextPageToken'].replace('=', '%3D')}").json
    assert [unit["name"] for unit in second["units"]] == names[3:]
    # As with fleet, a full last page has a token, and the page behind it is empty.
    assert call("GET", f"/fleet/v1/units?nextPageToken={second['nextPageToken']}").json == {}


def test_machines_and_their_metadata(call: Caller) -> None:
    machine = {"id": call.node.id, "primaryIP": "192.0.2.1", "metadata": {"region": "west"}}
    assert call("GET", "/fleet/v1/machines").json == {"machines": [machine]}

    def patch(*operations: Any) -> Answer:
        return call("PATCH", "/fleet/v1/machines", list(operations))

    path = f"/{call.node.id}/metadata/"
    answer = patch(
        {"op": "add", "path": f"{path}disk", "value": {"value": "ssd"}},
        {"op": "replace", "path": f"{path}rack", "value": "r1"},
        {"op": "remove", "path": f"{path}region"},
        {"op": "add", "path": "/absent/metadata/a", "value": {"value": "b"}},
    )
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (204, b"", "application/json")
    assert call("GET", "/fleet/v1/machines").json["machines"] == [
        {**machine, "metadata": {"disk": "ssd", "rack": "r1"}}
    ]
    for bad in (
        {"op": "test", "path": f"{path}a", "value": "b"},
        {"op": "add", "path": "/x/y/z", "value": "b"},
        {"op": "add", "path": f"{path}a", "value": {"value": ""}},
    ):
        assert patch({"op": "add", "path": f"{path}never", "value": "x"}, bad).status == 400
    assert "never" not in call("GET", "/fleet/v1/machines").json["machines"][0]["metadata"]
    assert call("PATCH", "/fleet/v1/machines", "").status == 400
    odd = f'[{{"OP":"add","Path":"{path}odd","VALUE":{{"Value":"x","y":1}},"z":2}}] and more'
    assert call("PATCH", "/fleet/v1/machines", odd, "text/plain").status == 204
    assert call("GET", "/fleet/v1/machines").json["machines"][0]["metadata"]["odd"] == "x"
    assert patch().status == 204


def test_patched_metadata_move_units(call: Caller) -> None:
    options = [*HELLO, {"section": "X-Fleet", "name": "MachineMetadata", "value": "disk=ssd"}]
    call.put("a.service", options=options, desiredState="launched")
    why = call("GET", "/flagship/v1/why/a.service").json
    assert why["machines"] == [{"id": call.node.id, "reason": "needs metadata disk=ssd; the machine has no disk"}]
    value = {"op": "add", "path": f"/{call.node.id}/metadata/disk", "value": "ssd"}
    call("PATCH", "/fleet/v1/machines", [value])
    wait_for(lambda: call.unit("a.service")["currentState"] == "launched", what="launched")
    assert call("GET", "/flagship/v1/why/none.service").status == 404


def test_states_are_filtered_and_global_units_have_no_machine(call: Caller) -> None:
    options = [*HELLO, {"section": "X-Fleet", "name": "Global", "value": "true"}]
    call.put("g.service", options=options, desiredState="launched")
    call.put("a.service", options=HELLO, desiredState="launched")
    wait_for(lambda: len(call("GET", "/fleet/v1/state").json.get("states", [])) == 2, what="two states")
    assert [s["name"] for s in call("GET", "/fleet/v1/state?unitName=g.service").json["states"]] == ["g.service"]
    assert len(call("GET", f"/fleet/v1/state?machineID={call.node.id}").json["states"]) == 2
    assert call("GET", "/fleet/v1/state?machineID=other").json == {}
    assert "machineID" not in call.unit("g.service") and "currentState" not in call.unit("g.service")
    listed = {unit["name"]: unit for unit in call("GET", "/fleet/v1/units").json["units"]}
    assert listed["g.service"]["currentState"] == "inactive" and "machineID" not in listed["g.service"]


def test_cordon_of_a_machine(call: Caller) -> None:
    path = f"/flagship/v1/machines/{call.node.id}"
    assert call("GET", path).json == {
        "id": call.node.id,
        "primaryIP": "192.0.2.1",
        "metadata": {"region": "west"},
        "schedulable": True,
        "drain": False,
        "units": [],
    }
    for bad in ({}, {"schedulable": "no"}, {"schedulable": False, "drain": 1}, {"schedulable": True, "drain": True}):
        assert call("PUT", f"{path}/schedulable", bad).status == 400
    assert call("PUT", "/flagship/v1/machines/none/schedulable", {"schedulable": False}).status == 404
    assert call("GET", "/flagship/v1/machines/none").status == 404
    assert call("PUT", f"{path}/schedulable", {"schedulable": False}).status == 204
    assert call("GET", path).json["schedulable"] is False
    call.put("a.service", options=HELLO, desiredState="launched")
    why = call("GET", "/flagship/v1/why/a.service").json
    assert why["machines"][0]["reason"] == "the machine is cordoned and takes no more units"
    assert call("PUT", f"{path}/schedulable", {"schedulable": True}).status == 204
    wait_for(lambda: call.unit("a.service")["currentState"] == "launched", what="launched")
    assert call("GET", path).json["units"] == [{"name": "a.service", "reason": ""}]


def test_metrics_and_discovery(call: Caller) -> None:
    wait_for(lambda: b"fleet_engine_reconcile_count_total" in call("GET", "/metrics").body, what="metrics")
    answer = call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    types = dict(line.split()[2:] for line in answer.body.decode().splitlines() if line.startswith("# TYPE"))
    assert types == {
        "fleet_engine_leader_start_time": "gauge",
        "fleet_engine_task_count_total": "counter",
        "fleet_engine_task_failure_count_total": "counter",
        "fleet_engine_reconcile_count_total": "counter",
        "fleet_engine_reconcile_failure_count_total": "counter",
    }
    call.put("a.service", options=HELLO, desiredState="launched")
    task = b'fleet_engine_task_count_total{type="place"} 1\n'
    wait_for(lambda: task in call("GET", "/metrics").body, what="a task to be counted")
    document = call("GET", "/fleet/v1/discovery").json
    assert call("GET", "/v1-alpha/discovery").json == document
    assert {key: document[key] for key in ("kind", "id", "name", "version", "basePath", "servicePath")} == {
        "kind": "discovery#restDescription",
        "id": "fleet:v1",
        "name": "schema",
        "version": "v1",
        "basePath": "/fleet/v1/",
        "servicePath": "fleet/v1/",
    }
    assert (document["rootUrl"], document["baseUrl"]) == ("$ENDPOINT/", "$ENDPOINT/fleet/v1/")
    assert {name: set(schema["properties"]) for name, schema in document["schemas"].items()} == {
        "Machine": {"id", "primaryIP", "metadata"},
        "MachinePage": {"machines", "nextPageToken"},
        "UnitOption": {"section", "name", "value"},
        "Unit": {"name", "options", "desiredState", "currentState", "machineID"},
        "UnitPage": {"units", "nextPageToken"},
        "UnitState": {"name", "hash", "machineID", "systemdLoadState", "systemdActiveState", "systemdSubState"},
        "UnitStatePage": {"states", "nextPageToken"},
    }
    resources = document["resources"]
    assert {name: set(resource["methods"]) for name, resource in resources.items()} == {
        "Machines": {"List"},
        "Units": {"List", "Get", "Delete", "Set"},
        "UnitState": {"Get", "List"},
    }
    # What the document says of each method is what the API does.
    for resource in resources.values():
        for method in resource["methods"].values():
            path = "/fleet/v1/" + method["path"].replace("{unitName}", "a.service")
            body = {"desiredState": "loaded"} if method["httpMethod"] == "PUT" else None
            if method["httpMethod"] != "DELETE":
                assert call(method["httpMethod"], path, body).status in (200, 204)
            assert set(method.get("parameterOrder", [])) == set(re.findall("{(.+?)}", method["path"]))


def test_every_path_says_503_while_the_store_is_lost(call: Caller, etcd_server: EtcdServer) -> None:
    etcd_server.pause()
    wait_for(lambda: call("GET", "/fleet/v1/units").status == 503, limit=20, what="503")
    assert call("GET", "/nothing").message == UNAVAILABLE
    etcd_server.resume()
    wait_for(lambda: call("GET", "/fleet/v1/units").status == 200, limit=20, what="200 again")


def test_before_it_is_registered_a_node_says_503(make_node: Callable[..., Node], etcd_server: EtcdServer) -> None:
    etcd_server.stop()
    call = Caller(make_node("m1").start(wait=False))
    assert call("GET", "/fleet/v1/machines").message == UNAVAILABLE


@pytest.mark.parametrize("behind", ["nothing", "the first change"])
def test_what_a_node_knows_may_be_old(call: Caller, monkeypatch: pytest.MonkeyPatch, behind: str) -> None:
    """Another node has answered for a change before this one sees it."""
    assert call.node.service is not None
    view = call.node.service.view
    old: tuple[Unit | None, int] = (None, 0)
    assert call.put("a.service", options=HELLO).status == 201
    if behind == "the first change":
        old = view.stored_unit("a.service")
        assert call.put("a.service", desiredState="loaded").status == 204
    monkeypatch.setattr(view, "stored_unit", lambda name: old)
    for members, status, state in (
        ({"desiredState": "loaded"}, 204, "loaded"),
        ({"desiredState": "loaded"}, 204, "loaded"),
        ({"options": HELLO, "desiredState": "inactive"}, 204, "inactive"),
        ({"options": OTHER}, 201, "inactive"),
        ({"options": OTHER, "desiredState": "loaded"}, 204, "loaded"),
        ({}, 409, "loaded"),
    ):
        assert call.put("a.service", **members).status == status, members
        assert call.unit("a.service")["desiredState"] == state, members
    assert call.unit("a.service")["options"] == OTHER
    assert [call("DELETE", "/fleet/v1/units/a.service").status for _time in range(2)] == [204, 404]
