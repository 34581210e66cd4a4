#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_key
short_description: Set and remove keys in etcd
description:
  - Brings one key of an etcd cluster (API v3) to a value, or removes it.
  - A write is done only if the key is still as it was when it was compared. Otherwise the task fails, says what it
    found instead, and changes nothing.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.full
  - flagship.coreos.attributes.actiongroup_etcd
options:
  key:
    description: Name of the key, such as V(/services/website/nginx@1).
    type: str
    required: true
  value:
    description:
      - The text that the key shall hold, stored as UTF-8. May be empty.
      - Required if O(state=present).
    type: str
  state:
    description: Whether the key shall exist.
    type: str
    choices: [present, absent]
    default: present
  lease_ttl:
    description:
      - Seconds after which etcd removes the key unless its lease is kept alive.
      - A key that already has the value and a lease of this length is not written. Its lease is made to last that long
        from now on, which counts as no change.
      - V(0) makes a key permanent that had a lease. Without the option a key keeps the lease that it has.
    type: int
  compare_revision:
    description:
      - Write only if the revision of the key's last change is this one, such as RV(after.revision) of an earlier task,
        or V(0) if the key must not exist yet.
      - A key that already is as wanted needs no write and passes.
    type: int
notes:
  - With C(--diff) the values are shown, and RV(before) and RV(after) return them. Set C(no_log) on the task for a value
    that is secret.
  - etcd takes requests of up to 1.5 MiB unless its C(--max-request-bytes) says otherwise.
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
    value: '{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan"}}'

- name: Create a key only if nobody else has
  flagship.coreos.etcd_key:
    key: /locks/maintenance
    value: core01
    compare_revision: 0

- name: Remove a key
  flagship.coreos.etcd_key:
    key: /services/website/nginx@1
    state: absent
"""

RETURN = r"""
key:
  description: Name of the key.
  returned: always
  type: str
  sample: /services/website/nginx@1
before:
  description: The key as it was found, or none if it did not exist.
  returned: when the cluster was asked
  type: dict
  contains:
    value:
      description: The value. Bytes that are not UTF-8 are shown as escapes.
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
  returned: success
  type: dict
  contains:
    value:
      description: The value.
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
"""

from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    ETCD3_IMPORT_ERROR,
    EtcdClient,
    EtcdError,
    KeyValue,
    RevisionError,
    etcd_argument_spec,
)


class Wanted(NamedTuple):
    """The key as the task wants it: value None removes it, lease_ttl None keeps the lease that it has."""

    value: bytes | None
    lease_ttl: int | None
    compare_revision: int | None


class Plan(NamedTuple):
    """What to do: put, delete or nothing (empty); whether a put needs a lease of its own; a lease to refresh, or 0."""

    action: str
    new_lease: bool = False
    refresh: int = 0


def decide(wanted: Wanted, found: KeyValue | None, granted_ttl: int) -> Plan:
    """Compare the key with what is wanted; granted_ttl (seconds) is that of the lease found, 0 for none."""
    if wanted.value is None:
        return Plan("delete" if found else "")
    lease_differs = wanted.lease_ttl is not None and wanted.lease_ttl != granted_ttl
    refresh = found.lease if found and wanted.lease_ttl and not lease_differs else 0
    if found is None or found.value != wanted.value or lease_differs:
        return Plan("put", new_lease=bool(wanted.lease_ttl) and lease_differs, refresh=refresh)
    return Plan("", refresh=refresh)


def lease_for(wanted: Wanted, found: KeyValue | None) -> int:
    """The lease for a put that needs no new one: the one found, unless none is wanted."""
    return found.lease if found and wanted.lease_ttl != 0 else 0


def described(found: KeyValue | None) -> dict[str, Any] | None:
    """A key as the module returns it."""
    if found is None:
        return None
    return {
        "value": found.value.decode("utf-8", "backslashreplace"),
        "revision": found.mod_revision,
        "create_revision": found.create_revision,
        "lease": found.lease,
    }


def write(client: EtcdClient, key: str, wanted: Wanted, plan: Plan, found: KeyValue | None) -> KeyValue | None:
    """Do what was planned, or nothing; the key afterwards. Raises EtcdError."""
    expected = found.mod_revision if found else 0
    if wanted.value is None:
        client.delete_if_unchanged(key, expected)
        return None
    lease = new_lease(client, wanted.lease_ttl) if plan.new_lease and wanted.lease_ttl else lease_for(wanted, found)
    try:
        revision = client.put_if_unchanged(key, wanted.value, lease, expected)
    except RevisionError:
        if plan.new_lease:
            client.revoke(lease)
        raise
    return KeyValue(wanted.value, found.create_revision if found else revision, revision, lease)


def new_lease(client: EtcdClient, ttl: int) -> int:
    lease: int
    lease, granted = client.grant(ttl)
    if granted != ttl:
        client.revoke(lease)
        raise EtcdError(f"the cluster makes no lease of {ttl} s but one of {granted} s; give that as lease_ttl")
    return lease


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Bring the key to the wanted state; fills the module's result. Raises EtcdError."""
    params = module.params
    for option in ("lease_ttl", "compare_revision"):
        if params[option] is not None and params[option] < 0:
            raise EtcdError(f"{option} {params[option]} is negative; give 0 or more")
    if not params["key"]:
        raise EtcdError("its name is empty; give one such as /services/website/nginx@1")
    value = params["value"].encode("utf-8", "surrogateescape") if params["state"] == "present" else None
    wanted = Wanted(value, params["lease_ttl"], params["compare_revision"])
    client = EtcdClient(params)
    try:
        found = client.get(params["key"])
        result["before"] = described(found)
        granted_ttl = client.granted_ttl(found.lease) if found and found.lease and wanted.lease_ttl is not None else 0
        plan = decide(wanted, found, granted_ttl)
        diff = diff_of(params["key"], wanted, found, granted_ttl)
        revision = found.mod_revision if found else 0
        if plan.action and wanted.compare_revision is not None and wanted.compare_revision != revision:
            raise RevisionError(found, wanted.compare_revision)
        if not plan.action:
            result["after"] = described(found)
        else:
            after = (
                predicted(wanted) if module.check_mode else described(write(client, params["key"], wanted, plan, found))
            )
            result.update(changed=True, after=after, diff=diff)
        if plan.refresh and not module.check_mode:
            client.refresh(plan.refresh)
    except RevisionError as error:
        result["before"] = described(error.found)
        raise
    finally:
        client.close()


def predicted(wanted: Wanted) -> dict[str, Any] | None:
    """What check mode returns of a key that would be written: only its value is known."""
    if wanted.value is None:
        return None
    value = wanted.value.decode("utf-8", "backslashreplace")
    return {"value": value, "revision": None, "create_revision": None, "lease": None}


def diff_of(key: str, wanted: Wanted, found: KeyValue | None, granted_ttl: int) -> dict[str, str]:
    """The values; the leases are shown only if the task says something about them."""

    def text(value: bytes | None, lease_ttl: int) -> str:
        if value is None:
            return ""
        lease = "" if wanted.lease_ttl is None else f"# lease_ttl: {lease_ttl}\n"
        return lease + value.decode("utf-8", "backslashreplace") + "\n"

    return {
        "before_header": key,
        "after_header": key,
        "before": text(found.value if found else None, granted_ttl),
        "after": text(wanted.value, wanted.lease_ttl or 0),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "key": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "lease_ttl": {"type": "int"},
            "compare_revision": {"type": "int"},
        },
        required_if=[("state", "present", ["value"])],
        supports_check_mode=True,
    )
    if ETCD3_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("etcd3", reason="(on nodes of this collection, /opt/flagship/bin/python has it)"),
            exception=ETCD3_IMPORT_ERROR,
        )
    result: dict[str, Any] = {"changed": False, "key": module.params["key"]}
    try:
        run(module, result)
    except EtcdError as error:
        module.fail_json(msg=f"key {module.params['key']}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
