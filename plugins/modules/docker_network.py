#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_network
short_description: Keep a Docker network as described
version_added: 0.1.0
description:
  - Creates and removes one network of a Docker engine.
  - A network cannot be changed. When an option that is given differs from what the network has, the module fails and
    names the difference and the containers in the network. With O(force=true) it makes the network anew instead.
  - Only which containers are in the network (O(connected)) changes while it exists.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.docker
  - flagship.coreos.attributes
  - flagship.coreos.attributes
  - flagship.coreos.attributes.actiongroup_docker
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(recreate=true) the network is made anew on every run.
options:
  name:
    description:
      - Name of the network.
    type: str
    required: true
  state:
    description:
      - Whether there is such a network.
    type: str
    choices: [absent, present]
    default: present
  driver:
    description:
      - The driver. A new network gets V(bridge) if this is not set.
    type: str
  ipam:
    description:
      - The address ranges. If this is not set, the engine chooses one for a new network.
    type: list
    elements: dict
    suboptions:
      subnet:
        description:
          - Addresses of the network, such as V(172.30.0.0/24).
        type: str
        required: true
      gateway:
        description:
          - Address of the host in the network.
        type: str
      ip_range:
        description:
          - The part of O(ipam[].subnet) from which containers without a fixed address get theirs.
        type: str
      aux_addresses:
        description:
          - Addresses that the engine leaves to others, as a mapping of names to addresses.
        type: dict
  ipam_driver:
    description:
      - The driver that gives out addresses. A new network gets V(default) if this is not set.
    type: str
  ipam_options:
    description:
      - Options of that driver, as a mapping of names to texts. The network has exactly these.
    type: dict
  enable_ipv6:
    description:
      - Whether containers get IPv6 addresses as well. Engines before 27 need an IPv6 subnet in O(ipam) for that.
    type: bool
  attachable:
    description:
      - Whether single containers can be connected to a network of a swarm.
    type: bool
  internal:
    description:
      - Whether the network has no way to the outside.
    type: bool
  labels:
    description:
      - Labels, as a mapping of names to texts. The network has exactly these.
    type: dict
  options:
    description:
      - Options of the driver, as a mapping of names to texts. The network may have more.
    type: dict
  connected:
    description:
      - Names of the containers that are in the network, whether they run or not. Others are disconnected, unless
        O(appends=true).
      - Addresses and aliases are up to O(flagship.coreos.docker_container#module:networks), which is the better place
        to say this for containers that this collection keeps.
    type: list
    elements: str
  appends:
    description:
      - Whether containers that O(connected) does not name stay in the network.
    type: bool
    default: false
  force:
    description:
      - Whether a network that differs is made anew, and one that is in use is removed.
      - Containers are disconnected first. They are connected to the new network again, with their aliases, and with
        their fixed addresses if these fit.
    type: bool
    default: false
  recreate:
    description:
      - Whether to make the network anew even if nothing differs, with the same containers.
    type: bool
    default: false
seealso:
  - module: flagship.coreos.docker_container
"""

EXAMPLES = r"""
- name: Create a network with a fixed range of addresses
  flagship.coreos.docker_network:
    name: lab
    ipam:
      - subnet: 172.30.0.0/24
        gateway: 172.30.0.1
        ip_range: 172.30.0.128/25
    labels:
      flagship.lab: flagship

- name: Cut a network off from the outside, even if that means to make it anew
  flagship.coreos.docker_network:
    name: backend
    internal: true
    force: true

- name: Give containers IPv6 addresses, too
  flagship.coreos.docker_network:
    name: six
    enable_ipv6: true
    ipam:
      - subnet: 172.30.1.0/24
      - subnet: fd00:30:1::/64
        gateway: fd00:30:1::1

- name: Have exactly two containers in a network
  flagship.coreos.docker_network:
    name: backend
    connected: [api, database]

- name: Remove a network
  flagship.coreos.docker_network:
    name: lab
    state: absent
"""

RETURN = r"""
network:
  description:
    - What the engine reports about the network.
    - In check mode this is the network before the change.
  returned: when the network exists
  type: dict
  sample:
    Name: lab
    Driver: bridge
    IPAM:
      Config:
        - Subnet: 172.30.0.0/24
          Gateway: 172.30.0.1
actions:
  description:
    - What was done, in order. In check mode, what would be done.
  returned: success
  type: list
  elements: dict
  sample:
    - action: create
"""

import contextlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    DockerError,
    argument_spec,
    connect,
    errors_as_sentences,
    inspect_container,
    reason,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_endpoint import endpoint_again
from ansible_collections.flagship.coreos.plugins.module_utils.docker_network import (
    create_request,
    differences,
    membership,
    overlapping,
    prepared,
    request_like,
)

with contextlib.suppress(ImportError):  # connect() reports it
    from docker.errors import APIError

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
    "driver": {"type": "str"},
    "ipam": {
        "type": "list",
        "elements": "dict",
        "options": {
            "subnet": {"type": "str", "required": True},
            "gateway": {"type": "str"},
            "ip_range": {"type": "str"},
            "aux_addresses": {"type": "dict"},
        },
    },
    "ipam_driver": {"type": "str"},
    "ipam_options": {"type": "dict"},
    "enable_ipv6": {"type": "bool"},
    "attachable": {"type": "bool"},
    "internal": {"type": "bool"},
    "labels": {"type": "dict"},
    "options": {"type": "dict"},
    "connected": {"type": "list", "elements": "str"},
    "appends": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "recreate": {"type": "bool", "default": False},
}

Member = tuple[str, str, dict[str, Any]]


class Network:
    """The network's side of the engine."""

    def __init__(self, client: Any, params: dict[str, Any]) -> None:
        self.client = client
        self.params = params
        self.name = params["name"]
        self.host = params["docker_host"]

    def find(self) -> Any:
        """What the engine knows about the network of this name, None when there is none."""
        # The engine's filter also finds names that contain the name.
        found = [network for network in self.client.networks(names=[self.name]) if network["Name"] == self.name]
        if len(found) > 1:
            raise DockerError(
                f"There are {len(found)} networks named {self.name} on {self.host}; remove all but one by id with "
                "docker network rm."
            )
        return self.client.inspect_network(found[0]["Id"]) if found else None

    def members(self) -> list[Member]:
        """Id, name and endpoint of every container in the network, also of those that do not run."""
        found = []
        for summary in self.client.containers(all=True, filters={"network": self.name}):
            endpoint = summary["NetworkSettings"]["Networks"].get(self.name)
            if endpoint is not None:
                container = self.client.inspect_container(summary["Id"])
                endpoint = container["NetworkSettings"]["Networks"].get(self.name) or endpoint
                found.append((container["Id"], container["Name"].lstrip("/"), endpoint))
        return sorted(found, key=lambda member: member[1])

    def create(self, like: dict[str, Any] | None = None) -> None:
        """Create the network, in what the options leave open like an existing one."""
        try:
            self.client.create_network(self.name, check_duplicate=True, **create_request(self.params, like))
        except APIError as error:
            why = reason(error)
            overlap = overlapping(self.params, self.client.networks())
            if overlap:
                why = f"{overlap}, so choose another subnet or remove that network"
            raise DockerError(f"The network {self.name} could not be created on {self.host}: {why}.") from error

    def replace(self, network: dict[str, Any], members: list[Member]) -> None:
        """Make the network anew with the same containers; it is made as it was when that fails."""
        self.remove(network, members)
        try:
            self.create(like=network)
        except DockerError as error:
            try:
                self.client.create_network(self.name, **request_like(network))
            except APIError as second:
                names = ", ".join(name for _identity, name, _endpoint in members)
                raise DockerError(
                    f"{error} It could not be made as it was either ({reason(second)}), and is missing now"
                    + (f" to these containers: {names}." if names else ".")
                ) from second
            self.reconnect(members)
            raise
        self.reconnect(members)

    def remove(self, network: dict[str, Any], members: list[Member]) -> None:
        """Disconnect the containers and remove the network; they are connected again when that fails."""
        gone: list[Member] = []
        try:
            for member in members:
                self.client.disconnect_container_from_network(member[0], network["Id"], force=True)
                gone.append(member)
            self.client.remove_network(network["Id"])
        except APIError as error:
            why = reason(error)
            try:
                self.reconnect(gone)
            except DockerError as second:
                why = f"{why}. {second}"
            raise DockerError(
                f"The network {self.name} could not be removed from {self.host}: {why.rstrip('.')}."
            ) from error

    def reconnect(self, members: list[Member]) -> None:
        """Connect the containers to the network that now has the name."""
        if not members:
            return
        network = self.find()
        subnets = [config["Subnet"] for config in network["IPAM"].get("Config") or []]
        failed = []
        for identity, name, endpoint in members:
            arguments = endpoint_again(endpoint, identity, subnets)
            try:
                self.client.connect_container_to_network(identity, network["Id"], **arguments)
            except APIError as error:
                failed.append(f"{name} ({reason(error)})")
        if failed:
            raise DockerError(
                f"These containers could not be connected to the network {self.name} on {self.host} again: "
                f"{', '.join(failed)}; connect them with docker network connect when the cause is gone."
            )

    def place(self, members: list[Member], check: bool) -> list[dict[str, Any]]:
        """Have the containers in the network that are to be in it, and return the actions for that."""
        coming, going = membership(self.params, [name for _identity, name, _endpoint in members])
        for name in coming:
            if inspect_container(self.client, name) is None:
                raise DockerError(
                    f"The container {name} for the network {self.name} does not exist on {self.host}; create it first or "
                    "take it out of connected."
                )
        if not check:
            for name in coming:
                self.client.connect_container_to_network(name, self.name)
            for name in going:
                self.client.disconnect_container_from_network(name, self.name)
        return [{"action": "connect", "container": name} for name in coming] + [
            {"action": "disconnect", "container": name} for name in going
        ]


# The actions, and what was there before and is there afterwards.
Outcome = tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]


def run(module: AnsibleModule, client: Any) -> dict[str, Any]:
    """Bring the network to what the module's options say and return the module's result."""
    params = prepared(module.params)
    network = Network(client, params)
    found = network.find()
    work = absent if params["state"] == "absent" else present
    actions, before, after = work(network, found, module.check_mode)
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions}
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    found = network.find() if actions and not module.check_mode else found
    if found is not None:
        result["network"] = found
    return result


def absent(network: Network, found: Any, check: bool) -> Outcome:
    """Remove the network."""
    if found is None:
        return [], {}, {}
    members = network.members()
    names = [name for _identity, name, _endpoint in members]
    if names and not network.params["force"]:
        raise DockerError(
            f"The network {network.name} on {network.host} is used by {', '.join(names)}; remove these containers "
            "first or set force to disconnect them."
        )
    if not check:
        network.remove(found, members)
    actions = [{"action": "disconnect", "container": name} for name in names] + [{"action": "remove"}]
    return actions, {"exists": True}, {"exists": False}


def present(network: Network, found: Any, check: bool) -> Outcome:
    """Create the network, or make it anew if it differs, and have the containers in it."""
    params = network.params
    if found is None:
        before: dict[str, Any] = {"exists": False}
        after: dict[str, Any] = {"exists": True}
        actions: list[dict[str, Any]] = [{"action": "create"}]
        members: list[Member] = []
        if not check:
            network.create()
    else:
        wanted = differences(params, found)
        before = {name: pair[0] for name, pair in wanted.items()}
        after = {name: pair[1] for name, pair in wanted.items()}
        because = sorted(wanted) + (["recreate"] if params["recreate"] else [])
        members = network.members() if because or params["connected"] is not None else []
        names = [name for _identity, name, _endpoint in members]
        if wanted and not params["force"]:
            what = ", ".join(f"{name} is {has}, not {asked}" for name, (has, asked) in wanted.items())
            raise DockerError(
                f"The network {network.name} on {network.host} differs from what is wanted ({what}) and cannot be "
                f"changed; set force to make it anew, cutting off for a moment: {', '.join(names) or 'no container'}."
            )
        actions = [{"action": "replace", "because": because, "containers": names}] if because else []
        if params["recreate"]:
            before["id"], after["id"] = found["Id"][:12], "(new)"
        if because and not check:
            network.replace(found, members)
    changes = network.place(members, check)
    if changes:
        names = [name for _identity, name, _endpoint in members]
        before["connected"] = names
        after["connected"] = sorted({*names, *params["connected"]} if params["appends"] else params["connected"])
    return actions + changes, before, after


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    client = connect(module)
    with errors_as_sentences(module, f"the network {module.params['name']}"):
        module.exit_json(**run(module, client))


if __name__ == "__main__":
    main()
