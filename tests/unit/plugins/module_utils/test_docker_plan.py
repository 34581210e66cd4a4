# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import (
    HIDDEN,
    NEW,
    PREVIOUS,
    Plan,
    Situation,
    create_body,
    decide,
    diff,
    differences,
    prepared,
    redacted,
    start_failure,
    update_body,
)
from hypothesis import given, settings
from hypothesis import strategies as st

IMAGE_ID = "sha256:" + "1" * 64
STATES: dict[str, dict[str, Any]] = {
    "running": {"Running": True, "Paused": False, "Restarting": False},
    "paused": {"Running": True, "Paused": True, "Restarting": False},
    "restarting": {"Running": True, "Paused": False, "Restarting": True},
    "exited": {"Running": False, "Paused": False, "Restarting": False},
}


def params(**options: Any) -> dict[str, Any]:
    names = [option.name for option in OPTIONS] + ["image", "networks", "restart_retries"]
    defaults = {"name": "web", "state": "started", "comparisons": {}, "recreate": False, "image": "web:1"}
    return dict(prepared({**dict.fromkeys(names), **defaults, **options}))


def container(state: str = "running", networks: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    return {
        "Id": "abcdef123456" + "0" * 52,
        "Name": "/web",
        "Image": IMAGE_ID,
        "State": {"Status": state, **STATES[state]},
        "Config": {"Hostname": "web", "Env": ["PATH=/bin", "MODE=a"], "Labels": {}, **parts.get("config", {})},
        "HostConfig": {"NetworkMode": "default", "Memory": 0, **parts.get("host", {})},
        "NetworkSettings": {"Networks": {"bridge": {}} if networks is None else networks},
    }


def situation(found: dict[str, Any] | None, **parts: Any) -> Situation:
    return Situation(found, **{"image": {"Env": ["PATH=/bin"]}, "image_id": IMAGE_ID, **parts})


def kinds(plan: Plan) -> list[str]:
    return [action.kind for action in plan.actions]


SAME: dict[str, Any] = {"env": {"MODE": "a"}}
UPDATE: dict[str, Any] = {"memory": "64m"}
OTHER: dict[str, Any] = {"env": {"MODE": "b"}}


@pytest.mark.parametrize(
    ("state", "found", "options", "actions"),
    [
        ("absent", None, {}, []),
        ("absent", "exited", {}, ["remove"]),
        ("absent", "running", {}, ["stop", "remove"]),
        ("absent", "paused", {}, ["stop", "remove"]),
        ("absent", "restarting", {}, ["stop", "remove"]),
        ("absent", "running", OTHER, ["stop", "remove"]),
        ("present", None, {}, ["create"]),
        ("present", "exited", SAME, []),
        ("present", "running", SAME, []),
        ("present", "paused", SAME, []),
        ("present", "running", UPDATE, ["update"]),
        ("present", "exited", OTHER, ["replace"]),
        ("present", "running", OTHER, ["replace running"]),
        ("started", None, {}, ["create", "start"]),
        ("started", "running", SAME, []),
        ("started", "restarting", SAME, []),
        ("started", "exited", SAME, ["start"]),
        ("started", "paused", SAME, ["unpause"]),
        ("started", "exited", UPDATE, ["update", "start"]),
        ("started", "exited", OTHER, ["replace running"]),
        ("started", "running", OTHER, ["replace running"]),
        ("started", "running", {**OTHER, **UPDATE}, ["replace running"]),
        ("started", "running", {**SAME, "recreate": True}, ["replace running"]),
        ("stopped", None, {}, ["create"]),
        ("stopped", "exited", SAME, []),
        ("stopped", "running", SAME, ["stop"]),
        ("stopped", "paused", SAME, ["stop"]),
        ("stopped", "restarting", SAME, ["stop"]),
        ("stopped", "running", UPDATE, ["update", "stop"]),
        ("stopped", "running", OTHER, ["replace"]),
    ],
)
def test_decision(state: str, found: str | None, options: dict[str, Any], actions: list[str]) -> None:
    wanted = params(state=state, **options)
    plan = decide(wanted, situation(container(found) if found else None))
    assert [
        kind + (" running" if action.detail.get("start") else "") for kind, action in zip(kinds(plan), plan.actions)
    ] == actions


@pytest.mark.parametrize(
    ("state", "found", "new", "previous", "options", "actions"),
    [
        ("started", "running", True, False, SAME, [("remove", NEW)]),
        ("started", "running", False, True, SAME, [("remove", PREVIOUS)]),
        ("started", "exited", False, True, SAME, [("start", ""), ("remove", PREVIOUS)]),
        ("started", "running", True, True, OTHER, [("remove", NEW), ("remove", PREVIOUS), ("replace", "")]),
        ("started", None, True, False, SAME, [("remove", NEW), ("create", ""), ("start", "")]),
        ("absent", "exited", True, True, {}, [("remove", NEW), ("remove", ""), ("remove", PREVIOUS)]),
        ("absent", None, False, True, {}, [("remove", PREVIOUS)]),
    ],
)
def test_what_a_replacement_cut_short_has_left_goes_away(
    state: str, found: str | None, new: bool, previous: bool, options: dict[str, Any], actions: list[tuple[str, str]]
) -> None:
    place = situation(container(found) if found else None, new=new, previous=previous)
    plan = decide(params(state=state, **options), place)
    suffixes = [action.detail.get("name", "web").partition("web")[2] for action in plan.actions]
    assert list(zip(kinds(plan), suffixes)) == actions


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, []),
        ({"hostname": "web"}, []),
        ({"hostname": "other"}, ["hostname"]),
        ({"env": {}}, ["env"]),
        ({"env": {}, "comparisons": {"env": "allow_more_present"}}, []),
        ({"env": {"MODE": "b"}, "comparisons": {"env": "ignore"}}, []),
        ({"env": {"MODE": "b"}, "hostname": "x", "memory": "1g"}, ["hostname", "env", "memory"]),
        ({"network_mode": "bridge"}, []),
        ({"network_mode": "host"}, ["network_mode"]),
    ],
)
def test_differences(options: dict[str, Any], names: list[str]) -> None:
    assert [difference.option for difference in differences(params(**options), situation(container()))] == names


@pytest.mark.parametrize("image_id", [None, "sha256:" + "2" * 64])
def test_another_image_is_a_difference_unless_ignored(image_id: str | None) -> None:
    place = situation(container(), image_id=image_id)
    assert kinds(decide(params(), place)) == ["replace"]
    assert kinds(decide(params(image=None), place)) == []
    assert kinds(decide(params(comparisons={"image": "ignore"}), place)) == []


LAB = {"name": "lab", "ipv4_address": "192.0.2.11", "aliases": ["a"]}
IN_LAB = {"IPAMConfig": {"IPv4Address": "192.0.2.11"}, "Aliases": ["a", "abcdef123456"]}


@pytest.mark.parametrize(
    ("networks", "found", "options", "actions"),
    [
        (None, {"bridge": {}, "x": {}}, {}, []),
        ([LAB], {"lab": IN_LAB}, {}, []),
        ([LAB], {"lab": {**IN_LAB, "Aliases": ["web", "a"]}}, {}, []),
        ([{"name": "lab"}], {"lab": IN_LAB}, {}, []),
        ([LAB], {}, {}, ["connect lab"]),
        ([LAB], {"lab": {"IPAMConfig": None, "Aliases": ["a"]}}, {}, ["disconnect lab", "connect lab"]),
        ([LAB], {"lab": {**IN_LAB, "Aliases": ["a", "b"]}}, {}, ["disconnect lab", "connect lab"]),
        ([LAB], {"lab": {**IN_LAB, "Aliases": ["a", "b"]}}, {"comparisons": {"networks": "allow_more_present"}}, []),
        ([LAB], {"lab": IN_LAB, "x": {}}, {}, ["disconnect x"]),
        ([LAB], {"lab": IN_LAB, "x": {}}, {"comparisons": {"networks": "allow_more_present"}}, []),
        ([LAB], {"x": {}}, {"comparisons": {"networks": "ignore"}}, []),
        ([LAB], {"lab": IN_LAB, "bridge": {}}, {"network_mode": "default"}, []),
        ([], {"bridge": {}}, {}, ["disconnect bridge"]),
        ([LAB, {"name": "b"}], {"lab": IN_LAB}, {}, ["connect b"]),
    ],
)
def test_networks(
    networks: list[dict[str, Any]] | None, found: dict[str, Any], options: dict[str, Any], actions: list[str]
) -> None:
    plan = decide(params(networks=networks, **options), situation(container(networks=found)))
    assert [f"{action.kind} {action.detail['network']}" for action in plan.actions] == actions


@pytest.mark.parametrize("mode", ["host", "none", "container:abc"])
def test_a_container_that_cannot_be_connected_is_replaced(mode: str) -> None:
    plan = decide(params(networks=[LAB]), situation(container(host={"NetworkMode": mode}, networks={})))
    assert plan.actions[0].detail["because"] == ["network_mode"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"restart_retries": 3}, "restart_retries only means something with restart_policy on-failure"),
        ({"restart_policy": "always", "restart_retries": 0}, "restart_retries only means something"),
        ({"comparisons": {"nonsense": "strict"}}, "comparisons names nonsense"),
        ({"comparisons": {"env": "loose"}}, "the comparison 'loose' of env"),
        ({"networks": [LAB], "network_mode": "host"}, "network_mode host cannot be in networks"),
        ({"networks": [LAB, {"name": "lab"}]}, "names lab twice"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
    ],
)
def test_contradictions_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        params(**options)


def test_create_body() -> None:
    body = create_body(
        params(
            command=[],
            env={"A": "b"},
            volumes=["/data", "data:/y"],
            restart_policy="on-failure",
            restart_retries=2,
            networks=[LAB, {"name": "other"}],
        )
    )
    assert body == {
        "Image": "web:1",
        "Env": ["A=b"],
        "Volumes": {"/data": {}},
        "HostConfig": {
            "Binds": ["data:/y"],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
            "NetworkMode": "lab",
        },
        "NetworkingConfig": {
            "EndpointsConfig": {"lab": {"IPAMConfig": {"IPv4Address": "192.0.2.11"}, "Aliases": ["a"]}}
        },
    }


def test_the_network_mode_wins_over_the_first_network() -> None:
    body = create_body(params(network_mode="bridge", networks=[LAB]))
    assert body["HostConfig"] == {"NetworkMode": "bridge"}
    assert "NetworkingConfig" not in body


def test_update_body_has_the_named_options_only() -> None:
    assert update_body(params(memory="1k", restart_policy="always", hostname="x"), ["memory"]) == {"Memory": 1024}


def test_diff_shows_what_changes_and_hides_values() -> None:
    wanted = params(env={"MODE": "b", "NEW": "c"}, memory="1k")
    place = situation(container())
    assert diff(place, decide(wanted, place), wanted) == {
        "before": {"env": {"MODE": f"{HIDDEN}, changed", "PATH": HIDDEN}, "memory": 0},
        "after": {"env": {"MODE": f"{HIDDEN}, changed", "NEW": HIDDEN, "PATH": HIDDEN}, "memory": 1024},
    }


@pytest.mark.parametrize(
    ("found", "options", "before", "after"),
    [
        (None, {}, {"exists": False}, {"exists": True}),
        ("running", {"state": "absent"}, {"exists": True}, {"exists": False}),
        (None, {"state": "absent"}, {}, {}),
        ("running", {}, {}, {}),
        ("running", {"state": "stopped"}, {"running": True}, {"running": False}),
        ("exited", {}, {"running": False}, {"running": True}),
        ("running", {"networks": [{"name": "a"}]}, {"networks": {"bridge": {}}}, {"networks": {"a": {}}}),
        ("running", {"recreate": True}, {"id": "abcdef123456"}, {"id": "(new)"}),
    ],
)
def test_diff(found: str | None, options: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    wanted = params(**options)
    place = situation(container(found) if found else None)
    assert diff(place, decide(wanted, place), wanted) == {"before": before, "after": after}


def test_redacted_hides_the_environment_and_keeps_the_original() -> None:
    found = container()
    assert redacted(found)["Config"]["Env"] == [f"PATH={HIDDEN}", f"MODE={HIDDEN}"]
    assert found["Config"]["Env"] == ["PATH=/bin", "MODE=a"]


@pytest.mark.parametrize(
    ("why", "says"),
    [
        (
            "driver failed programming external connectivity on endpoint web (ab12): Bind for 0.0.0.0:8080 "
            "failed: port is already allocated",
            "the host port 0.0.0.0:8080 is already in use; publish another one or stop what holds it.",
        ),
        (
            "driver failed programming external connectivity on endpoint web (ab12): Error starting userland proxy: "
            "listen tcp4 127.0.0.1:8080: bind: address already in use",
            "the host port 127.0.0.1:8080 is already in use;",
        ),
        ("exec: no such file", "could not be started on HOST: exec: no such file."),
    ],
)
def test_start_failure(why: str, says: str) -> None:
    sentence = start_failure("web", "HOST", why)
    assert says in sentence
    assert sentence.startswith("The container web could not be started on HOST")


OPTION_SETS = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(st.sampled_from("ABC"), st.sampled_from("xy")),
        "labels": st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
        "published_ports": st.lists(st.sampled_from(["80", "8080:80", "127.0.0.1:81:81/udp"])),
        "volumes": st.lists(st.sampled_from(["/a:/a", "v1:/b:ro", "/data"])),
        "tmpfs": st.lists(st.sampled_from(["/run:exec", "/tmp"])),
        "capabilities": st.lists(st.sampled_from(["ALL", "CAP_NET_ADMIN"])),
        "security_opts": st.lists(st.sampled_from(["systempaths=unconfined", "seccomp=unconfined"])),
        "command": st.lists(st.sampled_from(["a", "b"])),
        "memory": st.sampled_from(["0", "64m"]),
        "network_mode": st.sampled_from(["bridge", "host", "default"]),
    },
)


@settings(deadline=None)
@given(OPTION_SETS, OPTION_SETS)
def test_a_container_made_from_options_differs_from_other_options_only_where_they_differ(
    options: dict[str, Any], others: dict[str, Any]
) -> None:
    wanted = params(**options)
    body = create_body(wanted)
    host = {"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"], **body.pop("HostConfig")}
    made = container(config={"Env": [], **body}, host=host)
    place = situation(made, image={})
    assert differences(wanted, place) == []
    names = {difference.option for difference in differences(params(**others), place)}
    assert names <= set(others)
    assert not names & {name for name, value in others.items() if options.get(name) == value}
