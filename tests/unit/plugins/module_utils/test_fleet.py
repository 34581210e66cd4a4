# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import FleetClient, Machine
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import FleetError, FleetUnavailableError
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitOption
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.fleet_server import MACHINE, FleetServer

OPTIONS = [UnitOption("Service", "ExecStart", ""), UnitOption("Service", "ExecStart", "/bin/true")]


def client(endpoint: str, **options: Any) -> FleetClient:
    names = ("ca_cert", "client_cert", "client_key", "user", "password")
    return FleetClient({"endpoint": endpoint, "timeout": 5.0, **dict.fromkeys(names), **options})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key("server"))
    return context


@pytest.mark.parametrize(
    ("endpoint", "options", "expected"),
    [
        ("/run/fleet.sock", {}, "not understood"),
        ("ftp://core01", {}, "not understood"),
        ("http://", {}, "not understood"),
        ("http://core01:port", {}, "is no URL"),
        ("unix://run/fleet.sock", {}, "third /"),
        ("http://root:secret@core01", {}, "give them as options"),
        ("http://root:secret@core01:port", {}, "give them as options"),
        ("http://root:secret@[core01", {}, "give them as options"),
        ("http://core01", {"user": "root", "password": "secret"}, "in clear"),
        ("https://core01", {"user": "root"}, "belong together"),
        ("https://core01", {"client_key": "/a"}, "belong together"),
        ("unix:///run/fleet.sock", {"ca_cert": "/a"}, "ca_cert is given but .* has no TLS"),
        ("unix:///run/fleet.sock", {"timeout": 0.0}, "not above zero"),
    ],
)
def test_bad_connection_options(endpoint: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(FleetError, match=expected) as caught:
        client(endpoint, **options)
    assert "secret" not in str(caught.value)


def test_units_over_a_unix_socket(tmp_path: Path) -> None:
    with FleetServer(str(tmp_path / "fleet.sock")) as server:
        fleet = client(server.endpoint)
        assert fleet.unit(r"a\x2d@1.service") is None
        fleet.put_unit(r"a\x2d@1.service", "launched", OPTIONS)
        unit = fleet.unit(r"a\x2d@1.service")
        assert unit == (r"a\x2d@1.service", tuple(OPTIONS), "launched", "launched", MACHINE)
        assert [state.active_state for state in fleet.states(r"a\x2d@1.service")] == ["active"]
        fleet.put_unit(r"a\x2d@1.service", "inactive")
        assert fleet.states() == []
        fleet.delete_unit(r"a\x2d@1.service")
        fleet.delete_unit(r"a\x2d@1.service")
        assert fleet.units() == []
    assert server.requests[1] == (
        "PUT",
        "/fleet/v1/units/a%5Cx2d%401.service",
        {"name": r"a\x2d@1.service", "desiredState": "launched", "options": [option._asdict() for option in OPTIONS]},
    )


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 7])
def test_all_pages_are_read(count: int) -> None:
    with FleetServer(page_size=3) as server:
        server.machines = [{"id": f"m{number}", "primaryIP": "192.0.2.1"} for number in range(count)]
        assert client(server.endpoint).machines() == [Machine(f"m{number}", "192.0.2.1", {}) for number in range(count)]


def test_a_list_that_never_ends_is_left() -> None:
    with FleetServer() as server:
        server.answer = (200, '{"nextPageToken": "same"}')
        with pytest.raises(FleetError, match="repeats the same page of units"):
            client(server.endpoint).units()


def test_reasons() -> None:
    with FleetServer() as server:
        server.reasons["a.service"] = {"m1": "conflicts with b.service", "m2": ""}
        assert client(server.endpoint).why_not_placed("a.service") == {"m1": "conflicts with b.service"}
        assert client(server.endpoint).why_not_placed("b.service") == {}


@pytest.mark.parametrize(
    ("answer", "error", "expected"),
    [
        ((200, "<html>"), FleetError, "not JSON"),
        ((200, "[]"), FleetError, "not JSON"),
        ((404, "<html>"), FleetError, "check that the endpoint is fleet's"),
        (
            (409, '{"error": {"code": 409, "message": "no options"}}'),
            FleetError,
            r"409 \(no options\); correct that",
        ),
        ((503, '{"error": {"code": 503, "message": "no etcd"}}'), FleetUnavailableError, r"503 \(no etcd\); .* etcd"),
        ((500, '{"error": {"code": 500, "message": ""}}'), FleetUnavailableError, "500; look at the log"),
    ],
)
def test_refusals(answer: tuple[int, str], error: type[FleetError], expected: str) -> None:
    with FleetServer() as server:
        server.answer = answer
        with pytest.raises(error, match=expected) as caught:
            client(server.endpoint).machines()
    assert server.endpoint in str(caught.value)


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(FleetUnavailableError, match=r"fleet\.sock on .* has no socket; start fleet\.socket"):
        client(f"unix://{tmp_path}/fleet.sock").machines()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FleetUnavailableError, match="refuses connections"):
        client(f"http://127.0.0.1:{port}").machines()


@contextlib.contextmanager
def dripping(text: bytes) -> Iterator[int]:
    """A server that accepts, and then sends the text again and again, a little at a time; its port."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _address = server.accept()
            with connection, contextlib.suppress(OSError):
                while not stopped.wait(0.05):
                    connection.sendall(text)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stopped.set()
            thread.join()


@pytest.mark.parametrize("text", [b"", b"H"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_never_finishes_its_answer(scheme: str, text: bytes) -> None:
    with dripping(text) as port:
        began = time.monotonic()
        with pytest.raises(FleetError, match="did not answer within 0.5 s" if not text or scheme == "http" else "TLS"):
            client(f"{scheme}://127.0.0.1:{port}", timeout=0.5).machines()
        assert time.monotonic() - began < 8


def test_an_answer_that_is_cut_off_is_late() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with dripping(head) as port, pytest.raises(FleetUnavailableError, match=r"did not answer within 0\.5 s"):
        client(f"http://127.0.0.1:{port}", timeout=0.5).machines()


def test_basic_authentication_over_tls(certificates: Certificates) -> None:
    with FleetServer(context=server_context(certificates)) as server:
        server.authorization = "Basic " + base64.b64encode(b"root:secret").decode()
        good = {"ca_cert": certificates.ca, "user": "root", "password": "secret"}
        assert client(server.endpoint, **good).machines()[0].id == MACHINE
        with pytest.raises(FleetError, match="401; check user and password") as caught:
            client(server.endpoint, **{**good, "password": "wrong"}).machines()
        assert "wrong" not in str(caught.value)


def test_client_certificate(certificates: Certificates) -> None:
    context = server_context(certificates)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with FleetServer(context=context) as server:
        pair = {"client_cert": certificates.client, "client_key": certificates.key("client")}
        assert client(server.endpoint, ca_cert=certificates.ca, **pair).machines()
        with pytest.raises(FleetError, match=r"client_cert|broke the connection off"):
            client(server.endpoint, ca_cert=certificates.ca).machines()


def test_tls_errors(certificates: Certificates) -> None:
    with FleetServer(context=server_context(certificates)) as server:
        with pytest.raises(FleetError, match=r"not trusted .* set ca_cert"):
            client(server.endpoint).machines()
        with pytest.raises(FleetError, match="broke the connection off"):
            client(server.endpoint.replace("https:", "http:")).machines()
        with pytest.raises(FleetError, match=r"ca_cert /none cannot be used \(No such file"):
            client(server.endpoint, ca_cert="/none").machines()
        with pytest.raises(FleetError, match=r"client_cert .* cannot be used"):
            client(server.endpoint, client_cert=certificates.client, client_key=certificates.key("ca")).machines()
    with FleetServer() as server, pytest.raises(FleetError, match="check that it speaks TLS"):
        client(server.endpoint.replace("http:", "https:")).machines()
