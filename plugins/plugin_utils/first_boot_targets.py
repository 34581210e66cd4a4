# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systems that first boot is written for, what each of them refuses, and their updates; no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.flagship.coreos.plugins.plugin_utils.first_boot import File, Update, UserDataError, text_of
from ansible_collections.flagship.coreos.plugins.plugin_utils.kinds import kind_of

FORMATS = ("ignition", "cloud-config")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Target(NamedTuple):
    """A system: its formats, the words of its update agent, where the agent reads, and where Afterburn writes."""

    name: str
    formats: tuple[str, ...]
    strategies: tuple[str, ...]
    update_file: str = ""
    metadata_unit: str = ""
    metadata_file: str = ""
    metadata_prefix: str = ""
    users: tuple[str, ...] = ()
    dead_units: Mapping[str, str] = {}


# Units of an image that cannot work with an etcd that has no v2 API, and what to do instead.
DEAD_UNITS = {
    "etcd2.service": "etcd 2 lacks the v3 API that all of this collection needs; the role etcd's unit is etcd.service",
    "flanneld.service": "its flannel 0.14 speaks etcd's v2 API only, which is off since etcd 3.4; use the overlay of this collection",
    "flannel-docker-opts.service": "it waits for a flannel that cannot start; use the overlay of this collection",
}
# Fedora CoreOS has no coreos-cloudinit, Flatcar has both. "linux" is any other system with Ignition in its initramfs.
TARGETS = {
    "flatcar": Target(
        name="flatcar",
        formats=FORMATS,
        strategies=("reboot", "off"),
        update_file="/etc/flatcar/update.conf",
        metadata_unit="coreos-metadata.service",
        metadata_file="/run/metadata/flatcar",
        metadata_prefix="COREOS",
        users=("etcd",),
        dead_units=DEAD_UNITS,
    ),
    "fedora-coreos": Target(
        name="fedora-coreos",
        formats=("ignition",),
        strategies=("immediate", "periodic", "fleet_lock", "off"),
        update_file="/etc/zincati/config.d/55-updates-strategy.toml",
        metadata_unit="afterburn.service",
        metadata_file="/run/metadata/afterburn",
        metadata_prefix="AFTERBURN",
        dead_units={name: f"Fedora CoreOS has no {name}" for name in DEAD_UNITS},
    ),
    "linux": Target(name="linux", formats=("ignition",), strategies=()),
}


class Provider(NamedTuple):
    """Where a machine comes from: what its metadata calls the addresses, and how many bytes of user data it takes."""

    metadata: str = ""
    limit: int = 0


# UpCloud has a metadata service, which Ignition reads from 2.23 on, but neither Afterburn's stable names of its
# addresses nor a coreos-cloudinit that knows it.
PROVIDERS = {
    "": Provider(),
    "digitalocean": Provider("DIGITALOCEAN_IPV4_{}_0", 65536),
    "upcloud": Provider(),
    "libvirt": Provider(),
    "metal": Provider(),
}


def find_target(name: str, form: str) -> Target:
    """The target of that name, which knows that format; raises UserDataError."""
    if name not in TARGETS:
        raise UserDataError(f"there is no target {name!r}; it is one of {', '.join(TARGETS)}")
    if form not in FORMATS:
        raise UserDataError(f"there is no format {form!r}; it is one of {', '.join(FORMATS)}")
    if form not in TARGETS[name].formats:
        raise UserDataError(f"{name} does not read {form}; use {' or '.join(TARGETS[name].formats)}")
    return TARGETS[name]


def find_provider(name: str) -> Provider:
    """The provider of that name; raises UserDataError."""
    if name not in PROVIDERS:
        raise UserDataError(
            f"there is no provider {name!r}; it is one of {', '.join(filter(None, PROVIDERS))}, or empty"
        )
    return PROVIDERS[name]


def read_update(given: Mapping[str, Any], target: Target) -> Update:
    """The update that `given` describes; raises UserDataError for what the target's agent lacks."""
    strategy = given.get("strategy", "")
    if strategy is False:
        strategy = "off"  # what YAML makes of off without quotes
    text_of("the update strategy", strategy)
    if strategy == "etcd-lock":
        raise UserDataError(
            "the update strategy etcd-lock needs etcd's v2 API, which is off since etcd 3.4 and gone in 3.6; "
            "use reboot with a window of its own for each machine, or off"
        )
    if strategy and not target.strategies:
        raise UserDataError(f"{target.name} has no update agent that is known here; leave the update strategy empty")
    if strategy and strategy not in target.strategies:
        raise UserDataError(f"{target.name} has no update strategy {strategy!r}; it has {', '.join(target.strategies)}")
    days, start, length = _window(given.get("window") or {})
    server, group, lock_url = (
        text_of(f"the update {key}", given.get(key, "")) for key in ("server", "group", "lock_url")
    )
    update = Update(strategy, days, start, length, server, group, lock_url)
    if target.name != "flatcar" and (server or group):
        raise UserDataError(f"{target.name} takes no update server or group; both are Flatcar's")
    if (strategy == "fleet_lock") != bool(lock_url):
        raise UserDataError("the update strategy fleet_lock and the lock's URL belong together; give both or none")
    if lock_url and not re.match(r"https?://", lock_url):
        raise UserDataError(f"the lock's URL {lock_url!r} is no http or https URL; give one")
    if start and strategy not in ("reboot", "periodic"):
        raise UserDataError(
            f"the update strategy {strategy or '(none)'} takes no window; it goes with reboot and periodic"
        )
    if strategy == "periodic" and not start:
        raise UserDataError("the update strategy periodic needs a window; give its start and length")
    if strategy == "reboot" and len(days) > 1:
        raise UserDataError("locksmith knows a window on one day or on every day; give one day or none")
    return update


def _window(given: Any) -> tuple[tuple[str, ...], str, int]:
    if not given:
        return (), "", 0
    if not isinstance(given, Mapping) or not {"start", "length"} <= set(given) <= {"days", "start", "length"}:
        raise UserDataError(f"the update window is {kind_of(given)}; give start, length in minutes, and maybe days")
    days, start, length = given.get("days", []), given["start"], given["length"]
    if not isinstance(days, (list, tuple)) or any(day not in DAYS for day in days):
        raise UserDataError(f"the days of the update window are not understood; give a list of {', '.join(DAYS)}")
    if not isinstance(start, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", start):
        # 14:30 without quotes is the number 870 in YAML 1.1.
        raise UserDataError(f'the start {start} of the update window is not understood; write it in quotes, as "04:00"')
    if isinstance(length, bool) or not isinstance(length, int) or not 0 < length <= 7 * 24 * 60:
        raise UserDataError(f"the length {length} of the update window is not understood; give minutes")
    chosen = tuple(day for day in DAYS if day in days)
    return () if chosen == DAYS else chosen, str(start), length


def update_files(update: Update, target: Target) -> Iterator[File]:
    """The file that tells the target's update agent, where the update says anything."""
    if update != Update():
        content = _locksmith(update) if target.name == "flatcar" else _zincati(update)
        yield File(target.update_file, content)


def read_update_file(content: str, target: Target) -> Update:
    """What update_files wrote."""
    return _read_locksmith(content) if target.name == "flatcar" else _read_zincati(content)


def _locksmith(update: Update) -> str:
    # https://www.flatcar.org/docs/latest/setup/releases/update-conf/
    lines = {
        "GROUP": update.group,
        "SERVER": update.server,
        "REBOOT_STRATEGY": update.strategy,
        "LOCKSMITHD_REBOOT_WINDOW_START": window_start(update),
        "LOCKSMITHD_REBOOT_WINDOW_LENGTH": f"{update.length}m" if update.length else "",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items() if value)


def window_start(update: Update) -> str:
    """The start of locksmith's window: `Thu 04:00`, or `04:00` for every day."""
    return " ".join([*update.days, update.start]).strip()


def from_locksmith(values: Mapping[str, str]) -> Update:
    """The update that values with the names of update.conf mean."""
    *days, start = values.get("LOCKSMITHD_REBOOT_WINDOW_START", "").split(" ")
    length = int(values.get("LOCKSMITHD_REBOOT_WINDOW_LENGTH", "0m").removesuffix("m"))
    update = Update(values.get("REBOOT_STRATEGY", ""), tuple(days), start, length)
    return update._replace(server=values.get("SERVER", ""), group=values.get("GROUP", ""))


def _read_locksmith(content: str) -> Update:
    return from_locksmith(dict(line.split("=", 1) for line in content.splitlines()))


def _zincati(update: Update) -> str:
    # https://coreos.github.io/zincati/usage/updates-strategy/
    if update.strategy == "off":
        return "[updates]\nenabled = false\n"
    text = f"[updates]\nstrategy = {json.dumps(update.strategy)}\n"
    if update.strategy == "fleet_lock":
        text += f"\n[updates.fleet_lock]\nbase_url = {json.dumps(update.lock_url)}\n"
    if update.strategy == "periodic":
        text += f"\n[[updates.periodic.window]]\ndays = {json.dumps(update.days or DAYS)}\n"
        text += f"start_time = {json.dumps(update.start)}\nlength_minutes = {update.length}\n"
    return text


def _read_zincati(content: str) -> Update:
    lines = [line.split(" = ", 1) for line in content.splitlines() if " = " in line]
    told = {key: json.loads(value) for key, value in lines}
    days = tuple(told.get("days", ()))
    return Update(
        "off" if told.get("enabled") is False else told["strategy"],
        () if days == DAYS else days,
        told.get("start_time", ""),
        told.get("length_minutes", 0),
        lock_url=told.get("base_url", ""),
    )


def etcd_bootstrap(given: Mapping[str, Any], version: str) -> dict[str, str]:
    """etcd's settings for a way to find its peers other than a list of them; empty for the list. Raises UserDataError."""
    if not re.fullmatch(r"3\.[0-9]+(\.[0-9]+)?", version):
        raise UserDataError(
            f"the version {version!r} of etcd is not understood; give one such as 3.6, 3.0 or later, in quotes"
        )
    minor = int(version.split(".")[1])
    url, srv, token = (text_of(f"etcd's discovery {key}", given.get(key, "")) for key in ("url", "srv", "token"))
    endpoints = [text_of("an endpoint of etcd's discovery", one) for one in given.get("endpoints", [])]
    if sum(map(bool, (url, srv, token))) > 1:
        raise UserDataError("etcd finds its peers in one way; give one of the discovery's url, srv and token")
    if bool(token) != bool(endpoints):
        raise UserDataError("etcd's discovery by token needs both a token and endpoints; give both or none")
    if url and minor >= 7:
        raise UserDataError(
            f"etcd {version} has no discovery by URL any more; list the members in the group etcd, "
            "or give a DNS domain or a token with endpoints"
        )
    if url and (not re.match(r"https?://", url) or len(urlsplit(url).path.strip("/")) < 8):
        raise UserDataError(
            f"the discovery URL {url!r} has no token of its own; make one at https://discovery.etcd.io/new"
        )
    if token and minor < 6:
        raise UserDataError(
            f"etcd {version} has no discovery by token and endpoints, which came with 3.6; list the members"
        )
    if srv and not re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?", srv, re.I):
        raise UserDataError(f"{srv!r} is no DNS domain; give the one that has the record _etcd-server._tcp")
    settings = {
        "ETCD_DISCOVERY": url,
        "ETCD_DISCOVERY_SRV": srv,
        "ETCD_DISCOVERY_TOKEN": token,
        "ETCD_DISCOVERY_ENDPOINTS": ",".join(endpoints),
    }
    return {key: value for key, value in settings.items() if value}
