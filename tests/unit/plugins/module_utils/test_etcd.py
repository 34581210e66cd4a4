# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdClient,
    EtcdError,
    RevisionError,
    check_connection,
)
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer, free_port


def params(*endpoints: str, **options: Any) -> dict[str, Any]:
    names = ("ca_cert", "client_cert", "client_key", "user", "password")
    return {"endpoints": list(endpoints), "timeout": 5.0, **dict.fromkeys(names), **options}


@contextlib.contextmanager
def connect(*endpoints: str, **options: Any) -> Iterator[EtcdClient]:
    client = EtcdClient(params(*endpoints, **options))
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_etcd(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[EtcdServer]:
    """Encrypted, with users root and reader, and authentication switched on."""
    with EtcdServer(tmp_path_factory.mktemp("tls"), certificates, "--auth-token-ttl=1") as server:
        server.etcdctl("user", "add", "root:secret")
        server.etcdctl("user", "grant-role", "root", "root")
        server.etcdctl("role", "add", "reader")
        server.etcdctl("role", "grant-permission", "reader", "read", "/open")
        server.etcdctl("user", "add", "reader:secret")
        server.etcdctl("user", "grant-role", "reader", "reader")
        server.etcdctl("auth", "enable")
        yield server


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("http://127.0.0.1:2379", "127.0.0.1:2379"),
        ("https://core01/", "core01:2379"),
        ("https://[2001:db8::1]:4001", "[2001:db8::1]:4001"),
    ],
)
def test_endpoints(endpoint: str, target: str) -> None:
    assert check_connection(params(endpoint)) == [target]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (params(), "empty"),
        (params("core01:2379"), "not understood"),
        (params("http://core01:port"), "is no URL"),
        (params("http://core01:2379/v3"), "not understood"),
        (params("https://root:secret@core01:2379"), "give them as options"),
        (params("http://a", "https://b"), "some have not"),
        (params("http://a", ca_cert="/ca.pem"), "ca_cert is given but .* has no TLS"),
        (params("http://a", user="root", password="secret"), "password is given but .* has no TLS"),
        (params("https://a", user="root"), "user and password belong together"),
        (params("https://a", client_cert="/a.pem"), "client_cert and client_key belong together"),
        (params("https://a", timeout=0.0), "not above zero"),
        (params("https://a", ca_cert="/does/not/exist"), "ca_cert /does/not/exist cannot be used [(]No such file"),
        (params("https://a", ca_cert=__file__), "ca_cert .* cannot be used"),
        (params("https://a", client_cert=__file__, client_key=__file__), "client_cert .* cannot be used"),
    ],
)
def test_bad_connection_options(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EtcdError, match=expected) as caught:
        EtcdClient(options)
    assert "secret" not in str(caught.value)


def test_write_read_and_remove(etcd: EtcdServer) -> None:
    with connect(etcd.url) as client:
        assert client.get("/a") is None
        created = client.put_if_unchanged("/a", b"\xff\0", 0, 0)
        changed = client.put_if_unchanged("/a", b"", 0, created)
        assert client.get("/a") == (b"", created, changed, 0)
        client.delete_if_unchanged("/a", changed)
        assert client.get("/a") is None
        client.delete_if_unchanged("/a", changed)


def test_a_lost_race_changes_nothing_and_shows_the_winner(etcd: EtcdServer) -> None:
    with connect(etcd.url) as client:
        with pytest.raises(RevisionError, match="does not exist but revision 5 was expected"):
            client.put_if_unchanged("/race", b"mine", 0, 5)
        won = client.put_if_unchanged("/race", b"theirs", 0, 0)
        with pytest.raises(RevisionError, match=f"has revision {won} but it was expected not to exist") as caught:
            client.put_if_unchanged("/race", b"mine", 0, 0)
        assert caught.value.found == (b"theirs", won, won, 0)
        with pytest.raises(RevisionError):
            client.delete_if_unchanged("/race", won - 1)
        assert client.put_if_unchanged("/race", b"theirs", 0, 0) == won, "an own write whose answer was lost counts"


def test_lease(etcd: EtcdServer) -> None:
    with connect(etcd.url) as client:
        lease, ttl = client.grant(60)
        assert ttl == 60
        client.put_if_unchanged("/leased", b"x", lease, 0)
        found = client.get("/leased")
        assert found is not None and found.lease == lease
        assert client.granted_ttl(lease) == 60
        client.refresh(lease)
        client.revoke(lease)
        assert client.granted_ttl(lease) == 0
        assert client.get("/leased") is None
        with pytest.raises(EtcdError, match="does not know the lease"):
            client.put_if_unchanged("/leased", b"x", lease, 0)


@pytest.mark.parametrize("size", [1_600_000, 3_000_000])
def test_a_value_over_the_limit_is_explained(etcd: EtcdServer, size: int) -> None:
    with connect(etcd.url) as client, pytest.raises(EtcdError, match="max-request-bytes"):
        client.put_if_unchanged("/large", b"x" * size, 0, 0)


def test_a_dead_endpoint_is_passed_over(etcd: EtcdServer) -> None:
    with connect(f"http://127.0.0.1:{free_port()}", etcd.url) as client:
        assert client.get("/absent") is None


def test_a_frozen_endpoint_costs_its_share_of_the_time_once(tmp_path: Path, etcd: EtcdServer) -> None:
    with EtcdServer(tmp_path) as frozen, connect(frozen.url, etcd.url, timeout=4.0) as client:
        frozen.freeze()
        began = time.monotonic()
        assert client.get("/absent") is None
        first = time.monotonic() - began
        assert 1.9 < first < 4
        assert client.get("/absent") is None
        assert time.monotonic() - began - first < 1.9


def test_an_unknown_host() -> None:
    with connect("http://unknown.invalid") as client, pytest.raises(EtcdError, match="host name that does not resolve"):
        client.get("/a")


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        dead, silent = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        with connect(dead, silent, timeout=1.0) as client, pytest.raises(EtcdError) as caught:
            client.get("/a")
    assert 0.8 < time.monotonic() - began < 4
    assert f"{dead} refuses connections" in str(caught.value)
    assert f"{silent} gave no answer within" in str(caught.value)


def test_tls_with_a_user(tls_etcd: EtcdServer, certificates: Certificates) -> None:
    with connect(tls_etcd.url, ca_cert=certificates.ca, user="root", password="secret") as client:
        revision = client.put_if_unchanged("/open", b"x", 0, 0)
        time.sleep(2.2)  # longer than the token lives
        client.delete_if_unchanged("/open", revision)


def test_tls_with_a_client_certificate(tmp_path: Path, certificates: Certificates) -> None:
    options = {"client_cert": certificates.client, "client_key": certificates.key("client")}
    arguments = ("--client-cert-auth", f"--trusted-ca-file={certificates.ca}")
    with EtcdServer(tmp_path, certificates, *arguments) as server:
        with connect(server.url, ca_cert=certificates.ca, **options) as client:
            assert client.get("/absent") is None
        with (
            connect(server.url, ca_cert=certificates.ca) as client,
            pytest.raises(EtcdError, match="whether it wants client_cert"),
        ):
            client.get("/absent")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "set user and password"),
        ({"user": "root", "password": "wrong"}, "does not accept the password of user root"),
        ({"user": "reader", "password": "secret"}, "denies this to reader"),
    ],
)
def test_authentication_errors(
    tls_etcd: EtcdServer, certificates: Certificates, options: dict[str, str], expected: str
) -> None:
    with connect(tls_etcd.url, ca_cert=certificates.ca, **options) as client, pytest.raises(EtcdError, match=expected):
        client.put_if_unchanged("/secret", b"x", 0, 0)


def test_a_user_is_ignored_while_authentication_is_off(tmp_path: Path, certificates: Certificates) -> None:
    with (
        EtcdServer(tmp_path, certificates) as server,
        connect(server.url, ca_cert=certificates.ca, user="root", password="secret") as client,
    ):
        assert client.get("/absent") is None


def test_a_certificate_of_an_unknown_authority_is_refused(tls_etcd: EtcdServer) -> None:
    with (
        connect(tls_etcd.url) as client,
        pytest.raises(EtcdError, match=r"not trusted or is for another name \(set ca_cert"),
    ):
        client.get("/a")


def test_tls_on_one_side_only(etcd: EtcdServer, tls_etcd: EtcdServer, certificates: Certificates) -> None:
    with (
        connect(etcd.url.replace("http:", "https:"), ca_cert=certificates.ca) as client,
        pytest.raises(EtcdError, match="check that it has TLS"),
    ):
        client.get("/a")
    with (
        connect(tls_etcd.url.replace("https:", "http:")) as client,
        pytest.raises(EtcdError, match="if it has TLS, use https://"),
    ):
        client.get("/a")
