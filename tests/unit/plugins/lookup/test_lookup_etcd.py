# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.flagship.coreos.plugins.lookup.etcd import LookupModule, connection, decoded
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdError
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer


class Lookup(LookupModule):
    """The plugin with options that ansible-core would take from the documentation."""

    def set_options(self, var_options: Any = None, direct: Any = None) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password", "default")
        self.given = {**dict.fromkeys(names), "timeout": 5.0, "prefix": False, "json": False, **direct}

    def get_options(self) -> dict[str, Any]:
        return self.given


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        server.etcdctl("put", "/a", '{"n": 1}')
        server.etcdctl("put", "/a/b", "[]")
        server.etcdctl("put", "/empty", "")
        yield server


def look_up(*terms: Any, **options: Any) -> list[Any]:
    return Lookup().run(list(terms), {}, **options)


@pytest.mark.parametrize(
    ("terms", "options", "expected"),
    [
        (["/a", "/empty"], {}, ['{"n": 1}', ""]),
        (["/a", "/a/b"], {"json": True}, [{"n": 1}, []]),
        (["/a", "/none"], {"default": "x"}, ['{"n": 1}', "x"]),
        (["/none"], {"default": None}, [None]),
        (["/a"], {"prefix": True}, [{"/a": '{"n": 1}', "/a/b": "[]"}]),
        (["/a/", "/none"], {"prefix": True, "json": True}, [{"/a/b": []}, {}]),
        (["/none"], {"prefix": True, "default": "x"}, ["x"]),
        ([], {}, []),
    ],
)
def test_what_is_found(etcd: EtcdServer, terms: list[str], options: dict[str, Any], expected: list[Any]) -> None:
    assert look_up(*terms, endpoints=["http://127.0.0.1:1", etcd.url], **options) == expected


@pytest.mark.parametrize(
    ("terms", "options", "expected"),
    [
        (["/none"], {}, "key /none: it does not exist; set it"),
        (["/empty"], {"json": True}, "key /empty: its value in etcd is not JSON"),
        ([""], {}, "name of the key is empty"),
        ([5], {}, "5 is not text"),
        (["/a"], {"timeout": 0}, "not above zero"),
        (["/a"], {"endpoints": ["core01"]}, "is not understood"),
        (["/a"], {"endpoints": ["http://127.0.0.1:1"]}, "refuses connections"),
        (["/a"], {"endpoints": []}, "endpoints is empty"),
        (["/a"], {"user": "root:secret"}, "has no TLS"),
    ],
)
def test_what_is_not(etcd: EtcdServer, terms: list[Any], options: dict[str, Any], expected: str) -> None:
    with pytest.raises(AnsibleError, match=expected) as caught:
        look_up(*terms, **{"endpoints": [etcd.url], **options})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        ("root:se:cret", None, ("root", "se:cret")),
        ("root:x", "secret", ("root:x", "secret")),
        ("root", None, ("root", None)),
        ("", "", (None, None)),
    ],
)
def test_user_and_password(user: str, password: str | None, expected: tuple[str | None, str | None]) -> None:
    names = ("ca_cert", "client_cert", "client_key")
    options = {**dict.fromkeys(names), "endpoints": ["https://a", ""], "timeout": 5.0, "json": True}
    found = connection({**options, "user": user, "password": password})
    assert (found["user"], found["password"]) == expected
    assert found["endpoints"] == ["https://a"] and "json" not in found


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(EtcdError, match="value is not text; read it with"):
        decoded(b"\xff", json=False)
