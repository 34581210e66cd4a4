# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: brings this machine's systemd in line with its schedule, and tells the cluster what systemd says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from flagship.etcd import EtcdError
from flagship.fleet.cut_off import CutOff
from flagship.fleet.disk import Disk, Local
from flagship.fleet.model import Entry
from flagship.fleet.own import Publisher, Schedule
from flagship.fleet.retries import Retries
from flagship.fleet.start_order import Starts
from flagship.fleet.steps import STOP_DELAY, Step, is_plain_stop, next_step, published_state
from flagship.fleet.sweep import sweep
from flagship.fleet.systemd import Manager, SystemdError, UnitStatus

log = logging.getLogger(__name__)

# Jobs and states come by signal; this often, in seconds, everything is looked at anyway in case one was missed.
SLOW_CHECK = 60.0
STOP_CHECK = 5.0

Entries = dict[str, tuple[Entry, int]]


class Agent:
    """Acts for one machine in a thread of its own; listener of Systemd, and `wake` is for all else that changes.

    It acts only while *may_act* says so (live lease, own record in the registry) and the schedule is complete and
    followed; otherwise everything stays as it is, but for units that want to stop when *is_cut_off* (no live lease)
    has lasted, and for `leave`. Nothing it waits for holds up another unit: jobs run in systemd,
    and whatever fails for one unit is tried again later for that unit.
    """

    def __init__(
        self,
        schedule: Schedule,
        publisher: Publisher,
        disk: Disk,
        systemd: Manager,
        may_act: Callable[[], bool],
        is_cut_off: Callable[[], bool],
    ) -> None:
        self._schedule = schedule
        self._publisher = publisher
        self._disk = disk
        self._systemd = systemd
        self._may_act = may_act
        self._is_cut_off = is_cut_off
        self._cut_off = CutOff(disk.options)
        self._leaving = threading.Event()
        self._left = threading.Event()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._lock = threading.Lock()
        self._dirty: set[str] = set()
        self._all_dirty = True
        # The agent's thread's own.
        self._local: dict[str, Local] | None = None
        self._statuses: dict[str, UnitStatus] = {}
        self._stopping: dict[str, str] = {}
        self._acknowledged: dict[str, int] = {}
        self._retries = Retries()
        self._stop_due: dict[str, float] = {}
        self._starts = Starts(systemd)
        # An earlier process may have written files and not come to the reload.
        self._reload_needed = True
        self._swept = False

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, within *timeout* seconds; units are left as they are."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def leave(self, timeout: float) -> bool:
        """Stop all units and start none any more; whether all had stopped within *timeout* seconds."""
        self._leaving.set()
        self._wake.set()
        return self._left.wait(timeout)

    def wake(self) -> None:
        """Look again: the schedule or the lease has changed."""
        self._wake.set()

    def report(self) -> dict[str, dict[str, Any]]:
        """What it knows of each unit, for people to read; any thread may ask."""
        local, statuses, stopping = dict(self._local or {}), dict(self._statuses), dict(self._stopping)
        return {
            name: {
                **asdict(local.get(name, Local())),
                **(asdict(statuses[name]) if name in statuses else {}),
                "stopping": name in stopping,
            }
            for name in sorted({*local, *statuses})
        }

    def on_unit(self, name: str) -> None:
        if name in self._schedule:
            with self._lock:
                self._dirty.add(name)
            self._wake.set()

    def on_job(self, job: str, name: str, result: str) -> None:
        if name in self._schedule and result not in ("done", "canceled"):
            log.warning("A job of systemd for %s ended with the result %s; see journalctl -u %s.", name, result, name)
        self.on_unit(name)

    def on_reconnect(self) -> None:
        with self._lock:
            self._all_dirty = True
        self._wake.set()

    def _run(self) -> None:
        timeout = 0.0
        next_slow = time.monotonic() + SLOW_CHECK
        while not self._stop.is_set():
            self._wake.wait(timeout)
            self._wake.clear()
            if self._stop.is_set():
                return
            if time.monotonic() >= next_slow:
                next_slow = time.monotonic() + SLOW_CHECK
                self.on_reconnect()
            try:
                timeout = min(self._pass(), max(0.0, next_slow - time.monotonic()))
            except (SystemdError, EtcdError, OSError) as error:
                log.warning("The agent could not go on, trying again: %s", error)
                timeout = 1.0
            except Exception:
                log.exception("The agent failed, trying again.")
                timeout = 5.0

    def _pass(self) -> float:
        """Do all that can be done now; seconds after which to look again without being woken."""
        if self._local is None:
            self._local = self._disk.inventory()
        if self._leaving.is_set():
            self._stop_now(self._started())
            if not self._started():
                self._left.set()
            return 0.5
        if self._is_cut_off():
            self._stop_now(self._cut_off.due(self._started(), time.monotonic()), only_running=True)
        else:
            self._cut_off.over()
        entries = self._schedule.read()
        if entries is None or not self._may_act():
            return 1.0
        if not self._swept:
            for name in sweep(self._disk, self._systemd, list(self._local), entries):
                del self._local[name]
            self._swept = True
        self._forget(entries)
        self._look(entries)
        self._act(entries)
        self._publish(entries)
        now = time.monotonic()
        waits = [due - now for due in self._retries.due()]
        ready = self._stop_due.keys() - self._stopping.keys() - self._retries.names()
        waits += [self._stop_due[name] - now for name in ready]
        waits += [STOP_CHECK] * bool(self._stopping)
        return max(0.0, min(waits, default=SLOW_CHECK))

    def _started(self) -> list[str]:
        return sorted(name for name, local in (self._local or {}).items() if local.launched_hash)

    def _stop_now(self, names: list[str], *, only_running: bool = False) -> None:
        """Stop units whatever their entries say; what is not over yet goes on with the next call."""
        self._refresh(sorted({*names, *self._stopping}))
        names = [n for n in names if n not in self._stopping and not self._retries.wait(n)]
        names = [n for n in names if self._local_of(n).launched_hash]
        self._refresh(self._begin_stops([n for n in names if self._statuses[n].running or not only_running]))

    def _forget(self, entries: Entries) -> None:
        """Drop what is known of units that are no longer in the schedule; what is on disk stays."""
        known: list[dict[str, Any]] = [self._statuses, self._stopping, self._acknowledged, self._stop_due]
        for table in known:
            for name in table.keys() - entries.keys():
                del table[name]
        self._starts.keep(entries)
        for name in self._retries.names() - entries.keys():
            self._retries.forget(name)

    def _look(self, entries: Entries) -> None:
        """Ask systemd for what may have changed."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            if self._all_dirty:
                dirty |= entries.keys()
            self._all_dirty = False
        names = {name for name in entries if name in dirty or name not in self._statuses or name in self._stopping}
        try:
            self._refresh(sorted(names))
        except SystemdError:
            self.on_reconnect()
            raise

    def _refresh(self, names: Sequence[str]) -> None:
        """Ask systemd for the states of *names*, and note which stops are over."""
        for at in range(0, len(names), 1000):
            self._statuses.update(self._systemd.statuses(names[at : at + 1000]))
        for name in [n for n in names if n in self._stopping and self._statuses[n].job != self._stopping[n]]:
            del self._stopping[name]
            with self._retries.trying(name, "Stopping"):
                if self._statuses[name].running:
                    raise SystemdError("systemd's job is over and the unit is still running")
                self._disk.set_launched(name, "")
                self._set_local(name, launched_hash="", launched_restarts=0)

    def _act(self, entries: Entries) -> None:
        # Each round is one step of every unit; to load, to start and to see that nothing is left are three.
        for _round in range(6):
            groups: dict[Step, list[str]] = {}
            for name in sorted(entries):
                if step := self._due_step(name, *entries[name]):
                    groups.setdefault(step, []).append(name)
            if not groups or self._stop.is_set() or not self._may_act():
                return
            changed = self._unload(groups.get("unload", []))
            self._refresh(changed)
            self._reload_needed |= any(self._statuses[name].load != "not-found" for name in changed)
            loaded = self._load({name: entries[name][0] for name in groups.get("load", [])})
            changed += loaded
            if self._reload_needed:
                self._systemd.reload()
                self._reload_needed = False
            changed += self._begin_stops(groups.get("stop", []))
            starts = self._starts.possible({name: entries[name][0] for name in groups.get("start", [])})
            changed += self._begin_starts(starts)
            changed += self._begin_restarts({name: entries[name][0] for name in groups.get("restart", [])})
            self._acknowledge({name: entries[name][1] for name in groups.get("acknowledge", [])})
            self._refresh(changed)
            for name in loaded:
                with self._retries.trying(name, "Loading"):
                    if self._statuses[name].load == "not-found":
                        raise SystemdError("systemd does not find its file")
            if not changed:
                return

    def _due_step(self, name: str, entry: Entry, revision: int) -> Step | None:
        local = self._local_of(name)
        step = next_step(entry, local, self._statuses.get(name))
        if step != "stop":
            self._stop_due.pop(name, None)
        if step != "start":
            self._starts.forget(name)
        if step is None:
            self._retries.forget(name)
            return None
        if step == "stop" and is_plain_stop(entry, local):
            now = time.monotonic()
            if now < self._stop_due.setdefault(name, now + STOP_DELAY):
                return None
        busy = name in self._stopping or (step == "acknowledge" and self._acknowledged.get(name) == revision)
        return None if busy or self._retries.wait(name) else step

    def _local_of(self, name: str) -> Local:
        return (self._local or {}).get(name, Local())

    def _set_local(self, name: str, **changes: Any) -> None:
        if self._local is not None:
            self._local[name] = replace(self._local_of(name), **changes)

    def _load(self, entries: dict[str, Entry]) -> list[str]:
        written: dict[str, str] = {}
        for name, entry in entries.items():
            with self._retries.trying(name, "Writing the unit file of"):
                self._disk.write(name, entry.options)
                written[name] = self._disk.path(name)
        linked = self._retries.all_or_each("Linking", self._systemd.link, written)
        wanted = {n: written[n] for n in linked if any(o.section == "Install" for o in entries[n].options)}
        enabled = self._retries.all_or_each("Enabling", self._systemd.enable, wanted)
        loaded = [name for name in linked if name not in wanted or name in enabled]
        # systemd reads by itself what it never knew; a reload of all units for each would take most of its time.
        known = [name for name in written if self._local_of(name).file_hash or self._statuses[name].load != "not-found"]
        self._reload_needed |= bool(known or wanted)
        for name in loaded:
            self._set_local(name, file_hash=entries[name].hash)
        return loaded

    def _begin_starts(self, entries: dict[str, Entry]) -> list[str]:
        for name, entry in entries.items():
            with self._retries.trying(name, "Starting"):
                self._starts.begin(name)
                self._systemd.start(name)
                self._starts.forget(name)
                self._set_launched(name, entry)
                log.info("Started %s.", name)
        return list(entries)

    def _begin_restarts(self, entries: dict[str, Entry]) -> list[str]:
        for name, entry in entries.items():
            with self._retries.trying(name, "Restarting"):
                self._systemd.restart(name)
                self._set_launched(name, entry)
                log.info("Restarted %s.", name)
        return list(entries)

    def _set_launched(self, name: str, entry: Entry) -> None:
        self._disk.set_launched(name, entry.hash, entry.restarts)
        self._set_local(name, launched_hash=entry.hash, launched_restarts=entry.restarts)

    def _begin_stops(self, names: list[str]) -> list[str]:
        for name in names:
            with self._retries.trying(name, "Stopping"):
                self._stopping[name] = self._systemd.stop(name) or "no job"
                log.info("Stopping %s.", name)
        return names

    def _unload(self, names: list[str]) -> list[str]:
        disabled = self._retries.all_or_each("Disabling", self._systemd.disable, {name: name for name in names})
        for name in disabled:
            with self._retries.trying(name, "Unloading"):
                self._systemd.reset_failed(name)
                self._disk.remove(name)
                self._set_local(name, file_hash="")
                log.info("Unloaded %s.", name)
        return disabled

    def _acknowledge(self, withdrawals: dict[str, int]) -> None:
        self._publisher.acknowledge(withdrawals)
        self._acknowledged.update(withdrawals)
        if self._local is not None:
            for name in withdrawals:
                self._local.pop(name, None)

    def _publish(self, entries: Entries) -> None:
        self._publisher.publish(
            {
                name: published_state(local, self._statuses[name], tried=self._starts.tried(name))
                for name, local in (self._local or {}).items()
                if name in entries and name in self._statuses and (local.file_hash or local.launched_hash)
            }
        )
