# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that tells `flagship watch` which configuration files to write: INI, one section for each."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flagship.settings import SettingsError, parse_duration

T = TypeVar("T")

STAGED = "{staged}"
STAGED_NAME = "{staged_name}"

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
# https://github.com/moby/moby/blob/master/daemon/names/names.go
_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SIGNAL = re.compile(r"[A-Z][A-Z0-9]+")
_REQUIRED = ("prefix", "template", "destination")
_OPTIONAL = {
    "mode": "0644",
    "check": "",
    "running": "",
    "reload": "",
    "container": "",
    "signal": "",
    "confirm": "",
    "haproxy_socket": "",
    "variables": "{}",
    "quiescence_min": "50ms",
    "quiescence_max": "500ms",
    "resync": "60s",
}


@dataclass(frozen=True)
class TemplateConfig:
    """One configuration file that follows etcd; times in seconds, commands as argument lists, () = none.

    `template` is the path of a Jinja2 template or the name of a bundled one, which is given `variables`. `check` must
    succeed before a new file replaces the old one; in it {staged} stands for the new file's path and {staged_name} for
    the last part of that. `reload` makes the balancer read the file. `running` is asked when one of these fails: if
    that fails, too, there is no balancer yet, and it reads the file when it starts. For a balancer in a container of
    this node's Docker engine both are replaced by `container`, its name, and `signal`, such as HUP, which makes it read
    the file; `check` is run in it then. `confirm` is an http URL that answers with the digest of the file that is live
    in its first line. `haproxy_socket` is HAProxy's runtime API, through which servers come and go without a reload.
    """

    name: str
    prefix: str
    template: str
    destination: Path
    mode: int
    check: tuple[str, ...]
    running: tuple[str, ...]
    reload: tuple[str, ...]
    quiescence_min: float
    quiescence_max: float
    resync: float
    container: str = ""
    signal: str = ""
    confirm: str = ""
    haproxy_socket: str = ""
    # It may hold passwords.
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)


def load_templates(path: str) -> list[TemplateConfig]:
    """The sections of the file; raises SettingsError."""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"), source=path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"template configuration {path} cannot be read: {error}.") from None
    except configparser.Error as error:
        raise SettingsError(f"template configuration {path} is not valid: {' '.join(str(error).split())}.") from None
    if not parser.sections():
        raise SettingsError(f"template configuration {path} has no section: write one for each file to follow etcd.")
    return [_template(path, name, dict(parser[name])) for name in parser.sections()]


def _template(path: str, name: str, values: Mapping[str, str]) -> TemplateConfig:
    where = f"template configuration {path}, [{name}]"
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where}: a section's name may hold letters, digits and _.- only.")
    for key in values:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise SettingsError(f"{where}: unknown key {key}; known are {', '.join((*_REQUIRED, *_OPTIONAL))}.")
    for key in _REQUIRED:
        if not values.get(key):
            raise SettingsError(f"{where}: {key} is missing.")
    texts = {**_OPTIONAL, **values}

    def read(key: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(texts[key])
        except ValueError as error:
            shown = "not what it should be" if key == "variables" else repr(texts[key])
            raise SettingsError(f"{where}: {key} is {shown}: {error}.") from None

    config = TemplateConfig(
        name=name,
        prefix=read("prefix", _absolute),
        template=texts["template"],
        destination=Path(read("destination", _absolute)),
        mode=read("mode", _mode),
        check=read("check", _command),
        running=read("running", _command),
        reload=read("reload", _command),
        quiescence_min=read("quiescence_min", parse_duration),
        quiescence_max=read("quiescence_max", parse_duration),
        resync=read("resync", _resync),
        container=read("container", _container),
        signal=read("signal", _signal),
        confirm=read("confirm", _url),
        haproxy_socket=read("haproxy_socket", lambda text: _absolute(text) if text else ""),
        variables=read("variables", _object),
    )
    if config.quiescence_max < config.quiescence_min:
        raise SettingsError(f"{where}: quiescence_max is shorter than quiescence_min.")
    if bool(config.container) != bool(config.signal):
        raise SettingsError(f"{where}: container and signal belong together, and one of them is missing.")
    if config.container and (config.reload or config.running):
        raise SettingsError(f"{where}: a balancer in a container has neither reload nor running, but a signal.")
    return config


def _absolute(text: str) -> str:
    if not text.startswith("/") or text.endswith("/."):
        raise ValueError("it must begin with /")
    return text.rstrip("/") or "/"


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("write three octal digits, such as 0644")
    return int(text, 8)


def _command(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _container(text: str) -> str:
    if text and not _CONTAINER.fullmatch(text):
        raise ValueError("it is no name of a container")
    return text


def _signal(text: str) -> str:
    if text and not _SIGNAL.fullmatch(text):
        raise ValueError("write a signal such as HUP, or nothing")
    return text


def _resync(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError("it must be 1s or longer")
    return seconds


def _url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme != "http" or not parts.hostname):
        raise ValueError("write an URL such as http://127.0.0.1:8081/, or nothing")
    return text


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError('write a JSON object such as {"port": 80}')
    return value
