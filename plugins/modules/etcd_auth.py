#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_auth
short_description: Users, roles and permissions of an etcd cluster
description:
  - Gives an etcd cluster (API v3) roles with permissions, users with roles, and switches authentication on or off.
  - Users are for clients that show who they are by a certificate, whose common name is the name of the user. A new user gets
    a password that nobody knows.
  - Roles and users that the task does not name stay as they are.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_etcd
options:
  roles:
    description: Roles, each with just these permissions. The role C(root) has every right by itself.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      permissions:
        description: What the role may do.
        type: list
        elements: dict
        required: true
        suboptions:
          key:
            description: The key, or what the keys begin with.
            type: str
            required: true
          prefix:
            description: Whether it is about all keys that begin with O(roles[].permissions[].key); with an empty one, about all.
            type: bool
            default: false
          access:
            description: What may be done with the keys; removing one is writing.
            type: str
            choices: [read, write, readwrite]
            required: true
  users:
    description: Users, each with just these roles.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the user, which is the common name of its certificate.
        type: str
        required: true
      roles:
        description: Names of its roles.
        type: list
        elements: str
        required: true
  enabled:
    description:
      - Whether etcd asks everyone who they are, and keeps them to their permissions.
      - V(true) needs a user C(root) with the role C(root), there or in O(users). It is the last step, V(false) the first.
      - Without the option, it stays as it is.
    type: bool
notes:
  - With authentication switched on, the connection needs a user with the role C(root).
  - A certificate tells etcd who a client is where etcd runs with C(--client-cert-auth), and only on its gRPC API.
  - A password is given by C(etcdctl user passwd).
"""

EXAMPLES = r"""
- name: Keep each program to its keys
  flagship.coreos.etcd_auth:
    endpoints: ['https://192.0.2.11:2379', 'https://192.0.2.12:2379']
    ca_cert: /etc/flagship/tls/ca.crt
    client_cert: /etc/flagship/tls/root.crt
    client_key: /etc/flagship/tls/root.key
    roles:
      - name: announce
        permissions:
          - {key: /services/, prefix: true, access: readwrite}
      - name: watch
        permissions:
          - {key: /services/, prefix: true, access: read}
    users:
      - {name: root, roles: [root]}
      - {name: announce, roles: [announce]}
      - {name: watch, roles: [watch]}
    enabled: true
"""

RETURN = r"""
before:
  description: What was found of the roles and users that the task names.
  returned: when the cluster was asked
  type: dict
  contains: &store
    enabled:
      description: Whether authentication is switched on.
      type: bool
    roles:
      description: Permissions by role, each as its access and its keys; a star stands for all keys that begin so.
      type: dict
      sample: {watch: [read /services/*]}
    users:
      description: Roles by user.
      type: dict
      sample: {watch: [watch]}
after:
  description: What the task leaves, or would in check mode.
  returned: success
  type: dict
  contains: *store
steps:
  description: What was done, or would be in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ['add role: role watch', 'grant permission: role watch, read /services/*', enable]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdError,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_auth import (
    ACCESS,
    Auth,
    bring,
    described,
    predicted,
    steps_to,
)


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring users and roles to the wanted state; fills the module's result. Raises EtcdError."""
    params = module.params
    with Auth(params) as auth:
        found = auth.store()
        result["before"] = described(params, found)
        steps = steps_to(params, found)
        after = predicted(params, found)
        if steps and not module.check_mode:
            # Some may be done before one fails.
            result["changed"] = True
            bring(auth, params)
            after = auth.store()
    result.update(changed=bool(steps), steps=list(map(str, steps)), after=described(params, after))
    if steps:
        result["diff"] = {"before": result["before"], "after": result["after"]}


def main() -> None:
    permission = {
        "key": {"type": "str", "required": True, "no_log": False},
        "prefix": {"type": "bool", "default": False},
        "access": {"type": "str", "choices": list(ACCESS), "required": True},
    }
    role = {
        "name": {"type": "str", "required": True},
        "permissions": {"type": "list", "elements": "dict", "required": True, "options": permission},
    }
    user = {
        "name": {"type": "str", "required": True},
        "roles": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "roles": {"type": "list", "elements": "dict", "options": role},
            "users": {"type": "list", "elements": "dict", "options": user},
            "enabled": {"type": "bool"},
        },
        required_one_of=[("roles", "users", "enabled")],
        supports_check_mode=True,
    )
    fail_without_library(module)
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except EtcdError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
