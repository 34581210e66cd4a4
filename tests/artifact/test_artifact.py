# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The artifact that a user installs holds what a user needs, no more, and works where nothing else is."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(__file__).with_name("playbook.yml")
TOP = {
    "CHANGELOG.rst",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "requirements.txt",
    "roles",
    "runtime",
}
NO_PLUGINS = {"action", "doc_fragments", "module_utils", "plugin_utils"}  # what has no page of its own
KINDS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and path.name not in NO_PLUGINS)
PLAYBOOKS = sorted(path.stem for path in ROOT.glob("playbooks/*.yml"))
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


class Installed:
    """A directory of collections that holds nothing but the installed artifact."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "collections/ansible_collections/flagship/coreos"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))
        }
        self.environment = {
            **inherited,
            # Ansible must find no other copy, in no configuration, home directory or virtual environment.
            "HOME": str(directory),
            "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
            "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
            "ANSIBLE_NOCOLOR": "true",
        }

    def run(self, *command: str) -> str:
        """What the command prints; it must succeed."""
        result = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, f"{' '.join(command)}:\n{result.stdout}"
        return result.stdout

    def files(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    found = Installed(tmp_path_factory.mktemp("artifact"))
    found.run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(found.directory))
    (archive,) = found.directory.glob("*.tar.gz")
    found.run(
        "ansible-galaxy", "collection", "install", "--offline", "-p", str(found.directory / "collections"), str(archive)
    )
    return found


def repository_files(*arguments: str) -> set[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *arguments]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_artifact_holds_only_what_a_user_needs(installed: Installed) -> None:
    assert {path.name for path in installed.root.iterdir()} == TOP
    strangers = installed.files() - repository_files() - {"FILES.json", "MANIFEST.json"}
    assert not strangers, "files that are not in the repository"
    assert not list(installed.root.rglob("__pycache__"))


def test_artifact_holds_all_that_is_used(installed: Installed) -> None:
    assert repository_files("meta", "playbooks", "plugins", "roles", "runtime/src") <= installed.files()


def test_runtime_of_the_artifact_is_that_of_the_repository(installed: Installed) -> None:
    """The role runtime builds the release from the source that lies beside it."""

    def release(root: Path) -> str:
        program = module(root / "roles/runtime/files/build_release.py")
        name: str = program.release_name(program.source_files(root / "runtime"), "3.11", "x86_64")
        return name

    assert release(installed.root) == release(ROOT)


def module(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


def documented(installed: Installed, kind: str, names: list[str]) -> list[str]:
    """The names that ansible-doc has a page for, when it is asked for all of them."""
    page = installed.run("ansible-doc", "--type", kind, *[f"flagship.coreos.{name}" for name in names])
    return sorted(re.findall(r"^> .*\bflagship\.coreos\.(\w+)\b.* \(", page, re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_is_documented(installed: Installed, kind: str) -> None:
    names = sorted(path.stem for path in (ROOT / "plugins" / kind).glob("[!_]*.py"))
    assert documented(installed, kind.removesuffix("s"), names) == names


def test_every_role_is_documented(installed: Installed) -> None:
    assert documented(installed, "role", ROLES) == ROLES


def test_every_playbook_resolves(installed: Installed) -> None:
    """Playbooks by the names of README.md, with the roles and modules that they use."""
    shown = installed.run(
        "ansible-playbook", "--syntax-check", "-i", "localhost,", *[f"flagship.coreos.{name}" for name in PLAYBOOKS]
    )
    assert shown.count("playbook: ") == len(PLAYBOOKS), shown


def test_playbook_that_needs_no_machine(installed: Installed) -> None:
    installed.run("ansible-playbook", "-i", "localhost,", str(PLAYBOOK))
