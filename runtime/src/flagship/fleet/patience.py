# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a silent machine is waited for: the times that follow from agent_ttl, all in seconds."""

from __future__ import annotations

from dataclasses import dataclass

# A new leader of etcd is elected one to two seconds after the old one died, and then lets every lease live for its
# whole time and one election timeout more (lessor.Promote in etcd's server/lease/lessor.go).
_ELECTION = 3.0


@dataclass(frozen=True)
class Patience:
    """A machine counts as dead when it has said nothing for `ttl`; by `ttl` + 2 its units have to run elsewhere.

    Its lease is shorter than that, because a change of etcd's leader makes leases longer: a machine that dies together
    with etcd's leader has to be given up in time, too. Otherwise `linger` passes between the end of its lease and its
    death, so that a machine that is cut off from etcd for less than `ttl` keeps its place.
    """

    ttl: float

    @property
    def lease(self) -> int:
        """What a machine's lease is granted for."""
        return max(1, round(0.7 * self.ttl))

    @property
    def renewal(self) -> float:
        """Between two renewals of a lease; they write nothing."""
        return min(0.7, self.lease / 10)

    @property
    def brief(self) -> float:
        """A gap in following the registry that is shorter than this ended no lease: it is no outage."""
        return self.ttl / 2

    def linger(self, since_election: float) -> float:
        """Between the end of a machine's lease and its death; *since_election* is how long etcd's leader leads."""
        extended = since_election < self.lease + _ELECTION
        return max(0.0, self.ttl - self.lease + (-_ELECTION if extended else self.renewal))
