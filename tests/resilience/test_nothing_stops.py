# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that must leave every unit and container alone, with the same invocation ids and start times."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from events import under_load
from lab import PREFIX, TTL, Lab, Node, Running, wait_for
from stacks import Stack


def test_the_leader_of_etcd_is_killed_again_and_again(lab: Lab, before: Running, soak: bool) -> None:
    for _time in range(20 if soak else 3):
        wait_for(lab.etcd_healthy, "a healthy etcd")
        leader = lab.etcd_leader()
        assert leader is not None
        leader.kill("etcd")
        lab.stays(before, 0)
    wait_for(lab.etcd_healthy, "a healthy etcd")
    lab.settle()
    lab.stays(before, 0)


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "all at once"])
def test_every_node_is_cut_off_from_etcd_for_less_than_the_ttl(lab: Lab, before: Running, at_once: bool) -> None:
    for nodes in [lab.nodes] if at_once else [[node] for node in lab.nodes]:
        with ExitStack() as stack:
            for node in nodes:
                stack.enter_context(node.without_etcd())
            lab.stays(before, 0.7 * TTL)
        lab.settle()
        lab.stays(before, 0)
    # An engine waits a TTL after an outage before it calls a machine dead.
    lab.stays(before, TTL + 2)


def test_the_daemon_is_killed_restarted_and_upgraded_under_load(lab: Lab, stacks: list[Stack], before: Running) -> None:
    with under_load("the engines killed, restarted and upgraded", stacks), _asked(lab):
        for node in lab.nodes:
            node.kill("fleet")
        lab.settle()
        lab.stays(before, 0)
        for node in lab.nodes:
            with _upgraded(node):
                node.run("systemctl", "restart", "fleet")
                lab.stays(before, 0)
            node.run("systemctl", "restart", "fleet")
        lab.settle()
    lab.stays(before, 0)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_member_of_etcd_hangs(lab: Lab, before: Running, role: str) -> None:
    leader = lab.etcd_leader()
    hangs = next(node for node in lab.members if (node is leader) == (role == "leader"))
    with hangs.frozen("etcd"):
        lab.stays(before, 2 * TTL)
        wait_for(lab.whole, "a whole fleet without that member")
    wait_for(lab.etcd_healthy, "a healthy etcd")
    lab.settle()
    lab.stays(before, 0)


DAMAGED = ("", "{", "[]", '{"options": "none", "desired_state": 7}', "\N{REPLACEMENT CHARACTER}")
FOREIGN = [PREFIX + name for name in ("foreign", "unit/no-unit", "schedule/m/a/b", "state/x", "machine/m/n")]


# One program for all keys: a start of etcdctl for each takes longer than all else together.
_PUT = """
import json, os, sys
from flagship.etcd import Client
from flagship.etcd.rpc import etcdrpc, grpc
from flagship.settings import load

with Client(load(None, os.environ).etcd) as etcd, etcd.endpoints.shared() as link:
    for key, value, there in json.load(sys.stdin):
        try:
            link.kv.Put(etcdrpc.PutRequest(key=key.encode(), value=value.encode(), ignore_lease=there), timeout=10)
        except grpc.RpcError as error:
            # The leader's key may be gone: an engine removes the one that it cannot read.
            if not key.endswith("/leader"):
                sys.exit(f"{key}: {error.details()}")
print("null")
"""


def test_records_are_corrupted(lab: Lab, before: Running, soak: bool) -> None:
    """Each record gets another value that no program of ours wrote, in the long form each of them in turn."""
    node = lab.nodes[0]
    kept = _records(node)
    try:
        for turn in range(len(DAMAGED) if soak else 1):
            damaged = [
                (key, DAMAGED[(number + turn) % len(DAMAGED)], key in kept)
                for number, key in enumerate([*FOREIGN, *kept])
            ]
            node.python(_PUT, damaged, "root")
            lab.stays(before, TTL / 2)
    finally:
        for key in [*FOREIGN, f"{PREFIX}leader"]:
            node.etcdctl("del", key)
        # Machines repair their own records, engines elect a leader anew.
        own = (f"{PREFIX}machine/", f"{PREFIX}leader")
        node.python(_PUT, [(key, text, True) for key, text in kept.items() if not key.startswith(own)], "root")
    lab.settle()
    lab.stays(before, TTL)


def _records(node: Node) -> dict[str, str]:
    answer = json.loads(node.etcdctl("get", "--prefix", PREFIX, "--write-out=json"))
    return {_text(found["key"]): _text(found.get("value", "")) for found in answer["kvs"]}


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


@contextmanager
def _asked(lab: Lab) -> Iterator[None]:
    """Ask all nodes' APIs meanwhile; what one that restarts answers is not the point."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            for node in lab.nodes:
                node.api("GET", "state")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


@contextmanager
def _upgraded(node: Node) -> Iterator[None]:
    """Make a copy of the node's release the current one."""
    release = node.run("readlink", "/opt/flagship/current")
    node.run("cp", "--archive", f"/opt/flagship/{release}", "/opt/flagship/releases/next")
    node.run("ln", "--symbolic", "--force", "--no-dereference", "releases/next", "/opt/flagship/current")
    try:
        yield
    finally:
        node.run("ln", "--symbolic", "--force", "--no-dereference", release, "/opt/flagship/current")
        node.run("rm", "--recursive", "/opt/flagship/releases/next")
