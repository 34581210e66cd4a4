# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark of the simulated fleet measures something, on a fleet small enough for a test."""

from __future__ import annotations

import pytest
from flagship.fleet.model import Machine
from flagship.fleet.placement import Cluster, plan

from bench import simulated
from bench.report import Row, table
from bench.units import GLOBALS, machine_id, units


@pytest.mark.real
def test_a_small_fleet_is_placed_and_loses_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MACHINES": 12, "UNITS": 100, "LOST": 1, "IDLE_SECONDS": 0.2}.items():
        monkeypatch.setattr(simulated, name, value)
    rows = {row.what: row for row in simulated.measure()}
    assert len(rows) == 5
    placement, lost = list(rows.values())[:2]
    assert 0 < placement.median < 60 and 0 < lost.median < 60


def test_every_unit_has_a_place() -> None:
    machines = {machine_id(number): Machine(machine_id(number)) for number in range(12)}
    decisions = plan(Cluster(units={unit.name: unit for unit in units(200)}, machines=machines))
    assert len(decisions) == 200 - GLOBALS + GLOBALS * 12


def test_the_table_names_goal_and_median() -> None:
    lines = table([Row("one unit", [3.0, 1.0, 2.0], "s", "0.3 s", "4.1 s")]).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "one unit", "4.1 s", "0.3 s", "2.00 s", "3", "1.00 to 3.00"
    ]  # fmt: skip
