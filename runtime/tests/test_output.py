# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replacing a configuration file: nothing but a checked file is ever live, and nothing due is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flagship.balancer.config import TemplateConfig, load_templates
from flagship.balancer.output import Output, OutputError
from flagship.balancer.render import Rendered
from flagship.settings import SettingsError


def text(content: str) -> Rendered:
    return Rendered(content, content.strip())


class Balancer:
    """Scripts in place of a balancer's commands; they refuse a file that says `bad`, and count reloads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.destination = directory / "conf" / "site.conf"
        self.reloads = directory / "reloads"
        self.broken = directory / "broken"
        self.stopped = directory / "stopped"
        self._script("check", 'grep -q bad "$1" && { echo "bad word in $1" >&2; exit 1; }; exit 0')
        refuse = f"test -e {self.stopped} && exit 4; test -e {self.broken} && exit 3"
        self._script("reload", f"{refuse}; cat {self.destination} >> {self.reloads}")
        self._script("running", f"test ! -e {self.stopped}")

    def _script(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def config(self) -> TemplateConfig:
        path = self.directory / "watch.ini"
        path.write_text(
            f"[site]\nprefix = /services/website\ntemplate = nginx\ndestination = {self.destination}\nmode = 0640\n"
            f"check = {self.directory}/check {{staged}}\nreload = {self.directory}/reload\n"
            f"running = {self.directory}/running\n"
        )
        return load_templates(str(path))[0]

    def output(self) -> Output:
        return Output(self.config(), self.directory / "status")

    def status(self) -> dict[str, Any]:
        content = json.loads((self.directory / "status" / "site.json").read_text())
        assert isinstance(content, dict)
        return content

    def seen(self) -> str:
        return self.reloads.read_text() if self.reloads.exists() else ""


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    return Balancer(tmp_path)


def test_a_good_file_goes_live_once(balancer: Balancer) -> None:
    output = balancer.output()
    assert output.apply(text("one\n"), 5)
    assert not output.apply(text("one\n"), 6)
    assert balancer.destination.read_text() == "one\n"
    assert balancer.destination.stat().st_mode & 0o777 == 0o640
    assert balancer.seen() == "one\n"
    assert list(balancer.destination.parent.iterdir()) == [balancer.destination]
    status = balancer.status()
    assert (status["revision"], status["error"], status["reload_pending"]) == (6, "", False)


def test_a_refused_file_never_goes_live(balancer: Balancer) -> None:
    output = balancer.output()
    output.apply(text("good\n"), 5)
    with pytest.raises(OutputError, match="bad word in"):
        output.apply(text("bad\n"), 6)
    assert balancer.destination.read_text() == "good\n"
    assert balancer.seen() == "good\n"
    assert list(balancer.destination.parent.iterdir()) == [balancer.destination]
    status = balancer.status()
    assert status["revision"] == 5
    assert "bad word" in status["error"]
    output.apply(text("good\n"), 7)
    assert balancer.status()["error"] == ""
    assert balancer.seen() == "good\n", "reloaded although the live file never changed"


def test_a_failed_reload_is_made_up_for(balancer: Balancer) -> None:
    output = balancer.output()
    output.apply(text("one\n"), 5)
    balancer.broken.touch()
    for _attempt in range(2):
        with pytest.raises(OutputError, match="exit code 3: no output"):
            output.apply(text("two\n"), 6)
    assert balancer.status()["reload_pending"]
    balancer.broken.unlink()
    assert output.apply(text("two\n"), 6)
    assert balancer.seen() == "one\ntwo\n"
    assert not balancer.status()["reload_pending"]


def test_a_reload_due_survives_a_restart(balancer: Balancer) -> None:
    balancer.output().apply(text("one\n"), 5)
    balancer.broken.touch()
    with pytest.raises(OutputError):
        balancer.output().apply(text("two\n"), 6)
    balancer.broken.unlink()
    assert balancer.output().apply(text("two\n"), 6)
    assert balancer.seen() == "one\ntwo\n"
    assert not balancer.output().apply(text("two\n"), 6), "a restart alone is no reason to reload"


def test_a_stopped_balancer_is_not_reloaded(balancer: Balancer) -> None:
    balancer.stopped.touch()
    output = balancer.output()
    assert output.apply(text("one\n"), 5)
    assert balancer.destination.read_text() == "one\n"
    assert balancer.seen() == ""
    balancer.stopped.unlink()
    assert not output.apply(text("one\n"), 5), "it read the file when it started"
    assert output.apply(text("two\n"), 6)
    assert balancer.seen() == "two\n"


def test_a_file_changed_by_hand_is_put_right(balancer: Balancer) -> None:
    output = balancer.output()
    output.apply(text("one\n"), 5)
    balancer.destination.write_text("by hand\n")
    assert output.apply(text("one\n"), 5)
    assert balancer.destination.read_text() == "one\n"


def test_a_destination_that_cannot_be_written_is_named(balancer: Balancer) -> None:
    balancer.destination.parent.write_text("a file where a directory should be")
    with pytest.raises(OutputError, match=str(balancer.destination)):
        balancer.output().apply(text("one\n"), 5)


def test_a_missing_command_is_named(balancer: Balancer) -> None:
    (balancer.directory / "check").unlink()
    with pytest.raises(OutputError, match=r"check command `.*` cannot be run: No such file or directory"):
        balancer.output().apply(text("one\n"), 5)
    assert not balancer.destination.exists()


GOOD = "[a]\nprefix = /services/website\ntemplate = nginx\ndestination = /tmp/x\n"


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("", "has no section"),
        ("prefix = /x", "is not valid"),
        ("[a/b]\n", "section's name"),
        ("[a]\nprefix = /x\ntemplate = nginx", "destination is missing"),
        (GOOD + "colour = red", "unknown key colour"),
        (GOOD + "mode = 999", "mode is '999'"),
        (GOOD + "check = nginx 'x", 'check is "nginx \'x"'),
        (GOOD + "quiescence_min = 1s", "quiescence_max is shorter"),
        (GOOD + "resync = 0", "resync is '0'"),
        (GOOD.replace("/tmp/x", "x"), "destination is 'x'"),
        (GOOD + "confirm = https://127.0.0.1/", "confirm is 'https://127.0.0.1/'"),
        (GOOD + "container = a/b", "container is 'a/b'"),
        (GOOD + "container = nginx-lb\nsignal = hup", "signal is 'hup'"),
        (GOOD + "container = nginx-lb", "container and signal belong together"),
        (GOOD + "container = nginx-lb\nsignal = HUP\nreload = true", "neither reload nor running"),
        (GOOD + "haproxy_socket = admin.sock", "haproxy_socket is 'admin.sock'"),
        (GOOD + "variables = [1]", "variables is not what it should be: write a JSON object"),
        (GOOD + "variables = {", "variables is not what it should be: it is not JSON"),
    ],
)
def test_configuration_mistakes_are_named(lines: str, names: str, tmp_path: Path) -> None:
    path = tmp_path / "watch.ini"
    path.write_text(lines)
    with pytest.raises(SettingsError) as caught:
        load_templates(str(path))
    assert names in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
