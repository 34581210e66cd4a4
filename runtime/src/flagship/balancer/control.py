# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a balancer is told to check a file and to read it: by programs of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Protocol

# How long check, running and reload may take, in seconds.
COMMAND_TIMEOUT = 30.0


class BalancerError(Exception):
    """The balancer refused a file, or did not come to run with it; the text is one sentence."""


class NotRunningError(Exception):
    """There is no balancer now."""


class Control(Protocol):
    """The ways to a balancer; each call ends within COMMAND_TIMEOUT."""

    def check(self, command: Sequence[str]) -> None:
        """Run the command; raises BalancerError if it does not succeed, NotRunningError when none can be asked."""

    def reload(self) -> None:
        """Make the balancer read its file; raises BalancerError, NotRunningError."""

    def ask_whether_running(self) -> None:
        """Raises NotRunningError if it is known that there is no balancer now."""


class Programs:
    """A balancer that is reached by programs; () stands for one that is not there."""

    def __init__(self, reload: Sequence[str], running: Sequence[str]) -> None:
        self._reload = reload
        self._running = running

    def check(self, command: Sequence[str]) -> None:
        self._run("check", command)

    def reload(self) -> None:
        self._run("reload", self._reload)

    def ask_whether_running(self) -> None:
        try:
            _run("running", self._running)
        except BalancerError as error:
            raise NotRunningError(str(error)) from None

    def _run(self, name: str, command: Sequence[str]) -> None:
        try:
            _run(name, command)
        except BalancerError:
            self.ask_whether_running()
            raise


def failure(command: str, code: int, output: bytes) -> BalancerError:
    """The error of a command that ended with that exit code, with its first words."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    # HAProxy introduces itself; both name the mistake first and sum up last.
    mistakes = [line for line in lines if not line.startswith(("[NOTICE]", "[WARNING]"))]
    words = "; ".join(mistakes[:3]).rstrip(".") or "no output"
    return BalancerError(f"{command} failed with exit code {code}: {words}.")


def _run(name: str, command: Sequence[str]) -> None:
    if not command:
        return
    shown = f"{name} command `{' '.join(command)}`"
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise BalancerError(f"{shown} did not end within {COMMAND_TIMEOUT:g} s.") from None
    except OSError as error:
        raise BalancerError(f"{shown} cannot be run: {error.strerror}.") from None
    if result.returncode:
        raise failure(shown, result.returncode, result.stderr.strip() or result.stdout)
