# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults while strangers use all sites: no request fails, but for a second when the balancer's own node is lost."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from events import Event, under_load
from lab import TTL, Lab, Node, Running, wait_for
from stacks import Stack


def test_a_web_unit_is_stopped_and_started_again(lab: Lab, stacks: list[Stack]) -> None:
    with under_load("web unit stopped, started again", stacks) as event:
        stopped = {stack: (unit, stack.address_of(number)) for stack in stacks for unit, number in _some_web(stack)}
        event.phase("stop")
        for unit, _address in stopped.values():
            lab.set_state(unit, "loaded")
        for stack, (unit, address) in stopped.items():
            wait_for(partial(_runs_nowhere, lab, unit), f"the end of {unit}")
            if address in stack.keys().values():
                event.problem(f"{stack.title}: the key of {unit} outlives it")
        event.phase("start")
        for unit, _address in stopped.values():
            lab.set_state(unit, "launched")


def test_the_site_is_scaled_out_and_back(lab: Lab, stacks: list[Stack], soak: bool) -> None:
    times = 10 if soak else 1
    with under_load(f"scaled out and back, {times} times", stacks) as event:
        for stack in stacks:
            usual = len(stack.web_units())
            # Each machine has room for one web server of nginx, and none beside a balancer.
            fewest, most = (1, len(lab.nodes) - len(stack.balancer_nodes())) if stack.name == "nginx" else (2, 6)
            event.phase(f"{stack.title} is scaled")
            for count in [most, fewest] * times + [usual]:
                stack.playbook("scale", web_instances=count)
                stack.settle()
                assert len(stack.web_units()) == count
            event.remark(stack, f"{fewest} to {most} web servers")


def test_the_image_of_the_web_servers_is_changed(lab: Lab, stacks: list[Stack], tmp_path: Path) -> None:
    images = {stack: _another_image(stack, tmp_path) for stack in stacks}
    with under_load("rolling update of the web image", stacks) as event:
        for stack, (image, archive) in images.items():
            event.phase(f"{stack.title} is updated")
            archives = [{"name": image, "path": str(archive)}]
            number = len(stack.web_units())
            stack.playbook("rolling_update", web_image=image, web_instances=number, images_archives=archives)
            for unit, (node,) in stack.web_places().items():
                container = unit.removesuffix(".service").replace("@", "")
                runs = node.run("docker", "inspect", "--format={{.Config.Image}}", container)
                assert runs == image, f"{unit} runs {runs}"
            event.remark(stack, f"{number} web servers")


def test_a_web_container_is_killed(stacks: list[Stack], lab: Lab) -> None:
    with under_load("web container killed (`docker kill`)", stacks) as event:
        for stack in stacks:
            ((unit, number),) = _some_web(stack)
            address = stack.address_of(number)
            assert address is not None
            (node,) = _runs_on(lab, unit)
            event.phase("kill")
            node.run("docker", "kill", f"{stack.web}{number}")
            event.out(stack, address, 2.0)


def test_a_web_node_freezes(lab: Lab, stacks: list[Stack], soak: bool) -> None:
    length = 60 if soak else 20
    with under_load(f"web node freezes (`docker pause`) for {length} s", stacks) as event:
        for lost in _web_nodes(lab, stacks):
            _lose(lab, event, lost, "freeze", length)


def test_a_web_node_vanishes(lab: Lab, stacks: list[Stack], soak: bool) -> None:
    length = 45 if soak else 15
    with under_load(f"web node vanishes (network cut) for {length} s", stacks) as event:
        for lost in _web_nodes(lab, stacks):
            _lose(lab, event, lost, "cut", length)


def test_etcd_is_away(lab: Lab, stacks: list[Stack], before: Running, soak: bool) -> None:
    for length in (60, 60, 60, 300) if soak else (20,):
        with under_load(f"all of etcd away for {length} s", stacks) as event:
            event.phase("away")
            with ExitStack() as restored:
                for node in lab.members:
                    restored.callback(node.run, "systemctl", "start", "--no-block", "etcd")
                    node.run("systemctl", "stop", "etcd")
                lab.stays(before, length)
            event.phase("back")
            wait_for(lab.etcd_healthy, "a healthy etcd")
            lab.settle()
            # An engine waits a TTL after an outage before it calls a machine dead.
            lab.stays(before, TTL + 2)


def test_the_node_of_the_active_balancer_is_lost(lab: Lab, stacks: list[Stack], soak: bool) -> None:
    pairs = [stack for stack in stacks if stack.pair]
    if not pairs:
        pytest.skip("there is one balancer only")
    with under_load("the active balancer's node vanishes, and freezes", stacks) as event:
        for how, length in (("cut", 45 if soak else 15), ("freeze", 60 if soak else 20)):
            done: set[Stack] = set()
            for pair in pairs:
                if pair in done:
                    continue
                lost = pair.active()
                struck = [stack for stack in pairs if stack.active() is lost]
                done |= set(struck)
                _lose(lab, event, lost, how, length, struck)


def test_the_node_of_a_passive_balancer_vanishes(lab: Lab, stacks: list[Stack], soak: bool) -> None:
    """Cut off, it would take the address for itself, and with the higher priority keep it when it is back."""
    length = 45 if soak else 15
    pairs = [stack for stack in stacks if stack.pair]
    if not pairs:
        pytest.skip("there is one balancer only")
    for pair in pairs:
        first = pair.balancer_nodes()[0]
        _make_passive(pair, first)
        with under_load(f"the node of {pair.title}'s passive balancer vanishes for {length} s", stacks) as event:
            active = pair.active()
            _lose(lab, event, first, "cut", length, [stack for stack in pairs if stack.active() is first])
            if pair.active() is not active:
                event.problem(f"{pair.title}: the return of {first.name} has taken the address from {active.name}")


def _make_passive(pair: Stack, node: Node) -> None:
    """Have the virtual IP elsewhere; of the fleet's machines those before others have the higher priority."""
    if pair.active() is node:
        node.run("systemctl", "restart", f"{pair.name}-virtual-ip@*")
        wait_for(lambda: not pair.holds(node), f"another holder of {pair.address}")
        wait_for(lambda: any(map(pair.holds, pair.balancer_nodes())), f"a holder of {pair.address}")


WRONG = {"does not render": "{{ services.none.of.these }}\n", "check command": "no such directive;\n"}


def test_templates_that_are_wrong(lab: Lab, stacks: list[Stack]) -> None:
    with under_load("a template that does not render, then one that the balancer refuses", stacks) as event:
        for error, text in WRONG.items():
            event.phase(error)
            with ExitStack() as restored:
                balancers = [(stack, node) for stack in stacks for node in stack.balancer_nodes()]
                for stack, node in balancers:
                    restored.enter_context(_template(stack, node, text))
                for stack, node in balancers:
                    wait_for(partial(_reports, stack, node, error), f"{error!r} in the status of {node.name}")
                    journal = node.run("journalctl", "--unit", _watch_unit(stack, node), "--since=-60s")
                    assert error in journal, f"the journal of {node.name} does not tell what is wrong"
                    assert stack.look(node).backends, f"the balancer of {node.name} has lost its servers"
            for stack, node in balancers:
                wait_for(partial(_reports, stack, node, ""), f"the end of the error on {node.name}")
        for stack in stacks:
            event.remark(stack, "both errors in the status file and the journal")


_CHANGE = """
import json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from flagship.etcd import Client, Delete, Put
from flagship.settings import load

# Several at a time, each with keys of its own: one alone waits for etcd's disk longer than there is time for a change.
WRITERS, KEYS = 15, 30
prefix, addresses, changes, seconds = json.load(sys.stdin)

def write(first):
    there = set()
    for number in range(first, changes, WRITERS):
        time.sleep(max(0, began + number * seconds / changes - time.monotonic()))
        key = prefix + "change-" + str(number % KEYS)
        if key in there:
            etcd.txn([], [Delete(key)])
            there.remove(key)
        else:
            etcd.txn([], [Put(key, addresses[number % len(addresses)].encode())])
            there.add(key)

with Client(load(None, os.environ).etcd) as etcd, ThreadPoolExecutor(WRITERS) as pool:
    began = time.monotonic()
    list(pool.map(write, range(WRITERS)))
    print(time.monotonic() - began)
"""


def test_keys_change_five_hundred_times(lab: Lab, stacks: list[Stack]) -> None:
    with under_load("500 changes of keys in 5 s", stacks) as event:
        for stack in stacks:
            addresses = sorted(stack.keys().values())
            nodes = stack.balancer_nodes()
            before = {node: (_applied(stack, node), _processes(stack, node)) for node in nodes}
            event.phase(f"{stack.title}'s keys")
            try:
                taken = lab.members[0].python(_CHANGE, [stack.prefix, addresses, 500, 5.0], "announce")
                assert taken < 6, f"the changes took {taken:.1f} s"
                wanted = sorted(stack.keys().values())
                assert len(wanted) > len(addresses)
                for node in nodes:
                    wait_for(partial(_uses, stack, node, wanted), f"the last state on {node.name}", 5)
                times = max(_applied(stack, node) - count for node, (count, _processes) in before.items())
                reloaded = any(_processes(stack, node) != processes for node, (_count, processes) in before.items())
                event.remark(
                    stack, f"{times} {'reloads' if reloaded else 'changes without a reload'}, last state correct"
                )
                if times > 20:
                    event.problem(f"{stack.title}: {times} changes of the balancer")
            finally:
                lab.members[0].etcdctl("del", "--prefix", f"{stack.prefix}change-")


def _some_web(stack: Stack) -> list[tuple[str, int]]:
    """The web server with the lowest number, as a list of one."""
    return sorted(stack.web_units().items(), key=lambda item: item[1])[:1]


def _runs_nowhere(lab: Lab, unit: str) -> bool:
    return not _runs_on(lab, unit)


def _runs_on(lab: Lab, unit: str) -> list[Node]:
    return lab.places().get(unit, [])


def _another_image(stack: Stack, directory: Path) -> tuple[str, Path]:
    """The image of the web servers under another name, and its archive.

    All nodes have both already: they share the cores of one machine, and five unpackings of an archive take them all.
    """
    unit, (first, *_none) = next(iter(stack.web_places().items()))
    container = unit.removesuffix(".service").replace("@", "")
    now = first.run("docker", "inspect", "--format={{.Config.Image}}", container)
    image = f"{stack.web}:{'next' if now.endswith(':stable') else 'stable'}"
    archive = directory / image.replace(":", "_")
    for node in stack.lab.nodes:
        node.run("docker", "tag", now, image)
    with archive.open("wb") as file:
        save = ["docker", "exec", first.name, "docker", "save", image]
        subprocess.run(save, stdout=file, check=True, timeout=120)
    for node in stack.lab.nodes:
        node.copy(archive, f"/var/lib/flagship/images/{archive.name}.tar")
    return image, archive


def _web_nodes(lab: Lab, stacks: list[Stack]) -> list[Node]:
    """Nodes with a web server of each site, as few as can be, and without an active balancer."""
    active = {stack.active() for stack in stacks}
    nodes = [node for node in lab.nodes if node not in active]
    webs = {node: {stack.name for stack in stacks if stack.web_on(node)} for node in nodes}
    chosen: list[Node] = []
    missing = {stack.name for stack in stacks}
    while missing:
        best = max(nodes, key=lambda node: len(webs[node] & missing))
        assert webs[best] & missing, f"no web server of {missing} is beside the active balancers"
        chosen.append(best)
        missing -= webs[best]
    return chosen


def _lose(lab: Lab, event: Event, lost: Node, how: str, length: float, struck: Sequence[Stack] = ()) -> None:
    """Lose the node for *length* seconds; its web servers leave the balancers, and run elsewhere where they can."""
    others = [node for node in lab.nodes if node is not lost]
    webs = {stack: stack.web_on(lost) for stack in event.stacks}
    addresses = [(stack, stack.address_of(number)) for stack, units in webs.items() for number in units.values()]
    # A web server of nginx needs a machine without another one, and without a balancer.
    movable = [
        (stack, unit)
        for stack, units in webs.items()
        if stack.name != "nginx" or len(stack.web_units()) + len(stack.balancer_nodes()) < len(lab.nodes)
        for unit in units
    ]
    event.look()
    event.phase(how, struck)
    with lost.paused() if how == "freeze" else lost.without_network():
        for stack, address in addresses:
            assert address is not None
            event.out(stack, address, TTL + 1, lost)
        for stack, unit in movable:
            wait_for(partial(_started, lab, others, unit), f"{unit} elsewhere", TTL + 10)
            event.remark(stack, f"runs elsewhere after {_started(lab, others, unit) - event.began:.1f} s")
        _sleep_until(event.began + length)
        event.phase(f"end of the {how}", struck)
    wait_for(lab.etcd_healthy, "a healthy etcd")
    lab.settle()
    event.settle()


def _started(lab: Lab, nodes: list[Node], unit: str) -> float:
    """When the unit started on one of those nodes, 0 if it is active on none."""
    found = [node for node in lab.places(nodes[0]).get(unit, []) if node in nodes]
    return max([node.started([unit])[unit] for node in found], default=0.0)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _watch_unit(stack: Stack, node: Node) -> str:
    name = re.compile(rf"{stack.watch}(@\d+)?\.service")
    return next(filter(name.fullmatch, node.active_units()))


@contextmanager
def _template(stack: Stack, node: Node, text: str) -> Iterator[None]:
    """Have the site's watcher on the node use that template."""
    unit, settings = _watch_unit(stack, node), f"/etc/flagship/{stack.watch}.ini"
    path = f"/etc/flagship/wrong-{stack.name}.j2"
    kept = node.run("cat", settings)
    node.run("tee", path, stdin=text)
    node.run("tee", settings, stdin=re.sub(r"(?m)^template = .*", f"template = {path}", kept) + "\n")
    node.run("systemctl", "restart", unit)
    try:
        yield
    finally:
        node.run("tee", settings, stdin=kept + "\n")
        node.run("systemctl", "restart", unit)
        node.run("rm", path)


def _reports(stack: Stack, node: Node, error: str) -> bool:
    """Whether the last error in the watcher's status file has those words; "" asks whether there is none."""
    found: str = json.loads(node.run("cat", f"/run/flagship/watch/{stack.name}.json"))["error"]
    return error in found and bool(error) == bool(found)


def _uses(stack: Stack, node: Node, wanted: list[str]) -> bool:
    """Whether the balancer on the node sends requests to just those addresses, in order."""
    return sorted(stack.look(node).backends or []) == wanted


def _applied(stack: Stack, node: Node) -> int:
    """How often the balancer on the node was given another configuration, from its watcher's journal."""
    journal = node.run("journalctl", "--unit", _watch_unit(stack, node), "--output=cat", "--no-pager")
    return journal.count(" is live as of revision ")


def _processes(stack: Stack, node: Node) -> str:
    """The processes of the balancer; a reload makes new ones."""
    return node.run("docker", "top", {"nginx": "nginx-lb", "haproxy": "haproxy"}[stack.name], "-eo", "pid")
