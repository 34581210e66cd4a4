# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_health import (
    LONGEST,
    hopeless,
    is_healthy,
    last_check,
    not_yet,
)

LOG = [{"ExitCode": 0, "Output": "fine"}, {"ExitCode": 7, "Output": "refused\n  by 127.0.0.1\n"}]
SAID = "; its last check ended with 7 and said: refused by 127.0.0.1"


def container(status: str = "running", health: str | None = None, **state: Any) -> dict[str, Any]:
    running = status in ("running", "paused", "restarting")
    found: dict[str, Any] = {"Status": status, "Running": running, "Restarting": status == "restarting"}
    found["Paused"] = status == "paused"
    if health:
        found["Health"] = {"Status": health, "Log": LOG}
    return {"State": {**found, **state}}


@pytest.mark.parametrize(
    ("found", "healthy", "lost"),
    [
        (container(), True, ""),
        (container(health="none"), True, ""),
        (container(health="healthy"), True, ""),
        (container(health="starting"), False, ""),
        (container(health="unhealthy"), False, f"is unhealthy{SAID}"),
        (container("restarting"), False, ""),
        (container("restarting", health="starting"), False, ""),
        (container("paused", health="healthy"), False, "is paused"),
        (container("dead", Dead=True), False, "is being removed"),
        (container("removing"), False, "is being removed"),
        (container("created"), False, "has ended with exit code 0"),
        (container("exited", ExitCode=3), False, "has ended with exit code 3"),
        (container("exited", ExitCode=137, OOMKilled=True), False, "has ended for want of memory with exit code 137"),
        (container("exited", ExitCode=127, Error="no sh"), False, "has ended with exit code 127 (no sh)"),
        (container("exited", "unhealthy", ExitCode=1), False, f"has ended with exit code 1{SAID}"),
    ],
)
def test_verdict(found: dict[str, Any], healthy: bool, lost: str) -> None:
    assert (is_healthy(found), hopeless(found)) == (healthy, lost)


def test_not_yet() -> None:
    assert not_yet(container(health="starting")) == f"is starting{SAID}"
    assert not_yet(container("restarting")) == "restarts again and again"


@pytest.mark.parametrize("log", [None, []])
def test_a_check_that_never_ran_says_nothing(log: list[Any] | None) -> None:
    assert last_check({"State": {"Health": {"Status": "starting", "Log": log}}}) == ""


def test_a_check_that_says_much_is_cut() -> None:
    said = last_check({"State": {"Health": {"Log": [{"ExitCode": 1, "Output": "x" * 5000 + "end"}]}}})
    assert said.endswith("xend")
    assert len(said) < LONGEST + 60
