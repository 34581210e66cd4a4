# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole fleet daemon over a systemd that only pretends, in a process of its own; it ends with its standard input.

Arguments: a directory, etcd's endpoint, the prefix of the registry.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from flagship.settings import EtcdConnection
from fleet.simulated import Node


def main() -> None:
    directory, endpoint, prefix = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    node = Node(Path(directory), EtcdConnection((endpoint,)), prefix, "m1", agent_ttl=10.0)
    node.start(wait=False)
    sys.stdin.read()
    node.stop()


if __name__ == "__main__":
    main()
