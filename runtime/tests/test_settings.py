# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings: file, environment, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from flagship.settings import EtcdConnection, SettingsError, load, parse_duration
from hypothesis import given
from hypothesis import strategies as st

FILE = """
[etcd]
endpoints = https://10.0.0.1:2379, https://10.0.0.2:2379
ca_cert = /etc/flagship/ca.pem
user = flagship
password = pass%word
timeout = 2.5

[fleet]
metadata = disk=ssd, region=sfo1
agent_ttl = 30s
disable_engine = yes
"""


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flagship.settings.DEFAULT_FILE", "/nonexistent/flagship.conf")
    settings = load(None, {})
    assert settings.etcd == EtcdConnection(("http://127.0.0.1:2379",))
    assert settings.fleet.agent_ttl == 10.0
    assert settings.fleet.units_directory == "/run/fleet/units"
    assert settings.fleet.etcd_key_prefix == "/_coreos.com/fleet"
    assert settings.fleet.token_limit == 100
    assert settings.fleet.metadata == {}
    assert not settings.fleet.disable_engine


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "flagship.conf"
    path.write_text(FILE)
    settings = load(str(path), {"PATH": "/bin"})
    assert settings.etcd.endpoints == ("https://10.0.0.1:2379", "https://10.0.0.2:2379")
    assert settings.etcd.password == "pass%word"
    assert settings.etcd.timeout == 2.5
    assert settings.fleet.metadata == {"disk": "ssd", "region": "sfo1"}
    assert settings.fleet.agent_ttl == 30.0
    assert settings.fleet.disable_engine


def test_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / "flagship.conf"
    path.write_text(FILE)
    settings = load(str(path), {"FLAGSHIP_ETCD_TIMEOUT": "7s", "FLAGSHIP_FLEET_METADATA": "a=b"})
    assert settings.etcd.timeout == 7.0
    assert settings.fleet.metadata == {"a": "b"}


def test_password_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "flagship.conf"
    path.write_text(FILE)
    assert "pass%word" not in repr(load(str(path), {}))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[etcd]\nendpoint = http://a:1", "unknown key endpoint in [etcd]"),
        ("[etdc]\n", "unknown section [etdc]"),
        ("[DEFAULT]\nuser = x\n", "unknown section [DEFAULT]"),
        ("endpoints = x", "not a valid INI file"),
        ("[etcd]\nendpoints =", "endpoints is empty"),
        ("[etcd]\nendpoints = 10.0.0.1:2379", "'10.0.0.1:2379'"),
        ("[etcd]\nendpoints = ftp://10.0.0.1:2379", "'ftp://10.0.0.1:2379'"),
        ("[etcd]\nendpoints = http://10.0.0.1", "'http://10.0.0.1'"),
        ("[etcd]\nendpoints = http://10.0.0.1:x", "'http://10.0.0.1:x'"),
        ("[etcd]\nendpoints = http://u:p@10.0.0.1:2379", "not of the form"),
        ("[etcd]\nca_cert = /ca.pem", "http://127.0.0.1:2379 is not encrypted"),
        ("[etcd]\nuser = a\npassword = b", "http://127.0.0.1:2379 is not encrypted"),
        ("[etcd]\nendpoints = https://a:1\nuser = a", "user and password"),
        ("[etcd]\nendpoints = https://a:1\nclient_cert = a", "client_cert and client_key"),
        ("[etcd]\ntimeout = 0", "timeout"),
        ("[etcd]\ntimeout = soon", "etcd timeout is 'soon'"),
        ("[fleet]\nagent_ttl = 100ms", "fleet agent_ttl is '100ms'"),
        ("[fleet]\nmetadata = disk", "fleet metadata is 'disk'"),
        ("[fleet]\ndisable_engine = maybe", "fleet disable_engine is 'maybe'"),
        ("[fleet]\ntoken_limit = 0", "fleet token_limit is '0'"),
        ("[fleet]\nunits_directory = run", "fleet units_directory is 'run'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "flagship.conf"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(str(path), {})
    sentence = str(caught.value)
    assert names in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def test_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"/nonexistent\.conf does not exist"):
        load("/nonexistent.conf", {})


def test_unknown_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="FLAGSHIP_ETCD_ENDPOINT names no setting"):
        load(None, {"FLAGSHIP_ETCD_ENDPOINT": "http://a:1"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("1m30s", 90), ("1h", 3600), ("2.5", 2.5), (" 1.5s ", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "10 s", "-1s", "1d", "1s2", "inf", "nan", "1e3"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        parse_duration(text)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "write a duration" in str(error)
