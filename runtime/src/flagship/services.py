# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Service keys: `/services/<service>/<instance>` holds `host:port`.

The layout is that of registrator (https://gliderlabs.github.io/registrator/latest/user/backends/#etcd); here every key
is bound to a lease. The host is an IP address: one name that does not resolve makes nginx refuse a configuration.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from flagship.etcd import KeyValue

_SERVICE = re.compile(r"[A-Za-z0-9_.-]+")
_INSTANCE = re.compile(r"[!-.0-~]+")  # printable ASCII but / and blanks: safe in a comment of any configuration file


@dataclass(frozen=True, order=True)
class Instance:
    """One address under which a service can be used; `key` is where it stands in etcd."""

    name: str
    host: str
    port: int
    key: str

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return format_address(self.host, self.port)


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """IP address and port from `host:port` or `[host]:port`; ValueError says what is wrong."""
    host, _colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        address = None
    if address is None or (address.version == 6) != bracketed or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"{text!r} is not an IP address and port such as 10.0.0.1:80 or [fd00::1]:80")
    if not 0 < int(port) < 65536:
        raise ValueError(f"the port of {text!r} is not between 1 and 65535")
    return str(address), int(port)


def service_key(prefix: str, service: str, instance: str) -> str:
    """The key of an instance; ValueError when a name cannot stand in one."""
    if not _SERVICE.fullmatch(service):
        raise ValueError(f"service name {service!r} may hold letters, digits and _.- only")
    if not _INSTANCE.fullmatch(instance):
        raise ValueError(f"instance name {instance!r} may hold printable ASCII characters but / and blanks only")
    return f"{prefix.rstrip('/')}/{service}/{instance}"


def parse_services(items: Iterable[KeyValue], prefix: str) -> tuple[dict[str, list[Instance]], list[str]]:
    """The instances of each service, sorted, from the keys under `prefix`, and a sentence for each key left out.

    `prefix` is that of all services (/services) or of one (/services/website).
    """
    services: dict[str, list[Instance]] = {}
    complaints = []
    root = prefix.rstrip("/") + "/"
    for item in sorted(items, key=lambda item: item.key):
        parts = item.key.removeprefix(root).split("/")
        try:
            if not item.key.startswith(root) or len(parts) > 2:
                raise ValueError("it does not end in /<service>/<instance>")
            name = parts[-1]
            service = parts[0] if len(parts) == 2 else root.rstrip("/").rpartition("/")[2]
            service_key(prefix, service, name)
            host, port = parse_address(item.value.decode("ascii", "backslashreplace").strip())
        except ValueError as error:
            complaints.append(f"Key {item.key!r} is left out: {error}.")
            continue
        services.setdefault(service, []).append(Instance(name, host, port, item.key))
    return {service: sorted(services[service]) for service in sorted(services)}, complaints
