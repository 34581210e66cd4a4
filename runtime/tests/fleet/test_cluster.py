# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole daemons of several machines on a real etcd: who leads, what moves, and what stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client
from flagship.fleet.client import FleetClient
from flagship.fleet.columns import vars_of
from flagship.fleet.engine import batches
from flagship.fleet.model import Entry
from flagship.fleet.placement import Decision
from flagship.fleet.registry import Keys

from fleet.builders import launched
from fleet.simulated import Node

Nodes = Callable[..., Node]


def submit(client: FleetClient, name: str, *lines: str, desired: str = "launched") -> None:
    unit = launched(name, *lines)
    client.put_unit(name, options=[vars_of(option) for option in unit.options], desiredState=desired)


def current(client: FleetClient, name: str) -> Any:
    return (client.unit(name) or {}).get("currentState")


def running(nodes: list[Node]) -> dict[str, list[str]]:
    """Unit to the machines that run it."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        for name in node.running:
            found.setdefault(name, []).append(node.directory.name)
    return found


def leaders(nodes: list[Node]) -> list[Node]:
    return [n for n in nodes if n.service and n.service.engine and n.service.engine.leader_since is not None]


def die(node: Node) -> None:
    """End a node's daemon as a power cut would: its lease runs out, its systemd is empty when it returns."""
    node.stop()
    node.systemd.active.clear()


@pytest.fixture
def three(make_node: Nodes) -> list[Node]:
    return [make_node(f"m{n}").start() for n in (1, 2, 3)]


def test_one_leads_and_units_are_spread(three: list[Node]) -> None:
    for n in range(6):
        submit(three[n % 3].client, f"u{n}.service")
    wait_for(lambda: len(running(three)) == 6, what="six units to run")
    assert [len(node.running) for node in three] == [2, 2, 2]
    assert len(leaders(three)) == 1


def test_a_dead_machines_units_move_and_the_returning_machine_stops_them(three: list[Node]) -> None:
    submit(three[0].client, "web@1.service", "Conflicts=web@*.service")
    submit(three[0].client, "web@2.service", "Conflicts=web@*.service")
    submit(three[0].client, "side@1.service", "MachineOf=web@1.service")
    wait_for(lambda: len(running(three)) == 3, what="three units to run")
    lost = next(node for node in three if "web@1.service" in node.running)
    assert "side@1.service" in lost.running
    rest = [node for node in three if node is not lost]
    # Cut off, not switched off: what runs there goes on running.
    lost.stop()
    wait_for(lambda: set(running(rest)) == {"web@1.service", "side@1.service", "web@2.service"}, limit=15)
    assert "web@1.service" in lost.running
    lost.start()
    wait_for(lambda: not lost.running, what="the returning machine to stop what has moved")
    placed = running(three)
    assert sorted(placed) == ["side@1.service", "web@1.service", "web@2.service"]
    assert all(len(machines) == 1 for machines in placed.values())
    assert placed["web@1.service"] == placed["side@1.service"] != placed["web@2.service"]
    assert all(node.systemd.count("stop", "web@2.service") == 0 for node in rest)


def test_a_machine_that_leaves_stops_its_units_and_they_start_elsewhere_at_once(make_node: Nodes) -> None:
    three = [make_node(f"m{n}", agent_ttl=8.0).start() for n in (1, 2, 3)]
    started = time.monotonic()
    for n in range(3):
        submit(three[0].client, f"u{n}.service")
    submit(three[0].client, "bound.service", f"MachineID={three[1].id}")
    wait_for(lambda: len(running(three)) == 4, what="four units to run")
    gone, rest = three[1], [three[0], three[2]]
    mine = gone.running
    # An engine calls no machine dead in its first TTL.
    wait_for(lambda: time.monotonic() > started + 8.5)
    gone.stop(leave=True)
    assert not gone.running and len(mine) == 2
    wait_for(
        lambda: set(running(rest)) == {"u0.service", "u1.service", "u2.service"}, limit=4, what="the units elsewhere"
    )
    gone.start()
    wait_for(lambda: gone.running == {"bound.service"}, what="the bound unit to run again")
    assert all(len(machines) == 1 for machines in running(three).values())


def test_a_bound_unit_is_not_stopped_when_its_machine_was_away(three: list[Node]) -> None:
    submit(three[0].client, "a.service", f"MachineID={three[2].id}")
    wait_for(lambda: "a.service" in three[2].running, what="a.service to run")
    three[2].stop()
    wait_for(lambda: three[2].id not in [m["id"] for m in three[0].client.pages("machines", "machines")], limit=15)
    assert current(three[0].client, "a.service") == "inactive"
    three[2].start()
    wait_for(lambda: current(three[0].client, "a.service") == "launched", what="launched again")
    assert (three[2].systemd.count("start", "a.service"), three[2].systemd.count("stop", "a.service")) == (1, 0)


def test_a_rebooted_machine_starts_its_bound_unit_again(three: list[Node]) -> None:
    submit(three[0].client, "a.service", f"MachineID={three[2].id}")
    wait_for(lambda: "a.service" in three[2].running, what="a.service to run")
    die(three[2])
    for path in (three[2].directory / "launched").iterdir():
        path.unlink()
    for path in (three[2].directory / "units").iterdir():
        path.unlink()
    three[2].systemd.linked.clear()
    three[2].systemd.reload()
    three[2].start()
    wait_for(lambda: "a.service" in three[2].running, what="a.service to run again")


def test_a_restarted_daemon_touches_nothing(three: list[Node]) -> None:
    for n in range(3):
        submit(three[0].client, f"u{n}.service")
    wait_for(lambda: all(current(three[0].client, f"u{n}.service") == "launched" for n in range(3)))
    before = [list(node.systemd.calls) for node in three]
    for node in three:
        node.stop()
    for node in three:
        node.start()
    wait_for(lambda: all(current(three[0].client, f"u{n}.service") == "launched" for n in range(3)))
    wait_for(lambda: leaders(three), what="a leader")
    assert [node.systemd.calls for node in three] == before


def test_nothing_happens_while_etcd_is_away_and_after_it(three: list[Node], etcd_server: EtcdServer) -> None:
    for n in range(3):
        submit(three[0].client, f"u{n}.service")
    wait_for(lambda: all(current(three[0].client, f"u{n}.service") == "launched" for n in range(3)))
    before = [list(node.systemd.calls) for node in three]
    etcd_server.stop()
    # Longer than the lease: only then a machine could be taken for dead.
    lost = time.monotonic()
    wait_for(lambda: time.monotonic() > lost + 3, what="the leases to run out")
    etcd_server.start()
    wait_for(lambda: all(node.service and node.service.available() for node in three), limit=20)
    settled = time.monotonic()
    wait_for(lambda: time.monotonic() > settled + 3, what="the grace to be over")
    assert [node.systemd.calls for node in three] == before
    submit(three[0].client, "new.service")
    wait_for(lambda: current(three[0].client, "new.service") == "launched", what="the engine to go on")


def test_an_election_in_etcd_keeps_no_dead_machine_alive(
    make_node: Nodes, etcd_server: EtcdServer, etcd_client: Client, prefix: str
) -> None:
    """A new leader of etcd lets leases live for their TTL and a second more; the dead engine led, too."""
    three = [make_node(f"m{n}", agent_ttl=10.0).start() for n in (1, 2, 3)]
    started = time.monotonic()
    wait_for(lambda: leaders(three), what="a leader")
    (dead,) = leaders(three)
    rest = [node for node in three if node is not dead]
    for n in range(3):
        submit(rest[0].client, f"u{n}.service")
    wait_for(lambda: all(node.running for node in three), what="a unit on each node")
    wait_for(lambda: time.monotonic() > started + 10.5, limit=15, what="the first TTL to be over")
    # Without a connection it can neither renew its lease nor hand over.
    assert dead.service is not None
    dead.service._client.close()
    die(dead)
    # A restart is an election in a cluster of one.
    etcd_server.stop()
    etcd_server.start()
    elected = time.monotonic()
    record = Keys(prefix).machine(dead.id)
    wait_for(lambda: etcd_client.get(record) is None, limit=15, what="the record of the dead machine to go")
    assert 7 < time.monotonic() - elected < 10
    wait_for(lambda: len(running(rest)) == 3, limit=2, what="its unit elsewhere")
    assert sum(node.systemd.count("stop", f"u{n}.service") for node in rest for n in range(3)) == 0
    assert all(node.service and node.service.available() for node in rest)


@pytest.mark.parametrize("hit", ["one", "the leader", "all"])
def test_leases_that_etcd_loses_by_mistake_move_nothing(three: list[Node], etcd_client: Client, hit: str) -> None:
    """A leader of etcd that was frozen revokes what others renewed meanwhile: the fault is faked, by revoking them."""
    started = time.monotonic()
    for n in range(6):
        submit(three[0].client, f"u{n}.service")
    wait_for(lambda: len(running(three)) == 6, what="six units to run")
    # An engine calls no machine dead in its first TTL.
    wait_for(lambda: time.monotonic() > started + 2.5)
    before = running(three)
    (leader,) = leaders(three)
    other = next(node for node in three if node is not leader)
    struck = {"one": [other], "the leader": [leader], "all": three}[hit]
    leases = [node.service.keeper.lease for node in struck if node.service]
    for lease in leases:
        assert lease is not None
        etcd_client.revoke(lease)
    daemons = [node.service for node in struck if node.service]
    wait_for(lambda: all(daemon.keeper.lease not in leases and daemon.available() for daemon in daemons))
    wait_for(lambda: leaders(three), what="a leader")
    submit(three[0].client, "next.service")
    wait_for(lambda: "next.service" in running(three), what="the engine to go on")
    after = running(three)
    assert {name: after[name] for name in before} == before
    assert all(node.systemd.count("stop", name) == 0 for node in three for name in before)


def test_another_engine_takes_over(three: list[Node]) -> None:
    wait_for(lambda: leaders(three), what="a leader")
    (first,) = leaders(three)
    rest = [node for node in three if node is not first]
    first.stop()
    started = time.monotonic()
    wait_for(lambda: leaders(rest), what="another leader")
    # A leader that ends gives the key back; its lease would last longer.
    assert time.monotonic() - started < 1.5
    submit(rest[0].client, "a.service")
    wait_for(lambda: "a.service" in running(rest), what="a.service to run")


def test_a_fenced_engine_writes_nothing(three: list[Node], etcd_client: Client, prefix: str) -> None:
    wait_for(lambda: leaders(three), what="a leader")
    (node,) = leaders(three)
    assert node.service is not None and node.service.engine is not None
    leader = node.service.view.leader
    assert leader is not None
    unit = launched("late.service")
    decision = Decision("place", "late.service", node.id, Entry(unit.options, "launched"))
    # Another engine has been elected meanwhile: the key is there, but it is another key.
    etcd_client.delete(Keys(prefix).leader)
    wait_for(lambda: leaders(three) and etcd_client.get(Keys(prefix).leader) is not None, what="a new election")
    assert not node.service.engine._write(leader, [decision], {})
    assert etcd_client.get(Keys(prefix).schedule(node.id, "late.service")) is None


def test_damaged_and_foreign_records_stop_nothing(three: list[Node], etcd_client: Client, prefix: str) -> None:
    keys = Keys(prefix)
    for n in range(3):
        submit(three[0].client, f"u{n}.service", f"MachineID={three[n].id}")
    wait_for(lambda: all(current(three[0].client, f"u{n}.service") == "launched" for n in range(3)))
    before = [node.systemd.count("stop", f"u{n}.service") for n, node in enumerate(three)]
    for key in (
        keys.unit("u0.service"),
        keys.schedule(three[1].id, "u1.service"),
        keys.machine(three[2].id),
        keys.leader,
        keys.state("u2.service", three[2].id),
        f"{keys.prefix}foreign",
        f"{keys.prefix}unit/no-unit-name",
        f"{keys.prefix}schedule/{three[0].id}/a/b",
    ):
        etcd_client.put(key, b"\xff{")
    # The engine repairs what it owns; a machine writes its own record again.
    wait_for(lambda: (found := etcd_client.get(keys.machine(three[2].id))) and found.lease, what="the machine's record")
    wait_for(lambda: (found := etcd_client.get(keys.leader)) and found.lease, what="a leader")
    entry = keys.schedule(three[1].id, "u1.service")
    wait_for(lambda: (found := etcd_client.get(entry)) and found.value[:1] == b"{", what="the entry")
    submit(three[0].client, "new.service")
    wait_for(lambda: current(three[0].client, "new.service") == "launched", what="the fleet to go on")
    assert [node.systemd.count("stop", f"u{n}.service") for n, node in enumerate(three)] == before
    assert all(f"u{n}.service" in node.running for n, node in enumerate(three))
    # The damaged unit is unknown to clients, who may submit it again, and then it is what it was.
    submit(three[0].client, "u0.service", f"MachineID={three[0].id}")
    wait_for(lambda: current(three[0].client, "u0.service") == "launched", what="u0.service")
    assert three[0].systemd.count("stop", "u0.service") == 0


def test_an_absent_entry_stops_nothing(three: list[Node], etcd_client: Client, prefix: str) -> None:
    submit(three[0].client, "a.service")
    wait_for(lambda: current(three[0].client, "a.service") == "launched", what="launched")
    (node,) = [node for node in three if "a.service" in node.running]
    for leader in three:
        assert leader.service is not None and leader.service.engine is not None
        leader.service.engine.stop()
    etcd_client.delete(Keys(prefix).schedule(node.id, "a.service"))
    wait_for(lambda: etcd_client.get(Keys(prefix).state("a.service", node.id)) is None, what="its state to go")
    assert "a.service" in node.running


def test_a_clone_of_a_machine_does_nothing(make_node: Nodes) -> None:
    first = make_node("m1").start()
    submit(first.client, "a.service")
    wait_for(lambda: "a.service" in first.running, what="a.service to run")
    clone = make_node("m2")
    clone.machine = type(clone.machine)(first.id, "192.0.2.99", {}, "other boot")
    clone.start(wait=False)
    settled = time.monotonic()
    wait_for(lambda: time.monotonic() > settled + 3, what="the lease's time")
    assert clone.service is not None and not clone.service.available()
    assert clone.systemd.calls == []
    first.stop()
    wait_for(clone.service.available, limit=10, what="the clone to take over when the first is gone")


def test_a_node_without_engine_leaves_deciding_to_others(make_node: Nodes) -> None:
    worker = make_node("m1", disable_engine=True).start()
    submit(worker.client, "a.service")
    other = make_node("m2").start()
    wait_for(lambda: running([worker, other]) == {"a.service": ["m1"]}, what="a.service to run")


def test_moves_stay_in_one_transaction() -> None:
    entry = Entry((), "launched")
    decisions = [Decision("place", f"u{n}", f"m{k}", entry) for n in range(40) for k in range(3)]
    found = list(batches(decisions, limit=50))
    assert [d for batch in found for d in batch] == decisions
    assert all(len(batch) <= 50 for batch in found)
    assert all(len({b for b, batch in enumerate(found) for d in batch if d.unit == f"u{n}"}) == 1 for n in range(40))
    many = [Decision("place", "global", f"m{n}", entry) for n in range(250)]
    assert [len(batch) for batch in batches(many)] == [100, 100, 50]


def test_idle_fleets_write_nothing(three: list[Node], etcd_client: Client, prefix: str) -> None:
    submit(three[0].client, "a.service")
    wait_for(lambda: current(three[0].client, "a.service") == "launched", what="launched")
    wait_for(lambda: leaders(three), what="a leader")
    settled = time.monotonic()
    wait_for(lambda: time.monotonic() > settled + 0.5, what="things to settle")
    before = etcd_client.range(prefix).items
    wait_for(lambda: time.monotonic() > settled + 3.5, what="three idle seconds")
    # Every write would show in a key's revision, even one that changes no value.
    assert etcd_client.range(prefix).items == before


def test_a_drained_machine_is_free(three: list[Node]) -> None:
    client = three[1].client
    for name in (*(f"u{n}.service" for n in range(6)), "bound.service"):
        submit(client, name, *([f"MachineID={three[0].id}"] if name == "bound.service" else []))
    wait_for(lambda: len(running(three)) == 7, what="seven units to run")
    moving = three[0].running - {"bound.service"}
    assert len(moving) >= 2
    stuck = min(moving)
    three[0].systemd.stuck.add(stuck)
    path = f"/flagship/v1/machines/{three[0].id}"
    client.call("PUT", f"{path}/schedulable", {"schedulable": False, "drain": True})
    wait_for(lambda: three[0].systemd.count("stop", stuck), what="the first unit to be stopped")
    (leader,) = leaders(three)
    leader.stop()
    leader.start()
    assert three[0].running == moving | {"bound.service"}
    reasons = {unit["name"]: unit["reason"] for unit in client.call("GET", path)["units"]}
    assert reasons[stuck] == "it is still stopping here"
    assert reasons[max(moving)] == f"it goes when {stuck} runs elsewhere"
    assert reasons["bound.service"] == "no other machine takes it"
    three[0].systemd.finish_stop(stuck)
    wait_for(lambda: three[0].running == {"bound.service"} and len(running(three)) == 7, limit=20, what="the drain")
    assert three[0].systemd.count("stop", "bound.service") == 0
    submit(client, "late.service")
    wait_for(lambda: any("late.service" in node.running for node in three[1:]), what="late.service to run elsewhere")
    client.call("PUT", f"{path}/schedulable", {"schedulable": True})
    assert client.call("GET", path)["schedulable"] is True
