# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The columns of fleetctl's listings, as fleet 1.0.0 prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flagship.fleet.client import ClientError
from flagship.fleet.requirements import is_global
from flagship.fleet.unit_file import Option, content_hash

Fields = Mapping[str, Callable[[dict[str, Any], bool], str]]


def table(rows: list[list[str]]) -> str:
    """*rows* in columns aligned with tabs, as Go's tabwriter makes them for fleetctl."""
    widths = [8 * -(-(max(len(row[i]) for row in rows) + 1) // 8) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = [cell + "\t" * -(-(width - len(cell)) // 8) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(padded) + row[-1] + "\n")
    return "".join(lines)


def render(rows: list[dict[str, Any]], fields: Fields, names: Sequence[str], *, full: bool, legend: bool) -> str:
    """A listing of *rows* with the columns *names*; raises ClientError for a column that is not in *fields*."""
    unknown = [name for name in names if name not in fields]
    if unknown:
        raise ClientError(f"there is no column {unknown[0]!r}; take from {', '.join(fields)}")
    lines = [[name.upper() for name in names]] if legend else []
    lines += [[fields[name](row, full) or "-" for name in names] for row in rows]
    return table(lines) if lines else ""


def _short(identity: str, full: bool) -> str:
    return identity if full or not identity else f"{identity[:8]}..."


def _machine_legend(row: dict[str, Any], full: bool) -> str:
    identity = row.get("machineID", "")
    address = row["_machines"].get(identity, {}).get("primaryIP", "")
    return _short(identity, full) + (f"/{address}" if address else "")


def _metadata(row: dict[str, Any], _full: bool) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(row.get("metadata", {}).items()))


def _hash(row: dict[str, Any], full: bool) -> str:
    found = row.get("hash") or content_hash(options_of(row))
    return found if full else found[:7]


def options_of(unit: dict[str, Any]) -> tuple[Option, ...]:
    """The options of a Unit of the API."""
    return tuple(Option(o["section"], o["name"], o.get("value", "")) for o in unit.get("options", []))


def vars_of(option: Option) -> dict[str, str]:
    """An option as the API takes it."""
    return {"section": option.section, "name": option.name, "value": option.value}


def _description(row: dict[str, Any], _full: bool) -> str:
    return next((o.value for o in options_of(row) if (o.section, o.name) == ("Unit", "Description")), "")


def _member(name: str) -> Callable[[dict[str, Any], bool], str]:
    return lambda row, full: str(row.get(name, ""))


def _target(row: dict[str, Any], full: bool) -> str:
    return "global" if is_global(options_of(row)) else _machine_legend(row, full)


MACHINE_FIELDS: Fields = {
    "machine": lambda row, full: _short(row["id"], full),
    "ip": _member("primaryIP"),
    "metadata": _metadata,
}
STATE_FIELDS: Fields = {
    "unit": _member("name"),
    "machine": _machine_legend,
    "load": _member("systemdLoadState"),
    "active": _member("systemdActiveState"),
    "sub": _member("systemdSubState"),
    "hash": lambda row, full: _hash(row, full) if row.get("hash") else "",
}
FILE_FIELDS: Fields = {
    "unit": _member("name"),
    "global": lambda row, full: str(is_global(options_of(row))).lower(),
    "dstate": _member("desiredState"),
    "target": _target,
    "tmachine": _target,
    "state": lambda row, full: "" if is_global(options_of(row)) else row.get("currentState", ""),
    "hash": _hash,
    "desc": _description,
}
