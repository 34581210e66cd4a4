#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_machine_info
short_description: Read the machines of a fleet cluster
description:
  - Returns the machines that are alive in the cluster, with their addresses and metadata.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_fleet
seealso:
  - module: flagship.coreos.fleet_unit_info
"""

EXAMPLES = r"""
- name: Wait until all machines of the inventory are members
  flagship.coreos.fleet_machine_info:
  register: cluster
  until: cluster is success and cluster.machines | length >= groups['fleet'] | length
  retries: 30
  delay: 2
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
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, fleet_argument_spec


def main() -> None:
    module = AnsibleModule(argument_spec=fleet_argument_spec(), supports_check_mode=True)
    try:
        machines = [machine._asdict() for machine in FleetClient(module.params).machines()]
    except FleetError as error:
        module.fail_json(msg=str(error))
    module.exit_json(machines=machines)


if __name__ == "__main__":
    main()
