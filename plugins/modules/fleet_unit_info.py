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
      - Full name of one unit, or a pattern such as V(nginx@*.service) with C(*), C(?) and C([...]).
      - Without it all units are returned.
    type: str
  machine:
    description: Only units that are placed on, or reported by, the machine with this id, beginning of an id, or primary address.
    type: str
  state:
    description: Only units that were brought to this state by M(flagship.coreos.fleet_unit) or its like.
    type: str
    choices: [submitted, loaded, launched]
  active_state:
    description: Only units that a machine reports to be in this active state of systemd, such as V(failed).
    type: str
seealso:
  - module: flagship.coreos.fleet_unit
  - module: flagship.coreos.fleet_machine_info
  - plugin: flagship.coreos.fleet
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Read all units
  flagship.coreos.fleet_unit_info:
  register: cluster

- name: Say where the first web server runs
  ansible.builtin.debug:
    msg: "{{ cluster.units | selectattr('name', 'eq', 'nginx@1.service') | map(attribute='machine_id') | first }}"

- name: Find out which web servers have failed
  flagship.coreos.fleet_unit_info:
    name: nginx@*.service
    active_state: failed
  register: failed

- name: Read what this host runs
  flagship.coreos.fleet_unit_info:
    machine: "{{ ansible_facts.machine_id }}"
  register: here

- name: Check that a unit is known
  flagship.coreos.fleet_unit_info:
    name: hello.service
  register: hello
  failed_when: hello.units | length == 0
"""

RETURN = r"""
units:
  description: The units, sorted by name. An empty list if the cluster knows none that is meant.
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
    options:
      description: The same as a list of options, as O(flagship.coreos.fleet_unit#module:options) takes it.
      type: list
      elements: dict
      contains:
        section:
          description: Name of the section.
          type: str
          sample: Service
        name:
          description: Name of the option.
          type: str
          sample: ExecStart
        value:
          description: Value of the option.
          type: str
          sample: /usr/bin/hello
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
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, Unit, UnitState, state_values
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, fleet_argument_spec
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import matches
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    check_name,
    content_hash,
    glob_matches,
    serialise,
)

DESIRED_STATES = {"submitted": "inactive", "loaded": "loaded", "launched": "launched"}
GLOB_SIGNS = frozenset("*?[")


def is_glob(name: str) -> bool:
    """Whether it is a pattern: no unit's name contains such signs."""
    return not GLOB_SIGNS.isdisjoint(name)


def read_units(client: FleetClient, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The units as the module returns them; raises FleetError, and UnitError before the cluster is asked."""
    name = params["name"]
    if name is None or is_glob(name):
        if name is not None and "/" in name:
            raise UnitError(f"the pattern {name!r} contains '/', which no unit name does; correct it")
        units = [unit for unit in client.units() if name is None or glob_matches(name, unit.name)]
        states = client.states() if units else []
    else:
        check_name(name)
        found = client.unit(name)
        units = [found] if found else []
        states = client.states(name) if found else []
    machines: set[str] | None = None
    if params["machine"] is not None:
        # A unit may still be placed on a machine that has gone.
        machines = {machine.id for machine in client.machines() if matches(machine, params["machine"])}
        machines.add(params["machine"])
    described = [(unit, [state for state in states if state.name == unit.name]) for unit in units]
    return [describe(unit, own) for unit, own in described if is_meant(unit, own, params, machines)]


def is_meant(unit: Unit, states: list[UnitState], params: dict[str, Any], machines: set[str] | None) -> bool:
    """Whether the filters other than the name let the unit pass; machines None is for all."""
    if params["state"] is not None and unit.desired_state != DESIRED_STATES[params["state"]]:
        return False
    if params["active_state"] is not None and params["active_state"] not in [state.active_state for state in states]:
        return False
    return machines is None or not machines.isdisjoint({unit.machine_id, *(state.machine_id for state in states)})


def describe(unit: Unit, states: list[UnitState]) -> dict[str, Any]:
    return {
        "name": unit.name,
        "desired_state": unit.desired_state,
        "current_state": unit.current_state,
        "machine_id": unit.machine_id,
        "hash": content_hash(unit.options),
        "content": serialise(unit.options),
        "options": [option._asdict() for option in unit.options],
        "states": [state_values(state) for state in states],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **fleet_argument_spec(),
            "name": {"type": "str"},
            "machine": {"type": "str"},
            "state": {"type": "str", "choices": ["submitted", "loaded", "launched"]},
            "active_state": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        units = read_units(FleetClient(module.params), module.params)
    except (FleetError, UnitError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(units=units)


if __name__ == "__main__":
    main()
