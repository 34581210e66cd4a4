# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine's agent: its steps, its disk, and what it does with a simulated systemd under real leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client
from flagship.fleet.columns import vars_of
from flagship.fleet.disk import Disk, Local
from flagship.fleet.model import Entry, Unit
from flagship.fleet.registry import Keys, dump_unit
from flagship.fleet.start_order import start_order
from flagship.fleet.steps import next_step, published_state
from flagship.fleet.systemd import UnitStatus, unit_name
from flagship.fleet.unit_file import Option

from fleet.builders import launched
from fleet.simulated import Node

UNIT = launched("a.service")
HASH = UNIT.hash
GONE = UnitStatus("not-found", "inactive", "dead")
IDLE = UnitStatus("loaded", "inactive", "dead")
ACTIVE = UnitStatus("loaded", "active", "running")
FAILED = UnitStatus("loaded", "failed", "failed")
LAUNCHED, LOADED, WITHDRAWN = (Entry(UNIT.options, state) for state in ("launched", "loaded", "inactive"))
RESTARTED = replace(LAUNCHED, restarts=2)


@pytest.mark.parametrize(
    ("entry", "local", "status", "step"),
    [
        (LAUNCHED, Local(), GONE, "load"),
        (LAUNCHED, Local(HASH), IDLE, "start"),
        (LAUNCHED, Local(HASH, HASH), ACTIVE, None),
        # What ends by itself is left alone: a finished job is not run again, a failed service is systemd's business.
        (LAUNCHED, Local(HASH, HASH), IDLE, None),
        (LAUNCHED, Local(HASH, HASH), FAILED, None),
        (LAUNCHED, Local(HASH), GONE, "load"),
        (LAUNCHED, Local("", HASH), ACTIVE, "load"),
        (LAUNCHED, Local("old", "old"), ACTIVE, "stop"),
        (LAUNCHED, Local("old", "old"), IDLE, "stop"),
        (LAUNCHED, Local("old"), ACTIVE, "stop"),
        (LAUNCHED, Local("old"), IDLE, "load"),
        (LAUNCHED, Local(HASH, HASH), None, None),
        (RESTARTED, Local(HASH, HASH, 1), ACTIVE, "restart"),
        (RESTARTED, Local(HASH, HASH), FAILED, "restart"),
        (RESTARTED, Local(HASH, HASH, 2), ACTIVE, None),
        (RESTARTED, Local(HASH), IDLE, "start"),
        (LOADED, Local(), GONE, "load"),
        (LOADED, Local(HASH), IDLE, None),
        (LOADED, Local(HASH), ACTIVE, None),
        (LOADED, Local(HASH, HASH), ACTIVE, "stop"),
        (WITHDRAWN, Local(HASH, HASH), ACTIVE, "stop"),
        (WITHDRAWN, Local(HASH, HASH), IDLE, "stop"),
        (WITHDRAWN, Local(HASH), ACTIVE, "stop"),
        (WITHDRAWN, Local(HASH), IDLE, "unload"),
        (WITHDRAWN, Local(), GONE, "acknowledge"),
        # A unit of that name which is not ours is nobody's to stop.
        (WITHDRAWN, Local(), ACTIVE, "acknowledge"),
        (Entry((), "inactive", damaged=True), Local(HASH, HASH), ACTIVE, None),
        (Entry((), "inactive", damaged=True), Local(), GONE, None),
    ],
)
def test_next_step(entry: Entry, local: Local, status: UnitStatus | None, step: str | None) -> None:
    assert next_step(entry, local, status) == step


def test_published_state_tells_what_is_here() -> None:
    old = "0" * 40
    assert published_state(Local(HASH, old), ACTIVE).hash == old
    assert published_state(Local(HASH), IDLE).current_state == "loaded"
    assert published_state(Local(HASH, HASH), FAILED).current_state == "launched"
    # A file that cannot be read has no hash.
    assert published_state(Local("unreadable"), IDLE).hash == ""


def test_a_record_of_a_start_without_a_count_is_of_the_first(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "units"))
    disk.inventory()
    (tmp_path / "launched" / "a.service").write_text(f"{HASH}\n")
    assert disk.inventory() == {"a.service": Local("", HASH, 0)}
    # In doubt nothing was started: to start what runs changes nothing, to stop it would.
    for damaged in ("", "junk", HASH[:-1], f"{HASH}x 3", "\0" * 41):
        (tmp_path / "launched" / "a.service").write_text(damaged)
        assert disk.inventory() == {"a.service": Local()}
    disk.set_launched("a.service", HASH, 7)
    assert disk.inventory() == {"a.service": Local("", HASH, 7)}


def test_disk_remembers_files_and_starts(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "fleet" / "units"))
    assert disk.inventory() == {}
    disk.write("a.service", UNIT.options)
    disk.set_launched("a.service", HASH)
    (tmp_path / "fleet" / "units" / "notes.txt").write_text("no unit")
    (tmp_path / "fleet" / "units" / "b.service").write_text("[broken")
    assert Path(disk.path("a.service")).stat().st_mode & 0o777 == 0o644
    again = Disk(str(tmp_path / "fleet" / "units")).inventory()
    assert again == {"a.service": Local(HASH, HASH), "b.service": Local("unreadable")}
    disk.set_launched("a.service", "")
    disk.remove("a.service")
    disk.remove("a.service")
    assert "a.service" not in disk.inventory()


def test_unit_names_of_object_paths() -> None:
    path = "/org/freedesktop/systemd1/unit/web_401_2eservice"
    assert unit_name(path) == "web@1.service"
    assert unit_name("/org/freedesktop/systemd1/unit/a_2db_5cx2dc_2eservice") == "a-b\\x2dc.service"


class Given:
    """A node without engine, whose schedule the test writes."""

    def __init__(self, node: Node, client: Client, prefix: str) -> None:
        self.node = node
        self.systemd = node.systemd
        self._client = client
        self._keys = Keys(prefix)

    def schedule(self, unit: Unit) -> None:
        self._client.put(self._keys.schedule(self.node.id, unit.name), dump_unit(unit))

    def unschedule(self, name: str) -> None:
        self._client.delete(self._keys.schedule(self.node.id, name))

    def entry(self, name: str) -> bool:
        return self._client.get(self._keys.schedule(self.node.id, name)) is not None

    def state(self, name: str) -> str:
        found = self._client.get(self._keys.state(name, self.node.id))
        return found.value.decode() if found else ""


@pytest.fixture
def given(make_node: Callable[..., Node], etcd_client: Client, prefix: str) -> Given:
    return Given(make_node("m1", disable_engine=True).start(), etcd_client, prefix)


def test_load_start_stop_unload(given: Given) -> None:
    given.schedule(UNIT)
    wait_for(lambda: '"current_state":"launched"' in given.state("a.service"), what="launched")
    assert given.systemd.calls == [("link", "a.service"), ("reload", ""), ("start", "a.service")]
    given.schedule(replace(UNIT, desired_state="loaded"))
    wait_for(lambda: '"current_state":"loaded"' in given.state("a.service"), what="loaded")
    given.schedule(replace(UNIT, desired_state="inactive"))
    wait_for(lambda: not given.entry("a.service"), what="the acknowledgement")
    assert given.state("a.service") == ""
    assert given.systemd.calls[3:] == [
        ("stop", "a.service"),
        ("disable", "a.service"),
        ("reset_failed", "a.service"),
    ]
    assert not list((given.node.directory / "units").iterdir())


def test_systemd_reads_all_files_again_only_where_it_must(given: Given) -> None:
    """The first time, for what an earlier process may have left; for a file it knows; for what stays in its memory."""

    def reloads() -> int:
        return given.systemd.count("reload", "")

    given.schedule(UNIT)
    wait_for(lambda: '"current_state":"launched"' in given.state("a.service"), what="launched")
    given.schedule(launched("b.service"))
    wait_for(lambda: '"current_state":"launched"' in given.state("b.service"), what="b.service launched")
    assert reloads() == 1
    given.schedule(launched("b.service", "Conflicts=x"))
    wait_for(lambda: given.systemd.count("start", "b.service") == 2, what="the new b.service")
    assert reloads() == 2
    given.systemd.referenced.add("b.service")
    given.schedule(replace(launched("b.service"), desired_state="inactive"))
    wait_for(lambda: not given.entry("b.service"), what="the acknowledgement")
    assert reloads() == 3 and "b.service" not in given.systemd.loaded


def test_new_contents_come_after_the_stop(given: Given) -> None:
    given.systemd.stuck.add("a.service")
    given.schedule(UNIT)
    wait_for(lambda: "a.service" in given.node.running, what="a.service to run")
    new = launched("a.service", "Conflicts=x")
    given.schedule(new)
    wait_for(lambda: given.systemd.count("stop", "a.service"), what="the stop")
    # Meanwhile other units are served, and the old file stays for ExecStopPost=.
    given.schedule(launched("b.service"))
    wait_for(lambda: '"launched"' in given.state("b.service"), what="b.service to run")
    assert HASH in given.state("a.service")
    given.systemd.finish_stop("a.service")
    wait_for(lambda: new.hash in (state := given.state("a.service")) and '"launched"' in state, what="the new one")
    calls = [call for call, name in given.systemd.calls if name == "a.service"]
    assert calls == ["link", "start", "stop", "link", "start"]


def test_a_restart_is_never_lost(given: Given) -> None:
    given.schedule(UNIT)
    wait_for(lambda: '"launched"' in given.state("a.service"), what="launched")
    given.schedule(replace(UNIT, restarts=1))
    wait_for(lambda: given.systemd.count("restart", "a.service") == 1, what="the restart")
    # What happens while the daemon is away is seen as its sum.
    given.node.stop()
    given.schedule(replace(UNIT, restarts=3))
    given.node.start()
    wait_for(lambda: given.systemd.count("restart", "a.service") == 2, what="the restart that was missed")
    given.node.stop()
    given.node.start()
    given.schedule(launched("b.service"))
    wait_for(lambda: '"launched"' in given.state("b.service"), what="the agent to have looked")
    assert (given.systemd.count("start", "a.service"), given.systemd.count("stop", "a.service")) == (1, 0)
    assert given.systemd.count("restart", "a.service") == 2


def test_a_cut_off_machine_keeps_its_units_but_for_those_that_want_to_stop(
    given: Given, etcd_server: EtcdServer
) -> None:
    given.schedule(UNIT)
    given.schedule(launched("brief.service", "WhenCutOff=stop after 1s"))
    given.schedule(launched("long.service", "WhenCutOff=stop after 10m"))
    everything = {"a.service", "brief.service", "long.service"}
    wait_for(lambda: given.node.running == everything, what="three units to run")
    etcd_server.pause()
    # Less than the lease lives: nothing happens.
    time.sleep(1.0)
    etcd_server.resume()
    wait_for(lambda: given.node.service is not None and given.node.service.registered(), what="the lease")
    assert not [call for call in given.systemd.calls if call[0] == "stop"]
    etcd_server.pause()
    cut = time.monotonic()
    wait_for(lambda: "brief.service" not in given.node.running, limit=15, what="brief.service to stop")
    assert time.monotonic() - cut > 2.0
    assert given.node.running == everything - {"brief.service"}
    etcd_server.resume()
    wait_for(lambda: given.node.running == everything, limit=20, what="brief.service to run again")
    assert [call for call in given.systemd.calls if call[0] == "stop"] == [("stop", "brief.service")]


def test_leaving_stops_everything_and_starts_nothing(given: Given) -> None:
    given.schedule(UNIT)
    given.schedule(launched("slow.service"))
    wait_for(lambda: given.node.running == {"a.service", "slow.service"}, what="two units to run")
    given.systemd.stuck.add("slow.service")
    assert given.node.service is not None
    agent = given.node.service.agent
    assert not agent.leave(1.0)
    assert given.node.running == {"slow.service"}
    given.schedule(launched("late.service"))
    given.systemd.finish_stop("slow.service")
    assert agent.leave(10.0)
    assert not given.node.running
    given.node.stop()
    given.node.start()
    wait_for(lambda: given.node.running == {"a.service", "slow.service", "late.service"}, what="all to run again")


def test_a_failing_unit_holds_up_no_other(given: Given) -> None:
    given.systemd.failing.add("a.service")
    for name in ("a.service", "b.service", "c.service"):
        given.schedule(launched(name))
    wait_for(lambda: '"launched"' in given.state("b.service") and '"launched"' in given.state("c.service"))
    # As with fleet: whoever waits for `launched` is not kept waiting by systemd's refusal.
    wait_for(lambda: '"launched"' in given.state("a.service"), what="the attempt to be told")
    assert "a.service" not in given.node.running
    given.systemd.failing.clear()
    wait_for(lambda: "a.service" in given.node.running, what="the next attempt")


def test_a_refused_start_can_be_taken_back(given: Given) -> None:
    given.systemd.failing.add("a.service")
    given.schedule(UNIT)
    wait_for(lambda: '"launched"' in given.state("a.service"), what="the attempt to be told")
    given.schedule(replace(UNIT, desired_state="loaded"))
    wait_for(lambda: '"current_state":"loaded"' in given.state("a.service"), what="loaded")
    given.schedule(replace(UNIT, desired_state="inactive"))
    wait_for(lambda: not given.entry("a.service"), what="the acknowledgement")


def test_all_are_loaded_before_the_first_start(given: Given) -> None:
    given.node.stop()
    names = [f"u{n}.service" for n in range(20)]
    for name in names:
        given.schedule(launched(name))
    given.node.start()
    wait_for(lambda: all('"launched"' in given.state(name) for name in names))
    calls = [call for call, _name in given.systemd.calls]
    assert calls == ["link"] * 20 + ["reload"] + ["start"] * 20


def test_a_unit_that_a_reload_does_not_find_is_loaded_again_later(given: Given) -> None:
    given.systemd.missing.add("a.service")
    given.schedule(UNIT)
    given.schedule(launched("b.service"))
    wait_for(lambda: '"launched"' in given.state("b.service"), what="b.service to run")
    assert given.systemd.count("link", "a.service") <= 2
    assert given.systemd.count("start", "a.service") == 0
    given.systemd.missing.clear()
    wait_for(lambda: '"launched"' in given.state("a.service"), what="the next attempt")


def test_starts_follow_the_order_of_the_units(given: Given) -> None:
    given.node.stop()
    for name, option in (
        ("a.service", Option("Unit", "After", "z@1.service  none.service")),
        ("b.timer", Option("Timer", "Unit", "y.service")),
        ("c.service", Option("Unit", "Before", "a.service")),
        ("y.service", Option("Unit", "After", "y.socket")),
        ("y.socket", Option("Socket", "ListenStream", "1")),
        ("z@1.service", Option("Unit", "After", "c.service")),
    ):
        unit = launched(name)
        given.schedule(replace(unit, options=(*unit.options, option)))
    given.node.start()
    wait_for(lambda: len(given.node.running) == 6, what="six units to run")
    starts = [name for call, name in given.systemd.calls if call == "start"]
    assert starts == ["c.service", "y.socket", "y.service", "b.timer", "z@1.service", "a.service"]


def test_a_timer_waits_until_its_service_is_loaded(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    # A service that is there without the fleet is as good.
    given.systemd.active.add("b.service")
    given.schedule(launched("a.timer"))
    given.schedule(launched("b.timer"))
    wait_for(lambda: "b.timer" in given.node.running, what="b.timer to run")
    # fleetctl 1.0.0 would wait for ever for less.
    wait_for(lambda: '"launched"' in given.state("a.timer"), what="the order to be taken")
    given.systemd.unlinkable.add("a.service")
    given.schedule(launched("a.service"))
    wait_for(lambda: "no space" in caplog.text, what="a.service to fail")
    assert given.systemd.count("start", "a.timer") == 0
    given.systemd.unlinkable.clear()
    wait_for(lambda: {"a.service", "a.timer"} <= given.node.running, what="all to run")
    assert given.systemd.count("start", "a.timer") == 1
    assert caplog.text.count("a.timer is to start a.service") == 1


@pytest.mark.parametrize(
    ("after", "order"),
    [
        ({}, "abc"),
        ({"a": "b", "b": "c"}, "cba"),
        ({"a": "c"}, "bca"),
        # A circle is broken somewhere, and holds up nobody.
        ({"a": "b", "b": "a"}, "cab"),
        ({"a": "a"}, "abc"),
    ],
)
def test_start_order(after: dict[str, str], order: str) -> None:
    units = {
        f"{name}.service": (Option("Unit", "After", f"{after[name]}.service"),) if name in after else ()
        for name in "cab"
    }
    assert "".join(name[0] for name in start_order(units)) == order


def test_start_order_of_a_long_chain() -> None:
    names = [f"u{number:05}.service" for number in range(5000)]
    units = {a: (Option("Unit", "After", b),) for a, b in pairwise(names)} | {names[-1]: ()}
    assert start_order(units) == names[::-1]


def test_what_an_earlier_process_left_is_swept(given: Given) -> None:
    given.schedule(UNIT)
    wait_for(lambda: '"launched"' in given.state("a.service"), what="a.service to run")
    given.node.stop()
    units = given.node.directory / "units"
    (units / "old.service").write_text("[Service]\nExecStart=/bin/true\n")
    (units.parent / "launched" / "older.service").write_text(f"{HASH} 0\n")
    (units / "dead.service").symlink_to(units / "gone.service")
    (units / ".a.service.new").write_text("[Serv")
    given.node.start()
    wait_for(lambda: [path.name for path in units.iterdir()] == ["a.service"], what="the file to go")
    assert [path.name for path in (units.parent / "launched").iterdir()] == ["a.service"]
    assert given.node.running == {"a.service"} and not given.systemd.count("stop", "a.service")


def test_no_sweep_while_the_schedule_is_in_doubt(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    given.schedule(UNIT)
    given.schedule(launched("job.service"))
    wait_for(lambda: len(given.node.running) == 2 and '"launched"' in given.state("job.service"), what="both to run")
    given.node.stop()
    given.systemd.active.discard("job.service")
    for name in ("a.service", "job.service"):
        given.unschedule(name)
    given.node.start()
    wait_for(lambda: "a.service: not in this machine's schedule" in caplog.text, what="the warning")
    assert given.node.running == {"a.service"}
    assert len(list((given.node.directory / "units").iterdir())) == 2


def test_dead_links_go_and_others_stay(tmp_path: Path) -> None:
    units, links = tmp_path / "units", tmp_path / "system"
    disk = Disk(str(units), str(links))
    disk.inventory()
    disk.write("a.service", UNIT.options)
    (links / "x.target.wants").mkdir(parents=True)
    for link, target in (
        ("a.service", units / "a.service"),
        ("b.service", units / "b.service"),
        ("c.service", tmp_path / "elsewhere" / "c.service"),
        ("x.target.wants/a.service", Path("../a.service")),
        ("x.target.wants/b.service", Path("../b.service")),
        ("x.target.wants/d.service", units / "d.service"),
    ):
        (links / link).symlink_to(target)
    removed = disk.remove_dead_links()
    gone = ("b.service", "x.target.wants/b.service", "x.target.wants/d.service")
    assert removed == [str(links / name) for name in gone]
    assert sorted(str(path.relative_to(links)) for path in links.rglob("*.service")) == [
        *("a.service", "c.service", "x.target.wants/a.service")
    ]
    assert disk.remove_dead_links() == []


def test_install_sections_are_enabled(given: Given) -> None:
    options = [*(vars_of(o) for o in UNIT.options), {"section": "Install", "name": "WantedBy", "value": "x.target"}]
    given.node.client.put_unit("a.service", options=options)
    found = given.node.client.unit("a.service")
    assert found is not None
    given._client.put(
        given._keys.schedule(given.node.id, "a.service"),
        given._client.get(given._keys.unit("a.service")).value.replace(b"inactive", b"loaded"),  # type: ignore[union-attr]
    )
    wait_for(lambda: ("enable", "a.service") in given.systemd.calls, what="the unit to be enabled")
