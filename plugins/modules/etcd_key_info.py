#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_key_info
short_description: Read keys of etcd
description:
  - Returns one key of an etcd cluster (API v3), or all that begin with a prefix, with their values, revisions and leases.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.info
  - flagship.coreos.attributes.actiongroup_etcd
options:
  key:
    description:
      - Name of one key.
      - One of O(key) and O(prefix) is required.
    type: str
  prefix:
    description: What the names of the keys begin with, taken literally. Empty text reads all keys.
    type: str
  value_type:
    description:
      - How the values are returned.
      - V(text) shows bytes that are not UTF-8 as escapes, V(base64) keeps any bytes.
      - V(json) returns the data of JSON texts, and fails for a value that is none.
    type: str
    choices: [text, base64, json]
    default: text
  keys_only:
    description: Whether to leave the values out.
    type: bool
    default: false
  limit:
    description: Number of keys to return at most, the first ones as sorted. V(0) returns all.
    type: int
    default: 0
  sort_by:
    description: What the keys are sorted by.
    type: str
    choices: [key, revision, create_revision, version]
    default: key
  sort_order:
    description: Direction of the sorting.
    type: str
    choices: [ascending, descending]
    default: ascending
  revision:
    description:
      - Returns the keys as they were at this revision of the store. V(0) returns them as they are now.
      - Fails for a revision that the cluster has compacted away, or has not reached.
    type: int
    default: 0
notes:
  - The values are returned. Set C(no_log) on the task if they are secret.
seealso:
  - module: flagship.coreos.etcd_key
  - module: flagship.coreos.etcd_wait
  - plugin: flagship.coreos.etcd
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Read the servers of a website
  flagship.coreos.etcd_key_info:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    prefix: /services/website/
  register: website

- name: Show their addresses
  ansible.builtin.debug:
    msg: "{{ website.entries | map(attribute='value') | list }}"

- name: Read a setting as data
  flagship.coreos.etcd_key_info:
    endpoints: ['http://192.0.2.11:2379']
    key: /coreos.com/network/config
    value_type: json
  register: network
  failed_when: network is failed or network.count == 0

- name: See which ten keys changed last
  flagship.coreos.etcd_key_info:
    endpoints: ['http://192.0.2.11:2379']
    prefix: ""
    keys_only: true
    sort_by: revision
    sort_order: descending
    limit: 10
"""

RETURN = r"""
entries:
  description: The keys, sorted. An empty list if there is none.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: Name of the key. Bytes that are not UTF-8 are shown as escapes.
      type: str
    value:
      description: The value, as O(value_type) says. Missing with O(keys_only=true).
      type: raw
    revision:
      description: The revision of the last change.
      type: int
    create_revision:
      description: The revision at which the key was created.
      type: int
    version:
      description: Number of writes to the key since it was created.
      type: int
    lease:
      description: Number of the lease that the key hangs on, 0 for none.
      type: int
count:
  description: Number of keys that there are, whatever the O(limit).
  returned: success
  type: int
  sample: 3
revision:
  description: The revision of the store at which the keys were read, or its latest one if O(revision) is given.
  returned: success
  type: int
  sample: 4711
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    Entry,
    EtcdClient,
    EtcdError,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_plan import MAX_REVISION
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import VALUE_TYPES, from_bytes, shown


def described(entry: Entry, value_type: str, keys_only: bool) -> dict[str, Any]:
    """A key as the module returns it; raises EtcdError for a value that is not of the type."""
    result = {
        "key": shown(entry.key),
        "revision": entry.mod_revision,
        "create_revision": entry.create_revision,
        "version": entry.version,
        "lease": entry.lease,
    }
    if not keys_only:
        try:
            result["value"] = from_bytes(entry.value, value_type)
        except EtcdError as error:
            raise EtcdError(f"{shown(entry.key)}: {error}") from error
    return result


def read(params: dict[str, Any]) -> dict[str, Any]:
    """The keys that the task asks for; raises EtcdError."""
    for option in ("limit", "revision"):
        if not 0 <= params[option] <= MAX_REVISION:
            raise EtcdError(f"{option} {params[option]} is negative or too large; give 0 or more")
    if params["key"] == "":
        raise EtcdError("the name of the key is empty; give one, or an empty prefix for all keys")
    prefix = params["prefix"] is not None
    with EtcdClient(params) as client:
        listing = client.listing(
            params["prefix"] if prefix else params["key"],
            prefix,
            keys_only=params["keys_only"],
            limit=params["limit"],
            sort_by=params["sort_by"],
            descending=params["sort_order"] == "descending",
            revision=params["revision"],
        )
    entries = [described(entry, params["value_type"], params["keys_only"]) for entry in listing.entries]
    return {"entries": entries, "count": listing.total, "revision": listing.revision}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "key": {"type": "str", "no_log": False},
            "prefix": {"type": "str"},
            "value_type": {"type": "str", "choices": list(VALUE_TYPES), "default": "text"},
            "keys_only": {"type": "bool", "default": False, "no_log": False},
            "limit": {"type": "int", "default": 0},
            "sort_by": {
                "type": "str",
                "choices": ["key", "revision", "create_revision", "version"],
                "default": "key",
            },
            "sort_order": {"type": "str", "choices": ["ascending", "descending"], "default": "ascending"},
            "revision": {"type": "int", "default": 0},
        },
        required_one_of=[("key", "prefix")],
        mutually_exclusive=[("key", "prefix")],
        supports_check_mode=True,
    )
    fail_without_library(module)
    try:
        result = read(module.params)
    except EtcdError as error:
        subject = (
            f"key {module.params['key']}" if module.params["key"] is not None else f"prefix {module.params['prefix']}"
        )
        module.fail_json(msg=f"{subject}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
