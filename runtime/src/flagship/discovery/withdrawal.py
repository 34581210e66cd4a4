# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a container leaves: whoever is about to stop it leaves an order for the register, which takes its keys away.

An order is a file, named by the container's id, in a directory that only this node's register and root write to. It
outlives a restart of the register, but neither the container's run that it was made for nor a boot of the node.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from flagship.discovery.engine import Engine, EngineError
from flagship.discovery.process import birth

DIRECTORY = "/run/flagship/register"
# How long the register may take to remove a container's keys, in seconds, before the stop goes on without it.
LIMIT = 8.0

Answer = Literal["", "removed", "unlisted"]

_ID = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Order:
    """The order to withdraw a container in the run that began at `started`; `answer` says what the register did."""

    started: str
    answer: Answer = ""


class Orders:
    """The orders in a directory, by container id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: IO[str] | None = None

    def read(self) -> dict[str, Order]:
        """All orders; a file that is none is left out."""
        found = {}
        for name in os.listdir(self.directory):
            order = self.get(name) if _ID.fullmatch(name) else None
            if order is not None:
                found[name] = order
        return found

    def get(self, identity: str) -> Order | None:
        try:
            return Order(**json.loads((self.directory / identity).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, identity: str, order: Order) -> None:
        staged = self.directory / f".{identity}"
        staged.write_text(json.dumps({"started": order.started, "answer": order.answer}), encoding="utf-8")
        staged.replace(self.directory / identity)

    def forget(self, identity: str) -> None:
        (self.directory / identity).unlink(missing_ok=True)

    def obey(self) -> bool:
        """Become the one who obeys, as long as this process lives; False when another process does."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = (self.directory / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    def obeyed(self) -> bool:
        """Whether any process obeys."""
        try:
            with (self.directory / "lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False


def withdraw(name: str, orders: Orders, docker: str, drain: float) -> None:
    """Have the keys of a container removed, and wait until the balancers have let go: `drain` seconds.

    A stop is never held up: it returns at once when there is nothing to remove or nobody who does, and after LIMIT
    seconds at the latest. It says on standard error what could not be done.
    """
    try:
        engine = Engine(docker)
        try:
            container = engine.inspect(name)
        finally:
            engine.close()
    except EngineError as error:
        return _say(f"Container {name} is not withdrawn: {error}")
    if container is None or not container.pid:
        return None
    born = birth(container.pid)
    try:
        orders.directory.mkdir(parents=True, exist_ok=True)
        orders.put(container.id, Order(container.started))
    except OSError as error:
        return _say(f"Container {name} is not withdrawn: {orders.directory} cannot be written to ({error.strerror}).")
    order: Order | None = Order(container.started)
    deadline = time.monotonic() + LIMIT
    while order is not None and not order.answer:
        if not orders.obeyed():
            return _say(f"Container {name} is not withdrawn: no `flagship register` runs here.")
        if time.monotonic() >= deadline:
            return _say(f"Container {name} is withdrawn, but its keys are not gone after {LIMIT:g} s.")
        time.sleep(0.05)
        order = orders.get(container.id)
    if order is not None and order.answer == "removed":
        end = time.monotonic() + drain
        while time.monotonic() < end and birth(container.pid) == born:
            time.sleep(max(0.0, min(0.1, end - time.monotonic())))
    return None


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
