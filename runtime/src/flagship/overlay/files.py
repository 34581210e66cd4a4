# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of the overlay: flannel's subnet.env, Docker's settings, and the copy for a boot without etcd."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

# https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file
_DOCKER_KEYS = ("bip", "mtu", "ip-masq")


class FileError(Exception):
    """A file cannot be used; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Assignment:
    """What subnet.env tells Docker and other programs of this node."""

    network: IPv4Network
    subnet: IPv4Network
    mtu: int

    @property
    def gateway(self) -> IPv4Interface:
        """The address of the bridge: the first of the subnet."""
        return IPv4Interface((self.subnet.network_address + 1, self.subnet.prefixlen))


def subnet_env(assignment: Assignment) -> str:
    """The text of subnet.env, as flannel writes it (its pkg/subnet/subnet.go)."""
    return (
        f"FLANNEL_NETWORK={assignment.network}\n"
        f"FLANNEL_SUBNET={assignment.gateway}\n"
        f"FLANNEL_MTU={assignment.mtu}\n"
        "FLANNEL_IPMASQ=true\n"
    )


def parse_subnet_env(text: str) -> Assignment:
    """What a subnet.env says, flanneld's too; raises FileError."""
    values = dict(line.strip().partition("=")[::2] for line in text.splitlines())
    try:
        gateway = IPv4Interface(values["FLANNEL_SUBNET"])
        return Assignment(IPv4Network(values["FLANNEL_NETWORK"]), gateway.network, int(values["FLANNEL_MTU"]))
    except (KeyError, ValueError) as error:
        raise FileError(f"it is not flannel's subnet.env: {error}") from None


def docker_settings(text: str, assignment: Assignment | None) -> str:
    """The text of daemon.json with the bridge on the subnet, or (None) without our keys; other keys stay.

    Raises FileError when the text is no JSON object, or gives the default bridge to somebody else.
    """
    try:
        settings: Any = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise FileError(f"it is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise FileError("it is not a JSON object")
    if assignment is None:
        rest = {key: value for key, value in settings.items() if key not in _DOCKER_KEYS}
        return _json(rest) if rest else ""
    if settings.get("bridge"):
        raise FileError(f'its key bridge is "{settings["bridge"]}": remove it, so that Docker has its own bridge')
    values = dict(zip(_DOCKER_KEYS, (str(assignment.gateway), assignment.mtu, False), strict=True))
    return text if values.items() <= settings.items() else _json({**settings, **values})


def saved_state(config: str, subnet: IPv4Network, leases: Mapping[str, str]) -> str:
    """The text of the copy: the configuration, our subnet, and the leases by key."""
    return _json({"config": config, "subnet": str(subnet), "leases": dict(sorted(leases.items()))})


def parse_saved_state(text: str) -> tuple[str, IPv4Network, dict[str, str]]:
    """What saved_state() was given; raises FileError."""
    try:
        document = json.loads(text)
        leases = {str(key): str(value) for key, value in document["leases"].items()}
        return str(document["config"]), IPv4Network(document["subnet"]), leases
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"it is not what this program wrote: {error}") from None


def read(path: Path) -> str:
    """The text of a file, empty when there is none; raises FileError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {error}") from None


def write(path: Path, text: str) -> bool:
    """Have a file hold the text, replaced as a whole, only if it differs; returns whether it did. Raises FileError."""
    if read(path) == text and path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.new")
        with staged.open("w", encoding="utf-8") as file:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error}") from None
    return True


def _json(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"
