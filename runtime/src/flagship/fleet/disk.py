# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on this machine's disk: unit files, and what was started since boot."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from flagship.fleet.model import ModelError, check_name
from flagship.fleet.unit_file import Option, UnitFileError, content_hash, parse, serialise

UNREADABLE = "unreadable"
"""In place of a hash: there is a file, and it is no unit file."""


@dataclass(frozen=True)
class Local:
    """A unit here: the hash of its file, and hash and restart count of what was started; "" for none."""

    file_hash: str = ""
    launched_hash: str = ""
    launched_restarts: int = 0


class Disk:
    """Unit files in *units*, and beside them a record of each start, both gone with the next boot.

    *links* is where systemd links them.

    The records let a new process of this daemon know what an earlier one has started, so that it neither starts
    a finished job again nor takes a stopped unit for one that was never started. Methods raise OSError.
    """

    def __init__(self, units: str, links: str = "/run/systemd/system") -> None:
        self._units = Path(units)
        self._links = Path(links)
        self._launched = self._units.parent / "launched"

    def path(self, name: str) -> str:
        return str(self._units / name)

    def inventory(self) -> dict[str, Local]:
        """Every unit of which there is a file or a record."""
        for directory in (self._units, self._launched):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        files = {name: _file_hash(self._units / name) for name in _unit_names(self._units)}
        launched = {name: _read_launched(self._launched / name) for name in _unit_names(self._launched)}
        return {name: Local(files.get(name, ""), *launched.get(name, ("", 0))) for name in {*files, *launched}}

    def options(self, name: str) -> tuple[Option, ...]:
        """What the unit's file says; nothing when there is none that can be read."""
        try:
            return parse(_read(self._units / name))
        except (UnitFileError, OSError):
            return ()

    def write(self, name: str, options: tuple[Option, ...]) -> None:
        _write(self._units / name, serialise(options))

    def remove(self, name: str) -> None:
        (self._units / name).unlink(missing_ok=True)

    def remove_dead_links(self) -> list[str]:
        """Remove links to unit files that are gone, and files whose writing came to no end; what was removed."""
        found = [path for path in self._units.iterdir() if path.is_symlink() and not path.exists()]
        found += [path for directory in (self._units, self._launched) for path in directory.glob(".*.new")]
        gone = {str(path) for path in found}
        # A link to a link comes after it: those to start a unit by are in directories below.
        for path in sorted(self._links.glob("*")) + sorted(self._links.glob("*.*/*")):
            if path.is_symlink() and not path.exists():
                target = os.path.normpath(path.parent / path.readlink())
                if os.path.dirname(target) == str(self._units) or target in gone:
                    found.append(path)
                    gone.add(str(path))
        for path in found:
            path.unlink(missing_ok=True)
        return sorted(map(str, found))

    def set_launched(self, name: str, file_hash: str, restarts: int = 0) -> None:
        """Record that this version was started under this restart count, or with "" that nothing is."""
        if file_hash:
            _write(self._launched / name, f"{file_hash} {restarts}\n")
        else:
            (self._launched / name).unlink(missing_ok=True)


def _unit_names(directory: Path) -> list[str]:
    found = []
    for path in directory.iterdir():
        try:
            check_name(path.name)
        except ModelError:
            continue
        if path.is_file() and not path.is_symlink():
            found.append(path.name)
    return sorted(found)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _read_launched(path: Path) -> tuple[str, int]:
    file_hash, _blank, restarts = _read(path).strip().partition(" ")
    if not re.fullmatch("[0-9a-f]{40}", file_hash):
        # A start that is not certain counts as none: to start what runs changes nothing, to stop it would.
        return "", 0
    return file_hash, int(restarts) if restarts.isdecimal() else 0


def _file_hash(path: Path) -> str:
    try:
        return content_hash(parse(_read(path)))
    except UnitFileError:
        return UNREADABLE


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing, mode 0644."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    new.replace(path)
