# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From containers to keys, and from keys to transactions: tables and properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from flagship.discovery.containers import Node, parse_container, signal_number, wanted_keys
from flagship.discovery.plan import changes
from flagship.etcd import KeyValue, Put
from hypothesis import given
from hypothesis import strategies as st

INTERNAL = Node("core01", "10.0.0.1", internal=True)
PUBLISHED = Node("core01", "10.0.0.1", internal=False)
MINE, OTHER = 7, 8


def inspection(name: str = "web", **changed: Any) -> dict[str, Any]:
    """What the engine says of a container with port 80; `state`, `env`, `labels`, ... change it."""
    return {
        "Id": changed.get("id", name * 4),
        "Name": f"/{name}",
        "State": {
            "Running": True,
            "Paused": False,
            "Restarting": False,
            "Dead": False,
            "Pid": 99,
            "StartedAt": "2026-01-01T00:00:00Z",
            **changed.get("state", {}),
        },
        "Config": {
            "Image": changed.get("image", "registry.example.com:5000/team/dumbserve:stable"),
            "Env": changed.get("env"),
            "Labels": changed.get("labels"),
            "ExposedPorts": changed.get("exposed", {"80/tcp": {}}),
        },
        "HostConfig": {"NetworkMode": changed.get("mode", "default")},
        "NetworkSettings": {
            "Ports": changed.get("ports", {}),
            "Networks": changed.get("networks", {"bridge": {"IPAddress": "10.1.5.2"}}),
        },
    }


def listed(*inspections: Mapping[str, Any], node: Node = INTERNAL) -> dict[str, str]:
    keys, complaints = wanted_keys(map(parse_container, inspections), node)
    assert complaints == []
    return {key.removeprefix("/services/"): value.decode() for key, (_identity, value) in keys.items()}


@pytest.mark.parametrize(
    ("state", "is_listed"),
    [
        ({}, True),
        ({"Running": False}, False),
        ({"Paused": True}, False),
        ({"Restarting": True}, False),
        ({"Dead": True}, False),
        ({"Health": {"Status": "none"}}, True),
        ({"Health": {"Status": "healthy"}}, True),
        ({"Health": {"Status": "starting"}}, False),
        ({"Health": {"Status": "unhealthy"}}, False),
    ],
)
def test_states(state: dict[str, Any], is_listed: bool) -> None:
    assert listed(inspection(state=state)) == ({"dumbserve/core01:web:80": "10.1.5.2:80"} if is_listed else {})


TWO: dict[str, Any] = {"80/tcp": {}, "443/tcp": {}}


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"image": "nginx"}, ["nginx/core01:web:80"]),
        ({"image": "nginx@sha256:0123"}, ["nginx/core01:web:80"]),
        ({"exposed": {}}, []),
        ({"exposed": None}, []),
        ({"exposed": TWO}, ["dumbserve-443/core01:web:443", "dumbserve-80/core01:web:80"]),
        ({"exposed": {"53/udp": {}}}, ["dumbserve/core01:web:53:udp"]),
        ({"exposed": {"53/udp": {}, "53/tcp": {}}}, ["dumbserve-53/core01:web:53", "dumbserve-53/core01:web:53:udp"]),
        ({"env": ["SERVICE_NAME=site", "PATH=/bin"]}, ["site/core01:web:80"]),
        ({"env": ["SERVICE_NAME=site"], "labels": {"SERVICE_NAME": "page"}}, ["page/core01:web:80"]),
        ({"env": ["SERVICE_NAME=site"], "exposed": TWO}, ["site-443/core01:web:443", "site-80/core01:web:80"]),
        (
            {"env": ["SERVICE_NAME=site", "SERVICE_443_NAME=secure"], "exposed": TWO},
            ["secure/core01:web:443", "site-80/core01:web:80"],
        ),
        ({"env": ["SERVICE_ID=one"]}, ["dumbserve/one"]),
        ({"env": ["SERVICE_443_ID=tls"], "exposed": TWO}, ["dumbserve-443/tls", "dumbserve-80/core01:web:80"]),
        ({"labels": {"SERVICE_IGNORE": "no"}}, []),
        ({"labels": {"SERVICE_IGNORE": ""}}, ["dumbserve/core01:web:80"]),
        # As in registrator, a port that is ignored still makes several of the others.
        ({"labels": {"SERVICE_443_IGNORE": "1"}, "exposed": TWO}, ["dumbserve-80/core01:web:80"]),
        ({"mode": "none", "networks": {"none": {"IPAddress": ""}}}, []),
    ],
)
def test_names(changed: dict[str, Any], keys: list[str]) -> None:
    assert sorted(listed(inspection(**changed))) == keys


@pytest.mark.parametrize(
    ("changed", "address"),
    [
        ({"networks": {"b": {"IPAddress": "10.2.0.1"}, "a": {"IPAddress": "10.3.0.1"}}}, "10.3.0.1:80"),
        ({"networks": {"b": {"IPAddress": "10.2.0.1"}, "a": {"IPAddress": "10.3.0.1"}}, "mode": "b"}, "10.2.0.1:80"),
        ({"networks": {"b": {"IPAddress": ""}, "c": {"IPAddress": "10.4.0.1"}}, "mode": "b"}, "10.4.0.1:80"),
        ({"networks": {"six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}}, "[fd00::2]:80"),
        ({"networks": {"host": {"IPAddress": ""}}, "mode": "host"}, "10.0.0.1:80"),
    ],
)
def test_internal_addresses(changed: dict[str, Any], address: str) -> None:
    assert list(listed(inspection(**changed)).values()) == [address]


def binding(host: str, port: int) -> dict[str, str]:
    return {"HostIp": host, "HostPort": str(port)}


@pytest.mark.parametrize(
    ("changed", "addresses"),
    [
        ({"ports": {"80/tcp": None}}, []),
        ({"ports": {"80/tcp": [binding("0.0.0.0", 8080), binding("::", 8080)]}}, ["10.0.0.1:8080"]),
        ({"ports": {"80/tcp": [binding("", 8080)], "443/tcp": None}}, ["10.0.0.1:8080"]),
        ({"ports": {"80/tcp": [binding("10.0.0.9", 8080)]}}, ["10.0.0.9:8080"]),
        ({"ports": {"80/tcp": [binding("127.0.0.1", 8080)]}}, []),
        ({"networks": {"host": {"IPAddress": ""}}, "mode": "host"}, ["10.0.0.1:80"]),
    ],
)
def test_published_addresses(changed: dict[str, Any], addresses: list[str]) -> None:
    assert list(listed(inspection(**changed), node=PUBLISHED).values()) == addresses


def test_a_container_in_the_network_of_another_one_has_its_address() -> None:
    pod = inspection("pod", id="feed", exposed={}, ports={"80/tcp": [binding("0.0.0.0", 8080)]})
    guest = inspection("guest", mode="container:feed", networks={})
    assert listed(pod, guest)["dumbserve/core01:guest:80"] == "10.1.5.2:80"
    assert listed(pod, guest, node=PUBLISHED)["dumbserve/core01:guest:80"] == "10.0.0.1:8080"
    keys, complaints = wanted_keys([parse_container(guest)], INTERNAL)
    assert (keys, len(complaints)) == ({}, 1)


def test_what_cannot_be_a_key_is_said_and_harms_nothing_else() -> None:
    bad = [inspection("bad", labels={"SERVICE_NAME": "a b"}), inspection("worse", labels={"SERVICE_ID": "a/b"})]
    twins = [inspection("one", labels={"SERVICE_ID": "x"}), inspection("two", labels={"SERVICE_ID": "x"})]
    keys, complaints = wanted_keys(map(parse_container, [*bad, *twins, inspection()]), INTERNAL)
    assert sorted(keys) == ["/services/dumbserve/core01:web:80", "/services/dumbserve/x"]
    assert keys["/services/dumbserve/x"][0] == "one" * 4
    assert len(complaints) == 3


def test_who_is_leaving_has_no_keys() -> None:
    assert wanted_keys([parse_container(inspection(id="feed"))], INTERNAL, {"feed"}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGTERM", 15), ("TERM", 15), ("15", 15), ("sigquit", 3), ("SIGRTMIN+3", 37), ("SIGRTMIN", 34), ("SIGNONE", 0)],
)
def test_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


def found(key: str, value: bytes, lease: int) -> KeyValue:
    return KeyValue(key, value, 1, 5, lease)


KEY, NAMED = "/services/web/core01:web:80", "/services/web/one"


@pytest.mark.parametrize(
    ("key", "wanted", "item", "step"),
    [
        (KEY, b"me", None, "put"),
        (KEY, b"me", (b"me", MINE), ""),
        (KEY, b"me", (b"else", MINE), "put"),
        (KEY, b"me", (b"me", OTHER), "put"),  # an earlier life's
        (KEY, b"me", (b"else", OTHER), "put"),
        (KEY, b"me", (b"me", 0), "put"),
        (KEY, None, (b"me", MINE), "delete"),
        (KEY, None, (b"me", OTHER), "delete"),
        (NAMED, b"me", (b"me", OTHER), "put"),
        (NAMED, b"me", (b"else", OTHER), "taken"),
        (NAMED, b"me", (b"else", 0), "put"),
        (NAMED, None, (b"me", MINE), "delete"),
        (NAMED, None, (b"me", OTHER), ""),
        ("/services/web/core011:web:80", None, (b"me", OTHER), ""),
        ("/services/website/nginx@1", None, (b"me", OTHER), ""),
    ],
)
def test_steps(key: str, wanted: bytes | None, item: tuple[bytes, int] | None, step: str) -> None:
    steps, complaints = changes(
        {key: wanted} if wanted is not None else {}, {key: found(key, *item)} if item else {}, MINE, "core01"
    )
    assert [type(change.operation).__name__.lower() for change in steps] == (
        [step] if step in ("put", "delete") else []
    )
    assert len(complaints) == (step == "taken")
    for change in steps:
        assert (change.guard.kind, change.guard.revision) == (("mod", 5) if item else ("create", 0))


keys = st.sampled_from([KEY, NAMED, "/services/db/core01:db:5432", "/services/web/core02:web:80"])
values = st.sampled_from([b"a", b"b"])


@given(st.dictionaries(keys, values), st.dictionaries(keys, st.tuples(values, st.sampled_from([0, MINE, OTHER]))))
def test_after_the_steps_there_are_no_more(wanted: dict[str, bytes], there: dict[str, tuple[bytes, int]]) -> None:
    items = {key: found(key, *item) for key, item in there.items()}
    steps, complaints = changes(wanted, items, MINE, "core01")
    for change in steps:
        if isinstance(change.operation, Put):
            items[change.operation.key] = found(change.operation.key, change.operation.value, change.operation.lease)
        else:
            del items[change.operation.key]
    assert changes(wanted, items, MINE, "core01") == ([], complaints)
    assert {key for key, item in items.items() if item.lease == MINE} <= wanted.keys()
    assert len(complaints) == sum(key not in items or items[key].lease != MINE for key in wanted)
