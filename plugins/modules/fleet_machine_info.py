#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_machine_info
short_description: Read the machines of a fleet cluster
description:
  - Returns the machines that are alive in the cluster, with their addresses and metadata, whether they take units, and
    the units that they have.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_fleet
options:
  machine:
    description:
      - Only the machine with this id or primary address, or the machines whose ids begin so.
    type: str
  metadata:
    description: Only machines that have all of these metadata, as a dictionary. V(null) is for a key that is not there.
    type: dict
  details:
    description:
      - Whether to return RV(machines[].schedulable), RV(machines[].drain) and RV(machines[].units), which takes one request
        for each machine.
    type: bool
    default: true
seealso:
  - module: flagship.coreos.fleet_machine
  - module: flagship.coreos.fleet_unit_info
  - plugin: flagship.coreos.fleet
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Wait until all machines of the inventory are members
  flagship.coreos.fleet_machine_info:
  register: cluster
  until: cluster is success and cluster.machines | length >= groups['fleet'] | length
  retries: 30
  delay: 2

- name: Read which machines with a fast disk take units
  flagship.coreos.fleet_machine_info:
    metadata:
      disk: ssd
  register: fast

- name: Show their addresses
  ansible.builtin.debug:
    msg: "{{ fast.machines | selectattr('schedulable') | map(attribute='primary_ip') }}"
"""

RETURN = r"""
machines:
  description: The machines, sorted by id.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The machine's id, from its C(/etc/machine-id).
      type: str
      sample: 6a4ac6e5e4b14a5f8d0f9f4c3b1a2d10
    primary_ip:
      description: The address that the machine announces.
      type: str
      sample: 192.0.2.11
    metadata:
      description: What C(MachineMetadata) is compared with.
      type: dict
      sample: {"disk": "ssd"}
    schedulable:
      description: Whether the machine takes units. None with fleet 1.0.0, which cannot tell.
      returned: when O(details=true)
      type: bool
    drain:
      description: Whether the machine gives its units away. None with fleet 1.0.0, which cannot tell.
      returned: when O(details=true)
      type: bool
    units:
      description: The units that the machine has, sorted by name.
      returned: when O(details=true)
      type: list
      elements: dict
      contains:
        name:
          description: Name of the unit.
          type: str
          sample: nginx@1.service
        active_state:
          description: Active state of systemd. Empty as long as the machine has not reported it.
          type: str
          sample: active
        sub_state:
          description: Sub state of systemd.
          type: str
          sample: running
        reason:
          description: Why the unit is still there, while the machine is being drained. Empty otherwise.
          type: str
          sample: it goes next
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import (
    FleetError,
    FleetGoneError,
    fleet_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import (
    MachineError,
    describe,
    matches,
    metadata_changes,
    read_metadata,
)


def read_machines(client: FleetClient, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The machines as the module returns them; raises FleetError, and MachineError before the cluster is asked."""
    wanted = read_metadata(params["metadata"] or {})
    machines = [
        machine
        for machine in client.machines()
        if (params["machine"] is None or matches(machine, params["machine"]))
        and not metadata_changes(machine.metadata, wanted)
    ]
    if not params["details"]:
        return [machine._asdict() for machine in machines]
    states = client.states() if machines else []
    found = []
    for machine in machines:
        try:
            found.append(describe(machine, client.details(machine.id), states))
        except FleetGoneError:
            # It has left since the list was made.
            continue
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **fleet_argument_spec(),
            "machine": {"type": "str"},
            "metadata": {"type": "dict"},
            "details": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        machines = read_machines(FleetClient(module.params), module.params)
    except (FleetError, MachineError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(machines=machines)


if __name__ == "__main__":
    main()
