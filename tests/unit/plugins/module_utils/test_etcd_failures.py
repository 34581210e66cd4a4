# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_failures import reason, refusal
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import RefusedError

TO = "failed to connect to all addresses; last error: UNKNOWN: ipv4:192.0.2.1:2379: "


@pytest.mark.parametrize(
    ("code", "details", "tls", "expected"),
    [
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", False, "gave no answer within 1.5 s"),
        (
            "UNAVAILABLE",
            TO + "connect: Connection refused",
            False,
            "refuses connections",
        ),
        ("UNAVAILABLE", TO + "Failed to connect to remote host: No route to host", False, "cannot be reached"),
        ("UNAVAILABLE", TO + "Socket closed", False, "if it has TLS, use https://"),
        ("UNAVAILABLE", TO + "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", True, "not trusted"),
        ("UNAVAILABLE", TO + "Ssl handshake failed: WRONG_VERSION_NUMBER", True, "does not speak TLS"),
        ("UNAVAILABLE", TO + "Ssl handshake failed (TSI_PROTOCOL_FAILURE)", True, "whether it wants client_cert"),
        ("UNAVAILABLE", "DNS resolution failed for core01", False, "does not resolve"),
        ("UNAVAILABLE", "etcdserver: no leader", False, "has no leader"),
        ("INTERNAL", "strange\nlines", False, "says 'strange' (look at its log)"),
        ("UNKNOWN", "", False, "says 'UNKNOWN'"),
    ],
)
def test_reasons(code: str, details: str, tls: bool, expected: str) -> None:
    assert expected in reason(code, details, 1.5, tls)


@pytest.mark.parametrize(
    ("details", "expected", "passing"),
    [
        ("etcdserver: request is too large", "request of 7 bytes; keep the value below", False),
        ("grpc: received message larger than max (2 vs. 1)", "--max-request-bytes", False),
        ("etcdserver: mvcc: database space exceeded", "compact, then defragment", False),
        ("etcdserver: authentication failed, invalid user ID or password", "the password of user root", False),
        ("etcdserver: permission denied", "denies this to root", False),
        ("etcdserver: mvcc: required revision has been compacted", "ask for a newer one", False),
        ("etcdserver: re-configuration failed due to not enough started members", "would lose its majority", True),
        ("etcdserver: can only promote a learner member which is in sync with leader", "not in sync yet", True),
        ("etcdserver: {strange}", "refused the request (etcdserver: {strange})", False),
    ],
)
def test_refusals(details: str, expected: str, passing: bool) -> None:
    error = refusal("etcd at http://a, asked from b,", "UNKNOWN", details, 7, "root")
    assert expected in str(error) and str(error).startswith("etcd at http://a, asked from b,")
    assert isinstance(error, RefusedError) is passing
