# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest
from events import table
from lab import Lab, Running, wait_for
from stacks import Stack, stacks_of

# So many that each node gets some, also those that have the most units of the sites.
STEADY = [f"steady-{number}.service" for number in range(32)]
# curl asks for each of them.
_EACH = "units/steady-[0-31].service"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="as often and as long as the requirement says")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of the scenario, with units beside the site's that may run on any node."""
    lab = Lab("molecule-resilience")
    spread(lab)
    yield lab
    _remove(lab)


@pytest.fixture(scope="session")
def stacks(lab: Lab) -> Iterator[list[Stack]]:
    """The sites of the lab."""
    found = stacks_of(lab)
    yield found
    for stack in found:
        stack.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the events under load, also when one of them was not survived."""
    if len(lines := table()) > 2:
        terminalreporter.section("under load")
        for line in lines:
            terminalreporter.write_line(line)


def spread(lab: Lab) -> None:
    """Have the steady units anew, so that the nodes with the fewest units get them."""
    _remove(lab)
    options = [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep infinity"}]
    lab.nodes[0].api("PUT", _EACH, {"options": options, "desiredState": "launched"})
    wait_for(lambda: set(STEADY) <= _active(lab), "the steady units")
    lab.settle()


def _remove(lab: Lab) -> None:
    lab.nodes[0].api("DELETE", _EACH)
    wait_for(lambda: not set(STEADY) & _active(lab), "the end of the steady units")


def _active(lab: Lab) -> set[str]:
    return {unit for node in lab.nodes for unit in node.active_units()}


@pytest.fixture
def before(lab: Lab) -> Running:
    """What runs before the fault, once the fleet is whole."""
    lab.settle()
    return lab.running()
