# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_members import (
    Answer,
    Member,
    check_task,
    decide,
    find,
    health,
    initial_cluster,
    predicted,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError

ONE = Member(1, "core01", ("http://a:2380",), ("http://a:2379",))
TWO = Member(0xF2, "core02", ("http://b:2380",), ("http://b:2379",))
NEW = Member(3, "", ("http://c:2380",), (), True)
ALL = [ONE, TWO, NEW]


def params(**options: Any) -> dict[str, Any]:
    return {**dict.fromkeys(("id", "name", "peer_urls", "learner")), "state": "present", **options}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"peer_urls": ["core01:2380"]}, "'core01:2380' is not understood"),
        ({"peer_urls": ["http://core01"]}, "write it as https://host:2380"),
        ({"peer_urls": ["http://core01:2380/x"]}, "is not understood"),
        ({"peer_urls": ["http://core01:port"]}, "is not understood"),
        ({"peer_urls": []}, "peer_urls is empty"),
        ({"id": "core01"}, "is no hexadecimal number"),
        ({"id": ""}, "is no hexadecimal number"),
        ({"name": ""}, "the name is empty"),
        ({"name": "core01", "state": "absent", "learner": False}, "learner is for members that shall be there"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        check_task(params(**options))


@pytest.mark.parametrize(
    ("options", "member"),
    [
        ({"id": "f2"}, TWO),
        ({"id": "F2", "name": "core01"}, TWO),
        ({"id": "99"}, None),
        ({"name": "core01"}, ONE),
        ({"name": "core09"}, None),
        ({"name": "core03", "peer_urls": ["http://c:2380"]}, NEW),
        ({"peer_urls": ["http://c:2380/", "http://d:2380"]}, NEW),
        ({"name": "core01", "peer_urls": ["http://d:2380"]}, ONE),
        ({"name": "", "peer_urls": ["http://d:2380"]}, None),
    ],
)
def test_find(options: dict[str, Any], member: Member | None) -> None:
    assert find(params(**options), ALL) == member


def test_a_name_and_urls_of_different_members_are_refused() -> None:
    with pytest.raises(EtcdError, match=r"more than one member: 1 \(core01\), 3 \(not started\); give the id"):
        find(params(name="core01", peer_urls=["http://c:2380"]), ALL)


@pytest.mark.parametrize(
    ("options", "found", "steps"),
    [
        ({"peer_urls": ["http://d:2380"]}, None, ["add"]),
        ({"name": "core01"}, ONE, []),
        ({"peer_urls": ["http://a:2380/"]}, ONE, []),
        ({"name": "core01", "peer_urls": ["http://d:2380"]}, ONE, ["update"]),
        ({"id": "3", "learner": True}, NEW, []),
        ({"id": "3"}, NEW, []),
        ({"id": "3", "learner": False}, NEW, ["promote"]),
        ({"id": "3", "learner": False, "peer_urls": ["http://d:2380"]}, NEW, ["update", "promote"]),
        ({"id": "1", "learner": False}, ONE, []),
        ({"name": "core01", "state": "absent"}, ONE, ["remove"]),
        ({"name": "core09", "state": "absent"}, None, []),
        ({"id": "99", "state": "absent"}, None, []),
    ],
)
def test_decide(options: dict[str, Any], found: Member | None, steps: list[str]) -> None:
    assert decide(params(**options), found) == steps


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        ({"name": "core01", "learner": True}, ONE, "has a vote, which cannot be taken back"),
        ({"name": "core09"}, None, "no such member .*; give peer_urls"),
        ({"id": "99", "peer_urls": ["http://d:2380"]}, None, "no member with this id"),
    ],
)
def test_what_cannot_be_done(options: dict[str, Any], found: Member | None, expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        decide(params(**options), found)


def test_predicted() -> None:
    added = predicted(params(peer_urls=["http://d:2380"], learner=True), None)
    assert added and added["id"] is None and added["learner"] and added["peer_urls"] == ["http://d:2380"]
    promoted = predicted(params(id="3", learner=False), NEW)
    assert promoted and promoted["id"] == "3" and not promoted["learner"]
    assert predicted(params(id="1", state="absent"), ONE) is None


@pytest.mark.parametrize(
    ("found", "name", "expected"),
    [
        (NEW, "core03", "core01=http://a:2380,core02=http://b:2380,core03=http://c:2380"),
        (NEW, None, "core01=http://a:2380,core02=http://b:2380"),
        (ONE, "core01", "core01=http://a:2380,core02=http://b:2380"),
        (None, "core09", "core01=http://a:2380,core02=http://b:2380"),
    ],
)
def test_initial_cluster(found: Member | None, name: str | None, expected: str) -> None:
    assert initial_cluster(ALL, found, name) == expected


def answer(member: Member, leader: int = 1, errors: tuple[str, ...] = ()) -> Answer:
    return Answer(f"http://{member.name}", member.id, 0xC, "", "3.4.23", leader, 20480, 4096, 7, 2, errors)


def test_all_is_well() -> None:
    found = health([ONE, TWO], [answer(ONE), answer(TWO), answer(ONE)])
    assert found["healthy"] and found["leader"] == "1" and found["cluster_id"] == "c" and found["alarms"] == []
    assert [member["leader"] for member in found["members"]] == [True, False]
    assert found["members"][1]["db_size"] == 20480 and found["members"][1]["error"] == ""


def test_a_member_that_does_not_answer_and_one_that_was_never_started() -> None:
    gone = Answer("http://b:2379", 0, 0, "http://b:2379 refuses connections")
    found = health(ALL, [answer(ONE), gone])
    assert not found["healthy"] and found["leader"] == "1"
    assert [member["healthy"] for member in found["members"]] == [True, False, False]
    assert (
        found["members"][1]["error"] == "http://b:2379 refuses connections" and found["members"][1]["version"] is None
    )
    assert found["members"][2]["error"] == "it has not been started"
    assert "can be asked" in health([ONE], [])["members"][0]["error"]


@pytest.mark.parametrize(
    "text", ["memberID:242 alarm:NOSPACE ", "memberID:242  alarm:NOSPACE", "memberID: 242 alarm: NOSPACE"]
)
def test_an_alarm_belongs_to_its_member(text: str) -> None:
    found = health([ONE, TWO], [answer(ONE, 1, (text,)), answer(TWO, 1, (text,))])
    assert found["alarms"] == [{"member_id": "f2", "alarm": "NOSPACE"}] and not found["healthy"]
    assert [member["alarms"] for member in found["members"]] == [[], ["NOSPACE"]]
    assert [member["healthy"] for member in found["members"]] == [True, False]


def test_a_member_without_a_leader() -> None:
    found = health([ONE, TWO], [answer(ONE, 0), answer(TWO, 0, ("etcdserver: no leader",))])
    assert found["leader"] is None and [member["error"] for member in found["members"]] == [
        "it sees no leader",
        "etcdserver: no leader",
    ]
