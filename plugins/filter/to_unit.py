# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: to_unit
short_description: Make the text of a unit file
author:
  - The flagship.coreos contributors (@flagship-coreos)
description:
  - Makes the text of a systemd unit file out of a list of options, in fleet's own writing.
  - It is the inverse of P(flagship.coreos.from_unit#filter). That filter gives back the same options from the text,
    those of one section together; and this one gives back the same text, without its comments and spacing.
  - The C([X-Fleet]) section is checked as M(flagship.coreos.fleet_unit) checks it.
options:
  _input:
    description:
      - The options, as P(flagship.coreos.from_unit#filter) returns them.
      - Or a dictionary of sections, each one a dictionary of options. The value of an option is a string, a number, or a
        list of them for an option that is given more than once. Truth values are refused, for YAML makes them of
        different words; put them in quotes.
    type: raw
    required: true
seealso:
  - plugin: flagship.coreos.from_unit
    plugin_type: filter
  - plugin: flagship.coreos.fleet_unit
    plugin_type: module
"""

EXAMPLES = r"""
- name: Run a unit that is written as a dictionary
  flagship.coreos.fleet_unit:
    name: hello.service
    content: "{{ hello | flagship.coreos.to_unit }}"
  vars:
    hello:
      Unit:
        Description: Hello
      Service:
        Environment: [GREETING=hello, TO=you]
        ExecStart: /bin/sh -c 'while true; do echo $GREETING $TO; sleep 1; done'
      X-Fleet:
        MachineMetadata: disk=ssd

- name: Read a unit, and write its file
  flagship.coreos.fleet_unit_info:
    name: hello.service
  register: cluster

- name: Write its file
  ansible.builtin.copy:
    dest: /tmp/hello.service
    content: "{{ cluster.units[0].options | flagship.coreos.to_unit }}"
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text of the unit file.
  type: str
  sample: "[Service]\nExecStart=/bin/true\n"
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import (
    UnitError,
    UnitOption,
    check_options,
    serialise,
)
from ansible_collections.flagship.coreos.plugins.plugin_utils.kinds import kind_of


def to_unit(structure: Any) -> str:
    """The text of a unit file; see DOCUMENTATION."""
    if isinstance(structure, Mapping):
        options = list(_of_sections(structure))
    elif isinstance(structure, (list, tuple)):
        options = [_option(item) for item in structure]
    else:
        raise AnsibleFilterError(
            f"to_unit takes a list of options or a dictionary of sections and was given {kind_of(structure)}; "
            "give one of the two"
        )
    try:
        check_options(options)
    except UnitError as error:
        raise AnsibleFilterError(f"to_unit cannot write the unit file: {error}") from error
    text: str = serialise(options)
    return text


def _option(item: Any) -> UnitOption:
    if not isinstance(item, Mapping) or not {"section", "name"} <= item.keys() <= {"section", "name", "value"}:
        raise AnsibleFilterError(
            f"to_unit was given {kind_of(item)} as an option; give a dictionary of section, name and value"
        )
    return UnitOption(_text("section", item["section"]), _text("name", item["name"]), _value(item))


def _value(item: Mapping[str, Any]) -> str:
    return _text(f"the value of {item['name']}", item.get("value", ""))


def _of_sections(sections: Mapping[str, Any]) -> Iterator[UnitOption]:
    for section, options in sections.items():
        if not isinstance(options, Mapping):
            raise AnsibleFilterError(
                f"to_unit was given {kind_of(options)} as section {section}; give a dictionary of options"
            )
        for name, given in options.items():
            for value in given if isinstance(given, (list, tuple)) else [given]:
                label = f"the value of {name}"
                yield UnitOption(_text("section", section), _text("name", name), _text(label, value))


def _text(what: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise AnsibleFilterError(
            f"to_unit was given {kind_of(value)} as {what}; give a string, in quotes if YAML needs it"
        )
    return str(value)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        return {"to_unit": to_unit}
