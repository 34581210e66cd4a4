# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API on a TCP socket: with TLS and a client's certificate, or not at all."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd_server import wait_for
from flagship.fleet.client import ClientError, FleetClient
from flagship.fleet.fleetctl import main
from flagship.fleet.tls import common_name, refusal, server_context
from flagship.settings import SettingsError, load
from test_etcd_security import Certificates

from fleet.process import Daemon


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def api_settings(certificates: Certificates) -> list[str]:
    certificate, key = certificates.pair("server")
    return [f"api_cert = {certificate}", f"api_key = {key}", f"api_client_ca = {certificates.ca}"]


def test_clients_with_a_certificate_are_served(
    daemon: Callable[..., Daemon],
    listener: socket.socket,
    certificates: Certificates,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    port = listener.getsockname()[1]
    found = daemon(listener, *api_settings(certificates), "public_ip = 192.0.2.5")
    endpoint = f"https://127.0.0.1:{port}"
    certificate, key = certificates.pair("client")
    files = ["--ca-file", certificates.ca, "--cert-file", certificate, "--key-file", key]
    list_machines = ["--endpoint", endpoint, *files, "list-machines", "--no-legend", "--fields", "ip"]
    wait_for(lambda: main(list_machines, {}) == 0, what="the API")
    assert capsys.readouterr().out == "192.0.2.5\n"

    # Behind TLS it listens where only its own user gets in.
    assert [path.stat().st_mode & 0o777 for path in tmp_path.rglob("api.sock")] == [0o600]

    # More than one record of TLS, and more than one request on one connection.
    client = FleetClient(endpoint, ca_cert=certificates.ca, client_cert=certificate, client_key=key)
    options = [{"section": "Service", "name": "Environment", "value": "x" * 1500} for _option in range(200)]
    client.put_unit("big.service", options=options)
    for _attempt in range(3):
        assert (client.unit("big.service") or {})["options"] == options
    client.close()

    # The server asks for a certificate; the client checks the server's.
    with pytest.raises(ClientError, match=r"does not answer.*CERTIFICATE_REQUIRED"):
        FleetClient(endpoint, ca_cert=certificates.ca).machines()
    with pytest.raises(ClientError, match="CERTIFICATE_VERIFY_FAILED"):
        FleetClient(endpoint, client_cert=certificate, client_key=key).machines()
    own = tmp_path / "own"
    own.mkdir()
    other, other_key = Certificates(own).pair("client")
    with pytest.raises(ClientError, match=r"does not answer.*UNKNOWN_CA"):
        FleetClient(endpoint, ca_cert=certificates.ca, client_cert=other, client_key=other_key).machines()
    refused = (
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "its certificate does not do (unable to get local issuer certificate)",
    )
    lines = [f"127.0.0.1 is not let to the API: {reason}." for reason in refused]
    wait_for(lambda: all(line in found.journal.read_text() for line in lines), what="a line for each that was refused")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        plain.request("GET", "/fleet/v1/machines")
        plain.getresponse()

    # A client that says nothing keeps nobody from being served, nor the daemon from ending.
    with socket.create_connection(("127.0.0.1", port)):
        assert main(list_machines, {}) == 0
        found.process.terminate()
        assert found.process.wait(15) == 0


def test_a_certificate_for_somebody_else_is_told_so(
    daemon: Callable[..., Daemon], listener: socket.socket, certificates: Certificates
) -> None:
    daemon(listener, *api_settings(certificates), "api_client_names = root, operator")
    certificate, key = certificates.pair("client")
    endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
    client = FleetClient(endpoint, ca_cert=certificates.ca, client_cert=certificate, client_key=key)

    def answer() -> str:
        try:
            client.put_unit(
                "a.service", options=[{"section": "Service", "name": "Environment", "value": "x" * 200_000}]
            )
        except ClientError as error:
            return str(error)
        return "it was served"

    wait_for(lambda: "Error 403" in answer(), what="the API")
    for _attempt in range(5):
        assert answer() == (
            "Error 403: the certificate of client does not open the fleet API: show that of root or operator"
        )


def test_whose_certificate_it_is() -> None:
    subject = ((("organizationName", "flagship"),), (("commonName", "root"),))
    assert common_name({"subject": subject}) == "root"
    assert common_name({"subject": subject[:1]}) == common_name({}) == common_name(None) == ""
    assert refusal("root", ("root",)) == refusal("anyone", ()) == b""
    assert refusal("", ("root",)).startswith(b"HTTP/1.1 403 Forbidden\r\n")


def test_a_reload_shows_a_renewed_certificate(
    daemon: Callable[..., Daemon], listener: socket.socket, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = Certificates(tmp_path / "old"), Certificates(tmp_path / "new")
    found = daemon(listener, *api_settings(old))
    certificate, key = old.pair("client")
    endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"

    def trusted(authority: str) -> bool:
        try:
            FleetClient(endpoint, ca_cert=authority, client_cert=certificate, client_key=key).machines()
        except ClientError:
            return False
        return True

    wait_for(lambda: trusted(old.ca), what="the API")
    for before, after in zip(old.pair("server"), new.pair("server"), strict=True):
        Path(after).replace(before)
    found.process.send_signal(signal.SIGHUP)
    wait_for(lambda: trusted(new.ca), what="the new certificate")


def test_a_plain_tcp_socket_is_refused(daemon: Callable[..., Daemon], listener: socket.socket) -> None:
    found = daemon(listener)
    assert found.process.wait(20) == 2
    (line,) = found.journal.read_text().splitlines()
    assert "a TCP socket was passed but the API has no certificate: set fleet api_cert" in line


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, certificates: Certificates) -> None:
    certificate, key = certificates.pair("server")
    _other, other_key = certificates.pair("client")
    for files, said in (
        ((certificate, other_key, certificates.ca), "api_cert .*server.pem with api_key .*client.key cannot be used"),
        ((f"{tmp_path}/none", key, certificates.ca), "api_cert .*none"),
        ((certificate, key, f"{tmp_path}/none"), "api_client_ca .*none cannot be used"),
    ):
        names = ("FLAGSHIP_FLEET_API_CERT", "FLAGSHIP_FLEET_API_KEY", "FLAGSHIP_FLEET_API_CLIENT_CA")
        (tmp_path / "flagship.conf").write_text("")
        fleet = load(str(tmp_path / "flagship.conf"), dict(zip(names, files, strict=True))).fleet
        with pytest.raises(SettingsError, match=said) as caught:
            server_context(fleet)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="belong together"):
        load(str(tmp_path / "flagship.conf"), {"FLAGSHIP_FLEET_API_CERT": certificate})
