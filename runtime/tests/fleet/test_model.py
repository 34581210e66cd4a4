# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from flagship.fleet.globs import glob_matches
from flagship.fleet.model import Machine, ModelError, Unit, check_desired_state, check_name, name_parts
from flagship.fleet.requirements import is_global, requirements, stop_when_cut_off, validate, words
from flagship.fleet.unit_file import Option, parse


@pytest.mark.parametrize("name", ["a.service", "foo@a@b.service", "x-y_z:1.timer", "data-log.mount", "a\\x2db.path"])
def test_good_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "a.", ".service", "a.foo", "a b.service", "ä.service", "@1.service", "a@1.mount", "a/b.service"),
        *("a.scope", "a.snapshot", "a.busname"),
    ],
)
def test_bad_names_are_refused_with_the_name(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_name(name)
    assert repr(name[:40])[:-1] in str(caught.value)


def test_a_name_has_at_most_256_bytes() -> None:
    check_name("x" * 248 + ".service")
    with pytest.raises(ModelError, match="must have 1 to 256 bytes"):
        check_name("x" * 249 + ".service")


def test_name_parts_and_specifiers() -> None:
    parts = name_parts("web@a@b.service")
    assert (parts.prefix, parts.instance, parts.stem, parts.is_template) == ("web", "a@b", "web@a@b", False)
    assert parts.expand("%n|%N|%p|%i|%H") == "web@a@b.service|web@a@b|web|a@b|%H"
    assert name_parts("web@.service").is_template
    assert name_parts("web.service").instance is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=b", ["a=b"]),
        ("a=b c=d", ["a=b c=d"]),
        ('"a=b" "c=d"', ["a=b", "c=d"]),
        ('"a=b"  "c=d"', ["a=b", "", "c=d"]),
        ('"a b" "c"', ["a b", "c"]),
        ('"a=b" c=d', ['"a=b" c=d']),
        ('"a"\t"b"', ["a\tb"]),
        ("", [""]),
    ],
)
def test_words(value: str, expected: list[str]) -> None:
    assert words(value) == expected


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("web@*.service", "web@1.service", True),
        ("*", "a.service", True),
        ("a*", "a/b", False),
        ("?.service", "a.service", True),
        ("?.service", "ab.service", False),
        ("[a-c].service", "b.service", True),
        ("[^a-c].service", "b.service", False),
        ("[^a-c].service", "d.service", True),
        ("[c-a].service", "b.service", False),
        ("[^c-a].service", "b.service", True),
        (r"\*.service", "*.service", True),
        (r"\*.service", "a.service", False),
        (r"[\]].service", "].service", True),
        ("[", "[", False),
        ("[]a]", "a", False),
        ("[a-]", "a", False),
        ("a\\", "a\\", False),
        ("a.service", "aXservice", False),
        ("", "", True),
    ],
)
def test_globs_are_gos(glob: str, name: str, expected: bool) -> None:
    assert glob_matches(glob, name) is expected


def unit(name: str, *lines: str, desired: str = "launched") -> Unit:
    return Unit(name, parse("[X-Fleet]\n" + "\n".join(lines)), check_desired_state(desired))


def test_requirements() -> None:
    u = unit(
        "web@2.service",
        "MachineMetadata=region=a",
        "X-ConditionMachineMetadata=region=b",
        'MachineMetadata="disk=ssd" "role=%i"',
        "MachineOf=db@%i.service",
        "Conflicts=web@*.service other.service",
        "X-Conflicts=%p-old.service",
        "X-ConditionMachineBootID=old",
        "MachineID=%i",
    )
    needs = requirements(u.name, u.options)
    assert needs.metadata == (
        ("disk", frozenset({"ssd"})),
        ("region", frozenset({"a", "b"})),
        ("role", frozenset({"2"})),
    )
    assert needs.machine_of == ("db@2.service",)
    assert needs.conflicts == ("web@*.service", "other.service", "web-old.service")
    assert needs.machine_id == "2"
    assert not needs.is_global
    assert needs.accepts_metadata({"disk": "ssd", "region": "b", "role": "2"})
    assert not needs.accepts_metadata({"disk": "ssd", "region": "c", "role": "2"})
    assert not needs.accepts_metadata({"region": "a", "role": "2"})


def test_negated_and_alternative_metadata() -> None:
    needs = requirements(
        "a.service",
        parse(
            '[X-Fleet]\nMachineMetadata="zone!=a" "zone!=b|c"\nMachineMetadata=disk=ssd|nvme\nMachineMetadata=disk=ram'
        ),
    )
    assert needs.accepts_metadata({"disk": "nvme"}) and needs.accepts_metadata({"disk": "ram", "zone": "d"})
    for refused in ({"disk": "hdd"}, {"zone": "d"}, *({"disk": "ssd", "zone": zone} for zone in "abc")):
        assert not needs.accepts_metadata(refused)


def test_limits_and_spread() -> None:
    u = unit("web@2.service", "MaxPerMachine=%p@*.service  2", "Spread=zone", "Spread=machine web*")
    validate(u)
    needs = requirements(u.name, u.options)
    assert needs.limits == (("web@*.service", 2),)
    assert needs.spread == (("zone", "web@*.service"), ("machine", "web*"))
    assert requirements("web@.service", u.options).spread[0] == ("zone", "web@*.service")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        (["WhenCutOff=keep"], None),
        (["WhenCutOff=stop after 30s"], 30.0),
        (["WhenCutOff=stop after 1m30s"], 90.0),
        (["WhenCutOff=stop after 30s", "WhenCutOff=keep"], None),
        (["WhenCutOff=stop at once"], None),
    ],
)
def test_when_cut_off(lines: list[str], seconds: float | None) -> None:
    assert stop_when_cut_off(unit("a.service", *lines).options) == seconds


def test_the_last_global_decides_and_leaves_only_metadata_and_conflicts() -> None:
    u = unit("a.service", "Global=no", "MachineOf=b.service", "MachineID=1", "Replaces=c", "Conflicts=d", "Global=YES")
    assert is_global(u.options)
    needs = requirements(u.name, u.options)
    assert (needs.is_global, needs.machine_of, needs.machine_id, needs.replaces) == (True, (), "", ())
    assert needs.conflicts == ("d",)
    assert not is_global(unit("a.service", "Global=true", "Global=false").options)


def test_machine_id_is_full_or_its_first_eight() -> None:
    needs = requirements("a.service", parse("[X-Fleet]\nMachineID=12345678"))
    assert needs.accepts_machine_id("1234567890abcdef")
    assert not needs.accepts_machine_id("1234567990abcdef")
    assert not requirements("a.service", parse("[X-Fleet]\nMachineID=123456789")).accepts_machine_id("1234567890")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["MachineOff=a.service"], 'unrecognized requirement in [X-Fleet] section: "MachineOff"'),
        (["MachineMetadata=region"], "MachineMetadata of unit a.service has the word 'region'"),
        (["MachineMetadata=a=b c=d"], "MachineMetadata of unit a.service has the word 'a=b c=d'"),
        (
            ["MachineMetadata=a!="],
            "MachineMetadata of unit a.service has the word 'a!='; write key=value, key!=value or",
        ),
        (["MachineMetadata=!=a"], "MachineMetadata of unit a.service has the word '!=a'"),
        (["MachineMetadata=a=b||c"], "MachineMetadata of unit a.service has the word 'a=b||c'"),
        (["MaxPerMachine=2"], "MaxPerMachine of unit a.service is '2'; write a pattern of unit names and a number"),
        (["MaxPerMachine=web@* 0"], "MaxPerMachine of unit a.service is 'web@* 0'"),
        (["MaxPerMachine=web@* b* 1"], "MaxPerMachine of unit a.service is 'web@* b* 1'"),
        (["MaxPerMachine=[a 1"], "MaxPerMachine of unit a.service is '[a 1'"),
        (["Spread=zone"], "Spread of unit a.service is 'zone'; write the key of a metadata or machine"),
        (["Spread="], "Spread of unit a.service is ''"),
        (["Spread=zone [a"], "Spread of unit a.service is 'zone [a'"),
        (["WhenCutOff=stop"], "WhenCutOff of unit a.service is 'stop'; write keep, or stop after a time"),
        (["WhenCutOff=stop after soon"], "WhenCutOff of unit a.service is 'stop after soon'; write a duration"),
        (["MachineID="], "MachineID of unit a.service is empty"),
        (["MachineID=%i"], "MachineID of unit a.service is empty, for it has no instance that %i could stand for"),
        (['MachineOf="b.service"  "c.service"'], "MachineOf of unit a.service is empty"),
        (["Replaces="], "Replaces of unit a.service is empty"),
        (["MachineMetadata="], "MachineMetadata of unit a.service has the word ''"),
        (["Conflicts=[a"], "malformed pattern '[a'"),
        (["MachineOf=b.service", "Conflicts=b*"], 'peer "b.service" matches conflict "b*"'),
        (["MachineOf=b.service", "Replaces=b*"], 'peer "b.service" matches replace "b*"'),
        (["MachineID=1", "MachineOf=b.service"], "MachineID cannot be used with Peers"),
        (["MachineID=1", "Conflicts=b.service"], "MachineID cannot be used with Conflicts"),
        (["MachineID=1", "Global=true"], "MachineID cannot be used with Global"),
        (["MachineID=1", "Replaces=b.service"], "MachineID cannot be used with Replaces"),
        (["Global=true", "MachineOf=b.service"], "Global cannot be used with Peers"),
        (["Global=true", "Replaces=b.service"], "Global cannot be used with Replaces"),
        (["Conflicts=c.service", "Replaces=b.service"], "Conflicts cannot be used with Replaces"),
    ],
)
def test_validation_says_what_is_wrong(lines: list[str], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        validate(unit("a.service", *lines))
    assert message in str(caught.value)


def test_templates_are_stored_but_never_activated() -> None:
    validate(unit("web@.service", "Conflicts=web@*.service", desired="inactive"))
    validate(unit("web@.service", "MachineID=%i", desired="inactive"))
    validate(unit("web@1.service", "MachineID=%i"))
    with pytest.raises(ModelError, match=r"web@\.service is a template and cannot be launched"):
        validate(unit("web@.service"))


def test_validation_covers_the_text() -> None:
    with pytest.raises(ModelError, match=r"unit a\.service cannot be written as a unit file"):
        validate(Unit("a.service", (Option("Unit", "Description", "a\nb=c"),)))


def test_machine_overlay() -> None:
    machine = Machine("m", metadata={"a": "1", "b": "2"})
    assert machine.with_overlay({"b": "", "c": "3"}).metadata == {"a": "1", "c": "3"}
