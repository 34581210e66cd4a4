#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_unit
short_description: Create, replace, start, stop and remove fleet units
description:
  - Brings one unit of a fleet cluster, or a template and its instances, to the wanted contents and the wanted state,
    and waits until the cluster has got there.
  - Contents are compared the way fleet does it. Comments, blank lines and spacing do not matter, the order of options
    does.
  - A unit whose contents differ is replaced and set to its state in one request.
  - Names, contents and the C([X-Fleet]) section are checked before anything is sent.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_fleet
options:
  name:
    description:
      - Full name of the unit, with its type, such as V(hello.service).
      - A name with nothing between C(@) and the type, such as V(nginx@.service), is a template.
    type: str
    required: true
  content:
    description:
      - Text of the unit file.
      - Without O(content), O(src) and O(options) a unit that exists keeps its contents and only its state is changed.
    type: str
  src:
    description: Path of the unit file on the host where the module runs, read as UTF-8.
    type: path
  options:
    description: The unit file as a list of its lines, in order.
    type: list
    elements: dict
    suboptions:
      section:
        description: Name of the section, such as V(Service) or V(X-Fleet).
        type: str
        required: true
      name:
        description: Name of the option, such as V(ExecStart).
        type: str
        required: true
      value:
        description: Value of the option; empty resets a list option in systemd.
        type: str
        default: ''
  state:
    description:
      - V(submitted) makes the unit known to the cluster, but not to any machine; one that runs is stopped.
      - V(loaded) places it on a machine and makes it known to systemd there; one that runs is stopped.
      - V(launched) also starts it.
      - V(absent) stops the unit and removes it from the cluster.
      - A template itself is always V(submitted); with O(instances) the other states apply to the instances.
    type: str
    choices: [submitted, loaded, launched, absent]
    default: launched
  instances:
    description:
      - Instances of the template O(name) that shall have its contents and O(state), as a list of their names, such as
        V([blue, green]), or as a number, such as V(2) for V(1) and V(2).
      - A list leaves other instances alone. A number removes the instances that have a higher number for a name.
      - Not for O(state=absent); each instance is a unit of its own, removed by its full name.
    type: raw
  wait:
    description:
      - Whether to wait until the state is reached.
      - O(state=launched) is reached when systemd reports the unit active with these contents. A oneshot service without
        C(RemainAfterExit) may also have ended. A unit that failed ends the wait at once.
      - A global unit must get there on every machine that its C(MachineMetadata) admits. Machines where it cannot run
        because of a conflict are left out if the engine gives reasons, which fleet 1.0.0 does not.
      - A unit that already has the wanted contents and state is waited for too, so a failed one is noticed.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait at most.
    type: float
    default: 60.0
seealso:
  - module: flagship.coreos.fleet_unit_info
  - module: flagship.coreos.fleet_machine_info
notes:
  - With C(--diff) the unit's text is shown. For unit files that hold secrets set C(diff) to false, or C(no_log) to
    true, on the task.
  - fleet releases before 0.13 do not replace contents; remove the unit first there.
"""

EXAMPLES = r"""
- name: Run a unit somewhere in the cluster
  flagship.coreos.fleet_unit:
    name: hello.service
    content: |
      [Unit]
      Description=Hello

      [Service]
      ExecStart=/bin/sh -c 'while true; do echo hello; sleep 1; done'

- name: Run two web servers on different machines
  flagship.coreos.fleet_unit:
    name: nginx@.service
    src: /etc/flagship/units/nginx@.service
    instances: 2
    wait_timeout: 120

- name: Run an agent on every machine that has a disk
  flagship.coreos.fleet_unit:
    name: disk-agent.service
    options:
      - {section: Service, name: ExecStart, value: /usr/local/bin/disk-agent}
      - {section: X-Fleet, name: Global, value: "true"}
      - {section: X-Fleet, name: MachineMetadata, value: disk=ssd}

- name: Stop a unit but keep its place
  flagship.coreos.fleet_unit:
    name: hello.service
    state: loaded

- name: Remove the second web server
  flagship.coreos.fleet_unit:
    name: nginx@2.service
    state: absent
"""

RETURN = r"""
name:
  description: Name of the unit.
  returned: success
  type: str
  sample: hello.service
desired_state:
  description: The state that the cluster was told, in fleet's own words. None for a unit that is absent.
  returned: success
  type: str
  sample: launched
current_state:
  description: How far the cluster has got, as far as the module waited. Empty for a global unit.
  returned: success
  type: str
  sample: launched
machine_id:
  description: Machine that the unit is placed on. Empty for a unit without a place, and for a global unit.
  returned: success
  type: str
  sample: 6a4ac6e5e4b14a5f8d0f9f4c3b1a2d10
hash:
  description: SHA-1 of the unit's contents, as fleet computes it. None for a unit that is absent.
  returned: success
  type: str
  sample: e8cd0b806ad0166fe2f046905054dd297dd61701
states:
  description: What systemd says of the unit, one entry for each machine that has it.
  returned: success
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
instances:
  description: The same values for each instance that was kept or removed.
  returned: when O(instances) is given
  type: list
  elements: dict
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import (
    FleetClient,
    FleetError,
    FleetUnavailableError,
    Machine,
    Unit,
    UnitState,
    fleet_argument_spec,
    state_values,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_unit import (
    Options,
    Progress,
    Wanted,
    assess,
    decide,
    read_instances,
    surplus,
)
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    UnitOption,
    check_name,
    check_options,
    content_hash,
    is_global,
    metadata_matches,
    parse,
    serialise,
)

DESIRED_STATES = {"submitted": "inactive", "loaded": "loaded", "launched": "launched", "absent": None}
# Seconds between two looks at the cluster, at first and at most.
POLL_FIRST = 0.25
POLL_MOST = 1.0
# fleet 1.0.0 samples systemd once a second: right after a start it may still publish the failure of the run before.
FAILED_FOR = 2.0


def read_options(params: Mapping[str, Any]) -> Options | None:
    """The contents that the task gives, or None; raises UnitError for contents that must not reach the cluster."""
    if params["options"] is not None:
        options = [UnitOption(item["section"], item["name"], item["value"]) for item in params["options"]]
    elif params["content"] is not None:
        options = parse(params["content"])
    elif params["src"] is not None:
        try:
            with open(params["src"], encoding="utf-8", newline="") as file:
                options = parse(file.read())
        except OSError as error:
            raise UnitError(
                f"src {params['src']} cannot be read on this host ({error.strerror}); correct it"
            ) from error
        except UnicodeDecodeError as error:
            raise UnitError(f"src {params['src']} is not UTF-8 text; correct the file") from error
    else:
        return None
    check_options(options)
    return tuple(options)


def unit_text(options: Options | None, desired_state: str | None) -> str:
    """What the diff shows of a unit; empty for a unit that is absent."""
    return "" if desired_state is None else f"# desired state: {desired_state}\n{serialise(options or ())}"


class Waiter:
    """Polls the API until all wanted units are where they should be; knows what it saw last."""

    def __init__(self, client: FleetClient, wanted: Sequence[Wanted]) -> None:
        self._client = client
        self._wanted = list(wanted)
        self._failed_since: dict[str, float] = {}
        self.warnings: list[str] = []
        self.seen: dict[str, tuple[Unit | None, list[UnitState]]] = {}

    def look(self) -> dict[str, Progress]:
        """Ask once; the units that are not there yet."""
        pending = {}
        for wanted in self._wanted:
            unit = self._client.unit(wanted.name)
            states = self._client.states(wanted.name)
            self.seen[wanted.name] = (unit, states)
            machines = self._eligible(unit) if unit is not None and is_global(unit.options) else []
            progress = assess(wanted, unit, states, machines)
            if not progress.reached:
                pending[wanted.name] = progress
        return pending

    def _eligible(self, unit: Unit) -> list[Machine]:
        """The machines that can run a global unit; conflicts are known only to an engine that gives reasons."""
        reasons = self._client.why_not_placed(unit.name)
        matching = [machine for machine in self._client.machines() if metadata_matches(unit.options, machine.metadata)]
        machines = [machine for machine in matching if machine.id not in reasons]
        if unit.desired_state != "inactive" and not machines:
            self.warnings.append(f"no machine can run the global unit {unit.name} now")
        return machines

    def wait(self, timeout: float) -> None:
        """Return when all are there; raise FleetError when one failed or when the time (seconds) is over."""
        deadline = time.monotonic() + timeout
        pause = POLL_FIRST
        while True:
            pending: dict[str, Progress] = {}
            unavailable = None
            self.warnings.clear()
            try:
                pending = self.look()
            except FleetUnavailableError as error:
                unavailable = error
            now = time.monotonic()
            self._raise_for_failed(pending, now)
            if not pending and not unavailable:
                return
            if now >= deadline:
                if unavailable:
                    raise FleetError(f"the state is not known after {timeout:g} s, because {unavailable}")
                raise FleetError(self._timeout_text(pending, timeout))
            time.sleep(min(pause, max(deadline - now, 0)))
            pause = min(pause * 1.5, POLL_MOST)

    def _raise_for_failed(self, pending: Mapping[str, Progress], now: float) -> None:
        for name in list(self._failed_since):
            if name not in pending:
                del self._failed_since[name]
        for name, progress in pending.items():
            if not progress.failed:
                self._failed_since.pop(name, None)
            elif now - self._failed_since.setdefault(name, now) >= FAILED_FOR:
                raise FleetError(
                    f"unit {name} does not run: {progress.text}; read journalctl --unit {name} on that machine"
                )

    def _timeout_text(self, pending: Mapping[str, Progress], timeout: float) -> str:
        name, progress = next(iter(pending.items()))
        others = f" (and {len(pending) - 1} more)" if len(pending) > 1 else ""
        text = f"unit {name}{others} is not where it should be after {timeout:g} s: {progress.text}"
        unit = self.seen[name][0]
        if unit is None or unit.desired_state == "inactive" or (unit.machine_id and not is_global(unit.options)):
            return f"{text}; read journalctl --unit {name} there, or raise wait_timeout"
        reasons = self._client.why_not_placed(name)
        if reasons:
            text += " (" + ", ".join(f"{machine}: {reason}" for machine, reason in sorted(reasons.items())) + ")"
        return f"{text}; compare its [X-Fleet] section with the machines and their units"


def plan(module: AnsibleModule, client: FleetClient) -> list[Wanted]:
    """The units that the task is about, the named one first; raises UnitError before anything was changed."""
    params = module.params
    name = params["name"]
    parts = check_name(name)
    options = read_options(params)
    desired = DESIRED_STATES[params["state"]]
    if params["instances"] is None:
        if parts.is_template and desired in ("loaded", "launched"):
            raise UnitError("a template cannot run itself; give instances, or state submitted")
        return [Wanted(name, options, desired)]
    if desired is None:
        raise UnitError("instances are given with state absent; remove each by its full name, or give a lower number")
    if not parts.is_template:
        raise UnitError("instances are given but it is no template; name it like nginx@.service")
    names, number = read_instances(name, params["instances"])
    template = client.unit(name)
    if options is None and template is not None:
        options = template.options
    wanted = [Wanted(name, options, "inactive"), *(Wanted(instance, options, desired) for instance in names)]
    if number is not None:
        wanted += [Wanted(instance, None, None) for instance in surplus(name, number, client.units())]
    return wanted


def apply(client: FleetClient, wanted: Wanted, action: str) -> None:
    if action == "delete":
        client.delete_unit(wanted.name)
    elif action and wanted.desired_state is not None:
        options = wanted.options if action in ("create", "replace") and wanted.options else ()
        client.put_unit(wanted.name, wanted.desired_state, options)


def diff_of(wanted: Wanted, found: Unit | None) -> dict[str, str]:
    options = found.options if found and wanted.options is None else wanted.options
    return {
        "before_header": wanted.name,
        "after_header": wanted.name,
        "before": unit_text(found.options, found.desired_state) if found else "",
        "after": unit_text(options, wanted.desired_state),
    }


def report(wanted: Wanted, unit: Unit | None, states: Sequence[UnitState]) -> dict[str, Any]:
    options = wanted.options if wanted.options is not None else unit.options if unit else ()
    return {
        "name": wanted.name,
        "desired_state": wanted.desired_state,
        "current_state": unit.current_state if unit else "",
        "machine_id": unit.machine_id if unit else "",
        "hash": None if wanted.desired_state is None else content_hash(options),
        "states": [state_values(state) for state in states],
    }


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the units to the wanted state; fills the module's result, true to the facts on an error as well."""
    params = module.params
    client = FleetClient(params)
    wanted = plan(module, client)
    found = {item.name: client.unit(item.name) for item in wanted}
    actions = {item.name: decide(item, found[item.name]) for item in wanted}
    result["diff"] = [diff_of(item, found[item.name]) for item in wanted if actions[item.name]]
    waiter = Waiter(client, wanted)
    if module.check_mode:
        result["changed"] = any(actions.values())
    else:
        for item in wanted:
            if actions[item.name]:
                apply(client, item, actions[item.name])
                result["changed"] = True
    try:
        if params["wait"] and not module.check_mode:
            waiter.wait(params["wait_timeout"])
        else:
            waiter.look()
    finally:
        reports = [report(item, *waiter.seen[item.name]) for item in wanted if item.name in waiter.seen]
        result.update(reports[0] if reports else {})
        if params["instances"] is not None:
            result["instances"] = reports[1:]
    for warning in waiter.warnings:
        module.warn(warning)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **fleet_argument_spec(),
            "name": {"type": "str", "required": True},
            "content": {"type": "str"},
            "src": {"type": "path"},
            "options": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "section": {"type": "str", "required": True},
                    "name": {"type": "str", "required": True},
                    "value": {"type": "str", "default": ""},
                },
            },
            "state": {
                "type": "str",
                "choices": ["submitted", "loaded", "launched", "absent"],
                "default": "launched",
            },
            "instances": {"type": "raw"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": 60.0},
        },
        mutually_exclusive=[("content", "src", "options")],
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except UnitError as error:
        module.fail_json(msg=f"unit {module.params['name']}: {error}", **result)
    except FleetError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
