# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from flagship.fleet.model import Cordon, Entry, Machine, Unit, check_desired_state
from flagship.fleet.placement import Cluster, Decision, drain_report, plan, why_not

from fleet.builders import apply, launched, machine, schedule_of, settle


def cluster(units: Iterable[Unit], machines: Iterable[Machine], **more: object) -> Cluster:
    built = Cluster(units={u.name: u for u in units}, machines={m.id: m for m in machines})
    return replace(built, **more)  # type: ignore[arg-type]


def placed(decisions: Iterable[Decision]) -> Mapping[str, str]:
    return {d.unit: d.machine for d in decisions if d.kind == "place"}


M1, M2, M3 = machine("m1"), machine("m2"), machine("m3")


def test_least_loaded_first_then_machine_id() -> None:
    decisions = plan(cluster([launched(f"u{n}.service") for n in range(4)], [M2, M1, M3]))
    assert placed(decisions) == {"u0.service": "m1", "u1.service": "m2", "u2.service": "m3", "u3.service": "m1"}


def test_templates_and_inactive_units_are_not_placed() -> None:
    template = replace(launched("web@.service"), desired_state="launched")
    assert plan(cluster([template, launched("a.service", desired="inactive")], [M1])) == []


def test_metadata_and_machine_id() -> None:
    ssd = machine("m2", disk="ssd")
    units = [launched("a.service", "MachineMetadata=disk=ssd"), launched("b.service", "MachineID=m3")]
    assert placed(plan(cluster(units, [M1, ssd, M3]))) == {"a.service": "m2", "b.service": "m3"}


def test_conflicts_hold_in_both_directions() -> None:
    units = [launched("a.service"), launched("b.service", "Conflicts=a*")]
    assert placed(plan(cluster(units, [M1, M2]))) == {"a.service": "m1", "b.service": "m2"}
    units = [launched("a.service", "Conflicts=b*"), launched("b.service")]
    assert placed(plan(cluster(units, [M1]))) == {"a.service": "m1"}


def test_negated_metadata() -> None:
    zones = [machine(f"m{n}", zone=zone) for n, zone in enumerate("aab")]
    assert (
        placed(plan(cluster([launched("a.service", "MachineMetadata=zone!=a")], [*zones, machine("m9")])))["a.service"]
        == "m2"
    )
    why = why_not(cluster([launched("a.service", "MachineMetadata=zone!=a")], zones), "a.service")
    assert why["m0"] == "must not have metadata zone=a"


def test_a_limit_holds_for_the_whole_family() -> None:
    units = [launched(f"web@{n}.service", *(["MaxPerMachine=web@* 2"] if n == 1 else [])) for n in range(1, 5)]
    state = cluster(units, [M1])
    assert set(placed(plan(state))) == {"web@1.service", "web@2.service"}
    assert why_not(state, "web@3.service") == {"m1": "there is no more room for units web@*, by a MaxPerMachine"}
    state = apply(state, plan(state))
    joined = replace(state, machines={"m1": M1, "m2": M2})
    assert placed(plan(joined)) == {"web@3.service": "m2", "web@4.service": "m2"}


def test_spreading_is_preferred_over_load_and_never_keeps_a_unit_from_running() -> None:
    machines = [machine("m1", zone="a"), machine("m2", zone="a"), machine("m3", zone="b")]
    units = [launched(f"web@{n}.service", "Spread=zone", "Spread=machine") for n in range(1, 6)]
    assert placed(plan(cluster(units, machines))) == {
        "web@1.service": "m1",
        "web@2.service": "m3",
        "web@3.service": "m2",
        "web@4.service": "m3",
        "web@5.service": "m1",
    }


def test_followers_are_placed_in_the_same_pass_whatever_their_name() -> None:
    units = [
        launched("a-follower.service", "MachineOf=m-peer.service"),
        launched("b-follower.service", "MachineOf=a-follower.service"),
        launched("m-peer.service", "MachineMetadata=x=1"),
    ]
    decisions = plan(cluster(units, [M1, machine("m2", x="1")]))
    assert placed(decisions) == dict.fromkeys((u.name for u in units), "m2")


def test_mutual_peers_and_missing_peers_are_never_placed() -> None:
    units = [
        launched("a.service", "MachineOf=b.service"),
        launched("b.service", "MachineOf=a.service"),
        launched("c.service", "MachineOf=none.service"),
    ]
    state = cluster(units, [M1])
    assert plan(state) == []
    assert why_not(state, "c.service") == {"m1": "peer none.service is not scheduled"}


def test_a_follower_goes_when_its_peer_goes() -> None:
    units = [launched("f.service", "MachineOf=p.service"), launched("p.service", desired="inactive")]
    state = cluster(units, [M1], schedule=schedule_of({"f.service": "m1", "p.service": "m1"}, units))
    assert [(d.kind, d.unit) for d in plan(state)] == [("withdraw", "f.service"), ("withdraw", "p.service")]


def test_a_unit_waits_until_it_is_gone_from_a_present_machine() -> None:
    unit = launched("a.service", "MachineMetadata=x=1")
    state = cluster([unit], [M1, machine("m2", x="1")], schedule=schedule_of({"a.service": "m1"}, [unit]))
    decisions = plan(state)
    assert [(d.kind, d.machine, d.entry.desired_state) for d in decisions] == [("withdraw", "m1", "inactive")]
    state = apply(state, decisions)
    assert plan(state) == []
    assert why_not(state, "a.service") == {
        "m1": "it is still stopping here",
        "m2": "it is still stopping on machine m1",
    }
    assert placed(plan(settle(state))) == {"a.service": "m2"}


def test_a_dead_machines_units_move_and_stay_withdrawn_there() -> None:
    units = [launched("a.service"), launched("b.service", "MachineOf=a.service"), launched("c.service", "MachineID=m1")]
    state = cluster(units, [M2], schedule=schedule_of(dict.fromkeys((u.name for u in units), "m1"), units))
    assert [(d.kind, d.unit, d.machine) for d in plan(state)] == [
        ("withdraw", "a.service", "m1"),
        ("place", "a.service", "m2"),
        ("withdraw", "b.service", "m1"),
        ("place", "b.service", "m2"),
    ]
    back = replace(apply(state, plan(state)), machines={"m1": M1, "m2": M2})
    assert plan(back) == []


def test_nothing_moves_from_a_machine_that_may_still_be_alive() -> None:
    unit = launched("a.service", "MachineMetadata=x=1")
    state = cluster([unit], [machine("m2", x="1")], schedule=schedule_of({"a.service": "m1"}, [unit]))
    assert plan(replace(state, awaited=frozenset({"m1"}))) == []


def test_a_unit_with_no_other_place_is_kept_for_its_machines_return() -> None:
    unit = launched("a.service", "MachineID=m1")
    state = cluster([unit], [M2], schedule=schedule_of({"a.service": "m1"}, [unit]))
    assert plan(state) == []
    assert plan(replace(state, machines={"m1": M1, "m2": M2})) == []


def test_changed_contents_update_the_entry_in_place() -> None:
    old, new = launched("a.service"), launched("a.service", "MachineMetadata=x=1", desired="loaded")
    state = cluster(
        [new], [machine("m1", x="1"), machine("m0", x="1")], schedule=schedule_of({"a.service": "m1"}, [old])
    )
    assert plan(state) == [Decision("update", "a.service", "m1", new.entry)]


def test_a_destroyed_unit_is_withdrawn_even_from_a_dead_machine() -> None:
    unit = launched("a.service")
    state = cluster([], [M2], schedule=schedule_of({"a.service": "m1"}, [unit]))
    assert plan(state) == [Decision("withdraw", "a.service", "m1", Entry(unit.options, "inactive"))]


def test_an_unreadable_unit_is_left_alone_and_keeps_its_place() -> None:
    other = launched("b.service", "Conflicts=a.service")
    state = cluster(
        [other],
        [M1, M2],
        schedule=schedule_of({"a.service": "m1"}, [launched("a.service")]),
        unreadable=frozenset({"a.service"}),
    )
    assert placed(plan(state)) == {"b.service": "m2"}
    assert "cannot be read" in why_not(state, "a.service")["m1"]


def test_a_damaged_entry_is_written_again_on_the_same_machine() -> None:
    unit = launched("a.service")
    damaged = Entry((), "inactive", damaged=True)
    state = cluster([unit], [M1, M2], schedule={"m2": {"a.service": damaged}})
    assert plan(state) == [Decision("update", "a.service", "m2", unit.entry)]
    assert plan(replace(state, units={})) == []


def test_global_units_run_on_every_matching_machine_without_conflict() -> None:
    units = [
        launched("g.service", "Global=true", "MachineMetadata=x=1", "Conflicts=h.service"),
        launched("h.service", "MachineID=m1"),
        launched("n.service", "Global=true", desired="inactive"),
    ]
    machines = [machine("m1", x="1"), machine("m2", x="1"), M3]
    state = cluster(units, machines, schedule=schedule_of({"h.service": "m1"}, units))
    assert placed(plan(state)) == {"g.service": "m2"}
    assert why_not(state, "g.service") == {
        "m1": "conflicts with h.service",
        "m2": "",
        "m3": "needs metadata x=1; the machine has no x",
    }


def test_globals_come_before_new_units_and_count_as_load() -> None:
    units = [
        launched("z-global.service", "Global=true", "MachineMetadata=x=1"),
        launched("a.service"),
        launched("b.service", "Conflicts=z-global.service"),
    ]
    assert placed(plan(cluster(units, [machine("m1", x="1"), M2]))) == {
        "z-global.service": "m1",
        "a.service": "m2",
        "b.service": "m2",
    }


def test_of_two_placed_units_in_conflict_the_later_name_goes() -> None:
    units = [launched("a.service"), launched("b.service", "Conflicts=a.service")]
    state = cluster(units, [M1, M2], schedule=schedule_of({"a.service": "m1", "b.service": "m1"}, units))
    decisions = plan(state)
    assert [(d.kind, d.unit, d.machine) for d in decisions] == [("withdraw", "b.service", "m1")]
    assert placed(plan(settle(apply(state, decisions)))) == {"b.service": "m2"}


def test_what_conflicts_waits_for_the_stopping_unit() -> None:
    units = [launched("a.service", desired="inactive"), launched("b.service", "Conflicts=a.service")]
    state = cluster(units, [M1], schedule=schedule_of({"a.service": "m1"}, [launched("a.service")]))
    decisions = plan(state)
    assert placed(decisions) == {}
    assert why_not(state, "b.service") == {"m1": "conflicts with a.service, which is still stopping"}
    assert placed(plan(settle(apply(state, decisions)))) == {"b.service": "m1"}


def test_of_two_copies_one_remains() -> None:
    unit = launched("a.service")
    state = cluster([unit], [M1, M2], schedule={m: {unit.name: unit.entry} for m in ("m1", "m2")})
    assert [(d.kind, d.machine) for d in plan(state)] == [("withdraw", "m2")]


def test_the_replaced_unit_moves_if_it_can() -> None:
    units = [launched("new.service", "Replaces=old.service"), launched("old.service")]
    both = schedule_of({"new.service": "m1", "old.service": "m1"}, units)
    alone = cluster(units, [M1], schedule=both)
    assert plan(alone) == []
    state = cluster(units, [M1, M2], schedule=both)
    decisions = plan(state)
    assert [(d.kind, d.unit) for d in decisions] == [("withdraw", "old.service")]
    assert placed(plan(settle(apply(state, decisions)))) == {"old.service": "m2"}
    circular = [units[0], launched("old.service", "Replaces=new.service")]
    assert plan(cluster(circular, [M1, M2], schedule=schedule_of({u.name: "m1" for u in circular}, circular))) == []


def test_the_replaced_unit_stays_where_it_is_bound_to() -> None:
    for bound in ("MachineMetadata=disk=ssd", "Conflicts=far.service", "MachineOf=new.service"):
        units = [
            launched("new.service", "Replaces=old.service"),
            launched("old.service", bound),
            launched("far.service"),
        ]
        places = schedule_of({"new.service": "m1", "old.service": "m1", "far.service": "m2"}, units)
        assert plan(cluster(units, [machine("m1", disk="ssd"), M2], schedule=places)) == []


def test_a_unit_never_conflicts_with_itself() -> None:
    units = [launched(f"web@{n}.service", "Conflicts=%p@*.service") for n in range(3)]
    assert placed(plan(cluster(units, [M1, M2]))) == {"web@0.service": "m1", "web@1.service": "m2"}


def test_a_global_unit_is_a_peer_wherever_it_is() -> None:
    units = [
        launched("g.service", "Global=true", "MachineMetadata=x=1"),
        launched("a.service", "MachineOf=g.service"),
    ]
    state = cluster(units, [M1, machine("m2", x="1")])
    assert placed(plan(state)) == {"g.service": "m2", "a.service": "m2"}


def test_of_globals_in_conflict_the_first_name_runs_unless_it_is_inactive() -> None:
    def globals_(first: str) -> list[Unit]:
        return [
            launched("a.service", "Global=true", "Conflicts=b.service", desired=check_desired_state(first)),
            launched("b.service", "Global=true"),
        ]

    assert placed(plan(cluster(globals_("launched"), [M1]))) == {"a.service": "m1"}
    assert placed(plan(cluster(globals_("inactive"), [M1]))) == {"b.service": "m1"}


def test_an_inactive_global_is_no_load() -> None:
    units = [
        launched("a.service"),
        launched("g.service", "Global=true", "MachineMetadata=x=1", desired="inactive"),
    ]
    assert placed(plan(cluster(units, [machine("m1", x="1"), M2]))) == {"a.service": "m1"}


def test_specifiers_bind_an_instance_to_its_machine() -> None:
    ids = ("1" * 32, "2" * 32)
    units = [launched(f"pin@{where}.service", "MachineID=%i") for where in (ids[1], ids[0][:8], "3" * 8, ids[0][:7])]
    assert placed(plan(cluster(units, [machine(i) for i in ids]))) == {
        units[0].name: ids[1],
        units[1].name: ids[0],
    }


def test_old_spellings_bind_as_the_new_ones() -> None:
    ssd = machine("m2", disk="ssd")
    for line, place in (
        ("X-ConditionMachineID=m2", "m2"),
        ("X-ConditionMachineBootID=m2", "m2"),
        ("X-ConditionMachineMetadata=disk=ssd", "m2"),
        ("X-ConditionMachineOf=z.service", "m2"),
        ("X-Conflicts=first.service", "m2"),
    ):
        units = [launched("a.service", line), launched("first.service", "MachineID=m1"), launched("z.service")]
        schedule = schedule_of({"first.service": "m1", "z.service": "m2"}, units)
        assert placed(plan(cluster(units, [M1, ssd], schedule=schedule))) == {"a.service": place}, line


def test_a_long_chain_of_followers_is_no_problem() -> None:
    units = [launched("u0000.service")]
    units += [launched(f"u{n:04}.service", f"MachineOf=u{n - 1:04}.service") for n in range(1, 3000)]
    state = cluster(units, [M1, M2])
    state = apply(state, plan(state))
    gone = {**state.units, "u0000.service": launched("u0000.service", desired="inactive")}
    assert len(plan(replace(state, units=gone))) == 3000


def test_placement_time_grows_with_units_not_with_their_square() -> None:
    def seconds(count: int) -> float:
        units = [launched(f"plain{n}.service") for n in range(count * 8 // 10)]
        for n in range(count // 10):
            units.append(launched(f"web{n % 50}@{n}.service", f"Conflicts=web{n % 50}@*.service"))
            units.append(launched(f"side{n}.service", f"MachineOf=plain{n}.service"))
        state = cluster(units, [machine(f"m{n:03}") for n in range(200)])
        started = time.process_time()
        decisions = plan(state)
        assert len(decisions) == len(units)
        return time.process_time() - started

    seconds(100)
    # A quadratic algorithm would need 64 times as long for 8 times the units.
    assert seconds(4000) < 30 * max(seconds(500), 0.01)


def test_a_unit_that_has_to_go_conflicts_until_it_is_gone_by_its_new_contents() -> None:
    old = launched("b.service")
    units = [launched("a.service"), launched("b.service", "Conflicts=a.service c.service"), launched("c.service")]
    state = cluster(units, [M1], schedule=schedule_of({"a.service": "m1", "b.service": "m1"}, [units[0], old]))
    decisions = plan(state)
    assert [(d.kind, d.unit) for d in decisions] == [("withdraw", "b.service")]
    state = apply(state, decisions)
    assert plan(state) == []
    assert placed(plan(settle(state))) == {"c.service": "m1"}


DRAIN = {"m1": Cordon(drain=True)}


def kinds(decisions: Iterable[Decision]) -> list[tuple[str, str, str]]:
    return [(d.kind, d.unit, d.machine) for d in decisions]


def test_a_cordoned_machine_keeps_its_units_and_takes_none() -> None:
    units = [launched("a.service"), launched("b.service"), launched("g.service", "Global=true")]
    state = cluster(units, [M1, M2], schedule=schedule_of({"a.service": "m1"}, units), cordons={"m1": Cordon()})
    assert kinds(plan(state)) == [("place", "b.service", "m2"), ("place", "g.service", "m2")]
    assert why_not(state, "b.service")["m1"] == "the machine is cordoned and takes no more units"


def test_a_drain_moves_one_unit_and_its_followers_at_a_time() -> None:
    units = [
        launched("a.service"),
        launched("b.service", "MachineOf=c.service"),
        launched("c.service"),
        launched("bound.service", "MachineID=m1"),
        launched("g.service", "Global=true"),
    ]
    state = cluster(units, [M1, M2], schedule=schedule_of({u.name: "m1" for u in units}, units), cordons=DRAIN)
    state = apply(state, plan(replace(state, cordons={"m1": Cordon()})))
    decisions = plan(state)
    assert kinds(decisions) == [("drain", "a.service", "m1")]
    state = apply(state, decisions)
    # Until it has stopped, and until it runs elsewhere, nothing else goes.
    assert plan(state) == []
    assert drain_report(state, "m1")["c.service"] == "it goes when a.service runs elsewhere"
    state = replace(settle(state), cordons={"m1": Cordon(True, ("a.service",))}, unsettled=frozenset({"a.service"}))
    decisions = plan(state)
    assert kinds(decisions) == [("place", "a.service", "m2")]
    state = replace(apply(state, decisions), unsettled=frozenset())
    decisions = plan(state)
    assert kinds(decisions) == [("drain", "b.service", "m1"), ("drain", "c.service", "m1")]
    state = settle(apply(state, decisions))
    decisions = plan(state)
    assert kinds(decisions) == [("place", "b.service", "m2"), ("place", "c.service", "m2")]
    state = apply(state, decisions)
    assert plan(state) == []
    assert drain_report(state, "m1") == {
        "bound.service": "no other machine takes it",
        "g.service": "a global unit, or one that cannot be read, stays",
    }


def test_a_drain_leaves_a_unit_whose_follower_has_no_other_place() -> None:
    units = [launched("a.service"), launched("b.service", "MachineOf=a.service", "MachineMetadata=x=1")]
    places = {"a.service": "m1", "b.service": "m1"}
    state = cluster(units, [machine("m1", x="1"), M2], schedule=schedule_of(places, units), cordons=DRAIN)
    assert plan(state) == []
