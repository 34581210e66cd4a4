# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine, Unit, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_unit import (
    Wanted,
    assess,
    decide,
    read_instances,
    surplus,
)
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, content_hash, parse

PLAIN = tuple(parse("[Service]\nExecStart=/bin/true\n"))
OTHER = tuple(parse("[Service]\nExecStart=/bin/false\n"))
ONESHOT = tuple(parse("[Service]\nType=oneshot\nExecStart=/bin/true\n"))
REMAINING = tuple(parse("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"))
EVERYWHERE = tuple(parse("[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\nMachineMetadata=disk=ssd\n"))
MACHINES = [Machine("m1", "192.0.2.1", {"disk": "ssd"}), Machine("m2", "192.0.2.2", {"disk": "ssd"})]


def unit(desired: str, current: str = "", machine: str = "", options: Any = PLAIN) -> Unit:
    return Unit("a.service", options, desired, current, machine)


def state(machine: str, active: str, options: Any = PLAIN) -> UnitState:
    return UnitState("a.service", content_hash(options), machine, "loaded", active, "sub")


@pytest.mark.parametrize(
    ("options", "desired", "found", "action"),
    [
        (PLAIN, "launched", None, "create"),
        (PLAIN, "launched", unit("launched"), ""),
        (PLAIN, "loaded", unit("launched"), "set_state"),
        (None, "loaded", unit("launched"), "set_state"),
        (None, "launched", unit("launched"), ""),
        (OTHER, "launched", unit("launched"), "replace"),
        (OTHER, "inactive", unit("launched"), "replace"),
        (None, None, unit("launched"), "delete"),
        (None, None, None, ""),
    ],
)
def test_decide(options: Any, desired: str | None, found: Unit | None, action: str) -> None:
    assert decide(Wanted("a.service", options, desired), found) == action


def test_contents_are_needed_for_an_unknown_unit() -> None:
    with pytest.raises(UnitError, match="give its contents"):
        decide(Wanted("a.service", None, "launched"), None)


@pytest.mark.parametrize(
    ("found", "states", "reached", "failed", "text"),
    [
        (unit("launched", "launched", "m1"), [state("m1", "active")], True, False, ""),
        (unit("launched", "loaded", "m1"), [state("m1", "active")], False, False, "m1 reports active/sub"),
        (unit("launched", "launched", "m1"), [state("m1", "activating")], False, False, "activating/sub"),
        (unit("launched", "launched", "m1"), [state("m1", "failed")], False, True, "failed/sub"),
        (unit("launched", "loaded", "m1"), [state("m1", "failed")], False, False, "failed/sub"),
        (unit("launched", "launched", "m1"), [state("m1", "active", OTHER)], False, False, "contents of before"),
        (unit("launched", "launched", "m1"), [state("m1", "failed", OTHER)], False, False, "contents of before"),
        (unit("launched", "launched", "m1"), [state("m2", "active")], False, False, "m1 has not reported"),
        (unit("launched", "inactive"), [], False, False, "placed on no machine"),
        (unit("launched", "launched", "m1"), [state("m1", "inactive")], False, False, "inactive/sub"),
        (unit("launched", "launched", "m1", ONESHOT), [state("m1", "inactive", ONESHOT)], True, False, ""),
        (unit("launched", "launched", "m1", REMAINING), [state("m1", "inactive", REMAINING)], False, False, "inactive"),
        (unit("loaded", "loaded", "m1"), [state("m1", "inactive")], True, False, ""),
        (unit("loaded", "loaded", "m1"), [state("m1", "deactivating")], False, False, "deactivating"),
        (unit("loaded", "launched", "m1"), [state("m1", "active")], False, False, "active"),
        (unit("loaded", "loaded", "m1"), [state("m1", "failed")], True, False, ""),
        (unit("inactive", "inactive"), [], True, False, ""),
        (unit("inactive", "inactive"), [state("m1", "deactivating")], False, False, "deactivating"),
        (unit("inactive", "loaded", "m1"), [], False, False, "not unloaded yet"),
        (None, [], False, False, "somebody removed it"),
    ],
)
def test_assess(found: Unit | None, states: list[UnitState], reached: bool, failed: bool, text: str) -> None:
    wanted = Wanted("a.service", None, found.desired_state if found else "launched")
    progress = assess(wanted, found, states, [])
    assert (progress.reached, progress.failed) == (reached, failed)
    assert reached or text in progress.text


@pytest.mark.parametrize(
    ("found", "states", "reached"),
    [
        (None, [], True),
        (None, [state("m1", "deactivating")], False),
        (unit("launched"), [], False),
    ],
)
def test_assess_absent(found: Unit | None, states: list[UnitState], reached: bool) -> None:
    assert assess(Wanted("a.service", None, None), found, states, []).reached is reached


@pytest.mark.parametrize(
    ("desired", "states", "reached", "failed"),
    [
        ("launched", [state("m1", "active", EVERYWHERE), state("m2", "active", EVERYWHERE)], True, False),
        ("launched", [state("m1", "active", EVERYWHERE)], False, False),
        ("launched", [state("m1", "active", EVERYWHERE), state("m2", "failed", EVERYWHERE)], False, True),
        ("launched", [state("m1", "active", EVERYWHERE), state("m2", "active")], False, False),
        ("loaded", [state("m1", "inactive", EVERYWHERE), state("m2", "inactive", EVERYWHERE)], True, False),
        ("inactive", [], True, False),
        ("inactive", [state("m1", "active", EVERYWHERE)], False, False),
    ],
)
def test_assess_a_global_unit(desired: str, states: list[UnitState], reached: bool, failed: bool) -> None:
    progress = assess(Wanted("a.service", None, desired), unit(desired, options=EVERYWHERE), states, MACHINES)
    assert (progress.reached, progress.failed) == (reached, failed)


@pytest.mark.parametrize(
    ("given", "names", "number"),
    [
        (2, ["w@1.service", "w@2.service"], 2),
        ("2", ["w@1.service", "w@2.service"], 2),
        (0, [], 0),
        ([], [], None),
        (["blue", 7], ["w@blue.service", "w@7.service"], None),
    ],
)
def test_instances(given: Any, names: list[str], number: int | None) -> None:
    assert read_instances("w@.service", given) == (names, number)


@pytest.mark.parametrize("given", [-1, True, 1.5, "²", "blue", None, {}, ["a/b"], [""]])
def test_bad_instances(given: Any) -> None:
    with pytest.raises(UnitError):
        read_instances("w@.service", given)


def test_surplus_is_numbered_above() -> None:
    names = ["w@.service", "w@1.service", "w@2.service", "w@3.service", "w@03.service", "w@x.service", "v@9.service"]
    known = [Unit(name, PLAIN, "launched", "launched", "m1") for name in [*names, "w@9.socket"]]
    assert surplus("w@.service", 1, known) == ["w@2.service", "w@3.service"]
