# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks and print their table: `python -m bench [INVENTORY]`, without the lab when none is given."""

from __future__ import annotations

import subprocess
import sys

from bench import lab, modules, simulated, site, units
from bench.report import Row, machine, table
from scripts.site_summary import SummaryError


def main() -> None:
    print(f"Measured on {machine()}.\n", flush=True)
    rows: list[Row] = []
    failure = ""
    try:
        for inventory in sys.argv[1:]:
            rows += site.measure(inventory)
            rows += lab.measure(inventory)
        rows += site.thousand()
        rows += simulated.measure()
        rows += units.growth()
        rows += modules.measure()
    except (subprocess.SubprocessError, SummaryError) as error:
        failure = f"The benchmark did not come to its end: {error}"
    print(table(rows))
    if failure:
        sys.exit(failure)


if __name__ == "__main__":
    main()
