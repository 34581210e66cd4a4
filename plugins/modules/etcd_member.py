#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Add, promote, update and remove members of an etcd cluster
description:
  - Changes the membership of a running etcd cluster (API v3).
  - It neither starts nor stops etcd anywhere. A new member is added here first, and then started with what
    RV(initial_cluster) returns and C(--initial-cluster-state=existing).
  - The member is found by O(id), or by O(name) and O(peer_urls).
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_etcd
options:
  id:
    description:
      - Number of an existing member, hexadecimal, as M(flagship.coreos.etcd_member_info) returns it.
      - One of O(id), O(name) and O(peer_urls) is required.
    type: str
  name:
    description:
      - Name of the member. The cluster does not know it before the member is started for the first time, so a
        new member needs O(peer_urls) besides.
    type: str
  peer_urls:
    description:
      - Where the other members reach it, such as V(https://192.0.2.14:2380).
      - A member that is found by one of them, by O(name) or by O(id), gets all of them. With a O(name) that the cluster does
        not know, a new member is added; only O(id) never does that.
    type: list
    elements: str
  learner:
    description:
      - V(true) adds a new member as a learner, which follows the cluster without a vote, so it cannot cost the majority
        while it catches up. Needs etcd 3.4 or newer.
      - V(false) promotes a learner, and waits up to O(wait_timeout) seconds until it is in sync. Adds a new member with
        a vote.
      - Without the option, a new member has a vote, and an existing one stays what it is.
    type: bool
  state:
    description: Whether the cluster shall have the member.
    type: str
    choices: [present, absent]
    default: present
  wait_timeout:
    description:
      - Seconds to go on when the cluster refuses a change that it accepts a little later, as while a learner is not in sync,
        or just after another member has joined.
    type: float
    default: 30.0
notes:
  - With authentication switched on, the user needs the role C(root).
  - Change one member at a time, and check with M(flagship.coreos.etcd_member_info) that all are healthy in between.
seealso:
  - module: flagship.coreos.etcd_member_info
"""

EXAMPLES = r"""
- name: Add a member that has no vote yet
  flagship.coreos.etcd_member:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    name: core04
    peer_urls: ['http://192.0.2.14:2380']
    learner: true
  register: added

- name: Show what etcd on core04 has to be started with
  ansible.builtin.debug:
    msg: "--name=core04 --initial-cluster-state=existing --initial-cluster={{ added.initial_cluster }}"

- name: Give it a vote once it has caught up
  flagship.coreos.etcd_member:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    name: core04
    learner: false
    wait_timeout: 300

- name: Move a member to another address
  flagship.coreos.etcd_member:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    id: 8e9e05c52164694d
    peer_urls: ['http://192.0.2.24:2380']

- name: Remove a member that is lost
  flagship.coreos.etcd_member:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    name: core03
    state: absent
"""

RETURN = r"""
before:
  description: The member as it was found, or none.
  returned: when the cluster was asked
  type: dict
  contains:
    id:
      description: Number of the member, hexadecimal, as C(etcdctl) writes it.
      type: str
      sample: 8e9e05c52164694d
    name:
      description: Its name. Empty until it is started for the first time.
      type: str
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
    client_urls:
      description: Where clients reach it. Empty until it is started for the first time.
      type: list
      elements: str
    learner:
      description: Whether it is a learner, which has no vote.
      type: bool
after:
  description: The member as the module leaves it, or none. In check mode RV(after.id) of one that would be added is none.
  returned: success
  type: dict
  contains:
    id:
      description: Number of the member, hexadecimal, as C(etcdctl) writes it.
      type: str
      sample: 8e9e05c52164694d
    name:
      description: Its name. Empty until it is started for the first time.
      type: str
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
    client_urls:
      description: Where clients reach it. Empty until it is started for the first time.
      type: list
      elements: str
    learner:
      description: Whether it is a learner, which has no vote.
      type: bool
steps:
  description: What was done, or would be in check mode - V(add), V(update), V(promote), V(remove).
  returned: success
  type: list
  elements: str
initial_cluster:
  description:
    - What C(--initial-cluster) of the member has to be, made of all members whose names are known.
    - A member that was never started is in it with the O(name) of this task.
  returned: success
  type: str
  sample: core01=http://192.0.2.11:2380,core04=http://192.0.2.14:2380
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdError,
    RefusedError,
    UnreachableError,
    check_seconds,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_cluster import Cluster
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_members import (
    Member,
    check_task,
    decide,
    described,
    find,
    initial_cluster,
    predicted,
    urls_of,
)


def do(cluster: Cluster, params: dict[str, Any], step: str, found: Member | None) -> None:
    """Do one step; raises EtcdError."""
    if found is None:
        cluster.add(urls_of(params), bool(params["learner"]))
    elif step == "update":
        cluster.update(found, urls_of(params))
    elif step == "promote":
        cluster.promote(found)
    else:
        cluster.remove(found)


def bring(cluster: Cluster, params: dict[str, Any]) -> None:
    """Do what is left to do until nothing is; raises EtcdError."""
    deadline = time.monotonic() + params["wait_timeout"]
    pause = 0.2
    while True:
        found = find(params, cluster.members())
        steps = decide(params, found)
        if not steps:
            return
        try:
            do(cluster, params, steps[0], found)
        except (RefusedError, UnreachableError):
            # A step whose answer was lost may have been done, which the next look at the members shows.
            if time.monotonic() + pause > deadline:
                if decide(params, find(params, cluster.members())) == steps:
                    raise
                continue
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
        except EtcdError:
            if decide(params, find(params, cluster.members())) == steps:
                raise


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the member to the wanted state; fills the module's result. Raises EtcdError."""
    params = module.params
    check_task(params)
    check_seconds("wait_timeout", params["wait_timeout"])
    with Cluster(params) as cluster:
        members = cluster.members()
        found = find(params, members)
        result["before"] = described(found)
        steps = decide(params, found)
        after = described(found)
        if steps:
            after = predicted(params, found)
            if module.check_mode:
                if found is None and after:
                    members = [*members, Member(0, "", tuple(after["peer_urls"]))]
            else:
                bring(cluster, params)
                members = cluster.members()
        # A member without a name is known by its URLs or its id, which are as the task says now.
        now = find(params, members)
        if steps and not module.check_mode:
            after = described(now)
            result["changed"] = True
    result.update(changed=bool(steps), steps=steps, after=after)
    result["initial_cluster"] = initial_cluster(members, now, params["name"])
    if steps:
        result["diff"] = {"before": result["before"] or {}, "after": after or {}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "id": {"type": "str"},
            "name": {"type": "str"},
            "peer_urls": {"type": "list", "elements": "str"},
            "learner": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wait_timeout": {"type": "float", "default": 30.0},
        },
        required_one_of=[("id", "name", "peer_urls")],
        supports_check_mode=True,
    )
    fail_without_library(module)
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except EtcdError as error:
        subject = module.params["name"] or module.params["id"] or ", ".join(module.params["peer_urls"] or ())
        module.fail_json(msg=f"member {subject}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
