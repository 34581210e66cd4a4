# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container, each as a record that reads, normalises and writes itself.

Pure: nothing here talks to an engine. A record reads and writes the layout of the engine's inspect answer, a mapping
with the members Config and HostConfig.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import plain, size, text_dict

UNCONFINED = "systempaths=unconfined"
VOLUME_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
SHARING = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
VOLUME_MODES = frozenset(["ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", *SHARING])


def _as_wanted(wanted: Any, image: dict[str, Any], params: dict[str, Any]) -> Any:
    return wanted


def _never(wanted: Any) -> bool:
    return False


@dataclass(frozen=True)
class Option:
    """One option of a container.

    canonical takes the user's value, or what read returns, to the form that is compared (docker_compare); ValueError
    says what is wrong with a value. expected says what the engine will report for a wanted value once the image's own
    configuration is merged in. updatable says whether the engine can give that value to a container that exists.
    """

    name: str
    canonical: Callable[[Any], Any]
    read: Callable[[dict[str, Any]], Any]
    write: Callable[[dict[str, Any], Any], None]
    expected: Callable[[Any, dict[str, Any], dict[str, Any]], Any] = _as_wanted
    updatable: Callable[[Any], bool] = _never
    secret: bool = False

    def wanted(self, params: dict[str, Any]) -> Any:
        """The canonical value that was asked for, None when the option was not given. Raises ValueError."""
        value = params.get(self.name)
        return None if value is None else self.canonical(value)

    def found(self, container: dict[str, Any]) -> Any:
        """The canonical value that a container has."""
        return self.canonical(self.read(container))


def _field(
    name: str,
    section: str,
    key: str,
    canonical: Callable[[Any], Any],
    empty: Any,
    expected: Callable[[Any, dict[str, Any], dict[str, Any]], Any] = _as_wanted,
    updatable: Callable[[Any], bool] = _never,
) -> Option:
    def read(container: dict[str, Any]) -> Any:
        value = container[section].get(key)
        return empty if value is None else value

    def write(body: dict[str, Any], value: Any) -> None:
        body[section][key] = plain(value)

    return Option(name, canonical, read, write, expected, updatable)


def _inherited(key: str) -> Callable[[Any, dict[str, Any], dict[str, Any]], Any]:
    def expected(wanted: Any, image: dict[str, Any], params: dict[str, Any]) -> Any:
        return wanted or image.get(key) or ""

    return expected


def _words(value: Any) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else [str(word) for word in value]


def _command(wanted: list[str], image: dict[str, Any], params: dict[str, Any]) -> list[str]:
    # An entry point of the container's own also drops the image's command.
    return wanted or ([] if params.get("entrypoint") else list(image.get("Cmd") or []))


def _entrypoint(wanted: list[str], image: dict[str, Any], params: dict[str, Any]) -> list[str]:
    return [] if wanted == [""] else wanted or list(image.get("Entrypoint") or [])


def _read_env(container: dict[str, Any]) -> dict[str, str]:
    entries: list[str] = container["Config"].get("Env") or []
    return dict(entry.partition("=")[::2] for entry in entries)


def _write_env(body: dict[str, Any], value: dict[str, str]) -> None:
    body["Config"]["Env"] = [f"{key}={text}" for key, text in value.items()]


def _env(value: dict[str, Any]) -> dict[str, str]:
    for key in value:
        if not key or "=" in str(key):
            raise ValueError(f"{key!r} cannot be the name of an environment variable")
    return dict(text_dict(value))


def _merged_env(wanted: dict[str, str], image: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    return {**_read_env({"Config": image}), **wanted}


def _merged_labels(wanted: dict[str, str], image: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    return {**(image.get("Labels") or {}), **wanted}


def _capabilities(value: list[str]) -> frozenset[str]:
    return frozenset(re.sub(r"^CAP_", "", name.upper()) for name in value)


def _signal(value: Any) -> str:
    text = str(value).upper()
    return text if not text or text.isdigit() or text.startswith("SIG") else f"SIG{text}"


def _directory(value: str) -> str:
    return os.path.normpath(value) if value else ""


def _network_mode(value: str) -> str:
    # Engine 26.1 began to report "bridge" where older ones say "default" (moby#47431).
    return "bridge" if value in ("", "default") else value


def _memory(value: Any) -> int:
    return int(size(str(value)))


def _restart_policy(value: str) -> str:
    return re.sub(r"^$", "no", value).removesuffix(":0")


def _read_restart_policy(container: dict[str, Any]) -> str:
    policy = container["HostConfig"].get("RestartPolicy") or {}
    return f"{policy.get('Name', '')}:{policy.get('MaximumRetryCount', 0)}"


def _write_restart_policy(body: dict[str, Any], value: str) -> None:
    name, _colon, retries = value.partition(":")
    body["HostConfig"]["RestartPolicy"] = {"Name": name, "MaximumRetryCount": int(retries or 0)}


def _span(text: str, spec: str) -> range:
    first, _dash, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise ValueError(
            f"{spec!r} is not a port to publish; write [[IP:]HOST:]CONTAINER[/tcp|udp|sctp], such as 8080:80"
        )
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise ValueError(f"{spec!r} names a port outside 1 to 65535 or a range that runs backwards")
    return ports


def _publications(spec: str) -> Iterator[str]:
    rest, _slash, protocol = spec.partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise ValueError(f"{spec!r} names the protocol {protocol!r}; use tcp, udp or sctp")
    address, host, inside = ([""] * 2 + rest.rsplit(":", 2))[-3:]
    if address:
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            raise ValueError(f"{spec!r} starts with {address!r}, which is not an IP address") from None
    ports = _span(inside, spec)
    hosts: list[str] = [""] * len(ports)
    if host:
        span = _span(host, spec)
        # One container port with a range of host ports: the engine picks a free one.
        hosts = [host] if len(ports) == 1 else [str(port) for port in span]
        if len(hosts) != len(ports):
            raise ValueError(
                f"{spec!r} maps {len(span)} host ports to {len(ports)} container ports; make both ranges as long"
            )
    for outer, port in zip(hosts, ports):
        prefix = f"{address}:{outer}:" if address else f"{outer}:" if outer else ""
        yield f"{prefix}{port}/{protocol or 'tcp'}"


def _ports(value: list[str]) -> frozenset[str]:
    return frozenset(publication for spec in value for publication in _publications(str(spec)))


def _read_ports(container: dict[str, Any]) -> list[str]:
    found = []
    for port, bindings in (container["HostConfig"].get("PortBindings") or {}).items():
        for binding in bindings or [{}]:
            address, outer = binding.get("HostIp") or "", binding.get("HostPort") or ""
            address = f"[{address}]" if ":" in address else address
            found.append(f"{address}:{outer}:{port}")
    return found


def _write_ports(body: dict[str, Any], value: frozenset[str]) -> None:
    bindings = body["HostConfig"].setdefault("PortBindings", {})
    for publication in sorted(value):
        address, outer, port = ([""] * 2 + publication.rsplit(":", 2))[-3:]
        bindings.setdefault(port, []).append({"HostIp": address.strip("[]"), "HostPort": outer})
        body["Config"].setdefault("ExposedPorts", {})[port] = {}


def _volume(spec: str) -> tuple[str, str]:
    source, target, modes = [*spec.split(":"), "", ""][:3] if ":" in spec else ("", spec, "")
    named = bool(VOLUME_NAME.match(source))
    if spec.count(":") > 2 or not target.startswith("/") or not (named or source.startswith("/") or spec == target):
        raise ValueError(
            f"{spec!r} is not a volume; write /HOST/PATH:/PATH[:MODES], VOLUME:/PATH[:MODES] or /PATH, "
            "with /PATH inside the container"
        )
    options = {mode for mode in modes.split(",") if mode}
    unknown = options - VOLUME_MODES
    if unknown:
        raise ValueError(
            f"{spec!r} has the unknown mode {', '.join(sorted(unknown))}; use {', '.join(sorted(VOLUME_MODES))}"
        )
    target = _directory(target)
    source = source if named else _directory(source)
    suffix = ",".join(sorted(options - {"rw"}))
    return target, ":".join(part for part in (source, target, suffix) if part)


def _volumes(value: list[str]) -> frozenset[str]:
    by_target: dict[str, str] = {}
    for target, volume in map(_volume, value):
        if by_target.setdefault(target, volume) != volume:
            raise ValueError(f"both {by_target[target]!r} and {volume!r} are to be at {target}; keep one")
    return frozenset(by_target.values())


def _read_volumes(container: dict[str, Any]) -> list[str]:
    binds = list(container["HostConfig"].get("Binds") or [])
    targets = {_volume(bind)[0] for bind in binds}
    return binds + [path for path in container["Config"].get("Volumes") or {} if _directory(path) not in targets]


def _write_volumes(body: dict[str, Any], value: frozenset[str]) -> None:
    body["HostConfig"]["Binds"] = sorted(volume for volume in value if ":" in volume)
    body["Config"]["Volumes"] = {volume: {} for volume in sorted(value) if ":" not in volume}


def _merged_volumes(wanted: frozenset[str], image: dict[str, Any], params: dict[str, Any]) -> frozenset[str]:
    targets = {_volume(volume)[0] for volume in wanted}
    return wanted | {_directory(path) for path in image.get("Volumes") or {} if _directory(path) not in targets}


def _tmpfs(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is text; write a list of PATH[:OPTIONS] or a mapping of paths to options")
    items = value.items() if isinstance(value, dict) else [str(entry).partition(":")[::2] for entry in value]
    mounts = {}
    for path, options in items:
        if not str(path).startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path in the container")
        mounts[_directory(path)] = ",".join(sorted(option for option in str(options or "").split(",") if option))
    return mounts


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


def _read_hosts(container: dict[str, Any]) -> dict[str, str]:
    return dict(entry.partition(":")[::2] for entry in container["HostConfig"].get("ExtraHosts") or [])


def _write_hosts(body: dict[str, Any], value: dict[str, str]) -> None:
    body["HostConfig"]["ExtraHosts"] = [f"{name}:{address}" for name, address in sorted(value.items())]


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


def _read_log_driver(container: dict[str, Any]) -> str:
    return str((container["HostConfig"].get("LogConfig") or {}).get("Type") or "")


def _write_log_driver(body: dict[str, Any], value: str) -> None:
    body["HostConfig"].setdefault("LogConfig", {})["Type"] = value


def _read_log_options(container: dict[str, Any]) -> dict[str, str]:
    return dict((container["HostConfig"].get("LogConfig") or {}).get("Config") or {})


def _write_log_options(body: dict[str, Any], value: dict[str, str]) -> None:
    body["HostConfig"].setdefault("LogConfig", {})["Config"] = value


OPTIONS: tuple[Option, ...] = (
    _field("hostname", "Config", "Hostname", str, ""),
    _field("user", "Config", "User", str, "", _inherited("User")),
    _field("working_dir", "Config", "WorkingDir", _directory, "", _inherited("WorkingDir")),
    _field("command", "Config", "Cmd", _words, [], _command),
    _field("entrypoint", "Config", "Entrypoint", _words, [], _entrypoint),
    Option("env", _env, _read_env, _write_env, _merged_env, secret=True),
    _field("labels", "Config", "Labels", text_dict, {}, _merged_labels),
    _field("stop_signal", "Config", "StopSignal", _signal, "", _inherited("StopSignal")),
    _field("stop_timeout", "Config", "StopTimeout", int, 10),
    _field("network_mode", "HostConfig", "NetworkMode", _network_mode, ""),
    Option("published_ports", _ports, _read_ports, _write_ports),
    Option("volumes", _volumes, _read_volumes, _write_volumes, _merged_volumes),
    _field("tmpfs", "HostConfig", "Tmpfs", _tmpfs, {}),
    _field("capabilities", "HostConfig", "CapAdd", _capabilities, []),
    _field("cap_drop", "HostConfig", "CapDrop", _capabilities, []),
    _field("privileged", "HostConfig", "Privileged", bool, False),
    Option("security_opts", _security, _read_security, _write_security, _engine_security),
    _field("cgroupns_mode", "HostConfig", "CgroupnsMode", str, ""),
    Option("devices", _devices, _read_devices, _write_devices),
    _field("dns", "HostConfig", "Dns", list, []),
    Option("extra_hosts", text_dict, _read_hosts, _write_hosts),
    _field("init", "HostConfig", "Init", bool, False),
    _field("memory", "HostConfig", "Memory", _memory, 0, updatable=bool),
    Option("restart_policy", _restart_policy, _read_restart_policy, _write_restart_policy, updatable=bool),
    Option("log_driver", str, _read_log_driver, _write_log_driver),
    Option("log_options", text_dict, _read_log_options, _write_log_options),
)
