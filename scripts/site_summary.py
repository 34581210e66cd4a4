# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a running site: its machines and units, the titles of some of its pages, and its address.

The machines are asked over SSH, as the inventory says; one that answers is enough.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final

# A balancer and, where there are several, its number; and what holds the address that several share.
BALANCER: Final = re.compile(r"(nginx-loadbalancer|haproxy)(@\w+)?\.service")
VIRTUAL_IP: Final = {"nginx-loadbalancer": "nginx-virtual-ip", "haproxy": "haproxy-virtual-ip"}
FLEETCTL: Final = "/opt/flagship/bin/fleetctl"
REQUESTS: Final = 6


class SummaryError(Exception):
    """One sentence for the person who asked."""


def site_url(units: str, contents: Callable[[str], str]) -> str:
    """Return where the site is: at the address that its balancers share, or at that of the machine of the only one.

    `units` is what `fleetctl list-units --full --no-legend` prints: unit, machine id/address, active state, sub state.
    `contents` returns the text of a unit, given its name.
    """
    for line in units.splitlines():
        unit, machine, active, *_sub = [*line.split(), "", "", ""]
        if (match := BALANCER.fullmatch(unit)) and active == "active":
            address = machine.rpartition("/")[2]
            if number := match[2]:
                shared = re.search(
                    r"^Description=Holds (\S+) ", contents(f"{VIRTUAL_IP[match[1]]}{number}.service"), re.M
                )
                address = shared[1] if shared else address
            published = re.search(r" --publish (\d+):", contents(unit))
            return f"http://{address}{f':{published[1]}' if published and published[1] != '80' else ''}/"
    raise SummaryError("No machine runs a balancer, so the site has no address: 'make site' starts it.")


def page_title(page: str) -> str:
    """Return what stands between the title tags of an HTML page, or nothing."""
    match = re.search(r"<title>(.*?)</title>", page, re.DOTALL | re.IGNORECASE)
    return match.group(1).strip() if match else ""


def ssh_command(host: str, variables: dict[str, Any]) -> list[str]:
    """Return the ssh command for a host of the inventory, from the variables that Ansible uses for the same."""
    command = [
        "ssh",
        "-oBatchMode=yes",
        "-oConnectTimeout=5",
        *shlex.split(variables.get("ansible_ssh_common_args", "")),
    ]
    if "ansible_ssh_private_key_file" in variables:
        command += ["-i", str(variables["ansible_ssh_private_key_file"])]
    if "ansible_port" in variables:
        command += ["-p", str(variables["ansible_port"])]
    if "ansible_user" in variables:
        command += ["-l", str(variables["ansible_user"])]
    return [*command, str(variables.get("ansible_host", host))]


def machines(inventory: str) -> list[list[str]]:
    """Return the ssh command of every host in the inventory's group fleet."""
    command = ["ansible-inventory", "--inventory", inventory, "--list"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise SummaryError("The program ansible-inventory is missing: 'make setup' installs it.") from None
    listing = json.loads(answer.stdout) if answer.returncode == 0 else {}
    hosts = listing.get("fleet", {}).get("hosts", [])
    if not hosts:
        raise SummaryError(
            f"The inventory {inventory} has no hosts in the group fleet: 'make lab-up' writes one for the lab."
        )
    return [ssh_command(host, listing["_meta"]["hostvars"].get(host, {})) for host in hosts]


def fleetctl(hosts: list[list[str]], arguments: str) -> str:
    """Return what fleetctl prints on the first host that answers."""
    said = ""
    for host in hosts:
        try:
            answer = subprocess.run(
                [*host, f"sudo {FLEETCTL} {arguments}"], capture_output=True, text=True, timeout=30, check=False
            )
        except subprocess.TimeoutExpired:
            said = "no answer within 30 seconds"
            continue
        if answer.returncode == 0:
            return answer.stdout
        said = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    raise SummaryError(f"No machine of the group fleet answers to 'fleetctl {arguments}' ({said}).")


def fetch_title(url: str) -> str:
    """Return the title of the page at `url`, or a sentence on why there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the address is the cluster's own
            return page_title(answer.read().decode(errors="replace"))
    except (urllib.error.URLError, OSError) as error:
        return f"no answer: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Show a running site.")
    parser.add_argument("inventory")
    parser.add_argument("--address", action="store_true", help="only the last line, the site's address")
    arguments = parser.parse_args()
    try:
        hosts = machines(arguments.inventory)
        url = site_url(fleetctl(hosts, "list-units --full --no-legend"), lambda unit: fleetctl(hosts, f"cat {unit}"))
        if not arguments.address:
            print(fleetctl(hosts, "list-machines"))
            print(fleetctl(hosts, "list-units"))
            print("\n".join(fetch_title(url) for _request in range(REQUESTS)))
    except SummaryError as error:
        sys.exit(str(error))
    print(f"site: {url}")


if __name__ == "__main__":
    main()
