# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say how to reach an etcd cluster, and what cannot be meant by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError


def etcd_argument_spec() -> dict[str, dict[str, Any]]:
    """The connection options that all etcd plugins share; documented in the doc fragment C{etcd}."""
    return {
        "endpoints": {"type": "list", "elements": "str", "default": ["http://127.0.0.1:2379"]},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "user": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "timeout": {"type": "float", "default": 5.0},
    }


def check_connection(params: Mapping[str, Any]) -> list[str]:
    """The endpoints as host:port; raises EtcdError for connection options that cannot be meant."""
    targets = []
    for endpoint in params["endpoints"]:
        try:
            url = urlsplit(endpoint)
            port = url.port or 2379
        except ValueError as error:
            raise EtcdError(f"the etcd endpoint {endpoint!r} is no URL ({error}); correct it") from error
        if url.username or url.password:
            raise EtcdError("an etcd endpoint contains a user or password; give them as options user and password")
        if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
            raise EtcdError(f"the etcd endpoint {endpoint!r} is not understood; write it as https://host:port")
        if url.scheme == "http":
            for name in ("ca_cert", "client_cert", "client_key", "password"):
                if params[name]:
                    raise EtcdError(f"{name} is given but the etcd endpoint {endpoint} has no TLS; use https://")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        targets.append(f"{host}:{port}")
    if not targets:
        raise EtcdError("the list of etcd endpoints is empty; give at least one such as https://host:2379")
    if len({urlsplit(endpoint).scheme for endpoint in params["endpoints"]}) > 1:
        raise EtcdError("some etcd endpoints have TLS and some have not; use https:// for all of them")
    if bool(params["client_cert"]) != bool(params["client_key"]):
        raise EtcdError("client_cert and client_key belong together; give both or neither")
    if bool(params["user"]) != bool(params["password"]):
        raise EtcdError("user and password belong together; give both or neither")
    check_seconds("timeout", params["timeout"])
    return targets


def check_seconds(option: str, value: float) -> None:
    """Raises EtcdError for a time limit that is none."""
    # No number is longer than a year, which also keeps clear of what the clocks below can count.
    if not 0 < value <= 31_536_000:
        raise EtcdError(f"the {option} {value:g} is not above zero or over a year; give a number of seconds")
