# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images from recipes: what names them, and whether an archive says what `docker load` reads."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILES = Path(__file__).parents[3] / "roles" / "lab" / "files"
IMAGE = {
    "name": "web",
    "suite": "bookworm",
    "packages": ["nginx-light", "curl"],
    "command": ["nginx"],
    "ports": ["80/tcp"],
}


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_image", FILES / "build_image.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


build_image = load()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "customize").write_text("#!/bin/sh\n")
    return tmp_path


def test_the_same_recipe_has_the_same_hash(recipe: Path) -> None:
    assert build_image.recipe_hash(recipe, IMAGE, "amd64") == build_image.recipe_hash(recipe, dict(IMAGE), "amd64")


@pytest.mark.parametrize("change", [{"packages": ["nginx-light"]}, {"command": ["nginx", "-g"]}, {"ports": []}])
def test_another_image_has_another_hash(recipe: Path, change: dict[str, Any]) -> None:
    assert build_image.recipe_hash(recipe, {**IMAGE, **change}, "amd64") != build_image.recipe_hash(
        recipe, IMAGE, "amd64"
    )


def test_another_architecture_script_or_file_has_another_hash(recipe: Path) -> None:
    hashes = {build_image.recipe_hash(recipe, IMAGE, architecture) for architecture in ("amd64", "arm64")}
    (recipe / "customize").write_text("#!/bin/sh\ntrue\n")
    hashes.add(build_image.recipe_hash(recipe, IMAGE, "amd64"))
    (recipe / "more").write_text("")
    hashes.add(build_image.recipe_hash(recipe, IMAGE, "amd64"))
    assert len(hashes) == 4


def test_config_says_what_the_image_runs() -> None:
    config = build_image.image_config(IMAGE, "arm64", "ab" * 32, "2026-01-02T03:04:05Z")
    assert config["architecture"] == "arm64"
    assert config["config"]["Cmd"] == ["nginx"]
    assert config["config"]["ExposedPorts"] == {"80/tcp": {}}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{'ab' * 32}"]


def test_packages_reach_mmdebstrap() -> None:
    command = build_image.mmdebstrap_command(IMAGE, Path("/recipe/customize"), Path("/tmp/layer.tar"))
    assert "--include=nginx-light,curl" in command
    assert command[-2:] == ["bookworm", "/tmp/layer.tar"]


def test_archive_holds_layer_config_and_name(tmp_path: Path) -> None:
    layer, config = tmp_path / "layer", b"{}"
    layer.write_bytes(b"a layer")
    build_image.write_archive(tmp_path / "image.tar", layer, config, "nginx:stable")
    with tarfile.open(tmp_path / "image.tar") as archive:
        content = {member.name: archive.extractfile(member) for member in archive}
        texts = {name: stream.read() for name, stream in content.items() if stream is not None}
    (image,) = json.loads(texts["manifest.json"])
    assert image["RepoTags"] == ["nginx:stable"]
    assert image["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert texts[image["Config"]] == config
    assert [texts[name] for name in image["Layers"]] == [b"a layer"]


def test_config_names_a_user_only_where_the_recipe_does() -> None:
    configs = [build_image.image_config(image, "amd64", "", "") for image in (IMAGE, {**IMAGE, "user": "haproxy"})]
    assert [config["config"].get("User") for config in configs] == [None, "haproxy"]


@pytest.mark.parametrize("name", sorted(path.name for path in (FILES / "images").iterdir()))
def test_recipes_of_the_lab_are_complete(name: str) -> None:
    recipe = FILES / "images" / name
    image = json.loads((recipe / "image.json").read_text())
    assert image["name"] == name
    assert {"reference", "suite", "packages", "command"} <= set(image)
    assert image["packages"] == sorted(image["packages"])
    assert (recipe / "customize").exists()
