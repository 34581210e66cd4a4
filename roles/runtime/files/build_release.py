# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds a release of the runtime for one kind of node and prints what it is as one JSON object.

Runs on the controller, on any architecture: nodes never reach a package index, so their libraries are fetched here as
wheels for their Python and machine. A release is named by a hash of all that goes into it and built only once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

# Published as source only; pure Python, so that a wheel made here runs on every node.
SOURCE_ONLY = ("etcd3",)
# pip takes a wheel that fits any of these; newest first: https://peps.python.org/pep-0600/
MANYLINUX = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
MACHINES = ("x86_64", "aarch64")


def release_name(files: Iterable[tuple[str, bytes]], python: str, machine: str) -> str:
    """The name of the release made of `files` (relative path, content) for that Python ("3.11") and machine."""
    digest = hashlib.sha256(f"{python} {machine}".encode())
    for path, content in sorted(files):
        digest.update(f"\n{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def source_only(requirements: str) -> list[str]:
    """The lines of a requirements file whose packages no index offers as a wheel."""
    lines = (line.strip() for line in requirements.splitlines())
    return [line for line in lines if re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] in SOURCE_ONLY]


def source_files(runtime: Path) -> list[tuple[str, bytes]]:
    """What a release is made of: the package `flagship`, its requirements, and this program."""
    package = runtime / "src" / "flagship"
    paths = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files = [(path.relative_to(runtime).as_posix(), path.read_bytes()) for path in paths]
    return [
        *files,
        ("requirements.txt", (runtime / "requirements.txt").read_bytes()),
        (Path(__file__).name, Path(__file__).read_bytes()),
    ]


def build(files: list[tuple[str, bytes]], archive: Path, name: str, python: str, machine: str) -> None:
    """Write the release made of `files` to `archive`, which appears complete or not at all."""
    with tempfile.TemporaryDirectory(prefix="flagship-release-") as scratch:
        root, wheels = Path(scratch, "root"), Path(scratch, "wheels")
        wheels.mkdir()
        for path, content in files:
            target = Path(scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        requirements = Path(scratch, "requirements.txt")
        sources = source_only(requirements.read_text(encoding="utf-8"))
        if sources:
            _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *sources)
        platforms = [f"--platform={tag}_{machine}" for tag in MANYLINUX]
        _pip(
            *("install", "--no-deps", "--no-compile", "--only-binary=:all:", f"--python-version={python}", *platforms),
            *("--target", str(root / "lib"), "--find-links", str(wheels), "-r", str(requirements)),
        )
        shutil.rmtree(root / "lib" / "bin", ignore_errors=True)
        shutil.move(Path(scratch, "src", "flagship"), root / "lib" / "flagship")
        (root / "VERSION").write_text(f"{name}\n", encoding="utf-8")
        staged = archive.with_suffix(".part")
        with tarfile.open(staged, "w:gz", compresslevel=6) as tar:
            tar.add(root / "lib", "lib", filter=_owned_by_root)
            # Last, so that its presence on a node says that all of the release arrived.
            tar.add(root / "VERSION", "VERSION", filter=_owned_by_root)
        staged.replace(archive)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        _fail(f"pip {arguments[0]} did not finish within 10 minutes: check that the package index can be reached.")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        _fail(f"pip {arguments[0]} failed on the controller: {errors[-1] if errors else 'it said nothing'}")


def _fail(sentence: str) -> NoReturn:
    sys.exit(f"build_release: {sentence}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="directory with src/flagship and requirements.txt")
    parser.add_argument("--output", type=Path, required=True, help="directory of built releases")
    parser.add_argument("--python", required=True, help="the node's Python, such as 3.11")
    parser.add_argument("--machine", required=True, help="the node's architecture, as uname -m says it")
    wanted = parser.parse_args()
    if wanted.machine not in MACHINES:
        _fail(f"no release can be built for machine {wanted.machine}: known are {', '.join(MACHINES)}.")
    if not (wanted.source / "src" / "flagship").is_dir():
        _fail(f"{wanted.source} holds no src/flagship: set runtime_source to the collection's directory runtime.")
    files = source_files(wanted.source)
    name = release_name(files, wanted.python, wanted.machine)
    archive = wanted.output.resolve() / f"flagship-{name}.tar.gz"
    wanted.output.mkdir(parents=True, exist_ok=True)
    with open(wanted.output / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not archive.exists()
        if missing:
            build(files, archive, name, wanted.python, wanted.machine)
    print(json.dumps({"release": name, "archive": os.fspath(archive), "built": missing}))


if __name__ == "__main__":
    main()
