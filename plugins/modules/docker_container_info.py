#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_container_info
short_description: Read the containers of a Docker engine
version_added: 0.1.0
description:
  - Returns what the engine reports about one container, about those with certain labels, or about all.
  - The values of environment variables are hidden.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.docker
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_docker
options:
  name:
    description:
      - Name of one container.
      - Without it all containers are returned, whether they run or not.
    type: str
  labels:
    description:
      - Only return containers that have all of these labels, as a mapping of names to texts.
    type: dict
seealso:
  - module: flagship.coreos.docker_container
"""

EXAMPLES = r"""
- name: Look at a container
  flagship.coreos.docker_container_info:
    name: web
  register: web

- name: Say whether it runs
  ansible.builtin.debug:
    msg: "{{ web.containers[0].State.Status if web.containers else 'there is none' }}"

- name: Read all containers of a lab
  flagship.coreos.docker_container_info:
    labels:
      flagship.lab: flagship
  register: lab

- name: Fail if one of them does not run
  ansible.builtin.assert:
    that: lab.containers | rejectattr('State.Running') | length == 0
"""

RETURN = r"""
containers:
  description:
    - What the engine reports about each container, sorted by name, with the values of environment variables hidden.
    - An empty list when there is no such container.
  returned: success
  type: list
  elements: dict
  sample:
    - Id: 17a98b2031cfd4eb775417ebfe79ea70c0c55a8f9ba391739f30591bf4903c89
      Name: /web
      State:
        Running: true
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    argument_spec,
    connect,
    errors_as_sentences,
    inspect_container,
    inspect_container_by_id,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import matches, text_dict
from ansible_collections.flagship.coreos.plugins.module_utils.docker_diff import redacted

OPTIONS: dict[str, Any] = {"name": {"type": "str"}, "labels": {"type": "dict"}}


def read_containers(client: Any, name: str | None, labels: dict[str, str]) -> list[dict[str, Any]]:
    """The containers as the module returns them."""
    if name is not None:
        found = [inspect_container(client, name)]
    else:
        filters = {"label": [f"{key}={text}" for key, text in labels.items()]}
        found = [inspect_container_by_id(client, one["Id"]) for one in client.containers(all=True, filters=filters)]
    # One may have gone since it was listed.
    present = [container for container in found if container is not None]
    wanted = [one for one in present if matches(labels, one["Config"].get("Labels") or {}, "allow_more_present")]
    return [redacted(container) for container in sorted(wanted, key=lambda one: str(one["Name"]))]


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    client = connect(module)
    name = module.params["name"]
    with errors_as_sentences(module, f"the container {name}" if name else "the containers"):
        labels = text_dict(module.params["labels"] or {})
        module.exit_json(containers=read_containers(client, name, labels))


if __name__ == "__main__":
    main()
