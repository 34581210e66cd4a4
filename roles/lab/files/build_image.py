# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a container image from Debian packages, without a registry and without an engine.

A recipe is a directory with `image.json` (suite, packages, reference, and the image's config) and `customize`, a script
that mmdebstrap runs with the new root directory as its argument. The result is an archive for `docker load`, named by
the hash of everything that went into it, so an unchanged recipe is built once.

Format of the archive: https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Final

HASH_LENGTH: Final = 12
BUILD_LIMIT: Final = 1800
"""Seconds after which a build is given up: a dead mirror must not hang a playbook."""

PATH_VARIABLE: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
UNWANTED: Final = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")


class BuildError(Exception):
    """One sentence for the person who wanted the image."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def image_config(image: dict[str, Any], architecture: str, layer_digest: str, created: str) -> dict[str, Any]:
    """Return the image's config object.

    `image` is the content of image.json, `layer_digest` the SHA-256 of the uncompressed layer, `created` an RFC 3339
    time.
    """
    return {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Env": [PATH_VARIABLE, *image.get("environment", [])],
            "Cmd": image["command"],
            "ExposedPorts": {port: {} for port in image.get("ports", [])},
            "StopSignal": image.get("stop_signal", "SIGTERM"),
            **({"User": image["user"]} if "user" in image else {}),
            "Labels": {"flagship.lab.image": image["name"]},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": created, "comment": f"Debian {image['suite']}"}],
    }


def mmdebstrap_command(image: dict[str, Any], customize: Path, layer: Path) -> list[str]:
    """Return the command that writes the root file system of `image` to the tar file `layer`."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--keyring={KEYRING}",
        f"--include={','.join(image['packages'])}",
        '--aptopt=Acquire::Languages "none"',
        *[f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED],
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f'--customize-hook=sh "{customize}" "$1"',
        image["suite"],
        str(layer),
    ]


def recipe_hash(recipe: Path, image: dict[str, Any], architecture: str) -> str:
    """Return the hash that names what the directory `recipe`, with this `image.json`, makes for an architecture."""
    made_from = [mmdebstrap_command(image, Path("customize"), Path("layer")), image_config(image, architecture, "", "")]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode())
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(recipe)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:HASH_LENGTH]


def write_archive(archive: Path, layer: Path, config: bytes, reference: str) -> None:
    """Write the archive that `docker load` reads: one layer, its config, and the reference to tag it with."""
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for name, content in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        tar.add(layer, arcname="layer.tar")


def build(recipe: Path, image: dict[str, Any], reference: str, architecture: str, archive: Path) -> None:
    """Build `image` into `archive`, which appears only when it is complete and then replaces those of older recipes."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=archive.parent) as scratch:
        layer = Path(scratch) / "layer.tar"
        try:
            subprocess.run(
                mmdebstrap_command(image, recipe / "customize", layer),
                stdout=sys.stderr,
                check=True,
                timeout=BUILD_LIMIT,
            )
        except FileNotFoundError:
            raise BuildError(
                "The program mmdebstrap is missing on this machine: install the Debian package mmdebstrap."
            ) from None
        except subprocess.CalledProcessError as error:
            raise BuildError(
                f"mmdebstrap could not build the image {reference} (exit code {error.returncode}): its lines above"
                " say why; it needs a Debian mirror within reach."
            ) from None
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"mmdebstrap did not finish the image {reference} within {BUILD_LIMIT} seconds:"
                " is the Debian mirror in reach?"
            ) from None
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        config = json.dumps(image_config(image, architecture, file_digest(layer), created), sort_keys=True).encode()
        partial = Path(scratch) / "image.tar"
        write_archive(partial, layer, config, reference)
        partial.rename(archive)
    for outdated in archive.parent.glob(f"{image['name']}-*.tar"):
        if outdated != archive:
            outdated.unlink()


def debian_architecture() -> str:
    """Return this machine's Debian architecture, which for amd64 and arm64 is the image format's name too."""
    try:
        command = ["dpkg", "--print-architecture"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        raise BuildError("The program dpkg does not answer here: images are built on Debian or Ubuntu.") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Build an image archive from a recipe, once.")
    parser.add_argument("recipe", type=Path, help="directory with image.json and customize")
    parser.add_argument("--directory", type=Path, required=True, help="where the archives are kept")
    arguments = parser.parse_args()
    try:
        architecture = debian_architecture()
        recipe = arguments.recipe.resolve()
        image = json.loads((recipe / "image.json").read_text())
        recipe_id = recipe_hash(recipe, image, architecture)
        reference = image["reference"].format(hash=recipe_id)
        archive = arguments.directory.absolute() / f"{image['name']}-{recipe_id}.tar"
        missing = not archive.exists()
        if missing:
            build(recipe, image, reference, architecture, archive)
    except BuildError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps({"archive": str(archive), "reference": reference, "built": missing}))


if __name__ == "__main__":
    main()
