# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runtime's settings: an INI file, overruled by FLAGSHIP_<SECTION>_<KEY> in the environment."""

from __future__ import annotations

import configparser
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

DEFAULT_FILE = "/etc/flagship/flagship.conf"

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|s|m|h)")
_TRUE = {"true", "yes", "on", "1", "t"}
_FALSE = {"false", "no", "off", "0", "f"}


class SettingsError(Exception):
    """A setting is wrong; the text is one sentence for the operator."""


@dataclass(frozen=True)
class EtcdConnection:
    """How to reach etcd; `timeout` is the deadline of one call in seconds, all endpoints together.

    https without `ca_cert` trusts the system's certificate authorities.
    Raises SettingsError when the values contradict each other.
    """

    endpoints: tuple[str, ...]
    ca_cert: str = ""
    client_cert: str = ""
    client_key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise SettingsError("etcd endpoints is empty: name at least one, like http://127.0.0.1:2379.")
        for endpoint in self.endpoints:
            _check_endpoint(endpoint)
        if bool(self.client_cert) != bool(self.client_key):
            raise SettingsError("etcd client_cert and client_key belong together: set both or none.")
        if bool(self.user) != bool(self.password):
            raise SettingsError("etcd user and password belong together: set both or none.")
        plain = [endpoint for endpoint in self.endpoints if endpoint.startswith("http://")]
        if plain and (self.ca_cert or self.client_cert or self.user):
            raise SettingsError(
                f"etcd endpoint {plain[0]} is not encrypted but ca_cert, client_cert or user is set: use https://."
            )
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise SettingsError(f"etcd timeout is {self.timeout}: it must be more than 0 seconds.")


@dataclass(frozen=True)
class FleetSettings:
    """What `flagship fleet` needs to know; `agent_ttl` in seconds, `public_ip` "" = found automatically.

    The three `api_` files open the API on TCP sockets, to clients with a certificate of `api_client_ca`: all or none.
    Those have one of `api_client_names` as common name, or any where there is none.
    `verbosity` above 0 logs what is else of no interest. Raises SettingsError when the values contradict each other.
    """

    metadata: Mapping[str, str]
    public_ip: str
    agent_ttl: float
    units_directory: str
    etcd_key_prefix: str
    disable_engine: bool
    token_limit: int
    api_cert: str = ""
    api_key: str = ""
    api_client_ca: str = ""
    api_client_names: tuple[str, ...] = ()
    verbosity: int = 0

    def __post_init__(self) -> None:
        if len({bool(file) for file in (self.api_cert, self.api_key, self.api_client_ca)}) > 1:
            raise SettingsError("fleet api_cert, api_key and api_client_ca belong together: set all or none.")


@dataclass(frozen=True)
class Settings:
    """All settings of the runtime."""

    etcd: EtcdConnection
    fleet: FleetSettings


_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "etcd": {
        "endpoints": "http://127.0.0.1:2379",
        "ca_cert": "",
        "client_cert": "",
        "client_key": "",
        "user": "",
        "password": "",
        "timeout": "5",
    },
    "fleet": {
        "metadata": "",
        "public_ip": "",
        "agent_ttl": "10s",
        "units_directory": "/run/fleet/units",
        "etcd_key_prefix": "/_coreos.com/fleet",
        "disable_engine": "false",
        "token_limit": "100",
        "api_cert": "",
        "api_key": "",
        "api_client_ca": "",
        "api_client_names": "",
        "verbosity": "0",
    },
}


Layer = Iterable[tuple[str, str, str]]
"""Section, key and value of settings that overrule others."""


def load(path: str | None, environ: Mapping[str, str], over_file: Layer = (), over_environment: Layer = ()) -> Settings:
    """Settings from the file at `path` and the environment; without `path` the default file, if there is one.

    `over_file` overrules the file, and `over_environment` everything. Raises SettingsError.
    """
    values = {section: dict(keys) for section, keys in _DEFAULTS.items()}
    for section, key, value in [*_from_file(path), *over_file, *_from_environment(environ), *over_environment]:
        values[section][key] = value.strip()
    etcd, fleet = values["etcd"], values["fleet"]
    return Settings(
        etcd=EtcdConnection(
            endpoints=_words(etcd["endpoints"]),
            ca_cert=etcd["ca_cert"],
            client_cert=etcd["client_cert"],
            client_key=etcd["client_key"],
            user=etcd["user"],
            password=etcd["password"],
            timeout=_named("etcd timeout", parse_duration, etcd["timeout"]),
        ),
        fleet=FleetSettings(
            metadata=_named("fleet metadata", _parse_metadata, fleet["metadata"]),
            public_ip=_named("fleet public_ip", _parse_address, fleet["public_ip"]),
            agent_ttl=_named("fleet agent_ttl", _parse_ttl, fleet["agent_ttl"]),
            units_directory=_named("fleet units_directory", _parse_absolute, fleet["units_directory"]),
            etcd_key_prefix=_named("fleet etcd_key_prefix", _parse_absolute, fleet["etcd_key_prefix"]),
            disable_engine=_named("fleet disable_engine", parse_bool, fleet["disable_engine"]),
            token_limit=_named("fleet token_limit", _parse_token_limit, fleet["token_limit"]),
            api_cert=fleet["api_cert"],
            api_key=fleet["api_key"],
            api_client_ca=fleet["api_client_ca"],
            api_client_names=_words(fleet["api_client_names"]),
            verbosity=_named("fleet verbosity", _parse_count, fleet["verbosity"]),
        ),
    )


def parse_duration(text: str) -> float:
    """Seconds from "10s", "500ms", "1m30s", "1h", or a plain number of seconds; ValueError says what is accepted."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    raise ValueError("write a duration such as 10s, 500ms or 1m30s")


def _named(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}: {error}.") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_metadata(text: str) -> Mapping[str, str]:
    metadata: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = part.partition("=")
        if not (separator and key.strip() and value.strip()):
            raise ValueError("write key=value pairs with commas between them, such as disk=ssd,region=sfo1")
        metadata[key.strip()] = value.strip()
    return metadata


def _parse_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise ValueError("write an address such as 10.0.0.9, or nothing") from None


def _parse_ttl(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError("a lease lives 1s or longer")
    return seconds


def _parse_absolute(text: str) -> str:
    if not text.startswith("/") or len(text) < 2:
        raise ValueError("it must begin with / and name something")
    return text.rstrip("/")


def parse_bool(text: str) -> bool:
    """Whether true, t, yes, on or 1 is meant, rather than false, f, no, off or 0; ValueError for anything else."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("write true or false")


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError("write a whole number, 0 or more")
    return int(text)


def _parse_token_limit(text: str) -> int:
    # A page token of fleet's API has two bytes for it.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("write a whole number from 1 to 65535")
    return int(text)


def _check_endpoint(endpoint: str) -> None:
    complaint = f"etcd endpoint {endpoint!r} is not of the form http://HOST:PORT or https://HOST:PORT."
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        raise SettingsError(complaint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise SettingsError(complaint)
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise SettingsError(complaint)


def _from_file(path: str | None) -> list[tuple[str, str, str]]:
    file = Path(path or DEFAULT_FILE)
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(file.read_text(encoding="utf-8"), source=str(file))
    except FileNotFoundError:
        if path is None:
            return []
        raise SettingsError(f"settings file {file} does not exist: create it or name another one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}.") from None
    except configparser.Error as error:
        raise SettingsError(f"settings file {file} is not a valid INI file: {_one_line(error)}.") from None
    for section in parser.sections():
        if section not in _DEFAULTS:
            raise SettingsError(
                f"settings file {file} has an unknown section [{section}]: known are {_list(_DEFAULTS)}."
            )
        for key in parser[section]:
            if key not in _DEFAULTS[section]:
                known = _list(_DEFAULTS[section])
                raise SettingsError(f"settings file {file} has an unknown key {key} in [{section}]: known are {known}.")
    return [(section, key, value) for section in parser.sections() for key, value in parser[section].items()]


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = {f"FLAGSHIP_{section}_{key}".upper(): (section, key) for section, keys in _DEFAULTS.items() for key in keys}
    prefixes = tuple(f"FLAGSHIP_{section}_".upper() for section in _DEFAULTS)
    found = []
    for variable, value in environ.items():
        if variable in names:
            found.append((*names[variable], value))
        elif variable.startswith(prefixes):
            raise SettingsError(f"environment variable {variable} names no setting: known are {_list(names)}.")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
