# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS, client certificates, users and tokens against a real etcd."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client, EtcdConnection, Follower, PermissionDenied, Unavailable
from test_etcd_follow import Record


class Certificates:
    """An authority, a server's certificate for 127.0.0.1 and a client's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ca = self._path("ca.pem")
        self._openssl("req", "-x509", *self._new("ca"), "-out", self.ca, "-days", "2", "-subj", "/CN=authority")
        for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
            self._openssl("req", *self._new(name), "-out", self._path(f"{name}.csr"), "-subj", f"/CN={name}")
            extensions = directory / f"{name}.ext"
            extensions.write_text(extension)
            signing = ("-CA", self.ca, "-CAkey", self._path("ca.key"), "-CAcreateserial", "-extfile", str(extensions))
            request = ("-req", "-in", self._path(f"{name}.csr"), "-out", self._path(f"{name}.pem"), "-days", "2")
            self._openssl("x509", *request, *signing)

    def pair(self, name: str) -> tuple[str, str]:
        return self._path(f"{name}.pem"), self._path(f"{name}.key")

    def _path(self, name: str) -> str:
        return str(self._directory / name)

    def _new(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        return [*curve, "-nodes", "-keyout", self._path(f"{name}.key")]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[EtcdServer]:
    """An etcd that asks for client certificates, or for users once a test enables authentication."""
    certificate, key = certificates.pair("server")
    server = EtcdServer(
        tmp_path_factory.mktemp("secure"),
        scheme="https",
        arguments=[
            f"--cert-file={certificate}",
            f"--key-file={key}",
            f"--trusted-ca-file={certificates.ca}",
            "--client-cert-auth",
            "--auth-token-ttl=1",
        ],
    )
    client_certificate, client_key = certificates.pair("client")
    server.security = {"ca_cert": certificates.ca, "client_cert": client_certificate, "client_key": client_key}
    server.start()
    yield server
    server.stop()


def test_tls_with_a_client_certificate(secure: EtcdServer) -> None:
    with Client(secure.connection()) as client:
        client.put("a", b"1")
        assert client.get("a")


def test_a_server_that_the_authority_did_not_sign(secure: EtcdServer, tmp_path: Path) -> None:
    other = Certificates(tmp_path)
    with (
        Client(replace(secure.connection(2), ca_cert=other.ca)) as client,
        pytest.raises(Unavailable, match="not signed by the trusted authority"),
    ):
        client.get("a")


def test_the_systems_authorities_are_used_without_ca_cert(secure: EtcdServer) -> None:
    with (
        Client(replace(secure.connection(2), ca_cert="")) as client,
        pytest.raises(Unavailable, match="not signed by the trusted authority"),
    ):
        client.get("a")


def test_without_the_client_certificate(secure: EtcdServer) -> None:
    with Client(replace(secure.connection(2), client_cert="", client_key="")) as client, pytest.raises(Unavailable):
        client.get("a")


def test_a_renewed_certificate_is_shown_once_the_old_one_does_no_more(secure: EtcdServer, tmp_path: Path) -> None:
    connection = secure.connection(2)
    files = tmp_path / "client.pem", tmp_path / "client.key"
    own = [Path(file).read_bytes() for file in (connection.client_cert, connection.client_key)]
    (tmp_path / "other").mkdir()
    others = [Path(file).read_bytes() for file in Certificates(tmp_path / "other").pair("client")]

    def show(contents: list[bytes]) -> None:
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)

    show(others)
    with Client(replace(connection, client_cert=str(files[0]), client_key=str(files[1]))) as client:
        with pytest.raises(Unavailable):
            client.put("a", b"1")
        show(own)
        client.put("a", b"2")
        # What cannot be read for a moment changes nothing.
        for file in files:
            file.unlink()
        secure.stop()
        secure.start()
        client.put("a", b"3")


def test_users(secure: EtcdServer) -> None:
    """A user of one prefix; its tokens live a second, and end with the server's process."""
    root: EtcdConnection = replace(secure.connection(), user="root", password="root-secret")
    user: EtcdConnection = replace(secure.connection(), user="web", password="web-secret")
    with Client(user) as client:
        client.put("/services/a", b"")  # authentication is off: the credentials wait for it
    secure.etcdctl("user", "add", "root:root-secret")
    secure.etcdctl("user", "grant-role", "root", "root")
    secure.etcdctl("user", "add", "web:web-secret")
    secure.etcdctl("role", "add", "web")
    secure.etcdctl("role", "grant-permission", "web", "--prefix=true", "readwrite", "/services/")
    secure.etcdctl("user", "grant-role", "web", "web")
    secure.etcdctl("auth", "enable")
    try:
        _check_user(secure, user)
    finally:
        secure.etcdctl("--user=root:root-secret", "auth", "disable")
    assert "web-secret" not in repr(user)
    assert "root-secret" not in repr(root)


def _check_user(server: EtcdServer, user: EtcdConnection) -> None:
    with Client(replace(user, password="wrong")) as client:
        with pytest.raises(PermissionDenied, match="authentication failed") as caught:
            client.get("/services/a")
        assert "wrong" not in str(caught.value)
    record = Record()
    with Client(user) as client:
        assert client.get("/services/a")
        with pytest.raises(PermissionDenied, match="permission denied"):
            client.get("/other")
        follower = Follower(client, "/services/", handler=record)
        follower.start()
        try:
            assert follower.wait_synced(10)
            time.sleep(2.5)  # the token's time is over
            client.put("/services/b", b"1")
            wait_for(lambda: "/services/b" in record.items, what="an event after the token's time")
            server.stop()
            server.start()
            wait_for(lambda: record.snapshots == 2, 20, "a snapshot after the restart")
            client.put("/services/c", b"1")
            wait_for(lambda: "/services/c" in record.items, what="an event after the restart")
        finally:
            follower.stop()
    with Client(user) as client:
        denied = Record()
        follower = Follower(client, "/other/", handler=denied)
        follower.start()
        wait_for(lambda: denied.lost, what="the loss of a prefix that is not allowed")
        follower.stop()
        assert "permission denied" in denied.lost[0]
