# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, variables and groups from the machines and units of a fleet; no I/O, and nothing of ansible-core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import split_name

RUNNING = ("active", "reloading")


class InventoryError(Exception):
    """The machines cannot be made hosts as the source says; the text says why and what to do."""


class Host(NamedTuple):
    """A machine as a host; its groups have names that are still to be made valid."""

    name: str
    variables: dict[str, Any]
    groups: list[str]


def check_hostnames(hostnames: Sequence[str]) -> None:
    """Raise InventoryError for preferences that are not understood."""
    for preference in hostnames:
        if preference not in ("id", "primary_ip") and not preference.removeprefix("metadata.").strip():
            raise InventoryError(f"hostnames has {preference!r}, which names no metadata; write it as metadata.KEY")
        if preference not in ("id", "primary_ip") and not preference.startswith("metadata."):
            raise InventoryError(f"hostnames has {preference!r}; each is one of id, primary_ip and metadata.KEY")


def host_name(machine: Machine, hostnames: Sequence[str]) -> str:
    """The first of the preferences that the machine has; its id when it has none of them."""
    values: dict[str, str] = {"id": machine.id, "primary_ip": machine.primary_ip}
    values.update({f"metadata.{key}": value for key, value in machine.metadata.items()})
    return next((values[preference] for preference in hostnames if values.get(preference)), values["id"])


def hosts(
    machines: Sequence[Machine],
    states: Sequence[UnitState],
    hostnames: Sequence[str],
    *,
    metadata_groups: bool,
    unit_groups: bool,
) -> list[Host]:
    """The machines as hosts, sorted by name; raises InventoryError for two machines of one name."""
    found: dict[str, Host] = {}
    for machine in machines:
        name = host_name(machine, hostnames)
        if name in found:
            other = found[name].variables["fleet_machine"]["id"]
            raise InventoryError(
                f"the machines {other} and {machine.id} would both be host {name}; "
                "give them different metadata, or let hostnames begin with id"
            )
        units = {state.name: state.active_state for state in states if state.machine_id == machine.id}
        groups = [*_metadata_groups(machine.metadata)] if metadata_groups else []
        groups += _unit_groups(units) if unit_groups else []
        variables: dict[str, Any] = {"fleet_machine": {**machine._asdict(), "units": units}}
        if machine.primary_ip:
            variables["ansible_host"] = machine.primary_ip
        found[name] = Host(name, variables, sorted(set(groups)))
    return [found[name] for name in sorted(found)]


def _metadata_groups(metadata: Mapping[str, str]) -> Iterator[str]:
    for key, value in metadata.items():
        yield f"metadata_{key}_{value}"


def _unit_groups(units: Mapping[str, str]) -> Iterator[str]:
    for name, active_state in units.items():
        if active_state in RUNNING:
            yield f"unit_{name}"
            parts = split_name(name)
            if parts.instance:
                yield f"template_{parts.prefix}.{parts.suffix}"
