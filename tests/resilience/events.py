# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault while all sites are under load, what is demanded of it, and the table of all that were seen."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab import Node, wait_for
from stacks import Stack

from bench.load import Failure, Load

LEAD = 1.0  # seconds of load before the fault, and after all is whole again


@dataclass(frozen=True)
class Phase:
    """What happens from a moment on, and the sites that may fail requests then, for a second."""

    name: str
    began: float
    tolerated: Sequence[Stack] = ()


@dataclass(frozen=True)
class Row:
    """An event and what each site made of it."""

    event: str
    cells: dict[str, str]


ROWS: list[Row] = []
# The same events on such a lab, with the seeds' units on fleet 1.0.0, its faults at their full length.
SEEDS = {
    "web unit stopped": "stale key left behind",
    "web container killed": "up to 10 s stale",
    "web node freezes": "2,856 of 6,000 failed, never repaired",
    "web node vanishes": "2,107 of 4,500 failed",
    "all of etcd away for 60 s": "158 failed, balancer restarted",
    "the active balancer's node": "total loss",
    "a template": "balancer broken",
}


class Event:
    """One fault under load: its phases, and what was seen of each site."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks
        self.problems: list[str] = []
        self._phases = [Phase("before", 0.0)]
        self._remarks: dict[Stack, list[str]] = defaultdict(list)
        self.look()

    def look(self) -> None:
        """Look at the balancers where they are now: after a fault, they may be elsewhere."""
        self._looks = {stack: [stack.look(node) for node in stack.balancer_nodes()] for stack in self.stacks}

    def phase(self, name: str, tolerated: Sequence[Stack] = ()) -> None:
        """From now on this happens; requests of the tolerated sites may fail within one second."""
        self._phases.append(Phase(name, time.monotonic(), tolerated))

    @property
    def began(self) -> float:
        """When the phase began."""
        return self._phases[-1].began

    def remark(self, stack: Stack, text: str) -> None:
        self._remarks[stack].append(text)

    def problem(self, text: str) -> None:
        """Something that must not be, said when the event is over."""
        self.problems.append(text)

    def out(self, stack: Stack, address: str, limit: float, lost: Node | None = None) -> None:
        """Each balancer, but one on the lost node, must cease to use the address within *limit* seconds."""
        looks = [look for look in self._looks[stack] if look.node is not lost]

        def times() -> list[float | None]:
            return [look.out_since(address, self.began) for look in looks]

        wait_for(lambda: None not in times(), f"{address} to leave the balancers of {stack.title}", limit + 5)
        taken = max(moment for moment in times() if moment is not None) - self.began
        self.remark(stack, f"out after {taken:.1f} s")
        if taken > limit:
            self.problem(f"{stack.title}: {address} left the last balancer after {taken:.2f} s, not {limit:g} s")

    def settle(self) -> None:
        for stack in self.stacks:
            stack.settle()

    def judge(self, stack: Stack, load: Load) -> str:
        """The cell of the site's load; what is wrong with it becomes a problem."""
        result = load.result
        texts = [f"**{len(result.failures):,}** of {result.requests:,} failed"]
        for number, phase in enumerate(self._phases):
            end = self._phases[number + 1].began if number + 1 < len(self._phases) else float("inf")
            # Those that were under way when a fault came are the fault's.
            failures = [failure for failure in result.failures if phase.began <= failure.ended < end]
            if failures:
                texts.append(f"{phase.name}: {len(failures)} within {span(failures):.2f} s")
            if failures and (stack not in phase.tolerated or span(failures) > 1.0):
                first = failures[0].began - phase.began
                self.problem(f"{stack.title}, {phase.name}: failures from {first:.2f} s on; {result.summary()}")
        if result.late > 0.5:
            texts.append(f"the load itself was up to {result.late:.1f} s late")
        return "; ".join([*texts, *self._remarks[stack]])


def span(failures: Iterable[Failure]) -> float:
    """Seconds from the start of the first failed request to that of the last."""
    times = [failure.began for failure in failures]
    return max(times) - min(times)


@contextmanager
def under_load(name: str, stacks: Sequence[Stack]) -> Iterator[Event]:
    """Load all sites, whole before and after; then a row is added, and the demands are checked."""
    for stack in stacks:
        stack.settle()
    event = Event(stacks)
    loads: dict[Stack, Load] = {}
    aborted = True
    try:
        with ExitStack() as running:
            for stack in stacks:
                loads[stack] = running.enter_context(Load(stack.url))
            time.sleep(LEAD)
            yield event
            event.settle()
            time.sleep(LEAD)
            aborted = False
    finally:
        cells = {stack.title: event.judge(stack, load) for stack, load in loads.items()}
        if aborted or event.problems:
            cells = {title: f"{text}; NOT AS DEMANDED" for title, text in cells.items()}
        ROWS.append(Row(name, cells))
    assert not event.problems, "\n".join(event.problems)


def table() -> list[str]:
    """The rows in Markdown, beside what the seeds' design did."""
    titles = sorted({title for row in ROWS for title in row.cells}, key=str.lower, reverse=True)
    lines = [["event", "seeds' design on fleet 1.0.0, measured", *titles]]
    lines.append(["---"] * len(lines[0]))
    for row in ROWS:
        seeds = next((text for event, text in SEEDS.items() if row.event.startswith(event)), "")
        lines.append([row.event, seeds, *(row.cells.get(title, "") for title in titles)])
    return [f"| {' | '.join(cells)} |" for cells in lines]
