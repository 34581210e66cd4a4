# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_roll import (
    DISTURBING,
    check_policy,
    outcome,
    steps,
    stopped_text,
)
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError
from hypothesis import given
from hypothesis import strategies as st

GOOD = {
    "replace": "rolling",
    "serial": 1,
    "pause": 0.0,
    "health": {"url": "http://{address}/"},
    "wait": True,
    "wait_timeout": 60.0,
    "state": "launched",
}
ACTIONS = st.sampled_from(["", "create", "replace", "set_state", "restart", "delete"])


def test_a_good_policy() -> None:
    check_policy(GOOD)
    check_policy({**GOOD, "state": "restarted", "serial": None, "pause": None, "health": None})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"replace": "never"}, "serial is given but replace is never"),
        ({"replace": "at_once", "serial": None}, "pause is given but replace is at_once"),
        ({"wait": False, "health": None}, "replace is rolling, .* but wait is false"),
        ({"wait": False, "replace": "at_once", "serial": None, "pause": None}, "health is given but wait is false"),
        ({"state": "absent", "health": None}, "replace is rolling but state is absent"),
        ({"state": "loaded"}, "health is given but state is loaded"),
        ({"serial": 0}, "serial 0 is not above zero"),
        ({"pause": -1.0}, "pause -1 is below zero"),
        ({"wait_timeout": -1.0}, "wait_timeout -1 is below zero"),
    ],
)
def test_policies_that_cannot_be_meant(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UnitError, match=expected):
        check_policy({**GOOD, **changes})


@pytest.mark.parametrize(
    ("actions", "serial", "expected"),
    [
        ({"a": "replace", "b": "create"}, None, [["a", "b"]]),
        ({}, 1, []),
        ({"a": "", "b": "create", "c": "delete", "d": "set_state"}, 1, [["a", "b", "c", "d"]]),
        ({"a": "replace", "b": "replace", "c": "restart"}, 2, [["a", "b"], ["c"]]),
        ({"w@.service": "replace", "w@1.service": "replace"}, 2, [["w@.service"], ["w@1.service"]]),
        ({"a": "replace", "b": "", "c": "replace"}, 1, [["b"], ["a"], ["c"]]),
    ],
)
def test_steps(actions: dict[str, str], serial: int | None, expected: list[list[str]]) -> None:
    assert steps(actions, serial) == expected


def test_units_that_are_not_well_come_first() -> None:
    actions = {"a": "replace", "b": "replace", "c": "", "d": "restart"}
    assert steps(actions, 1, {"c", "d"}) == [["c"], ["d"], ["a"], ["b"]]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), ACTIONS, max_size=12), st.integers(1, 5))
def test_steps_take_each_unit_once_and_disturb_few(actions: dict[str, str], serial: int) -> None:
    planned = steps(actions, serial)
    assert sorted(name for step in planned for name in step) == sorted(actions)
    disturbed = [[name for name in step if actions[name] in DISTURBING] for step in planned]
    assert all(len(names) <= serial for names in disturbed)
    assert all(planned), "a step has something to do or to look at"
    assert all(step == names for step, names in zip(planned[1:], disturbed[1:])), "all else is in the first step"


def test_where_a_roll_has_stopped() -> None:
    planned = [["w@.service"], ["w@1.service"], ["w@2.service"], ["w@3.service"]]
    assert outcome(planned, 2) == {
        "done": ["w@.service", "w@1.service"],
        "failed": ["w@2.service"],
        "untouched": ["w@3.service"],
    }
    places = {"w@.service": "", "w@1.service": "on machine m1", "w@2.service": "", "w@3.service": "on machine m3"}
    assert stopped_text(planned, 2, places) == (
        "the roll stopped in step 3 of 4; done: w@.service, w@1.service on machine m1; failed: w@2.service; "
        "untouched: w@3.service on machine m3"
    )
