# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet.conf and FLEET_ variables, and what a reload makes of them."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from etcd_server import wait_for
from flagship.fleet.conf import load_fleet
from flagship.fleet.service import changed
from flagship.settings import Settings, SettingsError

from fleet.process import Daemon
from fleet.simulated import Node

FLEET_CONF = """
# A comment, then a section that is none.
etcd_servers=["http://10.0.0.1:2379","http://10.0.0.2:2379"] ; more
Metadata = "disk=ssd,\\
region=west"
agent_ttl=30s # slow
public_ip='10.0.0.9'
etcd_request_timeout=2.5
verbosity=1
disable_engine=T
token_limit=
token_limit = 50
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    def load(text: str = "", own: str = "", **environ: str) -> Settings:
        (tmp_path / "fleet.conf").write_text(text)
        (tmp_path / "flagship.conf").write_text(own)
        return load_fleet(str(tmp_path / "flagship.conf"), environ, str(tmp_path / "fleet.conf"))

    return load


def test_fleets_file(load: Callable[..., Settings]) -> None:
    settings = load(FLEET_CONF)
    assert settings.etcd.endpoints == ("http://10.0.0.1:2379", "http://10.0.0.2:2379")
    assert settings.etcd.timeout == 2.5
    fleet = settings.fleet
    assert (fleet.metadata, fleet.agent_ttl) == ({"disk": "ssd", "region": "west"}, 30.0)
    assert (fleet.public_ip, fleet.verbosity, fleet.token_limit) == ("10.0.0.9", 1, 50)
    assert fleet.disable_engine


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "flagship.conf").write_text("")
    settings = load_fleet(str(tmp_path / "flagship.conf"), {}, str(tmp_path / "none.conf"))
    assert settings.fleet.agent_ttl == 10.0
    with pytest.raises(SettingsError, match=r"none\.conf does not exist: create it or name another one"):
        load_fleet(str(tmp_path / "flagship.conf"), {}, str(tmp_path / "none.conf"), required=True)


def test_precedence(load: Callable[..., Settings]) -> None:
    own, fleet = "[fleet]\nmetadata = from=own", "metadata = from=fleet"
    mine, theirs = {"FLAGSHIP_FLEET_METADATA": "from=FLAGSHIP"}, {"FLEET_METADATA": "from=FLEET"}
    for text, environ, wanted in (
        ("", {}, "own"),
        (fleet, {}, "fleet"),
        (fleet, mine, "FLAGSHIP"),
        (fleet, mine | theirs, "FLEET"),
    ):
        assert load(text, own, **environ).fleet.metadata == {"from": wanted}
    # A variable that is set but empty overrules, too.
    assert load(fleet, own, FLEET_METADATA="").fleet.metadata == {}


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("agent_tll=30s", {}, "has an unknown key agent_tll: known are agent_ttl"),
        ("[fleet]", {}, "has the line '[fleet]': write key=value"),
        ("etcd_password='unclosed", {}, "has the line 'etcd_password'"),
        ("agent_ttl=soon", {}, "fleet agent_ttl is 'soon'"),
        ("metadata=disk", {}, "fleet metadata is 'disk'"),
        ("systemd_user=true", {}, "system's manager only"),
        ("systemd_user=perhaps", {}, "write true or false"),
        ("verbosity=-1", {}, "fleet verbosity is '-1'"),
        ("token_limit=0", {}, "fleet token_limit is '0': write a whole number from 1 to 65535"),
        ("token_limit=65536", {}, "fleet token_limit is '65536'"),
        ("enable_grpc=perhaps", {}, "enable_grpc in {}/fleet.conf is 'perhaps': write true or false"),
        ("", {"FLEET_DISABLE_WATCHES": "2"}, "environment variable FLEET_DISABLE_WATCHES is '2': write true or false"),
        ("engine_reconcile_interval=fast", {}, "'fast': write a number of seconds"),
        ("etcd_cafile=/ca.pem", {}, "is not encrypted"),
        ("public_ip=$public_ipv4", {}, "fleet public_ip is '$public_ipv4': write an address such as 10.0.0.9"),
        ("", {"FLEET_PUBLIC_IP": "10.0.0"}, "fleet public_ip is '10.0.0'"),
        ("disable_engine=2", {}, "fleet disable_engine is '2'"),
        ("", {"FLEET_AGENT_TLL": "30s"}, "FLEET_AGENT_TLL names no setting"),
        ("", {"FLEET_AGENT_TTL": ""}, "fleet agent_ttl is ''"),
        ("", {"FLEET_ETCD_SERVERS": ""}, "endpoints is empty"),
    ],
)
def test_mistakes_are_named(
    load: Callable[..., Settings], tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text, **environ)
    sentence = str(caught.value)
    assert said.format(tmp_path) in sentence
    assert sentence.endswith(".") and "\n" not in sentence and "unclosed" not in sentence


def test_what_has_no_effect_is_told(load: Callable[..., Settings], caplog: pytest.LogCaptureFixture) -> None:
    text = "enable_grpc=true\nverify_units=true\nsystemd_user=false\n"
    load(text, FLEET_AUTHORIZED_KEYS_FILE="x", FLEETCTL_ENDPOINT="y")
    told = [record.getMessage().split(" ")[0:3] for record in caplog.records]
    assert [words[0] for words in told] == ["enable_grpc", "verify_units", "environment"]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_changes_are_found(load: Callable[..., Settings]) -> None:
    assert changed(load(), load()) == []
    assert changed(load(), load("agent_ttl=20s\netcd_servers=http://a:1")) == ["etcd endpoints", "fleet agent_ttl"]


def test_a_reload_applies_and_falls_back(make_node: Callable[..., Node], caplog: pytest.LogCaptureFixture) -> None:
    node = make_node("m1", metadata={"disk": "ssd"}).start()
    service = node.service
    assert service is not None
    before = node.settings

    def metadata() -> object:
        return node.client.machines()[node.id].get("metadata", {})

    def with_fleet(**fleet: object) -> Callable[[], Settings]:
        return lambda: Settings(before.etcd, type(before.fleet)(**{**vars(before.fleet), **fleet}))

    service.reload(with_fleet(metadata={"disk": "hdd", "zone": "a"}, public_ip="192.0.2.77", verbosity=1))
    wait_for(lambda: metadata() == {"disk": "hdd", "zone": "a"}, what="the new metadata")
    assert node.client.machines()[node.id]["primaryIP"] == "192.0.2.77"
    assert logging.getLogger("flagship").level == logging.DEBUG
    service.reload(with_fleet(metadata={}, public_ip="192.0.2.77", agent_ttl=7.0))
    wait_for(lambda: metadata() == {}, what="no metadata")
    assert logging.getLogger("flagship").level == logging.INFO
    assert "What changed in fleet agent_ttl is applied by systemctl restart fleet." in caplog.text

    def wrong() -> Settings:
        raise SettingsError("fleet agent_ttl is 'soon': no.")

    service.reload(wrong)
    assert "The settings stay as they were: fleet agent_ttl is 'soon'" in caplog.text


def test_the_address_is_followed_unless_it_is_set(
    make_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node("m1", metadata={"disk": "ssd"}).start()
    service = node.service
    assert service is not None

    def address() -> object:
        return node.client.machines()[node.id]["primaryIP"]

    monkeypatch.setattr("flagship.fleet.service.primary_ip", lambda: "192.0.2.50")
    service.refresh_address()
    wait_for(lambda: address() == "192.0.2.50", what="the new address")
    # Without a route there is none, which is no news for others.
    monkeypatch.setattr("flagship.fleet.service.primary_ip", lambda: "")
    service.refresh_address()
    before = node.settings
    fixed = Settings(before.etcd, replace(before.fleet, public_ip="192.0.2.60"))
    service.reload(lambda: fixed)
    wait_for(lambda: address() == "192.0.2.60", what="the address that is set")
    monkeypatch.setattr("flagship.fleet.service.primary_ip", lambda: "192.0.2.70")
    service.refresh_address()
    assert service.presence.machine.primary_ip == "192.0.2.60"
    assert service.available()


def test_sighup_reloads_and_sigterm_ends(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "fleet.sock"))
        listener.listen()
        found = daemon(listener)
    wait_for(lambda: found.said("runs."), what="the daemon")
    found.conf.write_text(found.conf.read_text() + "agent_ttl = 20s\n")
    found.process.send_signal(signal.SIGHUP)
    wait_for(lambda: found.said("Reloading configuration"), what="the reload")
    wait_for(lambda: found.said("fleet agent_ttl is applied by systemctl restart"), what="what needs a restart")
    found.process.send_signal(signal.SIGTERM)
    assert found.process.wait(30) == 0


def test_wrong_settings_end_the_start(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "fleet.sock"))
        listener.listen()
        found = daemon(listener, "agent_ttl = soon")
    assert found.process.wait(20) == 2
    (line,) = found.journal.read_text().splitlines()
    assert line.startswith("flagship fleet: fleet agent_ttl is 'soon'")
