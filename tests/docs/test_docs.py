# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documents say about the tree is true."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")])
ROLES = sorted(path for path in ROOT.glob("roles/*") if path.is_dir())
MODULES = sorted(path.stem for path in ROOT.glob("plugins/modules/*.py"))


def test_readme_names_all_modules_roles_and_no_others() -> None:
    content = (ROOT / "README.md").read_text().split("## Included content")[1].split("## ")[0]
    tables = content.split("| Roles")
    assert sorted(re.findall(r"`([a-z_]+)`", tables[0])) == MODULES
    assert sorted(re.findall(r"\[`(\w+)`\]\(roles/\1/README.md\)", tables[1])) == [role.name for role in ROLES]


def test_readme_names_playbooks_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    names = "site|provision|user_data|deploy|verify|teardown|scale|rolling_update|rotate_certificates|lab_up|lab_down"
    for name in set(re.findall(rf"flagship\.coreos\.({names})\b", text)):
        assert (ROOT / "playbooks" / f"{name}.yml").is_file(), name


def test_readme_lists_the_tested_versions() -> None:
    """The rows of tests/matrix.txt, and the one that `make test` has by requirements.txt."""
    section = (ROOT / "README.md").read_text().split("## Tested with Ansible")[1].split("## ")[0]
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| `make (test(?:-matrix)?)`", section, re.MULTILINE)
    lines = [line.split() for line in (ROOT / "tests/matrix.txt").read_text().splitlines() if not line.startswith("#")]
    assert [row[:2] for row in rows if row[2] == "test-matrix"] == [
        (core.rpartition(".")[0], python) for core, python in lines
    ]
    pinned = re.search(r"^ansible-core==(\d+\.\d+)\.", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned and [row[0] for row in rows if row[2] == "test"] == [pinned[1]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_inventory_of_the_readme_has_the_groups_that_site_yml_needs(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Your own machines")[1]
    example = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert example
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(example[1])
    result = subprocess.run(
        ["ansible-inventory", "-i", str(inventory), "--list"], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["etcd"]["hosts"] == found["fleet"]["hosts"] == ["core01", "core02", "core03"]
    hosts = found["_meta"]["hostvars"]
    assert all({"ansible_host", "coreos_private_ipv4", "fleet_metadata"} <= hosts[name].keys() for name in hosts)


def test_action_groups_hold_every_module() -> None:
    groups: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert sorted(name for group in groups.values() for name in group) == MODULES


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_role_interface_is_documented(role: Path) -> None:
    """The argument specification, the defaults and the README name the same variables, with the same defaults."""
    options: dict[str, dict[str, Any]] = yaml.safe_load((role / "meta/argument_specs.yml").read_text())[
        "argument_specs"
    ]["main"].get("options", {})
    defaults_file = role / "defaults/main.yml"
    defaults: dict[str, Any] = (yaml.safe_load(defaults_file.read_text()) or {}) if defaults_file.exists() else {}
    assert defaults.keys() <= options.keys(), "a default without a specification"
    for name, option in options.items():
        assert option.get("description"), f"{name} has no description"
        assert option.get("type"), f"{name} has no type"
        if "default" in option:
            assert defaults.get(name) == option["default"], f"the default of {name} differs"
    readme = (role / "README.md").read_text()
    missing = [name for name in options if f"`{name}`" not in readme]
    assert not missing, f"the README says nothing of {missing}"
