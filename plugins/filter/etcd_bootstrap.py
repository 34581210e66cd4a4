# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: etcd_bootstrap
short_description: Make etcd's settings for finding its peers by discovery
author:
  - The flagship.coreos contributors (@flagship-coreos)
description:
  - Makes variables of etcd's environment out of one way of discovery, if this version of etcd has it.
  - Without any way, there are none, and etcd needs a list of its members.
options:
  _input:
    description:
      - C(url), of a discovery service with etcd's v2 protocol, which etcd 3.7 removed.
      - Or C(token) and C(endpoints) of an etcd, for the v3 protocol, which came with etcd 3.6.
      - Or C(srv), a DNS domain.
    type: dict
    required: true
  version:
    description: The version of etcd.
    type: str
    required: true
positional: version
seealso:
  - plugin: flagship.coreos.user_data
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show how etcd finds its peers by DNS
  ansible.builtin.debug:
    msg: "{{ {'srv': 'example.com'} | flagship.coreos.etcd_bootstrap('3.6') }}"
"""

RETURN = r"""
_value:
  description: Names of variables, and their values.
  type: dict
  sample: {ETCD_DISCOVERY_SRV: example.com}
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.plugin_utils import first_boot_targets
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import UserDataError


def etcd_bootstrap(discovery: dict[str, Any], version: str) -> dict[str, str]:
    """etcd's settings; see DOCUMENTATION."""
    try:
        settings: dict[str, str] = first_boot_targets.etcd_bootstrap(discovery, version)
    except UserDataError as error:
        raise AnsibleFilterError(f"etcd_bootstrap: {error}") from error
    return settings


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        return {"etcd_bootstrap": etcd_bootstrap}
