# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from etcd_server import wait_for
from flagship.fleet.client import ClientError, split_endpoint
from flagship.fleet.columns import table
from flagship.fleet.fleetctl import main

from fleet.simulated import Node

Run = Callable[..., tuple[int, str, str]]


def test_columns_are_aligned_as_gos_tabwriter_does() -> None:
    rows = [["UNIT", "MACHINE", "SUB"], ["a.service", "6d310000.../192.0.2.1", "running"], ["1234567", "x", "-"]]
    assert table(rows) == ("UNIT\t\tMACHINE\t\t\tSUB\na.service\t6d310000.../192.0.2.1\trunning\n1234567\t\tx\t\t\t-\n")


def test_commands(run: Run, tmp_path: Path) -> None:
    assert run("list-machines")[1] == "MACHINE\t\tIP\t\tMETADATA\n6d310000...\t192.0.2.1\tdisk=ssd,zone=a\n"
    (tmp_path / "web@.service").write_text("[Unit]\nDescription=Web\n\n[Service]\nExecStart=/bin/sleep 1\n")
    assert run("start", str(tmp_path / "web@1")) == (0, "Unit web@1.service launched on 6d310000...\n", "")
    wait_for(lambda: "active" in run("list-units", "--no-legend")[1], what="active")
    assert run("list-units", "--no-legend")[1] == "web@1.service\t6d310000.../192.0.2.1\tactive\trunning\n"
    files = run("list-unit-files", "--no-legend", "--fields", "unit,dstate,state,desc")[1]
    assert files == "web@1.service\tlaunched\tlaunched\tWeb\n"
    assert run("cat", "web@1")[1] == (tmp_path / "web@.service").read_text()
    code, out, _err = run("why", "web@1")
    assert (code, out.splitlines()[1]) == (0, "  6d310000.../192.0.2.1: loaded active running")
    code, _out, err = run("stop", "web@1")
    assert (code, err) == (0, "Successfully stopped units [web@1.service].\n")
    assert run("unload", "web@1")[0] == 0
    assert run("destroy", "web@1", "none")[0] == 0
    assert run("list-unit-files", "--no-legend") == (0, "", "")


def test_errors_are_one_sentence(run: Run, tmp_path: Path) -> None:
    code, out, err = run("start", str(tmp_path / "none"))
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "unit none.service is neither in the cluster nor a file" in err
    (tmp_path / "bad.service").write_text("[Service\n")
    assert "bad.service cannot be used: unable to find end of section" in run("submit", str(tmp_path / "bad"))[2]
    assert "there is no column 'foo'" in run("list-units", "--fields", "foo")[2]
    assert run("cat", "none")[2] == "fleetctl: Unit none.service does not exist; fleetctl submit stores it\n"


def test_a_unit_without_a_place_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/sleep 1\n[X-Fleet]\nMachineMetadata=zone=b\n")
    started = time.monotonic()
    code, _out, err = run("start", "--block-attempts", "1", str(tmp_path / "a.service"))
    assert code == 1
    said = "fleetctl why a.service and fleetctl status a.service tell more"
    assert err == f"fleetctl: unit a.service is not launched yet; {said}\n"
    assert time.monotonic() - started < 8
    code, out, _err = run("why", "a")
    assert code == 1 and "needs metadata zone=b; the machine has zone=a" in out


def sleeper(path: Path, seconds: int) -> str:
    path.write_text(f"[Service]\nExecStart=/bin/sleep {seconds}\n")
    return str(path)


def test_restart_starts_again(fleet_node: Node, run: Run, tmp_path: Path) -> None:
    assert run("start", sleeper(tmp_path / "a.service", 1))[0] == 0
    assert run("restart", "a") == (0, "Unit a.service launched on 6d310000...\n", "")

    def started() -> int:
        return sum(name == "a.service" and "start" in call for call, name in fleet_node.systemd.calls)

    wait_for(lambda: started() >= 2, what="the second start")
    assert run("unload", "a")[0] == 0
    code, _out, err = run("restart", "a")
    assert (code, "is not loaded, so it cannot be restarted" in err) == (1, True)
    code, _out, err = run("stop", "a")
    assert (code, "is not loaded, so it cannot be stopped" in err) == (1, True)


def test_replace_only_what_the_command_may_replace(run: Run, tmp_path: Path) -> None:
    path = sleeper(tmp_path / "a.service", 1)
    assert run("start", path)[0] == 0
    assert run("start", "--replace", path)[2].count("nothing to do") == 1
    sleeper(tmp_path / "a.service", 2)
    assert "differs from its file and is used as it is" in run("start", path)[2]
    assert "is not replaced because it is to be launched" in run("submit", "--replace", path)[2]
    assert "sleep 1" in run("cat", "a")[1]
    assert run("start", "--replace", path) == (0, "Unit a.service launched on 6d310000...\n", "")
    assert "sleep 2" in run("cat", "a")[1]
    assert run("unload", "a")[0] == 0
    sleeper(tmp_path / "a.service", 3)
    assert run("submit", "--replace", path) == (0, "", "")
    assert "sleep 3" in run("cat", "a")[1]
    assert run("list-unit-files", "--no-legend", "--fields", "dstate")[1] == "inactive\n"


def test_a_template_of_the_cluster_wins_and_the_other_is_told(run: Run, tmp_path: Path) -> None:
    template = sleeper(tmp_path / "web@.service", 1)
    assert run("submit", template) == (0, "", "")
    sleeper(tmp_path / "web@.service", 2)
    code, _out, err = run("start", str(tmp_path / "web@1"))
    assert code == 0 and "differs from the file beside it" in err
    assert "sleep 1" in run("cat", "web@1")[1]


def test_global_units_are_not_waited_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "g.service").write_text("[Service]\nExecStart=/bin/sleep 1\n[X-Fleet]\nGlobal=true\n")
    assert run("start", str(tmp_path / "g")) == (0, "Triggered global unit g.service start\n", "")
    assert run("restart", "g") == (0, "Triggered global unit g.service start\n", "")


def test_commands_may_be_shortened(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("list-m", "--no-legend", "--fields", "ip")[1] == "192.0.2.1\n"
    for words in (["list"], ["lost"], []):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert capfd.readouterr().err.count("\n") == 1
    assert main(["version"]) == 0
    assert capfd.readouterr().out == "fleetctl version 1.0.0\n"


def test_the_environment_is_overruled_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-units"], {"FLEETCTL_ENDPOINT": "unix:///none/a.sock,unix:///none/b.sock"}) == 1
    assert "unix:///none/a.sock does not answer" in capsys.readouterr().err
    assert main(["--endpoint", "unix:///none/c.sock", "list-units"], {"FLEETCTL_ENDPOINT": "unix:///none/a.sock"}) == 1
    assert "unix:///none/c.sock" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["list-units"], {"FLEETCTL_SSH_TIMEOUT": "soon"})
    assert "'soon' is not a number of seconds" in capsys.readouterr().err


def test_help_and_debug(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("help")[:1] == (0,) and "list-unit-files" in run("help")[1]
    with pytest.raises(SystemExit, match="0"):
        main(["help", "start"], {})
    assert "--block-attempts" in capfd.readouterr().out
    code, out, err = run("--debug", "list-machines", "--no-legend")
    assert (code, out.count("\n"), err) == (0, 1, "fleetctl: GET /fleet/v1/machines: 200\n")


def test_the_driver_for_etcd_is_refused_with_the_way_out(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--driver=API", "list-machines")[0] == 0
    with pytest.raises(SystemExit, match="2"):
        main(["list-units"], {"FLEETCTL_DRIVER": "etcd"})
    err = capfd.readouterr().err
    assert "'etcd' is not to be had: name the fleet API with --endpoint" in err and err.count("\n") == 1


def test_an_unreachable_endpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = f"unix://{tmp_path}/none.sock"
    assert main(["--endpoint", endpoint, "list-units"]) == 1
    assert endpoint in capsys.readouterr().err
    assert main(["--endpoint", "ftp://x", "list-units"]) == 1
    assert "endpoint 'ftp://x' must be like unix:///run/fleet.sock" in capsys.readouterr().err


@pytest.mark.parametrize("endpoint", ["", "unix://host/x", "unix:", "http://", "http://h:x", "http://h:0", "ftp://h"])
def test_bad_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ClientError, match="must be like"):
        split_endpoint(endpoint)


def test_a_password_is_sent_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        received: list[bytes] = []

        def refuse() -> None:
            connection, _address = listener.accept()
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        endpoint = f"http://me:pass%40word@127.0.0.1:{listener.getsockname()[1]}/prefix"
        assert main(["--endpoint", endpoint, "cat", "a"], {}) == 1
        thread.join(10)
    assert received[0].startswith(b"GET /prefix/fleet/v1/units/a.service HTTP/1.1\r\n")
    assert b"Authorization: Basic bWU6cGFzc0B3b3Jk\r\n" in received[0]
    assert capsys.readouterr().err == "fleetctl: Error 401: Unauthorized\n"
    assert main(["--endpoint", endpoint, "cat", "a"], {}) == 1
    assert "pass" not in capsys.readouterr().err
