# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the failures of calls to etcd mean, and the way out."""

from __future__ import annotations

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError, RefusedError

# The request may have reached nobody, or got no answer: another endpoint may do better.
FAILOVER_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED")
STALE_TOKEN = ("invalid auth token", "revision of auth store is old")


def reason(code: str, details: str, waited: float, tls: bool) -> str:
    """Why an endpoint gave no answer: the end of a sentence that its URL begins."""
    lower = details.lower()
    if code == "DEADLINE_EXCEEDED":
        return f"gave no answer within {waited:.2g} s (check that a majority of the members runs, or raise timeout)"
    if "certificate_verify_failed" in lower or "peer name" in lower or "hostname verification" in lower:
        return "has a certificate that is not trusted or is for another name (set ca_cert to its authority)"
    if "wrong_version_number" in lower:
        return "does not speak TLS (use http://, or switch TLS on there)"
    if "refused" in lower:
        return "refuses connections (start etcd there, or correct endpoints)"
    if "no leader" in lower:
        return "has no leader (start a majority of the members, and let them reach one another)"
    if "lookup" in lower or "dns" in lower:
        return "has a host name that does not resolve (correct endpoints)"
    if any(text in lower for text in ("socket closed", "reset", "handshake", "ssl", "unwrap failed")):
        way_out = "check that it has TLS, and whether it wants client_cert" if tls else "if it has TLS, use https://"
        return f"broke the connection off ({way_out})"
    if "failed to connect" in lower:
        return "cannot be reached (correct endpoints, or look at the network and firewalls between)"
    return f"says {(details or code).splitlines()[0]!r} (look at its log)"


def refusal(at: str, code: str, details: str, size: int, user: str | None) -> EtcdError:
    """The error for what etcd says against a request; C{at} names etcd and who asked."""
    if "request is too large" in details or "larger than max" in details:
        return EtcdError(
            f"{at} does not take a request of {size} bytes; keep the value below the server's "
            "--max-request-bytes (1.5 MiB unless set), or store where it is instead of what it is"
        )
    for text, sentence in SENTENCES:
        if text in details:
            return EtcdError(f"{at} {sentence.format(user=user or 'this client', details=details)}")
    for text, sentence in PASSING:
        if text in details:
            return RefusedError(f"{at} {sentence}")
    if code == "UNIMPLEMENTED":
        return EtcdError(f"{at} does not serve etcd's v3 API ({details}); correct endpoints")
    return EtcdError(f"{at} refused the request ({details}); look at its log")


SENTENCES = (
    ("space exceeded", "has no space left; compact, then defragment its members, then disarm the alarm"),
    ("authentication failed", "does not accept the password of user {user}; correct user or password"),
    ("user name is empty", "wants to know who asks; set user and password, or a client certificate"),
    ("permission denied", "denies this to {user}; grant a role that covers it"),
    ("lease not found", "does not know the lease any more, it has expired; run the task again"),
    ("has been compacted", "no longer has that revision ({details}); ask for a newer one, or without revision"),
    ("future revision", "has not reached that revision yet; ask for an older one, or without revision"),
    ("Peer URLs already exists", "has another member with one of these peer URLs; correct peer_urls"),
    ("member not found", "has no such member any more; run the task again"),
    ("too many learner", "takes no second learner; promote or remove the one there is"),
    ("too many operations", "takes fewer operations at once than 128; raise its --max-txn-ops"),
)
PASSING = (
    ("can only promote a learner member which is in sync", "has a learner that is not in sync yet; start it, and wait"),
    ("not enough started members", "would lose its majority; start the members that do not run first"),
    ("unhealthy cluster", "has members that do not see one another, or not for long; wait, or start them"),
    ("no leader", "has no leader; start its other members"),
    ("too many requests", "is overloaded; run the task again later"),
)
