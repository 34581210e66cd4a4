# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/docker.md says of every option what a change of it does, and that is what the modules do."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/docker.md").read_text()
MODULES = ("docker_container", "docker_network", "docker_image")


def plugin(name: str) -> Any:
    """A module or module_utils file of the collection."""
    if str(ROOT / ".cache/collections") not in sys.path:
        sys.path.insert(0, str(ROOT / ".cache/collections"))
    return importlib.import_module(f"ansible_collections.flagship.coreos.plugins.{name}")


def section(module: str) -> str:
    return TEXT.split(f"## {module}\n")[1].split("\n## ")[0]


def tables(module: str) -> list[dict[str, str]]:
    """The two tables of a module: what a change of an option does, and what the others are for."""
    found = []
    for table in re.findall(r"\| Option \|.*\n\| --- \| --- \|\n((?:\|.*\n)+)", section(module)):
        rows: dict[str, str] = {}
        for names, effect in re.findall(r"\| (.*?) \| (.*) \|\n", table):
            for name in re.findall(r"`(\w+)`", names):
                assert name not in rows, f"{name} is there twice"
                rows[name] = effect
        found.append(rows)
    assert len(found) == 2, f"{module} has {len(found)} tables"
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_option_is_said_once_and_no_other(module: str) -> None:
    compared, others = tables(module)
    documented = yaml.safe_load(plugin(f"modules.{module}").DOCUMENTATION)["options"]
    assert not compared.keys() & others.keys()
    assert sorted([*compared, *others]) == sorted(documented)
    assert documented.keys() == plugin(f"modules.{module}").OPTIONS.keys()


def kind(effect: str) -> str:
    return re.split("[;,:]", effect)[0]


def test_the_options_of_a_container_change_as_said() -> None:
    compared = tables("docker_container")[0]
    effects = {}
    for option in plugin("module_utils.docker_options").OPTIONS:
        if option.updatable is plugin("module_utils.docker_option").never:
            effects[option.name] = "replaces"
            continue
        # The value that stands for: no limit.
        none = next(value for value in (unlimited(option, text) for text in ("", "0")) if value is not None)
        effects[option.name] = "in place" + ("" if option.updatable(none) else "; taking the limit away replaces")
    for name, effect in effects.items():
        said = compared[name] if "limit away" in compared[name] else kind(compared[name])
        assert said == effect, name
    special = {"image": "replaces", "networks": "in place", "env_file": "replaces", "restart_retries": "in place"}
    assert {name: kind(compared[name]) for name in special} == special
    assert compared.keys() == effects.keys() | special.keys()


def unlimited(option: Any, text: str) -> Any:
    try:
        return option.canonical(text)
    except ValueError:
        return None


BASE: dict[str, Any] = {
    "Id": "a" * 64,
    "Name": "/web",
    "Image": "sha256:1",
    "State": {"Running": True},
    "Config": {},
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {"Networks": {"bridge": {}}},
}


@pytest.mark.parametrize(
    ("options", "mode", "kinds"),
    [
        ({"image": "web:2"}, "bridge", ["replace"]),
        ({"networks": [{"name": "lab"}]}, "bridge", ["disconnect", "connect"]),
        ({"networks": [{"name": "lab"}]}, "host", ["replace"]),
        ({"networks": [{"name": "lab"}]}, "none", ["replace"]),
        ({"networks": [{"name": "lab"}]}, "container:b", ["replace"]),
        ({"restart_policy": "on-failure", "restart_retries": 3}, "bridge", ["update"]),
        ({"env": {"A": "b"}}, "bridge", ["replace"]),
        ({"memory": "64m", "hostname": "x"}, "bridge", ["replace"]),
        ({"recreate": True}, "bridge", ["replace"]),
        ({"restart": True}, "bridge", ["restart"]),
        ({}, "bridge", []),
    ],
)
def test_what_is_decided_is_what_is_said(options: dict[str, Any], mode: str, kinds: list[str]) -> None:
    plan = plugin("module_utils.docker_plan")
    defaults = {name: spec.get("default") for name, spec in plugin("modules.docker_container").OPTIONS.items()}
    params = plugin("module_utils.docker_params").prepared({**defaults, "name": "web", **options})
    container = {**BASE, "HostConfig": {"NetworkMode": mode}}
    situation = plan.Situation(container=container, image_id="sha256:2" if options.get("image") else "sha256:1")
    assert [action.kind for action in plan.decide(params, situation).actions] == kinds


def test_the_options_of_a_network_change_as_said() -> None:
    network = plugin("module_utils.docker_network")
    compared = tables("docker_network")[0]
    anew = {name for name, effect in compared.items() if effect.startswith("anew, with `force`")}
    assert anew == {*network.FIXED, "ipam", "ipam_driver", "ipam_options"}
    assert {name for name in anew if "do not count" in compared[name]} == set(network.LOOSE)
    assert {name: compared[name] for name in compared.keys() - anew} == {"connected": "in place"}


def test_the_options_of_an_image_change_as_said() -> None:
    image = plugin("module_utils.docker_image")
    compared, others = tables("docker_image")
    for name, sources in image.FOR_SOURCES.items():
        effect = {**compared, **others}[name]
        assert name == "no_cache" or kind(effect) == "another image", name
        said = re.findall(r"`(\w+)`", effect)
        assert name == "no_cache" or sorted(said) == sorted(sources), name


@pytest.mark.parametrize("module", MODULES)
def test_the_page_uses_names_that_exist(module: str) -> None:
    documented = yaml.safe_load(plugin(f"modules.{module}").DOCUMENTATION)["options"]
    for name, member in re.findall(r"`(\w+)\[\]\.(\w+)`", section(module)):
        assert member in documented[name]["suboptions"], f"{name}[].{member}"
    for name, value in re.findall(r"`(\w+): (\w+)`", section(module)):
        choices = documented[name].get("choices") or ["true", "false"]
        assert value in map(str, choices), f"{name}: {value}"
