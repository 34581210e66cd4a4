# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet's own configuration: /etc/fleet/fleet.conf and FLEET_ in the environment, under fleet 1.0.0's names.

It is read besides the runtime's settings. What is set twice is taken from the first of: FLEET_ in the environment,
FLAGSHIP_ in the environment, fleet.conf, flagship.conf, the defaults.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from flagship.settings import Settings, SettingsError, load, parse_bool

T = TypeVar("T")

log = logging.getLogger(__name__)

DEFAULT_FILE = "/etc/fleet/fleet.conf"

# fleet's name: section and name of the runtime's setting.
_NAMES = {
    "verbosity": ("fleet", "verbosity"),
    "etcd_servers": ("etcd", "endpoints"),
    "etcd_username": ("etcd", "user"),
    "etcd_password": ("etcd", "password"),
    "etcd_keyfile": ("etcd", "client_key"),
    "etcd_certfile": ("etcd", "client_cert"),
    "etcd_cafile": ("etcd", "ca_cert"),
    "etcd_key_prefix": ("fleet", "etcd_key_prefix"),
    "etcd_request_timeout": ("etcd", "timeout"),
    "public_ip": ("fleet", "public_ip"),
    "metadata": ("fleet", "metadata"),
    "agent_ttl": ("fleet", "agent_ttl"),
    "units_directory": ("fleet", "units_directory"),
    "token_limit": ("fleet", "token_limit"),
    "disable_engine": ("fleet", "disable_engine"),
}


def _parse_seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        raise ValueError("write a number of seconds")
    return float(text)


# What fleet had a use for and this engine has none; a value that fleet would not have taken is a mistake all the same.
_IGNORED: Mapping[str, Callable[[str], object]] = {
    "engine_reconcile_interval": _parse_seconds,
    "enable_grpc": parse_bool,
    "disable_watches": parse_bool,
    "verify_units": parse_bool,
    "authorized_keys_file": str,
}
_KNOWN = frozenset({*_NAMES, *_IGNORED, "systemd_user"})
_LINE = re.compile(
    r"""\s*(?P<key>[A-Za-z0-9_.-]+)\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^#;"'][^#;]*)|)\s*(?:[#;].*)?"""
)


def load_fleet(
    path: str | None, environ: Mapping[str, str], file: str = DEFAULT_FILE, *, required: bool = False
) -> Settings:
    """All settings of `flagship fleet`: the runtime's, with *path* and *environ* as load takes them, and fleet's own.

    A *file* that does not exist is an error only if it is *required*. What is accepted and ignored is logged.
    Raises SettingsError.
    """
    return load(path, environ, _layer(_from_file(Path(file), required)), _layer(_from_environment(environ)))


def _layer(found: Mapping[str, tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Settings of the runtime from *found*: where each value comes from, and the value, by fleet's name of it."""
    layer = []
    for key, (origin, value) in found.items():
        if key == "systemd_user":
            if _read(parse_bool, origin, value):
                raise SettingsError(f"{origin} is {value!r}: units run under the system's manager only, so remove it.")
        elif key in _IGNORED:
            _read(_IGNORED[key], origin, value)
            log.warning("%s has no effect here: remove it.", origin)
        else:
            layer.append((*_NAMES[key], _urls(value) if key == "etcd_servers" else value))
    return layer


def _read(parse: Callable[[str], T], origin: str, value: str) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise SettingsError(f"{origin} is {value!r}: {error}.") from None


def _urls(value: str) -> str:
    """etcd_servers without the brackets and quotes that fleet allows around them."""
    return ",".join(part.strip().strip("\"'") for part in value.strip().removeprefix("[").removesuffix("]").split(","))


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for variable, value in environ.items():
        if variable.startswith("FLEET_"):
            key = variable.removeprefix("FLEET_").lower()
            if key not in _KNOWN or variable != variable.upper():
                known = ", ".join(f"FLEET_{name.upper()}" for name in sorted(_KNOWN))
                raise SettingsError(f"environment variable {variable} names no setting: known are {known}.")
            found[key] = (f"environment variable {variable}", value)
    return found


def _from_file(file: Path, required: bool) -> dict[str, tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise SettingsError(f"settings file {file} does not exist: create it or name another one.") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}.") from None
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            # What follows the = may be a password.
            shown = line.partition("=")[0].strip()[:40]
            raise SettingsError(f"settings file {file} has the line {shown!r}: write key=value, without sections.")
        key = match["key"].lower()
        if key not in _KNOWN:
            raise SettingsError(
                f"settings file {file} has an unknown key {key}: known are {', '.join(sorted(_KNOWN))}."
            )
        value = next((match[kind] for kind in ("double", "single", "bare") if match[kind] is not None), "")
        found[key] = (f"{key} in {file}", value.strip())
    return found
