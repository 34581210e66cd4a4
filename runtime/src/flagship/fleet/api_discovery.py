# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discovery document of fleet's API v1, in the form of Google's API discovery service."""

from __future__ import annotations

from typing import Any

_STRING = {"type": "string"}
_TOKEN = {"nextPageToken": {"type": "string", "location": "query"}}
_NAME = {"unitName": {"type": "string", "location": "path", "required": True}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": name}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _object(identity: str, /, **properties: Any) -> dict[str, Any]:
    return {"id": identity, "type": "object", "properties": properties}


def _method(identity: str, verb: str, path: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    order = [name for name, value in parameters.items() if value.get("required")]
    found = {"id": identity, "httpMethod": verb, "path": path, "parameters": parameters, **more}
    return {**found, "parameterOrder": order} if order else found


def discovery_document() -> dict[str, Any]:
    """The document that GET /fleet/v1/discovery answers; PATCH of machines is not part of it, as in fleet 1.0.0."""
    schemas = [
        _object("Machine", id=_STRING, primaryIP=_STRING, metadata={"type": "object", "additionalProperties": _STRING}),
        _object("MachinePage", machines=_list_of("Machine"), nextPageToken=_STRING),
        _object("UnitOption", section=_STRING, name=_STRING, value=_STRING),
        _object(
            "Unit",
            name=_STRING,
            options=_list_of("UnitOption"),
            desiredState={"type": "string", "enum": ["inactive", "loaded", "launched"]},
            currentState={"type": "string", "enum": ["inactive", "loaded", "launched"]},
            machineID=_STRING,
        ),
        _object("UnitPage", units=_list_of("Unit"), nextPageToken=_STRING),
        _object(
            "UnitState",
            name=_STRING,
            hash=_STRING,
            machineID=_STRING,
            systemdLoadState=_STRING,
            systemdActiveState=_STRING,
            systemdSubState=_STRING,
        ),
        _object("UnitStatePage", states=_list_of("UnitState"), nextPageToken=_STRING),
    ]
    query = _TOKEN | {name: {"type": "string", "location": "query"} for name in ("machineID", "unitName")}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fleet:v1",
        "name": "schema",
        "title": "fleet API",
        "description": "",
        "documentationLink": "http://github.com/coreos/fleet",
        "protocol": "rest",
        "icons": {"x16": "", "x32": ""},
        "labels": [],
        "version": "v1",
        "basePath": "/fleet/v1/",
        "baseUrl": "$ENDPOINT/fleet/v1/",
        "rootUrl": "$ENDPOINT/",
        "servicePath": "fleet/v1/",
        "batchPath": "batch",
        "parameters": {},
        "auth": {},
        "schemas": {schema["id"]: schema for schema in schemas},
        "resources": {
            "Machines": {
                "methods": {
                    "List": _method("fleet.Machine.List", "GET", "machines", _TOKEN, response=_ref("MachinePage"))
                }
            },
            "Units": {
                "methods": {
                    "List": _method("fleet.Unit.List", "GET", "units", _TOKEN, response=_ref("UnitPage")),
                    "Get": _method("fleet.Unit.Get", "GET", "units/{unitName}", _NAME, response=_ref("Unit")),
                    "Delete": _method("fleet.Unit.Delete", "DELETE", "units/{unitName}", _NAME),
                    "Set": _method("fleet.Unit.Set", "PUT", "units/{unitName}", _NAME, request=_ref("Unit")),
                }
            },
            "UnitState": {
                "methods": {
                    "Get": _method("fleet.UnitState.Get", "GET", "state/{unitName}", _NAME, response=_ref("UnitState")),
                    "List": _method("fleet.UnitState.List", "GET", "state", query, response=_ref("UnitStatePage")),
                }
            },
        },
    }
