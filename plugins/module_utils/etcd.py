# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of etcd's v3 API on the stubs of etcd3 0.12.0: several endpoints, a deadline for each call, TLS, users."""

from __future__ import annotations

import os
import ssl
import time
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# etcd3 0.12.0's generated code is refused by protobuf 4 and later ("Descriptors cannot be created directly") except in
# pure Python, which must be chosen before the first import: https://github.com/kragniz/python-etcd3/issues/1957
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
# grpc's C core writes connection failures to standard error by itself, where they would spoil the module's answer.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

ETCD3_IMPORT_ERROR: str | None
try:
    import grpc
    from etcd3 import etcdrpc
except (ImportError, TypeError):
    ETCD3_IMPORT_ERROR = traceback.format_exc()
else:
    ETCD3_IMPORT_ERROR = None

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
# Where systems keep the bundle of their certificate authorities when OpenSSL names only a directory.
TRUST_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
FAILOVER_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN")
STALE_TOKEN = ("invalid auth token", "revision of auth store is old")


class EtcdError(Exception):
    """etcd could not be asked, or refused; the text names the endpoints, what was found, and the way out."""


class KeyValue(NamedTuple):
    """A key's value with the revisions of its creation and last change; lease is 0 for a key that stays."""

    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


class RevisionError(EtcdError):
    """The key is at another revision than expected (0: absent), or was found when it should be absent."""

    def __init__(self, found: KeyValue | None, expected: int) -> None:
        actual = f"has revision {found.mod_revision}" if found else "does not exist"
        awaited = f"revision {expected} was expected" if expected else "it was expected not to exist"
        super().__init__(
            f"it {actual} but {awaited}; nothing was written, look at what 'before' returns and decide anew"
        )
        self.found = found


def etcd_argument_spec() -> dict[str, dict[str, Any]]:
    """The connection options that all etcd modules share; documented in the doc fragment C{etcd}."""
    return {
        "endpoints": {"type": "list", "elements": "str", "default": ["http://127.0.0.1:2379"]},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "user": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "timeout": {"type": "float", "default": 5.0},
    }


def check_connection(params: Mapping[str, Any]) -> list[str]:
    """The endpoints as host:port; raises EtcdError for connection options that cannot be meant."""
    targets = []
    for endpoint in params["endpoints"]:
        try:
            url = urlsplit(endpoint)
            port = url.port or 2379
        except ValueError as error:
            raise EtcdError(f"the etcd endpoint {endpoint!r} is no URL ({error}); correct it") from error
        if url.username or url.password:
            raise EtcdError("an etcd endpoint contains a user or password; give them as options user and password")
        if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
            raise EtcdError(f"the etcd endpoint {endpoint!r} is not understood; write it as https://host:port")
        if url.scheme == "http":
            for name in ("ca_cert", "client_cert", "client_key", "password"):
                if params[name]:
                    raise EtcdError(f"{name} is given but the etcd endpoint {endpoint} has no TLS; use https://")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        targets.append(f"{host}:{port}")
    if not targets:
        raise EtcdError("the list of etcd endpoints is empty; give at least one such as https://host:2379")
    if len({urlsplit(endpoint).scheme for endpoint in params["endpoints"]}) > 1:
        raise EtcdError("some etcd endpoints have TLS and some have not; use https:// for all of them")
    if bool(params["client_cert"]) != bool(params["client_key"]):
        raise EtcdError("client_cert and client_key belong together; give both or neither")
    if bool(params["user"]) != bool(params["password"]):
        raise EtcdError("user and password belong together; give both or neither")
    if params["timeout"] <= 0:
        raise EtcdError(f"the timeout {params['timeout']:g} is not above zero; give a number of seconds")
    return targets


class EtcdClient:
    """A cluster's key-value API, reached by the options of etcd_argument_spec.

    Every call ends within C{timeout} seconds, whatever number of endpoints it has to try, and raises EtcdError.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._targets = check_connection(params)
        self._urls = list(params["endpoints"])
        self._timeout = float(params["timeout"])
        self._user = params["user"]
        self._password = params["password"]
        self._credentials = _credentials(params) if self._urls[0].startswith("https:") else None
        self._token = ""
        self._auth_is_off = False
        self._preferred = 0
        self._channels: dict[int, Any] = {}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def get(self, key: str) -> KeyValue | None:
        """What the cluster's majority holds for the key, or None."""
        answer = self._call("KV", "Range", etcdrpc.RangeRequest(key=key.encode()))
        return _key_value(answer)

    def put_if_unchanged(self, key: str, value: bytes, lease: int, mod_revision: int) -> int:
        """Write the key if its last change was at the revision (0: if it does not exist); the new revision.

        Raises RevisionError, and has not written, if it was not.
        """
        request = etcdrpc.PutRequest(key=key.encode(), value=value, lease=lease)
        answer = self._write_if_unchanged(key, mod_revision, etcdrpc.RequestOp(request_put=request))
        if answer.succeeded:
            return int(answer.header.revision)
        found = _key_value(answer.responses[0].response_range)
        # An endpoint may have written and then died before it answered: the next one finds our own write.
        if found and found.value == value and found.lease == lease:
            return found.mod_revision
        raise RevisionError(found, mod_revision)

    def delete_if_unchanged(self, key: str, mod_revision: int) -> None:
        """Remove the key if its last change was at the revision or it is gone; raises RevisionError otherwise."""
        request = etcdrpc.DeleteRangeRequest(key=key.encode())
        answer = self._write_if_unchanged(key, mod_revision, etcdrpc.RequestOp(request_delete_range=request))
        found = None if answer.succeeded else _key_value(answer.responses[0].response_range)
        if found:
            raise RevisionError(found, mod_revision)

    def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease of the time to live (seconds); its id, and the time to live that the server chose."""
        answer = self._call("Lease", "LeaseGrant", etcdrpc.LeaseGrantRequest(TTL=ttl))
        return answer.ID, answer.TTL

    def granted_ttl(self, lease: int) -> int:
        """The time to live (seconds) that a lease was made for; 0 when there is no such lease."""
        return int(self._call("Lease", "LeaseTimeToLive", etcdrpc.LeaseTimeToLiveRequest(ID=lease)).grantedTTL)

    def refresh(self, lease: int) -> None:
        """Let a lease live for its whole time from now on; fine when it is gone."""
        self._call("Lease", "LeaseKeepAlive", etcdrpc.LeaseKeepAliveRequest(ID=lease))

    def revoke(self, lease: int) -> None:
        """End a lease and remove the keys that hang on it."""
        self._call("Lease", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=lease))

    def _write_if_unchanged(self, key: str, mod_revision: int, operation: Any) -> Any:
        compare = etcdrpc.Compare(
            key=key.encode(), target=etcdrpc.Compare.MOD, result=etcdrpc.Compare.EQUAL, mod_revision=mod_revision
        )
        read = etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=key.encode()))
        return self._call("KV", "Txn", etcdrpc.TxnRequest(compare=[compare], success=[operation], failure=[read]))

    def _call(self, service: str, method: str, request: Any) -> Any:
        deadline = time.monotonic() + self._timeout
        if self._user and not self._token and not self._auth_is_off:
            self._authenticate(deadline)
        try:
            return self._try_endpoints(service, method, request, deadline)
        except grpc.RpcError as error:
            if not (self._token and any(text in (error.details() or "") for text in STALE_TOKEN)):
                raise self._refusal(error, request) from error
        self._authenticate(deadline)
        try:
            return self._try_endpoints(service, method, request, deadline)
        except grpc.RpcError as error:
            raise self._refusal(error, request) from error

    def _authenticate(self, deadline: float) -> None:
        self._token = ""
        request = etcdrpc.AuthenticateRequest(name=self._user, password=self._password)
        try:
            self._token = self._try_endpoints("Auth", "Authenticate", request, deadline).token
        except grpc.RpcError as error:
            # As etcd's own clients do: credentials may be set before authentication is switched on.
            self._auth_is_off = "authentication is not enabled" in (error.details() or "")
            if not self._auth_is_off:
                raise self._refusal(error, request) from error

    def _try_endpoints(self, service: str, method: str, request: Any, deadline: float) -> Any:
        """Ask one endpoint after the other, each for a fair share of the time that is left.

        A write that got no answer may have been done, so the guarded writes are repeated without harm.
        """
        failures = []
        count = len(self._targets)
        for turn in range(count):
            index = (self._preferred + turn) % count
            share = max(deadline - time.monotonic(), 0.001) / (count - turn)
            try:
                answer = self._ask(index, service, method, request, share)
            except grpc.RpcError as error:
                if error.code() is None or error.code().name not in FAILOVER_CODES:
                    self._preferred = index
                    raise
                failures.append(f"{self._urls[index]} {self._reason(error, share)}")
            else:
                self._preferred = index
                return answer
        raise EtcdError(
            f"no etcd endpoint answered as it should, asked from {os.uname().nodename}: {'; '.join(failures)}"
        )

    def _ask(self, index: int, service: str, method: str, request: Any, timeout: float) -> Any:
        channel = self._channels.get(index)
        if channel is None:
            target = self._targets[index]
            if self._credentials is None:
                channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
            else:
                channel = grpc.secure_channel(target, self._credentials, options=CHANNEL_OPTIONS)
            self._channels[index] = channel
        metadata = (("token", self._token),) if self._token else ()
        call = getattr(getattr(etcdrpc, service + "Stub")(channel), method)
        if method == "LeaseKeepAlive":
            return next(call(iter([request]), timeout=timeout, metadata=metadata))
        return call(request, timeout=timeout, metadata=metadata)

    def _reason(self, error: Any, waited: float) -> str:
        details = (error.details() or "").lower()
        if error.code().name == "DEADLINE_EXCEEDED":
            return f"gave no answer within {waited:.2g} s (check that a majority of the members runs, or raise timeout)"
        if "certificate_verify_failed" in details or "peer name" in details or "hostname verification" in details:
            return "has a certificate that is not trusted or is for another name (set ca_cert to its authority)"
        if "wrong_version_number" in details:
            return "does not speak TLS (use http://, or switch TLS on there)"
        if "refused" in details:
            return "refuses connections (start etcd there, or correct endpoints)"
        if "lookup" in details or "dns" in details:
            return "has a host name that does not resolve (correct endpoints)"
        if any(text in details for text in ("socket closed", "reset", "handshake", "ssl", "unwrap failed")):
            way_out = (
                "check that it has TLS, and whether it wants client_cert"
                if self._credentials
                else "if it has TLS, use https://"
            )
            return f"broke the connection off ({way_out})"
        text = (error.details() or error.code().name).splitlines()[0]
        return f"says {text!r} (look at its log)"

    def _refusal(self, error: Any, request: Any) -> EtcdError:
        details = error.details() or error.code().name
        at = f"etcd at {self._urls[self._preferred]}, asked from {os.uname().nodename},"
        if "request is too large" in details or "larger than max" in details:
            return EtcdError(
                f"{at} does not take a request of {request.ByteSize()} bytes; keep the value below the server's "
                "--max-request-bytes (1.5 MiB unless set), or store where it is instead of what it is"
            )
        if "space exceeded" in details:
            return EtcdError(f"{at} has no space left; compact, then defragment its members, then disarm the alarm")
        if "authentication failed" in details:
            return EtcdError(f"{at} does not accept the password of user {self._user}; correct user or password")
        if "user name is empty" in details:
            return EtcdError(f"{at} wants to know who asks; set user and password, or a client certificate")
        if "permission denied" in details:
            return EtcdError(f"{at} denies this to {self._user or 'this client'}; grant a role that covers the key")
        if error.code().name == "UNIMPLEMENTED":
            return EtcdError(f"{at} does not serve etcd's v3 API ({details}); correct endpoints")
        if "lease not found" in details:
            return EtcdError(f"{at} does not know the lease any more, it has expired; run the task again")
        return EtcdError(f"{at} refused the request ({details}); look at its log")


def _key_value(answer: Any) -> KeyValue | None:
    if not answer.kvs:
        return None
    found = answer.kvs[0]
    return KeyValue(found.value, found.create_revision, found.mod_revision, found.lease)


def _credentials(params: Mapping[str, Any]) -> Any:
    """Channel credentials; raises EtcdError for files that cannot be used."""
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
    return grpc.ssl_channel_credentials(_read(ca_cert), key, certificate)


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
