# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The [X-Fleet] section: where a unit may run, as fleet 1.0.0 words it, read once into a value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from flagship.fleet.globs import glob_matches, glob_pattern
from flagship.fleet.model import DesiredState, ModelError, Unit, check_name, name_parts
from flagship.fleet.unit_file import Option, UnitFileError, check
from flagship.settings import parse_duration

SECTION = "X-Fleet"
MACHINE_ID = ("MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID")
MACHINE_OF = ("MachineOf", "X-ConditionMachineOf")
MACHINE_METADATA = ("MachineMetadata", "X-ConditionMachineMetadata")
CONFLICTS = ("Conflicts", "X-Conflicts")
REPLACES = ("Replaces",)
GLOBAL = ("Global",)
# Not of fleet, which stores and ignores them.
MAX_PER_MACHINE = ("MaxPerMachine",)
SPREAD = ("Spread",)
WHEN_CUT_OFF = ("WhenCutOff",)
KEYS = frozenset(
    (
        *(*MACHINE_ID, *MACHINE_OF, *MACHINE_METADATA, *CONFLICTS, *REPLACES, *GLOBAL),
        *(*MAX_PER_MACHINE, *SPREAD, *WHEN_CUT_OFF),
    )
)
MACHINE = "machine"
"""What Spread names to spread over single machines, instead of the key of a metadata."""
_TRUE = frozenset({"true", "yes", "1", "on", "t"})


@dataclass(frozen=True)
class Requirements:
    """Where a unit may run.

    `metadata` maps a key to the values of which the machine must have one, `metadata_not` to those that it must not
    have; `limits` are globs and how many units that match each may be on the unit's machine; `spread` are keys of
    metadata (or MACHINE) and the glob of the family that is to be spread over their values. Globs are Go path.Match
    patterns.
    """

    machine_id: str
    machine_of: tuple[str, ...]
    metadata: tuple[tuple[str, frozenset[str]], ...]
    conflicts: tuple[str, ...]
    replaces: tuple[str, ...]
    is_global: bool
    metadata_not: tuple[tuple[str, frozenset[str]], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    spread: tuple[tuple[str, str], ...] = ()

    def accepts_metadata(self, metadata: Mapping[str, str]) -> bool:
        return all(metadata.get(key) in values for key, values in self.metadata) and not any(
            metadata.get(key) in values for key, values in self.metadata_not
        )

    def accepts_machine_id(self, machine_id: str) -> bool:
        """Whether the unit is bound to no machine or to this one, by the full id or its first 8 characters."""
        return not self.machine_id or self.machine_id in (machine_id, machine_id[:8])


def words(value: str) -> list[str]:
    """Words of an [X-Fleet] value: one, or several when the whole value is a list of quoted words."""
    if not (value.startswith('"') and value.endswith('"')):
        return [value]
    found = [""]
    quoted = False
    for char in value:
        if char == '"':
            quoted = not quoted
        elif char == " " and not quoted:
            found.append("")
        else:
            found[-1] += char
    return found


def _values(options: Iterable[Option], keys: tuple[str, ...]) -> list[str]:
    """Words of all options of *keys*: modern spelling first, then the deprecated ones in order."""
    section = [option for option in options if option.section == SECTION]
    return [word for key in keys for option in section if option.name == key for word in words(option.value)]


def _read(options: tuple[Option, ...], expand: bool, name: str) -> Requirements:
    parts = name_parts(name)

    def values(keys: tuple[str, ...]) -> list[str]:
        found = _values(options, keys)
        return [parts.expand(word) for word in found] if expand else found

    metadata: dict[str, set[str]] = {}
    metadata_not: dict[str, set[str]] = {}
    for word in values(MACHINE_METADATA):
        key, _equals, value = word.partition("=")
        table = metadata_not if key.endswith("!") else metadata
        table.setdefault(key.removesuffix("!"), set()).update(value.split("|"))
    last_global = values(GLOBAL)[-1:]
    return Requirements(
        machine_id=next(iter(values(MACHINE_ID)), ""),
        machine_of=tuple(dict.fromkeys(values(MACHINE_OF))),
        metadata=_frozen(metadata),
        metadata_not=_frozen(metadata_not),
        conflicts=tuple(dict.fromkeys(glob for word in values(CONFLICTS) for glob in word.split())),
        replaces=tuple(dict.fromkeys(values(REPLACES))),
        is_global=bool(last_global) and last_global[0].lower() in _TRUE,
        limits=tuple(dict.fromkeys(limit for limit in map(_limit, values(MAX_PER_MACHINE)) if limit)),
        spread=tuple(dict.fromkeys(spread for spread in (_spread(v, name) for v in values(SPREAD)) if spread)),
    )


def _frozen(table: Mapping[str, set[str]]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((key, frozenset(table[key])) for key in sorted(table))


def _limit(value: str) -> tuple[str, int] | None:
    """A glob and a number, 1 or more; None for anything else."""
    glob, _blank, count = value.strip().rpartition(" ")
    glob = glob.strip()
    if len(glob.split()) != 1 or not re.fullmatch("[0-9]{1,6}", count) or int(count) < 1:
        return None
    return (glob, int(count)) if glob_pattern(glob) else None


def _spread(value: str, name: str) -> tuple[str, str] | None:
    """A key and the glob of a family, by default all instances of the unit's template; None for anything else."""
    found = value.split()
    parts = name_parts(name)
    if len(found) == 1 and parts.instance is not None:
        found.append(f"{parts.prefix}@*.{name.rpartition('.')[2]}".replace("\\", "\\\\"))
    return (found[0], found[1]) if len(found) == 2 and glob_pattern(found[1]) else None


def stop_when_cut_off(options: Iterable[Option]) -> float | None:
    """Seconds without a live lease after which a machine stops the unit.

    None: it keeps it, in doubt too. The last line decides.
    """
    try:
        return _cut_off(next(reversed(_values(options, WHEN_CUT_OFF)), "keep"))
    except ValueError:
        return None


def _cut_off(value: str) -> float | None:
    """Seconds of `stop after DURATION`, None for `keep`; raises ValueError."""
    if value == "keep":
        return None
    words = value.split()
    if words[:2] != ["stop", "after"] or len(words) != 3:
        raise ValueError("write keep, or stop after a time, such as: stop after 30s")
    return parse_duration(words[2])


@lru_cache(maxsize=65536)
def requirements(name: str, options: tuple[Option, ...]) -> Requirements:
    """Requirements of a unit for scheduling: specifiers replaced, nothing validated.

    For a global unit only metadata, conflicts and limits count, as fleet's agents have it.
    """
    needs = _read(options, expand=True, name=name)
    return replace(needs, machine_id="", machine_of=(), replaces=(), spread=()) if needs.is_global else needs


def is_global(options: tuple[Option, ...]) -> bool:
    """Whether clients see a global unit: judged, as fleetctl does, on the text before specifiers are replaced."""
    last_global = _values(options, GLOBAL)[-1:]
    return bool(last_global) and last_global[0].lower() in _TRUE


_FORBIDDEN = (
    ("machine_id", "machine_of"),
    ("machine_id", "conflicts"),
    ("machine_id", "is_global"),
    ("machine_id", "replaces"),
    ("is_global", "machine_of"),
    ("is_global", "replaces"),
    ("conflicts", "replaces"),
)
_LABELS = {
    "machine_id": "MachineID",
    "machine_of": "Peers",
    "conflicts": "Conflicts",
    "is_global": "Global",
    "replaces": "Replaces",
}


def _check_words(name: str, options: tuple[Option, ...]) -> None:
    for option in options:
        if option.section == SECTION and option.name not in KEYS:
            raise ModelError(
                f'unrecognized requirement in [X-Fleet] section: "{option.name}"; '
                f"unit {name} may use MachineID, MachineOf, MachineMetadata, Conflicts, Replaces, Global, "
                "MaxPerMachine, Spread and WhenCutOff"
            )
    parts = name_parts(name)
    for label, keys in (("MachineID", MACHINE_ID), ("MachineOf", MACHINE_OF), ("Replaces", REPLACES)):
        for word in _values(options, keys):
            if not word:
                raise ModelError(f"{label} of unit {name} is empty or has a word that is; name something or remove it")
            if not parts.is_template and not parts.expand(word):
                raise ModelError(
                    f"{label} of unit {name} is empty, for it has no instance that %i could stand for; "
                    "remove it, or make the unit a template"
                )
    for word in _values(options, MACHINE_METADATA):
        key, _equals, value = word.partition("=")
        if not key.removesuffix("!") or "=" in value or not all(value.split("|")):
            raise ModelError(
                f"MachineMetadata of unit {name} has the word {word!r}; write key=value, key!=value or key=one|other, "
                'and several words each in quotes: "a=b" "c=d"'
            )
    for key, globs in (
        ("Conflicts", [glob for word in _values(options, CONFLICTS) for glob in word.split()]),
        ("Replaces", _values(options, REPLACES)),
    ):
        for glob in globs:
            if glob_pattern(glob) is None:
                raise ModelError(f"{key} of unit {name} has the malformed pattern {glob!r}; close its brackets")
    for word in _values(options, MAX_PER_MACHINE):
        if _limit(word) is None:
            raise ModelError(
                f"MaxPerMachine of unit {name} is {word!r}; write a pattern of unit names and a number from 1 on, "
                "such as: nginx@*.service 2"
            )
    for word in _values(options, SPREAD):
        if _spread(word, name) is None:
            raise ModelError(
                f"Spread of unit {name} is {word!r}; write the key of a metadata or {MACHINE}, and, unless all "
                "instances of the unit's template are meant, a pattern of unit names, such as: zone nginx-*.service"
            )
    for word in _values(options, WHEN_CUT_OFF):
        try:
            _cut_off(word)
        except ValueError as error:
            raise ModelError(f"WhenCutOff of unit {name} is {word!r}; {error}") from None


def validate(unit: Unit) -> None:
    """Raise ModelError unless *unit* may be stored: its name, its text and its [X-Fleet] section."""
    check_name(unit.name)
    try:
        check(unit.options)
    except UnitFileError as error:
        raise ModelError(f"unit {unit.name} cannot be written as a unit file: {error}") from error
    _check_words(unit.name, unit.options)
    raw = _read(unit.options, expand=False, name=unit.name)
    for peer in raw.machine_of:
        for kind, globs in (("conflict", raw.conflicts), ("replace", raw.replaces)):
            for glob in globs:
                if glob_matches(glob, peer):
                    raise ModelError(f'unresolvable requirements: peer "{peer}" matches {kind} "{glob}"')
    for first, second in _FORBIDDEN:
        if getattr(raw, first) and getattr(raw, second):
            raise ModelError(f"{_LABELS[first]} cannot be used with {_LABELS[second]} in unit {unit.name}")
    check_activation(unit.name, unit.desired_state)


def check_activation(name: str, desired_state: DesiredState) -> None:
    """Raise ModelError when a template is to be loaded or launched: only its instances can be."""
    if desired_state != "inactive" and name_parts(name).is_template:
        raise ModelError(
            f"unit {name} is a template and cannot be {desired_state}; "
            f"use an instance such as {name.replace('@', '@1', 1)}"
        )
