# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are silent for longer than the TTL: others take over, and in the end exactly one of each unit runs."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from conftest import STEADY, spread
from lab import LIMIT, TTL, Lab, Node, Running, stays, wait_for


def _elsewhere(lab: Lab, lost: Node, units: set[str]) -> bool:
    others = {unit for node in lab.nodes if node is not lost for unit in node.active_units()}
    return units <= others


def _one_of_each(lab: Lab) -> None:
    lab.settle()
    everywhere = {name for name, unit in lab.units().items() if {"Global"} & {o["name"] for o in unit["options"]}}
    runs = Counter(unit for node in lab.nodes for unit in node.active_units() - everywhere)
    assert set(STEADY) <= runs.keys()
    assert set(runs.values()) == {1}, f"not exactly one of each: {runs}"


def test_a_node_is_cut_off_for_twice_the_ttl(lab: Lab, before: Running) -> None:
    """It keeps its units, they also start elsewhere, and one of each remains when it is back.

    Not a node of a virtual IP: that one ends its keepalived, and with it the address, which others take over.
    """
    others = [node for node in lab.nodes if not any("-virtual-ip@" in unit for unit in node.active_units())]
    lost = max(others, key=lambda node: len(node.active_units() & set(STEADY)))
    movable = lost.active_units() & set(STEADY)
    with lost.without_network():
        wait_for(lambda: _elsewhere(lab, lost, movable), "the start of its units elsewhere", TTL + 10)
        stays([lost], before, TTL)
    _one_of_each(lab)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_dies_without_a_word(lab: Lab, before: Running, role: str, soak: bool) -> None:
    """Two seconds after the TTL all runs elsewhere that can; the death of etcd's leader makes leases last longer."""
    for _time in range(3 if soak else 1):
        spread(lab)
        leader = lab.etcd_leader()
        taken = _takeover(lab, next(node for node in lab.members if (node is leader) == (role == "leader")))
        print(f"The node of etcd's {role} was dead, and its units ran elsewhere {taken:.1f} s later.")
        assert taken <= TTL + 2
        wait_for(lab.etcd_healthy, "a healthy etcd", 2 * LIMIT)
        _one_of_each(lab)


def _takeover(lab: Lab, lost: Node) -> float:
    """Seconds from the death of a node until the last of its movable units has begun elsewhere; it is revived."""
    movable = lost.active_units() & set(STEADY)
    died = time.monotonic()
    with lost.dead():
        wait_for(lambda: _elsewhere(lab, lost, movable), "the start of its units elsewhere", TTL + 10)
        others = [node.started(movable) for node in lab.nodes if node is not lost]
        return max(times[unit] for times in others for unit in movable) - died


def test_a_frozen_leader_wakes_and_is_fenced(lab: Lab, before: Running) -> None:
    """What the next leader has decided meanwhile stands, whatever the woken one still knows."""
    leader = lab.fleet_leader(lab.nodes[0])
    assert leader is not None
    other = next(node for node in lab.nodes if node is not leader)
    movable = leader.active_units() & set(STEADY)
    with leader.frozen("fleet"):
        wait_for(lambda: lab.fleet_leader(other) not in (None, leader), "another leader", 2 * TTL)
        wait_for(lambda: _elsewhere(lab, leader, movable), "the start of its units elsewhere", TTL + 10)
        schedule = _placed(other)
        stays([leader], before, 0)
    _one_of_each(lab)
    assert all(unit not in leader.active_units() for unit in movable)
    assert _placed(other).items() >= schedule.items(), "the woken engine has changed the schedule"


def _placed(node: Node) -> dict[str, str]:
    """The machines of all units that are not withdrawn there, from the API."""
    return {unit["name"]: unit["machineID"] for unit in node.api("GET", "units")["units"] if unit.get("machineID")}
