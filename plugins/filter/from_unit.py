# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: from_unit
short_description: Take the text of a unit file apart
author:
  - The flagship.coreos contributors (@flagship-coreos)
description:
  - Makes a list of options out of the text of a systemd unit file, as fleet reads it.
  - Order and repetitions are kept, comments and blank lines are not. A value that goes on behind a backslash keeps its
    line breaks.
options:
  _input:
    description: The text of a unit file.
    type: str
    required: true
seealso:
  - plugin: flagship.coreos.to_unit
    plugin_type: filter
  - plugin: flagship.coreos.fleet_unit
    plugin_type: module
"""

EXAMPLES = r"""
- name: Show on which machines a unit may run
  ansible.builtin.debug:
    msg: >-
      {{ '[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=disk=ssd\n' | flagship.coreos.from_unit
         | selectattr('section', 'eq', 'X-Fleet') | map(attribute='value') }}

- name: Run a unit with one more option than its file has
  flagship.coreos.fleet_unit:
    name: hello.service
    options: >-
      {{ lookup('ansible.builtin.file', 'hello.service') | flagship.coreos.from_unit
         + [{'section': 'X-Fleet', 'name': 'MachineMetadata', 'value': 'disk=ssd'}] }}
"""

RETURN = r"""
_value:
  description: The options in the order of the text.
  type: list
  elements: dict
  contains:
    section:
      description: Name of the section.
      type: str
      sample: Service
    name:
      description: Name of the option.
      type: str
      sample: ExecStart
    value:
      description: Value of the option, may be empty.
      type: str
      sample: /bin/true
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, parse
from ansible_collections.flagship.coreos.plugins.plugin_utils.kinds import kind_of


def from_unit(text: str) -> list[dict[str, str]]:
    """The options of a unit file's text; see DOCUMENTATION."""
    if not isinstance(text, str):
        raise AnsibleFilterError(
            f"from_unit takes the text of a unit file and was given {kind_of(text)}; give a string"
        )
    try:
        return [option._asdict() for option in parse(text)]
    except UnitError as error:
        raise AnsibleFilterError(f"from_unit cannot read the unit file: {error}") from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        return {"from_unit": from_unit}
