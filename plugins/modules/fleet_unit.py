#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_unit
short_description: Create, replace, start, restart, stop and remove fleet units
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
attributes:
  idempotent:
    support: partial
    details: All but O(state=restarted), which restarts with every run.
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
    description:
      - The unit file as a list of its lines, in order.
      - P(flagship.coreos.from_unit#filter) makes such a list from a text.
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
      - V(restarted) is V(launched), and a unit that was launched before is stopped and started again where it is, unless
        new contents do that already. It changes something with every run.
      - V(absent) stops the unit and removes it from the cluster.
      - A template itself is always V(submitted); with O(instances) the other states apply to the instances.
    type: str
    choices: [submitted, loaded, launched, restarted, absent]
    default: launched
  instances:
    description:
      - Instances of the template O(name) that shall have its contents and O(state), as a list of their names, such as
        V([blue, green]), or as a number, such as V(2) for V(1) and V(2).
      - A list leaves other instances alone. A number removes the instances that have a higher number for a name; V(0) removes
        all of them, and needs no contents.
      - Not for O(state=absent); each instance is a unit of its own, removed by its full name.
    type: raw
  replace:
    description:
      - What to do with units that exist and have other contents.
      - V(never) leaves their contents alone, with a warning. Units that do not exist get the new contents.
      - V(at_once) replaces all of them together.
      - V(rolling) replaces O(serial) of them at a time, and restarts as many at a time with O(state=restarted). A roll
        begins when all that needs no replacement is well, takes the units first that are not well as they are, waits
        after each step until its units are well, and stops at the first that is not. The error then says which units
        were done, which failed and which were left as they were, and where they are. A later run of the task goes on
        there, when what it has done before is well.
      - A unit that is well has reached its O(state) and meets the condition O(health).
      - V(rolling) is for units that need each other's place, such as O(instances). A global unit is replaced on all its
        machines at once.
    type: str
    choices: [never, at_once, rolling]
    default: at_once
  serial:
    description: Number of units that O(replace=rolling) takes in one step. The default is V(1).
    type: int
  pause:
    description:
      - Seconds between two steps of O(replace=rolling). Afterwards the units of the step before have to be well still.
      - The default is V(0).
    type: float
  health:
    description:
      - What a unit has to show, besides being active, to be well. It is looked at again and again, for O(wait_timeout) at
        most, and by the host that runs the module. Requires O(wait=true) and O(state=launched) or O(state=restarted).
      - In O(health.etcd_key) and O(health.url), V({name}) stands for the unit's full name, V({prefix}) for what is before
        its C(@) or its type, V({instance}) for what is between C(@) and the type, V({machine_id}) and V({address}) for
        id and address of the machine that it is on.
    type: dict
    suboptions:
      etcd_key:
        description:
          - A key that has to be in etcd, such as V(/services/website/{prefix}@{instance}).
          - Needs the Python package C(etcd3) where the module runs; C(/opt/flagship/bin/python) on the nodes has it.
        type: str
      etcd:
        description: The etcd cluster that O(health.etcd_key) is looked up in.
        type: dict
        suboptions:
          endpoints:
            description: URLs of the cluster's members, seen from the host that runs the module.
            type: list
            elements: str
            default: ['http://127.0.0.1:2379']
          ca_cert:
            description: File with the certificates (PEM) of the authorities that may have signed the members' certificates.
            type: path
          client_cert:
            description: File with the certificate (PEM) that the client presents. Requires O(health.etcd.client_key).
            type: path
          client_key:
            description: File with the unencrypted key (PEM) of O(health.etcd.client_cert).
            type: path
          user:
            description: Name of an etcd user. Requires O(health.etcd.password), and V(https://) endpoints.
            type: str
          password:
            description: Password of O(health.etcd.user).
            type: str
          timeout:
            description: Seconds after which one request is given up.
            type: float
            default: 5.0
      url:
        description:
          - A URL that has to answer with a status from 200 to 399, such as V(http://{address}:80/). Redirects are not
            followed. One request is given up after O(timeout).
        type: str
      ca_cert:
        description:
          - File with the certificates (PEM) of the authorities that may have signed the certificate of O(health.url).
          - Without it the host's own trust store decides.
        type: path
  wait:
    description:
      - Whether to wait until the state is reached. With O(state=restarted) units are seen to stop in any case.
      - O(state=launched) is reached when systemd reports the unit active with these contents. A oneshot service without
        C(RemainAfterExit) may also have ended. A unit that failed ends the wait at once.
      - A global unit must get there on every machine that its C(MachineMetadata) admits. Machines where it cannot run
        because of a conflict are left out if the engine gives reasons, which fleet 1.0.0 does not.
      - A unit that already has the wanted contents and state is waited for too, so a failed one is noticed.
      - When the wait ends in vain, the error has the states that systemd reports or the reasons for having no place. When
        the unit is on the host that runs the module, it also has the last lines of the journal.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait at most, for each step with O(replace=rolling).
    type: float
    default: 60.0
seealso:
  - module: flagship.coreos.fleet_unit_info
  - module: flagship.coreos.fleet_machine
  - module: flagship.coreos.fleet_machine_info
  - plugin: flagship.coreos.from_unit
    plugin_type: filter
  - plugin: flagship.coreos.to_unit
    plugin_type: filter
notes:
  - With C(--diff) the unit's text is shown. For unit files that hold secrets set C(diff) to false, or C(no_log) to
    true, on the task.
  - fleet releases before 0.13 do not replace contents; remove the unit first there.
  - fleet 1.0.0 says nothing of restarts, so O(state=restarted) stops the unit, sees it stopped, and starts it. A task
    that is killed in between leaves it loaded; the next run starts it.
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

- name: Give three web servers a new unit file, one after the other, each when the one before serves again
  flagship.coreos.fleet_unit:
    name: nginx@.service
    src: /etc/flagship/units/nginx@.service
    instances: 3
    replace: rolling
    serial: 1
    pause: 5
    health:
      url: "http://{address}:80/"

- name: The same, each when discovery has announced the one before
  flagship.coreos.fleet_unit:
    name: nginx@.service
    src: /etc/flagship/units/nginx@.service
    instances: 3
    replace: rolling
    health:
      etcd_key: "/services/website/{prefix}@{instance}"
      etcd:
        endpoints: ["http://10.0.0.11:2379", "http://10.0.0.12:2379"]
  vars:
    ansible_python_interpreter: /opt/flagship/bin/python

- name: Restart the web servers one after the other
  flagship.coreos.fleet_unit:
    name: nginx@.service
    instances: 3
    state: restarted
    replace: rolling

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
actions:
  description: What was done, or would be in check mode; one entry for each unit that is not as it should be.
  returned: when the cluster could be asked
  type: list
  elements: dict
  contains:
    name:
      description: Name of the unit.
      type: str
      sample: nginx@1.service
    action:
      description: One of V(create), V(replace), V(set_state), V(restart) and V(delete).
      type: str
      sample: replace
roll:
  description: Where a roll has stopped. None of the units in C(untouched) was changed.
  returned: when O(replace=rolling) failed
  type: dict
  contains:
    done:
      description: The units of the steps that succeeded.
      type: list
      elements: str
    failed:
      description: The units of the step that did not.
      type: list
      elements: str
    untouched:
      description: The units of the steps that were not begun.
      type: list
      elements: str
journal:
  description: The last lines that the journal of this host has of the unit.
  returned: when the unit failed on the host that runs the module
  type: list
  elements: str
instances:
  description: The same values for each instance that was kept or removed.
  returned: when O(instances) is given
  type: list
  elements: dict
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import ETCD3_IMPORT_ERROR, EtcdError
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, Unit, UnitState, state_values
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_health import (
    Health,
    check_health,
    health_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import (
    FleetError,
    FleetUnavailableError,
    fleet_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_roll import (
    check_policy,
    outcome,
    steps,
    stopped_text,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_unit import (
    Options,
    Wanted,
    decide,
    keep_contents,
    read_instances,
    surplus,
)
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_wait import POLL_MOST, Deadline, Waiter
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    UnitOption,
    check_name,
    check_options,
    content_hash,
    parse,
    serialise,
)

DESIRED_STATES = {
    "submitted": "inactive",
    "loaded": "loaded",
    "launched": "launched",
    "restarted": "launched",
    "absent": None,
}


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


def plan(params: Mapping[str, Any], client: FleetClient) -> list[Wanted]:
    """The units that the task is about, the named one first; raises UnitError before anything was changed."""
    name = params["name"]
    parts = check_name(name)
    options = read_options(params)
    desired = DESIRED_STATES[params["state"]]
    restart = params["state"] == "restarted"
    if params["instances"] is None:
        if parts.is_template and desired in ("loaded", "launched"):
            raise UnitError("a template cannot run itself; give instances, or state submitted")
        if params["health"]:
            check_health(params["health"], name)
        return [Wanted(name, options, desired, restart)]
    if desired is None:
        raise UnitError("instances are given with state absent; remove each by its full name, or give a lower number")
    if not parts.is_template:
        raise UnitError("instances are given but it is no template; name it like nginx@.service")
    names, number = read_instances(name, params["instances"])
    if params["health"]:
        for instance in names:
            check_health(params["health"], instance)
    template = client.unit(name)
    if options is None and template is not None:
        options = template.options
    # None of a template that nobody knows: there is nothing to do, and no contents are needed for that.
    wanted = [Wanted(name, options, "inactive" if options is not None or names else None)]
    wanted += [Wanted(instance, options, desired, restart) for instance in names]
    if number is not None:
        wanted += [Wanted(instance, None, None) for instance in surplus(name, number, client.units())]
    return wanted


def apply(client: FleetClient, wanted: Wanted, action: str) -> None:
    if action == "delete":
        client.delete_unit(wanted.name)
    elif action and wanted.desired_state is not None:
        options = wanted.options if action in ("create", "replace") and wanted.options else ()
        client.put_unit(wanted.name, wanted.desired_state, options)


def restart(client: FleetClient, waiter: Waiter, wanted: Sequence[Wanted], deadline: Deadline, patience: float) -> None:
    """Stop the units, see that they have stopped, and start them.

    fleet 1.0.0 restarts nothing that is told to stop and to start before its agents look, about a second later.
    Whatever happens in between, the units are told to start: for that the API gets C{patience} seconds.
    """
    told = []
    try:
        for item in wanted:
            told.append(item.name)
            client.put_unit(item.name, "loaded")
        waiter.wait_stopped(wanted, deadline)
    except FleetError as error:
        raise FleetError(f"{error}; that is, it did not stop for its restart and is told to run again") from error
    finally:
        for name in told:
            start_again(client, name, Deadline.after(patience))


def start_again(client: FleetClient, name: str, deadline: Deadline) -> None:
    while True:
        try:
            client.put_unit(name, "launched")
            return
        except FleetUnavailableError as error:
            if not deadline.left():
                raise FleetError(
                    f"unit {name} was stopped for its restart and cannot be told to start, because {error}; "
                    "run the task again"
                ) from error
        time.sleep(min(POLL_MOST, deadline.left()))


def diff_of(wanted: Wanted, found: Unit | None, action: str) -> dict[str, str]:
    options = found.options if found and wanted.options is None else wanted.options
    after = "launched again" if action == "restart" else wanted.desired_state
    return {
        "before_header": wanted.name,
        "after_header": wanted.name,
        "before": unit_text(found.options, found.desired_state) if found else "",
        "after": unit_text(options, after),
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


def as_found(wanted: Wanted, unit: Unit | None) -> Wanted:
    """A unit that was left as it is, to report."""
    return Wanted(wanted.name, None, unit.desired_state if unit else None)


class Task:
    """One run of the module: what is wanted and found, and what has been done of it."""

    def __init__(self, module: AnsibleModule, result: dict[str, Any]) -> None:
        self.params = module.params
        self.result = result
        self.client = FleetClient(module.params)
        given = module.params["health"]
        health = Health(given, float(module.params["timeout"])) if given else None
        wanted = plan(module.params, self.client)
        self.found = {item.name: self.client.unit(item.name) for item in wanted}
        if module.params["replace"] == "never":
            for item in wanted:
                if decide(item, self.found[item.name]) == "replace":
                    module.warn(f"unit {item.name} has other contents in the cluster and keeps them; see replace")
            wanted = [keep_contents(item, self.found[item.name]) for item in wanted]
        self.wanted = {item.name: item for item in wanted}
        self.actions = {item.name: decide(item, self.found[item.name]) for item in wanted}
        self.done: set[str] = set()
        self.waiter = Waiter(self.client, module.run_command, health)

    def change(self) -> None:
        """Do all that is to be done, step by step; raises FleetError at the first that does not succeed."""
        rolling = self.params["replace"] == "rolling"
        planned = steps(
            self.actions, (self.params["serial"] or 1) if rolling else None, self._unwell() if rolling else ()
        )
        pause = self.params["pause"] or 0.0
        for at, names in enumerate(planned):
            try:
                self._step(names)
                if pause and at + 1 < len(planned):
                    time.sleep(pause)
                    self.waiter.wait([self.wanted[name] for name in names], Deadline.after(self.params["wait_timeout"]))
            except FleetError as error:
                if not rolling:
                    raise
                self.result["roll"] = outcome(planned, at)
                raise FleetError(f"{error}; {stopped_text(planned, at, self._places())}") from error

    def _unwell(self) -> set[str]:
        """Units that do not run as they should, whatever shall be done with them."""
        known = [as_found(item, self.found[name]) for name, item in self.wanted.items() if self.found[name]]
        return set(self.waiter.look([item for item in known if item.desired_state == "launched"]))

    def _step(self, names: Sequence[str]) -> None:
        deadline = Deadline.after(self.params["wait_timeout"])
        items = [self.wanted[name] for name in names]
        restarts = [item for item in items if self.actions[item.name] == "restart"]
        for item in items:
            if self.actions[item.name]:
                self.done.add(item.name)
            if self.actions[item.name] not in ("", "restart"):
                apply(self.client, item, self.actions[item.name])
                self.result["changed"] = True
        if restarts:
            self.result["changed"] = True
            restart(self.client, self.waiter, restarts, deadline, float(self.params["timeout"]))
        if self.params["wait"]:
            self.waiter.wait(items, deadline)
        else:
            self.waiter.look(items)

    def _places(self) -> dict[str, str]:
        """Where each unit is, for people."""
        addresses = self.waiter.addresses()
        places = {}
        for name in self.wanted:
            unit = self.waiter.seen[name][0] if name in self.waiter.seen else self.found[name]
            machine = unit.machine_id if unit else ""
            places[name] = f"on machine {machine} ({addresses.get(machine, 'address unknown')})" if machine else ""
        return places

    def reports(self, predict: bool) -> list[dict[str, Any]]:
        """The units as they are; to predict is to say what is wanted."""
        found = []
        for name, item in self.wanted.items():
            unit, states = self.waiter.seen.get(name, (self.found[name], []))
            as_wanted = predict or name in self.done or not self.actions[name]
            found.append(report(item if as_wanted else as_found(item, unit), unit, states))
        return found


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the units to the wanted state; fills the module's result, true to the facts on an error as well."""
    check_policy(module.params)
    task = Task(module, result)
    actions = {name: action for name, action in task.actions.items() if action}
    result["diff"] = [diff_of(task.wanted[name], task.found[name], action) for name, action in actions.items()]
    result["actions"] = [{"name": name, "action": action} for name, action in actions.items()]
    try:
        if module.check_mode:
            result["changed"] = bool(actions)
            task.waiter.look(list(task.wanted.values()))
        else:
            task.change()
    finally:
        reports = task.reports(predict=module.check_mode)
        result.update(reports[0])
        if module.params["instances"] is not None:
            result["instances"] = reports[1:]
        if task.waiter.journal:
            result["journal"] = task.waiter.journal
    for warning in task.waiter.warnings:
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
                "choices": ["submitted", "loaded", "launched", "restarted", "absent"],
                "default": "launched",
            },
            "instances": {"type": "raw"},
            "replace": {"type": "str", "choices": ["never", "at_once", "rolling"], "default": "at_once"},
            "serial": {"type": "int"},
            "pause": {"type": "float"},
            "health": health_argument_spec(),
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": 60.0},
        },
        mutually_exclusive=[("content", "src", "options")],
        supports_check_mode=True,
    )
    if module.params["health"] and module.params["health"]["etcd_key"] is not None and ETCD3_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("etcd3", reason="for health.etcd_key"), exception=ETCD3_IMPORT_ERROR)
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except UnitError as error:
        module.fail_json(msg=f"unit {module.params['name']}: {error}", **result)
    except (FleetError, EtcdError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
