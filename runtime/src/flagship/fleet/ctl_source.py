# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where fleetctl's submit, load and start get a unit from, and when they replace one (fleet 1.0.0, fleetctl)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.columns import options_of, vars_of
from flagship.fleet.ctl import complain, unit_name
from flagship.fleet.model import check_name, name_parts
from flagship.fleet.unit_file import Option, UnitFileError, content_hash, parse


@dataclass(frozen=True)
class Submitted:
    """A unit of the cluster, and the hash that its state must show when it was replaced, else ""."""

    unit: dict[str, Any]
    replaced: str = ""


def submit(client: FleetClient, argument: str, *, replace: bool, replaceable: Sequence[str], target: str) -> Submitted:
    """The unit that *argument* means, created from its file or template unless the cluster has it.

    With *replace*, a unit that differs from its file gets the file's contents and *target* as desired state in one
    write, if its desired state is one of *replaceable*. Raises ClientError and ModelError.
    """
    name = unit_name(argument)
    check_name(name)
    unit = client.unit(name)
    if unit is None:
        client.put_unit(name, options=[vars_of(option) for option in _source(client, argument, name)])
        return Submitted(client.unit(name) or {"name": name})
    local = _local(argument, name)
    if local is None:
        return Submitted(unit)
    if content_hash(local) == content_hash(options_of(unit)):
        if replace:
            complain(f"unit {name} is in the cluster as it is in its file, nothing to do")
        return Submitted(unit)
    if not replace:
        complain(
            f"warning: unit {name} in the cluster differs from its file and is used as it is; --replace changes it"
        )
        return Submitted(unit)
    state = unit.get("desiredState", "inactive")
    if state not in replaceable:
        complain(f"warning: unit {name} is not replaced because it is to be {state}: fleetctl start --replace does it")
        return Submitted(unit)
    client.put_unit(name, options=[vars_of(option) for option in local], desiredState=target)
    return Submitted(client.unit(name) or {"name": name}, content_hash(local))


def _source(client: FleetClient, argument: str, name: str) -> tuple[Option, ...]:
    path = Path(argument).with_name(name)
    if path.is_file():
        return _read(path)
    template = _template(name)
    if template:
        stored = client.unit(template)
        beside = _read(path.with_name(template)) if path.with_name(template).is_file() else None
        if stored is not None:
            options = options_of(stored)
            if beside is not None and content_hash(beside) != content_hash(options):
                complain(
                    f"warning: {name} is made from {template} of the cluster, which differs from the file beside it; "
                    f"fleetctl submit --replace {path.with_name(template)} comes first if that is meant"
                )
            return options
        if beside is not None:
            return beside
    raise ClientError(f"unit {name} is neither in the cluster nor a file {path}, and it has no template")


def _local(argument: str, name: str) -> tuple[Option, ...] | None:
    """The unit as the file that *argument* names has it, or the template file beside; None without such a file."""
    path = Path(argument).with_name(name)
    for found in (path, path.with_name(_template(name) or name)):
        if found.is_file():
            return _read(found)
    return None


def _template(name: str) -> str:
    """The template of an instance, "" for what is none."""
    parts = name_parts(name)
    return f"{parts.prefix}@.{name.rpartition('.')[2]}" if parts.instance else ""


def _read(path: Path) -> tuple[Option, ...]:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, UnitFileError) as error:
        raise ClientError(f"unit file {path} cannot be used: {error}") from None
