#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_key
short_description: Set and remove keys in etcd
description:
  - Brings one key of an etcd cluster (API v3) to a value, or many keys at once, or removes them.
  - A write is done only if the key is still as it was when it was compared. Otherwise the task fails, says what it
    found instead, and changes nothing.
  - Many keys are written in batches of up to 100 keys and about 1 MB, for etcd takes no more than 128 operations in one
    transaction. A batch is written as a whole or not at all. When one fails, those before it stay written,
    and RV(batches) and RV(changes) say which; up to 100 small keys are therefore all or nothing.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_etcd
options:
  key:
    description:
      - Name of one key, such as V(/services/website/nginx@1).
      - One of O(key), O(mapping) and O(prefix) is required. O(key) excludes the others.
    type: str
  value:
    description:
      - What O(key) shall hold, written as O(value_type) says. May be empty text.
      - Required for O(key) if O(state=present).
    type: raw
  mapping:
    description:
      - Many keys, each full name with its value, written as O(value_type) says.
      - With O(state=absent) these keys are removed, whatever the values.
    type: dict
  value_type:
    description:
      - How O(value), O(compare_value) and the values of O(mapping) are written.
      - V(text) is stored as UTF-8. Numbers and booleans become text.
      - V(base64) is decoded before it is stored, for bytes that are no text.
      - V(json) takes a JSON text or data of YAML (mappings, lists, numbers, booleans). A key that holds the same data in
        another writing is left as it is. A JSON string needs quotes of its own, as in C('"text"').
    type: str
    choices: [text, base64, json]
    default: text
  state:
    description: Whether the keys shall exist.
    type: str
    choices: [present, absent]
    default: present
  prefix:
    description:
      - What the names of the keys begin with, taken literally, so it should end in the separator, V(/) for instance.
      - With O(state=absent), all keys that begin with it are removed in one step. Needs O(confirm_removal).
      - With O(purge), where keys are removed that O(mapping) does not name. All keys of O(mapping) must begin with it.
    type: str
  purge:
    description: Whether to remove the keys that begin with O(prefix) and are not in O(mapping).
    type: bool
    default: false
  confirm_removal:
    description:
      - Confirms that everything that begins with O(prefix) may be removed.
      - Required to remove a prefix, and to purge with an empty O(mapping).
    type: bool
    default: false
  lease_ttl:
    description:
      - Seconds after which etcd removes the keys unless their lease is kept alive. Keys that need a new lease share one.
      - A key that already has the value and a lease of this length is not written. Its lease is made to last that long
        from now on, which counts as no change.
      - V(0) makes a key permanent that had a lease. Without the option a key keeps the lease that it has.
    type: int
  compare_revision:
    description:
      - Write only if the revision of the key's last change is this one, such as RV(after.revision) of an earlier task,
        or V(0) if the key must not exist yet. Only for O(key).
      - A key that already is as wanted needs no write and passes.
    type: int
  compare_value:
    description:
      - Write or remove only if the key holds this value now, written as O(value_type) says. Only for O(key).
      - A key that already is as wanted needs no write and passes.
    type: raw
notes:
  - With C(--diff) the values are shown, and RV(before), RV(after) and RV(changes) return them. Set C(no_log) on the
    task for values that are secret.
  - etcd takes requests of up to 1.5 MiB unless its C(--max-request-bytes) says otherwise.
seealso:
  - module: flagship.coreos.etcd_key_info
  - module: flagship.coreos.etcd_wait
  - plugin: flagship.coreos.etcd
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Announce a server for a minute
  flagship.coreos.etcd_key:
    endpoints: ['http://192.0.2.11:2379', 'http://192.0.2.12:2379', 'http://192.0.2.13:2379']
    key: /services/website/nginx@1
    value: 192.0.2.11:80
    lease_ttl: 60

- name: Set a key in a cluster with TLS and users
  flagship.coreos.etcd_key:
    endpoints: ['https://192.0.2.11:2379']
    ca_cert: /etc/etcd/ca.pem
    user: root
    password: "{{ etcd_root_password }}"
    key: /coreos.com/network/config
    value_type: json
    value: {Network: 10.1.0.0/16, Backend: {Type: vxlan}}

- name: Create a key only if nobody else has
  flagship.coreos.etcd_key:
    key: /locks/maintenance
    value: core01
    compare_revision: 0

- name: Give the lock back, if it is still ours
  flagship.coreos.etcd_key:
    key: /locks/maintenance
    state: absent
    compare_value: core01

- name: Keep exactly these settings below /settings/
  flagship.coreos.etcd_key:
    mapping:
      /settings/greeting: hello
      /settings/colour: green
    prefix: /settings/
    purge: true

- name: Remove a key
  flagship.coreos.etcd_key:
    key: /services/website/nginx@1
    state: absent

- name: Remove all keys of a service
  flagship.coreos.etcd_key:
    prefix: /services/website/
    state: absent
    confirm_removal: true
"""

RETURN = r"""
key:
  description: Name of the key.
  returned: with O(key)
  type: str
  sample: /services/website/nginx@1
before:
  description: The key as it was found, or none if it did not exist.
  returned: with O(key), when the cluster was asked
  type: dict
  contains:
    value:
      description: The value. Bytes that are not UTF-8 are shown as escapes. In base64 if O(value_type=base64).
      type: str
    revision:
      description: The revision of the last change.
      type: int
    create_revision:
      description: The revision at which the key was created.
      type: int
    lease:
      description: Number of the lease that the key hangs on, 0 for none.
      type: int
after:
  description:
    - The key as the module leaves it, or none if it is absent.
    - In check mode the revisions and the lease of a key that would be written are none.
  returned: success, with O(key)
  type: dict
  contains:
    value:
      description: The value, as in RV(before.value).
      type: str
    revision:
      description: The revision of the last change.
      type: int
    create_revision:
      description: The revision at which the key was created.
      type: int
    lease:
      description: Number of the lease that the key hangs on, 0 for none.
      type: int
changes:
  description: The keys that were written or removed, or would be in check mode. After a failure, those that were before it.
  returned: with O(mapping) or O(prefix), when the cluster was asked
  type: list
  elements: dict
  contains:
    key:
      description: Name of the key.
      type: str
    action:
      description: What was done to it, V(created), V(updated) or V(removed).
      type: str
    before:
      description: As RV(before).
      type: dict
    after:
      description: As RV(after).
      type: dict
unchanged:
  description: Number of keys that were found as they are wanted.
  returned: success, with O(mapping) or O(prefix)
  type: int
  sample: 998
batches:
  description: The transactions that were done, each as a whole. Empty in check mode.
  returned: with O(mapping) or O(prefix), when the cluster was asked
  type: list
  elements: dict
  contains:
    count:
      description: Number of keys that the transaction wrote or removed.
      type: int
    revision:
      description: The highest revision among the keys that it wrote, 0 if it only removed keys.
      type: int
conflict:
  description: The key that somebody else changed meanwhile, so that its batch was not written.
  returned: with O(mapping) or O(prefix), when a batch failed for that reason
  type: dict
  contains:
    key:
      description: Name of the key.
      type: str
    found:
      description: As RV(before), at the time of the conflict.
      type: dict
"""

from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    Change,
    ConflictError,
    EtcdClient,
    EtcdError,
    KeyValue,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_plan import (
    Plan,
    Wanted,
    batches,
    check_expected,
    check_task,
    decide,
    described,
    diff_of_key,
    diff_of_keys,
    lease_for,
    predicted,
    wanted_keys,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import VALUE_TYPES, shown


class Task:
    """The keys of one task: as wanted, as found, and what to do about it."""

    def __init__(self, client: EtcdClient, params: dict[str, Any]) -> None:
        self._client = client
        self._params = params
        self.wanted = wanted_keys(params)
        if params["prefix"] is None:
            self.found = client.get_many(list(self.wanted))
        else:
            listing = client.listing(params["prefix"], prefix=True)
            self.revision = listing.revision
            self.found = {entry.key: entry.key_value for entry in listing.entries}
            self.wanted.update((key, Wanted(None)) for key in self.found if key not in self.wanted)
        self._ttls = self._granted_ttls()
        self.plans = {key: decide(self.wanted[key], self.found.get(key), self._ttl(key)) for key in self.wanted}
        self.to_write = [key for key, plan in self.plans.items() if plan.action]

    def _granted_ttls(self) -> dict[int, int]:
        if self._params["lease_ttl"] is None:
            return {}
        leases = {
            found.lease for key, found in self.found.items() if found.lease and self.wanted[key].value is not None
        }
        return {lease: self._client.granted_ttl(lease) for lease in leases}

    def _ttl(self, key: str) -> int:
        found = self.found.get(key)
        return self._ttls.get(found.lease, 0) if found else 0

    def diff(self, key: str) -> dict[str, str]:
        diff: dict[str, str] = diff_of_key(key, self.wanted[key], self.found.get(key), self._ttl(key))
        return diff

    def write(self) -> Iterable[dict[str, KeyValue | None]]:
        """Write what was planned; after each batch, its keys as they are now. Raises EtcdError."""
        lease = 0
        if any(self.plans[key].new_lease for key in self.to_write):
            lease = new_lease(self._client, self._params["lease_ttl"])
        changes = [self._change(key, self.plans[key], lease) for key in self.to_write]
        written = False
        for batch in batches(changes):
            try:
                revisions = self._client.write(batch)
            except ConflictError:
                # Keys of earlier batches may hang on it.
                if lease and not written:
                    self._client.revoke(lease)
                raise
            written = True
            yield {change.key: self._after(change, revisions[change.key]) for change in batch}

    def refresh(self) -> None:
        """Let the leases that are kept live for their whole time from now on."""
        for lease in {plan.refresh for plan in self.plans.values() if plan.refresh}:
            self._client.refresh(lease)

    def _change(self, key: str, plan: Plan, new_lease: int) -> Change:
        wanted, found = self.wanted[key], self.found.get(key)
        lease = new_lease if plan.new_lease else lease_for(wanted, found)
        return Change(key, wanted.value, lease, found.mod_revision if found else 0)

    def _after(self, change: Change, revision: int) -> KeyValue | None:
        if change.value is None:
            return None
        found = self.found.get(change.key)
        return KeyValue(change.value, found.create_revision if found else revision, revision, change.lease)


def new_lease(client: EtcdClient, ttl: int) -> int:
    lease: int
    lease, granted = client.grant(ttl)
    if granted != ttl:
        client.revoke(lease)
        raise EtcdError(f"the cluster makes no lease of {ttl} s but one of {granted} s; give that as lease_ttl")
    return lease


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the keys to the wanted state; fills the module's result. Raises EtcdError."""
    check_task(module.params)
    with EtcdClient(module.params) as client:
        task = Task(client, module.params)
        if module.params["key"] is not None:
            bring_one(module, task, result)
        else:
            bring_many(module, client, task, result)
        if not module.check_mode:
            task.refresh()


def bring_one(module: AnsibleModule, task: Task, result: dict[str, Any]) -> None:
    """Fills RV(before) and RV(after). Raises EtcdError."""
    key, value_type = module.params["key"], module.params["value_type"]
    result["before"] = result["after"] = described(task.found.get(key), value_type)
    if not task.to_write:
        return
    try:
        check_expected(module.params, task.found.get(key))
        if module.check_mode:
            after = predicted(task.wanted[key])
        else:
            for written in task.write():
                after = described(written[key], value_type)
    except EtcdError as error:
        del result["after"]
        if isinstance(error, ConflictError):
            result["before"] = described(error.found, value_type)
        raise
    result.update(changed=True, after=after, diff=task.diff(key))


def bring_many(module: AnsibleModule, client: EtcdClient, task: Task, result: dict[str, Any]) -> None:
    """Fills RV(changes), RV(batches) and so on. Raises EtcdError."""
    value_type = module.params["value_type"]
    changes: list[dict[str, Any]] = []
    diffs: list[dict[str, str]] = []
    result.update(changes=changes, batches=[])

    def note(key: str, after: dict[str, Any] | None) -> None:
        before = task.found.get(key)
        action = "removed" if task.wanted[key].value is None else "updated" if before else "created"
        changes.append(
            {"key": shown(key), "action": action, "before": described(before, value_type), "after": after},
        )
        diffs.append(task.diff(key))
        result["changed"] = True

    try:
        if module.check_mode:
            for key in task.to_write:
                note(key, predicted(task.wanted[key]))
        elif module.params["state"] == "absent" and module.params["prefix"] is not None:
            if task.to_write:
                client.delete_prefix(module.params["prefix"], task.revision)
                result["batches"].append({"count": len(task.to_write), "revision": 0})
            for key in task.to_write:
                note(key, None)
        else:
            for written in task.write():
                for key, after in written.items():
                    note(key, described(after, value_type))
                revision = max(after.mod_revision if after else 0 for after in written.values())
                result["batches"].append({"count": len(written), "revision": revision})
    except ConflictError as error:
        result["conflict"] = {"key": shown(error.key), "found": described(error.found, value_type)}
        raise EtcdError(
            f"{shown(error.key)} {error.what}; its batch wrote nothing, {len(changes)} of {len(task.to_write)} keys were "
            "written before it; look at what 'conflict' returns and run the task again"
        ) from error
    finally:
        if changes:
            result["diff"] = diff_of_keys(module.params["prefix"] or "etcd", diffs)
    result["unchanged"] = len(task.wanted) - len(task.to_write)


def subject(params: dict[str, Any]) -> str:
    """What an error is about."""
    if params["key"] is not None:
        return f"key {params['key']}"
    return f"keys of prefix {params['prefix']}" if params["prefix"] is not None else "keys of the mapping"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "key": {"type": "str", "no_log": False},
            "value": {"type": "raw"},
            "mapping": {"type": "dict"},
            "value_type": {"type": "str", "choices": list(VALUE_TYPES), "default": "text"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prefix": {"type": "str"},
            "purge": {"type": "bool", "default": False},
            "confirm_removal": {"type": "bool", "default": False},
            "lease_ttl": {"type": "int"},
            "compare_revision": {"type": "int"},
            "compare_value": {"type": "raw"},
        },
        required_one_of=[("key", "mapping", "prefix")],
        mutually_exclusive=[("key", "mapping")],
        supports_check_mode=True,
    )
    fail_without_library(module)
    result: dict[str, Any] = {"changed": False}
    if module.params["key"] is not None:
        result["key"] = module.params["key"]
    try:
        run(module, result)
    except EtcdError as error:
        module.fail_json(msg=f"{subject(module.params)}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
