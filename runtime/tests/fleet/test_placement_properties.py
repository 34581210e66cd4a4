# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invariants of placement, over histories of clusters: units change, machines come, go and change their metadata."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from flagship.fleet.globs import glob_matches
from flagship.fleet.model import Cordon, Machine, Unit
from flagship.fleet.placement import Cluster, Decision, plan, why_not
from flagship.fleet.requirements import requirements
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fleet.builders import apply, launched, machine, settle

# The machine may be busy, and what a test assumes may be rare.
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
T = TypeVar("T")
NAMES = [f"{family}{n}.service" for family in ("a", "b", "c") for n in range(4)]
globs = st.sampled_from([*NAMES, "a*", "b*", "[ab]1.service", "*2.service"])
lines = st.one_of(
    st.builds("Conflicts={}".format, globs),
    st.builds("MachineOf={}".format, st.sampled_from(NAMES)),
    st.builds("MachineMetadata=x={}".format, st.sampled_from("12")),
    st.builds("MachineMetadata=x!={}".format, st.sampled_from(["1", "2", "1|2"])),
    st.builds("MaxPerMachine={} {}".format, globs, st.integers(1, 2)),
    st.builds("Spread={} {}".format, st.sampled_from(["x", "machine"]), globs),
    st.builds("MachineID={}".format, st.sampled_from(["m1", "m2"])),
    st.builds("Replaces={}".format, globs),
    st.just("Global=true"),
)
units = st.builds(
    lambda name, requirement, desired: launched(name, *requirement, desired=desired),
    st.sampled_from(NAMES),
    st.lists(lines, max_size=2),
    st.sampled_from(["launched", "launched", "loaded", "inactive"]),
)
unit_sets = st.lists(units, max_size=10).map(lambda found: {u.name: u for u in found})
machine_sets = st.dictionaries(st.sampled_from(["m1", "m2", "m3", "m4"]), st.sampled_from(["", "1", "2"])).map(
    lambda found: {name: machine(name, **({"x": x} if x else {})) for name, x in found.items()}
)


@st.composite
def histories(draw: st.DrawFn) -> Cluster:
    """A cluster as a few changes and engine passes leave it, with or without its agents' acknowledgements."""
    state = Cluster()
    for _step in range(draw(st.integers(1, 4))):
        state = replace(state, units=draw(unit_sets) if draw(st.booleans()) else state.units)
        state = replace(state, machines=draw(machine_sets))
        state = apply(state, plan(state))
        if draw(st.booleans()):
            state = settle(state)
    return replace(state, units=draw(unit_sets)) if draw(st.booleans()) else state


def standing(state: Cluster) -> set[tuple[str, str]]:
    return {
        (name, where)
        for where, entries in state.schedule.items()
        if where in state.machines
        for name, entry in entries.items()
        if not entry.withdrawn
    }


def present(state: Cluster) -> set[tuple[str, str]]:
    """Units that are on a machine, those that still stop there included."""
    return {(n, m) for m, entries in state.schedule.items() if m in state.machines for n in entries}


def conflict(state: Cluster, first: str, second: str) -> bool:
    def one_way(owner: str, other: str) -> bool:
        return any(glob_matches(g, other) for g in requirements(owner, state.units[owner].options).conflicts)

    return first != second and (one_way(first, second) or one_way(second, first))


@st.composite
def drained(draw: st.DrawFn) -> Cluster:
    """Histories with machines that are cordoned or being drained, units that had to move being on their way or not."""
    state = draw(histories())
    orders = st.builds(Cordon, st.booleans(), st.lists(st.sampled_from(NAMES), max_size=2).map(tuple))
    cordons = draw(st.dictionaries(st.sampled_from(["m1", "m2", "m3", "m4"]), orders, max_size=2))
    return replace(state, cordons=cordons, unsettled=draw(st.frozensets(st.sampled_from(NAMES), max_size=1)))


@settings(SLOW, max_examples=300)
@given(drained())
def test_a_drain_is_careful(state: Cluster) -> None:
    decisions = plan(state)
    assert not any(d.kind == "place" and d.machine in state.cordons for d in decisions)
    for where in {d.machine for d in decisions if d.kind == "drain"}:
        assert state.cordons[where].drain and not state.unsettled.intersection(state.cordons[where].moving)
        assert not any(d.kind == "withdraw" and d.machine == where for d in decisions)
        assert not any(entry.withdrawn for entry in state.schedule[where].values())
        gone = {d.unit for d in decisions if d.kind == "drain" and d.machine == where}
        assert all(
            gone == {unit} or requirements(unit, state.units[unit].options).machine_of
            for unit in gone
            if not any(unit in requirements(n, state.units[n].options).machine_of for n in gone)
        )
    after = apply(state, decisions)
    assert plan(after) == []
    for name, where in standing(after):
        needs = requirements(name, after.units[name].options)
        assert all((peer, where) in standing(after) for peer in needs.machine_of)


@settings(SLOW, max_examples=200)
@given(drained())
def test_a_drain_comes_to_an_end(state: Cluster) -> None:
    state = replace(state, unsettled=frozenset())
    for _round in range(30):
        settled = settle(apply(state, plan(state)))
        if settled == state:
            break
        state = settled
    else:
        raise AssertionError(f"still moving after 30 rounds: {plan(state)}")
    if not state.machines.keys() - state.cordons.keys():
        return
    for name, where in standing(state):
        free = not any(option.section == "X-Fleet" for option in state.units[name].options)
        if free and where in state.cordons and state.cordons[where].drain:
            alone = not any(
                name in requirements(other, unit.options).machine_of
                or any(glob_matches(g, name) for g in requirements(other, unit.options).conflicts)
                or any(glob_matches(g, name) for g, _limit in requirements(other, unit.options).limits)
                for other, unit in state.units.items()
            )
            assert not alone, (name, where)


@settings(SLOW, max_examples=300)
@given(histories())
def test_what_stands_satisfies_every_requirement(state: Cluster) -> None:
    after = apply(state, plan(state))
    stands = standing(after)
    for name, where in stands:
        needs = requirements(name, after.units[name].options)
        assert needs.accepts_machine_id(where)
        assert needs.accepts_metadata(after.machines[where].metadata)
        assert all((peer, where) in stands for peer in needs.machine_of)
        assert after.schedule[where][name] == after.units[name].entry
        for glob, limit in needs.limits:
            assert sum(there == where and glob_matches(glob, other) for other, there in stands) <= limit
        assert not any(conflict(after, name, other) for other, there in stands if there == where)
        assert needs.is_global or sum(other == name for other, _there in stands) == 1


@settings(SLOW, max_examples=300)
@given(histories())
def test_running_again_changes_nothing(state: Cluster) -> None:
    assert plan(apply(state, plan(state))) == []


@settings(SLOW, max_examples=200)
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(state: Cluster, shuffle: random.Random) -> None:
    def shuffled(mapping: Mapping[str, T]) -> dict[str, T]:
        keys = list(mapping)
        shuffle.shuffle(keys)
        return {key: mapping[key] for key in keys}

    other = replace(
        state,
        units=shuffled(state.units),
        machines=shuffled(state.machines),
        schedule=shuffled({m: shuffled(entries) for m, entries in state.schedule.items()}),
    )
    assert plan(other) == plan(state)


@settings(SLOW, max_examples=300)
@given(histories())
def test_repeated_passes_and_acknowledgements_come_to_rest(state: Cluster) -> None:
    for _round in range(12):
        decisions = plan(state)
        settled = settle(apply(state, decisions))
        if settled == state:
            return
        state = settled
    raise AssertionError(f"still moving after 12 rounds: {decisions}")


def any_replaces(state: Cluster) -> bool:
    """Whether a unit pushes others away: those then move although their own machine is fine."""
    return any(requirements(name, unit.options).replaces for name, unit in state.units.items())


def at_rest(state: Cluster) -> Cluster:
    for _round in range(12):
        state = settle(apply(state, plan(state)))
    return state


@settings(SLOW, max_examples=200)
@given(histories(), st.sampled_from(["m1", "m2", "m3", "m4"]))
def test_a_machines_loss_moves_only_its_own_units_and_what_depends_on_them(state: Cluster, lost: str) -> None:
    assume(not any_replaces(state))
    state = at_rest(state)
    after = replace(state, machines={m: found for m, found in state.machines.items() if m != lost})
    mine = set(state.schedule.get(lost, ()))
    # A global unit is everywhere, so a follower of one that was here still has its peer where it stands.
    for decision in plan(after):
        if decision.kind == "withdraw":
            assert decision.unit in mine and decision.machine == lost
        elif decision.unit not in mine:
            # Only a unit that had no place can profit from the change: a follower of what moved, for instance.
            assert not any(name == decision.unit for name, _where in standing(state))


@settings(SLOW, max_examples=200)
@given(histories(), st.sampled_from(["m1", "m2", "m3", "m4"]))
def test_a_new_machine_takes_nothing_that_has_a_place(state: Cluster, new: str) -> None:
    assume(new not in state.machines and not any_replaces(state))
    state = at_rest(state)
    joined = replace(
        state,
        machines={**state.machines, new: machine(new)},
        schedule={m: entries for m, entries in state.schedule.items() if m != new},
    )
    for decision in plan(joined):
        elsewhere = any(name == decision.unit for name, _where in standing(state))
        is_global = requirements(decision.unit, state.units[decision.unit].options).is_global
        lost = any(decision.unit in entries for m, entries in state.schedule.items() if m not in state.machines)
        assert not elsewhere or is_global or lost


@settings(SLOW, max_examples=200)
@given(st.lists(st.sampled_from(NAMES), unique=True), machine_sets)
def test_free_units_spread_evenly(names: list[str], machines: dict[str, Machine]) -> None:
    free: dict[str, Unit] = {name: launched(name) for name in names}
    decisions: list[Decision] = plan(Cluster(units=free, machines=machines))
    loads = [sum(d.machine == m for d in decisions) for m in machines]
    assert not machines or max(loads) - min(loads) <= 1


@settings(SLOW, max_examples=200)
@given(st.lists(st.sampled_from(NAMES), unique=True), machine_sets, st.sampled_from(["x", "machine"]))
def test_a_family_spreads_evenly_among_others(names: list[str], machines: dict[str, Machine], key: str) -> None:
    spread = {name: launched(name, *([f"Spread={key} a*"] if name.startswith("a") else [])) for name in names}
    decisions = plan(Cluster(units=spread, machines=machines))
    counts: dict[str, int] = {
        m if key == "machine" else found.metadata.get(key, ""): 0 for m, found in machines.items()
    }
    for decision in decisions:
        if decision.unit.startswith("a"):
            where = decision.machine
            counts[where if key == "machine" else machines[where].metadata.get(key, "")] += 1
    assert not machines or max(counts.values()) - min(counts.values()) <= 1
    assert len(decisions) == (len(names) if machines else 0)


@settings(SLOW, max_examples=200)
@given(histories())
def test_why_not_agrees_with_the_plan(state: Cluster) -> None:
    after = apply(state, plan(state))
    for name, unit in after.units.items():
        reasons = why_not(after, name)
        assert set(reasons) == set(after.machines)
        for where, reason in reasons.items():
            assert (reason == "") == ((name, where) in standing(after)), (name, where, reason)
        if unit.desired_state != "inactive":
            assert "it will be placed next" not in reasons.values()
