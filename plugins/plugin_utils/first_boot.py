# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is told at its first boot, in words that belong to no format; checks, and no I/O.

Two formats say the same: Ignition (ignition.py) and coreos-cloudinit's cloud-config (cloud_config.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, UnitOption, parse
from ansible_collections.flagship.coreos.plugins.plugin_utils.kinds import kind_of

# A coreos-cloudinit replaces these wherever they stand, even inside words, and by nothing where it knows no address.
PLACEHOLDER = re.compile(r"\$(?:private|public)_ipv[46]")

UNIT_TYPES = ("service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope")
NETWORK_TYPES = ("network", "netdev", "link")
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+")
HOST_NAME = re.compile(
    r"(?=.{1,64}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z", re.I
)
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
# Read-only on CoreOS, or gone after the first boot.
CLOSED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/run", "/tmp", "/dev", "/proc", "/sys", "/boot")  # noqa: S108
MODE = re.compile(r"0?[0-7]{3}\Z")
HASH = re.compile(r"(sha512-[0-9a-f]{128}|sha256-[0-9a-f]{64})\Z")
SSH_KEY = re.compile(r"((ssh|sk-ssh|ecdsa|sk-ecdsa)[a-z0-9@.-]+) AAAA[A-Za-z0-9+/]{16,}={0,3}( .*)?\Z")
PASSWORD_HASH = re.compile(r"\$[A-Za-z0-9-]+\$.+\Z|[*!]\Z")


class UserDataError(Exception):
    """What was asked for cannot be had at first boot; the text says why and what to do."""


class File(NamedTuple):
    """A file: its text, or the URL and digest of what it is fetched from; `mode` are the permission bits."""

    path: str
    content: str | None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    source: str = ""
    hash: str = ""


class Unit(NamedTuple):
    """A systemd unit: its text (None: the image has it), or drop-ins, and whether it is started at boot or masked."""

    name: str
    content: str | None = None
    enabled: bool = False
    mask: bool = False
    dropins: tuple[tuple[str, str], ...] = ()


class User(NamedTuple):
    """A user; what is empty is left to the image's useradd."""

    name: str
    ssh_authorized_keys: tuple[str, ...] = ()
    password_hash: str = ""
    gecos: str = ""
    home: str = ""
    shell: str = ""
    primary_group: str = ""
    groups: tuple[str, ...] = ()
    system: bool = False
    no_create_home: bool = False
    no_user_group: bool = False
    no_log_init: bool = False


class Update(NamedTuple):
    """How the machine takes updates, in the words of its update agent; `length` is in minutes, server and group Flatcar's."""

    strategy: str = ""
    days: tuple[str, ...] = ()
    start: str = ""
    length: int = 0
    server: str = ""
    group: str = ""
    lock_url: str = ""


class Node(NamedTuple):
    """All that one machine is told."""

    hostname: str
    users: tuple[User, ...] = ()
    groups: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    units: tuple[Unit, ...] = ()
    update: Update = Update()


def read_node(given: Mapping[str, Any], update: Update) -> Node:
    """The node that `given` describes (see the filter user_data); raises UserDataError.

    Several entries for one user or unit are one: roles and people may each add what is theirs.
    """
    unknown = set(given) - {"hostname", "users", "groups", "files", "units", "update"}
    if unknown:
        raise UserDataError(
            f"a node has no {sorted(unknown)[0]}; it has hostname, users, groups, files, units and update"
        )
    hostname = text_of("the host name", given.get("hostname", ""))
    if not HOST_NAME.match(hostname):
        raise UserDataError(f"the host name {hostname!r} is none; give letters, digits, - and dots, at most 64")
    groups = tuple(dict.fromkeys(_name("group", name) for name in given.get("groups", [])))
    files = tuple(_file(item) for item in given.get("files", []))
    for path, count in _counts(file.path for file in files):
        if count > 1:
            raise UserDataError(f"the file {path} is given {count} times; give it once")
    users = _merge((_user(item) for item in given.get("users", [])), _join_users)
    units = _merge((_unit(item) for item in given.get("units", [])), _join_units)
    for unit in units:
        _check_unit(unit)
    return Node(hostname, users, groups, files, units, update)


def text_of(what: str, value: Any) -> str:
    """The value as a string; raises UserDataError where YAML made something else of it."""
    if not isinstance(value, str):
        raise UserDataError(f"{what} is {kind_of(value)}; give a string, in quotes if YAML needs it")
    return str(value)


def _fields(what: str, item: Any, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise UserDataError(f"{what} is {kind_of(item)}; give a dictionary")
    for key in item:
        if key not in known:
            raise UserDataError(f"{what} has no {key}; it has {', '.join(known)}")
    return item


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserDataError(f"{what} is {kind_of(value)}; give true or false")
    return value


def _name(what: str, value: Any) -> str:
    name = text_of(f"the name of a {what}", value)
    if not USER_NAME.match(name):
        raise UserDataError(f"{name!r} is no name of a {what}; give lower case letters, digits, - and _, at most 32")
    return name


def _counts(names: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return list(counts.items())


def _file(item: Any) -> File:
    fields = _fields("a file", item, ("path", "content", "source", "hash", "mode", "owner", "group"))
    path = text_of("the path of a file", fields.get("path", ""))
    if not path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise UserDataError(f"the path {path!r} of a file is not absolute and plain; give one such as /etc/motd")
    closed = next((folder for folder in CLOSED if path == folder or path.startswith(f"{folder}/")), "")
    if closed:
        raise UserDataError(f"{path} is below {closed}, which first boot cannot write to; use /etc, /opt or /var")
    mode = fields.get("mode", "0644")
    if not isinstance(mode, str) or not MODE.match(mode):
        # 0644 without quotes is the number 420 in Ansible, and 420 as text is the mode r--w----.
        raise UserDataError(
            f'the mode {mode} of {path} is not understood; write octal digits in quotes, such as "0644"'
        )
    source = text_of(f"the source of {path}", fields.get("source", ""))
    if ("content" in fields) == bool(source):
        raise UserDataError(f"the file {path} needs content or source, and not both")
    digest = text_of(f"the hash of {path}", fields.get("hash", ""))
    if source and not re.match(r"https?://[^\s]+\Z", source):
        raise UserDataError(f"the source {source!r} of {path} is no http or https URL; give one")
    if (source.startswith("http://") or digest) and not HASH.match(digest):
        raise UserDataError(
            f"the file {path} needs a hash such as sha512-... of its source, for anyone may have changed what http brings"
        )
    content = None if source else text_of(f"the content of {path}", fields["content"])
    owner, group = (_name(kind, fields.get(kind, "root")) for kind in ("owner", "group"))
    return File(path, content, int(mode, 8), owner, group, source, digest)


def _user(item: Any) -> User:
    fields = _fields("a user", item, User._fields)
    values: dict[str, Any] = {"name": _name("user", fields.get("name", ""))}
    for key, value in fields.items():
        what = f"{key} of user {values['name']}"
        default = User._field_defaults.get(key, "")
        if isinstance(default, bool):
            values[key] = _flag(what, value)
        elif isinstance(default, tuple):
            if not isinstance(value, (list, tuple)):
                raise UserDataError(f"{what} is {kind_of(value)}; give a list")
            values[key] = tuple(text_of(what, entry).strip() for entry in value)
        else:
            values[key] = text_of(what, value)
    user = User(**values)
    for key in user.ssh_authorized_keys:
        if not SSH_KEY.match(key):
            raise UserDataError(
                f"{key[:20]!r}... of user {user.name} is no public SSH key; give a line of an id_ed25519.pub"
            )
    if user.password_hash and not PASSWORD_HASH.match(user.password_hash):
        raise UserDataError(f"the password of user {user.name} is no hash; make one with `openssl passwd -6`")
    return user


def _unit(item: Any) -> Unit:
    fields = _fields("a unit", item, Unit._fields)
    name = text_of("the name of a unit", fields.get("name", ""))
    suffix = name.rpartition(".")[2]
    if suffix in NETWORK_TYPES:
        raise UserDataError(f"{name} is not a unit of systemd itself; give it as file /etc/systemd/network/{name}")
    if suffix not in UNIT_TYPES or not UNIT_NAME.fullmatch(name) or name.startswith(".") or len(name) > 255:
        raise UserDataError(f"{name!r} is no name of a unit; give one such as hello.service")
    content = fields.get("content")
    dropins = []
    for dropin in fields.get("dropins", []):
        parts = _fields(f"a drop-in of {name}", dropin, ("name", "content"))
        file = text_of(f"the name of a drop-in of {name}", parts.get("name", ""))
        if not re.fullmatch(r"[A-Za-z0-9:_@-][A-Za-z0-9:_.\\@-]*\.conf", file):
            raise UserDataError(f"the drop-in {file!r} of {name} would not be read; let its name end in .conf")
        dropins.append((file, text_of(f"the drop-in {file} of {name}", parts.get("content", ""))))
    contents = None if content is None else text_of(f"the content of {name}", content)
    enabled, mask = (_flag(f"{key} of {name}", fields.get(key, False)) for key in ("enabled", "mask"))
    return Unit(name, contents, enabled, mask, tuple(dropins))


def _merge(items: Iterable[Any], join: Any) -> tuple[Any, ...]:
    found: dict[str, Any] = {}
    for item in items:
        found[item.name] = join(found[item.name], item) if item.name in found else item
    return tuple(found.values())


def _join_users(first: User, second: User) -> User:
    values: dict[str, Any] = {}
    for key, default in User._field_defaults.items():
        one, other = getattr(first, key), getattr(second, key)
        if isinstance(default, tuple):
            values[key] = tuple(dict.fromkeys((*one, *other)))
        elif one != default and other not in (default, one):
            raise UserDataError(f"user {first.name} has two different values of {key}; give one")
        else:
            values[key] = other if one == default else one
    return User(first.name, **values)


def _join_units(first: Unit, second: Unit) -> Unit:
    if first.content is not None and second.content is not None and first.content != second.content:
        raise UserDataError(f"the unit {first.name} has two different contents; change it by a drop-in")
    content = second.content if first.content is None else first.content
    enabled, mask = first.enabled or second.enabled, first.mask or second.mask
    return Unit(first.name, content, enabled, mask, tuple(dict.fromkeys((*first.dropins, *second.dropins))))


def _check_unit(unit: Unit) -> None:
    for name, count in _counts(name for name, _content in unit.dropins):
        if count > 1:
            raise UserDataError(f"the drop-in {name} of {unit.name} is given {count} times; give it once")
    if unit.mask and (unit.content is not None or unit.dropins or unit.enabled):
        raise UserDataError(f"the unit {unit.name} is masked, so nothing else of it has an effect; give only mask")
    if not (unit.mask or unit.enabled or unit.dropins) and unit.content is None:
        raise UserDataError(f"nothing is said of the unit {unit.name}; give content, dropins, enabled or mask")
    options = [] if unit.content is None else _options(unit.name, unit.content)
    for name, content in unit.dropins:
        options += _options(f"{unit.name}.d/{name}", content)
    if unit.enabled and unit.content is not None and not any(_installs(option) for option in options):
        raise UserDataError(
            f"the unit {unit.name} is enabled but has no [Install] section, so nothing would start it; "
            "add one, such as WantedBy=multi-user.target"
        )


def _installs(option: UnitOption) -> bool:
    return option.section == "Install" and option.name in ("WantedBy", "RequiredBy", "UpheldBy", "Also", "Alias")


def _options(name: str, content: str) -> list[UnitOption]:
    try:
        options = list(parse(content))
    except UnitError as error:
        raise UserDataError(f"{name} cannot be read: {error}") from error
    if not options:
        raise UserDataError(f"there is no option in {name}; write at least one Name=value line below a [Section] line")
    return options
