# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as an Ignition config of specification 3.3.0, and back; no I/O.

Specification: https://coreos.github.io/ignition/configuration-v3_3/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import File, Node, Unit, Update, User
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_targets import (
    Target,
    read_update_file,
    update_files,
)

VERSION = "3.3.0"
HOSTNAME_FILE = "/etc/hostname"
DATA_URL = "data:;base64,"
USER_FIELDS = {
    "name": "name",
    "ssh_authorized_keys": "sshAuthorizedKeys",
    "password_hash": "passwordHash",
    "gecos": "gecos",
    "home": "homeDir",
    "shell": "shell",
    "primary_group": "primaryGroup",
    "groups": "groups",
    "system": "system",
    "no_create_home": "noCreateHome",
    "no_user_group": "noUserGroup",
    "no_log_init": "noLogInit",
}


def to_ignition(node: Node, target: Target) -> str:
    """The config's text; its modes are decimal numbers, as JSON has no others."""
    files = [File(HOSTNAME_FILE, f"{node.hostname}\n"), *update_files(node.update, target), *node.files]
    config: dict[str, Any] = {"ignition": {"version": VERSION}}
    passwd = {
        "groups": [{"name": name, "system": True} for name in node.groups],
        "users": [_user(user) for user in node.users],
    }
    if node.groups or node.users:
        config["passwd"] = {key: value for key, value in passwd.items() if value}
    config["storage"] = {"files": [_file(file) for file in files]}
    if node.units:
        config["systemd"] = {"units": [_unit(unit) for unit in node.units]}
    return json.dumps(config, indent=2) + "\n"


def from_ignition(text: str, target: Target) -> Node:
    """The node that to_ignition made the text of."""
    config = json.loads(text)
    passwd = config.get("passwd", {})
    files = {file.path: file for file in map(_read_file, config["storage"]["files"])}
    hostname = (files.pop(HOSTNAME_FILE).content or "").rstrip("\n")
    told = files.pop(target.update_file, None)
    return Node(
        hostname,
        tuple(_read_user(user) for user in passwd.get("users", [])),
        tuple(group["name"] for group in passwd.get("groups", [])),
        tuple(files.values()),
        tuple(_read_unit(unit) for unit in config.get("systemd", {}).get("units", [])),
        Update() if told is None else read_update_file(told.content or "", target),
    )


def _user(user: User) -> dict[str, Any]:
    values = {USER_FIELDS[key]: value for key, value in user._asdict().items() if value}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _read_user(found: Mapping[str, Any]) -> User:
    values = {ours: found[theirs] for ours, theirs in USER_FIELDS.items() if theirs in found}
    return User(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _file(file: File) -> dict[str, Any]:
    contents: dict[str, Any] = {"source": file.source}
    if file.content is not None:
        contents["source"] = DATA_URL + base64.b64encode(file.content.encode()).decode()
    elif file.hash:
        contents["verification"] = {"hash": file.hash}
    return {
        "path": file.path,
        "mode": file.mode,
        "overwrite": True,
        "user": {"name": file.owner},
        "group": {"name": file.group},
        "contents": contents,
    }


def _read_file(found: Mapping[str, Any]) -> File:
    source, content = found["contents"]["source"], None
    if source.startswith(DATA_URL):
        content, source = base64.b64decode(source.removeprefix(DATA_URL)).decode(), ""
    digest = found["contents"].get("verification", {}).get("hash", "")
    return File(found["path"], content, found["mode"], found["user"]["name"], found["group"]["name"], source, digest)


def _unit(unit: Unit) -> dict[str, Any]:
    made: dict[str, Any] = {"name": unit.name}
    if unit.mask:
        made["mask"] = True
    if unit.enabled:
        made["enabled"] = True
    if unit.content is not None:
        made["contents"] = unit.content
    if unit.dropins:
        made["dropins"] = [{"name": name, "contents": content} for name, content in unit.dropins]
    return made


def _read_unit(found: Mapping[str, Any]) -> Unit:
    dropins = tuple((dropin["name"], dropin["contents"]) for dropin in found.get("dropins", []))
    enabled, mask = found.get("enabled", False), found.get("mask", False)
    return Unit(found["name"], found.get("contents"), enabled, mask, dropins)
