#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member_info
short_description: Read the members of an etcd cluster and their health
description:
  - Returns the members of an etcd cluster (API v3), each with its health, its share of the work and its database.
  - The members are asked all at once, at the O(endpoints) and at the client URLs that they announce. One that does not
    answer within O(timeout) is reported, and is no failure of the task. The list itself needs one member that answers.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_etcd
notes:
  - The health of a member is found out from the host that runs the module. Announced client URLs that only lead somewhere
    else, such as C(127.0.0.1), are helped by naming every member in O(endpoints).
seealso:
  - module: flagship.coreos.etcd_member
"""

EXAMPLES = r"""
- name: Read the members
  flagship.coreos.etcd_member_info:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379', 'http://192.0.2.13:2379']
  register: cluster

- name: Check that all of them are healthy
  ansible.builtin.assert:
    that: cluster.healthy
    fail_msg: "{{ cluster.members | rejectattr('healthy') | map(attribute='error') | join('; ') }}"
"""

RETURN = r"""
members:
  description: The members, sorted by name.
  returned: success
  type: list
  elements: dict
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
    leader:
      description: Whether it leads the cluster.
      type: bool
    healthy:
      description: Whether it answers, sees a leader, and has raised no alarm.
      type: bool
    error:
      description: What is wrong with it besides alarms, or empty.
      type: str
    alarms:
      description: The alarms that it has raised, such as V(NOSPACE).
      type: list
      elements: str
    version:
      description: Its version of etcd. None, as all that follows, if it does not answer.
      type: str
      sample: 3.4.23
    db_size:
      description: Size of its database in bytes, as allocated.
      type: int
    db_size_in_use:
      description: Bytes of its database that are in use. Defragmenting frees the rest.
      type: int
    raft_index:
      description: How far its log has come. One that stays behind the others is slow or cut off.
      type: int
    raft_term:
      description: Number of the election that made the present leader.
      type: int
healthy:
  description: Whether all members are healthy.
  returned: success
  type: bool
leader:
  description: Number of the leading member, hexadecimal, or none.
  returned: success
  type: str
cluster_id:
  description: Number of the cluster, hexadecimal.
  returned: success
  type: str
alarms:
  description: All alarms of the cluster.
  returned: success
  type: list
  elements: dict
  contains:
    member_id:
      description: Number of the member that raised it, hexadecimal.
      type: str
    alarm:
      description: The alarm, V(NOSPACE) or V(CORRUPT).
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdError,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_cluster import Cluster
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_members import health


def main() -> None:
    module = AnsibleModule(argument_spec=etcd_argument_spec(), supports_check_mode=True)
    fail_without_library(module)
    try:
        with Cluster(module.params) as cluster:
            members = cluster.members()
            result = health(members, cluster.statuses(members))
    except EtcdError as error:
        module.fail_json(msg=f"members: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
