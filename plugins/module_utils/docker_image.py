# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image is to be made from, read from files, and whether one is. Nothing here talks to an engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker import is_image_id

SOURCE_LABEL = "org.flagship.coreos.source-sha256"

# Options that only mean something with certain sources.
FOR_SOURCES = {
    "path": ("load", "import", "build"),
    "changes": ("import",),
    "labels": ("import", "build"),
    "dockerfile": ("build",),
    "build_args": ("build",),
    "target": ("build",),
    "no_cache": ("build",),
    "platform": ("pull", "build"),
}

# Names that other programs have for architectures.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ArchivedImage:
    """An image in an archive: the ids that an engine may give it, and its names.

    The id is the digest of its configuration, or of its manifest in an engine that keeps images in containerd.
    """

    ids: frozenset[str]
    tags: tuple[str, ...]


def check(params: dict[str, Any]) -> None:
    """Raise ValueError for options that contradict each other."""
    source = params["source"]
    for option, sources in FOR_SOURCES.items():
        if params[option] not in (None, False) and source not in sources:
            raise ValueError(f"{option} means nothing with source {source}; leave it out or use {' or '.join(sources)}")
    by_id = is_image_id(params["name"]) or "@" in params["name"]
    if by_id and source in ("load", "import", "build"):
        raise ValueError(
            f"source {source} cannot give the image the id or digest {params['name']}; set a name with a tag"
        )
    if is_image_id(params["name"]) and source == "pull":
        raise ValueError(f"{params['name']} is an id, which cannot be pulled; set a name or source to local")
    if params["platform"] and not re.match(r"^[a-z0-9]+(/[a-z0-9_]+){0,2}$", params["platform"]):
        raise ValueError(
            f"the platform {params['platform']!r} is not OS[/ARCHITECTURE[/VARIANT]]; write one such as linux/arm64"
        )


def is_for(platform: str | None, image: dict[str, Any]) -> bool:
    """Whether an image is for a platform (None: for any)."""
    os_name, architecture, variant = [*(platform or "").split("/"), "", ""][:3]
    architecture = ARCHITECTURES.get(architecture, architecture)
    wanted = {"Os": os_name, "Architecture": architecture, "Variant": variant}
    # Images may leave out their variant.
    return all(not text or image.get(key, "") in (text, "") for key, text in wanted.items())


def familiar(name: str) -> str:
    """An image name as engines list it: without the default registry, and with a tag."""
    short = re.sub(r"^(docker\.io/library/|docker\.io/)", "", name)
    return short if "@" in short or ":" in short.rpartition("/")[2] else f"{short}:latest"


def archived_images(path: str) -> list[ArchivedImage]:
    """The images in an archive that docker save has written.

    Format: https://docs.docker.com/reference/cli/docker/image/save/, and since engine 25 an OCI image layout with it.
    Raises ValueError when the file is not such an archive, OSError when it cannot be read.
    """
    try:
        with tarfile.open(path) as archive:
            entries = _json(archive, "manifest.json")
            if entries is None:
                raise ValueError(
                    f"{path} has no manifest.json, so it is no image archive; for the files of a root file system set "
                    "source to import"
                )
            index = _json(archive, "index.json") or {}
            return [
                ArchivedImage(
                    frozenset(_ids(archive, _digest(entry["Config"]), index)), tuple(entry.get("RepoTags") or ())
                )
                for entry in entries
            ]
    except (tarfile.TarError, EOFError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not an image archive ({error}); write one with docker save") from None


def _json(archive: tarfile.TarFile, name: str) -> Any:
    try:
        member = archive.extractfile(name)
    except KeyError:
        return None
    return json.load(member) if member else None


def _digest(path: str) -> str:
    match = re.search(r"[0-9a-f]{64}", path)
    if not match:
        raise KeyError(f"no digest in {path}")
    return f"sha256:{match.group()}"


def _ids(archive: tarfile.TarFile, config: str, index: dict[str, Any]) -> Iterable[str]:
    """The digest of a configuration, and those of the manifests and indexes that lead to it."""
    yield config
    for descriptor in index.get("manifests", []):
        blob = _json(archive, f"blobs/{descriptor['digest'].replace(':', '/')}") or {}
        below = set(_ids(archive, config, blob)) - {config}
        if below or (blob.get("config") or {}).get("digest") == config:
            yield descriptor["digest"]
            yield from below


def image_for(name: str, images: list[ArchivedImage], path: str) -> ArchivedImage:
    """The image of an archive that is to get a name: the one that has it, or the only one. Raises ValueError."""
    named = [image for image in images if familiar(name) in map(familiar, image.tags)]
    if named or len(images) == 1:
        return (named or images)[0]
    tags = ", ".join(tag for image in images for tag in image.tags) or "images without names"
    raise ValueError(f"{path} does not contain {name}, but {tags}; set name to one of these")


def import_changes(params: dict[str, Any], digest: str) -> list[str]:
    """The changes that an import applies: those given, the labels, and the label that says what it was made from."""
    labels = {**(params["labels"] or {}), SOURCE_LABEL: digest}
    return [*(params["changes"] or []), *(f"LABEL {_quoted(key)}={_quoted(text)}" for key, text in labels.items())]


def _quoted(text: str) -> str:
    if "\n" in text:
        raise ValueError(f"the label {text!r} has more than one line, which an import cannot set; make it one line")
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


def import_digest(params: dict[str, Any]) -> str:
    """A digest of all that an import is made from: the file at path, the changes and the labels."""
    digest = hashlib.sha256()
    _add_file(digest, params["path"])
    _add_settings(digest, [params["changes"] or [], params["labels"] or {}])
    return digest.hexdigest()


def build_digest(params: dict[str, Any], context: Iterable[str]) -> str:
    """A digest of all that a build is made from: the files of the context (relative to path), and the settings."""
    digest = hashlib.sha256()
    for name in sorted(context):
        full = os.path.join(params["path"], name)
        status = os.lstat(full)
        _add_settings(digest, [name, status.st_mode])
        if os.path.islink(full):
            _add_settings(digest, os.readlink(full))
        elif os.path.isfile(full):
            _add_file(digest, full)
    _add_settings(digest, [params["dockerfile"], params["build_args"] or {}, params["labels"] or {}])
    for name in ("target", "platform"):
        if params[name]:
            _add_settings(digest, [name, params[name]])
    return digest.hexdigest()


def _add_file(digest: Any, path: str) -> None:
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)


def _add_settings(digest: Any, settings: Any) -> None:
    digest.update(b"\0" + json.dumps(settings, sort_keys=True).encode() + b"\0")
