# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest
import yaml
from ansible_collections.flagship.coreos.plugins.filter.user_data import user_data
from ansible_collections.flagship.coreos.plugins.plugin_utils.cloud_config import (
    file_mode,
    from_cloud_config,
)
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import UserDataError
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_targets import TARGETS
from ansible_collections.flagship.coreos.plugins.plugin_utils.ignition import from_ignition
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx0ZXN0a2V5 ops"
SERVICE = "[Service]\nExecStart=/usr/bin/true\n"
INSTALL = "[Install]\nWantedBy=multi-user.target\n"
WINDOW = {"days": ["Thu"], "start": "04:00", "length": 90}
ADDRESSES = {"path": "/etc/environment", "content": "A=$private_ipv4\nB=$public_ipv4\n"}


def machine(**more: Any) -> dict[str, Any]:
    """A small machine, and what a test adds to it."""
    return {"hostname": "core01", **more}


def validate(text: str) -> None:
    """Debian's ignition-validate has nothing to say, not even a warning."""
    done = subprocess.run(
        ["ignition-validate", "-"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def ignition_files(text: str) -> dict[str, str]:
    """Path -> text."""
    return {
        file["path"]: base64.b64decode(file["contents"]["source"].partition("base64,")[2]).decode()
        for file in json.loads(text)["storage"]["files"]
    }


# What PyYAML, Go's YAML, a shell and systemd see in different ways.
TEXTS = st.one_of(
    st.text(max_size=40).filter(lambda text: "_ipv" not in text and not any("\ud800" <= c <= "\udfff" for c in text)),
    st.sampled_from(
        ["off", "0644", "yes", "~", "", "null", "1e3", "a: b", "- x", "#x", " x", "x\n", "\tx\r\n", "%", "\x85"]
    ),
    st.lists(st.sampled_from(["A=1", "", "  b", "# c", "ü", "'", '"', "\\", "$x"]), max_size=6).map("\n".join),
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,7}", fullmatch=True)
MODES = st.integers(0, 0o777).map("{:04o}".format)
FILES = st.lists(
    st.fixed_dictionaries(
        {"path": NAMES.map("/etc/x/{}".format), "content": TEXTS},
        optional={"mode": MODES, "owner": NAMES, "group": NAMES},
    ),
    max_size=4,
    unique_by=lambda file: file["path"],
)
USERS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES.filter(lambda name: name not in ("core", "root", "etcd"))},
        optional={
            "ssh_authorized_keys": st.just([KEY]),
            "password_hash": st.just("$6$salt$hash"),
            "gecos": TEXTS,
            "home": st.just("/var/home/x"),
            "groups": st.lists(NAMES, max_size=2, unique=True),
            "system": st.booleans(),
            "no_create_home": st.booleans(),
        },
    ),
    max_size=3,
    unique_by=lambda user: user["name"],
)
UNITS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES.map("{}.service".format), "content": st.just(SERVICE + INSTALL)},
        optional={
            "enabled": st.booleans(),
            "dropins": st.lists(
                st.fixed_dictionaries(
                    {"name": NAMES.map("{}.conf".format), "content": st.just("[Unit]\nAfter=x.service\n")}
                ),
                max_size=2,
                unique_by=lambda dropin: dropin["name"],
            ),
        },
    ),
    max_size=3,
    unique_by=lambda unit: unit["name"],
)
UPDATES = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"strategy": st.sampled_from(["off", "reboot", False])}, optional={"group": st.just("stable")}
    ),
    st.just({"strategy": "reboot", "window": WINDOW, "server": "disabled"}),
)
MACHINES = st.fixed_dictionaries(
    {"hostname": st.just("core01")},
    optional={
        "users": USERS,
        "groups": st.lists(NAMES.map("g{}".format), max_size=2, unique=True),
        "files": FILES,
        "units": UNITS,
        "update": UPDATES,
    },
)


@given(MACHINES)
def test_both_formats_say_the_same(given_machine: dict[str, Any]) -> None:
    flatcar = TARGETS["flatcar"]
    one = from_ignition(user_data(given_machine, "flatcar", "ignition"), flatcar)
    other = from_cloud_config(user_data(given_machine, "flatcar", "cloud-config"))
    assert one == other
    files = given_machine.get("files", [])
    assert [file.content for file in one.files] == [file["content"] for file in files]
    assert [file.mode for file in one.files] == [int(file.get("mode", "0644"), 8) for file in files]


class Text(str):
    """What ansible-core before 2.19 makes of text."""


def as_of_old(value: Any) -> Any:
    """The same, of such text."""
    if isinstance(value, dict):
        return {key: as_of_old(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_of_old(item) for item in value]
    return Text(value) if isinstance(value, str) else value


@pytest.mark.parametrize("form", ["ignition", "cloud-config"])
@given(given_machine=MACHINES)
def test_the_text_of_an_old_ansible_is_text(form: str, given_machine: dict[str, Any]) -> None:
    assert user_data(as_of_old(given_machine), "flatcar", form) == user_data(given_machine, "flatcar", form)


@given(MACHINES)
@settings(max_examples=25)
def test_ignition_itself_takes_what_is_made(given_machine: dict[str, Any]) -> None:
    validate(user_data(given_machine, "flatcar", "ignition"))


@given(MACHINES)
def test_a_cloud_config_means_the_same_to_a_parser_that_guesses_types(given_machine: dict[str, Any]) -> None:
    """PyYAML makes other things of off, 0644 and ~ unless they are quoted, as coreos-cloudinit's parser does not."""
    text = user_data(given_machine, "flatcar", "cloud-config")
    assert text.startswith("#cloud-config\n")
    found = yaml.safe_load(text)
    assert [file["content"] for file in found.get("write_files", [])] == [
        file["content"] for file in given_machine.get("files", [])
    ]
    assert all(isinstance(file["permissions"], str) for file in found.get("write_files", []))
    strategy = given_machine.get("update", {}).get("strategy", "")
    assert found.get("coreos", {}).get("update", {}).get("reboot-strategy", "") == (
        "off" if strategy is False else strategy
    )


@pytest.mark.parametrize("strategy", ["off", False])
def test_off_stays_off(strategy: object) -> None:
    wanted = machine(update={"strategy": strategy})
    assert 'reboot-strategy: "off"' in user_data(wanted, "flatcar", "cloud-config")
    assert ignition_files(user_data(wanted))["/etc/flatcar/update.conf"] == "REBOOT_STRATEGY=off\n"
    zincati = ignition_files(user_data(wanted, "fedora-coreos"))["/etc/zincati/config.d/55-updates-strategy.toml"]
    assert zincati == "[updates]\nenabled = false\n"


def test_a_mode_is_octal_text_here_and_a_decimal_number_there() -> None:
    wanted = machine(files=[{"path": "/etc/motd", "content": "x", "mode": "0644"}])
    file = json.loads(user_data(wanted))["storage"]["files"][1]
    assert file["mode"] == 420
    assert 'permissions: "0644"' in user_data(wanted, "flatcar", "cloud-config")


@pytest.mark.parametrize(("permissions", "mode"), [("0644", 0o644), ("644", 0o644), ("420", 0o420), ("0600", 0o600)])
def test_permissions_of_a_cloud_config_are_octal_however_they_are_written(permissions: str, mode: int) -> None:
    assert file_mode(permissions) == mode
    text = f"#cloud-config\nhostname: a\nwrite_files:\n- path: /etc/motd\n  permissions: {permissions}\n"
    assert from_cloud_config(text).files[0].mode == mode


@pytest.mark.parametrize("permissions", ["rw-r--r--", "8", "0888", "64", "000644"])
def test_other_permissions_are_refused(permissions: str) -> None:
    with pytest.raises(UserDataError, match="not octal"):
        file_mode(permissions)


def test_a_cloud_config_that_people_wrote_is_read_as_text() -> None:
    text = "#cloud-config \nhostname: core01\ncoreos:\n  update:\n    reboot-strategy: off\n    group: 0644\n"
    update = from_cloud_config(text).update
    assert (update.strategy, update.group) == ("off", "0644")


@pytest.mark.parametrize("text", ["", "\n#cloud-config\n", "#cloud-config.\n", "#!/bin/sh\n", '{"ignition": {}}'])
def test_the_first_line_of_a_cloud_config_is_exact(text: str) -> None:
    with pytest.raises(UserDataError, match="first line"):
        from_cloud_config(text)


def test_updates_of_each_system() -> None:
    flatcar = ignition_files(user_data(machine(update={"strategy": "reboot", "window": WINDOW, "group": "lts"})))
    assert flatcar["/etc/flatcar/update.conf"].splitlines() == [
        "GROUP=lts",
        "REBOOT_STRATEGY=reboot",
        "LOCKSMITHD_REBOOT_WINDOW_START=Thu 04:00",
        "LOCKSMITHD_REBOOT_WINDOW_LENGTH=90m",
    ]
    cloud = yaml.safe_load(
        user_data(machine(update={"strategy": "reboot", "window": WINDOW}), "flatcar", "cloud-config")
    )
    assert cloud["coreos"] == {
        "update": {"reboot-strategy": "reboot"},
        "locksmith": {"window-start": "Thu 04:00", "window-length": "90m"},
    }
    path = "/etc/zincati/config.d/55-updates-strategy.toml"
    periodic = machine(update={"strategy": "periodic", "window": {"start": "23:30", "length": 60}})
    assert ignition_files(user_data(periodic, "fedora-coreos"))[path].endswith(
        '[[updates.periodic.window]]\ndays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]\n'
        'start_time = "23:30"\nlength_minutes = 60\n'
    )
    lock = machine(update={"strategy": "fleet_lock", "lock_url": "http://10.0.0.1:3333"})
    assert 'base_url = "http://10.0.0.1:3333"' in ignition_files(user_data(lock, "fedora-coreos"))[path]
    assert path not in ignition_files(user_data(machine(), "fedora-coreos"))


def test_addresses_are_learnt_from_the_provider() -> None:
    unit = {"name": "etcd.service", "content": SERVICE + INSTALL, "enabled": True}
    socket = {"name": "fleet.socket", "content": "[Socket]\nListenStream=/run/x\n" + INSTALL, "enabled": True}
    wanted = machine(files=[ADDRESSES], units=[unit, socket])
    for target, prefix in (("flatcar", "COREOS"), ("fedora-coreos", "AFTERBURN")):
        text = user_data(wanted, target, "ignition", "digitalocean")
        validate(text)
        script = ignition_files(text)["/etc/flagship/addresses.sh"]
        assert f"private=${{{prefix}_DIGITALOCEAN_IPV4_PRIVATE_0:-}}" in script
        learner = json.loads(text)["systemd"]["units"][0]
        assert "\nBefore=etcd.service\n" in learner["contents"]
        assert learner["contents"].endswith("\nRequiredBy=etcd.service\n")
    cloud = yaml.safe_load(user_data(wanted, "flatcar", "cloud-config", "digitalocean"))
    assert cloud["write_files"][0]["content"] == ADDRESSES["content"]
    assert cloud["coreos"]["units"][0]["name"] == "flagship-addresses.service"


@pytest.mark.parametrize(("private", "code"), [("10.0.0.1", 0), ("", 1)])
@pytest.mark.parametrize("form", ["ignition", "cloud-config"])
def test_nothing_starts_with_an_empty_address(tmp_path: Any, form: str, private: str, code: int) -> None:
    """The script, run for real, with what coreos-cloudinit or Afterburn make of an address that is, or is not there."""
    path = tmp_path / "environment"
    text = user_data(
        machine(files=[{"path": "/etc/environment", "content": "A=$private_ipv4\n"}]), "flatcar", form, "digitalocean"
    )
    if form == "ignition":
        script = ignition_files(text)["/etc/flagship/addresses.sh"]
        path.write_text("A=$private_ipv4\n")
    else:
        files = yaml.safe_load(text.replace("$private_ipv4", private))["write_files"]
        script = files[1]["content"]
        path.write_text(files[0]["content"])
    done = subprocess.run(
        ["sh", "-c", script.replace("/etc/environment", str(path))],
        env={"PATH": "/usr/bin:/bin", "COREOS_DIGITALOCEAN_IPV4_PRIVATE_0": private},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.count("\n") == code
    if private:
        assert path.read_text() == "A=10.0.0.1\n"


def test_entries_of_one_unit_and_one_user_are_put_together() -> None:
    dropin = {"name": "20-mine.conf", "content": "[Service]\nNice=1\n"}
    unit = {"name": "a.service", "content": SERVICE + INSTALL, "enabled": True}
    users = [{"name": "me", "groups": ["docker"]}, {"name": "me", "ssh_authorized_keys": [KEY]}]
    found = json.loads(user_data(machine(users=users, units=[unit, {"name": "a.service", "dropins": [dropin]}])))
    assert found["systemd"]["units"] == [
        {
            "name": "a.service",
            "enabled": True,
            "contents": SERVICE + INSTALL,
            "dropins": [{"name": "20-mine.conf", "contents": dropin["content"]}],
        }
    ]
    assert found["passwd"]["users"] == [{"name": "me", "sshAuthorizedKeys": [KEY], "groups": ["docker"]}]


def test_an_account_of_the_image_is_left_alone() -> None:
    users = [{"name": "etcd", "system": True}]
    assert "passwd" not in json.loads(user_data(machine(users=users), "flatcar"))
    assert json.loads(user_data(machine(users=users), "fedora-coreos"))["passwd"]["users"][0]["name"] == "etcd"


def test_a_group_needs_a_user_where_there_is_no_list_of_groups() -> None:
    assert json.loads(user_data(machine(groups=["fleet"])))["passwd"]["groups"] == [{"name": "fleet", "system": True}]
    users = yaml.safe_load(user_data(machine(groups=["fleet"]), "flatcar", "cloud-config"))["users"]
    assert users[0] | {"gecos": ""} == {
        "name": "fleet",
        "gecos": "",
        "shell": "/sbin/nologin",
        "system": True,
        "no_create_home": True,
    }


def test_a_file_may_come_from_elsewhere() -> None:
    file = {
        "path": "/opt/bin/etcd",
        "source": "https://example.com/etcd",
        "hash": "sha512-" + "0" * 128,
        "mode": "0755",
    }
    text = user_data(machine(files=[file]))
    validate(text)
    assert json.loads(text)["storage"]["files"][1]["contents"] == {
        "source": "https://example.com/etcd",
        "verification": {"hash": file["hash"]},
    }
