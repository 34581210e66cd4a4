# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of fleet's HTTP API v1, for fleet 1.0.0 and the engine of this collection alike; standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import (
    FleetError,
    FleetGoneError,
    FleetHttp,
)
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitOption


class Unit(NamedTuple):
    """A unit as the cluster knows it; current_state and machine_id are empty where fleet reports none."""

    name: str
    options: tuple[UnitOption, ...]
    desired_state: str
    current_state: str
    machine_id: str


class UnitState(NamedTuple):
    """What one machine's systemd says of one unit; hash is that of the file which this machine really has."""

    name: str
    hash: str
    machine_id: str
    load_state: str
    active_state: str
    sub_state: str


class Machine(NamedTuple):
    """A live machine of the cluster with its effective metadata."""

    id: str
    primary_ip: str
    metadata: dict[str, str]


class Details(NamedTuple):
    """What only the engine of this collection says of a machine: whether it takes units, and what it has and why."""

    schedulable: bool
    drain: bool
    units: dict[str, str]


class FleetClient:
    """The API at one endpoint, given by the options of fleet_argument_spec; raises FleetError."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._http = FleetHttp(params)
        self.at = self._http.at

    def unit(self, name: str) -> Unit | None:
        """One unit, or None when the cluster does not know it."""
        status, body = self._http.request("GET", f"/fleet/v1/units/{_escape(name)}", accept=(200, 404))
        return None if status == 404 else _unit(body)

    def units(self) -> list[Unit]:
        """All units, sorted by name."""
        return [_unit(item) for item in self._pages("units", "units")]

    def put_unit(self, name: str, desired_state: str, options: Iterable[UnitOption] = ()) -> None:
        """Create or replace a unit (with options), or only set its desired state (without)."""
        body: dict[str, Any] = {"name": name, "desiredState": desired_state}
        listed = [option._asdict() for option in options]
        if listed:
            body["options"] = listed
        self._http.request("PUT", f"/fleet/v1/units/{_escape(name)}", body, accept=(201, 204))

    def delete_unit(self, name: str) -> None:
        """Remove a unit; fine when it is gone already."""
        self._http.request("DELETE", f"/fleet/v1/units/{_escape(name)}", accept=(204, 404))

    def states(self, unit_name: str = "") -> list[UnitState]:
        """What the machines report, of one unit or of all, sorted by name and machine."""
        query = f"unitName={_escape(unit_name)}" if unit_name else ""
        return [
            UnitState(
                item.get("name", ""),
                item.get("hash", ""),
                item.get("machineID", ""),
                item.get("systemdLoadState", ""),
                item.get("systemdActiveState", ""),
                item.get("systemdSubState", ""),
            )
            for item in self._pages("state", "states", query)
        ]

    def machines(self) -> list[Machine]:
        """The live machines, sorted by id."""
        return [
            Machine(item.get("id", ""), item.get("primaryIP", ""), item.get("metadata") or {})
            for item in self._pages("machines", "machines")
        ]

    def set_metadata(self, machine_id: str, changes: Mapping[str, str | None]) -> None:
        """Lay values over a machine's configured metadata; None hides the key."""
        operations: list[dict[str, Any]] = []
        for key, value in changes.items():
            path = f"/{machine_id}/metadata/{key}"
            # fleet 1.0.0 wants an object around the value, against its own documentation.
            operations.append(
                {"op": "remove", "path": path}
                if value is None
                else {"op": "replace", "path": path, "value": {"value": value}}
            )
        self._http.request("PATCH", "/fleet/v1/machines", operations, accept=(204,))

    def details(self, machine_id: str) -> Details | None:
        """None where the server cannot tell (fleet 1.0.0); raises FleetGoneError for a machine that is not there."""
        status, body = self._http.request("GET", f"/flagship/v1/machines/{_escape(machine_id)}", accept=(200, 404))
        if status == 200:
            units = {item.get("name", ""): item.get("reason", "") for item in body.get("units") or ()}
            return Details(bool(body.get("schedulable")), bool(body.get("drain")), units)
        error = body.get("error")
        # fleet 1.0.0 answers every path that it does not know with 404, too, and with no words.
        if isinstance(error, dict) and "machine does not exist" in str(error.get("message")):
            raise FleetGoneError(f"{self.at} says that machine {machine_id} has left the cluster; look at its fleet")
        return None

    def set_schedulable(self, machine_id: str, schedulable: bool, drain: bool) -> None:
        """Cordon or drain a machine, or neither any more."""
        body = {"schedulable": schedulable, "drain": drain}
        path = f"/flagship/v1/machines/{_escape(machine_id)}/schedulable"
        self._http.request("PUT", path, body, accept=(204,))

    def why_not_placed(self, name: str) -> dict[str, str]:
        """Reasons by machine id why a unit does not run there; empty where the server cannot tell (fleet 1.0.0)."""
        status, body = self._http.request("GET", f"/flagship/v1/why/{_escape(name)}", accept=(200, 404))
        rows = body.get("machines") or [] if status == 200 else []
        return {row["id"]: row["reason"] for row in rows if row["reason"]}

    def _pages(self, resource: str, member: str, query: str = "") -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = "&".join(part for part in (query, f"nextPageToken={_escape(token)}" if token else "") if part)
            path = f"/fleet/v1/{resource}" + (f"?{page}" if page else "")
            _status, body = self._http.request("GET", path, accept=(200,))
            yield from body.get(member) or []
            following = body.get("nextPageToken") or ""
            if not following:
                return
            if following == token:
                raise FleetError(f"{self.at} repeats the same page of {resource}; look at its log")
            token = following


def state_values(state: UnitState) -> dict[str, str]:
    """A state as the modules return it, below the unit that it belongs to."""
    return {key: value for key, value in state._asdict().items() if key != "name"}


def _escape(text: str) -> str:
    return quote(text, safe="")


def _unit(item: Mapping[str, Any]) -> Unit:
    options = tuple(
        UnitOption(option.get("section", ""), option.get("name", ""), option.get("value", ""))
        for option in item.get("options") or ()
    )
    return Unit(
        item.get("name", ""),
        options,
        item.get("desiredState", ""),
        item.get("currentState", ""),
        item.get("machineID", ""),
    )
