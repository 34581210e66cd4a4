# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/python/files/build_python.py"


@pytest.fixture(scope="module")
def build_python() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_python", PROGRAM)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_name_depends_on_the_program_and_the_machine(build_python: ModuleType) -> None:
    names = {
        build_python.build_name(b"a", "x86_64"),
        build_python.build_name(b"b", "x86_64"),
        build_python.build_name(b"a", "aarch64"),
    }
    assert len(names) == 3
    assert all(len(name) == 16 for name in names)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("os.py", True),
        ("json/decoder.py", True),
        ("lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", True),
        ("lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so", False),
        ("json/__pycache__/decoder.cpython-311.pyc", False),
        ("test/support/__init__.py", False),
        ("config-3.11-x86_64-linux-gnu/Makefile", False),
        ("testing.py", True),
    ],
)
def test_what_belongs_to_the_build(build_python: ModuleType, path: str, wanted: bool) -> None:
    assert build_python.wanted_part(path) is wanted


def test_libraries_are_followed_except_for_the_nodes_own(build_python: ModuleType) -> None:
    needed = {
        "python": ["libz.so.1", "libc.so.6", "libm.so.6"],
        "_ssl.so": ["libssl.so.3", "libc.so.6"],
        "libssl.so.3": ["libcrypto.so.3", "libc.so.6"],
        "libcrypto.so.3": ["libz.so.1", "ld-linux-x86-64.so.2"],
        "libz.so.1": ["libc.so.6"],
    }
    found = build_python.libraries(["python", "_ssl.so"], needed.__getitem__)
    assert found == ["libcrypto.so.3", "libssl.so.3", "libz.so.1"]


@pytest.fixture
def shipment(build_python: ModuleType, tmp_path: Path) -> Path:
    """A shipment that unpacks below tmp_path, with a program that says whether it runs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        text = b'#!/bin/sh\n[ ! -e "$BROKEN" ]\n'
        member = tarfile.TarInfo("bin/python3")
        member.size, member.mode = len(text), 0o755
        tar.addfile(member, io.BytesIO(text))
    path = tmp_path / "shipment"
    script = str(build_python.installer("NAME")).replace("/opt/flagship", str(tmp_path / "opt"))
    path.write_bytes(script.encode() + packed.getvalue())
    return path


def run(shipment: Path, name: str, broken: str = "") -> int:
    """Run the shipment under a name."""
    renamed = shipment.with_name(name)
    renamed.write_bytes(shipment.read_bytes().replace(b"name=NAME", f"name={name}".encode()))
    command = ["sh", str(renamed)]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", "BROKEN": broken}, timeout=60, check=False).returncode


def test_the_link_leads_to_the_last_one(shipment: Path, tmp_path: Path) -> None:
    kept = tmp_path / "opt/pythons"
    for name in ("one", "two", "three", "three"):
        assert run(shipment, name) == 0
        assert (tmp_path / "opt/python").readlink() == Path("pythons", name)
        assert (tmp_path / "opt/python/bin/python3").is_file()
    assert sorted(path.name for path in kept.iterdir()) == ["three"]


def test_two_are_kept(shipment: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        assert run(shipment, name) == 0
    assert sorted(path.name for path in (tmp_path / "opt/pythons").iterdir()) == ["three", "two"]


def test_an_interpreter_that_does_not_run_is_not_put_in_place(shipment: Path, tmp_path: Path) -> None:
    assert run(shipment, "one") == 0
    assert run(shipment, "two", broken=str(shipment)) != 0
    assert (tmp_path / "opt/python").readlink() == Path("pythons/one")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["--machine=mips"], "no Python can be built for machine mips: known are x86_64, aarch64.")],
)
def test_a_machine_that_is_not_known_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), f"--output={tmp_path}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"build_python: {sentence}\n")
