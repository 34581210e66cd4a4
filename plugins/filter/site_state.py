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
  stack:
    description: Whether nginx or HAProxy balances.
    type: str
    choices: [nginx, haproxy]
    default: nginx
  balancers:
    description: Number of balancers that the site shall have.
    type: int
    default: 1
  port:
    description: Port of the web servers, for O(stack=nginx).
    type: int
    default: 80
  service:
    description: Name of the web servers' unit, for O(stack=haproxy).
    type: str
    default: dumbserve
  shares_node:
    description: Whether a balancer may be on the machine of a web server, for O(stack=nginx).
    type: bool
    default: false
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
    servers:
      description: The web servers' containers that have a place, with the ids of their machines.
      type: dict
      sample: {"nginx1": "6a4ac6e5e4b14a5f8d0f9f4c3b1a2d10"}
    keys:
      description:
        - The keys that must be in etcd, with their values.
        - None for O(stack=haproxy), whose keys have names and addresses that only the machines know.
      type: dict
    titles:
      description: The titles of the pages that the balancer must show, sorted.
      type: list
      elements: str
    balancers:
      description: Ids of the machines where the balancers are, in the order of their numbers.
      type: list
      elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class _Plan(NamedTuple):
    """Names of the units of a site, without their type, and how they lie to each other."""

    servers: list[str]  # one for each web server, in the order of their numbers
    balancers: list[str]  # the unit of each balancer that the others of it follow
    followers: list[tuple[str, str]]  # MachineOf: a unit, and the one beside which it is
    apart: list[list[str]]  # Conflicts: no two of a list are on one machine
    everywhere: list[str]  # global units


def site_state(
    units: Sequence[Mapping[str, Any]],
    machines: Sequence[Mapping[str, Any]],
    instances: int,
    stack: str = "nginx",
    balancers: int = 1,
    port: int = 80,
    service: str = "dumbserve",
    shares_node: bool = False,
) -> dict[str, Any]:
    """State of the site made of `instances` web servers; see DOCUMENTATION."""
    addresses = {machine["id"]: machine["primary_ip"] for machine in machines}
    known = {unit["name"].removesuffix(".service"): unit for unit in units}
    place = {name: unit["machine_id"] for name, unit in known.items() if unit["machine_id"] in addresses}
    numbers = [f"@{number}" for number in range(1, balancers + 1)] if balancers > 1 else [""]
    plan = _haproxy(instances, numbers, service) if stack == "haproxy" else _nginx(instances, numbers, shares_node)
    wanted = [*plan.servers, *plan.balancers, *(follower for follower, _leader in plan.followers)]
    faults = [_unit_fault(name, known.get(name), addresses) for name in wanted]
    faults += [_global_fault(name, known.get(name), addresses) for name in plan.everywhere]
    return {
        "faults": list(filter(None, faults)) or _placement_faults(plan, place, addresses),
        "servers": {name.replace("@", ""): place[name] for name in plan.servers if name in place},
        "keys": {
            f"/services/website/{name}": f"{addresses[place[name]]}:{port}"
            for name in plan.servers
            if name in place and stack == "nginx"
        },
        "titles": sorted(f"Welcome to {name.replace('@', '')}" for name in plan.servers),
        "balancers": [place[name] for name in plan.balancers if name in place],
    }


def _nginx(instances: int, numbers: list[str], shares_node: bool) -> _Plan:
    servers = [f"nginx@{number}" for number in range(1, instances + 1)]
    watchers = [f"nginx-watch{number}" for number in numbers]
    parts = ["loadbalancer", "virtual-ip"] if len(numbers) > 1 else ["loadbalancer"]
    return _Plan(
        servers=servers,
        balancers=watchers,
        followers=[
            *((name.replace("@", "-discovery@"), name) for name in servers),
            *((f"nginx-{part}{number}", f"nginx-watch{number}") for number in numbers for part in parts),
        ],
        apart=[servers, watchers] if shares_node else [servers + watchers],
        everywhere=[],
    )


def _haproxy(instances: int, numbers: list[str], service: str) -> _Plan:
    volumes = [f"haproxy-dvc{number}" for number in numbers]
    parts = ["haproxy-watch", "haproxy", *(["haproxy-virtual-ip"] if len(numbers) > 1 else [])]
    return _Plan(
        servers=[f"{service}@{number}" for number in range(1, instances + 1)],
        balancers=volumes,
        followers=[(f"{part}{number}", f"haproxy-dvc{number}") for number in numbers for part in parts],
        apart=[volumes],
        everywhere=["registrator"],
    )


def _unit_fault(name: str, unit: Mapping[str, Any] | None, addresses: Mapping[str, str]) -> str:
    if unit is None:
        return f"The fleet does not know {name}.service: run the playbook deploy."
    machine = unit["machine_id"]
    if not machine:
        return f"{name}.service has no machine: `fleetctl why {name}` says for each one why."
    if machine not in addresses:
        return f"{name}.service is on machine {machine}, which is gone: bring it back, or wait until the fleet moves the unit."
    return _state_fault(name, unit, machine, addresses[machine])


def _global_fault(name: str, unit: Mapping[str, Any] | None, addresses: Mapping[str, str]) -> str:
    if unit is None:
        return f"The fleet does not know {name}.service: run the playbook deploy."
    faults = (_state_fault(name, unit, machine, address) for machine, address in addresses.items())
    return next(filter(None, faults), "")


def _state_fault(name: str, unit: Mapping[str, Any], machine: str, address: str) -> str:
    for state in unit["states"]:
        if state["machine_id"] != machine:
            continue
        if state["hash"] != unit["hash"]:
            return f"{name}.service still has older contents on {address}: read `journalctl -u fleet` there."
        if state["active_state"] == "active":
            return ""
        found = f"{state['active_state']} ({state['sub_state']})"
        return f"{name}.service is {found} on {address}: read `journalctl -u {name}` there."
    return f"{name}.service is not reported by {address}: read `journalctl -u fleet` there."


def _placement_faults(plan: _Plan, place: Mapping[str, str], addresses: Mapping[str, str]) -> list[str]:
    faults = []
    for names in plan.apart:
        taken: dict[str, str] = {}
        for name in names:
            other = taken.setdefault(place[name], name)
            if other != name:
                where = addresses[place[name]]
                faults.append(f"{other}.service and {name}.service share {where}: their Conflicts is not obeyed.")
    for name, leader in plan.followers:
        if place[name] != place[leader]:
            where = addresses[place[leader]]
            faults.append(f"{name}.service is not on {where} beside {leader}.service: its MachineOf is not obeyed.")
    return faults


class FilterModule:
    """Filters of the site."""

    def filters(self) -> dict[str, Any]:
        return {"site_state": site_state}
