# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine without a live lease does with its units (WhenCutOff)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from flagship.fleet.requirements import stop_when_cut_off
from flagship.fleet.unit_file import Option

log = logging.getLogger(__name__)


class CutOff:
    """Tells which units have to stop because their machine has been cut off for as long as they allow.

    The time counts from when it was first seen to be cut off: a process that was frozen, or has just started, has
    seen nothing yet. What a unit wants is read from its file with *options_of*, which answers without etcd.
    """

    def __init__(self, options_of: Callable[[str], tuple[Option, ...]]) -> None:
        self._options_of = options_of
        self._since: float | None = None
        self._limits: dict[str, float | None] = {}
        self._told: set[str] = set()

    def over(self) -> None:
        """The machine is not cut off."""
        self._since = None
        self._limits.clear()
        self._told.clear()

    def due(self, names: Iterable[str], now: float) -> list[str]:
        """Those of *names* that have to stop by *now* (time.monotonic), when the machine is cut off still."""
        if self._since is None:
            self._since = now
        passed = now - self._since
        found = [name for name in names if (limit := self._limit(name)) is not None and limit <= passed]
        for name in found:
            if name not in self._told:
                log.warning("This machine is cut off for %.0f s, which %s does not endure.", passed, name)
        self._told.update(found)
        return found

    def _limit(self, name: str) -> float | None:
        if name not in self._limits:
            self._limits[name] = stop_when_cut_off(self._options_of(name))
        return self._limits[name]
