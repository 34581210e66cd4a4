# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: site_state
short_description: Compare what a fleet runs with what the site needs
author:
  - The flagship.coreos contributors (@flagship-coreos)
description:
  - Says what is wrong with the units of the site, and what must be in etcd and at the balancer when nothing is.
options:
  _input:
    description: The units, as RV(flagship.coreos.fleet_unit_info#module:units) has them.
    type: list
    elements: dict
    required: true
  machines:
    description: The machines, as RV(flagship.coreos.fleet_machine_info#module:machines) has them.
    type: list
    elements: dict
    required: true
  instances:
    description: Number of web servers that the site shall have.
    type: int
    required: true
positional: machines, instances
seealso:
  - plugin: flagship.coreos.fleet_unit_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Read the units
  flagship.coreos.fleet_unit_info:
  register: cluster

- name: Read the machines
  flagship.coreos.fleet_machine_info:
  register: fleet

- name: Say what is wrong with the site
  ansible.builtin.debug:
    msg: "{{ (cluster.units | flagship.coreos.site_state(fleet.machines, 2)).faults }}"
"""

RETURN = r"""
_value:
  description: State of the site.
  type: dict
  contains:
    faults:
      description: One sentence for each thing that is wrong.
      type: list
      elements: str
    keys:
      description: The keys that must be in etcd, with their values.
      type: dict
    titles:
      description: The titles of the pages that the balancer must show, sorted.
      type: list
      elements: str
    balancer:
      description: Id of the machine where the balancer is; empty when it has none.
      type: str
"""

from typing import Any

WATCH = "nginx-watch.service"
BALANCER = "nginx-loadbalancer.service"


def site_state(units: list[dict[str, Any]], machines: list[dict[str, Any]], instances: int) -> dict[str, Any]:
    """State of the site made of `instances` web servers; see DOCUMENTATION."""
    numbers = range(1, instances + 1)
    addresses = {machine["id"]: machine["primary_ip"] for machine in machines}
    known = {unit["name"]: unit for unit in units}
    wanted = [f"nginx{part}@{number}.service" for number in numbers for part in ("", "-discovery")]
    faults = [fault for name in [*wanted, WATCH, BALANCER] if (fault := _unit_fault(name, known, addresses))]
    place = {name: unit["machine_id"] for name, unit in known.items()}
    if not faults:
        faults = _placement_faults(place, addresses, instances)
    return {
        "faults": faults,
        "keys": {
            f"/services/website/nginx@{number}": f"{addresses[place[f'nginx@{number}.service']]}:80"
            for number in numbers
            if place.get(f"nginx@{number}.service") in addresses
        },
        "titles": sorted(f"Welcome to nginx{number}" for number in numbers),
        "balancer": place.get(BALANCER, ""),
    }


def _unit_fault(name: str, known: dict[str, dict[str, Any]], addresses: dict[str, str]) -> str:
    unit = known.get(name)
    if unit is None:
        return f"The fleet does not know {name}: run the playbook deploy."
    machine = unit["machine_id"]
    if not machine:
        return f"{name} has no machine: see which ones fit with `fleetctl list-machines` and `fleetctl cat {name}`."
    if machine not in addresses:
        return f"{name} is on machine {machine}, which is gone: bring it back, or wait until the fleet moves the unit."
    for state in unit["states"]:
        if state["machine_id"] != machine:
            continue
        if state["hash"] != unit["hash"]:
            return f"{name} still has older contents on {addresses[machine]}: read `journalctl -u fleet` there."
        if state["active_state"] == "active":
            return ""
        found = f"{state['active_state']} ({state['sub_state']})"
        return f"{name} is {found} on {addresses[machine]}: read `journalctl -u {name}` there."
    return f"{name} is not reported by {addresses[machine]}: read `journalctl -u fleet` there."


def _placement_faults(place: dict[str, str], addresses: dict[str, str], instances: int) -> list[str]:
    faults = []
    taken: dict[str, str] = {}
    for number in range(1, instances + 1):
        web, sidekick = f"nginx@{number}.service", f"nginx-discovery@{number}.service"
        where = addresses[place[web]]
        if where in taken:
            faults.append(f"{taken[where]} and {web} share {where}: their Conflicts is not obeyed.")
        taken[where] = web
        if place[sidekick] != place[web]:
            faults.append(f"{sidekick} is not on {where} beside {web}: its MachineOf is not obeyed.")
    where = addresses[place[WATCH]]
    if where in taken:
        faults.append(f"{WATCH} and {taken[where]} share {where}: its Conflicts is not obeyed.")
    if place[BALANCER] != place[WATCH]:
        faults.append(f"{BALANCER} is not on {where} beside {WATCH}: its MachineOf is not obeyed.")
    return faults


class FilterModule:
    """Filters of the site."""

    def filters(self) -> dict[str, Any]:
        return {"site_state": site_state}
