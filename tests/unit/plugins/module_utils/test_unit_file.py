# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils import unit_file
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, UnitOption
from hypothesis import given
from hypothesis import strategies as st

HELLO = "[Unit]\nDescription=Hello\n\n[Service]\nExecStart=/bin/sh -c 'sleep 1000'\n"

# Hashes that fleet 1.0.0 itself computed.
VECTORS = [
    (HELLO, "e8cd0b806ad0166fe2f046905054dd297dd61701"),
    ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("[A]\nb=c", "8e31b762812dd5eef6854ef462546fb777e4594b"),
    ("[Service]\nExecStart=\nExecStart=x\n", "5c0db1bcb4df2bd46079fd3137c78fb13689ca12"),
    (
        "[Unit]\nDescription=Hello\n[Service]\nExecStart=a \\\n  b \\\n c\n[Unit]\nAfter=x",
        "bac34470fbf20a9481b34533812570c2f52c4064",
    ),
    ("[Service]\r\nExecStart=a\r\n[Unit]\r\nA=b\r\n", "b06f1c751a504ed8d9d264538e546822bfde7835"),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS)
def test_hash_equals_the_one_of_fleet(text: str, expected: str) -> None:
    assert unit_file.content_hash(unit_file.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", []),
        ("[Unit]", []),
        ("words before the first section\n[A]\nb=c", [("A", "b", "c")]),
        ("# [A]\n; [B]\n[C]\nd=e", [("C", "d", "e")]),
        ("[A]\n  b = c d \n\n\t e=f", [("A", "b", "c d"), ("A", "e", "f")]),
        ("[A]\nb=", [("A", "b", "")]),
        ("[A]\nb=c\n[D]\n[A]\nb=c", [("A", "b", "c"), ("A", "b", "c")]),
        ("[A]\nb=c=d", [("A", "b", "c=d")]),
        ("[A]\n# comment \\\nstill = comment\nb=c", [("A", "b", "c")]),
        ("[A]\n# comment \\ \nstill = comment\nb=c", [("A", "b", "c")]),
        ("[A]\nb=c \\\n# kept\nd=e", [("A", "b", "c \\\n# kept"), ("A", "d", "e")]),
        ("[A]\nb=c \\\n   \nd=e", [("A", "b", "c \\\n"), ("A", "d", "e")]),
        ("[A]\nb=c \\", [("A", "b", "c \\")]),
        ("[A\nB]\nc=d", [("A\nB", "c", "d")]),
    ],
)
def test_parse(text: str, options: list[tuple[str, str, str]]) -> None:
    assert unit_file.parse(text) == options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Unit]\nDescription=x\nExecStart\n", "line 3: 'ExecStart' is neither"),
        ("[Unit]\nlast", "line 2: 'last' is neither"),
        ("\n[Unit\nA=b\n", "line 2: the section header has no closing bracket"),
        ("[Unit] x\n", "line 1: 'x' follows the section header"),
    ],
)
def test_parse_error_names_the_line(text: str, expected: str) -> None:
    with pytest.raises(UnitError, match="^" + expected):
        unit_file.parse(text)


@given(st.text(alphabet="[]=\\#; \tab\n\r\x1c\x85"))
def test_what_was_parsed_is_written_and_read_back_with_the_same_hash(text: str) -> None:
    try:
        options = unit_file.parse("[S]\n" + text)
    except UnitError:
        return
    if any(option.value.endswith("\\") for option in options):
        with pytest.raises(UnitError, match="cannot be written"):
            unit_file.check_options(options)
        return
    written = unit_file.serialise(options)
    assert sorted(unit_file.parse(written)) == sorted(options)
    assert unit_file.serialise(unit_file.parse(written)) == written


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.service", ("a", None, "service")),
        ("foo@a@b.service", ("foo", "a@b", "service")),
        ("nginx@.service", ("nginx", "", "service")),
        ("a.b.timer", ("a.b", None, "timer")),
        (r"dev-disk\x2d1.mount", (r"dev-disk\x2d1", None, "mount")),
    ],
)
def test_good_names(name: str, parts: tuple[str, str | None, str]) -> None:
    assert unit_file.check_name(name) == parts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "is empty"),
        ("a" * 250 + ".service", "more than 256 bytes"),
        ("a/b.service", "contains '/'"),
        ("ä.service", "contains 'ä'"),
        ("noservice", "does not end in a type"),
        ("a.", "does not end in a type"),
        ("a.target", "does not end in a type"),
        (".service", "nothing before its type"),
        ("@1.service", "nothing before the @"),
        ("a@1.mount", "has an @"),
    ],
)
def test_bad_names(name: str, expected: str) -> None:
    with pytest.raises(UnitError, match=expected):
        unit_file.check_name(name)


def x_fleet(*pairs: tuple[str, str]) -> list[UnitOption]:
    return [UnitOption("X-Fleet", name, value) for name, value in pairs]


@pytest.mark.parametrize(
    "options",
    [
        unit_file.parse(HELLO),
        x_fleet(("Conflicts", "nginx@*.service")),
        x_fleet(("MachineOf", "a.service"), ("Conflicts", "b*.service"), ("MachineMetadata", '"a=b" "c=d"')),
        x_fleet(("MachineOf", "nginx@1.service"), ("Conflicts", "nginx@[^1].service")),
        x_fleet(("Global", "false"), ("MachineID", "abc")),
        x_fleet(("Global", "true"), ("MachineMetadata", "role=web"), ("X-Conflicts", "a.service")),
    ],
)
def test_good_options(options: list[UnitOption]) -> None:
    unit_file.check_options(options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "no option"),
        ([UnitOption("A", "b", "c\nd")], "option 'b' in .A. cannot be written"),
        ([UnitOption("A", "b", " c")], "cannot be written"),
        ([UnitOption("A]", "b", "c")], "cannot be written"),
        ([UnitOption("A", "#b", "c")], "cannot be written"),
        ([UnitOption("x-fleet", "Global", "true")], r"spell it \[X-Fleet\]"),
        (x_fleet(("MachineMetdata", "a=b")), "did you mean MachineMetadata.*valid are MachineID, MachineOf"),
        (x_fleet(("Zzz", "a")), "unknown option 'Zzz'"),
        (x_fleet(("MachineID", "a"), ("MachineOf", "b.service")), "MachineID cannot be used with MachineOf"),
        (x_fleet(("X-ConditionMachineID", "a"), ("X-Conflicts", "b")), "MachineID cannot be used with Conflicts"),
        (x_fleet(("MachineID", "a"), ("Global", "true")), "MachineID cannot be used with Global"),
        (x_fleet(("MachineID", "a"), ("Replaces", "b")), "MachineID cannot be used with Replaces"),
        (x_fleet(("Global", "Yes"), ("MachineOf", "b.service")), "Global cannot be used with MachineOf"),
        (x_fleet(("Global", "on"), ("Replaces", "b")), "Global cannot be used with Replaces"),
        (x_fleet(("Conflicts", "a"), ("Replaces", "b")), "Conflicts cannot be used with Replaces"),
        (x_fleet(("MachineMetadata", '"a=b" c=d')), "drop it silently"),
        (x_fleet(("MachineMetadata", "a=")), "drop it silently"),
        (x_fleet(("MachineMetadata", "!=a")), "drop it silently"),
        (x_fleet(("MachineMetadata", "a=b||c")), "drop it silently"),
        (
            x_fleet(("MaxPerMachine", "nginx@*.service")),
            "MaxPerMachine='nginx@[*].service'.*write a pattern of unit names",
        ),
        (x_fleet(("MaxPerMachine", "nginx@*.service 0")), "write a pattern of unit names and a number from 1 on"),
        (x_fleet(("Spread", "zone a b")), "Spread='zone a b'.*write the key of a metadata"),
        (x_fleet(("WhenCutOff", "stop")), "WhenCutOff='stop'.*write keep, or stop after a time"),
        (x_fleet(("MachineOf", "a.service"), ("Conflicts", "b a*")), "matched by Conflicts=a[*]"),
        (x_fleet(("MachineOf", "a.service"), ("Replaces", "?.service")), "matched by Replaces"),
    ],
)
def test_bad_options(options: list[UnitOption], expected: str) -> None:
    with pytest.raises(UnitError, match=expected):
        unit_file.check_options(options)


def test_the_engines_own_options() -> None:
    unit_file.check_options(
        x_fleet(
            ("MachineMetadata", "zone!=a|b"),
            ("MaxPerMachine", "nginx@*.service 2"),
            ("Spread", "zone"),
            ("Spread", "machine nginx@*.service"),
            ("WhenCutOff", "stop after 1m30s"),
        )
    )


@pytest.mark.parametrize(
    ("zone", "expected"), [({}, True), ({"zone": "a"}, False), ({"zone": "b"}, False), ({"zone": "c"}, True)]
)
def test_negated_metadata(zone: dict[str, str], expected: bool) -> None:
    options = x_fleet(("MachineMetadata", '"zone!=a" "zone!=b|x"'), ("MachineMetadata", "disk=ssd|nvme"))
    assert unit_file.metadata_matches(options, {"disk": "nvme", **zone}) is expected
    assert not unit_file.metadata_matches(options, {"disk": "hdd", **zone})


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [({}, False), ({"region": "eu"}, False), ({"region": "eu", "disk": "ssd"}, True), ({"region": "us"}, False)],
)
def test_metadata_of_one_key_are_alternatives(metadata: dict[str, str], expected: bool) -> None:
    options = x_fleet(("MachineMetadata", '"region=eu" "region=asia"'), ("X-ConditionMachineMetadata", "disk=ssd"))
    assert unit_file.metadata_matches(options, metadata) is expected
