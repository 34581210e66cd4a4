# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that TLS needs, checked before a handshake fails on them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError

# Where systems keep the bundle of their certificate authorities when OpenSSL names only a directory.
TRUST_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def read_tls_files(params: Mapping[str, Any]) -> tuple[bytes, bytes | None, bytes | None]:
    """The authorities, the client's key and its certificate (PEM); raises EtcdError for files that cannot be used."""
    ca_cert = params["ca_cert"] or _system_bundle()
    # grpc reports a bad file only as a failed handshake; OpenSSL says which file it is.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise EtcdError(f"ca_cert {ca_cert} cannot be used ({_text(error)}); give a PEM file of authorities") from error
    certificate = key = None
    if params["client_cert"]:
        try:
            context.load_cert_chain(params["client_cert"], params["client_key"], password="")
        except (OSError, ssl.SSLError) as error:
            raise EtcdError(
                f"client_cert {params['client_cert']} with client_key {params['client_key']} cannot be used "
                f"({_text(error)}); give a PEM pair without passphrase"
            ) from error
        certificate = _read(params["client_cert"])
        key = _read(params["client_key"])
    return _read(ca_cert), key, certificate


def _system_bundle() -> str:
    # grpc would use a bundle of its own instead of the system's.
    for candidate in (ssl.get_default_verify_paths().cafile, *TRUST_BUNDLES):
        if candidate and os.path.isfile(candidate):
            return candidate
    raise EtcdError(f"{os.uname().nodename} has no bundle of certificate authorities; set ca_cert")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _text(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
