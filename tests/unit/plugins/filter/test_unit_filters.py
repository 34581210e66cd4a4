# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flagship.coreos.plugins.filter.from_unit import FilterModule as FromUnit
from ansible_collections.flagship.coreos.plugins.filter.from_unit import from_unit
from ansible_collections.flagship.coreos.plugins.filter.to_unit import FilterModule as ToUnit
from ansible_collections.flagship.coreos.plugins.filter.to_unit import to_unit
from hypothesis import assume, given
from hypothesis import strategies as st

WORDS = st.text("abc XYZ0=-@%/.#;[]\\\"'é", max_size=12)
VALUES = st.lists(WORDS, min_size=1, max_size=3).map("\\\n".join)
OPTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "section": st.sampled_from(["Unit", "Service", "Install"]),
            "name": st.sampled_from(["After", "ExecStart", "Environment"]),
            "value": VALUES,
        }
    ),
    min_size=1,
    max_size=8,
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["[Unit]", "[Service]", "", "# a comment", "; another \\", "ExecStart=", " Spaced = out "]),
        st.builds("{}={}".format, st.sampled_from(["After", "ExecStart"]), WORDS),
    ),
    max_size=12,
).map(lambda lines: "\n".join(["[Unit]", "Description=first", *lines]))


def by_section(options: list[dict[str, str]]) -> list[dict[str, str]]:
    sections = list(dict.fromkeys(option["section"] for option in options))
    return sorted(options, key=lambda option: sections.index(option["section"]))


@given(OPTIONS)
def test_options_come_back(options: list[dict[str, str]]) -> None:
    try:
        text = to_unit(options)
    except AnsibleFilterError:
        assume(False)
    assert from_unit(text) == by_section(options)


@given(TEXTS)
def test_a_text_comes_back_in_its_canonical_form(text: str) -> None:
    try:
        options = from_unit(text)
        canonical = to_unit(options)
    except AnsibleFilterError:
        assume(False)
    assert from_unit(canonical) == by_section(options)
    assert to_unit(from_unit(canonical)) == canonical


def test_a_dictionary_of_sections() -> None:
    structure = {"Unit": {"Description": "a"}, "Service": {"ExecStart": ["", "/bin/true"], "TimeoutSec": 30}}
    text = "[Unit]\nDescription=a\n\n[Service]\nExecStart=\nExecStart=/bin/true\nTimeoutSec=30\n"
    assert ToUnit().filters()["to_unit"](structure) == text
    assert to_unit(FromUnit().filters()["from_unit"](text)) == text


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (None, "was given nothing"),
        ("[Unit]", "was given a string"),
        ([], "there is no option"),
        ({"Service": "ExecStart=/bin/true"}, "was given a string as section Service"),
        ({"Service": {"RemainAfterExit": True}}, "was given a truth value as the value of RemainAfterExit"),
        ({"Service": {"ExecStart": {}}}, "was given a dictionary of nothing as the value of ExecStart"),
        ({"X-Fleet": {"Global": "true", "MachineOf": "a.service"}}, "Global cannot be used with MachineOf"),
        (["ExecStart=/bin/true"], "was given a string as an option"),
        ([{"section": "Service", "name": "A", "valeu": "b"}], "a dictionary of section, name, valeu as an option"),
        ([{"section": "Service", "name": "A", "value": "b\nc"}], "cannot be written in a unit file"),
        ([{"section": "Service", "name": 1.5, "value": None}], "was given nothing as the value of 1.5"),
    ],
)
def test_structures_that_are_no_unit(structure: Any, expected: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        to_unit(structure)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, "was given nothing"), ([], "was given a list"), ("[Unit]\nAfter", "line 2: 'After'")]
)
def test_texts_that_are_no_unit(text: Any, expected: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        from_unit(text)
    assert expected in str(caught.value)
