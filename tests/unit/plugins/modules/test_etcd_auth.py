# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdClient, EtcdError
from ansible_collections.flagship.coreos.plugins.modules import etcd_auth
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer

NOBODY = dict.fromkeys(("ca_cert", "client_cert", "client_key", "user", "password"))
ALL = {"key": "", "prefix": True}
FLEET = {"key": "/_coreos.com/fleet/", "prefix": True}
SERVICES = {"key": "/services/", "prefix": True}


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, connection: dict[str, Any], check_mode: bool = False, **options: Any) -> None:
        self.params = {"timeout": 5.0, "roles": None, "users": None, "enabled": None, **connection, **options}
        self.check_mode = check_mode
        self.result: dict[str, Any] = {"changed": False}

    def run(self) -> dict[str, Any]:
        etcd_auth.run(self, self.result)
        return self.result


def role(name: str, access: str, *keys: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "permissions": [{"prefix": False, **key, "access": access} for key in keys]}


def user(name: str, *roles: str) -> dict[str, Any]:
    return {"name": name, "roles": list(roles)}


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The connection to a server without TLS."""
    with EtcdServer(tmp_path) as server:
        yield {**NOBODY, "endpoints": [server.url]}


def test_life_of_roles_and_users(plain: dict[str, Any]) -> None:
    wanted = {"roles": [role("watch", "read", SERVICES, {"key": "/one"})], "users": [user("watch", "watch")]}
    predicted = Task(plain, check_mode=True, **wanted).run()
    assert predicted["changed"] and predicted["before"] == {"enabled": False, "roles": {}, "users": {}}
    assert Task(plain, check_mode=True, **wanted).run() == predicted
    made = Task(plain, **wanted).run()
    assert made == predicted
    assert made["after"] == {
        "enabled": False, "roles": {"watch": ["read /one", "read /services/*"]}, "users": {"watch": ["watch"]}
    }  # fmt: skip
    assert made["steps"] == [
        "add role: role watch",
        "grant permission: role watch, read /services/*",
        "grant permission: role watch, read /one",
        "add user: user watch",
        "grant role: role watch, user watch",
    ]
    assert not Task(plain, **wanted).run()["changed"]
    less = {
        "roles": [role("watch", "readwrite", {"key": "/one"}), role("all", "write", ALL)],
        "users": [user("watch", "all")],
    }
    changed = Task(plain, **less).run()
    assert changed["after"]["roles"] == {"watch": ["readwrite /one"], "all": ["write *"]}
    assert changed["after"]["users"] == {"watch": ["all"]}
    assert changed["diff"]["before"] == changed["before"]
    assert not Task(plain, **less).run()["changed"]
    # What is not named stays.
    assert Task(plain, users=[user("other")]).run()["steps"] == ["add user: user other"]
    assert not Task(plain, **less).run()["changed"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"enabled": True}, "needs a user root with the role root; add it to users"),
        ({"enabled": True, "users": [user("root")]}, "needs a user root with the role root"),
        ({"users": [user("a", "none")]}, "the user a shall have the role none, which is neither there nor in roles"),
        ({"users": [user("a"), user("a")]}, "the user 'a' is given twice"),
        ({"users": [user("")]}, "a user has an empty name"),
        ({"roles": [role("a", "read"), role("a", "read")]}, "the role 'a' is given twice"),
        ({"roles": [role("", "read")]}, "a role has an empty name"),
        ({"roles": [role("root", "read")]}, "the role root has every right by itself"),
        ({"roles": [role("a", "read", {"key": ""})]}, "a permission of the role a has no key"),
        ({"roles": [role("a", "read", SERVICES, SERVICES)]}, "the role a has /services/[*] twice"),
    ],
)
def test_what_cannot_be_meant(plain: dict[str, Any], options: dict[str, Any], sentence: str) -> None:
    task = Task(plain, **options)
    with pytest.raises(EtcdError, match=sentence):
        task.run()
    assert not task.result["changed"]
    assert Task(plain, users=[user("new")], check_mode=True).run()["before"]["users"] == {}


def test_certificates_say_who_a_client_is(tmp_path: Path) -> None:
    """Each may do what its role says, by its certificate alone; who has none, or another authority's, is refused."""
    known, strange = Certificates(tmp_path), tmp_path / "strange"
    strange.mkdir()
    other = Certificates(strange)
    watch, fleet = (known.client_of(name) for name in ("watch", "fleet"))
    arguments = ("--client-cert-auth", f"--trusted-ca-file={known.ca}")
    with EtcdServer(tmp_path, known, *arguments) as server:

        def connection(certificate: str, key: str) -> dict[str, Any]:
            found = {"endpoints": [server.url], "ca_cert": known.ca, "timeout": 2.0}
            return {**NOBODY, **found, **({"client_cert": certificate, "client_key": key} if certificate else {})}

        root = connection(known.client, known.key("client"))
        task = {
            "roles": [role("watch", "read", SERVICES), role("fleet", "readwrite", FLEET)],
            "users": [user("root", "root"), user("watch", "watch"), user("fleet", "fleet")],
            "enabled": True,
        }  # fmt: skip
        assert Task(root, **task).run()["steps"][-1] == "enable"
        assert not Task(root, **task).run()["changed"]
        with EtcdClient(connection(watch, known.key("watch"))) as client:
            assert client.get("/services/website/nginx@1") is None
            with pytest.raises(EtcdError, match="denies this to this client; grant a role that covers it"):
                client.put_if_unchanged("/services/website/nginx@1", b"x", 0, 0)
            with pytest.raises(EtcdError, match="denies this"):
                client.get("/_coreos.com/fleet/leader")
        with EtcdClient(connection(fleet, known.key("fleet"))) as client:
            assert client.put_if_unchanged("/_coreos.com/fleet/leader", b"x", 0, 0) > 0
            with pytest.raises(EtcdError, match="denies this"):
                client.get("/services/website/nginx@1")
        for certificate, key in (("", ""), (other.client, other.key("client"))):
            with EtcdClient(connection(certificate, key)) as client, pytest.raises(EtcdError, match="client_cert"):
                client.get("/services/website/nginx@1")
        with pytest.raises(EtcdError, match="denies this"):
            Task(connection(watch, known.key("watch")), enabled=False).run()
        assert Task(root, enabled=False, check_mode=True).run()["steps"] == ["disable"]
        assert Task(root, enabled=False).run()["changed"]
        assert not Task(root, enabled=False).run()["changed"]
