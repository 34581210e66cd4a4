# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import EtcdError
from ansible_collections.flagship.coreos.plugins.modules import etcd_snapshot
from ansible_collections.flagship.coreos.plugins.modules.etcd_snapshot import Verifier, save
from ansible_collections.flagship.coreos.tests.unit.plugins.etcd_server import EtcdServer
from hypothesis import given
from hypothesis import strategies as st


class Task:
    """The task's arguments in the place of AnsibleModule, with what the module made of them."""

    def __init__(self, url: str, dest: Path, check_mode: bool = False, **options: Any) -> None:
        names = ("ca_cert", "client_cert", "client_key", "user", "password")
        self.params = {**dict.fromkeys(names), "endpoints": [url], "timeout": 5.0, "dest": str(dest), "force": True}
        self.params.update(options)
        self.check_mode = check_mode
        self.result: dict[str, Any] = {"changed": False}

    def run(self) -> dict[str, Any]:
        etcd_snapshot.run(self, self.result)
        return self.result


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        for number in range(8):
            server.etcdctl("put", f"/{number}", "x" * 100_000)
        yield server


def whole(size: int = 1024) -> bytes:
    database = b"x" * size
    return database + hashlib.sha256(database).digest()


@given(st.integers(1, 5), st.lists(st.integers(0, 2600)))
def test_pieces_of_any_size_are_verified(sectors: int, cuts: list[int]) -> None:
    snapshot = whole(512 * sectors)
    ends = [0, *sorted(min(cut, len(snapshot)) for cut in cuts), len(snapshot)]
    verifier = Verifier()
    for start, end in zip(ends, ends[1:]):
        verifier.take(snapshot[start:end])
    verifier.check()
    assert verifier.size == len(snapshot) and verifier.sha256() == hashlib.sha256(snapshot).hexdigest()


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (b"", "of 0 bytes that came is not whole"),
        (whole()[:-1], "is not whole"),
        (whole()[:512], "is not whole"),
        (hashlib.sha256().digest(), "is not whole"),
        (b"y" + whole()[1:], "does not have the checksum"),
        (whole()[:-1] + b"!", "does not have the checksum"),
    ],
)
def test_a_damaged_snapshot_leaves_the_old_file(tmp_path: Path, snapshot: bytes, expected: str) -> None:
    dest = tmp_path / "etcd.db"
    dest.write_text("old")
    with pytest.raises(EtcdError, match=expected):
        save([snapshot], str(dest))
    assert dest.read_text() == "old" and os.listdir(tmp_path) == ["etcd.db"]


def test_a_snapshot_is_saved_whole(etcd: EtcdServer, tmp_path: Path) -> None:
    dest = tmp_path / "etcd.db"
    predicted = Task(etcd.url, dest, check_mode=True).run()
    assert predicted["changed"] and not dest.exists()
    saved = Task(etcd.url, dest).run()
    assert saved["changed"] and saved["size"] == dest.stat().st_size > 800_000
    assert saved["sha256"] == hashlib.sha256(dest.read_bytes()).hexdigest() and saved["version"].startswith("3.")
    assert dest.stat().st_mode & 0o7777 == 0o600 and os.listdir(tmp_path) == ["etcd.db"]
    assert ", 9, " in etcd.etcdctl("snapshot", "status", str(dest)), "etcd's own tool finds the revision"
    kept = Task(etcd.url, dest, force=False).run()
    assert not kept["changed"] and kept["sha256"] == saved["sha256"]
    dest.chmod(0o644)
    again = Task(etcd.url, dest).run()
    assert again["changed"] and again["diff"]["before"]["size"] == saved["size"]
    assert dest.stat().st_mode & 0o7777 == 0o600


def test_a_snapshot_can_be_restored(etcd: EtcdServer, tmp_path: Path) -> None:
    Task(etcd.url, tmp_path / "etcd.db").run()
    new = EtcdServer(tmp_path)
    etcd.etcdctl(
        "snapshot",
        "restore",
        str(tmp_path / "etcd.db"),
        f"--data-dir={tmp_path / 'data'}",
        f"--name={new.name}",
        f"--initial-cluster={new.name}={new.peer_url}",
        f"--initial-advertise-peer-urls={new.peer_url}",
    )
    with new:
        assert len(new.etcdctl("get", "--prefix", "--keys-only", "/").split()) == 8


def test_files_that_cannot_be_written(etcd: EtcdServer, tmp_path: Path) -> None:
    with pytest.raises(EtcdError, match="dest is a directory"):
        Task(etcd.url, tmp_path).run()
    with pytest.raises(EtcdError, match="none does not exist; make it first"):
        Task(etcd.url, tmp_path / "none" / "etcd.db").run()


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EtcdError, match=r"cannot be written [(]No space left on device"):
        save([whole()], str(tmp_path / "etcd.db"))
    assert os.listdir(tmp_path) == []


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(EtcdError, match="gave no answer within 1 s"),
    ):
        Task(f"http://127.0.0.1:{mute.getsockname()[1]}", tmp_path / "etcd.db", timeout=1.0).run()
    assert time.monotonic() - began < 5 and os.listdir(tmp_path) == []


def test_a_server_that_freezes_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with EtcdServer(tmp_path / "server") as server:
        for number in range(40):
            server.etcdctl("put", f"/{number}", "x" * 100_000)
        task = Task(server.url, tmp_path / "etcd.db", timeout=1.0)
        with etcd_snapshot.Cluster(task.params) as cluster:
            pieces = cluster.snapshot()
            first = next(pieces)

            def frozen() -> Iterator[bytes]:
                yield first
                server.freeze()
                yield from pieces

            with pytest.raises(EtcdError, match="stopped answering for 1 s"):
                save(frozen(), str(tmp_path / "etcd.db"))
    assert os.listdir(tmp_path) == ["server"]
