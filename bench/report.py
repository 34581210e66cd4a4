# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark reports: rows of a table, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure: its median, the single runs, the goal ("" for none) and fleet 1.0.0's figure where there is one."""

    what: str
    runs: Sequence[float]
    unit: str
    goal: str = ""
    fleet: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def cells(self) -> list[str]:
        spread = f"{min(self.runs):.2f} to {max(self.runs):.2f}" if len(self.runs) > 1 else ""
        return [self.what, self.fleet, self.goal, f"{self.median:.2f} {self.unit}", str(len(self.runs)), spread]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with aligned columns."""
    lines = [["what", "fleet 1.0.0", "goal", "median", "runs", "lowest to highest"], *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def machine() -> str:
    """This machine in one line: cores, memory, kernel, programs, and how busy it is."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    return ", ".join(
        [
            f"{os.cpu_count()} cores ({cpu.partition(': ')[2] or 'of unknown make'})",
            f"{memory:.0f} GiB of memory",
            f"kernel {platform.release()}",
            f"Docker {_version('docker', 'version', '--format', '{{.Server.Version}}')}",
            f"etcd {_version('etcd', '--version').removeprefix('etcd Version: ')}",
            f"Python {platform.python_version()}",
            f"load {os.getloadavg()[0]:.1f} at the start",
        ]
    )


def _version(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.splitlines()[0].strip()
