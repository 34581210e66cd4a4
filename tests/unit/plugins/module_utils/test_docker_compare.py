# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import (
    directory,
    duration,
    matches,
    nanoseconds,
    plain,
    size,
    text_dict,
)
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(max_size=3)
VALUES = st.one_of(
    TEXTS, st.integers(), st.booleans(), st.lists(TEXTS), st.frozensets(TEXTS), st.dictionaries(TEXTS, TEXTS)
)


@pytest.mark.parametrize(
    ("wanted", "found", "comparison", "result"),
    [
        ("a", "a", "strict", True),
        ("a", "b", "strict", False),
        ("a", "b", "ignore", True),
        ("a", "b", "allow_more_present", False),
        (frozenset("ab"), frozenset("ba"), "strict", True),
        (frozenset("a"), frozenset("ab"), "strict", False),
        (frozenset("a"), frozenset("ab"), "allow_more_present", True),
        (frozenset("ac"), frozenset("ab"), "allow_more_present", False),
        ({"a": "1"}, {"a": "1"}, "strict", True),
        ({"a": "1"}, {"a": "1", "b": "2"}, "strict", False),
        ({"a": "1"}, {"a": "1", "b": "2"}, "allow_more_present", True),
        ({"a": "1"}, {"a": "2"}, "allow_more_present", False),
        ({"a": "1"}, {}, "allow_more_present", False),
        (["a", "b"], ["b", "a"], "strict", False),
        (["a", "b"], ["a", "x", "b"], "strict", False),
        (["a", "b"], ["a", "x", "b"], "allow_more_present", True),
        (["a", "b"], ["b", "a"], "allow_more_present", False),
        (["a", "a"], ["a"], "allow_more_present", False),
    ],
)
def test_matches(wanted: Any, found: Any, comparison: str, result: bool) -> None:
    assert matches(wanted, found, comparison) is result


@given(VALUES)
def test_everything_matches_itself(value: Any) -> None:
    assert all(matches(value, value, comparison) for comparison in ("strict", "allow_more_present", "ignore"))


@given(st.frozensets(TEXTS), st.frozensets(TEXTS))
def test_more_may_be_present(wanted: frozenset[str], more: frozenset[str]) -> None:
    assert matches(wanted, wanted | more, "allow_more_present")
    assert matches(wanted, wanted | more, "strict") is (more <= wanted)


def test_plain_prints_the_same_every_time() -> None:
    assert plain(frozenset("cab")) == ["a", "b", "c"]
    assert list(plain({"b": 1, "a": 2})) == ["a", "b"]
    assert plain(["b", "a"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1048576", 1048576),
        ("512m", 512 * 1024**2),
        ("512M", 512 * 1024**2),
        ("1.5 GiB", 1536 * 1024**2),
        ("2gb", 2 * 1024**3),
        ("1k", 1024),
        ("1t", 1024**4),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1m", "1 x", "1mm", "one"])
def test_size_names_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        size(text)


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        ("0s", 0, "0s"),
        ("30s", 30 * 10**9, "30s"),
        ("1m30s", 90 * 10**9, "90s"),
        ("1h", 3600 * 10**9, "3600s"),
        ("1.5s", 1500 * 10**6, "1500ms"),
        ("2m500ms", 120500 * 10**6, "120500ms"),
        ("7us", 7000, "7us"),
        ("1ns", 1, "1ns"),
    ],
)
def test_nanoseconds(text: str, expected: int, written: str) -> None:
    assert nanoseconds(text) == expected
    assert duration(expected) == written


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1s x", "1 s", "1d"])
def test_nanoseconds_name_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        nanoseconds(text)


@given(st.integers(0, 10**15))
def test_durations_survive(count: int) -> None:
    assert nanoseconds(duration(count)) == count


def test_directory() -> None:
    assert [directory(path) for path in ("/a/", "/a//b/../c", "")] == ["/a", "/a/c", ""]


def test_text_dict() -> None:
    assert text_dict({"a": "b", 1: 2}) == {"a": "b", "1": "2"}


@pytest.mark.parametrize("value", [True, 1.10, None, ["x"]])
def test_text_dict_refuses_what_yaml_may_have_changed(value: Any) -> None:
    with pytest.raises(ValueError, match="the value of mode is not text"):
        text_dict({"mode": value})
