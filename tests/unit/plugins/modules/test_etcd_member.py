# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdError, UnreachableError
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_cluster import Cluster
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_members import health
from ansible_collections.flagship.coreos.plugins.modules import etcd_member
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer, free_port


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, *endpoints: str, check_mode: bool = False, **options: Any) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password", "id", "name", "peer_urls", "learner")
        fixed = {"state": "present", "timeout": 5.0, "wait_timeout": 30.0}
        self.params = {**dict.fromkeys(names), **fixed, "endpoints": list(endpoints), **options}
        self.check_mode = check_mode
        self.result: dict[str, Any] = {"changed": False}

    def run(self) -> dict[str, Any]:
        etcd_member.run(self, self.result)
        return self.result


def health_of(*endpoints: str, timeout: float = 5.0) -> dict[str, Any]:
    with Cluster(Task(*endpoints, timeout=timeout).params) as cluster:
        members = cluster.members()
        found: dict[str, Any] = health(members, cluster.statuses(members))
        return found


def server(directory: Path, name: str, *arguments: str) -> EtcdServer:
    (directory / name).mkdir()
    return EtcdServer(directory / name, None, *arguments)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[EtcdServer, EtcdServer]]:
    """A cluster of two members with votes."""
    with server(tmp_path, "core01") as first:
        second = server(tmp_path, "core02")
        added = Task(first.url, name="core02", peer_urls=[second.peer_url], learner=True).run()
        second.initial_cluster = added["initial_cluster"]
        with second:
            Task(first.url, name="core02", peer_urls=[second.peer_url], learner=False).run()
            yield first, second


def test_life_of_a_member(tmp_path: Path) -> None:
    with server(tmp_path, "core01") as first, contextlib.ExitStack() as started:
        second = server(tmp_path, "core02")
        wanted = {"name": "core02", "peer_urls": [second.peer_url], "learner": True}
        predicted = Task(first.url, check_mode=True, **wanted).run()
        assert predicted["steps"] == ["add"] and predicted["changed"] and predicted["after"]["id"] is None
        assert [member["name"] for member in health_of(first.url)["members"]] == ["core01"]
        added = Task(first.url, **wanted).run()
        assert added["after"]["learner"] and added["before"] is None
        assert added["initial_cluster"] == predicted["initial_cluster"]
        assert added["initial_cluster"] == f"core01={first.peer_url},core02={second.peer_url}"
        assert not Task(first.url, **wanted).run()["changed"]
        unstarted = Task(first.url, **{**wanted, "learner": False}, wait_timeout=0.5)
        with pytest.raises(EtcdError, match="a learner that is not in sync yet; start it"):
            unstarted.run()
        assert not unstarted.result["changed"]
        found = health_of(first.url)["members"]
        assert {member["error"] for member in found} == {"", "it has not been started"}
        second.initial_cluster = added["initial_cluster"]
        started.enter_context(second)
        assert Task(first.url, name="core02", learner=False, check_mode=True).run()["steps"] == ["promote"]
        promoted = Task(first.url, name="core02", learner=False).run()
        assert promoted["changed"] and not promoted["after"]["learner"] and promoted["after"]["name"] == "core02"
        assert not Task(first.url, name="core02", learner=False).run()["changed"]
        with pytest.raises(EtcdError, match="has a vote"):
            Task(first.url, name="core02", learner=True).run()
        moved = Task(first.url, name="core02", peer_urls=[second.peer_url, "http://127.0.0.1:1"]).run()
        assert moved["steps"] == ["update"] and len(moved["after"]["peer_urls"]) == 2
        assert not Task(first.url, id=moved["after"]["id"], peer_urls=moved["after"]["peer_urls"]).run()["changed"]
        assert Task(first.url, name="core02", state="absent", check_mode=True).run()["steps"] == ["remove"]
        removed = Task(first.url, name="core02", state="absent").run()
        assert removed["changed"] and removed["after"] is None and removed["before"] == moved["after"]
        assert not Task(first.url, name="core02", state="absent").run()["changed"]


def test_members_are_healthy_or_say_why_not(two: tuple[EtcdServer, EtcdServer]) -> None:
    first, second = two
    first.etcdctl("put", "/a", "x")
    found = health_of(first.url)
    assert found["healthy"] and [member["leader"] for member in found["members"]] == [True, False], found
    assert found["members"][0]["id"] == found["leader"] and found["members"][1]["db_size"] > 0
    assert all(0 < member["db_size_in_use"] <= member["db_size"] for member in found["members"])
    assert {member["version"] for member in found["members"]} == {found["members"][0]["version"]}
    second.freeze()
    began = time.monotonic()
    found = health_of(first.url, timeout=1.0)
    assert time.monotonic() - began < 5
    assert not found["healthy"] and "gave no answer within 1 s" in found["members"][1]["error"]
    deadline = time.monotonic() + 10
    while health_of(first.url, timeout=1.0)["leader"]:
        assert time.monotonic() < deadline, "without a majority there is no leader"
        time.sleep(0.1)
    with pytest.raises(UnreachableError):
        Task(first.url, name="core02", state="absent", timeout=0.5, wait_timeout=1.0).run()
    second.thaw()
    assert Task(first.url, name="core02", state="absent").run()["changed"], "the cluster is waited for"


def test_an_alarm(tmp_path: Path) -> None:
    with server(tmp_path, "small", "--quota-backend-bytes=1000000") as small:
        # etcd measures its database when it commits, at least a tenth of a second later, and only then refuses.
        with pytest.raises(AssertionError, match="space exceeded"):
            for number in range(200):
                small.etcdctl("put", f"/{number % 5}", "x" * 100_000)
        deadline = time.monotonic() + 10
        while not small.etcdctl("alarm", "list"):
            assert time.monotonic() < deadline, "who refuses for want of space raises the alarm"
            time.sleep(0.1)
        found = health_of(small.url)
        assert found["alarms"] == [{"member_id": found["members"][0]["id"], "alarm": "NOSPACE"}]
        assert found["members"][0]["alarms"] == ["NOSPACE"] and not found["healthy"]


def test_a_cluster_that_cannot_be_reached() -> None:
    with pytest.raises(EtcdError, match="refuses connections"):
        Task(f"http://127.0.0.1:{free_port()}", name="core02", state="absent").run()
