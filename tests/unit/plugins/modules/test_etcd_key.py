# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    ConflictError,
    EtcdClient,
    EtcdError,
    RevisionError,
)
from ansible_collections.flagship.coreos.plugins.modules import etcd_key
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, etcd: EtcdServer, key: str | None, value: Any, check_mode: bool = False, **more: Any) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password", "lease_ttl", "compare_revision")
        more_names = ("compare_value", "mapping", "prefix")
        self.params = {**dict.fromkeys([*names, *more_names]), "endpoints": [etcd.url], "timeout": 5.0}
        self.params.update({"key": key, "value": value, "value_type": "text", "purge": False, "confirm_removal": False})
        self.params.update({"state": "absent" if key and value is None else "present"}, **more)
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


def many(count: int, value: str = "x") -> dict[str, str]:
    return {f"/many/{number:04}": value for number in range(count)}


def test_life_of_many_keys(etcd: EtcdServer) -> None:
    predicted = Task(etcd, None, None, check_mode=True, mapping=many(250)).run()
    assert predicted["changed"] and len(predicted["changes"]) == 250 and predicted["batches"] == []
    created = Task(etcd, None, None, mapping=many(250)).run()
    assert [batch["count"] for batch in created["batches"]] == [100, 100, 50]
    assert created["diff"] == predicted["diff"] and created["unchanged"] == 0
    assert {change["action"] for change in created["changes"]} == {"created"}
    assert len(etcd.etcdctl("get", "--prefix", "--keys-only", "/many/").split()) == 250
    again = Task(etcd, None, None, mapping=many(250)).run()
    assert not again["changed"] and again["changes"] == [] and again["unchanged"] == 250 and "diff" not in again
    one = Task(etcd, None, None, mapping={**many(250), "/many/0007": "y"}).run()
    assert [(change["key"], change["action"]) for change in one["changes"]] == [("/many/0007", "updated")]
    assert one["diff"]["before"] == "/many/0007:\nx\n" and one["diff"]["after"] == "/many/0007:\ny\n"
    purge = {"mapping": many(3), "prefix": "/many/", "purge": True}
    assert len(Task(etcd, None, None, check_mode=True, **purge).run()["changes"]) == 247
    purged = Task(etcd, None, None, **purge).run()
    assert [batch["count"] for batch in purged["batches"]] == [100, 100, 47] and purged["unchanged"] == 3
    assert {change["action"] for change in purged["changes"]} == {"removed"}
    assert not Task(etcd, None, None, **purge).run()["changed"]
    removed = Task(etcd, None, None, mapping={"/many/0000": None, "/many/none": None}, state="absent").run()
    assert [change["key"] for change in removed["changes"]] == ["/many/0000"] and removed["unchanged"] == 1
    prefix = {"prefix": "/many/", "state": "absent", "confirm_removal": True}
    assert len(Task(etcd, None, None, check_mode=True, **prefix).run()["changes"]) == 2
    assert Task(etcd, None, None, **prefix).run()["batches"] == [{"count": 2, "revision": 0}]
    assert not Task(etcd, None, None, **prefix).run()["changed"]


def test_large_values_go_in_several_batches(etcd: EtcdServer) -> None:
    mapping = many(5, "x" * 600_000)
    assert [batch["count"] for batch in Task(etcd, None, None, mapping=mapping).run()["batches"]] == [1] * 5
    Task(etcd, None, None, mapping=mapping, state="absent").run()


def test_many_keys_share_a_lease(etcd: EtcdServer) -> None:
    created = Task(etcd, None, None, mapping=many(3), lease_ttl=60).run()
    (lease,) = {change["after"]["lease"] for change in created["changes"]}
    assert lease and not Task(etcd, None, None, mapping=many(3), lease_ttl=60).run()["changed"]
    added = Task(etcd, None, None, mapping={**many(3), "/many/new": "x"}, lease_ttl=60).run()
    assert len(added["changes"]) == 1 and added["changes"][0]["after"]["lease"] not in (0, lease)
    assert Task(etcd, None, None, mapping=many(4), lease_ttl=0).run()["changes"][-1]["after"]["lease"] == 0
    Task(etcd, None, None, prefix="/many/", state="absent", confirm_removal=True).run()


def test_values_of_other_types(etcd: EtcdServer) -> None:
    assert Task(etcd, "/bytes", "/wA=", value_type="base64").run()["after"]["value"] == "/wA="
    assert not Task(etcd, "/bytes", "/wA=", value_type="base64").run()["changed"]
    data = {"a": [1, True, None]}
    assert Task(etcd, "/json", data, value_type="json").run()["after"]["value"] == '{"a": [1, true, null]}'
    assert not Task(etcd, "/json", '{"a":[1,true,null]}', value_type="json").run()["changed"]
    assert Task(etcd, "/json", {"a": [1, 1, None]}, value_type="json").run()["changed"]


def test_compare_with_a_value(etcd: EtcdServer) -> None:
    Task(etcd, "/swap", "one").run()
    for check_mode in (True, False):
        task = Task(etcd, "/swap", "two", check_mode=check_mode, compare_value="other")
        with pytest.raises(ConflictError, match="has another value than compare_value"):
            task.run()
        assert not task.result["changed"] and task.result["before"]["value"] == "one" and "after" not in task.result
    assert Task(etcd, "/swap", "two", compare_value="one").run()["changed"]
    assert not Task(etcd, "/swap", "two", compare_value="one").run()["changed"], "it is as wanted already"
    with pytest.raises(ConflictError):
        Task(etcd, "/swap", None, compare_value="one").run()
    assert Task(etcd, "/swap", None, compare_value="two").run()["changed"]
    with pytest.raises(ConflictError, match="does not exist but compare_value"):
        Task(etcd, "/swap", "three", compare_value="two").run()


def interfere(monkeypatch: pytest.MonkeyPatch, method: str, turn: int, act: Callable[[], object]) -> None:
    """Let somebody else act just before the client's turn-th call of the method."""
    original = getattr(EtcdClient, method)
    turns = iter(range(1, 1000))

    def call(*arguments: Any) -> Any:
        if next(turns) == turn:
            act()
        return original(*arguments)

    monkeypatch.setattr(EtcdClient, method, call)


def test_a_batch_that_loses_a_race_writes_nothing(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    interfere(monkeypatch, "write", 2, lambda: etcd.etcdctl("put", "/many/0150", "theirs"))
    task = Task(etcd, None, None, mapping=many(250))
    with pytest.raises(EtcdError, match=r"/many/0150 has revision .* its batch wrote nothing, 100 of 250 keys"):
        task.run()
    assert task.result["changed"] and len(task.result["changes"]) == 100
    assert [batch["count"] for batch in task.result["batches"]] == [100]
    assert task.result["conflict"]["key"] == "/many/0150" and task.result["conflict"]["found"]["value"] == "theirs"
    assert etcd.etcdctl("get", "--prefix", "--keys-only", "/many/").split()[-1] == "/many/0150"
    monkeypatch.undo()
    assert len(Task(etcd, None, None, mapping=many(250)).run()["changes"]) == 150, "the next run goes on"
    Task(etcd, None, None, prefix="/many/", state="absent", confirm_removal=True).run()


def test_a_prefix_that_gets_a_key_meanwhile_is_kept(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Task(etcd, None, None, mapping=many(2)).run()
    interfere(monkeypatch, "delete_prefix", 1, lambda: etcd.etcdctl("put", "/many/new", "theirs"))
    task = Task(etcd, None, None, prefix="/many/", state="absent", confirm_removal=True)
    with pytest.raises(EtcdError, match="/many/new was changed meanwhile"):
        task.run()
    assert not task.result["changed"] and task.result["conflict"]["key"] == "/many/new"
    assert len(etcd.etcdctl("get", "--prefix", "--keys-only", "/many/").split()) == 3
    monkeypatch.undo()
    Task(etcd, None, None, prefix="/many/", state="absent", confirm_removal=True).run()


def test_others_who_want_the_same_are_no_conflict(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    interfere(monkeypatch, "write", 1, lambda: etcd.etcdctl("put", "/many/0001", "x"))
    assert len(Task(etcd, None, None, mapping=many(3)).run()["changes"]) == 3
    interfere(monkeypatch, "write", 1, lambda: etcd.etcdctl("del", "/many/0001"))
    assert Task(etcd, None, None, mapping=many(3), state="absent").run()["changed"]
    assert etcd.etcdctl("get", "--prefix", "/many/") == ""


def test_keys_of_any_bytes_can_be_purged(etcd: EtcdServer) -> None:
    with EtcdClient(Task(etcd, "/", "").params) as client:
        client.put_if_unchanged("/raw/\udcff", b"x", 0, 0)
    removed = Task(etcd, None, None, mapping={}, prefix="/raw/", purge=True, confirm_removal=True).run()
    assert [change["key"] for change in removed["changes"]] == ["/raw/\\xff"]
    assert etcd.etcdctl("get", "--prefix", "/raw/") == ""


@pytest.mark.parametrize(
    ("key", "more", "expected"),
    [("", {}, "name is empty"), ("/a", {"lease_ttl": -1}, "negative"), ("/a", {"compare_revision": -1}, "negative")],
)
def test_bad_arguments(etcd: EtcdServer, key: str, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        Task(etcd, key, "x", **more).run()
