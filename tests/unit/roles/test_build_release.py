# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases of the runtime: what names them, and that a failed build leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[3] / "roles" / "runtime" / "files" / "build_release.py"
FILES = [("src/flagship/cli.py", b"print(1)\n"), ("requirements.txt", b"six==1.17.0\n")]


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_release", PROGRAM)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


build_release = load()


def test_a_release_is_named_by_all_that_goes_into_it() -> None:
    name = build_release.release_name(FILES, "3.11", "x86_64")
    assert name == build_release.release_name(FILES[::-1], "3.11", "x86_64")
    others = [
        (FILES, "3.12", "x86_64"),
        (FILES, "3.11", "aarch64"),
        (FILES[:1], "3.11", "x86_64"),
        ([FILES[0], ("requirements.txt", b"six==1.16.0\n")], "3.11", "x86_64"),
        ([("src/flagship/api.py", FILES[0][1]), FILES[1]], "3.11", "x86_64"),
    ]
    assert len({name, *(build_release.release_name(*other) for other in others)}) == 6


@pytest.mark.parametrize(
    ("requirements", "found"),
    [
        ("etcd3==0.12.0\nsix==1.17.0\n", ["etcd3==0.12.0"]),
        ("# etcd3\nsix==1.17.0\n", []),
        ("etcd3gw==2.7.0\n", []),
        (" etcd3 >= 0.12 ; python_version > '3'\n", ["etcd3 >= 0.12 ; python_version > '3'"]),
        ("", []),
    ],
)
def test_packages_without_wheels_are_found(requirements: str, found: list[str]) -> None:
    assert build_release.source_only(requirements) == found


def fake_pip(*arguments: str) -> None:
    target = Path(arguments[arguments.index("--target") + 1])
    (target / "six").mkdir(parents=True)
    (target / "six" / "__init__.py").write_text("")


def test_the_archive_ends_with_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build_release, "_pip", fake_pip)
    archive = tmp_path / "flagship-abc.tar.gz"
    build_release.build(FILES, archive, "abc", "3.11", "x86_64")
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        version = tar.extractfile("VERSION")
        assert version is not None and version.read() == b"abc\n"
    names = [member.name for member in members]
    assert {"lib/flagship/cli.py", "lib/six/__init__.py"} < set(names)
    assert names[-1] == "VERSION"
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert [path.name for path in tmp_path.iterdir()] == ["flagship-abc.tar.gz"]


def test_a_failed_build_is_one_sentence_and_leaves_no_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = tmp_path / "runtime"
    (runtime / "src" / "flagship").mkdir(parents=True)
    (runtime / "src" / "flagship" / "cli.py").write_text("")
    (runtime / "requirements.txt").write_text("--no-such-option\n")
    arguments = [f"--source={runtime}", f"--output={tmp_path / 'out'}", "--python=3.11", "--machine=x86_64"]
    monkeypatch.setattr("sys.argv", ["build_release.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        build_release.main()
    assert "pip install failed on the controller" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert capfd.readouterr().out == ""


def test_a_release_is_built_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_release, "_pip", fake_pip)
    (tmp_path / "src" / "flagship").mkdir(parents=True)
    (tmp_path / "requirements.txt").write_text("")
    arguments = [f"--source={tmp_path}", f"--output={tmp_path / 'out'}", "--python=3.11", "--machine=x86_64"]
    monkeypatch.setattr("sys.argv", ["build_release.py", *arguments])
    (tmp_path / "src" / "flagship" / "cli.py").write_text("")
    build_release.main()
    build_release.main()
    first, second = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert (first.pop("built"), second.pop("built")) == (True, False)
    assert first == second
    assert Path(first["archive"]).is_file()


@pytest.mark.parametrize(
    ("option", "sentence"), [("--machine=sparc", "sparc"), ("--source=/nowhere", "runtime_source")]
)
def test_bad_arguments_are_named(option: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = [f"--source={tmp_path}", f"--output={tmp_path}", "--python=3.11", "--machine=x86_64", option]
    monkeypatch.setattr("sys.argv", ["build_release.py", *arguments])
    with pytest.raises(SystemExit, match=sentence):
        build_release.main()
