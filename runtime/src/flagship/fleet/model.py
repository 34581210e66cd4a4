# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit, a machine and a schedule entry are, and which names and states exist."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Final, Literal

from flagship.fleet.unit_file import Option, content_hash

DesiredState = Literal["inactive", "loaded", "launched"]
INACTIVE: Final = "inactive"
LOADED: Final = "loaded"
LAUNCHED: Final = "launched"
DESIRED_STATES: Final[Mapping[str, DesiredState]] = {INACTIVE: INACTIVE, LOADED: LOADED, LAUNCHED: LAUNCHED}

# Fleet also took scopes, bus names and snapshots, which no systemd of today can load from a file.
_TYPES = frozenset({"automount", "device", "mount", "path", "service", "slice", "socket", "swap", "target", "timer"})
_TEMPLATE_TYPES = frozenset({"path", "service", "socket", "target", "timer"})
_NAME_CHARS = frozenset(string.ascii_letters + string.digits + ":-_.\\@")
_NAME_MAX = 256


class ModelError(Exception):
    """A name, state or option that no unit can have; the message is one sentence with the way out."""


@lru_cache(maxsize=65536)
def check_name(name: str) -> None:
    """Raise ModelError unless *name* can name a unit (systemd's rules as fleet applies them)."""
    if not name or len(name.encode()) > _NAME_MAX:
        raise ModelError(f"unit name {name[:40]!r} must have 1 to {_NAME_MAX} bytes")
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix not in _TYPES:
        raise ModelError(f"unit name {name!r} must end in one of .{', .'.join(sorted(_TYPES))}")
    if not stem:
        raise ModelError(f"unit name {name!r} needs a name before its type")
    bad = sorted(set(stem) - _NAME_CHARS)
    if bad:
        raise ModelError(f"unit name {name!r} has the character {bad[0]!r}; use ASCII letters, digits and : - _ . \\ @")
    if "@" in name and (name.startswith("@") or suffix not in _TEMPLATE_TYPES):
        raise ModelError(
            f"unit name {name!r} must have a name before '@' and a type of {', '.join(sorted(_TEMPLATE_TYPES))}"
        )


@dataclass(frozen=True, slots=True)
class NameParts:
    """`prefix@instance.suffix`; `instance` is None without '@' and "" for a template."""

    full: str
    stem: str
    prefix: str
    instance: str | None

    @property
    def is_template(self) -> bool:
        return self.instance == ""

    def expand(self, text: str) -> str:
        """*text* with fleet's specifiers %n %N %p %i replaced, one after the other, nothing else."""
        for specifier, value in (
            ("%n", self.full),
            ("%N", self.stem),
            ("%p", self.prefix),
            ("%i", self.instance or ""),
        ):
            text = text.replace(specifier, value)
        return text


def name_parts(name: str) -> NameParts:
    """Parts of a unit name, split at the last '.' and the first '@'."""
    stem = name.rpartition(".")[0]
    prefix, at, instance = stem.partition("@")
    return NameParts(full=name, stem=stem, prefix=prefix, instance=instance if at else None)


def check_desired_state(value: str) -> DesiredState:
    """*value* as a desired state; raises ModelError for anything but the three of fleet."""
    if value not in DESIRED_STATES:
        raise ModelError(f"desiredState {value!r} must be one of inactive, loaded, launched")
    return DESIRED_STATES[value]


@dataclass(frozen=True)
class Unit:
    """A unit as the registry keeps it."""

    name: str
    options: tuple[Option, ...]
    desired_state: DesiredState = INACTIVE
    restarts: int = 0
    """How often it was told to stop: whatever was started under another count has missed a stop."""

    @cached_property
    def hash(self) -> str:
        return content_hash(self.options)

    @property
    def entry(self) -> Entry:
        """What an agent has to know about the unit."""
        return Entry(self.options, self.desired_state, restarts=self.restarts)


@dataclass(frozen=True)
class Entry:
    """A unit's place in a machine's schedule; `inactive` is the order to stop and unload it.

    `damaged` means that the record could not be read: its unit is known to be here, and nothing else.
    """

    options: tuple[Option, ...]
    desired_state: DesiredState
    damaged: bool = False
    restarts: int = 0

    @cached_property
    def hash(self) -> str:
        return content_hash(self.options)

    @property
    def withdrawn(self) -> bool:
        return self.desired_state == INACTIVE and not self.damaged


@dataclass(frozen=True)
class Machine:
    """A machine that is present; `metadata` is effective when it comes from `with_overlay`."""

    id: str
    primary_ip: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    boot_id: str = ""
    version: str = ""

    def with_overlay(self, overlay: Mapping[str, str]) -> Machine:
        """The machine with stored metadata over its configured one; an empty stored value hides a key."""
        merged = {**self.metadata, **overlay}
        return replace(self, metadata={k: v for k, v in merged.items() if v})


@dataclass(frozen=True)
class Cordon:
    """A machine that takes no more units.

    With `drain` it also gives away those that it has, one after the other: `moving` were told to go last.
    """

    drain: bool = False
    moving: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitState:
    """What one machine's agent says of one unit: systemd's states, and whether it has issued the start."""

    hash: str
    load_state: str
    active_state: str
    sub_state: str
    current_state: str
