# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every fleet module does with bad input and bad servers, through its real arguments: one sentence, in time."""

from __future__ import annotations

import base64
import importlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

NAME = "ansible_collections.flagship.coreos.plugins.modules."
UNIT = {"name": "a.service", "content": "[Service]\nExecStart=/bin/true\n", "wait_timeout": 5}
GOOD: dict[str, dict[str, Any]] = {
    "fleet_unit": UNIT,
    "fleet_unit_info": {},
    "fleet_machine": {"machine": MACHINE, "state": "cordoned"},
    "fleet_machine_info": {},
}
MODULES = pytest.mark.parametrize("module", GOOD)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(module: str, **arguments: Any) -> dict[str, Any]:
        given = {name: value for name, value in {**GOOD[module], **arguments}.items() if value is not None}
        # ansible.module_utils.testing does this, but only from ansible-core 2.19 on.
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            importlib.import_module(NAME + module).main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        if found.get("failed"):
            assert "\n" not in found["msg"] and "Traceback" not in found["msg"]
        return found

    return call


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Certificates) -> Iterator[FleetServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key("server"))
    with FleetServer(context=context) as fleet:
        fleet.authorization = "Basic " + base64.b64encode(b"root:secret").decode()
        yield fleet


@MODULES
def test_all_is_well(run: Any, module: str, server: FleetServer, certificates: Certificates) -> None:
    good = {"endpoint": server.endpoint, "ca_cert": certificates.ca, "user": "root", "password": "secret"}
    assert not run(module, **good).get("failed")
    assert "secret" not in json.dumps(run(module, **good, _ansible_diff=True, _ansible_check_mode=True))


@MODULES
def test_a_wrong_password(run: Any, module: str, server: FleetServer, certificates: Certificates) -> None:
    options = {"endpoint": server.endpoint, "ca_cert": certificates.ca, "user": "root", "password": "wrong-one"}
    found = run(module, **options)
    assert "401; check user and password" in found["msg"]
    assert "wrong-one" not in json.dumps(found)
    assert "401; check user and password" in run(module, endpoint=server.endpoint, ca_cert=certificates.ca)["msg"]


@MODULES
def test_tls_that_does_not_match(run: Any, module: str, server: FleetServer, certificates: Certificates) -> None:
    assert "is not trusted" in run(module, endpoint=server.endpoint)["msg"]
    assert "if it has TLS, use https://" in run(module, endpoint=server.endpoint.replace("https:", "http:"))["msg"]
    assert "has no TLS" in run(module, endpoint="http://127.0.0.1:1", ca_cert=certificates.ca)["msg"]
    with FleetServer() as plain:
        found = run(module, endpoint=plain.endpoint.replace("http:", "https:"), ca_cert=certificates.ca)
        assert "check that it speaks TLS" in found["msg"]


@MODULES
def test_a_server_that_accepts_and_never_answers(run: Any, module: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "fleet.sock"))
        unix.listen(8)
        port = tcp.getsockname()[1]
        for endpoint in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}", f"unix://{tmp_path}/fleet.sock"):
            began = time.monotonic()
            found = run(module, endpoint=endpoint, timeout=0.4)
            assert time.monotonic() - began < 8
            assert f"the fleet API at {endpoint}" in found["msg"] and "did not answer within 0.4 s" in found["msg"]
            assert not found.get("changed")


@MODULES
@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:1", "refuses connections; start fleet there, or correct endpoint"),
        ("unix:///does/not/exist.sock", "has no socket; start fleet.socket on this host"),
        ("core01:49153", "is not understood"),
        ("http://me:secret@127.0.0.1:1", "contains a user or password"),
    ],
)
def test_nobody_is_there(run: Any, module: str, endpoint: str, expected: str) -> None:
    msg = run(module, endpoint=endpoint)["msg"]
    assert expected in msg and "secret" not in msg


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        ("fleet_unit", {"timeout": "soon"}, "timeout"),
        ("fleet_unit", {"name": "a/b.service"}, "contains '/'"),
        ("fleet_unit", {"src": "/a"}, "mutually exclusive: content|src|options"),
        (
            "fleet_unit",
            {"content": None, "options": [{"section": "Service"}]},
            "missing required arguments: name found in",
        ),
        ("fleet_unit", {"content": None, "options": ["ExecStart"]}, "dictionary requested"),
        ("fleet_unit", {"state": "started"}, "must be one of: submitted, loaded, launched, restarted, absent"),
        ("fleet_unit", {"replace": "rolling", "serial": "1.5"}, "serial"),
        ("fleet_unit", {"replace": "rolling", "wait": False}, "wait is false"),
        ("fleet_unit", {"health": {}}, "one of the following is required: etcd_key, url"),
        ("fleet_unit", {"health": {"url": "http://a/", "status": 200}}, "Unsupported parameters"),
        (
            "fleet_unit",
            {"health": {"etcd_key": "/a", "etcd": {"endpoints": ["http://127.0.0.1:1"], "user": "root"}}},
            "user and password belong together",
        ),
        ("fleet_unit_info", {"name": "a/b.service"}, "contains '/'"),
        ("fleet_unit_info", {"state": "absent"}, "must be one of: submitted, loaded, launched"),
        ("fleet_machine", {"state": None}, "one of the following is required: metadata, state"),
        ("fleet_machine", {"state": "rebooted"}, "must be one of: schedulable, cordoned, drained"),
        ("fleet_machine", {"metadata": "disk"}, "metadata"),
        ("fleet_machine", {"metadata": {"a/b": "c"}}, "is not made of letters"),
        ("fleet_machine_info", {"metadata": ["disk"]}, "metadata"),
        ("fleet_machine_info", {"details": "perhaps"}, "details"),
    ],
)
def test_arguments_that_cannot_be_meant(run: Any, module: str, arguments: dict[str, Any], expected: str) -> None:
    found = run(module, endpoint="http://127.0.0.1:1", **arguments)
    assert found["failed"] and expected in found["msg"] and "refuses connections" not in found["msg"]
