# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as coreos-cloudinit's cloud-config, and back; no I/O.

Schema: https://github.com/flatcar/coreos-cloudinit/blob/flatcar-master/Documentation/cloud-config.md
A coreos-cloudinit applies it at every boot. Its parser keeps the text of a scalar; PyYAML makes False of off, and 420 of
0644. So every string is written in quotes or as a block, and read as a string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import (
    File,
    Node,
    Unit,
    Update,
    User,
    UserDataError,
)
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_targets import from_locksmith, window_start

HEADER = "#cloud-config\n"
# There is no list of groups: a user without a home brings the group of its name.
GROUP_CARRIER = "Carries the group of this name"
# A user that the image has keeps everything but these two.
IMAGE_USERS = ("core", "root")
KEPT = ("name", "ssh_authorized_keys", "password_hash")
RENAMED = {"password_hash": "passwd", "home": "homedir"}


class _Key(str):
    """A key of a mapping; needs no quotes."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # A block keeps what any parser would call a line break only if it is one, so all else is quoted and escaped.
    block = text.endswith("\n") and re.fullmatch(r"[!-~][ -~\n]*", text) is not None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if block else '"')


def _represent_key(dumper: yaml.SafeDumper, key: _Key) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(key))


_Dumper.add_representer(str, _represent_text)
# What ansible-core before 2.19 makes of text: subclasses of its own.
_Dumper.add_multi_representer(str, _represent_text)
_Dumper.add_representer(_Key, _represent_key)


def to_cloud_config(node: Node) -> str:
    """The text; raises UserDataError for what coreos-cloudinit cannot do."""
    update = node.update
    values = {"reboot-strategy": update.strategy, "group": update.group, "server": update.server}
    window = {"window-start": window_start(update), "window-length": f"{update.length}m" if update.length else ""}
    coreos: dict[str, Any] = {
        "update": {key: value for key, value in values.items() if value},
        "locksmith": {key: value for key, value in window.items() if value},
        "units": [entry for unit in node.units for entry in [_unit(unit)]],
    }
    carriers = [
        User(name, gecos=GROUP_CARRIER, shell="/sbin/nologin", system=True, no_create_home=True)  # noqa: S604 - a field
        for name in node.groups
    ]
    document = {
        "hostname": node.hostname,
        "users": [_user(user) for user in (*carriers, *node.users)],
        "write_files": [_file(file) for file in node.files],
        "coreos": {key: value for key, value in coreos.items() if value},
    }
    return HEADER + yaml.dump(
        _keyed({key: value for key, value in document.items() if value}),
        Dumper=_Dumper,
        width=float("inf"),
        sort_keys=False,
        allow_unicode=True,
    )


def from_cloud_config(text: str) -> Node:
    """The node that to_cloud_config made the text of; raises UserDataError for a text that is no cloud-config."""
    if not re.match(r"#cloud-config[ \t]*(\r?\n|\Z)", text):
        raise UserDataError("the text is no cloud-config; its first line must be #cloud-config and nothing else")
    found = yaml.load(text, Loader=yaml.BaseLoader) or {}  # noqa: S506 - makes nothing but strings, lists and mappings
    coreos = found.get("coreos", {})
    users = [_read_user(user) for user in found.get("users", [])]
    update, window = coreos.get("update", {}), coreos.get("locksmith", {})
    names = {
        "REBOOT_STRATEGY": update.get("reboot-strategy", ""),
        "GROUP": update.get("group", ""),
        "SERVER": update.get("server", ""),
        "LOCKSMITHD_REBOOT_WINDOW_START": window.get("window-start", ""),
        "LOCKSMITHD_REBOOT_WINDOW_LENGTH": window.get("window-length", "0m"),
    }
    return Node(
        found["hostname"],
        tuple(user for user in users if user.gecos != GROUP_CARRIER),
        tuple(user.name for user in users if user.gecos == GROUP_CARRIER),
        tuple(_read_file(file) for file in found.get("write_files", [])),
        tuple(_read_unit(unit) for unit in coreos.get("units", [])),
        from_locksmith(names) if update or window else Update(),
    )


def file_mode(permissions: str) -> int:
    """The permission bits of write_files' `permissions`, which is octal however it is quoted: 420 is r--w----."""
    if not re.fullmatch(r"0?[0-7]{3,4}", permissions):
        raise UserDataError(f"the permissions {permissions!r} are not octal; give four digits in quotes")
    return int(permissions, 8)


def _keyed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_Key(key): _keyed(inner) for key, inner in value.items()}
    return [_keyed(inner) for inner in value] if isinstance(value, list) else value


def _user(user: User) -> dict[str, Any]:
    told = {key: value for key, value in user._asdict().items() if value}
    lost = [key for key in told if key not in KEPT]
    if user.name in IMAGE_USERS and lost:
        raise UserDataError(
            f"coreos-cloudinit sets no {lost[0]} of user {user.name}, whom the image already has; "
            "give only keys and a password hash, or another user"
        )
    made = {RENAMED.get(key, key): value for key, value in told.items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in made.items()}


def _read_user(found: Mapping[str, Any]) -> User:
    values: dict[str, Any] = {}
    for key, default in {"name": "", **User._field_defaults}.items():
        value = found.get(RENAMED.get(key, key))
        if value is not None:
            if isinstance(default, bool):
                values[key] = value == "true"
            else:
                values[key] = tuple(value) if isinstance(default, tuple) else value
    return User(**values)


def _file(file: File) -> dict[str, Any]:
    if file.content is None:
        raise UserDataError(
            f"coreos-cloudinit fetches no files, such as {file.path} from a source; give its content, or use ignition"
        )
    return {
        "path": file.path,
        "permissions": f"{file.mode:04o}",
        "owner": f"{file.owner}:{file.group}",
        "content": file.content,
    }


def _read_file(found: Mapping[str, Any]) -> File:
    owner, _colon, group = found.get("owner", "root:root").partition(":")
    return File(
        found["path"], found.get("content", ""), file_mode(found.get("permissions", "0644")), owner, group or owner
    )


def _unit(unit: Unit) -> dict[str, Any]:
    made: dict[str, Any] = {"name": unit.name}
    if unit.mask:
        made["mask"] = True
    if unit.content is not None:
        made["content"] = unit.content
    if unit.dropins:
        made["drop-ins"] = [{"name": name, "content": content} for name, content in unit.dropins]
    if unit.enabled:
        # The boot goes on already: what is only enabled would wait for the next one.
        made |= {"enable": True, "command": "start"}
    return made


def _read_unit(found: Mapping[str, Any]) -> Unit:
    dropins = tuple((dropin["name"], dropin["content"]) for dropin in found.get("drop-ins", []))
    return Unit(
        found["name"], found.get("content"), found.get("enable") == "true", found.get("mask") == "true", dropins
    )
