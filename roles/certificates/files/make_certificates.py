# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a private authority and its certificates in a directory of the controller, and prints what it made as JSON.

Standard input has what is wanted: `authority` (common_name, days), `days` and `renew_days` of certificates, and
`certificates`, each with `name` (a path without suffix), `common_name`, `hosts` (names and addresses) and `uses`
(server, client). A certificate is made where there is none, or where the one that is there would not do; its key is
made with it. Keys are readable by their owner alone, and appear nowhere else.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Union

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    # Version 40 brought this.
    VERIFY_ISSUER = x509.Certificate.verify_directly_issued_by
except (ImportError, AttributeError):
    sys.exit(
        f"make_certificates: {sys.executable} on the controller has no library cryptography 40 or newer: "
        "install it, or name another Python in certificates_python."
    )

# What is made is of the first kind; what is given may be of the other.
Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]
USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
# Clocks of machines differ.
EARLIER = datetime.timedelta(hours=1)


class Wanted(NamedTuple):
    """A certificate: `hosts` are DNS names and addresses, `uses` are keys of USES."""

    name: str
    common_name: str
    hosts: tuple[str, ...]
    uses: tuple[str, ...]


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key


def reason_to_make(
    found: Pair | None, wanted: Wanted, authority: x509.Certificate, renew_days: int, now: datetime.datetime
) -> str:
    """Why the certificate that is there, if any, would not do; empty where it does."""
    if found is None:
        return "there was none"
    certificate = found.certificate
    if certificate.public_key() != found.key.public_key():
        return "its key was another one"
    if not issued_by(certificate, authority):
        return "it was of another authority"
    if end_of(certificate) - now < datetime.timedelta(days=renew_days):
        return f"it ends on {end_of(certificate):%Y-%m-%d}"
    if described(certificate) != (wanted.common_name, frozenset(wanted.hosts), frozenset(wanted.uses)):
        return "it was for other names or uses"
    return ""


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        VERIFY_ISSUER(certificate, authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def end_of(certificate: x509.Certificate) -> datetime.datetime:
    """When it ends to be valid, in UTC; cryptography before 42 has the time without its zone."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def described(certificate: x509.Certificate) -> tuple[str, frozenset[str], frozenset[str]]:
    """Common name, hosts and uses."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    hosts: list[str] = []
    uses: list[str] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            hosts += extension.value.get_values_for_type(x509.DNSName)
            hosts += map(str, extension.value.get_values_for_type(x509.IPAddress))
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            uses += [name for name, oid in USES.items() if oid in extension.value]
    return (str(names[0].value) if names else "", frozenset(hosts), frozenset(uses))


def make_authority(common_name: str, days: int, now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    name = _name(common_name)
    builder = _builder(name, name, key, now, now + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    # Python 3.13 refuses an authority without it.
    builder = builder.add_extension(usage, critical=True)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_certificate(wanted: Wanted, authority: Pair, days: int, now: datetime.datetime) -> Pair:
    """Ends with its authority at the latest."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + datetime.timedelta(days=days), end_of(authority.certificate))
    builder = _builder(_name(wanted.common_name), authority.certificate.subject, key, now, end)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([USES[use] for use in wanted.uses]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
    ]
    if wanted.hosts:
        extensions.append((x509.SubjectAlternativeName([_host(host) for host in wanted.hosts]), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    now: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - EARLIER).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def read_pair(directory: Path, name: str) -> Pair | None:
    """The certificate NAME.crt and its key NAME.key; None where one is missing. Exits where one cannot be read."""
    paths = [directory / f"{name}.crt", directory / f"{name}.key"]
    if not all(path.exists() for path in paths):
        return None
    try:
        certificate = x509.load_pem_x509_certificate(paths[0].read_bytes())
        key = serialization.load_pem_private_key(paths[1].read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        _fail(f"{paths[0]} or its key cannot be read: put back what was there, or remove both.")
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        _fail(f"{paths[1]} is a key of neither an elliptic curve nor RSA: give one of these.")
    return Pair(certificate, key)


def write_pair(directory: Path, name: str, pair: Pair) -> None:
    """The key first: a certificate without its key would be taken for one that was given."""
    key = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(directory / f"{name}.key", key, 0o600)
    _write(directory / f"{name}.crt", pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, staged = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
    Path(staged).replace(path)


def keep(wanted: Mapping[str, Any], directory: Path, now: datetime.datetime, check: bool) -> dict[str, str]:
    """Make what is missing or would not do, unless it is only a check; why, by name, `ca` for the authority.

    An authority that was given without its key does until something has to be signed.
    """
    made: dict[str, str] = {}
    authority = read_pair(directory, "ca")
    certificate = authority.certificate if authority else _read_certificate(directory / "ca.crt")
    if certificate is None:
        made["ca"] = "there was none"
        authority = make_authority(wanted["authority"]["common_name"], wanted["authority"]["days"], now)
        certificate = authority.certificate
        if not check:
            write_pair(directory, "ca", authority)
    for item in wanted["certificates"]:
        one = Wanted(item["name"], item["common_name"], tuple(item.get("hosts", ())), tuple(item["uses"]))
        reason = reason_to_make(read_pair(directory, one.name), one, certificate, wanted["renew_days"], now)
        if not reason:
            continue
        if authority is None:
            _fail(
                f"{directory / one.name}.crt has to be made ({reason}), "
                f"and there is no ca.key in {directory} to sign it: add the key, or a certificate that will do."
            )
        if end_of(certificate) <= now:
            _fail(f"the authority {directory / 'ca.crt'} has ended: remove it and its key to have all made anew.")
        made[one.name] = reason
        if not check:
            write_pair(directory, one.name, make_certificate(one, authority, wanted["days"], now))
    return made


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None
    except (OSError, ValueError):
        _fail(f"{path} cannot be read: put back what was there, or remove it.")


def _fail(sentence: str) -> NoReturn:
    sys.exit(f"make_certificates: {sentence}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--directory", type=Path, required=True, help="where the authority and the certificates are")
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args(arguments)
    now = datetime.datetime.now(datetime.timezone.utc)
    print(json.dumps({"made": keep(json.load(sys.stdin), given.directory, now, given.check)}))


if __name__ == "__main__":
    main()
