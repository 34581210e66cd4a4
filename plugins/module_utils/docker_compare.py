# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparison of what is wanted with what a Docker engine reports. Pure: nothing here talks to an engine.

Canonical values, the only ones that are compared: a frozenset where order means nothing, a list where it does, a dict,
or a plain value.
"""

from __future__ import annotations

import os.path
import re
from typing import Any

COMPARISONS = ("strict", "allow_more_present", "ignore")

SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$", re.IGNORECASE)
SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}

DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
DURATION_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def matches(wanted: Any, found: Any, comparison: str = "strict") -> bool:
    """Whether found is as wanted: exactly (strict), at least (allow_more_present), or always (ignore)."""
    if comparison == "ignore":
        return True
    if comparison == "allow_more_present":
        if isinstance(wanted, frozenset):
            return wanted.issubset(found)
        if isinstance(wanted, dict):
            return all(key in found and found[key] == value for key, value in wanted.items())
        if isinstance(wanted, list):
            rest = iter(found)
            return all(item in rest for item in wanted)
    return bool(wanted == found)


def plain(value: Any) -> Any:
    """A canonical value in a form that prints the same every time."""
    if isinstance(value, frozenset):
        return sorted(value)
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def size(text: str) -> int:
    """Bytes of a size such as 512m, 1.5 GiB or 1048576 (powers of 1024). Raises ValueError."""
    match = SIZE.match(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number with an optional k, m, g or t, such as 512m")
    return int(float(match.group(1)) * SIZE_UNITS[match.group(2).lower()])


def nanoseconds(text: str) -> int:
    """Nanoseconds of a duration such as 30s, 1m30s or 500ms. Raises ValueError."""
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(
            f"{text!r} is not a duration; write numbers with the units h, m, s, ms, us or ns, such as 1m30s"
        )
    return sum(round(float(number) * DURATION_UNITS[unit]) for number, unit in parts)


def duration(count: int) -> str:
    """The text of a number of nanoseconds, in the largest unit up to seconds that loses nothing."""
    unit = next(unit for unit in ("s", "ms", "us", "ns") if count % DURATION_UNITS[unit] == 0)
    return f"{count // DURATION_UNITS[unit]}{unit}"


def directory(path: str) -> str:
    """A path without what makes no difference, such as a slash at its end; empty stays empty."""
    return os.path.normpath(path) if path else ""


def text_dict(value: dict[str, Any]) -> dict[str, str]:
    """A mapping of names to texts. Raises ValueError for a value that YAML may have changed on its way here."""
    for key, item in value.items():
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise ValueError(
                f"the value of {key} is not text ({item!r} of type {type(item).__name__}); put it in quotes"
            )
    return {str(key): str(item) for key, item in value.items()}
