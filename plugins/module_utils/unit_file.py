# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit names, unit file text and the rules of its [X-Fleet] section, as fleet 1.0.0 understands them; no I/O."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import re
import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

X_FLEET = "X-Fleet"
FLEET_KEYS = ("MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Global", "Replaces")
# The collection's own engine obeys these; fleet 1.0.0 stores and ignores them.
FLAGSHIP_KEYS = ("MaxPerMachine", "Spread", "WhenCutOff")
X_FLEET_KEYS = FLEET_KEYS + FLAGSHIP_KEYS
DEPRECATED_KEYS = {
    "X-ConditionMachineID": "MachineID",
    "X-ConditionMachineBootID": "MachineID",
    "X-ConditionMachineOf": "MachineOf",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "X-Conflicts": "Conflicts",
}

# The first pair of a unit that is found here is the one that fleet reports.
FORBIDDEN_PAIRS = (
    ("MachineID", "MachineOf"),
    ("MachineID", "Conflicts"),
    ("MachineID", "Global"),
    ("MachineID", "Replaces"),
    ("Global", "MachineOf"),
    ("Global", "Replaces"),
    ("Conflicts", "Replaces"),
)
TRUE_WORDS = ("true", "yes", "1", "on", "t")

# Each of the engine's own options: what its words look like, and how to say that to a person.
OWN_FORMS = (
    (
        "MaxPerMachine",
        re.compile(r"\s*\S+\s+0*[1-9][0-9]{0,5}\s*"),
        "a pattern of unit names and a number from 1 on, such as nginx@*.service 2",
    ),
    (
        "Spread",
        re.compile(r"\s*\S+(\s+\S+)?\s*"),
        "the key of a metadata or machine, and maybe a pattern of unit names, such as zone nginx-*.service",
    ),
    (
        "WhenCutOff",
        re.compile(r"keep|\s*stop\s+after\s+([0-9]+(\.[0-9]+)?(ms|s|m|h))+\s*|\s*stop\s+after\s+[0-9]+(\.[0-9]+)?\s*"),
        "keep, or stop after a time such as 30s",
    ),
)

NAME_MAX_BYTES = 256
NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + r":-_.\@")
# systemd knows more types; fleet's API stores them too, but its agents never run them.
UNIT_TYPES = ("service", "socket", "timer", "path", "device", "mount", "automount")
TEMPLATE_TYPES = ("service", "socket", "timer", "path")

# What Go's unicode.IsSpace accepts. Python's str.isspace also takes the control characters 0x1c to 0x1f.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
BLANKS += "\u2028\u2029\u202f\u205f\u3000"


class UnitError(Exception):
    """A unit name or unit file that must not reach the cluster; the text says why and what to do."""


class UnitOption(NamedTuple):
    """One line of a unit file: C{name=value} in a section; the value may be empty and may span lines."""

    section: str
    name: str
    value: str


class UnitName(NamedTuple):
    """C{nginx@1.service} taken apart: prefix C{nginx}, instance C{1}, suffix C{service}.

    The instance is None for a unit that is no template, and empty for a template.
    """

    prefix: str
    instance: str | None
    suffix: str

    @property
    def is_template(self) -> bool:
        return self.instance == ""

    def with_instance(self, instance: str) -> str:
        return f"{self.prefix}@{instance}.{self.suffix}"


def split_name(name: str) -> UnitName:
    """Split at the last dot and the first @; takes any text."""
    stem, _dot, suffix = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return UnitName(prefix, instance if at else None, suffix)


def check_name(name: str) -> UnitName:
    """Return the parts of a valid unit name; raise UnitError for a name that fleet refuses or cannot run."""
    if not name:
        raise UnitError("the unit name is empty; give one such as hello.service")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_MAX_BYTES:
        raise UnitError(f"the unit name {name[:40]}... has more than {NAME_MAX_BYTES} bytes; give a shorter one")
    bad = sorted(set(name) - NAME_CHARACTERS)
    if bad:
        raise UnitError(
            f"the unit name {name!r} contains {bad[0]!r}; "
            "only letters, digits and the characters : - _ . \\ @ are allowed"
        )
    parts = split_name(name)
    if parts.suffix not in UNIT_TYPES:
        raise UnitError(
            f"the unit name {name!r} does not end in a type that fleet runs; end it in one of {_dotted(UNIT_TYPES)}"
        )
    if not parts.prefix:
        before = "the @" if parts.instance is not None else "its type"
        raise UnitError(f"the unit name {name!r} has nothing before {before}; name it")
    if parts.instance is not None and parts.suffix not in TEMPLATE_TYPES:
        raise UnitError(
            f"the unit name {name!r} has an @, which only {_dotted(TEMPLATE_TYPES)} units may have; remove it"
        )
    return parts


def _dotted(types: Iterable[str]) -> str:
    return ", ".join(f".{suffix}" for suffix in types)


def parse(text: str) -> list[UnitOption]:
    """Read unit file text by the rules of go-systemd, which differ from systemd's own in continued lines.

    Order and duplicates are kept. Raises UnitError with the line number.
    """
    options = []
    section: str | None = None
    position = 0
    while position < len(text):
        character = text[position]
        if character == "[":
            section, position = _read_header(text, position)
        elif character in "#;":
            position = _skip_comment(text, position)
        elif section is None or character in BLANKS:
            position += 1
        else:
            option, position = _read_option(text, position, section)
            options.append(option)
    return options


def _read_line(text: str, position: int) -> tuple[str, int]:
    """The rest of the line and the position after its newline (beyond the text when there is none)."""
    end = text.find("\n", position)
    return (text[position:], len(text) + 1) if end < 0 else (text[position:end], end + 1)


def _read_header(text: str, position: int) -> tuple[str, int]:
    end = text.find("]", position)
    if end < 0:
        raise UnitError(f"line {_line_number(text, position)}: the section header has no closing bracket; add the ]")
    garbage, after = _read_line(text, end + 1)
    if garbage.strip(BLANKS):
        raise UnitError(
            f"line {_line_number(text, end)}: {garbage.strip(BLANKS)!r} follows the section header; "
            "put it on a line of its own"
        )
    return text[position + 1 : end], after


def _skip_comment(text: str, position: int) -> int:
    while position < len(text):
        line, position = _read_line(text, position)
        if not (line[:-1] if line.endswith(" ") else line).endswith("\\"):
            break
    return position


def _read_option(text: str, position: int, section: str) -> tuple[UnitOption, int]:
    end = position
    while end < len(text) and text[end] not in "=\r\n":
        end += 1
    if text[end : end + 1] != "=":
        raise UnitError(
            f"line {_line_number(text, position)}: {text[position:end].strip(BLANKS)!r} is neither a section, "
            "nor a comment, nor an option; write it as Name=value"
        )
    name = text[position:end].strip(BLANKS)
    value = ""
    position = end + 1
    while True:
        line, position = _read_line(text, position)
        if not line.strip(BLANKS):
            break
        value += line
        if not line.endswith("\\"):
            break
        if position <= len(text):
            value += "\n"
    return UnitOption(section, name, value.strip(BLANKS) + ("\n" if value.endswith("\n") else "")), position


def _line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def serialise(options: Iterable[UnitOption]) -> str:
    """The one text for these options: sections in order of first appearance, a blank line between them."""
    sections: dict[str, list[str]] = {}
    for option in options:
        sections.setdefault(option.section, [f"[{option.section}]\n"]).append(f"{option.name}={option.value}\n")
    return "\n".join("".join(lines) for lines in sections.values())


def content_hash(options: Iterable[UnitOption]) -> str:
    """What fleet compares and publishes: SHA-1 (40 hex digits) of the serialised text."""
    return hashlib.sha1(serialise(options).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def check_options(options: Sequence[UnitOption]) -> None:
    """Raise UnitError for contents that fleet refuses, or accepts and then silently does not obey."""
    if not options:
        raise UnitError(
            "there is no option in the unit file; write at least one Name=value line below a [Section] line"
        )
    text = serialise(options)
    try:
        survives = serialise(parse(text)) == text and sorted(parse(text)) == sorted(options)
    except UnitError:
        survives = False
    if not survives:
        broken = next((option for option in options if not _survives(option)), options[0])
        raise UnitError(
            f"the option {broken.name!r} in [{broken.section}] cannot be written in a unit file and read back; "
            "end inner lines of its value in a backslash and leave no blanks around it"
        )
    _check_x_fleet(options)


def _survives(option: UnitOption) -> bool:
    try:
        return parse(serialise([option])) == [option]
    except UnitError:
        return False


def _check_x_fleet(options: Sequence[UnitOption]) -> None:
    for option in options:
        if option.section != X_FLEET and option.section.lower() == X_FLEET.lower():
            raise UnitError(f"the section [{option.section}] is ignored by fleet; spell it [{X_FLEET}]")
        if option.section == X_FLEET and option.name not in X_FLEET_KEYS and option.name not in DEPRECATED_KEYS:
            close = difflib.get_close_matches(option.name, X_FLEET_KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UnitError(
                f"unknown option {option.name!r} in [{X_FLEET}]; {hint}valid are {', '.join(X_FLEET_KEYS)} "
                f"and the deprecated {', '.join(DEPRECATED_KEYS)}"
            )
    used = {key for key in X_FLEET_KEYS if requirement(options, key)}
    if not is_global(options):
        used.discard("Global")
    for first, second in FORBIDDEN_PAIRS:
        if first in used and second in used:
            raise UnitError(f"{first} cannot be used with {second} in [{X_FLEET}]; remove one of them")
    for word in requirement(options, "MachineMetadata"):
        key, _equals, value = word.partition("=")
        if not (key[:-1] if key.endswith("!") else key) or "=" in value or not all(value.split("|")):
            raise UnitError(
                f"MachineMetadata={word!r} in [{X_FLEET}] is not of the form key=value, key!=value or key=one|other, "
                "and fleet would drop it silently; give one pair a line, or quote each pair"
            )
    for key, shape, form in OWN_FORMS:
        for word in requirement(options, key):
            if not shape.fullmatch(word):
                raise UnitError(f"{key}={word!r} in [{X_FLEET}] cannot be understood; write {form}")
    for key in ("Conflicts", "Replaces"):
        for pattern in requirement(options, key):
            for peer in requirement(options, "MachineOf"):
                if glob_matches(pattern, peer):
                    raise UnitError(
                        f"MachineOf={peer} in [{X_FLEET}] is matched by {key}={pattern}, "
                        "so the unit could run nowhere; narrow one of them"
                    )


def requirement(options: Iterable[UnitOption], key: str) -> list[str]:
    """The words given for an [X-Fleet] option in all its lines and deprecated spellings, specifiers unexpanded."""
    words: list[str] = []
    for option in options:
        if option.section == X_FLEET and DEPRECATED_KEYS.get(option.name, option.name) == key:
            values = _quoted_words(option.value)
            words.extend(word for value in values for word in (value.split() if key == "Conflicts" else [value]))
    return words


def _quoted_words(value: str) -> list[str]:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return [value]
    words = [""]
    quoted = False
    for character in value:
        if character == '"':
            quoted = not quoted
        elif character == " " and not quoted:
            words.append("")
        else:
            words[-1] += character
    return words


def is_global(options: Iterable[UnitOption]) -> bool:
    """Whether the unit runs on every eligible machine; the last Global line decides."""
    values = requirement(options, "Global")
    return bool(values) and values[-1].lower() in TRUE_WORDS


def metadata_matches(options: Iterable[UnitOption], metadata: dict[str, str]) -> bool:
    """Whether a machine's metadata satisfies MachineMetadata.

    Pairs of one key are alternatives, as are values joined by C{|}; keys all count, and so does every C{key!=value}.
    """
    wanted: dict[str, set[str]] = {}
    for word in requirement(options, "MachineMetadata"):
        key, _equals, value = word.partition("=")
        values = value.split("|")
        if not key.endswith("!"):
            wanted.setdefault(key, set()).update(values)
        elif metadata.get(key[:-1]) in values:
            return False
    return all(metadata.get(key) in values for key, values in wanted.items())


def glob_matches(pattern: str, name: str) -> bool:
    """Whether a unit name matches a glob of Conflicts or Replaces.

    Go's path.Match, which fleet uses, spells a negated class [^a]; what else differs cannot occur in a unit name.
    """
    return fnmatch.fnmatchcase(name, pattern.replace("[^", "[!"))
