# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter rules of the overlay, in chains of our own: what is wanted, and what iptables-restore is given.

- filter: Docker drops what it does not know in FORWARD, so the overlay's traffic is accepted before.
- nat: inside the overlay nothing is masqueraded, towards the outside everything is; Docker's own rule is off (ip-masq).
- raw: Docker from 28.0 on drops here what comes to a container's address from another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

CHAIN = "FLAGSHIP-OVERLAY"
BRIDGE = "docker0"
HOOKS = {"filter": "FORWARD", "nat": "POSTROUTING", "raw": "PREROUTING"}

Tables = Mapping[str, Sequence[str]]
"""Table -> its rules as iptables-save prints them, `-A CHAIN ...`."""


def wanted_rules(network: IPv4Network, subnet: IPv4Network, neighbours: Iterable[IPv4Address]) -> dict[str, list[str]]:
    """The rules of our chain in each table, as iptables-save prints them.

    `neighbours`: machines whose own packets come with their own address, for they are reached without a tunnel.
    """
    hosts = [f"-s {address}/32 -d {subnet} -j ACCEPT" for address in sorted(neighbours)]
    masquerade = "-j MASQUERADE --random-fully"
    bodies = {
        "filter": [f"-i {BRIDGE} -o {BRIDGE} -j RETURN", f"-s {network} -d {network} -j ACCEPT", *hosts],
        "nat": [
            # Inside one bridge Docker masquerades what a container sends to its own published port.
            f"-s {subnet} -d {subnet} -j RETURN",
            f"-s {network} -d {network} -j ACCEPT",
            f"! -s {network} -d {subnet} -j RETURN",
            f"-s {network} ! -d 224.0.0.0/4 {masquerade}",
            f"! -s {network} -d {network} {masquerade}",
        ],
        "raw": [f"-s {network} -d {subnet} -j ACCEPT", *hosts],
    }
    return {table: [f"-A {CHAIN} {body}" for body in rules] for table, rules in bodies.items()}


def parse_save(text: str) -> dict[str, list[str]]:
    """The rules of each table from the output of iptables-save."""
    tables: dict[str, list[str]] = {}
    rules: list[str] = []
    for line in text.splitlines():
        if line.startswith("*"):
            rules = tables.setdefault(line[1:].strip(), [])
        elif line.startswith("-A "):
            rules.append(line.strip())
    return tables


def changes(wanted: Tables, found: Tables) -> dict[str, str]:
    """Table -> text for `iptables-restore --noflush` that brings it to `wanted`; each is applied as a whole."""
    texts = {}
    for table, rules in wanted.items():
        there = found.get(table, ())
        chain = HOOKS[table]
        ours = [rule for rule in there if rule.startswith(f"-A {CHAIN} ")]
        hook = [rule for rule in there if rule.startswith(f"-A {chain} ")]
        jump = f"-A {chain} -j {CHAIN}"
        if ours == list(rules) and hook.count(jump) == 1 and not any(map(_hides, hook[: hook.index(jump)])):
            continue
        user_rules = hook[:1] == [f"-A {chain} -j DOCKER-USER"]
        lines = [f"*{table}", f":{CHAIN} - [0:0]", *rules]
        lines += [f"-D {chain} -j {CHAIN}"] * hook.count(jump)
        lines += [f"-I {chain} {2 if user_rules else 1} -j {CHAIN}", "COMMIT", ""]
        texts[table] = "\n".join(lines)
    return texts


def removal(found: Tables) -> dict[str, str]:
    """Table -> text for `iptables-restore --noflush` that leaves nothing of ours."""
    texts = {}
    for table, chain in HOOKS.items():
        jumps = list(found.get(table, ())).count(f"-A {chain} -j {CHAIN}")
        if jumps or any(rule.startswith(f"-A {CHAIN} ") for rule in found.get(table, ())):
            lines = [f"*{table}", *[f"-D {chain} -j {CHAIN}"] * jumps, f"-F {CHAIN}", f"-X {CHAIN}", "COMMIT", ""]
            texts[table] = "\n".join(lines)
    return texts


def _hides(rule: str) -> bool:
    """Whether a rule before ours could drop what we accept; what the administrator has in DOCKER-USER may."""
    target = rule.partition(" -j ")[2].partition(" ")[0]
    return target == "DROP" or (target.startswith("DOCKER") and target != "DOCKER-USER")
