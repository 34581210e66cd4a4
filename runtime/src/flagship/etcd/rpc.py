# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stubs of etcd3 (python-etcd3 0.12.0) and grpc, imported in the one way that works."""

from __future__ import annotations

import os

# etcd3 0.12.0's generated code is refused by protobuf 4 and later ("Descriptors cannot be created directly") except in
# pure Python, which must be chosen before the first import: https://github.com/kragniz/python-etcd3/issues/1957
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
# grpc's C core writes connection failures to standard error by itself; they reach the operator as EtcdError.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc._common
from etcd3 import etcdrpc

# grpc wakes a thread that waits for the next answer of a watch ten times a second, so that a main thread learns of
# signals; ours learns of them from a socket (flagship.daemon). In seconds; a tenth took a third of what a daemon
# needs at rest.
grpc._common.MAXIMUM_WAIT_TIMEOUT = 60.0

__all__ = ["etcdrpc", "grpc"]
