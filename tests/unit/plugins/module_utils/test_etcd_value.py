# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import (
    from_bytes,
    same_json,
    same_value,
    shown,
    to_bytes,
)
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "value_type", "expected"),
    [
        ("", "text", b""),
        ("é", "text", "é".encode()),
        ("\udcff", "text", b"\xff"),
        (5, "text", b"5"),
        (True, "text", b"True"),
        ("/wA=", "base64", b"\xff\0"),
        ("/w\nA=\n", "base64", b"\xff\0"),
        ("", "base64", b""),
        ('{"b": 1,  "a": 2}', "json", b'{"b": 1,  "a": 2}'),
        ({"b": 1, "a": [None, True]}, "json", b'{"b": 1, "a": [null, true]}'),
        ('"x"', "json", b'"x"'),
        (None, "json", b"null"),
        ({"é": 1}, "json", '{"é": 1}'.encode()),
    ],
)
def test_to_bytes(value: Any, value_type: str, expected: bytes) -> None:
    assert to_bytes(value, value_type) == expected


@pytest.mark.parametrize(
    ("value", "value_type", "expected"),
    [
        (None, "text", "value is none"),
        ({}, "text", "is a mapping, not text; set value_type to json"),
        ([1], "base64", "is a list, not text"),
        ("/w", "base64", "is not base64"),
        ("é", "base64", "is not base64"),
        ("/w=!", "base64", "is not base64"),
        ("hello", "json", "is not JSON"),
        ("NaN", "json", "is not JSON"),
        ("[" * 100_000, "json", "is not JSON"),
        (float("nan"), "json", "cannot be written as JSON"),
        ({"a": {1, 2}}, "json", "cannot be written as JSON"),
    ],
)
def test_values_that_are_not_of_their_type(value: Any, value_type: str, expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        to_bytes(value, value_type)


@pytest.mark.parametrize(
    ("one", "other", "value_type", "expected"),
    [
        (b"x", b"x", "text", True),
        (b'{"a":1}', b'{"a": 1}', "text", False),
        (b'{"a":1}', b'{"a": 1}', "json", True),
        (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', "json", True),
        (b"[1,2]", b"[2,1]", "json", False),
        (b"[1]", b"[1,1]", "json", False),
        (b"1", b"1.0", "json", True),
        (b"1", b"true", "json", False),
        (b"0", b"false", "json", False),
        (b'{"a":[1]}', b'{"a":[true]}', "json", False),
        (b"null", b"false", "json", False),
        (b"", b"null", "json", False),
        (b"\xff", b"1", "json", False),
    ],
)
def test_same_value(one: bytes, other: bytes, value_type: str, expected: bool) -> None:
    assert same_value(one, other, value_type) is expected
    assert same_value(other, one, value_type) is expected


@given(JSON)
def test_data_survives_and_is_the_same_in_any_writing(data: Any) -> None:
    stored = to_bytes(json.dumps(data) if isinstance(data, str) else data, "json")
    assert same_json(from_bytes(stored, "json"), data)
    assert same_value(stored, json.dumps(data, indent=2, sort_keys=True).encode(), "json")
    assert not same_value(stored, json.dumps([data]).encode(), "json")


@given(st.binary())
def test_bytes_survive(value: bytes) -> None:
    assert to_bytes(from_bytes(value, "base64"), "base64") == value
    assert to_bytes(base64.encodebytes(value).decode(), "base64") == value
    assert isinstance(from_bytes(value, "text").encode(), bytes), "can be printed"


def test_what_is_not_json_is_said() -> None:
    with pytest.raises(EtcdError, match="in etcd is not JSON; read it as text"):
        from_bytes(b"hello", "json")


def test_a_key_of_any_bytes_can_be_printed() -> None:
    assert shown("/a\udcff") == "/a\\xff"
