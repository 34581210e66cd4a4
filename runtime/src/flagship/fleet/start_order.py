# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order units are started: systemd orders jobs only among those that it has been given already."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Container, Iterable, Mapping

from flagship.fleet.model import Entry, name_parts
from flagship.fleet.systemd import Manager
from flagship.fleet.unit_file import Option

log = logging.getLogger(__name__)

# Section and option in which a unit names what it triggers; without it that is the service of the same name.
_TRIGGERS = {"timer": ("Timer", "Unit"), "path": ("Path", "Unit"), "socket": ("Socket", "Service")}


def triggered(name: str, options: Iterable[Option]) -> str:
    """The unit that a timer, a path or a socket starts, "" for all other units."""
    stem, _dot, kind = name.rpartition(".")
    if kind not in _TRIGGERS:
        return ""
    section, option = _TRIGGERS[kind]
    named = [o.value.strip() for o in options if (o.section, o.name) == (section, option) and o.value.strip()]
    return name_parts(name).expand(named[-1]) if named else f"{stem}.service"


def start_order(units: Mapping[str, tuple[Option, ...]]) -> list[str]:
    """Names of *units*, given with their options, as Before= and After= among them ask for, else by name.

    A socket comes before its service, a timer or a path after what it triggers. A circle is broken at its first name.
    """
    first: dict[str, set[str]] = {name: set() for name in units}
    for name, options in units.items():
        parts = name_parts(name)
        for option in options:
            if option.section == "Unit" and option.name in ("After", "Before"):
                for other in parts.expand(option.value).split():
                    _add(first, *((other, name) if option.name == "After" else (name, other)))
        if other := triggered(name, options):
            _add(first, *((name, other) if name.endswith(".socket") else (other, name)))
    later: dict[str, list[str]] = {}
    for name, others in first.items():
        for other in others:
            later.setdefault(other, []).append(name)
    ready = sorted(name for name, others in first.items() if not others)
    waiting = sorted(first.keys() - set(ready), reverse=True)
    order: dict[str, None] = {}
    while ready or waiting:
        name = heapq.heappop(ready) if ready else waiting.pop()
        if name in order:
            continue
        order[name] = None
        for other in later.get(name, ()):
            first[other].discard(name)
            if not first[other] and other not in order:
                heapq.heappush(ready, other)
    return list(order)


def _add(first: dict[str, set[str]], earlier: str, later: str) -> None:
    if earlier in first and later in first and earlier != later:
        first[later].add(earlier)


class Starts:
    """Units whose start has not succeeded yet: those that wait for another unit, and those that systemd has refused."""

    def __init__(self, systemd: Manager) -> None:
        self._systemd = systemd
        self._tried: dict[str, str] = {}

    def possible(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """*entries* in the order to start them in, without those that start a unit which systemd does not know.

        systemd would fail the job of such a timer, and nobody would start it again. Raises SystemdError.
        """
        starts = {name: triggered(name, entry.options) for name, entry in entries.items()}
        found = self._systemd.statuses(sorted({*starts.values()} - {""}))
        waiting = {name: other for name, other in starts.items() if other and found[other].load == "not-found"}
        for name, other in waiting.items():
            if self._tried.get(name) != other:
                log.warning("%s is to start %s, and waits until that is loaded here.", name, other)
        self._tried.update(waiting)
        order = start_order({name: entry.options for name, entry in entries.items() if name not in waiting})
        return {name: entries[name] for name in order}

    def begin(self, name: str) -> None:
        """systemd is asked for the start of *name* now."""
        self._tried[name] = ""

    def tried(self, name: str) -> bool:
        """Whether *name* would have been started if it could."""
        return name in self._tried

    def forget(self, name: str) -> None:
        """*name* has been started, or is to be started no more."""
        self._tried.pop(name, None)

    def keep(self, names: Container[str]) -> None:
        """Forget all but *names*."""
        self._tried = {name: other for name, other in self._tried.items() if name in names}
