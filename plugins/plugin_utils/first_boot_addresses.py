# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that only the provider knows: $private_ipv4 and $public_ipv4 in what a machine is told; no I/O.

A coreos-cloudinit replaces them itself, by nothing where it has no address. Ignition never does: a unit does it with what
Afterburn found. In both cases nothing that needs an address starts without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import (
    PLACEHOLDER,
    File,
    Node,
    Unit,
    UserDataError,
)
from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot_targets import Provider, Target

KINDS = ("private", "public")
SCRIPT = "/etc/flagship/addresses.sh"
UNIT = "flagship-addresses.service"


def learn_addresses(node: Node, target: Target, form: str, provider_name: str, provider: Provider) -> Node:
    """The node, with what makes it learn the addresses where it has placeholders; raises UserDataError where it cannot."""
    used = {found for _where, text in _texts(node) for found in PLACEHOLDER.findall(text)}
    if not used:
        return node
    example = sorted(used)[0]
    if any(found.endswith("6") for found in used):
        raise UserDataError(f"{sorted(used)[-1]} is known to no part of this collection; use IPv4 addresses")
    if not provider.metadata or not target.metadata_file:
        where = provider_name or "an unnamed provider"
        raise UserDataError(
            f"a machine of {where} cannot learn {example} at first boot; "
            "give coreos_private_ipv4 and coreos_public_ipv4 in the inventory"
        )
    files = [file for file in node.files if file.content is not None and PLACEHOLDER.search(file.content)]
    in_files = sum(len(PLACEHOLDER.findall(file.content or "")) for file in files)
    if in_files != sum(len(PLACEHOLDER.findall(text)) for _where, text in _texts(node)):
        place = next(where for where, text in _texts(node) if PLACEHOLDER.search(text) and not where.startswith("/"))
        raise UserDataError(
            f"{place} has {example}, which is replaced in files only; "
            "use EnvironmentFile=/etc/environment and ${COREOS_PRIVATE_IPV4} there"
        )
    kinds = [kind for kind in KINDS if f"${kind}_ipv4" in used]
    # Services only: a socket comes up before any service can, so an order between the two would be a circle.
    services = [unit for unit in node.units if unit.name.endswith(".service")]
    held = [unit.name for unit in services if unit.enabled and unit.content is not None]
    script = File(SCRIPT, _script(kinds, files, target, form, provider), 0o644)
    unit = Unit(UNIT, _unit(held, target, form), enabled=True)
    return node._replace(files=(*node.files, script), units=(unit, *node.units))


def _texts(node: Node) -> Iterator[tuple[str, str]]:
    """Every text that a machine is told, and where it stands; files by their path."""
    yield "the host name", node.hostname
    for user in node.users:
        yield f"user {user.name}", repr(user)
    for file in node.files:
        yield file.path, file.content or ""
        yield f"the source of {file.path}", file.source
    for unit in node.units:
        yield unit.name, "\n".join([unit.content or "", *(content for _name, content in unit.dropins)])
    yield "the update", repr(node.update)


def _script(kinds: list[str], files: list[File], target: Target, form: str, provider: Provider) -> str:
    lines = [
        "#!/bin/sh",
        "# Writes this machine's addresses, which only its provider knows, where its settings name them.",
        "set -eu",
    ]
    for kind in kinds:
        variable = f"{target.metadata_prefix}_{provider.metadata.format(kind.upper())}"
        # In a cloud-config, coreos-cloudinit has put the address, or nothing, in the place of the name.
        lines.append(f"{kind}=${{{variable}:-}}" if form == "ignition" else f"{kind}='${kind}_ipv4'")
        lines += [
            f'if [ -z "${kind}" ]; then',
            f'    echo "The provider gave this machine no {kind} IPv4 address: give it one, and boot it anew." >&2',
            "    exit 1",
            "fi",
        ]
    if form == "ignition":
        # The brackets keep the name from being replaced in this very file.
        commands = "; ".join(f"s/[$]{kind}_ipv4/${kind}/g" for kind in kinds)
        lines += [f'sed -i "{commands}" "{file.path}"' for file in files]
    return "\n".join(lines) + "\n"


def _unit(held: list[str], target: Target, form: str) -> str:
    before = f"Before={' '.join(held)}\n" if held else ""
    source = f"Requires={target.metadata_unit}\nAfter={target.metadata_unit}\n" if form == "ignition" else ""
    environment = f"EnvironmentFile={target.metadata_file}\n" if form == "ignition" else ""
    required = f"RequiredBy={' '.join(held)}\n" if held else ""
    return (
        f"[Unit]\nDescription=Writes this machine's addresses\n{source}{before}"
        f"\n[Service]\nType=oneshot\nRemainAfterExit=yes\n{environment}ExecStart=/bin/sh {SCRIPT}\n"
        f"\n[Install]\nWantedBy=multi-user.target\n{required}"
    )
