# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of keys as a task writes them, as etcd stores them, and as they are compared. All pure."""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError

VALUE_TYPES = ("text", "base64", "json")


def to_bytes(value: Any, value_type: str) -> bytes:
    """What etcd shall store for a task's value; raises EtcdError for one that is not of the type."""
    if value_type == "json":
        return _json_bytes(value)
    if value is None:
        raise EtcdError("its value is none; give a text, which may be empty")
    if isinstance(value, (dict, list, tuple)):
        kind = "mapping" if isinstance(value, dict) else "list"
        raise EtcdError(f"its value is a {kind}, not text; set value_type to json, or quote it")
    text = value if isinstance(value, str) else str(value)
    if value_type == "text":
        return text.encode("utf-8", "surrogateescape")
    try:
        # Tools break base64 into lines.
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except ValueError as error:
        raise EtcdError("its value is not base64; correct it, or set value_type to text") from error


def from_bytes(value: bytes, value_type: str) -> Any:
    """A stored value as a plugin returns it; raises EtcdError for one that is not of the type."""
    if value_type == "base64":
        return base64.b64encode(value).decode()
    if value_type == "text":
        return text_of(value)
    try:
        return parsed(value.decode("utf-8"))
    except ValueError as error:
        raise EtcdError("its value in etcd is not JSON; read it as text") from error


def text_of(value: bytes) -> str:
    """The value for people: bytes that are not UTF-8 become escapes."""
    return value.decode("utf-8", "backslashreplace")


def shown(key: str) -> str:
    """A key's name for people, as text_of."""
    return text_of(key.encode("utf-8", "surrogateescape"))


def same_value(found: bytes, wanted: bytes, value_type: str) -> bool:
    """Whether the stored value is the wanted one; for JSON, whether it says the same."""
    if found == wanted or value_type != "json":
        return found == wanted
    try:
        return same_json(parsed(found.decode("utf-8")), parsed(wanted.decode("utf-8")))
    except ValueError:
        return False


def same_json(left: Any, right: Any) -> bool:
    """Whether two parsed documents are the same data. Python alone would take true for 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same_json(*pair) for pair in zip(left, right))
    return bool(left == right)


def parsed(text: str) -> Any:
    """The data of a JSON text; raises ValueError, also for what JSON does not have and for absurd nesting."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _json_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            parsed(value)
        except ValueError as error:
            raise EtcdError("its value is not JSON; correct it (a JSON string needs its own quotes)") from error
        return value.encode("utf-8", "surrogateescape")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogateescape")
    except (TypeError, ValueError, RecursionError) as error:
        raise EtcdError("its value cannot be written as JSON; use mappings, lists, texts, numbers, booleans") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
