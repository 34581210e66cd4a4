# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_container import start_failure
from ansible_collections.flagship.coreos.plugins.module_utils.docker_diff import HIDDEN, diff, redacted
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_params import prepared
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import (
    NEW,
    PREVIOUS,
    Plan,
    Situation,
    create_body,
    decide,
    differences,
    update_body,
)
from hypothesis import given
from hypothesis import strategies as st

IMAGE_ID = "sha256:" + "1" * 64
STATES: dict[str, dict[str, Any]] = {
    "running": {"Running": True, "Paused": False, "Restarting": False},
    "paused": {"Running": True, "Paused": True, "Restarting": False},
    "restarting": {"Running": True, "Paused": False, "Restarting": True},
    "exited": {"Running": False, "Paused": False, "Restarting": False},
}


def params(**options: Any) -> dict[str, Any]:
    names = [option.name for option in OPTIONS] + ["image", "networks", "restart_retries", "healthy_wait_timeout"]
    defaults = {"name": "web", "state": "started", "comparisons": {}, "recreate": False, "image": "web:1"}
    defaults["restart"] = False
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
        ("started", "running", {**SAME, "restart": True}, ["restart"]),
        ("started", "paused", {**SAME, "restart": True}, ["unpause", "restart"]),
        ("started", "exited", {**SAME, "restart": True}, ["start"]),
        ("started", None, {"restart": True}, ["create", "start"]),
        ("started", "running", {**OTHER, "restart": True}, ["replace running"]),
        ("started", "running", {**UPDATE, "restart": True}, ["update", "restart"]),
        ("present", "running", {**SAME, "restart": True}, []),
        ("stopped", "exited", {**SAME, "restart": True}, []),
        ("healthy", None, {}, ["create", "start"]),
        ("healthy", "running", SAME, []),
        ("healthy", "paused", SAME, ["unpause"]),
        ("healthy", "exited", SAME, ["start"]),
        ("healthy", "exited", UPDATE, ["update", "start"]),
        ("healthy", "exited", OTHER, ["replace running"]),
        ("healthy", "running", {**SAME, "restart": True}, ["restart"]),
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
        ({"env": {"MODE": "b"}, "hostname": "x", "comparisons": {"*": "ignore"}}, []),
        ({"env": {"MODE": "b"}, "hostname": "x", "comparisons": {"*": "ignore", "env": "strict"}}, ["env"]),
        ({"env": {}, "comparisons": {"*": "allow_more_present"}}, []),
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
    assert kinds(decide(params(comparisons={"*": "ignore"}), place)) == []
    assert kinds(decide(params(comparisons={"*": "ignore", "image": "strict"}), place)) == ["replace"]


LAB = {"name": "lab", "ipv4_address": "192.0.2.11", "aliases": ["a"]}
SIX = {"name": "lab", "ipv6_address": "2001:DB8:0::11"}
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
        ([LAB], {"x": {}}, {"comparisons": {"*": "ignore"}}, []),
        ([LAB], {"lab": IN_LAB, "x": {}}, {"comparisons": {"*": "ignore", "networks": "strict"}}, ["disconnect x"]),
        ([SIX], {"lab": {"IPAMConfig": {"IPv6Address": "2001:db8::11"}}}, {}, []),
        ([SIX], {"lab": IN_LAB}, {}, ["disconnect lab", "connect lab"]),
        ([{"name": "lab", "ipv6_address": ""}], {"lab": IN_LAB}, {}, []),
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
        ({"networks": [{"name": "a", "ipv4_address": "2001:db8::1"}]}, "ipv4_address '2001:db8::1' in the network a"),
        ({"networks": [{"name": "a", "ipv6_address": "x"}]}, "ipv6_address 'x' in the network a is not an IPv6"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
        ({"stop_timeout": -1}, "stop_timeout is -1, but there is no negative time"),
        ({"healthy_wait_timeout": -0.5}, "healthy_wait_timeout is -0.5"),
        ({"volumes": ["/a:/x"], "tmpfs": ["/x/"]}, "both volumes and tmpfs want something at /x"),
        ({"volumes": ["/x"], "mounts": [{"target": "/x/"}]}, "both volumes and mounts want something at /x"),
        ({"mounts": [{"target": "/x"}], "tmpfs": ["/x"]}, "both mounts and tmpfs want something at /x"),
        ({"comparisons": {"*": "loose"}}, "the comparison 'loose' of *"),
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
    assert update_body(params(memory="1k", restart_policy="always", hostname="x"), ["memory"]) == {
        "Memory": 1024,
        "MemorySwap": 2048,
    }


@pytest.mark.parametrize(
    ("options", "names", "body"),
    [
        ({"memory": "1k", "memory_swap": "3k"}, ["memory"], {"Memory": 1024, "MemorySwap": 3072}),
        ({"memory": "1k", "memory_swap": "-1"}, ["memory_swap"], {"MemorySwap": -1}),
        ({"cpus": 1.5, "pids_limit": 0}, ["cpus", "pids_limit"], {"NanoCpus": 1500000000, "PidsLimit": -1}),
        ({"pids_limit": 5, "cpu_shares": 2}, ["pids_limit", "cpu_shares"], {"PidsLimit": 5, "CpuShares": 2}),
        ({"memory_reservation": "1k"}, ["memory_reservation"], {"MemoryReservation": 1024}),
    ],
)
def test_update_body(options: dict[str, Any], names: list[str], body: dict[str, Any]) -> None:
    assert update_body(params(**options), names) == body


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
        ("running", {"restart": True}, {"restarted": False}, {"restarted": True}),
    ],
)
def test_diff(found: str | None, options: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    wanted = params(**options)
    place = situation(container(found) if found else None)
    assert diff(place, decide(wanted, place), wanted) == {"before": before, "after": after}


SECRETS: dict[str, Any] = {
    "log_options": {"splunk-token": "abc", "max-size": "1m"},
    "mounts": [
        {"target": "/x", "volume_driver": "local", "volume_options": {"o": "username=me,password=abc", "type": "cifs"}}
    ],
}


def test_no_secret_of_a_driver_is_shown() -> None:
    made = create_body(params(**SECRETS))
    text = str(redacted(container(host=made["HostConfig"])))
    assert "abc" not in text.replace("abcdef123456", "")
    assert "username=me" in text
    wanted, place = params(**SECRETS), situation(container(host={"LogConfig": {"Config": {"splunk-token": "xyz"}}}))
    shown = diff(place, decide(wanted, place), wanted)
    assert shown["before"]["log_options"] == {"splunk-token": f"{HIDDEN}, changed"}
    assert shown["after"]["log_options"] == {"splunk-token": f"{HIDDEN}, changed", "max-size": "1m"}
    assert shown["after"]["mounts"]["/x"]["volume_options"]["o"] == f"username=me,password={HIDDEN}"


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


MOUNTS: list[dict[str, Any]] = [
    {"target": "/m1", "source": "v1", "read_only": True},
    {"target": "/m2/", "type": "bind", "source": "/b/", "propagation": "slave"},
    {"target": "/m3", "type": "tmpfs", "tmpfs_size": "1m", "tmpfs_mode": "700"},
    {"target": "/m4", "volume_driver": "local", "volume_options": {"o": "x"}, "labels": {"a": 1}},
]
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
        "mounts": st.lists(st.sampled_from(MOUNTS), unique_by=lambda mount: str(mount["target"])),
        "healthcheck": st.fixed_dictionaries(
            {},
            optional={
                "test": st.sampled_from(["true", ["NONE"], ["CMD", "x"], []]),
                "interval": st.sampled_from(["1s", "1m", "0s"]),
                "retries": st.integers(0, 3),
            },
        ),
        "ulimits": st.lists(st.sampled_from(["nofile:1:2", "core:-1"]), unique=True),
        "sysctls": st.dictionaries(st.sampled_from("ab"), st.integers(0, 1)),
        "cpus": st.sampled_from([0, 0.5, 1.25]),
        "pids_limit": st.sampled_from([-1, 0, 7]),
        "groups": st.lists(st.sampled_from(["a", "b"])),
        "read_only": st.booleans(),
    },
)


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
