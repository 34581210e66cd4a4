#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_container
short_description: Keep a Docker container as described
version_added: 0.1.0
description:
  - Creates, replaces, updates, starts, stops and removes one container, so that it is as the options say.
  - Only options that are given are compared with the container. An option that is given is compared exactly.
    Environment, labels and volumes that the image brings along are taken into account. O(comparisons) loosens this.
  - O(memory) and O(restart_policy) change while the container runs, and so do its O(networks). Any other difference
    replaces the container.
  - A replacement is created beside the old container before that is stopped. When the new one cannot be created or
    started, the old one is put back as it was, and the task fails.
  - A replaced container has the options of this task only, so always give all of them.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.docker
  - flagship.coreos.attributes
  - flagship.coreos.attributes.actiongroup_docker
attributes:
  check_mode:
    support: partial
    details:
      - Whether O(pull=always) would bring a newer image is only known after pulling, so check mode reports no change
        for it as long as the image is there.
  diff_mode:
    support: full
    details:
      - The values of environment variables are hidden.
  idempotent:
    support: partial
    details:
      - With O(recreate=true) the container is replaced on every run.
options:
  name:
    description:
      - Name of the container.
    type: str
    required: true
  state:
    description:
      - V(present) means that the container exists as described. A new one is not started, one that is replaced keeps
        running when it ran before.
      - V(started) means that it also runs. A paused container continues.
      - V(stopped) means that it exists as described and does not run.
      - V(absent) means that there is no such container.
    type: str
    choices: [absent, present, started, stopped]
    default: started
  image:
    description:
      - Name or ID of the image.
      - Needed when the container does not exist yet. Without it, an existing container keeps its image.
      - The container is replaced when the image that has this name is not the one that it was made from.
    type: str
  pull:
    description:
      - V(missing) pulls the image if the engine does not have it, V(always) asks the registry each time, V(never)
        does not pull.
    type: str
    choices: [never, missing, always]
    default: missing
  command:
    description:
      - The command, as a list of words, or as text that is split as a shell would split it.
      - An empty list means the image's command.
    type: raw
  entrypoint:
    description:
      - The entry point, as a list of words.
      - An empty list means the image's entry point, a list with one empty string means none.
    type: list
    elements: str
  env:
    description:
      - Environment variables, as a mapping of names to texts.
      - Put values in quotes that YAML would take for something else, such as V(yes) or V(1.10).
    type: dict
  labels:
    description:
      - Labels, as a mapping of names to texts.
    type: dict
  published_ports:
    description:
      - Ports to publish on the host, each as C([[IP:]HOST:]CONTAINER[/PROTOCOL]).
      - Both ports may be ranges. An IPv6 address is written in brackets. Without a host port the engine picks one.
    type: list
    elements: str
  volumes:
    description:
      - What to mount, each as C(/HOST/PATH:/PATH[:MODES]), C(VOLUME:/PATH[:MODES]) or C(/PATH) for a volume without a
        name.
      - Modes are separated by commas, for example V(ro) or V(rw,rshared).
    type: list
    elements: str
  tmpfs:
    description:
      - File systems in memory, as a list of C(PATH[:OPTIONS]) or as a mapping of paths to options.
    type: raw
  networks:
    description:
      - The networks that the container is connected to, and no others. They must exist.
      - Connections are made and broken while the container exists.
      - If O(network_mode) is not given, a new container starts out in the first of these instead of the default
        network.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the network.
        type: str
        required: true
      ipv4_address:
        description:
          - Fixed IPv4 address of the container in the network.
        type: str
      aliases:
        description:
          - Further names that the container has in the network.
        type: list
        elements: str
  network_mode:
    description:
      - The kind of network, V(bridge), V(host), V(none), V(container:NAME) or the name of a network.
    type: str
  hostname:
    description:
      - Host name inside the container.
    type: str
  capabilities:
    description:
      - Capabilities to add, with or without the prefix C(CAP_). V(ALL) means all.
    type: list
    elements: str
  cap_drop:
    description:
      - Capabilities to drop, with or without the prefix C(CAP_). V(ALL) means all.
    type: list
    elements: str
  privileged:
    description:
      - Whether the container has all capabilities and devices of the host.
    type: bool
  security_opts:
    description:
      - Security options as C(docker run --security-opt) has them, for example V(seccomp=unconfined),
        V(apparmor=unconfined), V(no-new-privileges) or V(systempaths=unconfined).
      - V(systempaths=unconfined) leaves no path of C(/proc) and C(/sys) hidden or read-only.
      - A seccomp profile is given as its JSON text, not as the name of a file.
    type: list
    elements: str
  cgroupns_mode:
    description:
      - Whether the container has a cgroup name space of its own (V(private)) or that of the host (V(host)).
    type: str
    choices: [private, host]
  devices:
    description:
      - Devices of the host that the container sees, each as C(/HOST/PATH[:/PATH[:PERMISSIONS]]), with permissions
        V(rwm).
    type: list
    elements: str
  dns:
    description:
      - Addresses of name servers.
    type: list
    elements: str
  extra_hosts:
    description:
      - Further entries for C(/etc/hosts), as a mapping of host names to addresses.
    type: dict
  init:
    description:
      - Whether the engine's small init process runs as process 1, passes on signals and reaps children.
    type: bool
  user:
    description:
      - The user (and group) that the command runs as, by name or number, as C(USER[:GROUP]).
    type: str
  working_dir:
    description:
      - The directory that the command starts in.
    type: str
  memory:
    description:
      - The most memory that the container may use, such as V(512m) or V(2g), in powers of 1024. V(0) means no limit.
    type: str
  restart_policy:
    description:
      - What the engine does when the container's process ends.
    type: str
    choices: ["no", on-failure, always, unless-stopped]
  restart_retries:
    description:
      - How often a restart is tried with O(restart_policy=on-failure). V(0) means without end.
    type: int
  stop_signal:
    description:
      - The signal that asks the container's process to end.
    type: str
  stop_timeout:
    description:
      - Seconds between the stop signal and C(SIGKILL). The engine's own value is 10.
    type: int
  force_kill:
    description:
      - Whether a container that has to stop is killed at once.
    type: bool
    default: false
  log_driver:
    description:
      - The driver for the container's output, such as V(json-file) or V(journald).
    type: str
  log_options:
    description:
      - Options of the log driver, as a mapping of names to texts.
    type: dict
  keep_volumes:
    description:
      - Whether volumes without a name stay when their container is removed or replaced. Named ones always stay.
    type: bool
    default: true
  recreate:
    description:
      - Whether to replace the container even if nothing differs.
    type: bool
    default: false
  comparisons:
    description:
      - How to compare an option, as a mapping of names of options to one of the following.
      - V(strict) is the default and asks for exactly the wanted value.
      - V(allow_more_present) accepts further entries of a list or mapping, V(ignore) accepts anything.
      - Besides options that describe the container, V(image) and V(networks) can be named.
    type: dict
    default: {}
seealso:
  - module: flagship.coreos.docker_image
  - module: flagship.coreos.docker_network
"""

EXAMPLES = r"""
- name: Run a web server with its pages from the host
  flagship.coreos.docker_container:
    name: web
    image: nginx:1.27
    published_ports:
      - 127.0.0.1:8080:80
    volumes:
      - /srv/www:/usr/share/nginx/html:ro
    restart_policy: unless-stopped

- name: Boot a machine with systemd at a fixed address
  flagship.coreos.docker_container:
    name: core01
    hostname: core01
    image: example/node:1
    pull: never
    networks:
      - name: lab
        ipv4_address: 172.30.0.11
        aliases: [etcd1]
    capabilities: [ALL]
    cap_drop: [SYS_RESOURCE]
    security_opts: [seccomp=unconfined, apparmor=unconfined, systempaths=unconfined]
    cgroupns_mode: private
    tmpfs:
      /run: exec
      /run/lock: ""
    env:
      container: docker
    volumes:
      - core01-docker:/var/lib/docker
    stop_signal: RTMIN+3

- name: Replace the container when its environment changes, whatever further labels it has
  flagship.coreos.docker_container:
    name: worker
    image: example/worker:2
    env:
      MODE: batch
    labels:
      team: web
    comparisons:
      labels: allow_more_present

- name: Remove the container with its volumes
  flagship.coreos.docker_container:
    name: web
    state: absent
    keep_volumes: false
"""

RETURN = r"""
container:
  description:
    - What the engine reports about the container, with the values of environment variables hidden.
    - In check mode this is the container before the change.
  returned: when the container exists
  type: dict
  sample:
    Id: 17a98b2031cfd4eb775417ebfe79ea70c0c55a8f9ba391739f30591bf4903c89
    Name: /web
    State:
      Running: true
actions:
  description:
    - What was done, in order. In check mode, what would be done.
  returned: success
  type: list
  elements: dict
  sample:
    - action: replace
      because: [env]
      start: true
"""

import contextlib
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    DockerError,
    argument_spec,
    connect,
    errors_as_sentences,
    inspect_container,
    inspect_image,
    pull,
    reason,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import (
    NEW,
    PREVIOUS,
    Action,
    Plan,
    Situation,
    create_body,
    decide,
    diff,
    network_actions,
    prepared,
    redacted,
    start_failure,
    update_body,
)

with contextlib.suppress(ImportError):  # connect() reports it
    from docker.errors import APIError, NotFound

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["absent", "present", "started", "stopped"], "default": "started"},
    "image": {"type": "str"},
    "pull": {"type": "str", "choices": ["never", "missing", "always"], "default": "missing"},
    "command": {"type": "raw"},
    "entrypoint": {"type": "list", "elements": "str"},
    "env": {"type": "dict"},
    "labels": {"type": "dict"},
    "published_ports": {"type": "list", "elements": "str"},
    "volumes": {"type": "list", "elements": "str"},
    "tmpfs": {"type": "raw"},
    "networks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "ipv4_address": {"type": "str"},
            "aliases": {"type": "list", "elements": "str"},
        },
    },
    "network_mode": {"type": "str"},
    "hostname": {"type": "str"},
    "capabilities": {"type": "list", "elements": "str"},
    "cap_drop": {"type": "list", "elements": "str"},
    "privileged": {"type": "bool"},
    "security_opts": {"type": "list", "elements": "str"},
    "cgroupns_mode": {"type": "str", "choices": ["private", "host"]},
    "devices": {"type": "list", "elements": "str"},
    "dns": {"type": "list", "elements": "str"},
    "extra_hosts": {"type": "dict"},
    "init": {"type": "bool"},
    "user": {"type": "str"},
    "working_dir": {"type": "str"},
    "memory": {"type": "str"},
    "restart_policy": {"type": "str", "choices": ["no", "on-failure", "always", "unless-stopped"]},
    "restart_retries": {"type": "int"},
    "stop_signal": {"type": "str"},
    "stop_timeout": {"type": "int"},
    "force_kill": {"type": "bool", "default": False},
    "log_driver": {"type": "str"},
    "log_options": {"type": "dict"},
    "keep_volumes": {"type": "bool", "default": True},
    "recreate": {"type": "bool", "default": False},
    "comparisons": {"type": "dict", "default": {}},
}


class Container:
    """The container's side of the engine: finds the situation and carries out a plan."""

    def __init__(self, client: Any, params: dict[str, Any]) -> None:
        self.client = client
        self.params = params
        self.name = params["name"]
        self.host = params["docker_host"]

    def situation(self) -> tuple[Situation, list[Action]]:
        """What the engine has, and the action that puts back a container whose replacement was cut short."""
        container = inspect_container(self.client, self.name)
        previous = inspect_container(self.client, self.name + PREVIOUS)
        new = inspect_container(self.client, self.name + NEW)
        restore = []
        if container is None and previous is not None:
            restore = [Action("restore", {"name": self.name + PREVIOUS})]
            container, previous = previous, None
        image = inspect_image(self.client, container["Image"]) if container else None
        return (
            Situation(
                container=container,
                image=(image or {}).get("Config") or {},
                new=new is not None,
                previous=previous is not None,
            ),
            restore,
        )

    def find_image(self, container: dict[str, Any] | None, check: bool) -> tuple[str | None, list[Action]]:
        """The id of the wanted image (None: check mode would have to pull it first), and what was pulled."""
        name, policy = self.params["image"], self.params["pull"]
        if not name:
            if container is None:
                raise DockerError(
                    f"The container {self.name} does not exist on {self.host}; set image to have it created."
                )
            self.params["image"] = self.keep_image(container)
            return container["Image"], []
        found = inspect_image(self.client, name)
        is_id = name.startswith("sha256:")
        if found is None and (policy == "never" or is_id):
            raise DockerError(
                f"The image {name} for the container {self.name} is not on {self.host}; bring it there with"
                " flagship.coreos.docker_image" + ("." if is_id else ", or set pull to missing.")
            )
        if is_id or (found is not None and (policy != "always" or check)):
            return found["Id"], []
        if not check:
            pull(self.client, name)
        after = found if check else inspect_image(self.client, name)
        changed = after is None or found is None or after["Id"] != found["Id"]
        return after and after["Id"], [Action("pull", {"image": name})] if changed else []

    def keep_image(self, container: dict[str, Any]) -> str:
        """The name of the container's image, or its id when that name is another image's now."""
        name: str = container["Config"]["Image"]
        image = inspect_image(self.client, name)
        return name if image and image["Id"] == container["Image"] else container["Image"]

    def carry_out(self, plan: Plan, situation: Situation) -> None:
        """Do what the plan says. Raises DockerError; what was there before is there still then."""
        container = situation.container
        identity = container["Id"] if container else ""
        created = False
        for action in plan.actions:
            if action.kind == "create":
                identity, created = self.create(self.name), True
            elif action.kind == "replace":
                identity = self.replace(container, action.detail["start"])
            elif action.kind == "update":
                self.update(identity, action.detail["options"])
            elif action.kind == "start":
                self.start(identity, remove=created)
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

    def create(self, name: str) -> str:
        """Create a container with all of its networks and return its id; nothing stays when that fails."""
        try:
            identity: str = self.client.create_container_from_config(create_body(self.params), name=name)["Id"]
        except APIError as error:
            why = reason(error)
            if error.status_code == 409 and "name" in why:
                why = f"the name {name} was taken meanwhile; choose another name or remove the container that has it"
            raise DockerError(f"The container {self.name} could not be created on {self.host}: {why}.") from error
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
        except Exception as error:
            self.client.remove_container(identity, v=True, force=True)
            self.put_back(old, error)
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
        seconds = self.params["stop_timeout"]
        if seconds is None:
            seconds = container["Config"].get("StopTimeout")
        if seconds is None:
            seconds = 10
        self.client.stop(container["Id"], timeout=0 if self.params["force_kill"] else seconds)

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
        host = update_body(self.params, names)
        memory = host.get("Memory")
        # The swap limit follows the memory limit as it does when a container is created.
        self.client.update_container(
            identity,
            mem_limit=memory,
            memswap_limit=memory and memory * 2,
            restart_policy=host.get("RestartPolicy"),
        )

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


def run(module: AnsibleModule, client: Any) -> dict[str, Any]:
    """Bring the container to what the module's options say and return the module's result."""
    params = prepared(module.params)
    container = Container(client, params)
    mode = params["network_mode"] or ""
    if mode.startswith("container:"):
        other = client.inspect_container(mode.partition(":")[2])
        params["network_mode"] = f"container:{other['Id']}"
    situation, first = container.situation()
    if params["state"] != "absent":
        image_id, pulled = container.find_image(situation.container, module.check_mode)
        situation = Situation(
            situation.container, situation.image, image_id, new=situation.new, previous=situation.previous
        )
        first += pulled
    plan = decide(params, situation)
    if not module.check_mode:
        restore = [action for action in first if action.kind == "restore"]
        container.carry_out(Plan(restore + plan.actions, plan.differences), situation)
    actions = first + plan.actions
    result: dict[str, Any] = {"changed": bool(actions), "actions": [action.shown() for action in actions]}
    if module._diff:
        result["diff"] = diff(situation, plan, params)
    found = inspect_container(client, params["name"])
    if found is not None:
        result["container"] = redacted(found)
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    client = connect(module)
    with errors_as_sentences(module, f"the container {module.params['name']}"):
        module.exit_json(**run(module, client))


if __name__ == "__main__":
    main()
