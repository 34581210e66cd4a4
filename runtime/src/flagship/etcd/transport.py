# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gRPC connections to etcd's endpoints, and what their failures mean."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flagship.etcd.model import Compacted, EtcdError, LeaseGone, PermissionDenied, Unavailable
from flagship.etcd.rpc import etcdrpc, grpc
from flagship.settings import EtcdConnection, SettingsError

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A connection that never comes back is found dead and closed; etcd refuses pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # By default grpc shares one connection among all channels to an address: a new channel would inherit a dead one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

# Where systems keep the bundle of their certificate authorities when OpenSSL names only a directory.
_TRUST_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# Answers given before a request is proposed to the cluster, so that repeating it is safe whatever it was.
_NEVER_APPLIED = (
    "failed to connect",
    "dns resolution failed",
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
)
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")
_DENIED = ("permission denied", "authentication failed", "user name is empty", "invalid auth token")
_RETRIED_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN", "ABORTED")


class Failure(NamedTuple):
    """A gRPC status: the name of its code, and its text."""

    code: str
    details: str

    @property
    def temporary(self) -> bool:
        """Another endpoint, or this one later, may do better."""
        return self.code in _RETRIED_CODES

    @property
    def never_applied(self) -> bool:
        """The request surely changed nothing."""
        return self.details.lower().startswith(_NEVER_APPLIED)

    @property
    def stale_token(self) -> bool:
        """The token has expired or is older than the last change of users and roles."""
        return any(text in self.details for text in _STALE_TOKEN)

    def error(self, where: str) -> EtcdError:
        """The failure as an error whose text says that it came from the endpoints `where`."""
        details = self.details.rstrip(".")
        if any(text in details for text in _DENIED):
            return PermissionDenied(f"etcd at {where} denies access: {details}.")
        if "lease not found" in details:
            return LeaseGone(f"etcd at {where} does not know the lease: it has expired or was revoked.")
        if "has been compacted" in details:
            return Compacted(f"etcd at {where} no longer keeps that revision: {details}.")
        if self.temporary:
            return Unavailable(f"etcd at {where} is not available: {self.reason}.")
        return EtcdError(f"etcd at {where} refused the request: {details} ({self.code}).")

    @property
    def reason(self) -> str:
        """Why an endpoint is not available, in a few words."""
        details = self.details.rstrip(".").lower()
        if self.code == "DEADLINE_EXCEEDED":
            return "no answer in time"
        if "connection refused" in details:
            return "connection refused"
        if "certificate_verify_failed" in details:
            return "its certificate is not signed by the trusted authority, or is for another name"
        if "handshake" in details or "ssl" in details:
            return "the TLS handshake failed; look at ca_cert, client_cert and client_key"
        return self.details.rstrip(".").splitlines()[0] if self.details else self.code


def failure_of(error: Any) -> Failure:
    """The status of a grpc.RpcError."""
    code = error.code()
    return Failure(code.name if code is not None else "UNKNOWN", error.details() or "")


class Link:
    """One connection to one endpoint, with the stubs that use it."""

    def __init__(self, endpoint: str, credentials: Any) -> None:
        self.endpoint = endpoint
        target = urlsplit(endpoint).netloc
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=_OPTIONS)
        self.kv = etcdrpc.KVStub(self._channel)
        self.lease = etcdrpc.LeaseStub(self._channel)
        self.watch = etcdrpc.WatchStub(self._channel)
        self.auth = etcdrpc.AuthStub(self._channel)
        # A stream of one request and one answer is the same on the wire as a call (gRPC over HTTP2, "Requests"), and
        # needs fewer threads.
        self.renew = self._channel.unary_unary(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=etcdrpc.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=etcdrpc.LeaseKeepAliveResponse.FromString,
        )
        self.users = 0
        self.retired = False

    def close(self) -> None:
        self._channel.close()


class Endpoints:
    """The endpoints of a cluster: which one is preferred now, and a shared connection to each that is in use.

    Raises SettingsError when a certificate or key file cannot be read.
    """

    def __init__(self, connection: EtcdConnection) -> None:
        self.urls = connection.endpoints
        self.where = ", ".join(self.urls)
        self._connection = connection
        self._credentials = _credentials(connection)
        self._lock = threading.Lock()
        self._preferred = 0
        self._links: dict[str, Link] = {}

    def open(self) -> Link:
        """A connection of one's own to the preferred endpoint; the caller closes it."""
        with self._lock:
            url = self.urls[self._preferred]
        return self._link(url)

    @contextmanager
    def shared(self) -> Iterator[Link]:
        """The shared connection to the preferred endpoint."""
        with self._lock:
            url = self.urls[self._preferred]
            link = self._links.get(url)
            if link is None:
                link = self._links[url] = self._link(url)
            link.users += 1
        try:
            yield link
        finally:
            with self._lock:
                link.users -= 1
                unused = link.retired and not link.users
            if unused:
                link.close()

    def _link(self, url: str) -> Link:
        """A connection with the certificate that is there now, for it may have been renewed since the last one."""
        if not url.startswith("https://"):
            return Link(url, None)
        # One is about to be replaced: what was read before does as long as its time is not over.
        with suppress(SettingsError):
            self._credentials = _credentials(self._connection)
        return Link(url, self._credentials)

    def reject(self, link: Link) -> None:
        """Prefer the next endpoint from now on, and let nobody else begin to use this connection."""
        with self._lock:
            if self.urls[self._preferred] == link.endpoint:
                self._preferred = (self._preferred + 1) % len(self.urls)
            if self._links.get(link.endpoint) is link:
                del self._links[link.endpoint]
                link.retired = True

    def close(self) -> None:
        """Close every shared connection; calls in progress end with a failure."""
        with self._lock:
            links = list(self._links.values())
            self._links.clear()
        for link in links:
            link.close()


def _credentials(connection: EtcdConnection) -> Any:
    """Channel credentials, or None when no endpoint is https."""
    if not any(url.startswith("https://") for url in connection.endpoints):
        return None
    authorities = _read("ca_cert", connection.ca_cert) if connection.ca_cert else _system_authorities()
    certificate = key = None
    if connection.client_cert:
        certificate = _read("client_cert", connection.client_cert)
        key = _read("client_key", connection.client_key)
    return grpc.ssl_channel_credentials(root_certificates=authorities, private_key=key, certificate_chain=certificate)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"the etcd {name} {path} cannot be read: {error.strerror or error}.") from None


def _system_authorities() -> bytes:
    # grpc would use a bundle of its own instead of the system's.
    for candidate in (ssl.get_default_verify_paths().cafile, *_TRUST_BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    raise SettingsError("this system has no bundle of certificate authorities: set the etcd ca_cert.")
