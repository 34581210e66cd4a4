# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_health import Health, check_health, expand
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError
from ansible_collections.flagship.coreos.tests.unit.plugins.certificates import Certificates
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer, free_port

HERE = Machine("m1", "127.0.0.1", {})
ETCD = dict.fromkeys(("ca_cert", "client_cert", "client_key", "user", "password"))


def condition(**given: Any) -> dict[str, Any]:
    etcd = {**ETCD, "endpoints": [given.pop("etcd", "http://127.0.0.1:1")], "timeout": given.pop("etcd_timeout", 10.0)}
    return {"etcd_key": None, "url": None, "ca_cert": None, "etcd": etcd, **given}


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("/services/website/{prefix}@{instance}", "nginx@1.service", "/services/website/nginx@1"),
        ("{name} {machine_id}", "a.service", "a.service m1"),
        ("http://{address}:80/%7Ba%7D", "a.service", "http://127.0.0.1:80/%7Ba%7D"),
        ("{prefix}", "a.service", "a"),
    ],
)
def test_placeholders(text: str, unit: str, expected: str) -> None:
    assert expand(text, unit, HERE) == expected


@pytest.mark.parametrize(
    ("given", "unit", "expected"),
    [
        ({"etcd_key": "/{instance}"}, "a.service", "{instance}, which the unit does not have; it has {name}"),
        ({"etcd_key": "/{unit}"}, "a@1.service", "{unit}, which the unit does not have"),
        ({"etcd_key": ""}, "a.service", "the etcd_key of health is empty"),
        ({"url": "{address}:80"}, "a.service", "is not understood"),
        ({"url": "http:///a"}, "a.service", "is not understood"),
        ({"url": "http://{address}:port/"}, "a.service", "is not understood"),
        ({"url": "http://{address}/a b"}, "a.service", "is not understood"),
        ({"url": "http://me:secret@{address}/"}, "a.service", "contains a user or password"),
        (
            {"url": "http://{address}/", "ca_cert": "/a"},
            "a.service",
            "ca_cert of health is given but its url has no TLS",
        ),
    ],
)
def test_conditions_that_cannot_be_met(given: dict[str, Any], unit: str, expected: str) -> None:
    with pytest.raises(UnitError) as caught:
        check_health(condition(**given), unit)
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)


def test_good_conditions() -> None:
    check_health(condition(etcd_key="/services/{name}", url="https://{address}:80/?a=b", ca_cert="/a"), "a.service")


@pytest.fixture
def website() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.strip("/").partition("?")[0]))
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("path", "complaint"), [("200?a=b", ""), ("302", ""), ("404", "answers 404"), ("503", "503")])
def test_a_url(website: ThreadingHTTPServer, path: str, complaint: str) -> None:
    health = Health(condition(url=f"http://{{address}}:{website.server_port}/{path}"), 5.0)
    found = health.complaint("a.service", HERE)
    assert complaint in found and bool(found) == bool(complaint)


def test_a_url_over_tls(website: ThreadingHTTPServer, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key("server"))
    website.socket = context.wrap_socket(website.socket, server_side=True, do_handshake_on_connect=False)
    url = f"https://{{address}}:{website.server_port}/200"
    assert Health(condition(url=url, ca_cert=certificates.ca), 5.0).complaint("a.service", HERE) == ""
    assert "CERTIFICATE_VERIFY_FAILED" in Health(condition(url=url), 5.0).complaint("a.service", HERE)
    with pytest.raises(UnitError, match="ca_cert /none of health cannot be used"):
        Health(condition(url=url, ca_cert="/none"), 5.0)


def test_a_url_that_nobody_serves_or_answers() -> None:
    nobody = Health(condition(url=f"http://127.0.0.1:{free_port()}/"), 5.0)
    assert "does not answer (Connection refused)" in nobody.complaint("a.service", HERE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        health = Health(condition(url=f"http://127.0.0.1:{silent.getsockname()[1]}/"), 0.3)
        assert "did not answer within 0.3 s" in health.complaint("a.service", HERE)
        assert time.monotonic() - began < 8


def test_a_key_in_etcd(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as etcd:
        wanted = {"etcd_key": "/services/website/{prefix}@{instance}", "etcd": etcd.url}
        health = Health(condition(**wanted), 5.0)
        expected = "the key /services/website/nginx@1 is not in etcd"
        assert health.complaint("nginx@1.service", HERE) == expected
        etcd.etcdctl("put", "/services/website/nginx@1", "127.0.0.1:80")
        assert health.complaint("nginx@1.service", HERE) == ""
        assert health.complaint("nginx@2.service", HERE) != ""
        health.close()
        health = Health(condition(**wanted, etcd_timeout=1.0), 5.0)
        etcd.freeze()
        began = time.monotonic()
        assert "the key /services/website/nginx@1 cannot be read" in health.complaint("nginx@1.service", HERE)
        assert time.monotonic() - began < 8
        health.close()
