# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three-node lab, measured on its first node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.report import Row
from scripts.site_summary import SummaryError, machines

PROGRAM = Path(__file__).with_name("on_node.py")
# fleet 1.0.0 as it was measured on such a lab: key, what, goal, fleet's figure.
FIGURES = (
    ("start 1", "one unit: PUT launched until /state says active", "0.3 s", "4.1 s (with fleetctl)"),
    ("start 50", "50 units, started together", "1.5 s", "19.9 s"),
    ("start 200", "200 units, until all are active", "5 s", "over 125 s"),
    ("read", "all states and machines read, 1,000 units (loaded)", "0.2 s", ""),
)


def measure(inventory: str) -> list[Row]:
    """Figures of the fleet behind the inventory; raises SummaryError and subprocess.TimeoutExpired."""
    host = machines(inventory)[0]
    command = [*host, "sudo /opt/flagship/bin/python -"]
    with PROGRAM.open() as program:
        answer = subprocess.run(command, stdin=program, stdout=subprocess.PIPE, text=True, timeout=1800, check=False)
    if answer.returncode != 0:
        raise SummaryError("no figures came from the lab, for the reason above.")
    figures: dict[str, list[float]] = json.loads(answer.stdout)
    rows = [Row(what, figures[key], "s", goal, fleet) for key, what, goal, fleet in FIGURES]
    return [*rows, Row("etcd writes in 10 idle seconds, 11 units, 3 nodes", figures["idle"], "", "0", "51")]
