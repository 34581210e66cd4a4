# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for units: polls the API until they are where they should be, and says why they are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, Machine, Unit, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_health import Health
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, FleetUnavailableError
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_journal import (
    RunCommand,
    local_machine_id,
    read_journal,
    where_to_look,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_unit import Progress, Wanted, assess, assess_stop
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import is_global, metadata_matches

# Seconds between two looks at the cluster, at first and at most.
POLL_FIRST = 0.25
POLL_MOST = 1.0
# fleet 1.0.0 samples systemd once a second: right after a start it may still publish the failure of the run before.
FAILED_FOR = 2.0


class Deadline(NamedTuple):
    """When a wait is over, by time.monotonic, and how long it was when it began."""

    at: float
    timeout: float

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        return cls(time.monotonic() + timeout, timeout)

    def left(self) -> float:
        return max(self.at - time.monotonic(), 0.0)


class Waiter:
    """Looks at units, and waits for them; remembers what it saw last."""

    def __init__(self, client: FleetClient, run: RunCommand, health: Health | None = None) -> None:
        self._client = client
        self._run = run
        self._health = health
        self._failed_since: dict[str, float] = {}
        self.warnings: list[str] = []
        self.journal: list[str] = []
        self.seen: dict[str, tuple[Unit | None, list[UnitState]]] = {}

    def look(self, wanted: Sequence[Wanted]) -> dict[str, Progress]:
        """Ask once; the units that are not there yet."""
        pending = {}
        for item in wanted:
            unit, states = self._read(item.name)
            machines = self._eligible(unit) if unit is not None and is_global(unit.options) else []
            progress = assess(item, unit, states, machines)
            if progress.reached and self._health and unit is not None and item.desired_state == "launched":
                progress = self._healthy(self._health, unit, states)
            if not progress.reached:
                pending[item.name] = progress
        return pending

    def look_stopped(self, wanted: Sequence[Wanted]) -> dict[str, Progress]:
        """Ask once; the units that have not stopped for their restart."""
        found = {item.name: assess_stop(*self._read(item.name)) for item in wanted}
        return {name: progress for name, progress in found.items() if not progress.reached}

    def _read(self, name: str) -> tuple[Unit | None, list[UnitState]]:
        self.seen[name] = (self._client.unit(name), self._client.states(name))
        return self.seen[name]

    def _healthy(self, health: Health, unit: Unit, states: Sequence[UnitState]) -> Progress:
        known = {machine.id: machine for machine in self._client.machines()}
        places = [state.machine_id for state in states] if is_global(unit.options) else [unit.machine_id]
        for place in places:
            complaint = health.complaint(unit.name, known.get(place, Machine(place, "", {})))
            if complaint:
                return Progress(False, False, f"it is active on machine {place}, but {complaint}", (place,))
        return Progress(True, False, "")

    def _eligible(self, unit: Unit) -> list[Machine]:
        """The machines that can run a global unit; conflicts are known only to an engine that gives reasons."""
        reasons = self._client.why_not_placed(unit.name)
        matching = [machine for machine in self._client.machines() if metadata_matches(unit.options, machine.metadata)]
        machines = [machine for machine in matching if machine.id not in reasons]
        if unit.desired_state != "inactive" and not machines:
            self.warnings.append(f"no machine can run the global unit {unit.name} now")
        return machines

    def wait(self, wanted: Sequence[Wanted], deadline: Deadline) -> None:
        """Return when all are there; raise FleetError when one failed or when the time is over."""
        self._poll(lambda: self.look(wanted), deadline)

    def wait_stopped(self, wanted: Sequence[Wanted], deadline: Deadline) -> None:
        """Return when all have stopped for their restart; raise FleetError when the time is over."""
        self._poll(lambda: self.look_stopped(wanted), deadline)

    def _poll(self, look: Callable[[], dict[str, Progress]], deadline: Deadline) -> None:
        pause = POLL_FIRST
        while True:
            pending: dict[str, Progress] = {}
            unavailable = None
            self.warnings.clear()
            try:
                pending = look()
            except FleetUnavailableError as error:
                unavailable = error
            now = time.monotonic()
            self._raise_for_failed(pending, now)
            if not pending and not unavailable:
                return
            if now >= deadline.at:
                if unavailable:
                    raise FleetError(f"the state is not known after {deadline.timeout:g} s, because {unavailable}")
                raise FleetError(self._timeout_text(pending, deadline.timeout))
            time.sleep(min(pause, deadline.left()))
            pause = min(pause * 1.5, POLL_MOST)

    def _raise_for_failed(self, pending: Mapping[str, Progress], now: float) -> None:
        for name in list(self._failed_since):
            if name not in pending:
                del self._failed_since[name]
        for name, progress in pending.items():
            if not progress.failed:
                self._failed_since.pop(name, None)
            elif now - self._failed_since.setdefault(name, now) >= FAILED_FOR:
                raise FleetError(f"unit {name} does not run: {progress.text}; {self._where(name, progress)}")

    def _timeout_text(self, pending: Mapping[str, Progress], timeout: float) -> str:
        name, progress = next(iter(pending.items()))
        others = f" (and {len(pending) - 1} more)" if len(pending) > 1 else ""
        text = f"unit {name}{others} is not where it should be after {timeout:g} s: {progress.text}"
        unit = self.seen[name][0]
        if unit is None or unit.desired_state == "inactive" or (unit.machine_id and not is_global(unit.options)):
            return f"{text}; raise wait_timeout if it is only slow; {self._where(name, progress)}"
        reasons = self._reasons(name)
        if reasons:
            text += " (" + ", ".join(f"{machine}: {reason}" for machine, reason in sorted(reasons.items())) + ")"
        if progress.machines:
            return f"{text}; raise wait_timeout if it is only slow; {self._where(name, progress)}"
        return f"{text}; compare its [X-Fleet] section with the machines and their units"

    def _reasons(self, name: str) -> dict[str, str]:
        """Why the unit has no place, to tell people; none when the API does not answer now."""
        try:
            return dict(self._client.why_not_placed(name))
        except FleetError:
            return {}

    def _where(self, name: str, progress: Progress) -> str:
        self.journal = read_journal(name, self._run) if local_machine_id() in progress.machines else []
        text: str = where_to_look(name, progress.machines, self.addresses(), self.journal)
        return text

    def addresses(self) -> dict[str, str]:
        """Addresses by machine id, to tell people; none when the API does not answer now."""
        try:
            return {machine.id: machine.primary_ip for machine in self._client.machines()}
        except FleetError:
            return {}
