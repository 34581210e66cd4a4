# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container's side of a Docker engine: finds the situation and carries out a plan."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    DockerError,
    inspect_container,
    inspect_image,
    is_image_id,
    pull,
    reason,
    registry_has_another,
    update_container,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_health import hopeless, is_healthy, not_yet
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import (
    NEW,
    PREVIOUS,
    Action,
    Plan,
    Situation,
    create_body,
    network_actions,
    update_body,
)

with contextlib.suppress(ImportError):  # connect() reports it
    from docker.errors import APIError, NotFound


class Container:
    """One container of an engine, with the options of docker_container as prepared."""

    def __init__(self, client: Any, params: dict[str, Any]) -> None:
        self.client = client
        self.params = params
        self.name = params["name"]
        self.host = params["docker_host"]
        self.warnings: list[str] = []

    def situation(self) -> tuple[Situation, list[Action]]:
        """What the engine has, and the action that puts back a container whose replacement was cut short."""
        names = self.names()
        new, previous = self.name + NEW in names, self.name + PREVIOUS in names
        container = inspect_container(self.client, self.name) if self.name in names else None
        restore = []
        if container is None and previous:
            restore = [Action("restore", {"name": self.name + PREVIOUS})]
            container, previous = inspect_container(self.client, self.name + PREVIOUS), False
        return Situation(container=container, new=new, previous=previous), restore

    def names(self) -> set[str]:
        """Which of the container's name and the names of a replacement are taken."""
        pattern = f"^/?{re.escape(self.name)}({re.escape(NEW)}|{re.escape(PREVIOUS)})?$"
        found = self.client.containers(all=True, filters={"name": pattern})
        return {name.lstrip("/") for container in found for name in container["Names"] or []}

    def with_image(self, situation: Situation, check: bool) -> tuple[Situation, list[Action]]:
        """The situation with what is known about the wanted image and the container's own, and what was pulled."""
        container = situation.container
        image, actions = self.find_image(container, check)
        image_id = image["Id"] if image else None
        if container is not None and container["Image"] != image_id:
            image = inspect_image(self.client, container["Image"])
        own = ((image or {}).get("Config") or {}) if container else {}
        return Situation(container, own, image_id, new=situation.new, previous=situation.previous), actions

    def find_image(self, container: dict[str, Any] | None, check: bool) -> tuple[Any, list[Action]]:
        """The wanted image as the engine reports it (None: check mode would have to pull it), and what was pulled."""
        name, policy = self.params["image"], self.params["pull"]
        if not name:
            if container is None:
                raise DockerError(
                    f"The container {self.name} does not exist on {self.host}; set image to have it created."
                )
            return self.keep_image(container), []
        found = inspect_image(self.client, name)
        if found is None and (policy == "never" or is_image_id(name)):
            raise DockerError(
                f"The image {name} for the container {self.name} is not on {self.host}; bring it there with"
                " flagship.coreos.docker_image" + ("." if is_image_id(name) else ", or set pull to missing.")
            )
        if is_image_id(name) or (found is not None and policy != "always"):
            return found, []
        if check and found is not None and not registry_has_another(self.client, name, found):
            return found, []
        if not check:
            pull(self.client, name)
        after = None if check else inspect_image(self.client, name)
        changed = after is None or found is None or after["Id"] != found["Id"]
        return after, [Action("pull", {"image": name})] if changed else []

    def keep_image(self, container: dict[str, Any]) -> Any:
        """Ask for the container's image by its name, or by its id when that name is another image's now."""
        name: str = container["Config"]["Image"]
        image = inspect_image(self.client, name)
        same = image is not None and image["Id"] == container["Image"]
        self.params["image"] = name if same else container["Image"]
        return image if same else inspect_image(self.client, container["Image"]) or {"Id": container["Image"]}

    def carry_out(self, plan: Plan, situation: Situation) -> None:
        """Do what the plan says. Raises DockerError; what was there before is there still then."""
        container = situation.container
        identity = container["Id"] if container else ""
        created = False
        healthy = self.params["state"] == "healthy"
        for action in plan.actions:
            if action.kind == "create":
                identity, created = self.create(self.name), True
            elif action.kind == "replace":
                identity = self.replace(container, action.detail["start"])
            elif action.kind == "update":
                self.update(identity, action.detail["options"])
            elif action.kind == "start":
                self.start(identity, remove=created)
            elif action.kind == "restart":
                self.restart(container)
            elif action.kind == "stop":
                self.stop(container)
            elif action.kind == "unpause":
                self.client.unpause(identity)
            elif action.kind == "remove":
                self.remove(action.detail["name"])
            elif action.kind == "restore":
                self.client.rename(identity, self.name)
            else:
                self.connect(identity, action)
        if healthy and not any(action.kind == "replace" for action in plan.actions):
            self.wait_until_healthy(identity)

    def create(self, name: str) -> str:
        """Create a container with all of its networks and return its id; nothing stays when that fails."""
        try:
            made = self.client.create_container_from_config(create_body(self.params), name=name)
        except APIError as error:
            why = reason(error)
            if error.status_code == 409 and "name" in why:
                why = f"the name {name} was taken meanwhile; choose another name or remove the container that has it"
            raise DockerError(f"The container {self.name} could not be created on {self.host}: {why}.") from error
        self.warnings += made.get("Warnings") or []
        identity: str = made["Id"]
        try:
            for action in network_actions(self.params, self.client.inspect_container(identity)):
                self.connect(identity, action)
        except Exception:
            self.client.remove_container(identity, v=True, force=True)
            raise
        return identity

    def replace(self, old: dict[str, Any], start: bool) -> str:
        """Put a new container in the place of an old one and return its id; the old one is put back when that fails."""
        identity = self.create(self.name + NEW)
        try:
            self.stop(old)
            self.rename(old["Id"], self.name + PREVIOUS)
            self.client.rename(identity, self.name)
            if start:
                self.start(identity)
            if self.params["state"] == "healthy":
                self.wait_until_healthy(identity, stays=False)
        except Exception as error:
            self.client.remove_container(identity, v=True, force=True)
            self.put_back(old, error)
            if isinstance(error, DockerError):
                raise DockerError(f"{error} The previous container has its place again.") from error
            raise
        self.remove(self.name + PREVIOUS)
        return identity

    def put_back(self, old: dict[str, Any], error: Exception) -> None:
        """Give an old container its name and its life again after error. Raises DockerError when that fails, too."""
        try:
            with contextlib.suppress(NotFound):  # one that removes itself when it stops
                if self.client.inspect_container(old["Id"])["Name"] != f"/{self.name}":
                    self.client.rename(old["Id"], self.name)
                if old["State"]["Running"]:
                    self.client.start(old["Id"])
                if old["State"]["Paused"]:
                    self.client.pause(old["Id"])
        except APIError as second:
            raise DockerError(
                f"{reason(error)} Putting the previous container {old['Id'][:12]} back failed as well "
                f"({reason(second)}); run the task again when the cause is gone."
            ) from second

    def rename(self, identity: str, name: str) -> None:
        """Rename a container if it still exists; one may remove itself when it stops."""
        with contextlib.suppress(NotFound):
            self.client.rename(identity, name)

    def start(self, identity: str, remove: bool = False) -> None:
        """Start a container. When that fails, remove it if told so, and raise DockerError."""
        try:
            self.client.start(identity)
        except APIError as error:
            if remove:
                self.client.remove_container(identity, v=True, force=True)
            raise DockerError(start_failure(self.name, self.host, reason(error))) from error

    def stop(self, container: dict[str, Any]) -> None:
        """Stop a container that may be running, paused, or waiting for its restart."""
        if container["State"].get("Paused"):
            self.client.unpause(container["Id"])
        self.client.stop(container["Id"], timeout=self.patience(container))

    def restart(self, container: dict[str, Any]) -> None:
        """Restart a container that runs."""
        try:
            self.client.restart(container["Id"], timeout=self.patience(container))
        except APIError as error:
            raise DockerError(start_failure(self.name, self.host, reason(error))) from error

    def patience(self, container: dict[str, Any]) -> int:
        """Seconds that a container's process has after the stop signal."""
        if self.params["force_kill"]:
            return 0
        seconds = self.params["stop_timeout"]
        if seconds is None:
            seconds = container["Config"].get("StopTimeout")
        return 10 if seconds is None else seconds

    def wait_until_healthy(self, identity: str, stays: bool = True) -> None:
        """Wait until a container is healthy. Raises DockerError when it never will be, or not in time."""
        limit = self.params["healthy_wait_timeout"]
        deadline, pause = time.monotonic() + limit, 0.1
        while True:
            container = self.client.inspect_container(identity)
            if is_healthy(container):
                return
            lost = hopeless(container)
            if lost:
                hint = f" See what it says with docker logs {self.name}." if stays else ""
                raise DockerError(f"The container {self.name} on {self.host} {lost}.{hint}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise DockerError(
                    f"The container {self.name} on {self.host} is not healthy after {limit:g} s: it "
                    f"{not_yet(container)}; mend it, or set healthy_wait_timeout to more."
                )
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 2)

    def remove(self, name: str) -> None:
        """Remove a container and wait, no longer than timeout, until it is gone."""
        try:
            self.client.remove_container(name, v=not self.params["keep_volumes"], force=True)
        except NotFound:
            return
        except APIError as error:
            # Another client was quicker, or the container removes itself.
            if "already in progress" not in reason(error):
                raise
        deadline, pause = time.monotonic() + self.params["timeout"], 0.05
        while inspect_container(self.client, name) is not None:
            if time.monotonic() > deadline:
                raise DockerError(
                    f"The container {name} on {self.host} is still being removed after {self.params['timeout']:g} s; "
                    "look at the engine's log and run the task again."
                )
            time.sleep(pause)
            pause = min(pause * 2, 1)

    def update(self, identity: str, names: list[str]) -> None:
        """Change options of a container while it exists."""
        answer = update_container(self.client, identity, update_body(self.params, names))
        self.warnings += answer.get("Warnings") or []

    def connect(self, identity: str, action: Action) -> None:
        """Make or break the connection to a network."""
        detail = dict(action.detail)
        network = detail.pop("network")
        try:
            if action.kind == "connect":
                self.client.connect_container_to_network(identity, network, **detail)
            else:
                self.client.disconnect_container_from_network(identity, network)
        except APIError as error:
            done = "connected to" if action.kind == "connect" else "disconnected from"
            raise DockerError(
                f"The container {self.name} could not be {done} the network {network} on {self.host}: {reason(error)}."
            ) from error


def start_failure(name: str, host: str, why: str) -> str:
    """The sentence about a container that the engine on host did not start, from the engine's own explanation."""
    port = re.search(r"(?:Bind for |listen \w+ |expose port )(\S*:\d+)", why)
    if "port is already allocated" in why or "address already in use" in why:
        return (
            f"The container {name} could not be started on {host}: the host port {port.group(1) if port else ''} is "
            "already in use; publish another one or stop what holds it."
        )
    return f"The container {name} could not be started on {host}: {why}."
