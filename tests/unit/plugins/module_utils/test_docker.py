# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    DockerError,
    api_version,
    could_not_pull,
    open_client,
    reason,
    split_tag,
)


def params(host: str, **options: Any) -> dict[str, Any]:
    return {"docker_host": host, "timeout": 0.5, **dict.fromkeys(("ca_cert", "client_cert", "client_key")), **options}


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),  # engine 20.10
        ("1.44", "1.24", "1.44"),
        ("1.52", "1.44", "1.44"),  # engine 29
        ("1.60", "1.50", "1.50"),
        ("1.9", "1.5", "1.9"),
    ],
)
def test_api_version(newest: str, oldest: str, spoken: str) -> None:
    assert api_version(newest, oldest) == spoken


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("web", ("web", "latest")),
        ("web:1", ("web", "1")),
        ("host:5000/web", ("host:5000/web", "latest")),
        ("host:5000/web:1", ("host:5000/web", "1")),
        ("web@sha256:12", ("web", "sha256:12")),
        ("host:5000/web:1@sha256:12", ("host:5000/web", "sha256:12")),
    ],
)
def test_split_tag(name: str, parts: tuple[str, str]) -> None:
    assert split_tag(name) == parts


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    says = f"No Docker engine answers at {host} (No such file or directory); start it, or set docker_host to where it"
    with pytest.raises(DockerError, match=re.escape(says)):
        open_client(params(host))


def test_an_engine_that_never_answers_in_tls_is_given_up_in_time() -> None:
    start = time.monotonic()
    authority = ssl.get_default_verify_paths().openssl_cafile
    with silent_server() as host, pytest.raises(DockerError, match=r"\(no answer in time\)"):
        open_client(params(host, ca_cert=authority))
    assert time.monotonic() - start < 3


def test_a_closed_port_is_named() -> None:
    with silent_server() as host:
        pass
    with pytest.raises(DockerError, match=re.escape(f"No Docker engine answers at {host} (Connection refused);")):
        open_client(params(host))


def test_an_engine_that_never_answers_is_given_up_in_time() -> None:
    start = time.monotonic()
    with silent_server() as host, pytest.raises(DockerError, match=re.escape(f"at {host} (no answer in time)")):
        open_client(params(host))
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("host", "options", "says"),
    [
        ("unix:///x", {"ca_cert": "/ca.pem"}, "which unix:///x does not use"),
        ("http://x", {"client_cert": "/c", "client_key": "/k"}, "which http://x does not use"),
        ("tcp://x:1", {"client_cert": "/c"}, "client_cert and client_key for tcp://x:1 belong together"),
        ("tcp://x:1", {"ca_cert": "/missing.pem"}, "No Docker engine answers at tcp://x:1"),
        ("nonsense://x", {}, "No Docker engine answers at nonsense://x"),
        ("tcp://x:1", {"timeout": 0}, "timeout is 0 s, in which tcp://x:1 cannot answer; set more than 0."),
        ("tcp://x:1", {"timeout": -1}, "timeout is -1 s"),
    ],
)
def test_connection_options_that_do_not_fit_are_named(host: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DockerError, match=re.escape(says)):
        open_client(params(host, **options))


class ExplainedError(Exception):
    explanation = "no such image: x."


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ExplainedError(), "no such image: x"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (ValueError("two layers", ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (ValueError("plain."), "plain"),
    ],
)
def test_reason(error: Exception, says: str) -> None:
    assert reason(error) == says


def test_could_not_pull() -> None:
    assert could_not_pull("web:1", "no route. ").startswith("The image web:1 could not be pulled (no route); check")
