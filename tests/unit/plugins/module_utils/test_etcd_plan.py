# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import MAX_OPERATIONS, Change, prefix_end
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import (
    ConflictError,
    EtcdError,
    KeyValue,
    RevisionError,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_plan import (
    MAX_BATCH_BYTES,
    Plan,
    Wanted,
    batches,
    check_expected,
    check_task,
    decide,
    diff_of_key,
    diff_of_keys,
    wanted_keys,
)
from hypothesis import given
from hypothesis import strategies as st

FOUND = KeyValue(b"x", 3, 4, 0)
LEASED = KeyValue(b"x", 3, 4, 77)
DATA = KeyValue(b'{"a":1}', 3, 4, 0)


def params(**options: Any) -> dict[str, Any]:
    names = ("key", "value", "mapping", "prefix", "lease_ttl", "compare_revision", "compare_value")
    fixed = {"value_type": "text", "state": "present", "purge": False, "confirm_removal": False}
    return {**dict.fromkeys(names), **fixed, **options}


@pytest.mark.parametrize(
    ("wanted", "found", "granted_ttl", "plan"),
    [
        (Wanted(b"x"), None, 0, Plan("put")),
        (Wanted(b"x"), FOUND, 0, Plan("")),
        (Wanted(b"y"), FOUND, 0, Plan("put")),
        (Wanted(b"x"), LEASED, 0, Plan("")),
        (Wanted(b"x", 60), None, 0, Plan("put", new_lease=True)),
        (Wanted(b"x", 60), FOUND, 0, Plan("put", new_lease=True)),
        (Wanted(b"x", 60), LEASED, 60, Plan("", refresh=77)),
        (Wanted(b"y", 60), LEASED, 60, Plan("put", refresh=77)),
        (Wanted(b"x", 60), LEASED, 30, Plan("put", new_lease=True)),
        (Wanted(b"x", 0), LEASED, 60, Plan("put")),
        (Wanted(b"x", 0), FOUND, 0, Plan("")),
        (Wanted(b'{"a": 1}', None, "json"), DATA, 0, Plan("")),
        (Wanted(b'{"a": 1}', None, "text"), DATA, 0, Plan("put")),
        (Wanted(None), FOUND, 0, Plan("delete")),
        (Wanted(None), None, 0, Plan("")),
    ],
)
def test_decide(wanted: Wanted, found: KeyValue | None, granted_ttl: int, plan: Plan) -> None:
    assert decide(wanted, found, granted_ttl) == plan


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"key": "", "value": "x"}, "name is empty"),
        ({"key": "/a"}, "missing: value"),
        ({"key": "/a", "value": "x", "lease_ttl": -1}, "lease_ttl -1 is negative"),
        ({"key": "/a", "value": "x", "lease_ttl": 10**10}, "lease_ttl .* too large"),
        ({"key": "/a", "value": "x", "compare_revision": -1}, "compare_revision -1 is negative"),
        ({"key": "/a", "value": "x", "compare_revision": 2**63}, "too large"),
        ({"key": "/a", "value": "x", "prefix": "/"}, "give key or prefix"),
        ({"key": "/a", "value": "x", "purge": True}, "set prefix"),
        ({"mapping": {"/a": "x"}, "value": "x"}, "value is for one key"),
        ({"mapping": {"/a": "x"}, "compare_revision": 0}, "compare_revision is for one key"),
        ({"mapping": {"/a": "x"}, "compare_value": "y"}, "compare_value is for one key"),
        ({"mapping": {"": "x"}}, "without a name"),
        ({"mapping": {"/a": "x"}, "purge": True}, "set prefix"),
        ({"mapping": {"/a": "x"}, "prefix": "/a"}, "set purge, or leave prefix out"),
        ({"mapping": {"/b": "x"}, "prefix": "/a/", "purge": True}, "/b does not begin with the prefix /a/"),
        ({"mapping": {}, "prefix": "/a/", "purge": True}, "the mapping is empty, so purge .* set confirm_removal"),
        ({"mapping": {"/a": "x"}, "prefix": "", "purge": True}, "prefix is empty"),
        ({"mapping": {"/a": "x"}, "prefix": "/", "state": "absent"}, "give one of them"),
        ({"prefix": "/a/", "state": "absent"}, "every key that begins with /a/; set confirm_removal"),
        ({"prefix": "", "state": "absent", "confirm_removal": True}, "prefix is empty"),
        ({"prefix": "/a/", "state": "absent", "confirm_removal": True, "purge": True}, "purge belongs"),
        ({"prefix": "/a/"}, "set purge"),
        ({"prefix": "/a/", "purge": True}, "give mapping"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        check_task(params(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"key": "/a", "value": ""},
        {"key": "/a", "state": "absent", "lease_ttl": 5, "value": "x"},
        {"key": "/a", "value": "x", "compare_revision": 0, "compare_value": "x", "lease_ttl": 0},
        {"mapping": {}},
        {"mapping": {"/a": None}, "state": "absent"},
        {"mapping": {"/a/b": "x"}, "prefix": "/a/", "purge": True},
        {"mapping": {}, "prefix": "/a/", "purge": True, "confirm_removal": True},
        {"prefix": "/a/", "state": "absent", "confirm_removal": True},
    ],
)
def test_what_can_be_meant(options: dict[str, Any]) -> None:
    check_task(params(**options))


def test_wanted_keys() -> None:
    assert wanted_keys(params(key="/a", value="x", lease_ttl=5)) == {"/a": Wanted(b"x", 5, "text")}
    assert wanted_keys(params(mapping={"/a": 1, 2: "y"})) == {"/a": Wanted(b"1"), "2": Wanted(b"y")}
    assert wanted_keys(params(mapping={"/a": {}}, state="absent")) == {"/a": Wanted(None)}
    assert wanted_keys(params(prefix="/a", state="absent")) == {}
    with pytest.raises(EtcdError, match=r"^/b: its value is none"):
        wanted_keys(params(mapping={"/a": "x", "/b": None}))


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        ({"compare_revision": 0}, FOUND, "has revision 4 but it was expected not to exist"),
        ({"compare_revision": 5}, FOUND, "has revision 4 but revision 5 was expected"),
        ({"compare_revision": 5}, None, "does not exist but revision 5"),
        ({"compare_value": "y"}, FOUND, "has another value than compare_value, since revision 4"),
        ({"compare_value": "y"}, None, "does not exist but compare_value"),
        ({"compare_value": "[]", "value_type": "json"}, DATA, "has another value"),
    ],
)
def test_a_key_that_is_not_as_expected(options: dict[str, Any], found: KeyValue | None, expected: str) -> None:
    with pytest.raises(ConflictError, match=expected) as caught:
        check_expected(params(key="/a", **options), found)
    assert caught.value.found == found
    assert isinstance(caught.value, RevisionError) == ("compare_revision" in options)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, None),
        ({"compare_revision": 0}, None),
        ({"compare_revision": 4, "compare_value": "x"}, FOUND),
        ({"compare_value": {"a": 1}, "value_type": "json"}, DATA),
    ],
)
def test_a_key_that_is_as_expected(options: dict[str, Any], found: KeyValue | None) -> None:
    check_expected(params(key="/a", **options), found)


@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 5000)), max_size=300))
def test_batches_keep_all_changes_in_order_and_below_the_limits(sizes: list[tuple[int, int]]) -> None:
    changes = [Change("k" * name, b"x" * value, 0, 0) for value, name in sizes]
    made = list(batches(changes))
    assert [change for batch in made for change in batch] == changes
    for batch in made:
        assert 0 < len(batch) <= MAX_OPERATIONS < 128
        assert len(batch) == 1 or sum(len(change.value or b"") for change in batch) <= MAX_BATCH_BYTES
    small = all(3 * name + value < 1000 for value, name in sizes)
    assert not small or len(made) == -(-len(changes) // MAX_OPERATIONS)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("", b"\0"), ("/a/", b"/a0"), ("a\udcff", b"b"), ("\udcff", b"\0"), ("é", b"\xc3\xaa")],
)
def test_prefix_end(prefix: str, end: bytes) -> None:
    assert prefix_end(prefix) == end


@given(st.binary(min_size=1, max_size=4), st.binary(max_size=4))
def test_prefix_end_covers_just_the_prefix(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix.decode("utf-8", "surrogateescape"))
    inside = key >= prefix and (end == b"\0" or key < end)
    assert inside == (key.startswith(prefix))


def test_diffs() -> None:
    created = diff_of_key("/a", Wanted(b"x", 60), None, 0)
    assert created == {"before_header": "/a", "after_header": "/a", "before": "", "after": "# lease_ttl: 60\nx\n"}
    removed = diff_of_key("/b", Wanted(None), FOUND, 0)
    assert diff_of_keys("/", [created, removed]) == {
        "before_header": "/",
        "after_header": "/",
        "before": "/b:\nx\n",
        "after": "/a:\n# lease_ttl: 60\nx\n",
    }
