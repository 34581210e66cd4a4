# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent does next for a unit: pure, one step at a time, each step safe to repeat after a crash."""

from __future__ import annotations

from typing import Literal

from flagship.fleet.disk import UNREADABLE, Local
from flagship.fleet.model import LAUNCHED, LOADED, Entry, UnitState
from flagship.fleet.systemd import UnitStatus

Step = Literal["stop", "unload", "load", "start", "restart", "acknowledge"]

# fleetctl 1.0.0's restart writes `loaded` and waits for `launched`, which it asks for every 0.25 s, before it writes
# `launched`: who acts at once on `loaded` keeps it waiting for ever.
STOP_DELAY = 1.0
"""Seconds between an order to stop and the stop."""


def next_step(entry: Entry, local: Local, status: UnitStatus | None) -> Step | None:
    """The next step towards *entry*, from what is on disk and what systemd says (None: not known yet).

    Only an entry leads to a stop: a withdrawal, another desired state, or other contents. What systemd does with a
    unit after its start is systemd's business, so a unit that has ended is left alone.
    """
    if entry.damaged or status is None:
        return None
    started = bool(local.launched_hash)
    if entry.withdrawn:
        if started or (local.file_hash and status.running):
            return "stop"
        return "unload" if local.file_hash else "acknowledge"
    if started and (local.launched_hash != entry.hash or entry.desired_state != LAUNCHED):
        return "stop"
    if local.file_hash and local.file_hash != entry.hash and status.running and not started:
        return "stop"
    if local.file_hash != entry.hash or status.load == "not-found":
        return "load"
    if entry.desired_state == LAUNCHED and not started:
        return "start"
    if started and local.launched_restarts != entry.restarts:
        return "restart"
    return None


def is_plain_stop(entry: Entry, local: Local) -> bool:
    """Whether the stop that is next for a unit is a client's `loaded`, which may be the first half of a restart."""
    return entry.desired_state == LOADED and local.launched_hash == entry.hash


def published_state(local: Local, status: UnitStatus, *, tried: bool = False) -> UnitState:
    """What the agent tells the cluster of a unit that is loaded here; *tried* is a start that could not be made.

    It counts as launched, as with fleet: fleetctl 1.0.0 waits for ever for that, and for 2 s only for `active`.
    """
    started = bool(local.launched_hash) or tried
    return UnitState(
        hash=local.launched_hash or local.file_hash.replace(UNREADABLE, ""),
        load_state=status.load,
        active_state=status.active,
        sub_state=status.sub,
        current_state="launched" if started else "loaded",
    )
