# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `flagship`: help, and one sentence with the right exit code for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"


def flagship(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `flagship` as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "flagship", *arguments],
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [[], ["announce"], ["register"], ["watch"], ["fleet"], ["overlay"]])
def test_help(arguments: list[str]) -> None:
    result = flagship(*arguments, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: flagship")


ANNOUNCE = ["announce", "--service", "website", "--instance", "nginx@1", "--address", "10.0.0.1:80", "--check", "tcp"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "no command was given"),
        (["launch"], "'launch'"),
        (["--config", "/nonexistent.conf", "watch"], "/nonexistent.conf does not exist"),
        (["fleet", "--verbose"], "--verbose"),
        (["fleet", "-config", "/nonexistent.conf"], "settings file /nonexistent.conf does not exist"),
        (["fleet", "versions"], "'versions'"),
        (["announce"], "--service"),
        (["overlay"], "--public-ip is ''"),
        (["overlay", "--public-ip", "192.0.2.11", "--prefix", "network"], "--prefix is 'network'"),
        (["overlay", "--remove", "--docker-only"], "not allowed with"),
        ([*ANNOUNCE, "--interval", "often"], "--interval is 'often'"),
        ([*ANNOUNCE, "--interval", "0s"], "--interval is '0s'"),
        ([*ANNOUNCE, "--fall", "0"], "--fall is 0"),
        ([*ANNOUNCE, "--ttl", "1s"], "--ttl is '1s'"),
        ([*ANNOUNCE, "--address", "web:80"], "'web:80'"),
        ([*ANNOUNCE, "--address", "10.0.0.1:99999"], "'10.0.0.1:99999'"),
        ([*ANNOUNCE, "--check", "https://10.0.0.1/"], "'https://10.0.0.1/'"),
        ([*ANNOUNCE, "--check-text", "Welcome"], "sees neither status nor text"),
        ([*ANNOUNCE, "--check", "http://10.0.0.1/", "--check-status", "2xx,ok"], "status 'ok'"),
        (["register"], "--ip is not given"),
        (["register", "--ip", "core01"], "'core01'"),
        (["register", "--ip", "10.0.0.1", "--hostname", "a/b"], "'a/b:container:1'"),
        (["register", "--ip", "10.0.0.1", "--ttl", "1s"], "--ttl is '1s'"),
        ([*ANNOUNCE, "--instance", "a/b"], "'a/b'"),
        ([*ANNOUNCE, "--service", "web site"], "'web site'"),
    ],
)
def test_usage_mistakes(arguments: list[str], names: str) -> None:
    result = flagship(*arguments)
    assert result.returncode == 2
    assert names in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("word", ["version", "-version", "--version"])
def test_the_engine_tells_fleets_version(word: str) -> None:
    result = flagship("fleet", word)
    assert (result.returncode, result.stdout, result.stderr) == (0, "fleetd version 1.0.0\n", "")


def test_unreadable_certificate_is_named() -> None:
    result = flagship(
        *ANNOUNCE, FLAGSHIP_ETCD_ENDPOINTS="https://127.0.0.1:1", FLAGSHIP_ETCD_CA_CERT="/nonexistent/ca.pem"
    )
    assert result.returncode == 2
    assert result.stderr == (
        "flagship announce: the etcd ca_cert /nonexistent/ca.pem cannot be read: No such file or directory.\n"
    )


def test_a_signal_is_obeyed_whatever_it_interrupts() -> None:
    """The old handler waited for a lock that the interrupted wait() may hold."""
    program = """
import os, signal, threading
from flagship.daemon import stop_on_signals
stop = stop_on_signals()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
while not stop.wait(0): pass
"""
    for _attempt in range(10):
        subprocess.run(
            [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}, timeout=10
        )
