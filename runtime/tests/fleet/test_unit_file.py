# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from flagship.fleet.unit_file import Option, UnitFileError, check, content_hash, grouped, parse, serialise
from hypothesis import given
from hypothesis import strategies as st


# Hashes computed by fleet 1.0.0's own code.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[Unit]\nDescription=Hello\n\n[Service]\nExecStart=/bin/sh -c 'sleep 1000'\n",
            "e8cd0b806ad0166fe2f046905054dd297dd61701",
        ),
        # The functional tests' hello.service, https://github.com/coreos/fleet/tree/v1.0.0/functional/fixtures/units
        (
            '[Service]\nExecStart=/bin/bash -c "while true; do echo Hello, World!; sleep 1; done"\n',
            "3750b3e9f3962a56c7582929426e9abb012754cf",
        ),
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("[A]\nb=c", "8e31b762812dd5eef6854ef462546fb777e4594b"),
        ("[Service]\nExecStart=\nExecStart=x\n", "5c0db1bcb4df2bd46079fd3137c78fb13689ca12"),
        (
            "[Unit]\nDescription=Hello\n[Service]\nExecStart=a \\\n  b \\\n c\n[Unit]\nAfter=x",
            "bac34470fbf20a9481b34533812570c2f52c4064",
        ),
        ("[Service]\r\nExecStart=a\r\n[Unit]\r\nA=b\r\n", "b06f1c751a504ed8d9d264538e546822bfde7835"),
    ],
)
def test_hash_is_fleets(text: str, expected: str) -> None:
    assert content_hash(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("free text # comment [not a section]\n[A]\nb=c\n", [("A", "b", "c")]),
        ("before [A]\nb=c\n", [("A", "b", "c")]),
        ("[A]\n# one \\\nstill a comment=1\nb=c\n", [("A", "b", "c")]),
        ("[A]\n; one \\ \nstill a comment=1\nb=c\n", [("A", "b", "c")]),
        ("[A]\n  b  =  c  \n", [("A", "b", "c")]),
        ("[A]\nb=c=d\n", [("A", "b", "c=d")]),
        ("[A]\nb=x \\\n   y\n", [("A", "b", "x \\\n   y")]),
        ("[A]\nb=x \\\n   \nc=d\n", [("A", "b", "x \\\n"), ("A", "c", "d")]),
        ("[A]\nb=x \\", [("A", "b", "x \\")]),
        ("[A]\nb=x\\\r\nc=d\r\n", [("A", "b", "x\\"), ("A", "c", "d")]),
        ("[A]\n[B]\nb=\n", [("B", "b", "")]),
        ("[two\nlines]\nb=c\n", [("two\nlines", "b", "c")]),
        ("[A]\nb=c\nb=c\n", [("A", "b", "c"), ("A", "b", "c")]),
        ("[A]\nb=\x1c\n", [("A", "b", "\x1c")]),
        ("[A]\nb=\u2003c\u00a0\n", [("A", "b", "c")]),
    ],
)
def test_parse(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(o.section, o.name, o.value) for o in parse(text)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[A]\nb\n", "unexpected newline encountered while parsing option name: line 2 reads 'b'"),
        ("[A]\nb", "unexpected newline encountered while parsing option name"),
        ("[A]\nb\r=c", "unexpected newline encountered while parsing option name"),
        ("[A\nb=c\n", "unable to find end of section: no ']' follows the '[' on line 1"),
        ("[A] b\n", "found garbage after section name A on line 1"),
        ("[A]\nb=" + "x" * 2049, "line 2 is longer than 2048 bytes"),
        ("[A]\nb=x \\\n# no comment here\nrest\n", "unexpected newline"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    with pytest.raises(UnitFileError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_serialise_groups_sections() -> None:
    options = [Option("A", "a", "1"), Option("B", "b", "2"), Option("A", "c", "")]
    assert serialise(options) == "[A]\na=1\nc=\n\n[B]\nb=2\n"
    assert serialise([]) == ""


plain = st.text(st.characters(exclude_characters="\r\n=[]#;\\", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
values = st.lists(plain, max_size=3).map(" ".join)
continued = st.lists(values.filter(bool), min_size=2, max_size=3).map(" \\\n ".join)
option_lists = st.lists(st.builds(Option, plain, plain, values | continued), max_size=12)


@given(option_lists)
def test_options_survive_their_own_text(options: list[Option]) -> None:
    check(options)
    assert parse(serialise(options)) == grouped(options)
    assert content_hash(parse(serialise(options))) == content_hash(options)


@given(st.text(alphabet="ab=[]#; \\\n\r\t", max_size=60))
def test_any_text_is_parsed_or_refused_and_normal_text_is_stable(text: str) -> None:
    try:
        options = parse(text)
    except UnitFileError:
        return
    text = serialise(options)
    try:
        again = parse(text)
    except UnitFileError:
        return
    assert serialise(parse(serialise(again))) == serialise(again)


@pytest.mark.parametrize("value", ["a\nb", "a\nb=c", "a\n[B]\nb=c"])
def test_check_refuses_what_no_file_can_hold(value: str) -> None:
    with pytest.raises(UnitFileError):
        check([Option("A", "a", value), Option("A", "z", "1")])
