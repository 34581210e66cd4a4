# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleetctl on other machines; ssh is a program that writes its arguments down and runs the command here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import flagship
import pytest
from flagship.fleet.client import ClientError
from flagship.fleet.fleetctl import main
from flagship.fleet.ssh import SshOptions, split_host, ssh_command

from fleet.simulated import Node

Run = Callable[..., tuple[int, str, str]]
OPTIONS = SshOptions("core", 2.5, True, "/k", "")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of programs that are found before the machine's own: ssh, fleetctl, systemctl, journalctl, sudo."""
    directory = tmp_path / "bin"
    directory.mkdir()
    source = Path(flagship.__file__).parent.parent
    scripts = {
        "ssh": f'echo "$@" >> {tmp_path}/ssh.log\nwhile [ "$1" != -- ]; do shift; done\nshift 2\neval "$@"',
        "fleetctl": f'PYTHONPATH={source} exec {sys.executable} -m flagship fleetctl "$@"',
        "systemctl": 'echo systemctl "$@"; exit 3',
        "journalctl": 'echo journalctl "$@"',
        "sudo": 'echo sudo; exec "$@"',
    }
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def unit(run: Run, tmp_path: Path) -> str:
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/sleep 1\n")
    assert run("start", str(tmp_path / "a"))[0] == 0
    return "a.service"


@pytest.mark.parametrize(
    ("text", "found"),
    [("h", ("h", 22)), ("h:2222", ("h", 2222)), ("[2001:db8::1]:23", ("2001:db8::1", 23)), ("2001:db8::1",) * 2],
)
def test_hosts(text: str, found: tuple[str, int] | str) -> None:
    assert split_host(text) == ((found, 22) if isinstance(found, str) else found)


@pytest.mark.parametrize("text", ["", "h:x", "h:0", "h:70000", "-oProxyCommand=x", "[-x]:22"])
def test_bad_hosts_are_refused(text: str) -> None:
    with pytest.raises(ClientError, match="must be like HOST"):
        split_host(text)


def test_ssh_arguments() -> None:
    command = ssh_command(OPTIONS, "10.0.0.1:2222", ["ls", "-l"], agent=True)
    assert command[0] == "ssh"
    assert {"ConnectTimeout=3", "StrictHostKeyChecking=ask", 'UserKnownHostsFile="/k"', "-A"} < set(command)
    assert command[-8:] == ["-p", "2222", "-l", "core", "--", "10.0.0.1", "ls", "-l"]


def test_a_tunnel_is_also_the_way_to_machines() -> None:
    command = ssh_command(SshOptions("core", 10, False, "/k", "gate"), "10.0.0.1")
    (proxy,) = (word for word in command if word.startswith("ProxyCommand="))
    assert proxy.startswith("ProxyCommand=ssh ") and proxy.endswith("-p 22 -l core -- gate")
    assert "-W '[%h]:%p'" in proxy and proxy.count("ProxyCommand") == 1
    assert "StrictHostKeyChecking=no" in command


def test_status_and_journal_by_ssh(run: Run, programs: Path, unit: str) -> None:
    assert run("status", "a") == (3, "systemctl status -l --no-pager a.service\n", "")
    log = (programs / "ssh.log").read_text()
    assert "-p 22 -l core -- 192.0.2.1 systemctl status" in log
    assert (programs / ".fleetctl").is_dir()
    code, out, _err = run("journal", "--sudo", "--lines", "5", "-f", "--output", "cat", "--ssh-port", "23", "a")
    assert (code, out) == (0, "sudo\njournalctl --unit a.service --no-pager -n 5 --output cat -f\n")
    assert "-p 23 -l core -- 192.0.2.1 sudo" in (programs / "ssh.log").read_text()
    assert run("unload", "a")[0] == 0
    for verb in ("status", "journal"):
        code, _out, err = run(verb, "a")
        assert (code, "does not appear to be loaded" in err) == (1, True)


def test_status_here_needs_no_ssh(
    run: Run, programs: Path, unit: str, fleet_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flagship.fleet.ctl_remote.machine_id", lambda: fleet_node.id)
    assert run("status", "a")[:2] == (3, "systemctl status -l --no-pager a.service\n")
    assert not (programs / "ssh.log").exists()


def test_ssh_finds_machines_and_units(run: Run, programs: Path, unit: str, fleet_node: Node) -> None:
    for words in ([fleet_node.id[:4]], ["a"], ["--unit", "a.service"], ["-m", fleet_node.id[:4]]):
        assert run("ssh", *words, "echo", "-n", "there") == (0, "there", "")
    assert run("ssh", "-A", "a", "exit", "7")[0] == 7
    assert (programs / "ssh.log").read_text().splitlines()[-1].endswith("-A -p 22 -l core -- 192.0.2.1 exit 7")
    assert run("ssh", "--machine", fleet_node.id)[0] == 0
    for words, said in (
        (["ffff"], "is neither the beginning of a machine's id nor a unit"),
        (["--machine", "ffff"], "no machine has an id"),
        ([], "name the machine or the unit"),
    ):
        code, _out, err = run("ssh", *words)
        assert (code, said in err, err.count("\n")) == (1, True, 1)


def test_a_tunnel_forwards_the_socket(fleet_node: Node, programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--endpoint", f"unix://{fleet_node.socket}", "--tunnel", "gate:2200", "--ssh-username", "root"]
    (programs / "a.service").write_text("[Service]\nExecStart=/bin/sleep 1\n")
    assert main([*arguments, "start", str(programs / "a")], {}) == 0
    assert capfd.readouterr().out == "Unit a.service launched on 6d310000...\n"
    lines = (programs / "ssh.log").read_text().splitlines()
    # The server closes connections after answers without a body only.
    assert len(lines) < 5
    assert lines[0].endswith(f"-p 2200 -l root -- gate fleetctl fd-forward {fleet_node.socket}")


def test_fd_forward_says_what_it_cannot_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fd-forward", f"{tmp_path}/none.sock"], {}) == 1
    assert capsys.readouterr().err.startswith(f"fleetctl: socket {tmp_path}/none.sock cannot be reached")
