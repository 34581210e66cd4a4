# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""etcd v3 for daemons: a client that fails over, a lease keeper, and the list-and-watch loop.

It uses the stubs of etcd3 (python-etcd3 0.12.0) and closes its gaps: one endpoint only, no resume of a watch, no
keepalive, no deadline, tokens that are never renewed, an import that fails with protobuf 4 and later.
"""

from flagship.etcd.client import Client
from flagship.etcd.follow import Follower, Handler
from flagship.etcd.lease import LeaseKeeper
from flagship.etcd.model import (
    Compacted,
    Compare,
    Delete,
    EtcdError,
    Event,
    Get,
    KeyValue,
    LeaseGone,
    Operation,
    PermissionDenied,
    Put,
    Snapshot,
    TxnResult,
    Unavailable,
    apply,
)
from flagship.settings import EtcdConnection

__all__ = [
    "Client",
    "Compacted",
    "Compare",
    "Delete",
    "EtcdConnection",
    "EtcdError",
    "Event",
    "Follower",
    "Get",
    "Handler",
    "KeyValue",
    "LeaseGone",
    "LeaseKeeper",
    "Operation",
    "PermissionDenied",
    "Put",
    "Snapshot",
    "TxnResult",
    "Unavailable",
    "apply",
]
