# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures on a node, where it is sent over SSH, what its daemons need while nobody asks for anything.

Prints JSON: for each daemon (fleet, announce, watch, register, overlay) of each process the MiB of memory (VmRSS) and
the percent of a core over 65 s, which is longer than the slowest of its timers.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

SECONDS = 65.0
NAMES = ("fleet", "announce", "watch", "register", "overlay")


def daemons() -> dict[int, str]:
    """The daemons of this machine, by process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        # `python -m flagship NAME`, as bin/flagship calls it
        for before, word in zip(words, words[1:]):
            if Path(before).name == "flagship" and word in NAMES:
                found[int(process.name)] = word
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


def main() -> None:
    found = daemons()
    before = {pid: cpu_seconds(pid) for pid in found}
    time.sleep(SECONDS)
    figures: dict[str, list[tuple[float, float]]] = {}
    for pid, name in found.items():
        figures.setdefault(name, []).append((memory(pid), 100 * (cpu_seconds(pid) - before[pid]) / SECONDS))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
