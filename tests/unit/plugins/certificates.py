# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away certificates for TLS tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Certificates:
    """An authority with a certificate for 127.0.0.1 and one for a client called root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Python 3.13 trusts no authority whose certificate does not say that it signs others.
        self.ca = self._sign(
            "ca", "/CN=test authority", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
        )
        self.server = self._sign("server", "/CN=etcd", "subjectAltName=IP:127.0.0.1", "ca")
        self.client = self._sign("client", "/CN=root", "extendedKeyUsage=clientAuth", "ca")

    def client_of(self, user: str) -> str:
        """The certificate of a client with that name."""
        return self._sign(user, f"/CN={user}", "extendedKeyUsage=clientAuth", "ca")

    def key(self, name: str) -> str:
        return str(self.directory / f"{name}.key")

    def _sign(self, name: str, subject: str, extension: str, authority: str = "") -> str:
        certificate = str(self.directory / f"{name}.pem")
        request = str(self.directory / f"{name}.csr")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(extension + "\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _run("openssl", "req", *curve, "-keyout", self.key(name), "-subj", subject, "-out", request)
        signer = ["-CA", str(self.directory / f"{authority}.pem"), "-CAkey", self.key(authority), "-CAcreateserial"]
        signed = signer if authority else ["-signkey", self.key(name)]
        _run("openssl", "x509", "-req", "-in", request, *signed, "-extfile", str(extensions), "-out", certificate)
        return certificate


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
