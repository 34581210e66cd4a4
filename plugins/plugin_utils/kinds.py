# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for what a template was given, without its contents: these may be secret, and have types of ansible-core's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kind_of(value: Any) -> str:
    """What the value is, for people who write YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join(str(key) for key in value) or 'nothing'}"
    return "a list" if isinstance(value, (list, tuple)) else type(value).__name__
