# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of unit names: Go's path.Match, which fleet uses (https://pkg.go.dev/path#Match)."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=65536)
def glob_pattern(glob: str) -> re.Pattern[str] | None:
    """Go's path.Match pattern as an expression for fullmatch; None for a malformed one, which matches nothing."""
    out: list[str] = []
    at = 0

    def literal() -> str:
        """One character of a class, with its escape resolved; "" where none is allowed."""
        nonlocal at
        char = glob[at : at + 1]
        if char in ("", "-", "]"):
            return ""
        if char == "\\":
            at += 1
            char = glob[at : at + 1]
        at += 1
        return char

    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\":
            if at == len(glob):
                return None
            out.append(re.escape(glob[at]))
            at += 1
        elif char == "[":
            negated = glob[at : at + 1] == "^"
            at += negated
            ranges: list[str] = []
            while not ranges or glob[at : at + 1] != "]":
                low = high = literal()
                if low and glob[at : at + 1] == "-":
                    at += 1
                    high = literal()
                if not low or not high or at >= len(glob):
                    return None
                if low <= high:
                    ranges.append(f"{re.escape(low)}-{re.escape(high)}")
                else:
                    ranges.append("")
            at += 1
            inside = "".join(ranges)
            if inside:
                out.append(f"[{'^' if negated else ''}{inside}]")
            else:
                out.append("[\\s\\S]" if negated else "(?!)")
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def glob_matches(glob: str, name: str) -> bool:
    """Whether *name* matches the Go path.Match pattern *glob*."""
    pattern = glob_pattern(glob)
    return pattern is not None and pattern.fullmatch(name) is not None
