# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a container has become healthy, or never will. Pure: nothing here talks to an engine."""

from __future__ import annotations

from typing import Any

# No more than this of what a check has said goes into a sentence.
LONGEST = 500


def is_healthy(container: dict[str, Any]) -> bool:
    """Whether a container runs and passes its check; one without a check is healthy as long as it runs."""
    state = container["State"]
    if not state.get("Running") or state.get("Paused") or state.get("Restarting"):
        return False
    return _status(container) in ("", "none", "healthy")


def hopeless(container: dict[str, Any]) -> str:
    """Why it makes no sense to wait until a container is healthy; empty as long as it does."""
    state = container["State"]
    if state.get("Dead") or state.get("Status") in ("dead", "removing"):
        return "is being removed"
    if state.get("Paused"):
        return "is paused"
    if not state.get("Running") and not state.get("Restarting"):
        why = "for want of memory " if state.get("OOMKilled") else ""
        said = f" ({state['Error']})" if state.get("Error") else ""
        return f"has ended {why}with exit code {state.get('ExitCode', 0)}{said}{last_check(container)}"
    if _status(container) == "unhealthy":
        return f"is unhealthy{last_check(container)}"
    return ""


def not_yet(container: dict[str, Any]) -> str:
    """What a container is instead of healthy, for the sentence that says that the time is over."""
    state = container["State"]
    status = (
        "restarts again and again" if state.get("Restarting") else f"is {_status(container) or state.get('Status')}"
    )
    return f"{status}{last_check(container)}"


def last_check(container: dict[str, Any]) -> str:
    """What the last check has said, as the end of a sentence; empty when there was none."""
    log = (container["State"].get("Health") or {}).get("Log") or []
    if not log:
        return ""
    said = " ".join(str(log[-1].get("Output") or "").split())
    said = said if len(said) <= LONGEST else f"...{said[-LONGEST:]}"
    return f"; its last check ended with {log[-1].get('ExitCode')} and said: {said or 'nothing'}"


def _status(container: dict[str, Any]) -> str:
    return str((container["State"].get("Health") or {}).get("Status") or "")
