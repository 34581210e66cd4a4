# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""500 machines and 10,000 units: a real etcd and a real daemon, and 499 machines that only acknowledge."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client, Put
from flagship.fleet import registry
from flagship.fleet.registry import Keys

from bench.agents import Agents, write
from bench.report import Row
from bench.units import GLOBALS, machine_id, units

MACHINES = 500
UNITS = 10_000
LOST = 5
TTL = 10
IDLE_SECONDS = 65.0  # longer than the slowest of the daemon's timers
LIMIT = 180.0
PREFIX = "/bench"


@contextmanager
def daemon(directory: Path, endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    """A whole daemon over a systemd that only pretends, with its socket at m1/fleet.sock in the directory."""
    command = [sys.executable, "-m", "bench.daemon", str(directory), endpoint, PREFIX]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **paths}) as process:
        try:
            yield process
        finally:
            process.kill()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_quiet(pid: int) -> None:
    """Wait until the daemon has done what there was to do."""

    def quiet() -> bool:
        before = _cpu_seconds(pid)
        time.sleep(0.5)
        return _cpu_seconds(pid) - before < 0.05

    wait_for(quiet, LIMIT, "the daemon to be idle")


def _memory(pid: int, field: str) -> float:
    """MiB of VmRSS (now) or VmHWM (at most), proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) / 1024


def _place_all(client: Client, keys: Keys, agents: Agents) -> float:
    """Seconds from the first unit's write until every unit is in a schedule."""
    wanted = UNITS - GLOBALS + GLOBALS * MACHINES
    puts = [Put(keys.unit(unit.name), registry.dump_unit(unit)) for unit in units(UNITS)]
    began = time.monotonic()
    write(client, puts)
    placed = agents.wait_for(lambda: len(agents.entries) == wanted, LIMIT)
    taken = time.monotonic() - began
    if not placed:
        raise SystemExit(f"Only {len(agents.entries)} of {wanted} entries were placed within {LIMIT:g} s.")
    return taken


def _lose_one(agents: Agents, machine: str) -> float:
    """Seconds from the end of the machine's lease until what only ran there runs elsewhere."""
    moved = {name for where, name in agents.entries if where == machine}
    moved -= {name for where, name in agents.entries if where != machine}
    began = time.monotonic()
    agents.lose(machine)
    if not agents.wait_for(lambda: moved <= {name for _where, name in agents.entries}, LIMIT):
        raise SystemExit(f"The units of a lost machine were not placed again within {LIMIT:g} s.")
    return time.monotonic() - began


def measure() -> list[Row]:
    """Figures of the simulated fleet; etcd writes through to the disk as in earnest."""
    with tempfile.TemporaryDirectory(prefix="flagship-bench-") as name:
        directory = Path(name)
        server = EtcdServer(directory, arguments=["--unsafe-no-fsync=false"])
        server.start()
        try:
            with Client(server.connection()) as client, daemon(directory, server.endpoint) as process:
                return _measure(client, process.pid)
        finally:
            server.stop()


def _measure(client: Client, pid: int) -> list[Row]:
    keys = Keys(PREFIX)
    agents = Agents(client, keys, [machine_id(number) for number in range(1, MACHINES)], TTL)
    try:
        wait_for(lambda: client.get(keys.leader), LIMIT, "the daemon to lead")
        first = _place_all(client, keys, agents)
        wait_for(
            lambda: len(client.range(f"{keys.prefix}state/").items) >= len(agents.entries),
            LIMIT,
            "all acknowledgements",
        )
        _wait_quiet(pid)
        before, began = _cpu_seconds(pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = 100 * (_cpu_seconds(pid) - before) / (time.monotonic() - began)
        memory = _memory(pid, "VmRSS")
        lost = []
        for number in range(1, LOST + 1):
            lost.append(_lose_one(agents, machine_id(number)))
            _wait_quiet(pid)
        return [
            Row("500 machines, 10,000 units: first full placement", [first], "s", "10 s"),
            Row("the same, one machine lost: re-placed after its lease's end", lost, "s", "1 s"),
            Row("the same, memory of the daemon that leads", [memory], "MiB", "400 MiB"),
            Row("the same, at most, after all of this", [_memory(pid, "VmHWM")], "MiB"),
            Row("the same, CPU of the daemon that leads, idle", [idle], "% of a core", "5 %"),
        ]
    finally:
        agents.stop()
