# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From keys to answers on the lab's site, what its daemons need, and a thousand backends of an nginx here."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from balancers import Nginx, Watch
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client, Delete, Put

from bench.agents import write
from bench.changes import Server
from bench.load import percentiles
from bench.report import Row
from scripts.site_summary import SummaryError, fleetctl, machines, site_url

CHANGES = Path(__file__).with_name("changes.py")
DAEMONS = Path(__file__).with_name("daemons.py")
PREFIXES = {"nginx": "/services/website/", "haproxy": "/services/dumbserve/"}
BACKENDS = 1000
RUNS = 5


def measure(inventory: str) -> list[Row]:
    """Figures of the site behind the inventory; raises SummaryError and subprocess.TimeoutExpired."""
    hosts = machines(inventory)
    return [*_daemons(hosts), *_changes(hosts)]


def _on_node(host: list[str], program: Path, *arguments: str) -> Any:
    """What the program prints there as JSON; it is sent over SSH."""
    remote = f"set -a; . /etc/environment; exec /opt/flagship/bin/python - {shlex.join(arguments)}"
    command = [*host, f"sudo sh -c {shlex.quote(remote)}"]
    with program.open() as text:
        answer = subprocess.run(command, stdin=text, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    if answer.returncode != 0:
        raise SummaryError(f"{program.name} has no figures from {host[-1]}, for the reason above.")
    return json.loads(answer.stdout)


def _daemons(hosts: list[list[str]]) -> list[Row]:
    with ThreadPoolExecutor(len(hosts)) as pool:
        answers = list(pool.map(lambda host: _on_node(host, DAEMONS), hosts))
    rows = []
    for name in sorted({name for answer in answers for name in answer}):
        figures = [figure for answer in answers for figure in answer.get(name, [])]
        # Those of the engine have goals of their own.
        goals = ("", "") if name == "fleet" else ("60 MiB", "0.5 %")
        rows.append(Row(f"flagship {name}, memory", [memory for memory, _cpu in figures], "MiB", goals[0]))
        rows.append(Row(f"flagship {name}, CPU, idle", [cpu for _memory, cpu in figures], "% of a core", goals[1]))
    return rows


def _changes(hosts: list[list[str]]) -> list[Row]:
    units = fleetctl(hosts, "list-units --full --no-legend")
    url = site_url(units, lambda unit: fleetctl(hosts, f"cat {unit}"))
    stack = "haproxy" if "haproxy-watch" in units else "nginx"
    taken = [1000 * seconds for seconds in _on_node(hosts[0], CHANGES, url, PREFIXES[stack])]
    what = f"key written, until the new backend answers through {stack}"
    return [
        Row(f"{what}: median of {len(taken)}", taken, "ms"),
        Row(f"{what}: 99 of 100 are not slower", [percentiles(taken)["p99"]], "ms", "300 ms"),
    ]


def thousand() -> list[Row]:
    """A thousand backends announced at once, until nginx runs with all of them and brings a page."""
    with tempfile.TemporaryDirectory(prefix="flagship-bench-") as name:
        directory = Path(name)
        etcd = EtcdServer(directory, arguments=["--unsafe-no-fsync=false"])
        nginx = Nginx(directory, "/services/website")
        watch = Watch(directory, etcd, nginx)
        server = Server("127.0.0.1", 0)
        etcd.start()
        try:
            with Client(etcd.connection()) as client:
                watch.start()
                nginx.start()
                return [Row("1,000 backends: written, rendered, checked, live", _runs(client, nginx, server), "s")]
        finally:
            watch.kill()
            nginx.stop()
            etcd.stop()
            server.stop()


def _runs(client: Client, nginx: Nginx, server: Server) -> list[float]:
    keys = [f"/services/website/backend-{number:04}" for number in range(BACKENDS)]

    def live(count: int) -> bool:
        status = nginx.status()
        return nginx.destination.read_text().count(" # /services/") == count and bool(
            nginx.in_step() and status["confirmed"] and not status["error"]
        )

    page = (200, server.page.decode())
    taken = []
    for _run in range(RUNS):
        began = time.monotonic()
        write(client, [Put(key, server.address.encode()) for key in keys])
        # A worker of the configuration before may take one more request, and has no backend for it.
        wait_for(lambda: live(BACKENDS) and nginx.get() == page, 60, "a page from a thousand backends")
        taken.append(time.monotonic() - began)
        write(client, [Delete(key) for key in keys])
        wait_for(lambda: live(0), 60, "the end of the backends")
    return taken
