# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Details, Machine, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import (
    STUCK,
    MachineError,
    assess_drain,
    changed_metadata,
    describe,
    find_machine,
    metadata_changes,
    read_metadata,
    require_engine,
)
from hypothesis import given
from hypothesis import strategies as st

MACHINES = [Machine("abc1", "192.0.2.1", {}), Machine("abc2", "192.0.2.2", {}), Machine("abc22", "192.0.2.3", {})]
KEYS = st.sampled_from(["disk", "zone", "rack"])


@pytest.mark.parametrize(("text", "found"), [("abc1", 0), ("abc2", 1), ("abc22", 2), ("192.0.2.3", 2)])
def test_the_machine_that_is_meant(text: str, found: int) -> None:
    assert find_machine(MACHINES, text) == MACHINES[found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", "machine abc may be each of abc1 .192.0.2.1., abc2"),
        ("b", "no live machine b in the cluster; it has abc1"),
        ("192.0.2", "no live machine 192.0.2"),
        ("", "the machine's name is empty"),
    ],
)
def test_no_machine_or_several(text: str, expected: str) -> None:
    with pytest.raises(MachineError, match=expected):
        find_machine(MACHINES, text)


def test_metadata_are_strings() -> None:
    assert read_metadata({"disk": "ssd", "rack": 7, "load": 0.5, "tape": None}) == {
        "disk": "ssd",
        "rack": "7",
        "load": "0.5",
        "tape": None,
    }


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"a/b": "c"}, "the metadata key 'a/b' is not made of"),
        ({"": "c"}, "the metadata key '' is not made of"),
        ({"a": True}, "the metadata a has a truth value"),
        ({"a": ["b"]}, "the metadata a has list"),
        ({"a": ""}, "the metadata a has an empty value"),
    ],
)
def test_metadata_that_fleet_does_not_take(metadata: dict[str, Any], expected: str) -> None:
    with pytest.raises(MachineError, match=expected):
        read_metadata(metadata)


@given(
    st.dictionaries(KEYS, st.sampled_from(["a", "b"])),
    st.dictionaries(KEYS, st.sampled_from(["a", "b", None])),
)
def test_nothing_is_left_to_change(found: dict[str, str], wanted: dict[str, str | None]) -> None:
    after = changed_metadata(found, metadata_changes(found, wanted))
    assert metadata_changes(after, wanted) == {}
    assert {key: after.get(key) for key in found.keys() - wanted.keys()} == {
        key: found[key] for key in found.keys() - wanted.keys()
    }


@pytest.mark.parametrize(
    ("remaining", "done", "stuck", "text"),
    [
        ({}, True, False, ""),
        ({"g.service": "a global unit, or one that cannot be read, stays"}, True, False, ""),
        ({"a.service": "it goes next"}, False, False, "a.service (it goes next)"),
        ({"a.service": STUCK, "g.service": "a global unit"}, False, True, f"a.service ({STUCK})"),
        (
            {"a.service": STUCK, "b.service": "it goes next"},
            False,
            False,
            f"a.service ({STUCK}), b.service (it goes next)",
        ),
        ({"a.service": ""}, False, False, "a.service (it still runs here)"),
    ],
)
def test_how_far_a_drain_is(remaining: dict[str, str], done: bool, stuck: bool, text: str) -> None:
    assert assess_drain(remaining, {"g.service"}) == (done, stuck, text)


def test_a_machine_with_its_units() -> None:
    states = [
        UnitState("a.service", "", "abc1", "loaded", "active", "running"),
        UnitState("b.service", "", "abc2", "", "", ""),
    ]
    found = describe(MACHINES[0], Details(False, True, {"c.service": "it goes next"}), states)
    assert (found["id"], found["schedulable"], found["drain"]) == ("abc1", False, True)
    assert found["units"] == [
        {"name": "a.service", "active_state": "active", "sub_state": "running", "reason": ""},
        {"name": "c.service", "active_state": "", "sub_state": "", "reason": "it goes next"},
    ]
    assert describe(MACHINES[0], None, [])["schedulable"] is None


def test_an_engine_that_cannot_drain() -> None:
    with pytest.raises(FleetError, match="the API can neither cordon nor drain"):
        require_engine(None, "the API")
