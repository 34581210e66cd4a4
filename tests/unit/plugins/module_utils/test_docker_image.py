# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.docker_image import (
    SOURCE_LABEL,
    ArchivedImage,
    archived_images,
    build_digest,
    check,
    familiar,
    image_for,
    import_changes,
    import_digest,
    is_for,
)


def params(**options: Any) -> dict[str, Any]:
    names = ("path", "changes", "labels", "dockerfile", "build_args", "target", "platform", "no_cache")
    return {**dict.fromkeys(names), "name": "web:1", "source": "pull", **options}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_archive(path: Path, files: dict[str, bytes], mode: str = "w") -> str:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


CONFIG = json.dumps({"os": "linux"}).encode()
CONFIG_ID = f"sha256:{sha256(CONFIG)}"


def old_archive(*tags: str) -> dict[str, bytes]:
    name = f"{sha256(CONFIG)}.json"
    return {name: CONFIG, "manifest.json": json.dumps([{"Config": name, "RepoTags": list(tags)}]).encode()}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_of_engine_20(tmp_path: Path, mode: str) -> None:
    path = write_archive(tmp_path / "a.tar", old_archive("web:1", "web:2"), mode)
    assert archived_images(path) == [ArchivedImage(frozenset([CONFIG_ID]), ("web:1", "web:2"))]


def test_an_archive_with_an_oci_layout_has_the_digests_of_manifests_as_well(tmp_path: Path) -> None:
    manifest = json.dumps({"config": {"digest": CONFIG_ID}}).encode()
    other = json.dumps({"config": {"digest": f"sha256:{'9' * 64}"}}).encode()
    index = json.dumps({"manifests": [{"digest": f"sha256:{sha256(blob)}"} for blob in (manifest, other)]}).encode()
    blobs = {f"blobs/sha256/{sha256(blob)}": blob for blob in (CONFIG, manifest, other, index)}
    entry = {"Config": f"blobs/sha256/{sha256(CONFIG)}", "RepoTags": None}
    files = {
        **blobs,
        "index.json": json.dumps({"manifests": [{"digest": f"sha256:{sha256(index)}"}]}).encode(),
        "manifest.json": json.dumps([entry]).encode(),
    }
    (image,) = archived_images(write_archive(tmp_path / "a.tar", files))
    assert image.tags == ()
    assert image.ids == {CONFIG_ID, f"sha256:{sha256(manifest)}", f"sha256:{sha256(index)}"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"etc/passwd": b""}, "has no manifest.json, so it is no image archive; for the files of a root file system"),
        ({"manifest.json": b"not json"}, "is not an image archive"),
        ({"manifest.json": b'[{"Config": "x"}]'}, "is not an image archive"),
        ({"manifest.json": b"[1]"}, "is not an image archive"),
    ],
)
def test_what_is_no_image_archive_is_named(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    path = write_archive(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=re.escape(f"{path} {says}")):
        archived_images(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b broken gzip"])
def test_what_is_no_archive_at_all_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an image archive"):
        archived_images(str(path))


def test_a_missing_archive_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        archived_images(str(tmp_path / "none.tar"))


ONE, TWO = ArchivedImage(frozenset(["1"]), ("docker.io/library/web:1",)), ArchivedImage(frozenset(["2"]), ("web:2",))
UNNAMED = ArchivedImage(frozenset(["3"]), ())


@pytest.mark.parametrize(
    ("name", "images", "expected"),
    [("web:2", [ONE, TWO], TWO), ("web:1", [ONE, TWO], ONE), ("new:1", [TWO], TWO), ("new:1", [UNNAMED], UNNAMED)],
)
def test_image_for(name: str, images: list[ArchivedImage], expected: ArchivedImage) -> None:
    assert image_for(name, images, "a.tar") is expected


def test_image_for_names_what_the_archive_has() -> None:
    with pytest.raises(ValueError, match=r"a\.tar does not contain new, but docker\.io/library/web:1, web:2; set name"):
        image_for("new", [ONE, TWO], "a.tar")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", "web:latest"),
        ("docker.io/library/web", "web:latest"),
        ("docker.io/me/web:2", "me/web:2"),
        ("host:5000/web", "host:5000/web:latest"),
        ("host:5000/web:1", "host:5000/web:1"),
        ("web@sha256:12", "web@sha256:12"),
    ],
)
def test_familiar(name: str, expected: str) -> None:
    assert familiar(name) == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "/a"}, "path means nothing with source pull; leave it out or use load or import or build"),
        ({"changes": [], "source": "load"}, "changes means nothing with source load"),
        ({"labels": {}, "source": "local"}, "labels means nothing with source local"),
        ({"build_args": {}, "source": "import"}, "build_args means nothing with source import"),
        ({"name": "sha256:12", "source": "import"}, "cannot give the image the id or digest sha256:12"),
        ({"name": "web@sha256:12", "source": "load"}, "cannot give the image the id or digest"),
        ({"name": "sha256:12"}, "cannot be pulled"),
        ({"name": "a" * 64}, "cannot be pulled"),
        ({"name": "a" * 64, "source": "build"}, "cannot give the image the id"),
        ({"target": "x"}, "target means nothing with source pull; leave it out or use build"),
        ({"no_cache": True}, "no_cache means nothing with source pull"),
        ({"platform": "linux", "source": "import"}, "platform means nothing with source import"),
        ({"platform": "Linux/x"}, "the platform 'Linux/x' is not OS[/ARCHITECTURE[/VARIANT]]"),
        ({"platform": "a/b/c/d"}, "the platform 'a/b/c/d' is not"),
    ],
)
def test_contradictions_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        check(params(**options))


@pytest.mark.parametrize(
    ("platform", "image", "result"),
    [
        (None, {"Os": "linux", "Architecture": "amd64"}, True),
        ("linux", {"Os": "linux", "Architecture": "amd64"}, True),
        ("linux/amd64", {"Os": "linux", "Architecture": "amd64"}, True),
        ("linux/x86_64", {"Os": "linux", "Architecture": "amd64"}, True),
        ("linux/arm64", {"Os": "linux", "Architecture": "amd64"}, False),
        ("windows/amd64", {"Os": "linux", "Architecture": "amd64"}, False),
        ("linux/arm64/v8", {"Os": "linux", "Architecture": "arm64"}, True),
        ("linux/arm/v7", {"Os": "linux", "Architecture": "arm", "Variant": "v6"}, False),
    ],
)
def test_is_for(platform: str | None, image: dict[str, Any], result: bool) -> None:
    assert is_for(platform, image) is result


def test_labels_are_written_so_that_a_dockerfile_reads_them_unchanged() -> None:
    wanted = params(source="import", changes=["CMD x"], labels={"a": 'q"\\ $HOME é'})
    assert import_changes(wanted, "12") == ["CMD x", r'LABEL "a"="q\"\\ \$HOME é"', f'LABEL "{SOURCE_LABEL}"="12"']
    with pytest.raises(ValueError, match="has more than one line"):
        import_changes(params(labels={"a": "b\nc"}), "12")


def test_an_import_is_another_when_anything_it_is_made_from_is(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(b"one")
    same = import_digest(params(path=str(path)))
    assert import_digest(params(path=str(path), changes=[], labels={})) == same
    digests = {same, import_digest(params(path=str(path), changes=["CMD x"]))}
    digests.add(import_digest(params(path=str(path), labels={"a": "b"})))
    path.write_bytes(b"two")
    digests.add(import_digest(params(path=str(path))))
    assert len(digests) == 4


def test_a_build_is_another_when_anything_it_is_made_from_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "run"
    program.write_text("one")
    (tmp_path / "link").symlink_to("bin/run")
    names = ["link", "bin", "bin/run"]

    def digest(**options: Any) -> str:
        return str(build_digest(params(path=str(tmp_path), **options), names))

    first = digest()
    assert build_digest(params(path=str(tmp_path)), reversed(names)) == first
    digests = [first, digest(dockerfile="Other"), digest(build_args={"A": "1"}), digest(labels={"a": "b"})]
    digests += [digest(target="x"), digest(platform="x")]
    digests.append(build_digest(params(path=str(tmp_path)), names[:2]))
    program.chmod(0o755)
    digests.append(digest())
    program.write_text("two")
    digests.append(digest())
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("bin")
    digests.append(digest())
    assert len(set(digests)) == len(digests)
