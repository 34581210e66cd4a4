# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: user_data
short_description: Make the user data that a machine reads at its first boot
author:
  - The flagship.coreos contributors (@flagship-coreos)
description:
  - Makes an Ignition config (specification 3.3.0) or a C(#cloud-config) for coreos-cloudinit out of one description of a machine.
  - What the target would refuse, or take and not obey, fails with one sentence. What was made is read back and compared.
options:
  _input:
    description:
      - The machine, with the keys C(hostname), C(users), C(groups), C(files), C(units) and C(update), as the variables of the
        role P(flagship.coreos.user_data#role) have them. C(groups) are names of system groups.
      - Several entries for one user or one unit are put together.
      - C($private_ipv4) and C($public_ipv4) in files stand for what the machine's provider says.
    type: dict
    required: true
  target:
    description:
      - The system. V(linux) is any other one that has Ignition in its initramfs.
    type: str
    choices: [flatcar, fedora-coreos, linux]
    default: flatcar
  format:
    description:
      - The format. Only V(flatcar) reads V(cloud-config).
    type: str
    choices: [ignition, cloud-config]
    default: ignition
  provider:
    description:
      - Where the machine comes from, which decides how large the text may be and whether the machine can learn its addresses.
    type: str
    choices: ["", digitalocean, upcloud, libvirt, metal]
    default: ""
positional: target, format, provider
seealso:
  - plugin: flagship.coreos.etcd_bootstrap
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Write the Ignition config of a machine that runs one unit
  ansible.builtin.copy:
    dest: /tmp/core01.ign
    content: "{{ machine | flagship.coreos.user_data('flatcar') }}"
    mode: "0600"
  vars:
    machine:
      hostname: core01
      users:
        - name: core
          ssh_authorized_keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]
      units:
        - name: hello.service
          enabled: true
          content: |
            [Service]
            ExecStart=/usr/bin/echo hello
            [Install]
            WantedBy=multi-user.target
      update: {strategy: "off"}
"""

RETURN = r"""
_value:
  description: The text of the user data.
  type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.plugin_utils.cloud_config import from_cloud_config, to_cloud_config
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import UserDataError, read_node
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_addresses import learn_addresses
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_targets import (
    Provider,
    Target,
    find_provider,
    find_target,
    read_update,
)
from ansible_collections.flagship.coreos.plugins.plugin_utils.ignition import HOSTNAME_FILE, from_ignition, to_ignition
from ansible_collections.flagship.coreos.plugins.plugin_utils.kinds import kind_of


def user_data(machine: Any, target: str = "flatcar", format: str = "ignition", provider: str = "") -> str:
    """The text of the user data; see DOCUMENTATION."""
    try:
        return _user_data(machine, find_target(target, format), format, provider, find_provider(provider))
    except UserDataError as error:
        raise AnsibleFilterError(f"user_data: {error}") from error


def _user_data(machine: Any, target: Target, form: str, provider_name: str, provider: Provider) -> str:
    if not isinstance(machine, Mapping):
        raise UserDataError(f"a machine is {kind_of(machine)}; give a dictionary")
    given = machine.get("update") or {}
    if not isinstance(given, Mapping):
        raise UserDataError(f"the update is {kind_of(given)}; give a dictionary")
    node = read_node(machine, read_update(given, target))
    for unit in node.units:
        if unit.name in target.dead_units and not unit.mask:
            raise UserDataError(f"{unit.name} cannot work on {target.name}: {target.dead_units[unit.name]}")
    for file in node.files:
        if file.path in (HOSTNAME_FILE, target.update_file):
            raise UserDataError(f"the file {file.path} is written from hostname and update; leave it out")
    # An account of the image needs none of ours, and Ignition cannot change one that is only in /usr.
    node = node._replace(users=tuple(user for user in node.users if user.name not in target.users))
    node = learn_addresses(node, target, form, provider_name, provider)
    text: str = to_ignition(node, target) if form == "ignition" else to_cloud_config(node)
    if (from_ignition(text, target) if form == "ignition" else from_cloud_config(text)) != node:
        raise UserDataError(
            f"what was made for {node.hostname} does not read back as it was given; report this as a defect"
        )
    size = len(text.encode())
    if provider.limit and size > provider.limit:
        raise UserDataError(
            f"the user data of {node.hostname} has {size} bytes and {provider_name} takes {provider.limit}; "
            "give large files a source instead of content"
        )
    return text


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        return {"user_data": user_data}
