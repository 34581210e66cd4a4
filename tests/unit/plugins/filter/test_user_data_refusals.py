# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.filter.etcd_bootstrap import FilterModule as EtcdBootstrap
from ansible_collections.flagship.coreos.plugins.filter.user_data import FilterModule, user_data

SERVICE = "[Service]\nExecStart=/usr/bin/true\n"
INSTALL = "[Install]\nWantedBy=multi-user.target\n"
WINDOW = {"days": ["Thu"], "start": "04:00", "length": 90}
ADDRESSES = {"path": "/etc/environment", "content": "A=$private_ipv4\nB=$public_ipv4\n"}


def machine(**more: Any) -> dict[str, Any]:
    """A small machine, and what a test adds to it."""
    return {"hostname": "core01", **more}


def unit_of(**more: Any) -> dict[str, Any]:
    return machine(units=[{"name": "a.service", **more}])


def file_of(**more: Any) -> dict[str, Any]:
    return machine(files=[{"path": "/etc/motd", "content": "", **more}])


def user_of(**more: Any) -> dict[str, Any]:
    return machine(users=[{"name": "me", **more}])


def update_of(**more: Any) -> dict[str, Any]:
    return machine(update=more)


@pytest.mark.parametrize(
    ("wanted", "how", "sentence"),
    [
        ("core01", (), "a machine is a string"),
        (machine(colour="red"), (), "a node has no colour"),
        (machine(), ("ubuntu",), "there is no target 'ubuntu'"),
        (machine(), ("flatcar", "butane"), "there is no format 'butane'"),
        (machine(), ("fedora-coreos", "cloud-config"), "fedora-coreos does not read cloud-config; use ignition"),
        (machine(), ("flatcar", "ignition", "moon"), "there is no provider 'moon'"),
        (machine(hostname="core_01"), (), "the host name 'core_01' is none"),
        (machine(hostname=1), (), "the host name is a number"),
        (update_of(strategy="etcd-lock"), (), "needs etcd's v2 API"),
        (update_of(strategy="immediate"), (), "flatcar has no update strategy 'immediate'; it has reboot, off"),
        (update_of(strategy="reboot"), ("fedora-coreos",), "fedora-coreos has no update strategy 'reboot'"),
        (update_of(strategy="reboot"), ("linux",), "linux has no update agent"),
        (update_of(strategy=True), (), "the update strategy is a truth value"),
        (update_of(strategy="off", window=WINDOW), (), "takes no window"),
        (update_of(strategy="reboot", window={**WINDOW, "start": 840}), (), "write it in quotes"),
        (update_of(strategy="reboot", window={**WINDOW, "days": ["Mon", "Tue"]}), (), "one day or none"),
        (update_of(strategy="reboot", window={**WINDOW, "days": ["Moon"]}), (), "the days of the update window"),
        (update_of(strategy="reboot", window={**WINDOW, "length": "1h"}), (), "give minutes"),
        (update_of(strategy="reboot", window={"start": "04:00"}), (), "give start, length in minutes"),
        (update_of(strategy="periodic"), ("fedora-coreos",), "periodic needs a window"),
        (update_of(strategy="fleet_lock"), ("fedora-coreos",), "the lock's URL belong together"),
        (update_of(strategy="fleet_lock", lock_url="x"), ("fedora-coreos",), "no http or https URL"),
        (update_of(group="stable"), ("fedora-coreos",), "both are Flatcar's"),
        (unit_of(content=SERVICE, enabled=True), (), "no [Install] section"),
        (unit_of(content=SERVICE + "[Install]\nDefaultInstance=1\n", enabled=True), (), "no [Install] section"),
        (unit_of(content="[Service\n"), (), "no closing bracket"),
        (unit_of(content="# nothing\n"), (), "there is no option in a.service"),
        (unit_of(), (), "nothing is said of the unit a.service"),
        (unit_of(mask=True, content=SERVICE), (), "is masked"),
        (unit_of(content=SERVICE, enabled="yes"), (), "enabled of a.service is a string; give true or false"),
        (unit_of(contents=SERVICE), (), "a unit has no contents; it has name, content"),
        (unit_of(dropins=[{"name": "a", "content": SERVICE}]), (), "let its name end in .conf"),
        (machine(units=[{"name": "a.network", "content": ""}]), (), "give it as file /etc/systemd/network/a.network"),
        (machine(units=[{"name": "a", "content": SERVICE}]), (), "'a' is no name of a unit"),
        (machine(units=[{"name": "a.service", "content": text} for text in (SERVICE, INSTALL)]), (), "two different"),
        (machine(units=[{"name": "etcd2.service", "enabled": True}]), (), "lacks the v3 API"),
        (machine(units=[{"name": "flanneld.service", "enabled": True}]), (), "etcd's v2 API only"),
        (machine(units=[{"name": "flanneld.service", "enabled": True}]), ("fedora-coreos",), "CoreOS has no flanneld"),
        (file_of(mode=420), (), "the mode 420 of /etc/motd is not understood; write octal digits in quotes"),
        (file_of(mode="644 "), (), "write octal digits in quotes"),
        (file_of(mode="4755"), (), "write octal digits in quotes"),
        (file_of(content=5), (), "the content of /etc/motd is a number"),
        (file_of(source="https://example.com/"), (), "content or source, and not both"),
        (file_of(path="motd"), (), "not absolute and plain"),
        (file_of(path="/etc/../usr/x"), (), "not absolute and plain"),
        (file_of(path="/usr/bin/x"), (), "/usr/bin/x is below /usr"),
        (file_of(path="/etc/hostname"), (), "is written from hostname and update"),
        (file_of(path="/etc/flatcar/update.conf"), (), "is written from hostname and update"),
        (machine(files=[{"path": "/etc/a", "content": ""}] * 2), (), "/etc/a is given 2 times"),
        (machine(files=[{"path": "/etc/a", "source": "http://x/"}]), (), "needs a hash"),
        (machine(files=[{"path": "/etc/a", "source": "ftp://x/"}]), (), "no http or https URL"),
        (machine(files=[{"path": "/etc/a", "source": "https://x/"}]), ("flatcar", "cloud-config"), "fetches no files"),
        (user_of(name="Me"), (), "'Me' is no name of a user"),
        (user_of(password_hash="secret"), (), "is no hash"),
        (user_of(ssh_authorized_keys=["ssh-rsa x"]), (), "is no public SSH key"),
        (user_of(ssh_authorized_keys="x"), (), "give a list"),
        (user_of(sudo="ALL"), (), "a user has no sudo"),
        (user_of(name="core", groups=["docker"]), ("flatcar", "cloud-config"), "sets no groups of user core"),
        (machine(files=[ADDRESSES]), (), "an unnamed provider cannot learn $private_ipv4"),
        (machine(files=[ADDRESSES]), ("flatcar", "ignition", "libvirt"), "a machine of libvirt cannot learn"),
        (machine(files=[ADDRESSES]), ("flatcar", "cloud-config", "upcloud"), "a machine of upcloud cannot learn"),
        (machine(files=[ADDRESSES]), ("linux", "ignition", "digitalocean"), "cannot learn $private_ipv4"),
        (file_of(content="$private_ipv6"), ("flatcar", "cloud-config", "digitalocean"), "use IPv4 addresses"),
        (
            unit_of(content="[Service]\nExecStart=/bin/echo $private_ipv4\n"),
            ("flatcar", "ignition", "digitalocean"),
            "use EnvironmentFile=/etc/environment",
        ),
        (file_of(content="x" * 70000), ("flatcar", "ignition", "digitalocean"), "and digitalocean takes 65536"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(wanted: Any, how: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        FilterModule().filters()["user_data"](wanted, *how)
    message = str(caught.value)
    assert sentence in message
    assert message.startswith("user_data: ")
    assert "\n" not in message
    assert message.count(sentence) == 1


def test_a_secret_is_not_in_the_sentence() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        user_data(user_of(password_hash="hunter2"))
    assert "hunter2" not in str(caught.value)


URL = "https://discovery.etcd.io/3e86b59982e49066c5d813af1c2e2579cbf573de"
TOKEN = {"token": "cluster", "endpoints": ["http://a:2379", "http://b:2379"]}


@pytest.mark.parametrize(
    ("discovery", "version", "settings_of_etcd"),
    [
        ({}, "3.4", {}),
        ({"url": "", "srv": "", "token": "", "endpoints": []}, "3.7", {}),
        ({"url": URL}, "3.4.23", {"ETCD_DISCOVERY": URL}),
        ({"url": URL}, "3.6", {"ETCD_DISCOVERY": URL}),
        ({"srv": "example.com"}, "3.7", {"ETCD_DISCOVERY_SRV": "example.com"}),
        (TOKEN, "3.6", {"ETCD_DISCOVERY_TOKEN": "cluster", "ETCD_DISCOVERY_ENDPOINTS": "http://a:2379,http://b:2379"}),
    ],
)
def test_etcd_finds_its_peers(discovery: dict[str, Any], version: str, settings_of_etcd: dict[str, str]) -> None:
    assert EtcdBootstrap().filters()["etcd_bootstrap"](discovery, version) == settings_of_etcd


@pytest.mark.parametrize(
    ("discovery", "version", "sentence"),
    [
        ({"url": URL}, "3.7", "has no discovery by URL any more"),
        ({"url": URL}, "3.10.1", "has no discovery by URL any more"),
        (TOKEN, "3.5", "which came with 3.6"),
        ({"token": "x"}, "3.6", "both a token and endpoints"),
        ({"url": URL, "srv": "example.com"}, "3.4", "in one way"),
        ({"url": "https://discovery.etcd.io/"}, "3.4", "no token of its own"),
        ({"srv": "example"}, "3.4", "no DNS domain"),
        ({}, "2.3", "is not understood"),
    ],
)
def test_a_discovery_that_this_etcd_lacks_is_refused(discovery: dict[str, Any], version: str, sentence: str) -> None:
    with pytest.raises(AnsibleFilterError, match=sentence):
        EtcdBootstrap().filters()["etcd_bootstrap"](discovery, version)
