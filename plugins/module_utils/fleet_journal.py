# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last words of a unit that does not run: read here when it runs on this host, else where to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

LINES = 10
TIMEOUT = 10

RunCommand = Callable[..., "tuple[int, str, str]"]  # AnsibleModule.run_command, which knows no deadline of its own


def local_machine_id(path: str = "/etc/machine-id") -> str:
    """Id of this host as fleet knows it; empty when it has none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_journal(unit: str, run: RunCommand) -> list[str]:
    """The last lines that this host's journal has of the unit; none when it cannot be read."""
    command = ["journalctl", "--unit", unit, "--lines", str(LINES), "--no-pager", "--quiet", "--output", "short-iso"]
    try:
        code, output, _errors = run(
            ["timeout", str(TIMEOUT), *command], errors="replace", expand_user_and_vars=False, handle_exceptions=False
        )
    except OSError:
        return []
    return [line.strip() for line in output.splitlines() if line.strip()] if code == 0 else []


def where_to_look(unit: str, machines: Sequence[str], addresses: Mapping[str, str], lines: Sequence[str]) -> str:
    """What the message of a failure ends with: the journal's lines, or the command to read them and where."""
    if lines:
        return "its journal ends with: " + " | ".join(lines)
    places = [f"{machine} ({addresses[machine]})" if addresses.get(machine) else machine for machine in machines]
    where = f"on machine {', '.join(places)}" if places else "on its machine"
    return f"read journalctl --unit {unit} {where}"
