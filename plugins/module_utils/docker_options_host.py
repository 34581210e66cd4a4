# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of what a container may use and do on its host: rights, devices, name spaces and limits. Pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import size, text_dict
from ansible_collections.flagship.coreos.plugins.module_utils.docker_option import Option, always, field

UNCONFINED = "systempaths=unconfined"


def _capabilities(value: list[str]) -> frozenset[str]:
    return frozenset(re.sub(r"^CAP_", "", name.upper()) for name in value)


def _memory(value: Any) -> int:
    return int(size(str(value)))


def _devices(value: list[str]) -> frozenset[str]:
    found = set()
    for spec in value:
        parts = spec.split(":")
        if len(parts) > 3 or not parts[0].startswith("/"):
            raise ValueError(f"{spec!r} is not a device; write /HOST/PATH[:/CONTAINER/PATH[:rwm]]")
        host, inside, permissions = [*parts, "", ""][:3]
        found.add(f"{host}:{inside or host}:{permissions or 'rwm'}")
    return frozenset(found)


def _read_devices(container: dict[str, Any]) -> list[str]:
    return [
        f"{device['PathOnHost']}:{device['PathInContainer']}:{device['CgroupPermissions']}"
        for device in container["HostConfig"].get("Devices") or []
    ]


def _write_devices(body: dict[str, Any], value: frozenset[str]) -> None:
    keys = ("PathOnHost", "PathInContainer", "CgroupPermissions")
    body["HostConfig"]["Devices"] = [dict(zip(keys, device.split(":"))) for device in sorted(value)]


def _security(value: list[str]) -> frozenset[str]:
    options = set()
    for text in value:
        # The colon is the separator of old clients.
        name, _separator, setting = (text if "=" in text else text.replace(":", "=", 1)).partition("=")
        if name == "no-new-privileges" and setting in ("", "true"):
            options.add(name)
        elif name == "systempaths" and setting != "unconfined":
            raise ValueError(f"{text!r} is not known; the only value of systempaths is unconfined")
        else:
            options.add(f"{name}={setting}" if setting else name)
    return frozenset(options)


def _read_security(container: dict[str, Any]) -> list[str]:
    host = container["HostConfig"]
    options = set(host.get("SecurityOpt") or [])
    if host.get("Privileged"):
        options.discard("label=disable")  # set by the engine itself
    elif host.get("MaskedPaths") == [] and host.get("ReadonlyPaths") == []:
        options.add(UNCONFINED)
    return sorted(options)


def _write_security(body: dict[str, Any], value: frozenset[str]) -> None:
    # The engine does not know systempaths: its command line client turns it into two empty lists (docker/cli#1808).
    body["HostConfig"]["SecurityOpt"] = sorted(value - {UNCONFINED})
    if UNCONFINED in value:
        body["HostConfig"].update(MaskedPaths=[], ReadonlyPaths=[])


def _engine_security(wanted: frozenset[str], image: dict[str, Any], params: dict[str, Any]) -> frozenset[str]:
    # A privileged container has every path open and no label whether asked or not.
    return wanted - {UNCONFINED, "label=disable"} if params.get("privileged") else wanted


def _cpus(value: Any) -> float:
    return round(float(value), 9)


def _read_cpus(container: dict[str, Any]) -> float:
    return (container["HostConfig"].get("NanoCpus") or 0) / 10**9


def _write_cpus(body: dict[str, Any], value: float) -> None:
    body["HostConfig"]["NanoCpus"] = round(value * 10**9)


def _pids_limit(value: Any) -> int:
    # All of these mean no limit.
    return max(0, int(value))


def _memory_swap(value: Any) -> int:
    return -1 if str(value).lower() in ("-1", "unlimited") else size(str(value))


def _engine_memory_swap(wanted: int, image: dict[str, Any], params: dict[str, Any]) -> int:
    return wanted or 2 * _memory(params.get("memory") or 0)


def _ulimits(value: Any) -> dict[str, str]:
    items = [f"{name}:{limit}" for name, limit in value.items()] if isinstance(value, dict) else value
    limits: dict[str, str] = {}
    for spec in items:
        match = re.match(r"^([a-z]+)[:=](-1|\d+)(?::(-1|\d+))?$", str(spec))
        if not match:
            raise ValueError(f"{spec!r} is not a limit; write NAME:SOFT[:HARD], such as nofile:1024:4096")
        name, soft, hard = match.groups()
        if name in limits:
            raise ValueError(f"there are two limits for {name}; keep one")
        if hard and int(hard) != -1 and (int(soft) > int(hard) or int(soft) == -1):
            raise ValueError(f"{spec!r} has a soft limit above its hard limit; swap them")
        limits[name] = f"{soft}:{hard or soft}"
    return limits


def _read_ulimits(container: dict[str, Any]) -> list[str]:
    return [
        f"{limit['Name']}:{limit['Soft']}:{limit['Hard']}" for limit in container["HostConfig"].get("Ulimits") or []
    ]


def _write_ulimits(body: dict[str, Any], value: dict[str, str]) -> None:
    body["HostConfig"]["Ulimits"] = [
        {"Name": name, "Soft": int(limit.partition(":")[0]), "Hard": int(limit.partition(":")[2])}
        for name, limit in sorted(value.items())
    ]


def _ipc_mode(value: str) -> str:
    return value or "private"


OPTIONS: tuple[Option, ...] = (
    field("capabilities", "HostConfig", "CapAdd", _capabilities, []),
    field("cap_drop", "HostConfig", "CapDrop", _capabilities, []),
    field("privileged", "HostConfig", "Privileged", bool, False),
    Option("security_opts", _security, _read_security, _write_security, _engine_security),
    field("cgroupns_mode", "HostConfig", "CgroupnsMode", str, ""),
    field("pid_mode", "HostConfig", "PidMode", str, ""),
    field("ipc_mode", "HostConfig", "IpcMode", _ipc_mode, ""),
    Option("devices", _devices, _read_devices, _write_devices),
    field("sysctls", "HostConfig", "Sysctls", text_dict, {}),
    Option("ulimits", _ulimits, _read_ulimits, _write_ulimits),
    field("memory", "HostConfig", "Memory", _memory, 0, updatable=bool),
    field("memory_reservation", "HostConfig", "MemoryReservation", _memory, 0, updatable=bool),
    field("memory_swap", "HostConfig", "MemorySwap", _memory_swap, 0, _engine_memory_swap, updatable=bool),
    Option("cpus", _cpus, _read_cpus, _write_cpus, updatable=bool),
    field("cpu_shares", "HostConfig", "CpuShares", int, 0, updatable=bool),
    field("cpuset_cpus", "HostConfig", "CpusetCpus", str, "", updatable=bool),
    field("pids_limit", "HostConfig", "PidsLimit", _pids_limit, 0, updatable=always),
)
