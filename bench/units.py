# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A large fleet's units: most of them free, some in conflict, some following others, some on every machine."""

from __future__ import annotations

import time

from flagship.fleet.model import Machine, Unit
from flagship.fleet.placement import Cluster, plan
from flagship.fleet.unit_file import parse

from bench.report import Row

GLOBALS = 10
FAMILY = 10


def units(count: int) -> list[Unit]:
    """A tenth in families of ten that conflict with one another, a tenth with MachineOf, ten global."""
    found: list[Unit] = []
    for number in range(count):
        name, requirement = f"unit-{number:05}.service", ""
        if number < GLOBALS:
            requirement = "Global=true"
        elif number % 10 == 1:
            family = number // (10 * FAMILY)
            name, requirement = f"family-{family}@{number:05}.service", f"Conflicts=family-{family}@*.service"
        elif number % 10 == 2:
            requirement = f"MachineOf=unit-{number + 1:05}.service"
        text = (
            f"[Unit]\nDescription=Unit {number}\n[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\n{requirement}\n"
        )
        found.append(Unit(name, parse(text), "launched"))
    return found


def machine_id(number: int) -> str:
    return f"{number + 1:032x}"


def growth(runs: int = 5) -> list[Row]:
    """How long one computation of the whole placement takes, by number of units, on 500 empty machines."""
    present = {machine_id(number): Machine(machine_id(number)) for number in range(500)}
    rows = []
    for count in (1_000, 2_500, 5_000, 10_000, 20_000):
        cluster = Cluster(units={unit.name: unit for unit in units(count)}, machines=present)
        taken = []
        for _run in range(runs):
            began = time.perf_counter()
            plan(cluster)
            taken.append(time.perf_counter() - began)
        rows.append(Row(f"placement of {count:,} units, computed", taken, "s"))
    return rows
