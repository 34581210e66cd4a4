# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a unit healthy besides being active: a key in etcd, or a URL that answers."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdClient, EtcdError, etcd_argument_spec
from ansible_collections.flagship.coreos.plugins.module_utils.fleet import Machine
from ansible_collections.flagship.coreos.plugins.module_utils.fleet_http import ExpiredError, error_text, exchange
from ansible_collections.flagship.coreos.plugins.module_utils.unit_file import UnitError, split_name

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def health_argument_spec() -> dict[str, Any]:
    """The option C{health} of a module."""
    return {
        "type": "dict",
        "required_one_of": [("etcd_key", "url")],
        "options": {
            "etcd_key": {"type": "str", "no_log": False},
            "etcd": {"type": "dict", "options": etcd_argument_spec(), "apply_defaults": True},
            "url": {"type": "str"},
            "ca_cert": {"type": "path"},
        },
    }


def expand(text: str, unit: str, machine: Machine) -> str:
    """Fill in what differs from unit to unit; raises UnitError for a placeholder that means nothing here."""
    parts = split_name(unit)
    values: dict[str, str] = {
        "name": unit,
        "prefix": parts.prefix,
        "machine_id": machine.id,
        "address": machine.primary_ip,
    }
    if parts.instance:
        values["instance"] = parts.instance

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UnitError(
                f"the health condition {text!r} contains {match[0]}, which the unit does not have; "
                f"it has {', '.join('{' + name + '}' for name in values)}"
            )
        return values[match[1]]

    return PLACEHOLDER.sub(value, text)


def check_health(health: Mapping[str, Any], unit: str) -> None:
    """Raise UnitError for a condition that no unit of this name can meet."""
    here = Machine("0" * 32, "192.0.2.1", {})
    if health["etcd_key"] is not None and not expand(health["etcd_key"], unit, here):
        raise UnitError("the etcd_key of health is empty; name a key, such as /services/website/{prefix}@{instance}")
    if health["url"] is not None:
        found = expand(health["url"], unit, here)
        if "@" in found.partition("://")[2].partition("/")[0]:
            raise UnitError("the url of health contains a user or password; give one that answers without")
        try:
            url = urlsplit(found)
            good = url.scheme in ("http", "https") and url.hostname and (url.port or 1)
        except ValueError:
            good = False
        if not good or re.search(r"[\x00-\x20\x7f]", found):
            raise UnitError(f"the url {found!r} of health is not understood; write it as http://{{address}}:80/")
    if health["ca_cert"] and not (health["url"] or "").startswith("https:"):
        raise UnitError("the ca_cert of health is given but its url has no TLS; use https:// or remove ca_cert")


class Health:
    """Looks whether units meet the condition; each look ends within the timeout (seconds), and etcd's own."""

    def __init__(self, health: Mapping[str, Any], timeout: float) -> None:
        self._health = health
        self._timeout = timeout
        self._etcd = EtcdClient(health["etcd"]) if health["etcd_key"] is not None else None
        self._context: ssl.SSLContext | None = None
        if (health["url"] or "").startswith("https:"):
            try:
                self._context = ssl.create_default_context(cafile=health["ca_cert"] or None)
            except (OSError, ssl.SSLError) as error:
                raise UnitError(
                    f"the ca_cert {health['ca_cert']} of health cannot be used ({error_text(error)}); "
                    "give a PEM file of CAs"
                ) from error

    def complaint(self, unit: str, machine: Machine) -> str:
        """What the unit on this machine lacks; empty when it is healthy."""
        if self._etcd is not None:
            key = expand(self._health["etcd_key"], unit, machine)
            try:
                if self._etcd.get(key) is None:
                    return f"the key {key} is not in etcd"
            except EtcdError as error:
                return f"the key {key} cannot be read, {error}"
        if self._health["url"] is not None:
            return self._ask(expand(self._health["url"], unit, machine))
        return ""

    def close(self) -> None:
        if self._etcd is not None:
            self._etcd.close()

    def _ask(self, text: str) -> str:
        url = urlsplit(text)
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                url.hostname or "", url.port, timeout=self._timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=self._timeout)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        try:
            status, _text = exchange(connection, self._timeout, "GET", path, headers={"Connection": "close"})
        except ExpiredError:
            return f"{text} did not answer within {self._timeout:g} s"
        except (OSError, http.client.HTTPException) as error:
            return f"{text} does not answer ({error_text(error)})"
        return "" if 200 <= status < 400 else f"{text} answers {status}"
