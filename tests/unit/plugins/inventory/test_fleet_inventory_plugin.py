# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plugin as ansible-inventory runs it, on an API that a test plays."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.flagship.coreos.plugins.plugin_utils import fleet_inventory
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

COLLECTIONS = Path(fleet_inventory.__file__).parents[5]


class ReadingError(Exception):
    """What ansible-inventory said to it."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FleetServer]:
    with FleetServer(str(tmp_path / "fleet.sock")) as fleet:
        options = [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}]
        fleet.units["nginx@1.service"] = {"name": "nginx@1.service", "options": options, "desiredState": "launched"}
        fleet.settle("nginx@1.service")
        yield fleet


def inventory(directory: Path, *arguments: str, **options: Any) -> dict[str, Any]:
    """The inventory that these options lead to, as ansible-inventory --list prints it."""
    source = directory / "core.fleet.yml"
    source.write_text(yaml.safe_dump({"plugin": "flagship.coreos.fleet", **options}))
    return read(source, *arguments)


def read(source: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(json.loads(run(source, "inventory", "--list", *arguments)))
    return found


def run(source: Path, program: str, *arguments: str) -> str:
    """What the program of Ansible prints when its inventory is that source."""
    environ = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_INVENTORY_ENABLED": "flagship.coreos.fleet",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
        "COLUMNS": "10000",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"ansible.cli.{program}", "-i", str(source), *arguments],
        capture_output=True,
        text=True,
        env=environ,
        cwd=source.parent,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise ReadingError(" ".join(done.stderr.split()))
    return done.stdout


def plain(value: Any) -> Any:
    """Without what ansible-inventory 2.19 puts around strings that are no templates."""
    if isinstance(value, dict):
        if value.keys() == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def hosts(found: dict[str, Any]) -> list[str]:
    return sorted(found["_meta"]["hostvars"])


def test_hosts_and_groups(server: FleetServer, tmp_path: Path) -> None:
    data = inventory(tmp_path, endpoint=server.endpoint)
    variables = data["_meta"]["hostvars"][MACHINE]
    assert variables["ansible_host"] == "192.0.2.1"
    assert variables["fleet_machine"] == {
        "id": MACHINE,
        "primary_ip": "192.0.2.1",
        "metadata": {"disk": "ssd"},
        "units": {"nginx@1.service": "active"},
    }
    for group in ("metadata_disk_ssd", "unit_nginx_1_service", "template_nginx_service"):
        assert data[group]["hosts"] == [MACHINE]


def test_constructed_features(server: FleetServer, tmp_path: Path) -> None:
    data = inventory(
        tmp_path,
        endpoint=server.endpoint,
        hostnames=["primary_ip"],
        strict=True,
        compose={"disk": "fleet_machine.metadata.disk | upper"},
        groups={"web": "'nginx@1.service' in fleet_machine.units", "fleet": True, "none": False},
        keyed_groups=[{"key": "fleet_machine.metadata.disk", "prefix": "disk"}],
        metadata_groups=False,
        unit_groups=False,
    )
    assert data["_meta"]["hostvars"]["192.0.2.1"]["disk"] == "SSD"
    assert [data[group]["hosts"] for group in ("web", "fleet", "disk_ssd")] == [["192.0.2.1"]] * 3
    assert not any(name.startswith(("metadata_", "unit_", "none")) for name in data)
    with pytest.raises(ReadingError, match="Could not set zone"):
        inventory(
            tmp_path, endpoint=server.endpoint, strict=True, compose={"zone": "fleet_machine.metadata.zone | upper"}
        )


def test_the_cache(server: FleetServer, tmp_path: Path) -> None:
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    assert len(hosts(inventory(tmp_path, endpoint=server.endpoint, **options))) == 1
    server.machines.append({"id": "f" * 32, "primaryIP": "192.0.2.2"})
    asked = len(server.requests)
    assert len(hosts(inventory(tmp_path, endpoint=server.endpoint, **options))) == 1
    assert len(server.requests) == asked
    playbook = tmp_path / "empty.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all"}]))
    # ansible-inventory has no --flush-cache before ansible-core 2.19.
    run(tmp_path / "core.fleet.yml", "playbook", "--flush-cache", "--list-hosts", str(playbook))
    assert len(server.requests) > asked, "a refresh asks"
    assert len(hosts(inventory(tmp_path, endpoint=server.endpoint, **options))) == 2
    with FleetServer() as other:
        other.machines = []
        assert len(hosts(inventory(tmp_path, endpoint=other.endpoint, **options))) == 0, "another endpoint is asked"


def test_metadata_are_no_templates(server: FleetServer, tmp_path: Path) -> None:
    server.machines[0]["metadata"] = {"disk": "{{ lookup('ansible.builtin.pipe', 'touch " + str(tmp_path) + "/bad') }}"}
    data = inventory(tmp_path, endpoint=server.endpoint, keyed_groups=[{"key": "fleet_machine.metadata.disk"}])
    assert data["_meta"]["hostvars"][MACHINE]["fleet_machine"]["metadata"] == server.machines[0]["metadata"]
    assert not (tmp_path / "bad").exists()


def test_a_password_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key("server"))
    monkeypatch.setenv("FLEET_PASSWORD", "secret")
    with FleetServer(context=context) as server:
        server.authorization = "Basic " + base64.b64encode(b"root:secret").decode()
        good = {"endpoint": server.endpoint, "ca_cert": certificates.ca, "user": "root"}
        password = "{{ lookup('ansible.builtin.env', 'FLEET_PASSWORD') }}"
        assert hosts(inventory(tmp_path, **good, password=password)) == [MACHINE]
        with pytest.raises(ReadingError, match="401; check user and password") as caught:
            inventory(tmp_path, **good, password="wrong")
        assert "wrong" not in str(caught.value)
        with pytest.raises(ReadingError, match="is not trusted"):
            inventory(tmp_path, endpoint=server.endpoint)
        with pytest.raises(ReadingError, match="if it has TLS, use https://"):
            inventory(tmp_path, endpoint=server.endpoint.replace("https:", "http:"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"endpoint": "http://127.0.0.1:1"}, "refuses connections"),
        ({"endpoint": "core01"}, "is not understood"),
        ({"hostnames": ["name"]}, "each is one of id, primary_ip and metadata.KEY"),
        ({"timeout": "soon"}, "timeout"),
        ({"plugin": "flagship.coreos.other"}, "Incorrect plugin name"),
    ],
)
def test_bad_input(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ReadingError, match=expected):
        inventory(tmp_path, **options)


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ReadingError, match=r"did not answer within 0\.4 s"):
            inventory(tmp_path, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.4)
        assert time.monotonic() - began < 10


def test_files_of_other_plugins_are_left_alone(server: FleetServer, tmp_path: Path) -> None:
    source = tmp_path / "core.yml"
    source.write_text(yaml.safe_dump({"plugin": "flagship.coreos.fleet", "endpoint": server.endpoint}))
    with pytest.raises(ReadingError):
        read(source)
    assert server.requests == []
