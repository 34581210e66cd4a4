# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a silent machine is waited for: the times that follow from agent_ttl, all in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A new leader of etcd is elected one to two seconds after the old one died, and then lets every lease live for its
# whole time and one election timeout more (lessor.Promote in etcd's server/lease/lessor.go).
_ELECTION = 2.0
_EXTENSION = 1.0
# With shorter leases a machine that is slow to find another member could not be told from a dead one.
_SHORTEST = 6
# A leader of etcd that was frozen, and wakes, believes for a moment that it leads and that all leases are over: what it
# then revokes is gone, though their holders live (https://github.com/etcd-io/etcd/issues/15247; mended in etcd 3.4.31
# and 3.5.13, which Debian 12 does not have).
_COMEBACK = 0.5


@dataclass(frozen=True)
class Patience:
    """A machine is dead when its lease ends, for want of a renewal in `ttl`.

    A change of etcd's leader makes all leases longer, and must not keep a machine alive that died together with that
    leader: when `verdict` has passed since the election, whoever `is_silent` is dead, too.
    """

    ttl: float

    @property
    def lease(self) -> int:
        """What a machine's lease is granted for."""
        return max(1, round(self.ttl))

    @property
    def renewal(self) -> float:
        """Between two renewals of a lease, which write nothing: a machine may be cut off for `lease` less this."""
        return min(0.5, self.lease / 10)

    @property
    def brief(self) -> float:
        """A gap in following the registry that is shorter than this ended no lease: it is no outage."""
        return self.ttl / 2

    @property
    def comeback(self) -> float:
        """Between the end of a machine's lease and its death: one that lives has taken another by then."""
        return _COMEBACK

    @property
    def verdict(self) -> float:
        """Between an election in etcd and the death of who was silent since; infinite when leases are too short."""
        return self.lease - _ELECTION if self.lease >= _SHORTEST else math.inf

    def is_silent(self, remaining: int) -> bool:
        """Whether a lease was not renewed since the election, by its *remaining* time (rounded down) at the verdict."""
        return remaining < self.lease + _EXTENSION - self.verdict
