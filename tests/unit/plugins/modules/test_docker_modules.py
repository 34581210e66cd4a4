# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    CONNECTION,
    DockerError,
    errors_as_sentences,
    open_client,
)
from ansible_collections.flagship.coreos.plugins.modules import (
    docker_container,
    docker_container_info,
    docker_image,
    docker_network,
)
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.docker_server import BREAK, HANG, DockerServer

IMAGE_ID = "sha256:" + "1" * 64
IMAGE = {"Id": IMAGE_ID, "RepoTags": ["web:1"], "Config": {"Env": ["PATH=/bin"]}}
CONTAINER: dict[str, Any] = {
    "Id": "a" * 64,
    "Name": "/web",
    "Image": IMAGE_ID,
    "State": {"Status": "running", "Running": True, "Paused": False, "Restarting": False},
    "Config": {"Hostname": "web", "Env": ["PATH=/bin", "MODE=a"], "Labels": {}, "Image": "web:1"},
    "HostConfig": {"NetworkMode": "default", "Memory": 0},
    "NetworkSettings": {"Networks": {"bridge": {}}},
}
NETWORK = {"Id": "n1", "Name": "lab", "Driver": "bridge", "IPAM": {"Config": []}, "Labels": {}}


class Failed(Exception):  # noqa: N818
    """What fail_json says."""


class Task:
    """The task's arguments in the place of AnsibleModule."""

    _diff = True

    def __init__(self, module: Any, host: str, check_mode: bool = False, **arguments: Any) -> None:
        spec = {**module.OPTIONS, **CONNECTION}
        self.params = {name: option.get("default") for name, option in spec.items()}
        self.params.update({"docker_host": host, "timeout": 20}, **arguments)
        self.check_mode = check_mode
        self.warnings: list[str] = []
        self.module = module

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def fail_json(self, msg: str) -> None:
        raise Failed(msg)

    def run(self) -> Any:
        client = open_client(self.params)
        with errors_as_sentences(self, "the thing"):
            if self.module is docker_container_info:
                return docker_container_info.read_containers(client, self.params["name"], {})
            return self.module.run(self, client)


@pytest.fixture
def engine() -> Iterator[DockerServer]:
    with DockerServer() as server:
        server.add(CONTAINER, IMAGE)
        server.answers["GET /networks"] = (200, [NETWORK])
        server.answers["GET /networks/n1"] = (200, NETWORK)
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


UNCHANGED: dict[Any, tuple[dict[str, Any], list[str]]] = {
    docker_container: (
        {"name": "web", "image": "web:1", "env": {"MODE": "a"}, "labels": {}, "networks": [{"name": "bridge"}]},
        ["GET /containers/json", "GET /containers/web/json", "GET /images/web:1/json"],
    ),
    docker_container_info: ({"name": "web"}, ["GET /containers/web/json"]),
    docker_image: ({"name": "web:1"}, ["GET /images/web:1/json"]),
    docker_network: ({"name": "lab", "labels": {}}, ["GET /networks", "GET /networks/n1"]),
}


@pytest.mark.parametrize("module", UNCHANGED, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize("check_mode", [False, True])
def test_what_does_not_differ_costs_these_requests_and_no_others(
    engine: DockerServer, module: Any, check_mode: bool
) -> None:
    arguments, requests = UNCHANGED[module]
    result = Task(module, engine.host, check_mode, **arguments).run()
    assert module is docker_container_info or result["changed"] is False
    assert engine.requests == ["GET /version", *requests]


@pytest.mark.parametrize("module", UNCHANGED, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HANG, "gave no answer for 0.5 s while it worked on the thing; look whether it hangs, or set timeout to more."),
        (BREAK, "broke while it worked on the thing ("),
        ((200, b"<html>"), "broke while it worked on the thing (what answers there is no Docker engine)"),
        ((500, {"message": "disk full"}), "refused what was asked for the thing: disk full."),
    ],
)
def test_an_engine_that_fails_at_work_is_named(engine: DockerServer, module: Any, answer: Any, says: str) -> None:
    arguments, requests = UNCHANGED[module]
    engine.answers[requests[-1]] = answer
    start = time.monotonic()
    with pytest.raises(Failed, match=re.escape(f"Docker engine at {engine.host} ") + ".*" + re.escape(says)):
        Task(module, engine.host, **arguments, timeout=0.5 if answer == HANG else 20).run()
    assert time.monotonic() - start < 10


def test_a_pull_that_hangs_is_given_up(engine: DockerServer) -> None:
    engine.answers["POST /images/create"] = HANG
    start = time.monotonic()
    with pytest.raises(Failed, match=r"gave no answer for 0\.5 s"):
        Task(docker_container, engine.host, name="web", image="other:1", timeout=0.5).run()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_server_that_is_no_docker_engine_is_named(body: bytes) -> None:
    with DockerServer() as server:
        server.answers["GET /version"] = (200, body)
        says = f"No Docker engine answers at {server.host} (what answers there is no Docker engine); start it"
        with pytest.raises(DockerError, match=re.escape(says)):
            Task(docker_container_info, server.host).run()


def server_context(certificates: Certificates, verify: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.key("server"))
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
    return context


def test_tls_with_client_certificates(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.client)
    client = {"client_cert": certificates.client, "client_key": certificates.key("client")}
    with DockerServer(context=server_context(certificates, verify=True)) as server:
        server.answers["GET /containers/json"] = (200, [])
        assert Task(docker_container_info, server.host, ca_cert=certificates.ca, **client).run() == []


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("plain to TLS", r"\(Remote end closed connection without response\)"),
        ("TLS to plain", r"\(.*SSL.*\); set ca_cert, .* none where it speaks no TLS\."),
        ("unknown authority", r"\(.*certificate verify failed.*\)"),
        ("no client certificate", r"\(.+\); set ca_cert, client_cert and client_key .*"),
    ],
)
def test_tls_that_does_not_fit_is_named(certificates: Certificates, case: str, says: str) -> None:
    context = None if case == "TLS to plain" else server_context(certificates, case == "no client certificate")
    options: dict[str, Any] = {"ca_cert": certificates.client if case == "unknown authority" else certificates.ca}
    with DockerServer(context=context) as server, pytest.raises(DockerError) as caught:
        Task(docker_container_info, server.host, **({} if case == "plain to TLS" else options)).run()
    assert re.match(f"No Docker engine answers at {re.escape(server.host)} {says}", str(caught.value))


def test_a_name_that_is_taken_meanwhile_is_named(engine: DockerServer) -> None:
    engine.answers["GET /containers/json"] = (200, [])
    why = 'Conflict. The container name "/web" is already in use by container "bbb".'
    engine.answers["POST /containers/create"] = (409, {"message": why})
    says = f"The container web could not be created on {engine.host}: the name web was taken meanwhile; choose another"
    with pytest.raises(Failed, match=re.escape(says)):
        Task(docker_container, engine.host, name="web", image="web:1").run()


@pytest.mark.parametrize("name", ["we", "a" * 12, "web.flagship-new"])
def test_a_container_that_only_looks_like_it_is_left_alone(engine: DockerServer, name: str) -> None:
    task = Task(docker_container, engine.host, True, name=name, image="web:1")
    assert [action["action"] for action in task.run()["actions"]] == ["create", "start"]


def test_warnings_of_the_engine_are_shown(engine: DockerServer) -> None:
    engine.answers["POST /containers/web/update"] = (200, {"Warnings": ["no swap"]})
    engine.answers[f"POST /containers/{CONTAINER['Id']}/update"] = (200, {"Warnings": ["no swap"]})
    task = Task(docker_container, engine.host, name="web", cpus=1.5, pids_limit=7)
    assert task.run()["actions"] == [{"action": "update", "options": ["cpus", "pids_limit"]}]
    assert task.warnings == ["no swap"]
    sent = engine.bodies[f"POST /containers/{CONTAINER['Id']}/update"]
    assert sent == {"NanoCpus": 1500000000, "PidsLimit": 7}


NEW_ID = "b" * 64


def start_replacing(engine: DockerServer) -> None:
    """Let the engine do what a replacement needs; each test then makes one step fail."""
    engine.answers["POST /containers/create"] = (201, {"Id": NEW_ID, "Warnings": None})
    engine.answers[f"GET /containers/{NEW_ID}/json"] = (200, {**CONTAINER, "Id": NEW_ID})
    for identity in (CONTAINER["Id"], NEW_ID):
        for step in ("stop", "start", "rename"):
            engine.answers[f"POST /containers/{identity}/{step}"] = (204, None)
        engine.answers[f"DELETE /containers/{identity}"] = (204, None)
    engine.answers["DELETE /containers/web.flagship-previous"] = (204, None)


@pytest.mark.parametrize(
    ("step", "undone"),
    [
        ("POST /containers/create", []),
        (f"GET /containers/{NEW_ID}/json", ["DELETE new"]),
        ("POST /containers/{old}/stop", ["DELETE new", "start old"]),
        ("POST /containers/{old}/rename", ["DELETE new", "start old"]),
        (f"POST /containers/{NEW_ID}/rename", ["DELETE new", "start old"]),
        (f"POST /containers/{NEW_ID}/start", ["DELETE new", "start old"]),
    ],
)
def test_a_replacement_that_fails_at_any_step_leaves_the_old_container(
    engine: DockerServer, step: str, undone: list[str]
) -> None:
    start_replacing(engine)
    failing = step.format(old=CONTAINER["Id"])
    engine.answers[failing] = (500, {"message": "out of order"})
    networks = [{"name": "bridge"}]
    with pytest.raises(Failed, match="out of order"):
        Task(docker_container, engine.host, name="web", image="web:1", hostname="other", networks=networks).run()
    after = engine.requests[engine.requests.index(failing) + 1 :]
    names = {NEW_ID: "new", CONTAINER["Id"]: "old"}
    done = [f"{request.split()[0]} {names[request.split('/')[2]]}" for request in after if request.startswith("DELETE")]
    done += [f"start {names[request.split('/')[2]]}" for request in after if request.endswith("/start")]
    assert done == undone
    assert f"DELETE /containers/{CONTAINER['Id']}" not in engine.requests
    assert "DELETE /containers/web.flagship-previous" not in engine.requests


def test_a_replacement_keeps_the_old_container_until_the_new_one_is_healthy(engine: DockerServer) -> None:
    start_replacing(engine)
    log = [{"ExitCode": 9, "Output": "no route"}]
    sick = {**CONTAINER["State"], "Health": {"Status": "unhealthy", "Log": log}}
    engine.answers[f"GET /containers/{NEW_ID}/json"] = (200, {**CONTAINER, "Id": NEW_ID, "State": sick})
    with pytest.raises(Failed, match=r"is unhealthy; its last check ended with 9 and said: no route\. The previous"):
        Task(docker_container, engine.host, name="web", image="web:1", hostname="other", state="healthy").run()
    assert engine.asked("DELETE") == [f"DELETE /containers/{NEW_ID}"]
    assert engine.requests[-1] == f"POST /containers/{CONTAINER['Id']}/start"


OTHER_ID = "c" * 64
MEMBERS = {CONTAINER["Id"]: "web", OTHER_ID: "api"}


def put_into_network(engine: DockerServer) -> None:
    """Have two containers in the network and let the engine do what a replacement needs."""
    engine.answers["GET /containers/json"] = (
        200,
        [{"Id": identity, "NetworkSettings": {"Networks": {"lab": {}}}} for identity in MEMBERS],
    )
    for identity, name in MEMBERS.items():
        found = {**CONTAINER, "Id": identity, "Name": f"/{name}", "NetworkSettings": {"Networks": {"lab": {}}}}
        engine.answers[f"GET /containers/{identity}/json"] = (200, found)
    engine.answers["POST /networks/n1/connect"] = (200, None)
    engine.answers["POST /networks/n1/disconnect"] = (200, None)
    engine.answers["POST /networks/create"] = (201, {"Id": "n1"})
    engine.answers["DELETE /networks/n1"] = (204, None)


@pytest.mark.parametrize(
    ("step", "says", "connected"),
    [
        ("DELETE /networks/n1", r"The network lab could not be removed from \S+: out of order\.", 2),
        ("POST /networks/n1/disconnect", r"The network lab could not be removed from \S+: out of order\.", 0),
        (
            "POST /networks/create",
            r"It could not be made as it was either \(.*\), and is missing now to these .* api, web\.",
            0,
        ),
        (
            "POST /networks/n1/connect",
            r"be connected to the network lab on \S+ again: api \(out of order\), web \(out of",
            2,
        ),
    ],
)
def test_a_network_that_cannot_be_made_anew_keeps_its_containers(
    engine: DockerServer, step: str, says: str, connected: int
) -> None:
    put_into_network(engine)
    engine.answers[step] = (500, {"message": "out of order"})
    with pytest.raises(Failed, match=says):
        Task(docker_network, engine.host, name="lab", recreate=True, appends=False, force=True).run()
    assert engine.requests.count("POST /networks/n1/connect") == connected


def test_a_network_that_the_engine_refuses_is_made_as_it_was(engine: DockerServer) -> None:
    put_into_network(engine)
    engine.answers["POST /networks/create"] = [(500, {"message": "out of order"}), (201, {"Id": "n1"})]
    with pytest.raises(Failed, match=r"The network lab could not be created on .*: out of order"):
        Task(docker_network, engine.host, name="lab", recreate=True, appends=False, force=True).run()
    assert engine.asked("POST")[-2:] == ["POST /networks/n1/connect"] * 2


def test_a_network_made_anew_has_its_containers(engine: DockerServer) -> None:
    put_into_network(engine)
    result = Task(docker_network, engine.host, name="lab", recreate=True, appends=False, force=True).run()
    assert result["actions"] == [{"action": "replace", "because": ["recreate"], "containers": ["api", "web"]}]
    changes = [request.removeprefix("POST /networks/") for request in engine.asked("POST", "DELETE")]
    assert changes == ["n1/disconnect"] * 2 + ["DELETE /networks/n1", "create"] + ["n1/connect"] * 2


@pytest.mark.parametrize("arguments", [{"state": "absent"}, {"hostname": "other"}, {"restart": True}, {"cpus": 2.0}])
def test_check_mode_only_asks(engine: DockerServer, arguments: dict[str, Any]) -> None:
    result = Task(docker_container, engine.host, True, name="web", image="web:1", **arguments).run()
    assert result["changed"] is True
    assert engine.asked("POST", "DELETE") == []


def test_a_new_engine_is_asked_in_a_version_that_it_takes() -> None:
    with DockerServer(api="1.52", oldest="1.44") as server:
        server.answers["GET /containers/json"] = (200, [])
        client = open_client(Task(docker_container_info, server.host).params)
        assert client.api_version == "1.44"


@pytest.mark.parametrize("module", UNCHANGED, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_examples_have_options_that_are_accepted(module: Any) -> None:
    name = "flagship.coreos." + module.__name__.rpartition(".")[2]
    tasks = [task[name] for task in yaml.safe_load(module.EXAMPLES) if name in task]
    assert tasks
    for task in tasks:
        checked = ArgumentSpecValidator({**module.OPTIONS, **CONNECTION}).validate(task or {})
        assert checked.error_messages == []
        if hasattr(module, "prepared"):
            module.prepared(checked.validated_parameters)


@pytest.mark.parametrize("module", [docker_container, docker_image], ids=["container", "image"])
@pytest.mark.parametrize(("digest", "changed"), [("sha256:77", False), ("sha256:88", True)])
def test_check_mode_asks_the_registry(engine: DockerServer, module: Any, digest: str, changed: bool) -> None:
    engine.answers["GET /images/web:1/json"] = (200, {**IMAGE, "RepoDigests": ["web@sha256:66", "web@sha256:77"]})
    engine.answers["GET /distribution/web:1/json"] = (200, {"Descriptor": {"digest": digest}})
    options: dict[str, Any] = {"name": "web:1", "force": True}
    if module is docker_container:
        options = {"name": "web", "image": "web:1", "pull": "always"}
    result = Task(module, engine.host, True, **options).run()
    expected = ["pull", "replace"] if module is docker_container else ["pull"]
    assert [action["action"] for action in result["actions"]] == (expected if changed else [])
    assert result["changed"] is changed
    assert engine.asked("POST", "DELETE") == []


def test_check_mode_says_that_the_registry_does_not_answer(engine: DockerServer) -> None:
    engine.answers["GET /distribution/web:1/json"] = (500, {"message": "no route"})
    with pytest.raises(Failed, match=re.escape("The image web:1 could not be pulled (no route); check its name")):
        Task(docker_container, engine.host, True, name="web", image="web:1", pull="always").run()


def test_an_engine_that_is_too_old_is_named() -> None:
    with DockerServer(api="1.40") as server:
        says = f"The Docker engine at {server.host} speaks version 1.40 of the API and is older than Docker 20.10"
        with pytest.raises(DockerError, match=re.escape(says)):
            open_client(Task(docker_container_info, server.host).params)


def test_a_file_that_is_not_there_is_named(engine: DockerServer, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=re.escape(f"The file {tmp_path}/none for the thing cannot be used (No such file")):
        Task(docker_container, engine.host, name="web", env_file=f"{tmp_path}/none").run()
