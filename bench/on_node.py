# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a fleet from one of its nodes, where it is sent over SSH; prints the figures as one JSON object.

Everything is asked of the API on /run/fleet.sock, so the figures hold no SSH. Units are called bench-<n>.service,
and are gone before and after.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flagship.etcd import Client
from flagship.fleet.client import ClientError, FleetClient
from flagship.settings import load

RUNS = 5
LIMIT = 120.0
IDLE_SECONDS = 10.0
IDLE_UNITS = 11
# Of those that fleet may read.
NO_KEYS = "/_coreos.com/fleet/bench"
OPTIONS = [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep infinity"}]
_own = threading.local()


def api() -> FleetClient:
    """The thread's own client, as a client belongs to one thread."""
    if not hasattr(_own, "client"):
        _own.client = FleetClient("unix:///run/fleet.sock")
    client: FleetClient = _own.client
    return client


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; a moment in which the API has no answer counts as time taken."""
    deadline = time.monotonic() + LIMIT
    while not _holds(condition):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} took more than {LIMIT:g} s: read `journalctl -u fleet` on the nodes.")
        time.sleep(0.005)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except ClientError:
        return False


def states() -> dict[str, str]:
    """The active state of each benchmark unit that any machine says something about."""
    found = api().pages("state", "states")
    return {state["name"]: state["systemdActiveState"] for state in found if state["name"].startswith("bench-")}


def each(call: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, names))


def names_of(count: int) -> list[str]:
    return [f"bench-{number:04}.service" for number in range(count)]


def submit(names: list[str], desired: str) -> None:
    def put(name: str) -> bool:
        api().put_unit(name, options=OPTIONS, desiredState=desired)
        return True

    each(lambda name: until(lambda: put(name), f"The PUT of {name}"), names)


def remove_all() -> None:
    def gone() -> bool:
        names = [unit["name"] for unit in api().pages("units", "units")]
        each(lambda name: api().delete_unit(name), [name for name in names if name.startswith("bench-")])
        return not states()

    until(gone, "Removing the units")


def start(count: int) -> float:
    """Seconds from the first PUT until the API says that all are active."""
    names = names_of(count)
    began = time.monotonic()
    submit(names, "launched")
    if count == 1:
        path = f"/fleet/v1/state?unitName={names[0]}"
        active = [{"systemdActiveState": "active"}]
        until(
            lambda: (
                [
                    {"systemdActiveState": state["systemdActiveState"]}
                    for state in (api().call("GET", path) or {}).get("states", [])
                ]
                == active
            ),
            "One unit",
        )
    else:
        until(lambda: list(states().values()).count("active") == count, f"Starting {count} units")
    taken = time.monotonic() - began
    remove_all()
    return taken


def read_all() -> float:
    began = time.monotonic()
    found = len(list(api().pages("state", "states"))), len(list(api().pages("machines", "machines")))
    taken = time.monotonic() - began
    if found[0] < 1000:
        raise SystemExit(f"The API shows {found[0]} states instead of 1000 or more.")
    return taken


def idle_writes() -> float:
    """Revisions that etcd counts in 10 seconds in which nobody asks for anything."""
    with Client(load(None, os.environ).etcd) as etcd:
        before = etcd.range(NO_KEYS).revision
        time.sleep(IDLE_SECONDS)
        return etcd.range(NO_KEYS).revision - before


def measure() -> dict[str, list[float]]:
    figures = {f"start {count}": [start(count) for _run in range(RUNS)] for count in (1, 50, 200)}
    others = len(list(api().pages("units", "units")))
    submit(names_of(max(0, IDLE_UNITS - others)), "launched")
    until(lambda: list(states().values()).count("active") >= IDLE_UNITS - others, "Starting the idle units")
    figures["idle"] = [idle_writes() for _run in range(RUNS)]
    submit(names_of(1000), "loaded")
    until(lambda: len(states()) == 1000, "Loading 1000 units")
    figures["read"] = [read_all() for _run in range(RUNS)]
    return figures


def main() -> None:
    remove_all()
    try:
        figures = measure()
    finally:
        remove_all()
    print(json.dumps(figures))


if __name__ == "__main__":
    try:
        main()
    except ClientError as error:
        raise SystemExit(f"The measurement ends: {error}") from None
