# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine counters in Prometheus' text format, under fleet's names."""

from __future__ import annotations

from flagship.fleet.engine import Engine

_COUNTERS = (
    ("task", "fleet_engine_task_count_total", "Schedule entries written, by kind."),
    ("task_failure", "fleet_engine_task_failure_count_total", "Schedule entries refused because of other changes."),
    ("reconcile", "fleet_engine_reconcile_count_total", "Placements computed."),
    ("reconcile_failure", "fleet_engine_reconcile_failure_count_total", "Placements that failed, by cause."),
)


def metrics_text(engine: Engine | None) -> str:
    """The metrics of this node's engine; a node without one has only zeros."""
    counts = {("reconcile", ""): 0, **(engine.counts if engine is not None else {})}
    since = engine.leader_since if engine is not None else None
    lines = [
        "# HELP fleet_engine_leader_start_time When this node's engine began to lead, in seconds since 1970; 0 if not.",
        "# TYPE fleet_engine_leader_start_time gauge",
        f"fleet_engine_leader_start_time {since or 0:.3f}",
    ]
    for counter, name, purpose in _COUNTERS:
        lines += [f"# HELP {name} {purpose}", f"# TYPE {name} counter"]
        for (found, label), value in sorted(counts.items()):
            if found == counter:
                lines.append(f'{name}{{type="{label}"}} {value}' if label else f"{name} {value}")
    return "\n".join(lines) + "\n"
