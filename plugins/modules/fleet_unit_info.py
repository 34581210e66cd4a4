#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_unit_info
short_description: Read the units of a fleet cluster and what systemd says of them
description:
  - Returns the units that the cluster knows, with their contents, their wanted and reached states, and the systemd
    states that the machines report.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_fleet
options:
  name:
    description:
      - Full name of one unit.
      - Without it all units are returned.
    type: str
seealso:
  - module: flagship.coreos.fleet_unit
  - module: flagship.coreos.fleet_machine_info
"""

EXAMPLES = r"""
- name: Read all units
  flagship.coreos.fleet_unit_info:
  register: cluster

- name: Say where the first web server runs
  ansible.builtin.debug:
    msg: "{{ cluster.units | selectattr('name', 'eq', 'nginx@1.service') | map(attribute='machine_id') | first }}"

- name: Check that a unit is known
  flagship.coreos.fleet_unit_info:
    name: hello.service
  register: hello
  failed_when: hello.units | length == 0
"""

RETURN = r"""
units:
  description: The units, sorted by name. An empty list if O(name) is given and the cluster does not know that unit.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the unit.
      type: str
      sample: hello.service
    desired_state:
      description: The state that the cluster was told.
      type: str
      sample: launched
    current_state:
      description: How far the cluster has got. Says nothing for a global unit.
      type: str
      sample: launched
    machine_id:
      description: Machine that the unit is placed on. Empty for a unit without a place, and for a global unit.
      type: str
    hash:
      description: SHA-1 of the unit's contents, as fleet computes it.
      type: str
      sample: e8cd0b806ad0166fe2f046905054dd297dd61701
    content:
      description: Text of the unit file, in fleet's own writing.
      type: str
    states:
      description: What systemd says of the unit, one entry for each machine that has it.
      type: list
      elements: dict
      contains:
        machine_id:
          description: The machine that reports.
          type: str
        hash:
          description: SHA-1 of the contents that the machine has.
          type: str
        load_state:
          description: Load state of systemd.
          type: str
          sample: loaded
        active_state:
          description: Active state of systemd.
          type: str
          sample: active
        sub_state:
          description: Sub state of systemd.
          type: str
          sample: running
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, state_values
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, fleet_argument_spec
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    check_name,
    content_hash,
    serialise,
)


def read_units(client: FleetClient, name: str | None) -> list[dict[str, Any]]:
    """The units as the module returns them; raises UnitError or FleetError."""
    if name is None:
        units = client.units()
        states = client.states()
    else:
        check_name(name)
        found = client.unit(name)
        units = [found] if found else []
        states = client.states(name) if found else []
    return [
        {
            "name": unit.name,
            "desired_state": unit.desired_state,
            "current_state": unit.current_state,
            "machine_id": unit.machine_id,
            "hash": content_hash(unit.options),
            "content": serialise(unit.options),
            "states": [state_values(state) for state in states if state.name == unit.name],
        }
        for unit in units
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={**fleet_argument_spec(), "name": {"type": "str"}},
        supports_check_mode=True,
    )
    try:
        units = read_units(FleetClient(module.params), module.params["name"])
    except (FleetError, UnitError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(units=units)


if __name__ == "__main__":
    main()
