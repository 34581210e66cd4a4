#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_wait
short_description: Wait until keys of etcd are as they should be
description:
  - Waits until a key of an etcd cluster (API v3), or the keys that begin with a prefix, satisfy a condition.
  - Reads once and then follows the changes (a watch), so it notices at once and asks nothing while nothing changes.
  - While it waits, it survives restarts of members and takes the next endpoint. A cluster that cannot be reached at the
    start fails the task after O(timeout).
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
    description: What the names of the keys begin with, taken literally, so it should end in the separator.
    type: str
  condition:
    description:
      - What to wait for.
      - V(exists) - the key, or at least one below the prefix, is there.
      - V(absent) - the key, or everything below the prefix, is gone.
      - V(equals) - the key, or each of at least one below the prefix, has the O(value).
      - V(count) - at least O(count) keys are below the prefix.
    type: str
    choices: [exists, absent, equals, count]
    default: exists
  value:
    description: The value to wait for. Required if O(condition=equals).
    type: raw
  value_type:
    description:
      - How O(value) is written and the values are returned, as in M(flagship.coreos.etcd_key).
      - With V(json), the same data in any writing will do. Values that are no JSON are returned as text.
    type: str
    choices: [text, base64, json]
    default: text
  count:
    description: Number of keys to wait for, at least 1. Required if O(condition=count).
    type: int
  wait_timeout:
    description: Seconds to wait at most. The task fails then, and says what it found.
    type: float
    default: 300.0
notes:
  - The values are returned. Set C(no_log) on the task if they are secret.
  - In check mode the module waits too.
seealso:
  - module: flagship.coreos.etcd_key
  - module: flagship.coreos.etcd_key_info
"""

EXAMPLES = r"""
- name: Wait until two servers have announced themselves
  flagship.coreos.etcd_wait:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379']
    prefix: /services/website/
    condition: count
    count: 2
    wait_timeout: 60

- name: Wait until nobody holds the lock
  flagship.coreos.etcd_wait:
    endpoints: ['http://192.0.2.11:2379']
    key: /locks/maintenance
    condition: absent

- name: Wait until all parts are ready
  flagship.coreos.etcd_wait:
    endpoints: ['http://192.0.2.11:2379']
    prefix: /deployment/parts/
    condition: equals
    value: ready
"""

RETURN = r"""
entries:
  description: The keys at the end, sorted by name.
  returned: when the cluster was asked
  type: list
  elements: dict
  contains:
    key:
      description: Name of the key.
      type: str
    value:
      description: The value, as O(value_type) says.
      type: raw
    revision:
      description: The revision of the last change.
      type: int
count:
  description: Number of keys at the end.
  returned: when the cluster was asked
  type: int
elapsed:
  description: Seconds waited.
  returned: when the cluster was asked
  type: float
  sample: 1.25
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    CompactedError,
    Entry,
    EtcdClient,
    EtcdError,
    UnreachableError,
    check_seconds,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import (
    VALUE_TYPES,
    from_bytes,
    same_value,
    shown,
    text_of,
    to_bytes,
)

Found = dict[str, Entry]


def check_task(params: Mapping[str, Any]) -> None:
    """Raises EtcdError for options that cannot be meant together."""
    check_seconds("wait_timeout", params["wait_timeout"])
    if params["key"] == "":
        raise EtcdError("the name of the key is empty; give one such as /services/website/nginx@1")
    condition = params["condition"]
    for option in ("value", "count"):
        owner = "equals" if option == "value" else "count"
        if params[option] is not None and condition != owner:
            raise EtcdError(f"{option} is for the condition {owner}, not {condition}; correct one of them")
        if params[option] is None and condition == owner:
            raise EtcdError(f"the condition {owner} needs {option}; give it")
    if condition == "count" and params["key"] is not None:
        raise EtcdError("the condition count is for a prefix; use exists for one key")
    if params["count"] is not None and params["count"] < 1:
        raise EtcdError(f"count {params['count']} is below 1; use the condition absent to wait for none")


def condition_of(params: Mapping[str, Any]) -> Callable[[Found], bool]:
    """Whether keys are as the task wants them; raises EtcdError for a value that is not of its type."""
    condition = params["condition"]
    if condition == "exists":
        return bool
    if condition == "absent":
        return lambda found: not found
    if condition == "count":
        return lambda found: len(found) >= params["count"]
    value_type = params["value_type"]
    wanted = to_bytes(params["value"], value_type)
    return lambda found: bool(found) and all(same_value(item.value, wanted, value_type) for item in found.values())


def described(entry: Entry, value_type: str) -> dict[str, Any]:
    """A key as the module returns it."""
    try:
        value = from_bytes(entry.value, value_type)
    except EtcdError:
        value = text_of(entry.value)
    return {"key": shown(entry.key), "value": value, "revision": entry.mod_revision}


def wait(client: EtcdClient, params: Mapping[str, Any], note: Callable[[Found], None], deadline: float) -> bool:
    """Follow the keys until they satisfy the condition (true) or the deadline (monotonic) has come; raises EtcdError."""
    prefix = params["prefix"] is not None
    name = params["prefix"] if prefix else params["key"]
    satisfied = condition_of(params)
    # Only what was reached once is worth a retry; a cluster that never was is more likely a wrong endpoint.
    reached = False
    pause = 0.1
    while True:
        client.transport.timeout = min(params["timeout"], max(deadline - time.monotonic(), 0.1))
        try:
            listing = client.listing(name, prefix)
            reached = True
            found = {entry.key: entry for entry in listing.entries}
            note(found)
            if satisfied(found):
                return True
            for changes in client.watch(name, prefix, listing.revision + 1, deadline):
                pause = 0.1
                for key, entry in changes.items():
                    found.pop(key, None)
                    if entry:
                        found[key] = entry
                note(found)
                if satisfied(found):
                    return True
        except CompactedError:
            continue
        except UnreachableError:
            if not reached:
                raise
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, 5.0)


def run(params: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Fills the module's result; raises EtcdError."""
    check_task(params)
    condition_of(params)
    began = time.monotonic()

    def note(found: Found) -> None:
        entries = [described(found[key], params["value_type"]) for key in sorted(found)]
        result.update(entries=entries, count=len(entries))

    try:
        with EtcdClient(params) as client:
            satisfied = wait(client, params, note, began + params["wait_timeout"])
    finally:
        if "entries" in result:
            result["elapsed"] = round(time.monotonic() - began, 3)
    if not satisfied:
        raise EtcdError(
            f"the condition {params['condition']} was not satisfied within {params['wait_timeout']:g} s, "
            f"{result['count']} keys were found; look at what 'entries' returns, or raise wait_timeout"
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "key": {"type": "str", "no_log": False},
            "prefix": {"type": "str"},
            "condition": {"type": "str", "choices": ["exists", "absent", "equals", "count"], "default": "exists"},
            "value": {"type": "raw"},
            "value_type": {"type": "str", "choices": list(VALUE_TYPES), "default": "text"},
            "count": {"type": "int"},
            "wait_timeout": {"type": "float", "default": 300.0},
        },
        required_one_of=[("key", "prefix")],
        mutually_exclusive=[("key", "prefix")],
        supports_check_mode=True,
    )
    fail_without_library(module)
    result: dict[str, Any] = {}
    try:
        run(module.params, result)
    except EtcdError as error:
        subject = (
            f"key {module.params['key']}" if module.params["key"] is not None else f"prefix {module.params['prefix']}"
        )
        module.fail_json(msg=f"{subject}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
