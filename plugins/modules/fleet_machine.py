#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_machine
short_description: Set the metadata of a fleet machine, cordon it and drain it
description:
  - Sets and removes metadata of a machine, which units choose their machines by.
  - Cordons a machine, so that it takes no more units, and drains it, so that its units go elsewhere one after the other.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_fleet
options:
  machine:
    description:
      - The machine, which has to be alive, by its id, by the beginning of its id when no other id begins so, or by its
        primary address.
      - The id of a host is in its C(/etc/machine-id), and in the fact C(ansible_facts.machine_id).
    type: str
    required: true
  metadata:
    description:
      - Metadata that the machine shall have, as a dictionary. A key with the value V(null) is removed, keys that are not
        named stay as they are.
      - What is set here is laid over the metadata of the machine's own configuration, and outlives its absence.
      - Units that may not be on the machine any more are moved by the cluster at once.
    type: dict
  state:
    description:
      - V(schedulable) lets the machine take units again. None that has gone comes back by itself.
      - V(cordoned) lets it keep its units and take no more.
      - V(drained) also gives its units away, one after the other, each with those that follow it by C(MachineOf). A unit goes
        only if another machine can take it, and the next one only when it is active there. Global units stay.
      - Without it this stays as it is. fleet 1.0.0 knows none of the three.
    type: str
    choices: [schedulable, cordoned, drained]
  wait:
    description:
      - Whether O(state=drained) waits until all units that are not global have left the machine.
      - When none of those that are left can go, the wait ends at once, and the error says why each one stays. The machine
        is still being drained then, units go as soon as they can.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait at most.
    type: float
    default: 300.0
seealso:
  - module: flagship.coreos.fleet_machine_info
  - module: flagship.coreos.fleet_unit
"""

EXAMPLES = r"""
- name: Tell the cluster that this host has a fast disk now, and no tape
  flagship.coreos.fleet_machine:
    machine: "{{ ansible_facts.machine_id }}"
    metadata:
      disk: ssd
      tape: null

- name: Move all units away before the host is rebooted
  flagship.coreos.fleet_machine:
    machine: "{{ ansible_facts.machine_id }}"
    state: drained
    wait_timeout: 600

- name: Let it take units again
  flagship.coreos.fleet_machine:
    machine: "{{ ansible_facts.machine_id }}"
    state: schedulable
"""

RETURN = r"""
id:
  description: The machine's id.
  returned: when the machine was found
  type: str
  sample: 6a4ac6e5e4b14a5f8d0f9f4c3b1a2d10
primary_ip:
  description: The address that the machine announces.
  returned: when the machine was found
  type: str
  sample: 192.0.2.11
metadata:
  description: The machine's effective metadata.
  returned: when the machine was found
  type: dict
  sample: {"disk": "ssd"}
schedulable:
  description: Whether the machine takes units. None with fleet 1.0.0, which cannot tell.
  returned: when the machine was found
  type: bool
drain:
  description: Whether the machine gives its units away. None with fleet 1.0.0, which cannot tell.
  returned: when the machine was found
  type: bool
units:
  description: The units that the machine has, sorted by name.
  returned: when the machine was found
  type: list
  elements: dict
  contains:
    name:
      description: Name of the unit.
      type: str
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
      sample: no other machine takes it
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Details, FleetClient, Machine
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import (
    FleetError,
    FleetUnavailableError,
    fleet_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_machine import (
    STATES,
    MachineError,
    assess_drain,
    changed_metadata,
    describe,
    find_machine,
    metadata_changes,
    read_metadata,
    require_engine,
)
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import is_global

POLL = 1.0
# Another unit that goes, or comes to rest elsewhere, may make room: what is stuck for so long is not waited for.
STUCK_FOR = 5.0


class Drain:
    """Waits until a machine has been drained."""

    def __init__(self, client: FleetClient, machine: Machine) -> None:
        self._client = client
        self._machine = machine
        self._global: dict[str, bool] = {}

    def wait(self, timeout: float) -> None:
        """Raise FleetError when units cannot go, or when the time (seconds) is over."""
        deadline = time.monotonic() + timeout
        stuck_since: float | None = None
        while True:
            unavailable = None
            try:
                details = require_engine(self._client.details(self._machine.id), self._client.at)
                progress = assess_drain(details.units, self._global_among(details))
                if progress.done:
                    return
                stuck_since = (stuck_since or time.monotonic()) if progress.stuck else None
                text = f"{progress.text} still there"
            except FleetUnavailableError as error:
                unavailable = error
                text = f"what is left is not known, because {error}"
            now = time.monotonic()
            name = f"machine {self._machine.id} ({self._machine.primary_ip})"
            if stuck_since is not None and not unavailable and now - stuck_since >= STUCK_FOR:
                raise FleetError(
                    f"{name} cannot be drained as things are: {text}; "
                    "give the cluster a machine that takes these units, or stop them"
                )
            if now >= deadline:
                raise FleetError(
                    f"{name} is not drained after {timeout:g} s: {text}; raise wait_timeout, or see why these do not go"
                )
            time.sleep(min(POLL, max(deadline - now, 0)))

    def _global_among(self, details: Details) -> set[str]:
        for name in details.units.keys() - self._global.keys():
            unit = self._client.unit(name)
            self._global[name] = unit is not None and is_global(unit.options)
        return {name for name in details.units if self._global[name]}


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the machine to what the task says; fills the module's result, true to the facts on an error as well."""
    params = module.params
    wanted = read_metadata(params["metadata"] or {})
    if params["wait_timeout"] < 0:
        raise MachineError(f"wait_timeout {params['wait_timeout']:g} is below zero; give a number of seconds")
    client = FleetClient(params)
    machine = find_machine(client.machines(), params["machine"])
    details = client.details(machine.id)
    if params["state"] is not None:
        require_engine(details, client.at)
    before = describe(machine, details, [])
    changes = metadata_changes(machine.metadata, wanted)
    after = {**before, "metadata": changed_metadata(machine.metadata, changes)}
    if params["state"] is not None:
        after["schedulable"], after["drain"] = STATES[params["state"]]
    shown = ("metadata", "schedulable", "drain")
    result["changed"] = any(before[name] != after[name] for name in shown)
    if result["changed"]:
        result["diff"] = {
            "before_header": machine.id,
            "after_header": machine.id,
            "before": {name: before[name] for name in shown},
            "after": {name: after[name] for name in shown},
        }
    if module.check_mode:
        result.update({**describe(machine, details, client.states()), **{name: after[name] for name in shown}})
        return
    result["changed"] = False
    # First the order, lest units come that are to go at once.
    if any(before[name] != after[name] for name in ("schedulable", "drain")):
        client.set_schedulable(machine.id, after["schedulable"], after["drain"])
        result["changed"] = True
    if changes:
        client.set_metadata(machine.id, changes)
        result["changed"] = True
    try:
        if params["state"] == "drained" and params["wait"]:
            Drain(client, machine).wait(params["wait_timeout"])
    finally:
        machine = machine._replace(metadata=after["metadata"])
        result.update(describe(machine, client.details(machine.id), client.states()))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **fleet_argument_spec(),
            "machine": {"type": "str", "required": True},
            "metadata": {"type": "dict"},
            "state": {"type": "str", "choices": ["schedulable", "cordoned", "drained"]},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": 300.0},
        },
        required_one_of=[("metadata", "state")],
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except (MachineError, FleetError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
