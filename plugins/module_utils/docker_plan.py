# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a wanted and a found container to the actions between them. Pure: nothing here talks to an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import COMPARISONS, matches, plain
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS

# A container is replaced by way of these two names, so that at every moment one of the old and the new one is whole.
NEW, PREVIOUS = ".flagship-new", ".flagship-previous"

HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Difference:
    """An option whose found value is not the wanted one (both canonical, wanted with the image's part)."""

    option: str
    wanted: Any
    found: Any
    updatable: bool = False
    secret: bool = False

    def shown(self) -> tuple[Any, Any]:
        """The found and the wanted value in the form that a diff may print."""
        if self.secret:
            return _masked(self.found, self.wanted), _masked(self.wanted, self.found)
        return plain(self.found), plain(self.wanted)


@dataclass(frozen=True)
class Action:
    """One step. kind is create, replace, update, connect, disconnect, unpause, start, stop, remove or restore."""

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


def _masked(value: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    return {
        key: HIDDEN if other.get(key, text) == text else f"{HIDDEN}, changed" for key, text in sorted(value.items())
    }


def prepared(params: dict[str, Any]) -> dict[str, Any]:
    """The module's options with those that say one thing together made one. Raises ValueError when they contradict."""
    result = dict(params)
    retries = params["restart_retries"]
    if retries is not None:
        if params["restart_policy"] != "on-failure":
            raise ValueError(
                "restart_retries only means something with restart_policy on-failure; set that or leave it out"
            )
        result["restart_policy"] = f"on-failure:{retries}"
    unknown = set(params["comparisons"]) - {option.name for option in OPTIONS} - {"image", "networks"}
    if unknown:
        raise ValueError(
            f"comparisons names {', '.join(sorted(unknown))}, which is not compared; name options of the container"
        )
    for name, comparison in params["comparisons"].items():
        if comparison not in COMPARISONS:
            raise ValueError(f"the comparison {comparison!r} of {name} is not known; use {', '.join(COMPARISONS)}")
    mode = params["network_mode"] or ""
    if params["networks"] and (mode in ("host", "none") or mode.startswith("container:")):
        raise ValueError(f"a container with network_mode {mode} cannot be in networks; leave one of the two out")
    names = [network["name"] for network in params["networks"] or []]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"networks names {', '.join(sorted(twice))} twice; keep one entry for each network")
    for option in OPTIONS:
        try:
            option.wanted(result)
        except ValueError as error:
            raise ValueError(f"{option.name}: {error}") from None
    return result


def differences(params: dict[str, Any], situation: Situation) -> list[Difference]:
    """The options, as prepared, that were given and that the container does not have as wanted."""
    container = situation.container
    if container is None:
        return []
    found_differences = []
    comparisons = params["comparisons"]
    if params["image"] and comparisons.get("image") != "ignore" and container["Image"] != situation.image_id:
        found_differences.append(Difference("image", situation.image_id or params["image"], container["Image"]))
    for option in OPTIONS:
        wanted = option.wanted(params)
        if wanted is None:
            continue
        wanted, found = option.expected(wanted, situation.image, params), option.found(container)
        if not matches(wanted, found, comparisons.get(option.name, "strict")):
            found_differences.append(Difference(option.name, wanted, found, option.updatable(wanted), option.secret))
    mode = option_value("network_mode", container)
    if params["networks"] and params["network_mode"] is None and not _can_be_connected(mode):
        found_differences.append(Difference("network_mode", params["networks"][0]["name"], mode))
    return found_differences


def option_value(name: str, container: dict[str, Any]) -> Any:
    """The canonical value that a container has for the option of that name."""
    return next(option for option in OPTIONS if option.name == name).found(container)


def _can_be_connected(mode: str) -> bool:
    return mode not in ("host", "none") and not mode.startswith("container:")


def network_actions(params: dict[str, Any], container: dict[str, Any]) -> Iterator[Action]:
    """The connections to make and to break while the container exists; by default those not asked for are broken."""
    comparison = params["comparisons"].get("networks", "strict")
    if params["networks"] is None or comparison == "ignore":
        return
    found = container["NetworkSettings"]["Networks"] or {}
    names = {network["name"] for network in params["networks"]}
    own = params["network_mode"] and _mode_network(params["network_mode"])
    if comparison == "strict":
        for name in sorted(set(found) - names - {own}):
            yield Action("disconnect", {"network": name})
    for network in params["networks"]:
        endpoint = found.get(network["name"])
        if endpoint is not None:
            if _connected_as_wanted(network, endpoint, container, comparison):
                continue
            yield Action("disconnect", {"network": network["name"]})
        yield Action("connect", {"network": network["name"], **endpoint_options(network)})


def _mode_network(mode: str) -> str:
    return "bridge" if mode == "default" else mode


def endpoint_options(network: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection that were given, by the names that the SDK has for them."""
    return {key: network[key] for key in ("ipv4_address", "aliases") if network.get(key) is not None}


def _connected_as_wanted(
    network: dict[str, Any], endpoint: dict[str, Any], container: dict[str, Any], comparison: str
) -> bool:
    address = (endpoint.get("IPAMConfig") or {}).get("IPv4Address") or ""
    if network.get("ipv4_address") is not None and network["ipv4_address"] != address:
        return False
    if network.get("aliases") is None:
        return True
    # Before API 1.44 the engine adds the beginning of the container's id.
    aliases = frozenset(endpoint.get("Aliases") or []) - {container["Id"][:12], container["Name"].lstrip("/")}
    return bool(matches(frozenset(network["aliases"]) - {container["Name"].lstrip("/")}, aliases, comparison))


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
        actions += [Action("start")] if state == "started" else []
        return Plan(actions, [])

    found_differences = differences(params, situation)
    because = [difference.option for difference in found_differences if not difference.updatable]
    if params["recreate"]:
        because.append("recreate")
    if because:
        actions += [Action("remove", {"name": name + PREVIOUS})] if previous else []
        running = state == "started" or (state == "present" and is_running(container))
        actions.append(Action("replace", {"because": because, "start": running}))
        return Plan(actions, found_differences)

    if found_differences:
        actions.append(Action("update", {"options": [difference.option for difference in found_differences]}))
    actions += network_actions(params, container)
    if state == "started":
        if container["State"].get("Paused"):
            actions.append(Action("unpause"))
        elif not is_running(container):
            actions.append(Action("start"))
    elif state == "stopped" and is_running(container):
        actions.append(Action("stop"))
    actions += [Action("remove", {"name": name + PREVIOUS})] if previous else []
    return Plan(actions, found_differences)


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
        request["NetworkingConfig"] = {"EndpointsConfig": {first["name"]: _endpoint(first)}}
    return request


def _endpoint(network: dict[str, Any]) -> dict[str, Any]:
    endpoint: dict[str, Any] = {}
    if network.get("ipv4_address"):
        endpoint["IPAMConfig"] = {"IPv4Address": network["ipv4_address"]}
    if network.get("aliases"):
        endpoint["Aliases"] = network["aliases"]
    return endpoint


def update_body(params: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The HostConfig members that an update of the named options sets."""
    body: dict[str, Any] = {"Config": {}, "HostConfig": {}}
    for option in OPTIONS:
        if option.name in names:
            option.write(body, option.wanted(params))
    host: dict[str, Any] = body["HostConfig"]
    return host


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
        before[difference.option], after[difference.option] = difference.shown()
    for action in plan.actions:
        network = action.detail.get("network", "")
        if action.kind == "disconnect":
            endpoint = situation.container["NetworkSettings"]["Networks"][network]
            before.setdefault("networks", {})[network] = _endpoint_shown(endpoint)
        elif action.kind == "connect":
            options = {key: value for key, value in action.detail.items() if key != "network"}
            after.setdefault("networks", {})[network] = options
    if "recreate" in reasons(plan):
        before["id"], after["id"] = situation.container["Id"][:12], "(new)"
    for kind, running in (("start", True), ("unpause", True), ("stop", False)):
        if kind in kinds:
            before["running"], after["running"] = not running, running
    return {"before": before, "after": after}


def _endpoint_shown(endpoint: dict[str, Any]) -> dict[str, Any]:
    shown = {"ipv4_address": (endpoint.get("IPAMConfig") or {}).get("IPv4Address"), "aliases": endpoint.get("Aliases")}
    return {key: value for key, value in shown.items() if value}


def redacted(container: dict[str, Any]) -> dict[str, Any]:
    """An inspect answer without the values of environment variables."""
    env = [f"{entry.partition('=')[0]}={HIDDEN}" for entry in container["Config"].get("Env") or []]
    return {**container, "Config": {**container["Config"], "Env": env}}


def start_failure(name: str, host: str, why: str) -> str:
    """The sentence about a container that the engine on host did not start, from the engine's own explanation."""
    port = re.search(r"(?:Bind for |listen \w+ |expose port )(\S*:\d+)", why)
    if "port is already allocated" in why or "address already in use" in why:
        return (
            f"The container {name} could not be started on {host}: the host port {port.group(1) if port else ''} is "
            "already in use; publish another one or stop what holds it."
        )
    return f"The container {name} could not be started on {host}: {why}."
