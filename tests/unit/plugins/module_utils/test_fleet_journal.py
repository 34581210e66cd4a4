# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils import fleet_journal
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_journal import (
    local_machine_id,
    read_journal,
    where_to_look,
)


def test_the_local_machine(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    assert local_machine_id(str(tmp_path / "machine-id")) == "0123456789abcdef0123456789abcdef"
    assert local_machine_id(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("machines", "addresses", "lines", "expected"),
    [
        (["m1"], {"m1": "192.0.2.1"}, ["it died", "of old age"], "its journal ends with: it died | of old age"),
        (["m1"], {"m1": "192.0.2.1"}, [], "read journalctl --unit a.service on machine m1 (192.0.2.1)"),
        (["m1", "m2"], {"m1": "192.0.2.1"}, [], "on machine m1 (192.0.2.1), m2"),
        ([], {}, [], "read journalctl --unit a.service on its machine"),
    ],
)
def test_where_to_look(machines: list[str], addresses: dict[str, str], lines: list[str], expected: str) -> None:
    assert where_to_look("a.service", machines, addresses, lines).endswith(expected)


def journalctl(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def run(command: list[str], errors: str, **_options: bool) -> tuple[int, str, str]:
    """What AnsibleModule.run_command does."""
    done = subprocess.run(command, capture_output=True, text=True, errors=errors, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_journal_is_asked_for_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl(tmp_path, monkeypatch, 'echo "$@"; echo; printf "\\377 last\\n"')
    assert read_journal("a@1.service", run) == [
        "--unit a@1.service --lines 10 --no-pager --quiet --output short-iso",
        "\ufffd last",
    ]


@pytest.mark.parametrize("script", ["echo refused; exit 1", "exec sleep 60"])
def test_a_journal_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    journalctl(tmp_path, monkeypatch, script)
    monkeypatch.setattr(fleet_journal, "TIMEOUT", 1)
    assert read_journal("a.service", run) == []


def test_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_journal("a.service", run) == []
