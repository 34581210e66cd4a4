# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a wanted and a found container to the actions between them. Pure: nothing here talks to an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import matches
from ansible_collections.flagship.coreos.plugins.module_utils.docker_endpoint import (
    can_be_connected,
    endpoint_request,
    network_changes,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_params import comparison

# A container is replaced by way of these two names, so that at every moment one of the old and the new one is whole.
NEW, PREVIOUS = ".flagship-new", ".flagship-previous"

# The states in which the container runs.
RUNNING_STATES = ("started", "healthy")


@dataclass(frozen=True)
class Difference:
    """An option whose found value is not the wanted one (both canonical, wanted with the image's part)."""

    option: str
    wanted: Any
    found: Any
    updatable: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Action:
    """One step. kind is create, replace, update, connect, disconnect, unpause, start, restart, stop, remove or restore."""

    kind: str
    detail: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """The action as the module returns it."""
        return {"action": self.kind, **self.detail}


@dataclass(frozen=True)
class Plan:
    """What to do, in order, and the differences that are the reason."""

    actions: list[Action]
    differences: list[Difference]


@dataclass(frozen=True)
class Situation:
    """What the engine has.

    container is its inspect answer, image its image's configuration, image_id the id of the wanted image (None when
    that is still to be pulled); new and previous say that a replacement was cut short and left such a container behind.
    """

    container: dict[str, Any] | None = None
    image: dict[str, Any] = field(default_factory=dict)
    image_id: str | None = None
    new: bool = False
    previous: bool = False


def differences(params: dict[str, Any], situation: Situation) -> list[Difference]:
    """The options, as prepared, that were given and that the container does not have as wanted."""
    container = situation.container
    if container is None:
        return []
    found_differences = []
    if params["image"] and comparison(params, "image") != "ignore" and container["Image"] != situation.image_id:
        found_differences.append(Difference("image", situation.image_id or params["image"], container["Image"]))
    for option in OPTIONS:
        wanted = option.wanted(params)
        if wanted is None:
            continue
        wanted, found = option.expected(wanted, situation.image, params), option.found(container)
        if not matches(wanted, found, comparison(params, option.name)):
            found_differences.append(Difference(option.name, wanted, found, option.updatable(wanted), option.secret))
    mode = option_value("network_mode", container)
    if params["networks"] and params["network_mode"] is None and not can_be_connected(mode):
        found_differences.append(Difference("network_mode", params["networks"][0]["name"], mode))
    return found_differences


def option_value(name: str, container: dict[str, Any]) -> Any:
    """The canonical value that a container has for the option of that name."""
    return next(option for option in OPTIONS if option.name == name).found(container)


def network_actions(params: dict[str, Any], container: dict[str, Any]) -> Iterator[Action]:
    """The connections to make and to break while the container exists; by default those not asked for are broken."""
    for kind, detail in network_changes(params, container, comparison(params, "networks")):
        yield Action(kind, detail)


def is_running(container: dict[str, Any]) -> bool:
    """Whether the container has a process or is about to be restarted; a paused one counts as running."""
    state = container["State"]
    return bool(state.get("Running") or state.get("Paused") or state.get("Restarting"))


def decide(params: dict[str, Any], situation: Situation) -> Plan:
    """The plan for a container: params as prepared, situation as found."""
    actions: list[Action] = []
    name, state = params["name"], params["state"]
    container, previous = situation.container, situation.previous
    if situation.new:
        actions.append(Action("remove", {"name": name + NEW}))
    if state == "absent":
        if container is not None:
            actions += [Action("stop")] if is_running(container) else []
            actions.append(Action("remove", {"name": name}))
        actions += [Action("remove", {"name": name + PREVIOUS})] if previous else []
        return Plan(actions, [])
    if container is None:
        actions.append(Action("create", {"image": params["image"]}))
        actions += [Action("start")] if state in RUNNING_STATES else []
        return Plan(actions, [])

    found_differences = differences(params, situation)
    because = [difference.option for difference in found_differences if not difference.updatable]
    if params["recreate"]:
        because.append("recreate")
    if because:
        actions += [Action("remove", {"name": name + PREVIOUS})] if previous else []
        running = state in RUNNING_STATES or (state == "present" and is_running(container))
        actions.append(Action("replace", {"because": because, "start": running}))
        return Plan(actions, found_differences)

    if found_differences:
        actions.append(Action("update", {"options": [difference.option for difference in found_differences]}))
    actions += network_actions(params, container)
    if state in RUNNING_STATES:
        actions += _to_run(params, container)
    elif state == "stopped" and is_running(container):
        actions.append(Action("stop"))
    actions += [Action("remove", {"name": name + PREVIOUS})] if previous else []
    return Plan(actions, found_differences)


def _to_run(params: dict[str, Any], container: dict[str, Any]) -> Iterator[Action]:
    if container["State"].get("Paused"):
        yield Action("unpause")
    elif not is_running(container):
        yield Action("start")
        return
    if params["restart"]:
        yield Action("restart")


def reasons(plan: Plan) -> list[str]:
    """Why the container is replaced; empty when it is not."""
    return [reason for action in plan.actions for reason in action.detail.get("because", [])]


def create_body(params: dict[str, Any]) -> dict[str, Any]:
    """The body of a create request for params as prepared.

    Only the first network goes in, as API versions before 1.44 take no more than one.
    """
    body: dict[str, Any] = {"Config": {}, "HostConfig": {}}
    for option in OPTIONS:
        wanted = option.wanted(params)
        # An empty command or entry point means the image's, which the engine takes only where nothing is sent.
        if wanted is not None and not (wanted == [] and option.name in ("command", "entrypoint")):
            option.write(body, wanted)
    request = {**body["Config"], "Image": params["image"], "HostConfig": body["HostConfig"]}
    if params["networks"] and params["network_mode"] in (None, params["networks"][0]["name"]):
        first = params["networks"][0]
        request["HostConfig"]["NetworkMode"] = first["name"]
        request["NetworkingConfig"] = {"EndpointsConfig": {first["name"]: endpoint_request(first)}}
    return request


def update_body(params: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The HostConfig members that an update of the named options sets."""
    body: dict[str, Any] = {"Config": {}, "HostConfig": {}}
    for option in OPTIONS:
        if option.name in names:
            option.write(body, option.wanted(params))
    host: dict[str, Any] = body["HostConfig"]
    if "Memory" in host and "MemorySwap" not in host:
        # The swap limit follows the memory limit as it does when a container is created.
        host["MemorySwap"] = _swap(params) or 2 * host["Memory"]
    # The engine takes 0 for: leave it as it is.
    if host.get("PidsLimit") == 0:
        host["PidsLimit"] = -1
    return host


def _swap(params: dict[str, Any]) -> int:
    wanted = next(option for option in OPTIONS if option.name == "memory_swap").wanted(params)
    return int(wanted or 0)
