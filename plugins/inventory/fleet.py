# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
short_description: Hosts from the machines of a fleet, grouped by metadata and by the units that they run
description:
  - Each machine that is alive in the cluster becomes a host, with its primary address for C(ansible_host).
  - A host has the variable C(fleet_machine) with the keys C(id), C(primary_ip), C(metadata), and C(units), a dictionary of
    the units that the machine has, with their active states.
  - Its file has to end in C(fleet.yml) or C(fleet.yaml).
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.fleet
  - constructed
  - inventory_cache
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [flagship.coreos.fleet]
  hostnames:
    description:
      - What hosts are named after, in order of preference. The first that a machine has is its name.
      - Each is V(id), V(primary_ip), or V(metadata.KEY) for a key of its metadata. The last resort is the id.
    type: list
    elements: str
    default: [id]
  metadata_groups:
    description:
      - Whether there is a group for each value of metadata, such as C(metadata_zone_a) for the machines with C(zone=a).
      - Here and in the names of all groups, what may not be in the name of a group becomes C(_).
    type: bool
    default: true
  unit_groups:
    description:
      - Whether there is a group for each unit with the machines that it is active on, such as C(unit_nginx_1_service) for
        C(nginx@1.service), and one for all instances of a template, such as C(template_nginx_service).
    type: bool
    default: true
  endpoint:
    description:
      - Where fleet's HTTP API is served, seen from the controller.
      - A socket is written as V(unix:///path/to/socket), anything else as V(https://host:port) or V(http://host:port),
        where a path after the port is put before every request's own.
      - This option, O(user) and O(password) may be templates.
    type: str
    default: unix:///run/fleet.sock
notes:
  - >-
    A controller that reaches the nodes by SSH only can forward the socket. After
    C(ssh -fnNT -o ExitOnForwardFailure=yes -L /tmp/fleet.sock:/run/fleet.sock root@core01) the endpoint
    V(unix:///tmp/fleet.sock) is the API of C(core01), until that ssh is ended. Where clients have certificates, an
    V(https://) endpoint needs no tunnel.
  - A machine that is down is not in the inventory, for fleet does not know it any more. Playbooks that repair machines
    need an inventory of their own.
seealso:
  - module: flagship.coreos.fleet_machine_info
  - module: flagship.coreos.fleet_unit_info
"""

EXAMPLES = r"""
# core.fleet.yml: the API of this host
plugin: flagship.coreos.fleet

---
# core.fleet.yml: the API over the network, with a client certificate
plugin: flagship.coreos.fleet
endpoint: https://core01.example.com:49153
ca_cert: /etc/flagship/ca.pem
client_cert: /etc/flagship/me.pem
client_key: /etc/flagship/me.key

---
# core.fleet.yml: through a socket that ssh forwards, with the names and groups that the playbooks of this collection expect
plugin: flagship.coreos.fleet
endpoint: unix:///tmp/fleet.sock
hostnames: [metadata.name, primary_ip]
compose:
  ansible_user: "'core'"
groups:
  fleet: true
  balancers: "'nginx-loadbalancer.service' in fleet_machine.units"
keyed_groups:
  - key: fleet_machine.metadata.zone
    prefix: zone

---
# core.fleet.yml: with a password from the environment, asked once in ten minutes
plugin: flagship.coreos.fleet
endpoint: https://core01.example.com:49153
user: reader
password: "{{ lookup('ansible.builtin.env', 'FLEET_PASSWORD') }}"
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/fleet
cache_timeout: 600
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, Machine, UnitState
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, fleet_argument_spec
from ansible_collections.flagship.coreos.plugins.plugin_utils.fleet_inventory import (
    InventoryError,
    check_hostnames,
    hosts,
)


def untemplated(value: Any) -> Any:
    """The same, but no template: who may set metadata in the cluster shall run nothing on the controller.

    Before ansible-core 2.19 strings of an inventory are templates. Those that can be none are left as they are there, for
    ansible-inventory prints the others as dictionaries.
    """
    if isinstance(value, Mapping):
        return {key: untemplated(item) for key, item in value.items()}
    return wrap_var(value) if isinstance(value, str) and "{" in value else value


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """See DOCUMENTATION."""

    NAME = "flagship.coreos.fleet"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("fleet.yml", "fleet.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            check_hostnames(self.get_option("hostnames"))
            self._populate(self._snapshot(path, cache))
        except (FleetError, InventoryError) as error:
            # ansible-core would add the text of a cause to this one.
            raise AnsibleParserError(str(error)) from None

    def _snapshot(self, path: str, cache: bool) -> dict[str, Any]:
        """What the cluster says, from the cache if that is allowed and has it from the same endpoint."""
        params = {name: self._connection_option(name) for name in fleet_argument_spec()}
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache")
        if use_cache and cache:
            found: dict[str, Any] = self.cache.get(key) or {}
            if found.get("endpoint") == params["endpoint"]:
                return found
        client = FleetClient(params)
        snapshot = {
            "endpoint": params["endpoint"],
            "machines": [machine._asdict() for machine in client.machines()],
            "states": [state._asdict() for state in client.states()],
        }
        if use_cache:
            self.cache[key] = snapshot
        return snapshot

    def _connection_option(self, name: str) -> Any:
        value = self.get_option(name)
        return self.templar.template(value) if name in ("endpoint", "user", "password") else value

    def _populate(self, snapshot: Mapping[str, Any]) -> None:
        found = hosts(
            [Machine(**item) for item in snapshot["machines"]],
            [UnitState(**item) for item in snapshot["states"]],
            self.get_option("hostnames"),
            metadata_groups=self.get_option("metadata_groups"),
            unit_groups=self.get_option("unit_groups"),
        )
        strict = self.get_option("strict")
        for host in found:
            self.inventory.add_host(host.name)
            variables = untemplated(host.variables)
            for name, value in variables.items():
                self.inventory.set_variable(host.name, name, value)
            for group in host.groups:
                self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), host.name)
            self._set_composite_vars(self.get_option("compose"), variables, host.name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, host.name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host.name, strict=strict)
