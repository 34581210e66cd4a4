# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON of fleet's API v1: entities, pages and request bodies. No sockets, no store."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flagship.fleet.model import (
    INACTIVE,
    LAUNCHED,
    Cordon,
    Machine,
    ModelError,
    Unit,
    UnitState,
    check_desired_state,
    check_name,
)
from flagship.fleet.requirements import check_activation, is_global, validate
from flagship.fleet.unit_file import Option, UnitFileError, check, content_hash, parse, serialise
from flagship.fleet.view import UnitView

T = TypeVar("T")
_PATCH_PATH = re.compile(r"/([^/]+)/metadata/([A-Za-z0-9_.-]+)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class ApiError(Exception):
    """A response that is not a success: HTTP status and one sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _present(entity: Mapping[str, Any]) -> dict[str, Any]:
    """*entity* as the API shows it: without empty members."""
    return {name: value for name, value in entity.items() if value}


def unit_entity(seen: UnitView, *, listed: bool) -> dict[str, Any]:
    """A Unit; a global one has no machine, and shows a current state only in lists."""
    single = not is_global(seen.unit.options)
    return _present(
        {
            "name": seen.unit.name,
            "options": [_present({"section": o.section, "name": o.name, "value": o.value}) for o in seen.unit.options],
            "desiredState": seen.unit.desired_state,
            "currentState": seen.current_state if single else (INACTIVE if listed else ""),
            "machineID": seen.machine if single else "",
        }
    )


def state_entity(name: str, machine: str, state: UnitState) -> dict[str, Any]:
    """A UnitState."""
    return _present(
        {
            "name": name,
            "hash": state.hash,
            "machineID": machine,
            "systemdLoadState": state.load_state,
            "systemdActiveState": state.active_state,
            "systemdSubState": state.sub_state,
        }
    )


def machine_entity(machine: Machine) -> dict[str, Any]:
    """A Machine; its metadata have to be effective."""
    return _present({"id": machine.id, "primaryIP": machine.primary_ip, "metadata": dict(machine.metadata)})


def page(
    items: Sequence[T], tokens: Sequence[str], limit: int, member: str, entity: Callable[[T], Any]
) -> dict[str, Any]:
    """One page of *items* as *tokens* (the values of nextPageToken) ask for; raises ApiError.

    A token is URL-safe base64 of two little-endian uint16: the limit and the page, counted from 1.
    """
    number = _page_number(tokens, limit)
    end = number * limit
    following = base64.urlsafe_b64encode(struct.pack("<HH", limit, number + 1)).decode() if end <= len(items) else ""
    return _present({member: [entity(item) for item in items[end - limit : end]], "nextPageToken": following})


def _page_number(tokens: Sequence[str], limit: int) -> int:
    if not tokens:
        return 1
    if len(tokens) > 1:
        raise ApiError(400, "nextPageToken was given more than once; give it once")
    try:
        raw = base64.b64decode(tokens[0], altchars=b"-_", validate=True)
        found, number = struct.unpack("<HH", raw[:4])
    except (binascii.Error, ValueError, struct.error):
        raise ApiError(400, f"nextPageToken {tokens[0][:40]!r} is no page token; begin again without one") from None
    if found != limit or number == 0:
        raise ApiError(400, f"nextPageToken {tokens[0][:40]!r} is not of this server; begin again without one")
    return int(number)


def decode(body: bytes) -> Any:
    """The first JSON value of a body, what follows it is ignored; raises ApiError."""
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        raise ApiError(400, "the request body is not JSON") from None


def _members(value: Any, what: str) -> dict[str, Any]:
    """An object's members under lower-case names: clients of Go's JSON may use any case."""
    if not isinstance(value, dict):
        raise ApiError(400, f"{what} must be a JSON object")
    return {name.lower(): member for name, member in value.items()}


def _string(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name.lower())
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(400, f"member {name} must be a string")
    return _LONE_SURROGATE.sub("\ufffd", value)


@dataclass(frozen=True)
class PutBody:
    """What a PUT of a unit asks for; "" and () for what it does not say."""

    options: tuple[Option, ...]
    desired_state: str


def put_body(body: bytes, name: str) -> PutBody:
    """The body of a PUT to unit *name*, whose name is checked too; raises ApiError."""
    members = _members(decode(body), "the request body")
    if _string(members, "name") not in ("", name):
        raise ApiError(400, f"name {members['name']!r} in the request body differs from {name!r} in the URL")
    _checked(lambda: check_name(name))
    options = members.get("options")
    if options is None:
        options = []
    if not isinstance(options, list):
        raise ApiError(400, "member options must be a list")
    read = [_members(option, "each of options") for option in options]
    found = tuple(Option(_string(o, "section"), _string(o, "name"), _string(o, "value")) for o in read)
    return PutBody(_as_in_a_file(found), _string(members, "desiredState"))


def _as_in_a_file(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """*options* as they are read again on a machine: otherwise what is stored and what runs would have two hashes."""
    try:
        check(options)
        return parse(serialise(options))
    except UnitFileError:
        # Whoever stores them refuses them, with a reason.
        return options


def put_result(existing: Unit | None, name: str, body: PutBody) -> tuple[Unit, int]:
    """The unit that a PUT leads to, and the status: 201 for new contents, 204 for a new state; raises ApiError."""
    state = _checked(lambda: check_desired_state(body.desired_state)) if body.desired_state else None
    if existing is None and not body.options:
        raise ApiError(409, "unit does not exist and options field empty")
    if existing is None or (body.options and content_hash(body.options) != existing.hash):
        unit = Unit(name, body.options, state or INACTIVE, _restarts(existing, state or INACTIVE))
        _checked(lambda: validate(unit))
        return unit, 201
    if state is None:
        raise ApiError(409, f"unit {name} exists with these options; give desiredState to change its state")
    _checked(lambda: check_activation(name, state))
    return replace(existing, desired_state=state, restarts=_restarts(existing, state)), 204


def _restarts(existing: Unit | None, state: str) -> int:
    """The restart count with a new desired state: every order to stop counts, seen by the agent or not."""
    if existing is None:
        return 0
    return existing.restarts + (existing.desired_state == LAUNCHED and state != LAUNCHED)


def _checked(check: Callable[[], T]) -> T:
    try:
        return check()
    except ModelError as error:
        raise ApiError(400, str(error)) from None


def schedulable(cordon: Cordon | None) -> dict[str, bool]:
    """What the API says of a machine's cordon."""
    return {"schedulable": cordon is None, "drain": cordon is not None and cordon.drain}


def cordon(body: bytes) -> Cordon | None:
    """The order in the body of a PUT to a machine's `schedulable`, None for a machine that takes units; or ApiError."""
    members = _members(decode(body), "the request body")
    wanted, drain = members.get("schedulable"), members.get("drain", False)
    if not isinstance(wanted, bool) or not isinstance(drain, bool):
        raise ApiError(400, "member schedulable must be true or false, and so must drain if it is given")
    if wanted and drain:
        raise ApiError(400, "a machine that is drained takes no units; give schedulable false with drain true")
    return None if wanted else Cordon(drain)


def metadata_changes(body: bytes) -> list[tuple[str, str, str]]:
    """Changes of a PATCH of machines as (machine, key, value), value "" to remove; raises ApiError."""
    operations = decode(body)
    if not isinstance(operations, list):
        raise ApiError(400, "the request body must be a JSON array of operations")
    return [_metadata_change(_members(operation, "each operation")) for operation in operations]


def _metadata_change(operation: Mapping[str, Any]) -> tuple[str, str, str]:
    verb, path = _string(operation, "op"), _string(operation, "path")
    if verb not in ("add", "replace", "remove"):
        raise ApiError(400, f"op {verb!r} must be add, replace or remove")
    match = _PATCH_PATH.fullmatch(path)
    if match is None:
        raise ApiError(400, f"path {path!r} must be /<machineID>/metadata/<key>, the key of letters, digits, _ . and -")
    if verb == "remove":
        return match[1], match[2], ""
    # fleet wants {"value": "..."}; its documentation shows the bare string.
    value = operation.get("value")
    text = _string(_members(value, "value"), "value") if isinstance(value, dict) else _string(operation, "value")
    if not text:
        raise ApiError(400, f"operation {verb} of {path} needs a value that is not empty")
    return match[1], match[2], text
