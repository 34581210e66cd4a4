# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "roles/certificates/files/make_certificates.py"
ETCD = {"name": "core01/etcd", "common_name": "core01", "hosts": ["core01", "10.0.0.11"], "uses": ["server", "client"]}
WATCH = {"name": "core01/watch", "common_name": "watch", "uses": ["client"]}


def run(
    directory: Path, *arguments: str, certificates: Any = (ETCD, WATCH), **changed: Any
) -> subprocess.CompletedProcess[str]:
    wanted = {"authority": {"common_name": "test", "days": 3650}, "days": 365, "renew_days": 60, **changed}
    return subprocess.run(
        [sys.executable, str(PROGRAM), f"--directory={directory}", *arguments],
        input=json.dumps({**wanted, "certificates": certificates}),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def made(*arguments: Any, **changed: Any) -> dict[str, str]:
    done = run(*arguments, **changed)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)["made"]
    return found


def openssl(*arguments: object) -> str:
    return subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=True
    ).stdout


def test_what_does_is_left_alone(tmp_path: Path) -> None:
    predicted = made(tmp_path, "--check")
    assert predicted == dict.fromkeys(("ca", "core01/etcd", "core01/watch"), "there was none")
    assert list(tmp_path.iterdir()) == []
    assert made(tmp_path) == predicted
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert made(tmp_path) == made(tmp_path, "--check") == {}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    for name, purposes in (("etcd", ("sslserver", "sslclient")), ("watch", ("sslclient",))):
        for purpose in purposes:
            openssl(
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-CAfile",
                tmp_path / "ca.crt",
                tmp_path / f"core01/{name}.crt",
            )
    text = openssl("x509", "-in", tmp_path / "core01/etcd.crt", "-noout", "-text")
    assert "CN = core01" in text and "DNS:core01, IP Address:10.0.0.11" in text


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    done = run(tmp_path / "certificates")
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 3 and {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}
    for key in keys:
        assert key.read_text().splitlines()[1] not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"certificates": [{**ETCD, "hosts": ["core01", "10.0.0.12"]}, WATCH]}, "it was for other names or uses"),
        ({"certificates": [{**ETCD, "common_name": "core02"}, WATCH]}, "it was for other names or uses"),
        ({"certificates": [{**ETCD, "uses": ["client"]}, WATCH]}, "it was for other names or uses"),
    ],
)
def test_what_does_not_do_is_replaced(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    made(tmp_path)
    key = (tmp_path / "core01/etcd.key").read_bytes()
    assert made(tmp_path, **changed) == {"core01/etcd": reason}
    assert (tmp_path / "core01/etcd.key").read_bytes() != key
    assert made(tmp_path, **changed) == {}


def test_a_certificate_is_replaced_before_it_ends(tmp_path: Path) -> None:
    made(tmp_path, days=59)
    day = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=59)
    assert made(tmp_path) == dict.fromkeys(("core01/etcd", "core01/watch"), f"it ends on {day:%Y-%m-%d}")
    assert made(tmp_path) == {}


def test_another_authority_and_another_key(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "core01/watch.key").write_bytes((tmp_path / "core01/etcd.key").read_bytes())
    assert made(tmp_path) == {"core01/watch": "its key was another one"}
    for name in ("ca.crt", "ca.key"):
        (tmp_path / name).unlink()
    reasons = made(tmp_path)
    assert reasons.pop("ca") == "there was none" and set(reasons.values()) == {"it was of another authority"}


def test_an_authority_that_was_given(tmp_path: Path) -> None:
    """Of RSA, as many are; what it has signed itself is left alone."""
    authority = ("-subj", "/CN=given", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    openssl("req", "-x509", *key, tmp_path / "ca.key", "-out", tmp_path / "ca.crt", "-days", 100, *authority)
    (tmp_path / "core01").mkdir()
    name = tmp_path / "core01/watch"
    request = ("req", *key, f"{name}.key", "-subj", "/CN=watch", "-addext", "extendedKeyUsage=clientAuth")
    openssl(*request, "-out", f"{name}.csr")
    signing = ("-CA", tmp_path / "ca.crt", "-CAkey", tmp_path / "ca.key", "-copy_extensions", "copy", "-days", 90)
    openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    given = Path(f"{name}.crt").read_bytes()
    assert made(tmp_path) == {"core01/etcd": "there was none"}
    assert Path(f"{name}.crt").read_bytes() == given
    openssl("verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "core01/etcd.crt", f"{name}.crt")


def test_a_python_without_the_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("")
    failed = subprocess.run(
        [sys.executable, str(PROGRAM), f"--directory={tmp_path}"],
        env={"PYTHONPATH": str(tmp_path)}, input="{}", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert failed.returncode == 1 and failed.stderr.startswith(f"make_certificates: {sys.executable} on the controller")


def test_what_cannot_be_gone_on_with(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "ca.key").rename(tmp_path / "away")
    # Certificates of an authority whose key is elsewhere do, as long as nothing has to be signed.
    assert made(tmp_path) == {}
    failed = run(tmp_path, certificates=[{**WATCH, "common_name": "other"}])
    assert failed.returncode == 1 and "ca.key" in failed.stderr and "Traceback" not in failed.stderr
    (tmp_path / "core01/etcd.crt").write_text("none")
    failed = run(tmp_path)
    assert failed.returncode == 1 and "etcd.crt or its key cannot be read" in failed.stderr
