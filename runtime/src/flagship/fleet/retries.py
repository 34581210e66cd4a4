# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what fails for one unit to that unit: said once, tried again later and later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, KeysView, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from flagship.daemon import Backoff
from flagship.fleet.systemd import SystemdError

log = logging.getLogger(__name__)


@dataclass
class _Retry:
    backoff: Backoff = field(default_factory=lambda: Backoff(first=1.0, limit=30.0))
    due: float = 0.0
    reported: str = ""


class Retries:
    """Units for which something has failed; times are of time.monotonic."""

    def __init__(self) -> None:
        self._retries: dict[str, _Retry] = {}

    @contextmanager
    def trying(self, name: str, what: str) -> Iterator[None]:
        """Note a SystemdError or OSError for unit *name* instead of raising it."""
        try:
            yield
        except (SystemdError, OSError) as error:
            retry = self._retries.setdefault(name, _Retry())
            retry.due = time.monotonic() + retry.backoff.next()
            message = f"{what} {name} failed: {error}"
            if message != retry.reported:
                log.warning("%s; trying again later.", message)
            retry.reported = message

    def all_or_each(self, what: str, call: Callable[[Sequence[str]], None], items: dict[str, str]) -> list[str]:
        """Call with all values of *items* (by unit) at once, if that fails one by one; units that succeeded."""
        if not items:
            return []
        try:
            call(list(items.values()))
        except SystemdError:
            done = []
            for name, value in items.items():
                with self.trying(name, what):
                    call([value])
                    done.append(name)
            return done
        return list(items)

    def wait(self, name: str) -> bool:
        """Whether *name* is not to be tried again yet."""
        return name in self._retries and time.monotonic() < self._retries[name].due

    def names(self) -> KeysView[str]:
        return self._retries.keys()

    def due(self) -> list[float]:
        """When each unit is to be tried again."""
        return [retry.due for retry in self._retries.values()]

    def forget(self, name: str) -> None:
        """Nothing fails for *name* any more."""
        self._retries.pop(name, None)
