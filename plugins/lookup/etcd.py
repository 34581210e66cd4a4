# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: etcd
short_description: Read keys of etcd
description:
  - Returns the values of keys of an etcd cluster (API v3), or everything that begins with a prefix.
  - A key that does not exist is an error unless O(default) is given.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.etcd.controller
options:
  _terms:
    description: Names of the keys. With O(prefix=true), what their names begin with, taken literally.
    type: list
    elements: str
    required: true
  prefix:
    description: Whether each term is a prefix. A mapping of names to values is returned for it then.
    type: bool
    default: false
  default:
    description:
      - What is returned for a key that does not exist, and for a prefix without keys.
      - A prefix without keys is an empty mapping when this is not given.
    type: raw
  json:
    description: Whether the values are JSON texts that are returned as data.
    type: bool
    default: false
notes:
  - Runs on the controller, so that needs the Python library and a way to the cluster.
  - Values must be text (UTF-8). Use M(flagship.coreos.etcd_key_info) with C(value_type=base64) for other bytes.
seealso:
  - module: flagship.coreos.etcd_key_info
"""

EXAMPLES = r"""
- name: Show a setting
  ansible.builtin.debug:
    msg: "{{ lookup('flagship.coreos.etcd', '/settings/greeting', endpoints=['http://192.0.2.11:2379'], default='hello') }}"

- name: Show the network, which is JSON, from a cluster that ETCDCTL_ENDPOINTS names
  ansible.builtin.debug:
    msg: "{{ lookup('flagship.coreos.etcd', '/coreos.com/network/config', json=true).Network }}"

- name: Show the servers of a website
  ansible.builtin.debug:
    msg: "{{ item.key }} is at {{ item.value }}"
  loop: "{{ lookup('flagship.coreos.etcd', '/services/website/', prefix=true) | dict2items }}"
"""

RETURN = r"""
_raw:
  description: One value for each term; with O(prefix=true), one mapping for each term.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    ETCD3_IMPORT_ERROR,
    EtcdClient,
    EtcdError,
    etcd_argument_spec,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_value import from_bytes


def connection(options: Mapping[str, Any]) -> dict[str, Any]:
    """The connection options, with a password that came behind the user as etcdctl takes it."""
    params = {name: options[name] for name in etcd_argument_spec()}
    if params["user"] and not params["password"] and ":" in params["user"]:
        params["user"], _colon, params["password"] = params["user"].partition(":")
    # An environment variable that is set but empty says nothing.
    params["endpoints"] = [endpoint.strip() for endpoint in params["endpoints"] if endpoint.strip()]
    return {name: None if value == "" else value for name, value in params.items()}


def decoded(value: bytes, json: bool) -> Any:
    """A value as the lookup returns it; raises EtcdError."""
    if json:
        return from_bytes(value, "json")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EtcdError(
            "its value is not text; read it with flagship.coreos.etcd_key_info and value_type base64"
        ) from error


def look_up(client: EtcdClient, term: str, options: Mapping[str, Any], has_default: bool) -> Any:
    """The value of one key, or the mapping of one prefix; raises EtcdError."""
    if options["prefix"]:
        entries = client.listing(term, prefix=True).entries
        if has_default and not entries:
            return options["default"]
        return {entry.key: decoded(entry.value, options["json"]) for entry in entries}
    if not term:
        raise EtcdError("the name of the key is empty; give one such as /settings/greeting")
    found = client.get(term)
    if found:
        return decoded(found.value, options["json"])
    if has_default:
        return options["default"]
    raise EtcdError("it does not exist; set it, correct the name, or give default")


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        if ETCD3_IMPORT_ERROR is not None:
            raise AnsibleError(
                "The lookup flagship.coreos.etcd needs the Python library etcd3 on the controller; install it"
            )
        options = self.get_options()
        subject = "the connection"
        try:
            with EtcdClient(connection(options)) as client:
                values = []
                for term in terms:
                    if not isinstance(term, str):
                        raise EtcdError(f"the key {term!r} is not text; give the name of a key")
                    subject = f"prefix {term}" if options["prefix"] else f"key {term}"
                    values.append(look_up(client, term, options, "default" in kwargs))
                return values
        except EtcdError as error:
            # ansible-core would repeat the text of a cause.
            raise AnsibleError(f"etcd lookup, {subject}: {error}") from None
