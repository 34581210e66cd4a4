# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent makes of a real systemd: one node, and units that are bound to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab, Node, wait_for

LOG = "/run/agent-test.log"


class Bench:
    """Units of the tests on one node; they are called agent-test-..., and are gone before and after."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def put(self, name: str, text: str, state: str = "launched") -> None:
        """Have a unit with the lines of *text*, each Section.Option=value, on this node."""
        options = [{"section": "X-Fleet", "name": "MachineID", "value": self.node.machine_id}]
        for line in filter(None, (line.strip() for line in text.splitlines())):
            place, _equals, value = line.partition("=")
            section, _dot, option = place.partition(".")
            options.append({"section": section, "name": option, "value": value})
        self._put(name, {"options": options, "desiredState": state})

    def _put(self, name: str, members: dict[str, object]) -> None:
        self.node.api("PUT", f"units/{name}", {"name": name, **members})

    def set(self, name: str, state: str) -> None:
        self._put(name, {"desiredState": state})

    def destroy(self, name: str) -> None:
        self.node.api("DELETE", f"units/{name}")

    def show(self, name: str, what: str) -> str:
        return self.node.run("systemctl", "show", f"--property={what}", "--value", name)

    def enabled(self, name: str) -> str:
        return self.node.run("systemctl", "is-enabled", name, check=False)

    def wait(self, name: str, state: str) -> None:
        wait_for(lambda: self.show(name, "ActiveState") == state, f"{name} to be {state}")

    def gone(self, name: str) -> bool:
        return self.show(name, "LoadState") == "not-found" and self.files(name) == ""

    def files(self, name: str) -> str:
        """Every file and link of the unit below /run."""
        return self.node.run("find", "/run/fleet", "/run/systemd/system", "-name", name)

    def wait_said(self, name: str, state: str) -> None:
        """Wait until the API tells that active state."""

        def said() -> bool:
            states = (self.node.api("GET", f"state?unitName={name}") or {}).get("states", [])
            return [found["systemdActiveState"] for found in states] == [state]

        wait_for(said, f"the API to say that {name} is {state}")

    def wait_log(self, *words: str) -> None:
        wait_for(lambda: self.log() == list(words), f"the log to be {words}")

    def renew_daemon(self, *systemctl: str) -> None:
        """End the fleet daemon by that command, and wait for the next one."""
        old = self.show("fleet", "MainPID")
        self.node.run("systemctl", *systemctl, "fleet")
        wait_for(lambda: self.show("fleet", "MainPID") not in ("0", old), "another daemon")

    def log(self) -> list[str]:
        return self.node.run("cat", LOG, check=False).split()

    def clear(self) -> None:
        names = [u["name"] for u in self.node.api("GET", "units")["units"] if u["name"].startswith("agent-test-")]
        for name in names:
            self.destroy(name)
        wait_for(lambda: all(self.gone(name) for name in names), "the units of the test to go")
        self.node.run("rm", "--force", LOG)


@pytest.fixture
def bench(lab: Lab) -> Iterator[Bench]:
    lab.settle()
    bench = Bench(lab.nodes[0])
    bench.clear()
    yield bench
    bench.clear()


SLEEP = "Service.ExecStart=/bin/sleep infinity"


def test_a_unit_is_loaded_started_stopped_and_forgotten(bench: Bench) -> None:
    name = "agent-test-a.service"
    bench.put(name, SLEEP, "loaded")
    wait_for(lambda: bench.enabled(name) == "linked-runtime", "the link")
    assert bench.show(name, "ActiveState") == "inactive"
    bench.set(name, "launched")
    bench.wait(name, "active")
    bench.wait_said(name, "active")
    bench.set(name, "loaded")
    bench.wait(name, "inactive")
    assert bench.enabled(name) == "linked-runtime"
    bench.set(name, "inactive")
    wait_for(lambda: bench.gone(name), "the unit to be forgotten")


def test_an_install_section_is_obeyed_and_undone(bench: Bench) -> None:
    name = "agent-test-b.service"
    bench.put(name, f"{SLEEP}\nInstall.WantedBy=multi-user.target")
    bench.wait(name, "active")
    assert bench.enabled(name) == "enabled-runtime"
    assert "multi-user.target.wants" in bench.files(name)
    bench.destroy(name)
    wait_for(lambda: bench.gone(name), "the unit and its links to go")
    assert name not in bench.show("multi-user.target", "Wants")


def test_new_contents_start_when_the_old_ones_have_stopped(bench: Bench) -> None:
    name = "agent-test-c.service"

    def put(version: int) -> None:
        bench.put(
            name,
            f"""
            Service.ExecStartPre=/bin/sh -c 'echo start{version} >>{LOG}'
            {SLEEP}
            Service.ExecStop=/bin/sh -c 'sleep 1; echo stop{version} >>{LOG}'
            """,
        )

    put(1)
    bench.wait(name, "active")
    put(2)
    bench.wait_log("start1", "stop1", "start2")
    bench.wait(name, "active")
    bench.destroy(name)
    wait_for(lambda: bench.gone(name), "the unit to go")
    assert bench.log() == ["start1", "stop1", "start2", "stop2"]


def test_a_unit_that_fails_holds_up_no_other(bench: Bench) -> None:
    for name, command in (("agent-test-1.service", "/bin/false"), ("agent-test-2.service", "/does/not/exist")):
        bench.put(name, f"Service.ExecStart={command}")
    bench.put("agent-test-3.service", SLEEP)
    bench.wait("agent-test-3.service", "active")
    for name in ("agent-test-1.service", "agent-test-2.service"):
        bench.wait_said(name, "failed")


def test_timers_and_sockets_wait_for_their_services(bench: Bench) -> None:
    """The units come in the order in which systemd would refuse them (coreos/fleet issue 1697)."""
    for kind, text in (("timer", "Timer.OnActiveSec=3600"), ("socket", "Socket.ListenStream=/run/agent-test.sock")):
        bench.put(f"agent-test-{kind}.{kind}", text)
        bench.put(f"agent-test-{kind}.service", SLEEP, "loaded")
        bench.wait(f"agent-test-{kind}.{kind}", "active")


def test_what_has_ended_or_was_stopped_by_hand_is_left_alone(bench: Bench) -> None:
    """A new daemon finds it so, and starts nothing again."""
    job, stopped = "agent-test-job.service", "agent-test-stopped.service"
    bench.put(job, f"Service.Type=oneshot\nService.ExecStart=/bin/sh -c 'echo ran >>{LOG}'")
    bench.put(stopped, SLEEP)
    bench.wait(stopped, "active")
    bench.wait_log("ran")
    bench.wait_said(job, "inactive")
    bench.node.run("systemctl", "stop", stopped)
    for how in (["restart"], ["kill", "--signal=KILL"]):
        bench.renew_daemon(*how)
        bench.wait_said(stopped, "inactive")
        assert bench.log() == ["ran"]
        assert bench.show(stopped, "ActiveState") == "inactive"
