# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdClient, EtcdError
from ansible_collections.flagship.coreos.plugins.modules.etcd_key_info import read
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Has /a with "1" written twice, /a/2 with "two", /b with bytes that are no text, and /c gone."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        with EtcdClient(params(server)) as client:
            first = client.put_if_unchanged("/a", b"0", 0, 0)
            client.put_if_unchanged("/b", b"\xff", 0, 0)
            client.put_if_unchanged("/a/2", b'{"n": 2}', 0, 0)
            client.put_if_unchanged("/a", b"1", 0, first)
            gone = client.put_if_unchanged("/c", b"x", 0, 0)
            client.delete_if_unchanged("/c", gone)
        yield server


def params(etcd: EtcdServer, **options: Any) -> dict[str, Any]:
    names = ("ca_cert", "client_cert", "client_key", "user", "password", "key", "prefix")
    fixed = {"value_type": "text", "keys_only": False, "limit": 0, "revision": 0}
    order = {"sort_by": "key", "sort_order": "ascending"}
    return {**dict.fromkeys(names), **fixed, **order, "endpoints": [etcd.url], "timeout": 5.0, **options}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"key": "/a"}, ["/a"]),
        ({"key": "/"}, []),
        ({"prefix": "/a"}, ["/a", "/a/2"]),
        ({"prefix": "/a/"}, ["/a/2"]),
        ({"prefix": ""}, ["/a", "/a/2", "/b"]),
        ({"prefix": "", "sort_order": "descending"}, ["/b", "/a/2", "/a"]),
        ({"prefix": "", "sort_by": "revision"}, ["/b", "/a/2", "/a"]),
        ({"prefix": "", "sort_by": "create_revision"}, ["/a", "/b", "/a/2"]),
        ({"prefix": "", "sort_by": "version", "sort_order": "descending", "limit": 1}, ["/a"]),
        ({"prefix": "", "limit": 2}, ["/a", "/a/2"]),
        ({"prefix": "", "revision": 3}, ["/a", "/b"]),
        ({"prefix": "/none"}, []),
    ],
)
def test_which_keys(etcd: EtcdServer, options: dict[str, Any], keys: list[str]) -> None:
    found = read(params(etcd, **options))
    assert [entry["key"] for entry in found["entries"]] == keys
    assert found["count"] == (3 if options.get("limit") else len(keys)) and found["revision"] == 7


def test_what_is_said_of_a_key(etcd: EtcdServer) -> None:
    (entry,) = read(params(etcd, key="/a"))["entries"]
    assert entry == {"key": "/a", "value": "1", "revision": 5, "create_revision": 2, "version": 2, "lease": 0}
    (entry,) = read(params(etcd, key="/a", keys_only=True))["entries"]
    assert "value" not in entry and entry["revision"] == 5
    assert read(params(etcd, key="/a", revision=2))["entries"][0]["value"] == "0"


@pytest.mark.parametrize(
    ("key", "value_type", "value"),
    [("/b", "text", "\\xff"), ("/b", "base64", "/w=="), ("/a/2", "json", {"n": 2}), ("/a/2", "text", '{"n": 2}')],
)
def test_types_of_values(etcd: EtcdServer, key: str, value_type: str, value: Any) -> None:
    assert read(params(etcd, key=key, value_type=value_type))["entries"][0]["value"] == value


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"key": ""}, "name of the key is empty"),
        ({"key": "/a", "limit": -1}, "limit -1 is negative"),
        ({"key": "/a", "revision": 2**63}, "revision .* too large"),
        ({"key": "/a", "revision": 999}, "has not reached that revision"),
        ({"key": "/b", "value_type": "json"}, "^/b: its value in etcd is not JSON"),
    ],
)
def test_bad_arguments(etcd: EtcdServer, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected):
        read(params(etcd, **options))


def test_a_compacted_revision_is_explained(etcd: EtcdServer) -> None:
    etcd.etcdctl("compact", "3")
    with pytest.raises(EtcdError, match="no longer has that revision"):
        read(params(etcd, key="/a", revision=2))
