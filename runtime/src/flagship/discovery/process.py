# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes of this machine, as the kernel knows them."""

from __future__ import annotations

from pathlib import Path


def birth(pid: int) -> str:
    """When the process began, in clock ticks since the boot (proc(5), field 22), which tells it from others of its id.

    "" when there is none, or only what is left of one.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
