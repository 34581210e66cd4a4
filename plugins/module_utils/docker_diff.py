# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user gets to see of a plan and a container, without secrets. Pure: nothing here talks to an engine."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import plain
from ansible_collections.flagship.coreos.plugins.module_utils.docker_endpoint import endpoint_shown
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import (
    Difference,
    Plan,
    Situation,
    reasons,
)

HIDDEN = "(hidden)"

# Names under which options of log and volume drivers carry secrets, and texts that have one inside.
SECRET_NAME = re.compile(r"passw|secret|token|credential|private.?key|api.?key|access.?key", re.IGNORECASE)
SECRET_TEXT = re.compile(r"\b(pass(?:word|wd)?|secret|token)=[^,\s]*", re.IGNORECASE)


def shown(difference: Difference) -> tuple[Any, Any]:
    """The found and the wanted value of an option in the form that a diff may print."""
    found, wanted = plain(difference.found), plain(difference.wanted)
    return masked(found, wanted, difference.secret), masked(wanted, found, difference.secret)


def masked(value: Any, other: Any, secret: bool = False) -> Any:
    """A value without its secrets (all of its texts, or those that look like one), marked where other has another."""
    if isinstance(value, dict):
        against = other if isinstance(other, dict) else {}
        return {
            key: masked(item, against.get(key, item), secret or bool(SECRET_NAME.search(str(key))))
            for key, item in sorted(value.items())
        }
    if isinstance(value, str):
        hidden = HIDDEN if secret else SECRET_TEXT.sub(rf"\1={HIDDEN}", value)
        changed = hidden != value and other != value
        return f"{hidden}, changed" if changed else hidden
    return value


def diff(situation: Situation, plan: Plan, params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Before and after, of what changes only."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    kinds = {action.kind for action in plan.actions}
    if situation.container is None or params["state"] == "absent":
        if kinds:
            before["exists"] = situation.container is not None
            after["exists"] = params["state"] != "absent"
        return {"before": before, "after": after}
    for difference in plan.differences:
        before[difference.option], after[difference.option] = shown(difference)
    for action in plan.actions:
        network = action.detail.get("network", "")
        if action.kind == "disconnect":
            endpoint = situation.container["NetworkSettings"]["Networks"][network]
            before.setdefault("networks", {})[network] = endpoint_shown(endpoint)
        elif action.kind == "connect":
            options = {key: value for key, value in action.detail.items() if key != "network"}
            after.setdefault("networks", {})[network] = options
    if "recreate" in reasons(plan):
        before["id"], after["id"] = situation.container["Id"][:12], "(new)"
    if "restart" in kinds:
        before["restarted"], after["restarted"] = False, True
    for kind, running in (("start", True), ("unpause", True), ("stop", False)):
        if kind in kinds:
            before["running"], after["running"] = not running, running
    return {"before": before, "after": after}


def redacted(container: dict[str, Any]) -> dict[str, Any]:
    """An inspect answer without the values of environment variables and the secrets of its drivers."""
    config, host = dict(container["Config"]), dict(container["HostConfig"])
    config["Env"] = [f"{entry.partition('=')[0]}={HIDDEN}" for entry in config.get("Env") or []]
    host.update((key, _unspoken(host[key])) for key in ("LogConfig", "Mounts") if host.get(key))
    return {**container, "Config": config, "HostConfig": host}


def _unspoken(value: Any) -> Any:
    return [masked(item, item) for item in value] if isinstance(value, list) else masked(value, value)
