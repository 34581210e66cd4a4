# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a service key lives on after its node: the lease that keeps a promise."""

from __future__ import annotations

import math

# What etcd adds to a lease when its leader dies (flagship.fleet.patience has the reasons), in seconds: the election,
# with an election timeout of 1 s, and the extension that a new leader gives to every lease. An election takes one to
# two seconds; on a busy machine 2.5 s were seen.
_ELECTION = 3
_EXTENSION = 1
# A shorter lease could end while its owner looks for another member: a frozen one keeps a call for up to two seconds.
_SHORTEST = 4


def lease_seconds(ttl: float) -> int:
    """What to ask etcd for, so that a key outlives its node by at most `ttl` seconds, even if that node led etcd.

    A new leader knows no renewals: it lets every lease live for its whole time once more, and an election timeout
    longer, from its election on. The lease is shorter than the promise by both. Below 8 s there is no room for that:
    then the lease is 4 s, or `ttl` if that is less, and only the death of etcd's leader makes it up to 4 s longer.
    """
    return max(1, math.floor(max(min(ttl, _SHORTEST), ttl - _ELECTION - _EXTENSION)))
