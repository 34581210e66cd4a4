# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS, Option
from hypothesis import given
from hypothesis import strategies as st

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def empty() -> dict[str, Any]:
    return {"Config": {}, "HostConfig": {}}


CHECK = {"test": ["CMD-SHELL", "true"], "interval": "90s", "retries": 2}
VOLUME = {"target": "/a", "type": "volume", "source": "data"}
DRIVEN: dict[str, Any] = {
    "target": "/a",
    "labels": {"n": 1},
    "no_copy": True,
    "volume_driver": "local",
    "volume_options": {"o": "x"},
}
BIND = {"target": "/b", "type": "bind", "source": "/x"}

# The option, what a user may write, and the form in which it is compared.
CANONICAL = [
    ("hostname", "core01", "core01"),
    ("user", "1000:1000", "1000:1000"),
    ("working_dir", "/srv/", "/srv"),
    ("working_dir", "", ""),
    ("command", ["sh", "-c", "a b"], ["sh", "-c", "a b"]),
    ("command", "sh -c 'a b'", ["sh", "-c", "a b"]),
    ("command", [], []),
    ("entrypoint", ["/init"], ["/init"]),
    ("env", {"A": "b=c", "N": 3}, {"A": "b=c", "N": "3"}),
    ("labels", {"a.b": "c"}, {"a.b": "c"}),
    ("stop_signal", "RTMIN+3", "SIGRTMIN+3"),
    ("stop_signal", "sigterm", "SIGTERM"),
    ("stop_signal", "15", "15"),
    ("stop_timeout", 0, 0),
    ("network_mode", "default", "bridge"),
    ("network_mode", "host", "host"),
    ("published_ports", ["80"], {"80/tcp"}),
    ("published_ports", ["8080:80"], {"8080:80/tcp"}),
    ("published_ports", ["8080:80/udp"], {"8080:80/udp"}),
    ("published_ports", ["127.0.0.1:8080:80"], {"127.0.0.1:8080:80/tcp"}),
    ("published_ports", ["127.0.0.1::80"], {"127.0.0.1::80/tcp"}),
    ("published_ports", ["[::1]:8080:80"], {"[::1]:8080:80/tcp"}),
    ("published_ports", ["[2001:DB8:0::1]::80"], {"[2001:db8::1]::80/tcp"}),
    ("published_ports", ["8080-8081:80-81"], {"8080:80/tcp", "8081:81/tcp"}),
    ("published_ports", ["8080-8089:80"], {"8080-8089:80/tcp"}),
    ("published_ports", [], set()),
    ("volumes", ["/a/:/b/"], {"/a:/b"}),
    ("volumes", ["/a:/b:rw"], {"/a:/b"}),
    ("volumes", ["/a:/b:z,ro"], {"/a:/b:ro,z"}),
    ("volumes", ["data:/b:rw,nocopy"], {"data:/b:nocopy"}),
    ("volumes", ["/cache"], {"/cache"}),
    ("volumes", ["/a:/b", "/a:/b:rw"], {"/a:/b"}),
    ("tmpfs", ["/run:exec,size=1m", "/tmp"], {"/run": "exec,size=1m", "/tmp": ""}),
    ("tmpfs", {"/run/": "size=1m,exec", "/tmp": None}, {"/run": "exec,size=1m", "/tmp": ""}),
    ("capabilities", ["net_admin", "CAP_SYS_TIME", "ALL"], {"NET_ADMIN", "SYS_TIME", "ALL"}),
    ("cap_drop", ["CAP_SYS_RESOURCE"], {"SYS_RESOURCE"}),
    ("privileged", True, True),
    ("security_opts", ["seccomp:unconfined"], {"seccomp=unconfined"}),
    ("security_opts", ["label=user:web", "no-new-privileges:true"], {"label=user:web", "no-new-privileges"}),
    ("security_opts", ["systempaths=unconfined"], {"systempaths=unconfined"}),
    ("cgroupns_mode", "private", "private"),
    ("devices", ["/dev/fuse", "/dev/a:/dev/b:r"], {"/dev/fuse:/dev/fuse:rwm", "/dev/a:/dev/b:r"}),
    ("dns", ["192.0.2.2", "192.0.2.1"], ["192.0.2.2", "192.0.2.1"]),
    ("extra_hosts", {"a": "192.0.2.1", "b": "2001:db8::1"}, {"a": "192.0.2.1", "b": "2001:db8::1"}),
    ("init", False, False),
    ("memory", "64m", 64 * 1024**2),
    ("restart_policy", "no", "no"),
    ("restart_policy", "always:0", "always"),
    ("restart_policy", "on-failure:3", "on-failure:3"),
    ("log_driver", "journald", "journald"),
    ("log_options", {"max-file": 3}, {"max-file": "3"}),
    ("groups", ["audio", 20], {"audio", "20"}),
    ("healthcheck", {"test": "true", "interval": "1m30s", "retries": 2, "timeout": None}, CHECK),
    ("healthcheck", {"test": ["NONE"], "start_period": "1.5s"}, {"test": ["NONE"], "start_period": "1500ms"}),
    ("healthcheck", {"test": [], "interval": "0s", "retries": 0, "start_interval": "5s"}, {"start_interval": "5s"}),
    ("dns_search", ["b", "a"], ["b", "a"]),
    ("mounts", [{"target": "/a/", "source": "data", "read_only": False}], {"/a": VOLUME}),
    ("mounts", [{"target": "/b", "type": "bind", "source": "/x/", "propagation": "rprivate"}], {"/b": BIND}),
    (
        "mounts",
        [{"target": "/b", "type": "bind", "source": "/x", "propagation": "shared", "read_only": True}],
        {"/b": {**BIND, "propagation": "shared", "read_only": True}},
    ),
    (
        "mounts",
        [
            {"target": "/c", "type": "tmpfs", "tmpfs_size": "1k", "tmpfs_mode": "755"},
            DRIVEN,
        ],
        {
            "/c": {"target": "/c", "type": "tmpfs", "tmpfs_size": 1024, "tmpfs_mode": "0755"},
            "/a": {
                "target": "/a",
                "type": "volume",
                "labels": {"n": "1"},
                "no_copy": True,
                "volume_driver": "local",
                "volume_options": {"o": "x"},
            },
        },
    ),
    ("read_only", True, True),
    ("shm_size", "1m", 1024**2),
    ("pid_mode", "host", "host"),
    ("ipc_mode", "shareable", "shareable"),
    ("ipc_mode", "", "private"),
    ("sysctls", {"net.core.somaxconn": 128}, {"net.core.somaxconn": "128"}),
    ("ulimits", ["nofile:10:20", "nproc=5", "core:-1"], {"nofile": "10:20", "nproc": "5:5", "core": "-1:-1"}),
    ("memory_reservation", "1k", 1024),
    ("memory_swap", "unlimited", -1),
    ("memory_swap", "2k", 2048),
    ("cpus", 1.5, 1.5),
    ("cpus", 0, 0),
    ("cpu_shares", 512, 512),
    ("cpuset_cpus", "0-2", "0-2"),
    ("pids_limit", 10, 10),
    ("pids_limit", -1, 0),
]


@pytest.mark.parametrize(("name", "value", "canonical"), CANONICAL)
def test_canonical(name: str, value: Any, canonical: Any) -> None:
    wanted = BY_NAME[name].wanted({name: value})
    assert wanted == canonical
    assert BY_NAME[name].canonical(wanted) == wanted, "what is canonical stays as it is"


@pytest.mark.parametrize(("name", "value", "canonical"), CANONICAL)
def test_what_is_written_is_read_again(name: str, value: Any, canonical: Any) -> None:
    option, body = BY_NAME[name], empty()
    option.write(body, option.wanted({name: value}))
    assert option.found(body) == canonical


def test_every_option_is_in_the_table() -> None:
    assert {row[0] for row in CANONICAL} == set(BY_NAME)


def test_options_that_were_not_given_are_not_wanted() -> None:
    assert [option.name for option in OPTIONS if option.wanted({option.name: None}) is not None] == []


# What engine 20.10 reports for an option that nobody has set.
UNSET = {
    "Config": {"Hostname": "", "Cmd": None, "Entrypoint": None, "Env": None, "Labels": {}, "Volumes": None},
    "HostConfig": {
        "Binds": None,
        "NetworkMode": "default",
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "CapAdd": None,
        "CapDrop": None,
        "CgroupnsMode": "private",
        "Dns": [],
        "ExtraHosts": None,
        "SecurityOpt": None,
        "Devices": [],
        "GroupAdd": None,
        "IpcMode": "private",
        "PidMode": "",
        "Ulimits": None,
        "NanoCpus": 0,
        "CpuShares": 0,
        "CpusetCpus": "",
        "PidsLimit": None,
        "MemoryReservation": 0,
        "MemorySwap": 0,
        "ReadonlyRootfs": False,
        "Memory": 0,
        "LogConfig": {"Type": "json-file", "Config": {}},
        "MaskedPaths": ["/proc/kcore"],
        "ReadonlyPaths": ["/proc/sys"],
    },
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostname", ""),
        ("env", {}),
        ("labels", {}),
        ("published_ports", []),
        ("volumes", []),
        ("tmpfs", []),
        ("capabilities", []),
        ("security_opts", []),
        ("devices", []),
        ("dns", []),
        ("extra_hosts", {}),
        ("init", False),
        ("privileged", False),
        ("memory", "0"),
        ("restart_policy", "no:0"),
        ("network_mode", "bridge"),
        ("stop_timeout", 10),
        ("log_driver", "json-file"),
        ("log_options", {}),
        ("cgroupns_mode", "private"),
        ("groups", []),
        ("healthcheck", {}),
        ("dns_search", []),
        ("mounts", []),
        ("read_only", False),
        ("pid_mode", ""),
        ("ipc_mode", "private"),
        ("sysctls", {}),
        ("ulimits", []),
        ("memory_reservation", "0"),
        ("cpus", 0),
        ("cpu_shares", 0),
        ("cpuset_cpus", ""),
        ("pids_limit", -1),
    ],
)
def test_nothing_equals_what_an_engine_reports_for_nothing(name: str, value: Any) -> None:
    assert BY_NAME[name].found(UNSET) == BY_NAME[name].wanted({name: value})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("env", {"A": True}, "the value of A is not text"),
        ("env", {"A=B": "c"}, "'A=B' cannot be the name"),
        ("labels", {"a": 1.1}, "the value of a is not text"),
        ("published_ports", ["web"], "'web' is not a port"),
        ("published_ports", ["80/icmp"], "the protocol 'icmp'"),
        ("published_ports", ["0:80"], "outside 1 to 65535"),
        ("published_ports", ["70000"], "outside 1 to 65535"),
        ("published_ports", ["82-80:80-82"], "runs backwards"),
        ("published_ports", ["1-2:1-3"], "maps 2 host ports to 3"),
        ("published_ports", ["host:80:80"], "'host', which is not an IP address"),
        ("volumes", ["a/b"], "is not a volume"),
        ("volumes", ["./a:/b"], "is not a volume"),
        ("volumes", ["/a:b"], "is not a volume"),
        ("volumes", ["/a:/b:ro:z"], "is not a volume"),
        ("volumes", [":/b"], "is not a volume"),
        ("volumes", ["/a:/b:rx"], "unknown mode rx"),
        ("volumes", ["/a:/b", "/c:/b/"], "are to be at /b"),
        ("tmpfs", "/run", "is text"),
        ("tmpfs", ["run"], "'run' is not an absolute path"),
        ("security_opts", ["systempaths=all"], "only value of systempaths is unconfined"),
        ("devices", ["fuse"], "is not a device"),
        ("memory", "lots", "'lots' is not a size"),
        ("memory_swap", "lots", "'lots' is not a size"),
        ("shm_size", "-1", "'-1' is not a size"),
        ("cpus", "many", "could not convert"),
        ("healthcheck", {"test": ["curl"]}, "the test begins with 'curl'"),
        ("healthcheck", {"test": 5}, "the test 5 is neither text nor"),
        ("healthcheck", {"interval": "30"}, "'30' is not a duration"),
        ("healthcheck", {"interval": "30x"}, "'30x' is not a duration"),
        ("healthcheck", {"timeout": "1us"}, "the timeout 1us is shorter"),
        ("healthcheck", {"retries": -1}, "there cannot be -1 retries"),
        ("ulimits", ["nofile"], "'nofile' is not a limit"),
        ("ulimits", ["nofile:2:1"], "a soft limit above"),
        ("ulimits", ["nofile:-1:1"], "a soft limit above"),
        ("ulimits", ["nofile:1", "nofile:2"], "two limits for nofile"),
        ("sysctls", {"a": True}, "the value of a is not text"),
        ("mounts", [{"target": "x"}], "the target 'x' is not an absolute path"),
        ("mounts", [{"target": "/x", "type": "bind"}], "needs a source that is an absolute path"),
        ("mounts", [{"target": "/x", "source": "/y"}], "set type to bind"),
        ("mounts", [{"target": "/x", "type": "tmpfs", "source": "y"}], "cannot have the source y"),
        ("mounts", [{"target": "/x"}, {"target": "/x/"}], "two mounts are to be at /x"),
        (
            "mounts",
            [{"target": "/x", "tmpfs_size": "1m"}],
            "tmpfs_size of the mount at /x is for type tmpfs",
        ),
        ("mounts", [{"target": "/x", "type": "tmpfs", "tmpfs_mode": "9"}], "tmpfs_mode '9' of the mount at /x"),
        ("mounts", [{"target": "/x", "labels": {"a": True}}], "the value of a is not text"),
    ],
)
def test_bad_values_are_named(name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        BY_NAME[name].wanted({name: value})


IMAGE = {
    "Cmd": ["serve"],
    "Entrypoint": ["/entry"],
    "Env": ["PATH=/bin", "A=image"],
    "Labels": {"made": "here"},
    "Volumes": {"/data": {}, "/cache/": {}},
    "User": "web",
    "WorkingDir": "/srv",
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "ok"], "Interval": 5 * 10**9},
}


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("env", {"env": {"A": "own"}}, {"PATH": "/bin", "A": "own"}),
        ("labels", {"labels": {"a": "b"}}, {"made": "here", "a": "b"}),
        ("volumes", {"volumes": ["/a:/data"]}, {"/a:/data", "/cache"}),
        ("volumes", {"volumes": []}, {"/data", "/cache"}),
        ("command", {"command": []}, ["serve"]),
        ("command", {"command": ["x"]}, ["x"]),
        ("command", {"command": [], "entrypoint": ["/own"]}, []),
        ("entrypoint", {"entrypoint": []}, ["/entry"]),
        ("entrypoint", {"entrypoint": [""]}, []),
        ("user", {"user": ""}, "web"),
        ("working_dir", {"working_dir": ""}, "/srv"),
        ("stop_signal", {"stop_signal": ""}, "SIGQUIT"),
        ("hostname", {"hostname": "a"}, "a"),
        ("healthcheck", {"healthcheck": {}}, {"test": ["CMD", "ok"], "interval": "5s"}),
        ("healthcheck", {"healthcheck": {"test": ["NONE"]}}, {"test": ["NONE"], "interval": "5s"}),
        ("shm_size", {"shm_size": "0"}, 64 * 1024**2),
        ("memory_swap", {"memory_swap": "0", "memory": "1k"}, 2048),
        ("memory_swap", {"memory_swap": "0"}, 0),
        ("security_opts", {"security_opts": ["systempaths=unconfined"], "privileged": True}, set()),
    ],
)
def test_what_the_image_brings_along_is_expected(name: str, params: dict[str, Any], expected: Any) -> None:
    option = BY_NAME[name]
    assert option.expected(option.wanted(params), IMAGE, params) == expected


def test_without_an_image_configuration_the_wanted_value_is_expected() -> None:
    for name, value, canonical in CANONICAL:
        option = BY_NAME[name]
        assert option.expected(option.wanted({name: value}), {}, {name: value}) == canonical


def test_systempaths_become_empty_lists_of_paths() -> None:
    body = empty()
    option = BY_NAME["security_opts"]
    option.write(body, option.wanted({"security_opts": ["seccomp=unconfined", "systempaths=unconfined"]}))
    assert body["HostConfig"] == {"SecurityOpt": ["seccomp=unconfined"], "MaskedPaths": [], "ReadonlyPaths": []}


def test_what_the_engine_adds_to_a_privileged_container_is_not_compared() -> None:
    host = {"Privileged": True, "SecurityOpt": ["label=disable"], "MaskedPaths": None, "ReadonlyPaths": None}
    assert BY_NAME["security_opts"].found({"Config": {}, "HostConfig": host}) == frozenset()


def test_only_limits_and_the_restart_policy_change_in_place() -> None:
    updatable = {
        name for name, value, _canonical in CANONICAL if BY_NAME[name].updatable(BY_NAME[name].canonical(value))
    }
    assert updatable == {
        *("memory", "memory_reservation", "memory_swap", "cpus", "cpu_shares", "cpuset_cpus"),
        *("pids_limit", "restart_policy"),
    }


@pytest.mark.parametrize(
    ("name", "value", "updatable"),
    [("memory", 0, False), ("cpus", 0.0, False), ("cpuset_cpus", "", False), ("pids_limit", 0, True)],
)
def test_a_limit_goes_away_in_place_only_where_the_engine_can(name: str, value: Any, updatable: bool) -> None:
    assert BY_NAME[name].updatable(value) is updatable, "the engine takes 0 for: leave the limit as it is"


def test_the_label_that_new_engines_give_volumes_without_a_name_is_not_compared() -> None:
    mount = {"Type": "volume", "Target": "/a", "VolumeOptions": {"Labels": {"com.docker.volume.anonymous": ""}}}
    assert BY_NAME["mounts"].found({"HostConfig": {"Mounts": [mount]}}) == {"/a": {"target": "/a", "type": "volume"}}


PORTS = st.integers(1, 65535).map(str)
PUBLICATIONS = st.tuples(
    st.sampled_from(["", "127.0.0.1:", "0.0.0.0:", "[::1]:"]),
    PORTS,
    PORTS,
    st.sampled_from(["", "/tcp", "/udp", "/sctp"]),
).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}{parts[3]}")
PATHS = st.from_regex(r"(/[a-z0-9]{1,4}){1,3}/?", fullmatch=True)
VOLUMES = st.tuples(PATHS, PATHS, st.sampled_from(["", ":ro", ":rw", ":z,ro", ":rslave"])).map(
    lambda parts: f"{parts[0]}:{parts[1]}{parts[2]}"
)


@given(st.lists(PUBLICATIONS))
def test_ports_survive_the_engine_in_any_order(specs: list[str]) -> None:
    option, body = BY_NAME["published_ports"], empty()
    option.write(body, option.canonical(specs))
    assert option.found(body) == option.canonical(list(reversed(specs)))


@given(st.lists(VOLUMES, unique_by=lambda spec: spec.split(":")[1].rstrip("/")))
def test_volumes_survive_the_engine_in_any_order(specs: list[str]) -> None:
    option, body = BY_NAME["volumes"], empty()
    option.write(body, option.canonical(specs))
    assert option.found(body) == option.canonical(list(reversed(specs)))
