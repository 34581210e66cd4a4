# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdClient,
    EtcdError,
    KeyValue,
    RevisionError,
)
from ansible_collections.flagship.coreos.plugins.modules import etcd_key
from ansible_collections.flagship.coreos.plugins.modules.etcd_key import Plan, Wanted, decide
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer

FOUND = KeyValue(b"x", 3, 4, 0)
LEASED = KeyValue(b"x", 3, 4, 77)


@pytest.mark.parametrize(
    ("wanted", "found", "granted_ttl", "plan"),
    [
        (Wanted(b"x", None, None), None, 0, Plan("put")),
        (Wanted(b"x", None, None), FOUND, 0, Plan("")),
        (Wanted(b"y", None, None), FOUND, 0, Plan("put")),
        (Wanted(b"x", None, None), LEASED, 0, Plan("")),
        (Wanted(b"x", 60, None), None, 0, Plan("put", new_lease=True)),
        (Wanted(b"x", 60, None), FOUND, 0, Plan("put", new_lease=True)),
        (Wanted(b"x", 60, None), LEASED, 60, Plan("", refresh=77)),
        (Wanted(b"y", 60, None), LEASED, 60, Plan("put", refresh=77)),
        (Wanted(b"x", 60, None), LEASED, 30, Plan("put", new_lease=True)),
        (Wanted(b"x", 0, None), LEASED, 60, Plan("put")),
        (Wanted(b"x", 0, None), FOUND, 0, Plan("")),
        (Wanted(None, None, None), FOUND, 0, Plan("delete")),
        (Wanted(None, None, None), None, 0, Plan("")),
    ],
)
def test_decide(wanted: Wanted, found: KeyValue | None, granted_ttl: int, plan: Plan) -> None:
    assert decide(wanted, found, granted_ttl) == plan


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, etcd: EtcdServer, key: str, value: str | None, check_mode: bool = False, **more: Any) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password", "lease_ttl", "compare_revision")
        self.params = {**dict.fromkeys(names), "endpoints": [etcd.url], "timeout": 5.0, "key": key, "value": value}
        self.params.update({"state": "absent" if value is None else "present"}, **more)
        self.check_mode = check_mode
        self.result: dict[str, Any] = {"changed": False}

    def run(self) -> dict[str, Any]:
        etcd_key.run(self, self.result)
        return self.result


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


def test_life_of_a_key(etcd: EtcdServer) -> None:
    predicted = Task(etcd, "/life", "x", check_mode=True).run()
    assert predicted["changed"] and predicted["before"] is None
    created = Task(etcd, "/life", "x").run()
    assert created["changed"] and created["diff"] == predicted["diff"]
    same = Task(etcd, "/life", "x").run()
    assert not same["changed"] and same["after"] == created["after"] == same["before"]
    changed = Task(etcd, "/life", "").run()
    assert changed["after"]["create_revision"] == created["after"]["revision"] < changed["after"]["revision"]
    assert etcd.etcdctl("get", "/life", "--write-out=fields").count('"Value" : ""')
    assert Task(etcd, "/life", None, check_mode=True).run()["changed"]
    assert Task(etcd, "/life", None).run()["diff"]["after"] == ""
    assert not Task(etcd, "/life", None).run()["changed"]


def test_a_lease_is_kept_refreshed_and_dropped(etcd: EtcdServer) -> None:
    lease = Task(etcd, "/leased", "x", lease_ttl=60).run()["after"]["lease"]
    again = Task(etcd, "/leased", "x", lease_ttl=60).run()
    assert not again["changed"] and again["after"]["lease"] == lease
    assert Task(etcd, "/leased", "y").run()["after"]["lease"] == lease
    assert Task(etcd, "/leased", "y", lease_ttl=90).run()["after"]["lease"] not in (0, lease)
    assert Task(etcd, "/leased", "y", lease_ttl=0).run()["after"]["lease"] == 0


def test_a_lease_that_the_server_makes_longer_is_refused(tmp_path: Path) -> None:
    with EtcdServer(tmp_path, None, "--heartbeat-interval=500", "--election-timeout=5000") as slow:
        with pytest.raises(EtcdError, match="no lease of 1 s but one of 8 s; give that as lease_ttl"):
            Task(slow, "/leased", "x", lease_ttl=1).run()
        assert slow.etcdctl("get", "/leased") == ""
        assert slow.etcdctl("lease", "list").startswith("found 0 leases")


@pytest.mark.parametrize("revision", [0, 999999])
def test_another_revision_than_the_one_to_compare(etcd: EtcdServer, revision: int) -> None:
    current = Task(etcd, "/compared", "x").run()["after"]["revision"]
    task = Task(etcd, "/compared", "y", compare_revision=revision)
    with pytest.raises(RevisionError, match=f"has revision {current} but"):
        task.run()
    assert not task.result["changed"] and task.result["before"]["value"] == "x"
    assert not Task(etcd, "/compared", "x", compare_revision=revision).run()["changed"]
    assert Task(etcd, "/compared", "y", compare_revision=current).run()["changed"]
    Task(etcd, "/compared", None).run()


def test_a_race_that_is_lost_between_reading_and_writing(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def grant(client: Any, ttl: int) -> Any:
        etcd.etcdctl("put", "/raced", "theirs")
        return original(client, ttl)

    original = EtcdClient.grant
    monkeypatch.setattr(EtcdClient, "grant", grant)
    task = Task(etcd, "/raced", "mine", lease_ttl=60)
    leases = etcd.etcdctl("lease", "list")
    with pytest.raises(RevisionError, match="nothing was written"):
        task.run()
    assert not task.result["changed"] and task.result["before"]["value"] == "theirs"
    assert etcd.etcdctl("lease", "list") == leases, "the new lease is given back"


@pytest.mark.parametrize(
    ("key", "more", "expected"),
    [("", {}, "name is empty"), ("/a", {"lease_ttl": -1}, "negative"), ("/a", {"compare_revision": -1}, "negative")],
)
def test_bad_arguments(etcd: EtcdServer, key: str, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        Task(etcd, key, "x", **more).run()
