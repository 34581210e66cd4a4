# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: one of them leads, computes the placement on every change, and writes it behind a fence."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from flagship.daemon import Backoff
from flagship.etcd import Client, Compare, Delete, EtcdError, LeaseKeeper, Operation, Put
from flagship.fleet import registry
from flagship.fleet.machine import Presence
from flagship.fleet.model import Cordon
from flagship.fleet.patience import Patience
from flagship.fleet.placement import Decision, plan
from flagship.fleet.registry import Keys
from flagship.fleet.view import Leader, View

log = logging.getLogger(__name__)

# etcd refuses more than 128 comparisons or operations in one transaction unless told otherwise.
BATCH = 100
# Seconds.
_TOO_LATE = 2.0


class Engine:
    """Takes part in leadership in a thread of its own; every node may run one.

    Each write compares the leader key's create revision: an engine that lost its lease, even without noticing,
    changes nothing. *patience* says when a machine is dead that etcd keeps alive.
    """

    def __init__(
        self, client: Client, keys: Keys, view: View, keeper: LeaseKeeper, presence: Presence, patience: Patience
    ) -> None:
        self._client = client
        self._keys = keys
        self._view = view
        self._keeper = keeper
        self._presence = presence
        self._patience = patience
        self._judged = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.leader_since: float | None = None
        """When (time.time) this engine began to lead; None while another one does."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Events by (metric, label), for /metrics."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, which gives up leadership first so that another engine takes over at once."""
        self._stop.set()
        self._view.wake()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        backoff = Backoff(first=0.1, limit=2.0)
        seen = -1
        timeout = 0.0
        while not self._stop.is_set():
            seen = self._view.wait_change(seen, None if math.isinf(timeout) else timeout)
            if self._stop.is_set():
                break
            try:
                timeout = self._step()
                backoff.reset()
            except EtcdError as error:
                log.warning("The engine could not write, trying again: %s", error)
                self.counts["reconcile_failure", "etcd"] += 1
                timeout = backoff.next()
            except Exception:
                # A mistake for one cluster state must not end the engine: the next change gives it another chance.
                log.exception("The engine failed, trying again with the next change.")
                self.counts["reconcile_failure", "internal"] += 1
                timeout = 5.0

        leader = self._view.leader
        if self.leader_since is not None and leader is not None and leader.lease == self._keeper.lease:
            try:
                self._depose(leader)
            except EtcdError as error:
                log.info("Leadership ends with this machine's lease: %s", error)

    def _step(self) -> float:
        """Do what is to be done now; seconds after which to look again even if nothing changes, infinite for never."""
        lease = self._keeper.lease
        if lease is None or not self._keeper.live or not self._presence.registered or not self._view.synced:
            self.leader_since = None
            return 1.0
        leader = self._view.leader
        if leader is None:
            return self._campaign(lease)
        if leader.lease == lease:
            judged = self._judge(leader, self._give_up_silent)
            return min(judged, self._lead(leader))
        self.leader_since = None
        if leader.lease == 0 or leader.machine == self._presence.machine.id:
            # A key that no lease ends would last for ever; one of this machine's former lease has nobody behind it.
            self._depose(leader)
            return 1.0
        return self._judge(leader, self._depose_silent)

    def _campaign(self, lease: int) -> float:
        put = Put(self._keys.leader, registry.dump_leader(self._presence.machine.id), lease)
        result = self._client.txn([Compare(self._keys.leader, "create", 0)], [put])
        if result.succeeded:
            self._view.wait_revision(result.revision, self._client.connection.timeout)
        return 1.0

    def _depose(self, leader: Leader) -> None:
        self._client.txn([Compare(self._keys.leader, "mod", leader.mod_revision)], [Delete(self._keys.leader)])

    def _judge(self, leader: Leader, give_up: Callable[[Leader], bool]) -> float:
        """When it is time after an election in etcd, *give_up* who is silent since; seconds until then, or infinite.

        What *give_up* returns tells whether that election is dealt with here.
        """
        election = self._client.elected_at
        if election == self._judged:
            return math.inf
        wait = election + self._patience.verdict - time.monotonic()
        if wait > 0:
            return wait
        # Long after the verdict was due a lease that is about to end says nothing of the election any more.
        if wait < -_TOO_LATE or give_up(leader):
            self._judged = election
            return math.inf
        return 1.0

    def _is_silent(self, lease: int) -> bool:
        return self._patience.is_silent(self._client.remaining(lease))

    def _depose_silent(self, leader: Leader) -> bool:
        """End the leadership of an engine that is silent, so that another one judges the machines."""
        silent = self._is_silent(leader.lease)
        if silent:
            log.warning("The engine that led, on machine %s, is silent since etcd's leader changed.", leader.machine)
            self._depose(leader)
        return not silent

    def _give_up_silent(self, leader: Leader) -> bool:
        """Delete the records of machines that are silent; one that lives after all writes its record again."""
        for machine in self._view.effective_machines():
            record = self._view.record(self._keys.machine(machine.id))
            if record is None or not self._is_silent(record.lease):
                continue
            fence = Compare(self._keys.leader, "create", leader.create_revision)
            result = self._client.txn([fence, Compare(record.key, "mod", record.mod_revision)], [Delete(record.key)])
            if result.succeeded:
                log.warning("Machine %s is silent since etcd's leader changed, and counts as dead.", machine.id)
                self._view.wait_revision(result.revision, self._client.connection.timeout)
                self._view.bury(machine.id)
        return True

    def _lead(self, leader: Leader) -> float:
        if self.leader_since is None:
            self.leader_since = time.time()
            log.info("The engine of this machine leads.")
        cluster = self._view.cluster()
        decisions = plan(cluster)
        self.counts["reconcile", ""] += 1
        complete = True
        moving: dict[str, list[str]] = {}
        for decision in decisions:
            if decision.kind == "drain":
                moving.setdefault(decision.machine, []).append(decision.unit)
        for batch in batches(decisions):
            complete = self._write(leader, batch, moving) and complete
        if not complete:
            # Something changed meanwhile, and its event will come; should it not, look again.
            return 1.0
        verdict = min(map(self._view.verdict, cluster.awaited), default=math.inf)
        return max(0.1, verdict - time.monotonic())

    def _write(self, leader: Leader, batch: list[Decision], moving: Mapping[str, list[str]]) -> bool:
        """Write a batch if this engine still leads and its units are still as they were; whether it was written.

        A drained machine's order has to be unchanged too, and gets to know what is *moving* from it.
        """
        compare = [Compare(self._keys.leader, "create", leader.create_revision)]
        for name in dict.fromkeys(decision.unit for decision in batch):
            record = self._view.record(self._keys.unit(name))
            compare.append(Compare(self._keys.unit(name), "mod", record.mod_revision if record else 0))
        puts: list[Operation] = [
            Put(self._keys.schedule(decision.machine, decision.unit), registry.dump_unit(decision.entry))
            for decision in batch
        ]
        for machine in dict.fromkeys(decision.machine for decision in batch if decision.kind == "drain"):
            key = self._keys.cordon(machine)
            record = self._view.record(key)
            compare.append(Compare(key, "mod", record.mod_revision if record else 0))
            puts.append(Put(key, registry.dump_cordon(Cordon(drain=True, moving=tuple(moving[machine])))))
        result = self._client.txn(compare, puts)
        for decision in batch:
            self.counts["task" if result.succeeded else "task_failure", decision.kind] += 1
            if result.succeeded:
                log.info(_DONE[decision.kind], decision.unit, decision.machine)
        if result.succeeded:
            self._view.wait_revision(result.revision, self._client.connection.timeout)
        return result.succeeded


_DONE = {
    "place": "Placed %s on machine %s.",
    "withdraw": "Withdrew %s from machine %s.",
    "drain": "Withdrew %s from machine %s, which is being drained.",
    "update": "Updated %s on machine %s.",
}


def batches(decisions: list[Decision], limit: int = BATCH) -> Iterator[list[Decision]]:
    """*decisions* in pieces of at most *limit*, those of one unit together if they fit: a move is one transaction."""
    batch: list[Decision] = []
    group: list[Decision] = []
    for number, decision in enumerate(decisions):
        group.append(decision)
        last = number + 1 == len(decisions) or decisions[number + 1].unit != decision.unit
        if not last and len(group) < limit:
            continue
        if len(batch) + len(group) > limit:
            yield batch
            batch = []
        batch = batch + group
        group = []
    if batch:
        yield batch
