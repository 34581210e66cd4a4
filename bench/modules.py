# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules beside their peers of the PyPI package `ansible`: both in one virtual environment, on this machine.

A run is an ansible-playbook of its own; a figure is the time from a task's start to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client
from flagship.fleet.registry import Keys

from bench.report import Row
from bench.simulated import LIMIT, PREFIX, daemon
from scripts.site_summary import SummaryError

ROOT: Final = Path(__file__).resolve().parents[1]
ENVIRONMENT: Final = ROOT / ".cache" / "bench" / "peers"
PACKAGES: Final = ("ansible==12.3.0", "docker", "etcd3", "protobuf")
RUNS = 5
KEYS = 1000
PEER_KEYS = 20
CONTAINER = "flagship-bench"
IMAGE = "flagship-lab/node"

Task = Mapping[str, Any]


def command(name: str) -> str:
    return str(ENVIRONMENT / "bin" / name)


def have_peers() -> None:
    """Make the virtual environment of the peers, once."""
    stamp = ENVIRONMENT / "stamp"
    if stamp.exists() and stamp.read_text() == " ".join(PACKAGES):
        return
    print(f"Installing {PACKAGES[0]}, the peers of the modules (some minutes).", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    # All but ansible itself in the versions that the collection is tested with.
    constraints = ENVIRONMENT / "constraints.txt"
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    constraints.write_text("\n".join(line for line in pins if not line.startswith("ansible-core")))
    pip = [command("python"), "-m", "pip", "install", "--quiet", "--progress-bar", "off"]
    subprocess.run([*pip, "--constraint", str(constraints), *PACKAGES], check=True)
    stamp.write_text(" ".join(PACKAGES))


def play(tasks: Sequence[Task], directory: Path) -> dict[str, float]:
    """Seconds that each task took, by its name."""
    playbook, times = directory / "play.json", directory / "times.json"
    variables = {"ansible_python_interpreter": command("python"), "ansible_connection": "local"}
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]))
    settings = {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times",
        "TASK_TIMES": str(times),
    }
    answer = subprocess.run(
        [command("ansible-playbook"), "-i", "localhost,", str(playbook)],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )
    if answer.returncode != 0:
        raise SummaryError(f"a module was not measured, for it failed:\n{answer.stdout}")
    taken: dict[str, float] = json.loads(times.read_text())
    return taken


def changes(expected: bool) -> Mapping[str, Any]:
    """What makes a task fail that changes something and should not, or the other way round."""
    return {"register": "result", "failed_when": f"result is failed or result is {'not ' if expected else ''}changed"}


def keys_tasks(endpoint: str, run: int) -> list[Task]:
    host, port = endpoint.rpartition("/")[2].split(":")
    ours = {
        "endpoints": [endpoint],
        "mapping": {f"/ours/{run}/{number:04}": f"value {number}" for number in range(KEYS)},
    }
    peer = {
        "host": host,
        "port": port,
        "key": f"/peer/{run}/{{{{ item }}}}",
        "value": "value {{ item }}",
        "state": "present",
    }
    # Its library cannot be imported otherwise with today's protobuf; ours sets this itself.
    loop = {"loop": list(range(PEER_KEYS)), "environment": {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}}
    return [
        {"name": "ours, set", "flagship.coreos.etcd_key": ours, **changes(True)},
        {"name": "ours, again", "flagship.coreos.etcd_key": ours, **changes(False)},
        {"name": "peer, set", "community.general.etcd3": peer, **loop, **changes(True)},
        {"name": "peer, again", "community.general.etcd3": peer, **loop, **changes(False)},
    ]


def container_tasks(image: str, socket: str) -> tuple[list[Task], list[Task]]:
    """Tasks that make a container and a unit, and those that find them unchanged."""
    container = {
        "name": CONTAINER,
        "image": image,
        "entrypoint": ["/bin/sleep"],
        "command": ["infinity"],
        "env": {"GREETING": "hello"},
        "labels": {"org.flagship.bench": "1"},
    }
    unit = {
        "name": "bench.service",
        "content": "[Service]\nExecStart=/bin/sleep infinity\n",
        "state": "launched",
        "endpoint": f"unix://{socket}",
    }
    ours = {"name": "container, ours", "flagship.coreos.docker_container": container}
    # By default the peer compares the command with that of the image too.
    peer = {"name": "container, peer", "community.docker.docker_container": {**container, "state": "started"}}
    fleet = {"name": "unit", "flagship.coreos.fleet_unit": unit}
    return [ours, fleet], [{**task, **changes(False)} for task in (ours, peer, fleet)]


def _image() -> str:
    names = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", IMAGE]
    answer = subprocess.run(names, capture_output=True, text=True, timeout=60, check=True)
    if not answer.stdout:
        raise SummaryError(f"there is no image {IMAGE} to run a container of: run `make lab-up`.")
    return answer.stdout.split()[0]


def _remove_container() -> None:
    subprocess.run(["docker", "rm", "--force", CONTAINER], capture_output=True, timeout=60, check=False)


def measure() -> list[Row]:
    """Figures of the modules; raises SummaryError and subprocess.SubprocessError."""
    image = _image()
    have_peers()
    with tempfile.TemporaryDirectory(prefix="flagship-bench-") as name:
        directory = Path(name)
        server = EtcdServer(directory, arguments=["--unsafe-no-fsync=false"])
        server.start()
        try:
            with Client(server.connection()) as client, daemon(directory, server.endpoint):
                wait_for(lambda: client.get(Keys(PREFIX).leader), LIMIT, "the daemon to lead")
                first, again = container_tasks(image, str(directory / "m1" / "fleet.sock"))
                play(first, directory)
                runs = [play([*again, *keys_tasks(server.endpoint, run)], directory) for run in range(RUNS)]
        finally:
            _remove_container()
            server.stop()
    return rows({name: [run[name] for run in runs] for name in runs[0]})


def rows(taken: Mapping[str, Sequence[float]]) -> list[Row]:
    """The table's rows for the seconds of each task, by run."""

    def per_key(name: str, keys: int) -> list[float]:
        return [seconds * 1000 / keys for seconds in taken[name]]

    def goal(row: Row, factor: int = 1) -> str:
        return f"{row.median / factor:.2f} {row.unit}"

    peer_set = Row(f"community.general.etcd3, loop of {PEER_KEYS}: set", per_key("peer, set", PEER_KEYS), "ms per key")
    peer_again = Row("the same, unchanged", per_key("peer, again", PEER_KEYS), "ms per key")
    peer_container = Row("community.docker.docker_container, unchanged", taken["container, peer"], "s")
    return [
        peer_set,
        Row(f"etcd_key, mapping of {KEYS:,}: set", per_key("ours, set", KEYS), "ms per key", goal(peer_set, 100)),
        peer_again,
        Row(
            "etcd_key, the same mapping read and unchanged",
            per_key("ours, again", KEYS),
            "ms per key",
            goal(peer_again, 100),
        ),
        peer_container,
        Row("docker_container, the same container unchanged", taken["container, ours"], "s", goal(peer_container)),
        Row("fleet_unit, unchanged", taken["unit"], "s", goal(peer_container)),
    ]
