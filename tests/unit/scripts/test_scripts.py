# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scripts make of other programs' answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


site_summary = load("site_summary")
ansible_test_home = load("ansible_test_home")

UNITS = """\
nginx@1.service\t0f3c/172.30.80.11\tactive\trunning
nginx-loadbalancer.service\t1bd6/172.30.80.12\tinactive\tdead
nginx-loadbalancer.service\t99ab/172.30.80.13\tactive\trunning
"""
CONTENTS = {
    "nginx-loadbalancer.service": "ExecStart=/usr/bin/docker run --publish 80:80 --publish 127.0.0.1:8081:8081 nginx\n",
    "haproxy.service": "ExecStart=/usr/bin/docker run --publish 8000:8000 haproxy\n",
    "haproxy@2.service": "ExecStart=/usr/bin/docker run --publish 80:80 haproxy\n",
    "haproxy-virtual-ip@2.service": "[Unit]\nDescription=Holds 172.30.80.100 for the load balancer, or stands by\n",
}


@pytest.mark.parametrize(
    ("units", "url"),
    [
        (UNITS, "http://172.30.80.13/"),
        (
            "haproxy-watch.service\t2c/10.0.0.2\tactive\trunning\nhaproxy.service\t1b/10.0.0.1\tactive\trunning\n",
            "http://10.0.0.1:8000/",
        ),
        (
            "haproxy@1.service\t-\tinactive\tdead\nhaproxy@2.service\t1b/10.0.0.1\tactive\trunning\n",
            "http://172.30.80.100/",
        ),
    ],
)
def test_site_is_where_the_balancer_is_active(units: str, url: str) -> None:
    assert site_summary.site_url(units, CONTENTS.__getitem__) == url


@pytest.mark.parametrize("units", ["", "nginx-loadbalancer.service\t-\tinactive\tdead\n", "\n", "one-word\n"])
def test_no_active_balancer_is_a_sentence(units: str) -> None:
    with pytest.raises(site_summary.SummaryError, match=r"No machine runs a balancer.*make site"):
        site_summary.site_url(units, CONTENTS.__getitem__)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<html><title>Welcome to nginx1</title></html>", "Welcome to nginx1"),
        ("<TITLE>\n Two \n</TITLE>", "Two"),
        ("no title", ""),
    ],
)
def test_page_title(page: str, title: str) -> None:
    assert site_summary.page_title(page) == title


def test_ssh_uses_the_variables_that_ansible_uses() -> None:
    variables = {
        "ansible_host": "192.0.2.1",
        "ansible_user": "core",
        "ansible_ssh_private_key_file": "/keys/id",
        "ansible_ssh_common_args": "-oIdentitiesOnly=yes '-oUserKnownHostsFile=\"/with blank/known_hosts\"'",
    }
    command = site_summary.ssh_command("core01", variables)
    assert command[0] == "ssh" and command[-1] == "192.0.2.1"
    assert '-oUserKnownHostsFile="/with blank/known_hosts"' in command
    assert command[command.index("-i") + 1] == "/keys/id"
    assert command[command.index("-l") + 1] == "core"


def test_ssh_falls_back_on_the_hosts_name() -> None:
    assert site_summary.ssh_command("core01", {})[-1] == "core01"


def test_pip_settings_of_the_environment_win() -> None:
    listing = ":env:.timeout='180'\nglobal.cert='/etc/ca.pem'\nglobal.timeout='15'\ninstall.find-links='/one\\n/two'\n"
    settings = ansible_test_home.pip_settings(listing, "/cache")
    assert dict(settings["global"]) == {"cache-dir": "/cache", "cert": "/etc/ca.pem", "timeout": "180"}
    assert settings["install"]["find-links"] == "/one /two"
