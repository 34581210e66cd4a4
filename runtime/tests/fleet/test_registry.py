# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
from flagship.etcd import Event, KeyValue, Snapshot, Unavailable
from flagship.fleet import api_json, registry
from flagship.fleet.model import DESIRED_STATES, Cordon, DesiredState, Machine, Unit, UnitState
from flagship.fleet.patience import Patience
from flagship.fleet.placement import plan, why_not
from flagship.fleet.registry import Keys, RecordError
from flagship.fleet.unit_file import Option, serialise
from flagship.fleet.view import View
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.builders import launched

KEYS = Keys("/fleet/")
PATIENCE = Patience(10.0)
HASH = "0" * 40
options = st.lists(st.builds(Option, st.text(max_size=5), st.text(max_size=5), st.text(max_size=9)), max_size=4)


@given(options.map(tuple), st.sampled_from(list(DESIRED_STATES.values())), st.integers(0, 9))
def test_units_survive_the_registry(found: tuple[Option, ...], desired: DesiredState, restarts: int) -> None:
    unit = Unit("a.service", found, desired, restarts)
    assert registry.load_unit("key", "a.service", registry.dump_unit(unit)) == unit
    assert registry.load_entry("key", "a.service", registry.dump_unit(unit)) == unit.entry


def test_machines_and_states_survive_the_registry() -> None:
    machine = Machine("m1", "192.0.2.1", {"a": "b"}, "boot", "1.0.0")
    assert registry.load_machine("key", "m1", registry.dump_machine(machine)) == machine
    state = UnitState(HASH, "loaded", "active", "running", "launched")
    assert registry.load_state("key", registry.dump_state(state)) == state
    assert registry.load_leader("key", registry.dump_leader("m1")) == "m1"
    cordon = Cordon(True, ("a.service",))
    assert registry.load_cordon("key", registry.dump_cordon(cordon)) == cordon


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        (KEYS.unit("a.service"), ("unit", "a.service")),
        (KEYS.machine("m1"), ("machine", "m1")),
        (KEYS.cordon("m1"), ("cordon", "m1")),
        (KEYS.metadata("m1", "k"), ("metadata", "m1", "k")),
        (KEYS.schedule("m1", "a.service"), ("schedule", "m1", "a.service")),
        (KEYS.state("a.service", "m1"), ("state", "a.service", "m1")),
        (KEYS.leader, ("leader",)),
    ],
)
def test_keys_are_read_as_they_are_made(key: str, parts: tuple[str, ...]) -> None:
    assert KEYS.parts(key) == parts


@pytest.mark.parametrize(
    "key",
    [
        *("/other/unit/a.service", "/fleet/unit/", "/fleet/unit/a", "/fleet/unit/a/b.service", "/fleet/x"),
        *("/fleet/leader/x", "/fleet/schedule/m1/..", "/fleet/schedule//a.service", "/fleet/state/m1/a.service"),
    ],
)
def test_foreign_keys_are_named(key: str) -> None:
    with pytest.raises(RecordError) as caught:
        KEYS.parts(key)
    assert key in str(caught.value)


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"1", b'{"options":1}', b'{"options":[1]}', b'{"options":[]}']))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    view = View(KEYS, PATIENCE)
    keys = [
        KEYS.unit("a.service"),
        KEYS.machine("m1"),
        KEYS.metadata("m1", "k"),
        KEYS.cordon("m1"),
        KEYS.schedule("m1", "b.service"),
        KEYS.state("a.service", "m1"),
        KEYS.leader,
        "/fleet/foreign",
    ]
    view.on_snapshot(Snapshot({key: KeyValue(key, value, 1, 1, 0) for key in keys}, 1))
    assert view.leader is not None and view.synced
    assert view.cluster().schedule.keys() == {"m1"}
    assert "a.service" in view.units or "a.service" in view.unreadable
    # In doubt a machine takes nothing, and gives nothing away.
    assert view.cluster().cordons == {"m1": Cordon()}
    view.on_events([Event("delete", key, None, 2) for key in keys], 2)
    assert (view.units, view.unreadable, view.schedule, view.states, view.places) == ({}, set(), {}, {}, {})
    assert view.leader is None and view.revision == 2


# Text as JSON may hold it: half a surrogate pair, which no UTF-8 can, and control characters too.
odd_text = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["\ud800", "a\udfffb", "\0", "a\n[B]\nc=d", "launched"]
)
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=6,
)
odd_options = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "section": odd_text | st.just("X-Fleet"),
            "name": odd_text | st.sampled_from(["MachineID", "Conflicts", "MachineMetadata", "Spread", "Global"]),
            "value": odd_text | odd,
        },
    ),
    max_size=4,
)
members = {
    "options": odd_options | odd,
    "desired_state": st.sampled_from(["launched", "loaded", "inactive"]) | odd,
    "restarts": st.integers(-3, 3) | odd,
    "id": st.just("m1") | odd,
    "metadata": st.dictionaries(odd_text, odd_text, max_size=2) | odd,
    "moving": st.lists(odd_text, max_size=2) | odd,
    **dict.fromkeys(("primary_ip", "boot_id", "hash", "load_state", "current_state", "drain", "machine_id"), odd),
}


@example({"options": [{"section": "A", "name": "b", "value": "\ud800"}], "desired_state": "launched"})
@example({"hash": "abc", "current_state": "launched"})
@example({"options": [], "desired_state": "launched", "current_state": ""})
@example({"id": "m1", "metadata": {"a": "\ud800"}, "primary_ip": "\ud800"})
@example({"options": [{"section": "A", "name": "b"}], "desired_state": "launched", "restarts": True})
@given(st.fixed_dictionaries({}, optional=members) | odd)
def test_any_record_is_read_or_refused_and_harms_nobody(record: object) -> None:
    view = View(KEYS, PATIENCE)
    value = json.dumps(record).encode()
    good = launched("good.service")
    keys = [
        *(
            KEYS.unit("a.service"),
            KEYS.unit("web@1.service"),
            KEYS.machine("m1"),
            KEYS.metadata("m2", "k"),
            KEYS.leader,
        ),
        *(KEYS.cordon("m1"), KEYS.schedule("m1", "b.service"), KEYS.schedule("m2", "web@1.service")),
        KEYS.state("a.service", "m1"),
        *(KEYS.schedule("m2", "a.service"), KEYS.state("a.service", "m2")),
    ]
    items = {key: KeyValue(key, value, 1, 1, 0) for key in keys}
    for key, known in (
        (KEYS.unit(good.name), registry.dump_unit(good)),
        (KEYS.machine("m2"), registry.dump_machine(Machine("m2", "192.0.2.2"))),
    ):
        items[key] = KeyValue(key, known, 1, 1, 0)
    view.on_snapshot(Snapshot(items, 1))
    decisions = plan(view.cluster())
    assert [d.machine for d in decisions if d.unit == good.name and d.kind == "place"]
    for decision in decisions:
        assert registry.dump_unit(decision.entry)
    for found in view.unit_list():
        serialise(found.unit.options).encode()
        entity = api_json.unit_entity(found, listed=True)
        json.dumps(entity, ensure_ascii=False).encode()
        # fleetctl 1.0.0 waits for ever without it.
        assert entity["currentState"] in ("inactive", "loaded", "launched")
        why_not(view.cluster(), found.unit.name)
    for machine in view.effective_machines():
        json.dumps(api_json.machine_entity(machine), ensure_ascii=False).encode()
    for state in view.state_list():
        # fleetctl 1.0.0 crashes over a short one.
        assert len(api_json.state_entity(*state).get("hash", HASH)) == 40
        json.dumps(api_json.state_entity(*state), ensure_ascii=False).encode()


def put(view: View, revision: int, key: str, value: bytes, lease: int = 0) -> None:
    view.on_events([Event("put", key, KeyValue(key, value, revision, revision, lease), revision)], revision)


def test_current_state_follows_schedule_and_states() -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(Snapshot({}, 1))
    unit = launched("a.service")

    def current() -> tuple[str, str]:
        seen = view.unit("a.service")
        assert seen is not None
        return seen.current_state, seen.machine

    put(view, 2, KEYS.unit("a.service"), registry.dump_unit(unit))
    assert current() == ("inactive", "")
    put(view, 3, KEYS.schedule("m1", "a.service"), registry.dump_unit(unit))
    assert current() == ("inactive", "m1")
    state = registry.dump_state(UnitState(HASH, "loaded", "active", "running", "launched"))
    put(view, 4, KEYS.state("a.service", "m1"), state)
    assert current() == ("launched", "m1")
    put(view, 5, KEYS.schedule("m1", "a.service"), registry.dump_unit(launched("a.service", desired="inactive")))
    assert current() == ("loaded", "")
    view.on_events([Event("delete", KEYS.state("a.service", "m1"), None, 6)], 6)
    assert current() == ("inactive", "")


def test_the_state_of_a_unit_is_never_that_of_a_machine_it_has_left() -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(Snapshot({}, 1))
    unit = launched("a.service")
    active, starting = (UnitState(HASH, "loaded", state, "x", "launched") for state in ("active", "activating"))
    put(view, 2, KEYS.unit("a.service"), registry.dump_unit(unit))
    put(view, 3, KEYS.schedule("m1", "a.service"), registry.dump_unit(unit))
    put(view, 4, KEYS.state("a.service", "m1"), registry.dump_state(active))
    assert view.state_of("a.service") == ("m1", active)
    # It moves: what the old machine has said last is no answer to whether it runs on the new one.
    put(view, 5, KEYS.schedule("m1", "a.service"), registry.dump_unit(replace(unit, desired_state="inactive")))
    assert view.state_of("a.service") == ("m1", active)
    put(view, 6, KEYS.schedule("m2", "a.service"), registry.dump_unit(unit))
    assert view.state_of("a.service") is None
    put(view, 7, KEYS.state("a.service", "m2"), registry.dump_state(starting))
    assert view.state_of("a.service") == ("m2", starting)
    put(view, 8, KEYS.state("b.service", "m1"), registry.dump_state(active))
    assert view.state_of("b.service") is None


@dataclass
class Clock:
    """Stands in for the module time."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("flagship.fleet.view.time", clock)
    return clock


def registry_of(*, machine: bytes | None = None) -> Snapshot:
    """A registry in which the machine m1 has a unit, and a record if that is given."""
    records = {KEYS.schedule("m1", "a.service"): registry.dump_unit(launched("a.service"))}
    if machine is not None:
        records[KEYS.machine("m1")] = machine
    return Snapshot({key: KeyValue(key, value, 1, 1, 0) for key, value in records.items()}, 1)


def awaited(view: View) -> bool:
    return view.cluster().awaited == {"m1"}


def test_a_machine_without_a_record_is_dead_unless_it_comes_back(clock: Clock) -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(registry_of(machine=registry.dump_machine(Machine("m1"))))
    clock.now += PATIENCE.ttl + 0.1
    assert not awaited(view)
    view.on_events([Event("delete", KEYS.machine("m1"), None, 2)], 2)
    assert awaited(view)
    assert view.verdict("m1") == clock.now + PATIENCE.comeback
    clock.now += PATIENCE.comeback + 0.1
    assert not awaited(view)
    # A machine whose record cannot be read is there, so it is not dead.
    put(view, 3, KEYS.machine("m1"), b"junk")
    assert awaited(view)
    assert math.isinf(view.verdict("m1"))


def test_nobody_waits_for_a_machine_that_is_buried(clock: Clock) -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(registry_of(machine=registry.dump_machine(Machine("m1"))))
    clock.now += PATIENCE.ttl + 0.1
    view.on_events([Event("delete", KEYS.machine("m1"), None, 2)], 2)
    view.bury("m1")
    assert not awaited(view)


@pytest.mark.parametrize(("gap", "outage"), [(PATIENCE.brief - 0.1, False), (PATIENCE.brief + 0.1, True)])
def test_a_whole_ttl_passes_after_an_outage(clock: Clock, gap: float, outage: bool) -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(registry_of(machine=registry.dump_machine(Machine("m1"))))
    clock.now += 100
    view.on_lost(Unavailable("away"))
    assert not view.synced
    clock.now += gap
    view.on_snapshot(registry_of())
    assert awaited(view)
    clock.now += PATIENCE.comeback + 0.1
    assert awaited(view) is outage
    clock.now += PATIENCE.ttl
    assert not awaited(view)


def test_machines_never_seen_are_awaited_for_a_ttl(clock: Clock) -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(registry_of())
    assert awaited(view)
    clock.now += PATIENCE.ttl + 0.1
    assert not awaited(view)


@pytest.mark.parametrize("ttl", [6.0, 10.0, 30.0, 60.0])
def test_at_the_verdict_the_dead_are_told_from_the_living(ttl: float) -> None:
    patience = Patience(ttl)
    assert 0 < patience.verdict < ttl
    # etcd gives a lease its whole time and a second at an election, and rounds down what remains.
    assert patience.is_silent(math.floor(patience.lease + 1 - patience.verdict - 0.01))
    assert not patience.is_silent(math.floor(patience.lease - patience.renewal))
    # Whoever took four seconds to find another member of etcd lives.
    assert ttl < 10 or not patience.is_silent(math.floor(patience.lease - (patience.verdict - 4)))


def test_short_leases_tell_nothing_after_an_election() -> None:
    assert math.isinf(Patience(3.0).verdict)


@pytest.mark.parametrize(
    ("desired", "state", "arrived"),
    [
        ("launched", None, False),
        ("launched", UnitState(HASH, "loaded", "activating", "start", "launched"), False),
        ("launched", UnitState(HASH, "loaded", "failed", "failed", "launched"), False),
        ("launched", UnitState(HASH, "loaded", "inactive", "dead", "loaded"), False),
        ("launched", UnitState(HASH, "loaded", "active", "running", "launched"), True),
        ("launched", UnitState(HASH, "loaded", "inactive", "dead", "launched"), False),
        ("loaded", UnitState(HASH, "loaded", "inactive", "dead", "loaded"), True),
        ("inactive", None, True),
    ],
)
def test_a_unit_that_moves_has_arrived_when_it_runs(
    desired: DesiredState, state: UnitState | None, arrived: bool
) -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(Snapshot({}, 1))
    unit = launched("a.service", desired=desired)
    put(view, 2, KEYS.cordon("m1"), registry.dump_cordon(Cordon(True, ("a.service", "gone.service"))))
    put(view, 3, KEYS.unit("a.service"), registry.dump_unit(unit))
    put(view, 4, KEYS.schedule("m2", "a.service"), registry.dump_unit(unit))
    if state is not None:
        put(view, 5, KEYS.state("a.service", "m2"), registry.dump_state(state))
    assert view.cluster().unsettled == (frozenset() if arrived else {"a.service"})


def test_a_job_that_moves_has_arrived_when_it_has_ended() -> None:
    view = View(KEYS, PATIENCE)
    view.on_snapshot(Snapshot({}, 1))
    unit = Unit("a.service", (Option("Service", "Type", "oneshot"),), "launched")
    put(view, 2, KEYS.cordon("m1"), registry.dump_cordon(Cordon(True, ("a.service",))))
    put(view, 3, KEYS.unit("a.service"), registry.dump_unit(unit))
    put(view, 4, KEYS.schedule("m2", "a.service"), registry.dump_unit(unit))
    for number, (active, arrived) in enumerate((("activating", False), ("inactive", True), ("failed", False))):
        state = registry.dump_state(UnitState(HASH, "loaded", active, "x", "launched"))
        put(view, 5 + number, KEYS.state("a.service", "m2"), state)
        assert (not view.cluster().unsettled) is arrived


def test_a_resync_without_news_wakes_nobody() -> None:
    view = View(KEYS, PATIENCE)
    items = {KEYS.leader: KeyValue(KEYS.leader, registry.dump_leader("m1"), 1, 1, 7)}
    view.on_snapshot(Snapshot(items, 1))
    version = view.version
    view.on_snapshot(Snapshot(dict(items), 5))
    assert (view.version, view.revision) == (version, 5)


def test_states_wake_nobody_and_all_else_does() -> None:
    view = View(KEYS, PATIENCE)
    state = registry.dump_state(UnitState(HASH, "loaded", "active", "running", "launched"))
    put(view, 2, KEYS.state("a.service", "m1"), state)
    assert (view.version, view.revision) == (0, 2)
    unit = KEYS.unit("a.service")
    value = registry.dump_unit(launched("a.service"))
    key = KEYS.state("a.service", "m1")
    view.on_events([Event("delete", key, None, 3), Event("put", unit, KeyValue(unit, value, 3, 3, 0), 3)], 3)
    assert (view.version, view.revision) == (1, 3)
