# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit file text to options and back, and the content hash that names one version of a unit.

The format is that of go-systemd's unit package, which fleet and fleetctl share: clients compute the
same hash from the same text, so every quirk below is part of the interface.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

LINE_MAX = 2048
"""Longest line accepted, in bytes; go-systemd's limit, taken from systemd's own LINE_MAX."""

# What Go calls white space; str.strip() would also remove U+001C to U+001F.
_BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class UnitFileError(Exception):
    """The text is not a unit file; the message is one sentence that names the place."""


@dataclass(frozen=True, slots=True, order=True)
class Option:
    """One `name=value` line of a section; `value` may hold continuation lines, or be empty (a reset)."""

    section: str
    name: str
    value: str = ""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def line_number(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def next(self) -> str:
        """The next character, or "" at the end."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def line(self) -> tuple[str, bool]:
        """The rest of the line without its end, and whether the text ended instead of the line."""
        end = self.text.find("\n", self.at)
        at_end = end < 0
        stop = len(self.text) if at_end else end
        line = self.text[self.at : stop]
        if len(line.encode()) > LINE_MAX:
            raise UnitFileError(
                f"line {self.line_number} is longer than {LINE_MAX} bytes; continue it on a new line with a backslash"
            )
        self.at = stop if at_end else stop + 1
        return line, at_end

    def skip_comment(self) -> None:
        while True:
            line, at_end = self.line()
            if at_end or not line.removesuffix(" ").endswith("\\"):
                return

    def section(self) -> str:
        where = self.line_number
        end = self.text.find("]", self.at)
        if end < 0:
            raise UnitFileError(f"unable to find end of section: no ']' follows the '[' on line {where}")
        name = self.text[self.at : end]
        self.at = end + 1
        garbage = self.line()[0].strip(_BLANKS)
        if garbage:
            raise UnitFileError(
                f"found garbage after section name {name} on line {where}: {garbage!r}; only the header may stand there"
            )
        return name

    def option_name(self) -> str:
        where = self.line_number
        start = self.at
        while True:
            char = self.next()
            if char == "=":
                return self.text[start : self.at - 1].strip(_BLANKS)
            if char in ("", "\n", "\r"):
                found = self.text[start : self.at - 1].strip(_BLANKS)
                raise UnitFileError(
                    f"unexpected newline encountered while parsing option name: line {where} reads {found[:60]!r} "
                    "and has no '='"
                )

    def option_value(self) -> str:
        parts = []
        while True:
            line, at_end = self.line()
            if not line.strip(_BLANKS):
                break
            parts.append(line)
            if not line.endswith("\\"):
                break
            if not at_end:
                parts.append("\n")
        value = "".join(parts)
        # A continuation that runs into a blank line keeps its newline: without it the text would read differently.
        return value.strip(_BLANKS) + ("\n" if value.endswith("\n") else "")


def parse(text: str) -> tuple[Option, ...]:
    """Options of unit file *text*, in order, duplicates kept.

    Raises UnitFileError when the text is not a unit file.
    """
    reader = _Reader(text)
    options: list[Option] = []
    section: str | None = None
    while char := reader.next():
        if char == "[":
            section = reader.section()
        elif char in "#;":
            reader.skip_comment()
        elif section is not None and char not in _BLANKS:
            reader.at -= 1
            name = reader.option_name()
            options.append(Option(section, name, reader.option_value()))
    return tuple(options)


def grouped(options: Iterable[Option]) -> tuple[Option, ...]:
    """The same options with those of one section together, sections in order of first appearance."""
    sections: dict[str, list[Option]] = {}
    for option in options:
        sections.setdefault(option.section, []).append(option)
    return tuple(option for group in sections.values() for option in group)


def serialise(options: Iterable[Option]) -> str:
    """Normal text of *options*: what an agent writes to disk and what the hash is made of."""
    lines: list[str] = []
    section: str | None = None
    for option in grouped(options):
        if option.section != section:
            section = option.section
            lines.append(f"{chr(10) if lines else ''}[{section}]\n")
        lines.append(f"{option.name}={option.value}\n")
    return "".join(lines)


def content_hash(options: Iterable[Option]) -> str:
    """SHA-1 of the normal text, 40 lower-case hex digits; fleet's unit hash."""
    return hashlib.sha1(serialise(options).encode(), usedforsecurity=False).hexdigest()


def check(options: Iterable[Option]) -> None:
    """Raise UnitFileError unless *options* come back unchanged from their own text.

    Catches what a client can send as JSON but never write in a file, such as a line break inside a value.
    """
    wanted = grouped(options)
    found = parse(serialise(wanted))

    def bare(option: Option) -> tuple[str, str, str]:
        return option.section, option.name.strip(_BLANKS), option.value.strip(_BLANKS)

    if list(map(bare, wanted)) != list(map(bare, found)):
        changed = next((w for w, f in zip(wanted, found, strict=False) if bare(w) != bare(f)), wanted[-1])
        raise UnitFileError(
            f"option {changed.name!r} of section {changed.section!r} does not survive being written to a unit file; "
            "remove line breaks that no backslash precedes"
        )
