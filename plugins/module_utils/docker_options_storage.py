# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container's file systems: volumes, mounts and file systems in memory. Pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import directory, size, text_dict
from ansible_collections.flagship.coreos.plugins.module_utils.docker_option import Option, field

MOUNT_TYPES = ("bind", "volume", "tmpfs")
# Members of a mount that only mean something with one type.
MOUNT_MEMBERS = {
    "propagation": "bind",
    "no_copy": "volume",
    "labels": "volume",
    "volume_driver": "volume",
    "volume_options": "volume",
    "tmpfs_size": "tmpfs",
    "tmpfs_mode": "tmpfs",
}
VOLUME_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
SHARING = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
VOLUME_MODES = frozenset(["ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", *SHARING])


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
    target = directory(target)
    source = source if named else directory(source)
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
    return binds + [path for path in container["Config"].get("Volumes") or {} if directory(path) not in targets]


def _write_volumes(body: dict[str, Any], value: frozenset[str]) -> None:
    body["HostConfig"]["Binds"] = sorted(volume for volume in value if ":" in volume)
    body["Config"]["Volumes"] = {volume: {} for volume in sorted(value) if ":" not in volume}


def _merged_volumes(wanted: frozenset[str], image: dict[str, Any], params: dict[str, Any]) -> frozenset[str]:
    targets = {_volume(volume)[0] for volume in wanted}
    return wanted | {directory(path) for path in image.get("Volumes") or {} if directory(path) not in targets}


def _tmpfs(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is text; write a list of PATH[:OPTIONS] or a mapping of paths to options")
    items = value.items() if isinstance(value, dict) else [str(entry).partition(":")[::2] for entry in value]
    mounts = {}
    for path, options in items:
        if not str(path).startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path in the container")
        mounts[directory(path)] = ",".join(sorted(option for option in str(options or "").split(",") if option))
    return mounts


def _shm_size(value: Any) -> int:
    return int(size(str(value)))


def _engine_shm_size(wanted: int, image: dict[str, Any], params: dict[str, Any]) -> int:
    return wanted or 64 * 1024**2


def _mounts(value: Any) -> dict[str, dict[str, Any]]:
    """The mounts by their place in the container, without the members that say nothing."""
    mounts: dict[str, dict[str, Any]] = {}
    for entry in value.values() if isinstance(value, dict) else value:
        mount = _mount(entry)
        if mount["target"] in mounts:
            raise ValueError(f"two mounts are to be at {mount['target']}; keep one")
        mounts[mount["target"]] = mount
    return mounts


def _mount(entry: dict[str, Any]) -> dict[str, Any]:
    mount = {key: item for key, item in entry.items() if item not in (None, "", False, {})}
    target, kind, source = mount.get("target", ""), mount.setdefault("type", "volume"), mount.get("source", "")
    if not target.startswith("/"):
        raise ValueError(f"the target {target!r} is not an absolute path in the container")
    for name, of_type in MOUNT_MEMBERS.items():
        if name in mount and kind != of_type:
            raise ValueError(f"{name} of the mount at {target} is for type {of_type}, not {kind}; leave it out")
    if kind == "bind" and not source.startswith("/"):
        raise ValueError(f"the bind mount at {target} needs a source that is an absolute path of the host")
    if kind == "tmpfs" and source:
        raise ValueError(f"the tmpfs at {target} cannot have the source {source}; leave it out")
    if kind == "volume" and source and not VOLUME_NAME.match(source):
        raise ValueError(
            f"{source!r} for the mount at {target} is not the name of a volume; set type to bind for a path"
        )
    mount["target"] = directory(target)
    if kind == "bind":
        mount["source"] = directory(source)
        if mount.get("propagation") == "rprivate":  # the engine's own
            del mount["propagation"]
    if "tmpfs_size" in mount:
        mount["tmpfs_size"] = size(str(mount["tmpfs_size"]))
    if "tmpfs_mode" in mount:
        mount["tmpfs_mode"] = _file_mode(str(mount["tmpfs_mode"]), target)
    for name in ("labels", "volume_options"):
        if name in mount:
            mount[name] = text_dict(mount[name])
    return mount


def _file_mode(text: str, target: str) -> str:
    if not re.match(r"^[0-7]{3,5}$", text):
        raise ValueError(
            f"the tmpfs_mode {text!r} of the mount at {target} is not an octal mode; write one such as '1777'"
        )
    return f"{int(text, 8):04o}"


def _read_mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return [_reported_mount(mount) for mount in container["HostConfig"].get("Mounts") or []]


def _reported_mount(mount: dict[str, Any]) -> dict[str, Any]:
    volume, tmpfs = mount.get("VolumeOptions") or {}, mount.get("TmpfsOptions") or {}
    driver = volume.get("DriverConfig") or {}
    # Engine 26 marks the volumes without a name that it makes.
    labels = {key: text for key, text in (volume.get("Labels") or {}).items() if key != "com.docker.volume.anonymous"}
    mode = tmpfs.get("Mode")
    return {
        "type": mount["Type"],
        "source": mount.get("Source"),
        "target": mount["Target"],
        "read_only": mount.get("ReadOnly"),
        "propagation": (mount.get("BindOptions") or {}).get("Propagation"),
        "no_copy": volume.get("NoCopy"),
        "labels": labels,
        "volume_driver": driver.get("Name"),
        "volume_options": driver.get("Options"),
        "tmpfs_size": tmpfs.get("SizeBytes") or None,
        "tmpfs_mode": f"{mode:04o}" if mode else None,
    }


def _write_mounts(body: dict[str, Any], value: dict[str, dict[str, Any]]) -> None:
    body["HostConfig"]["Mounts"] = [_mount_request(value[target]) for target in sorted(value)]


def _mount_request(mount: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {"Type": mount["type"], "Target": mount["target"]}
    request.update(
        (key, mount[name]) for name, key in (("source", "Source"), ("read_only", "ReadOnly")) if name in mount
    )
    if "propagation" in mount:
        request["BindOptions"] = {"Propagation": mount["propagation"]}
    volume: dict[str, Any] = {}
    volume.update((key, mount[name]) for name, key in (("no_copy", "NoCopy"), ("labels", "Labels")) if name in mount)
    if "volume_driver" in mount or "volume_options" in mount:
        volume["DriverConfig"] = {"Name": mount.get("volume_driver", ""), "Options": mount.get("volume_options", {})}
    tmpfs: dict[str, Any] = {}
    if "tmpfs_size" in mount:
        tmpfs["SizeBytes"] = mount["tmpfs_size"]
    if "tmpfs_mode" in mount:
        tmpfs["Mode"] = int(mount["tmpfs_mode"], 8)
    request.update((key, options) for key, options in (("VolumeOptions", volume), ("TmpfsOptions", tmpfs)) if options)
    return request


def check_places(params: dict[str, Any]) -> None:
    """Raise ValueError when two of the options volumes, mounts and tmpfs want something at the same place."""
    taken: dict[str, str] = {}
    wanted = {option.name: option.wanted(params) or () for option in OPTIONS if option.name in PLACES}
    for name, value in wanted.items():
        for place in (_volume(volume)[0] for volume in value) if name == "volumes" else value:
            if place in taken:
                raise ValueError(f"both {taken[place]} and {name} want something at {place}; keep one")
            taken[place] = name


PLACES = ("volumes", "mounts", "tmpfs")

OPTIONS: tuple[Option, ...] = (
    Option("volumes", _volumes, _read_volumes, _write_volumes, _merged_volumes),
    Option("mounts", _mounts, _read_mounts, _write_mounts),
    field("tmpfs", "HostConfig", "Tmpfs", _tmpfs, {}),
    field("read_only", "HostConfig", "ReadonlyRootfs", bool, False),
    field("shm_size", "HostConfig", "ShmSize", _shm_size, 0, _engine_shm_size),
)
