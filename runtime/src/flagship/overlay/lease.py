# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our own lease in etcd: acquired in flannel's order, renewed in time, and never written over another node's.

flannel's pkg/subnet/etcd/local_manager.go; every write here is guarded by what was read before, where flannel's own
renewal is not.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from flagship.daemon import Backoff
from flagship.etcd import Client, Compare, Delete, KeyValue, Put
from flagship.overlay.network import (
    Lease,
    NetworkConfig,
    choose_subnet,
    lease_value,
    own_subnet,
    parse_lease,
    subnet_key,
)

log = logging.getLogger(__name__)

# flannel's; both in seconds. The margin is that of --subnet-lease-renew-margin.
LEASE = 24 * 3600
RENEW_MARGIN = 3600
# A lease that somebody else overwrites again and again, within this many seconds, is a clash.
_CLASH = 60.0


class LeaseHolder:
    """Keeps one subnet leased to this node's public address."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        public_ip: IPv4Address,
        previous: IPv4Network | None,
        *,
        lease: int = LEASE,
        margin: float = RENEW_MARGIN,
    ) -> None:
        self.subnet = previous
        """The subnet that is ours, or was when we last knew."""
        self._client = client
        self._prefix = prefix
        self._public_ip = public_ip
        self._lease, self._margin = lease, margin
        self._chance = random.Random()  # noqa: S311 (spreads nodes, guards nothing)
        self._written = 0
        self._value = b""
        self._renew_at = 0.0
        self._put_at = 0.0
        self._not_before = 0.0
        self._backoff = Backoff(first=1.0, limit=300.0)

    def hold(self, config: NetworkConfig, items: Mapping[str, KeyValue], revision: int, mac: str) -> IPv4Network | None:
        """See to it that a subnet is ours, given the keys as they were at `revision`; None = not yet, ask again.

        `mac` is that of our vxlan device. Raises NetworkError when no subnet is free, EtcdError when etcd fails.
        """
        now = _boottime()
        if revision < self._written:
            return self.subnet  # what we wrote has not come back yet
        parsed = [(lease, item) for item in items.values() if (lease := parse_lease(item))]
        found = {lease.subnet: item for lease, item in parsed}
        leases = [lease for lease, _item in parsed]
        subnet = own_subnet(config, leases, self._public_ip, self.subnet)
        if subnet is None:
            if self._remove_unfit(config, leases, found):
                return None
            subnet = choose_subnet(config, found.keys(), self.subnet, self._chance)
        vni = config.vni if config.backend == "vxlan" else 0
        value = lease_value(Lease(subnet, self._public_ip, config.backend, vni, mac))
        there = found.get(subnet)
        if there and there.value == value and now < self._renew_at and subnet == self.subnet:
            return subnet
        if there and self._value not in (b"", there.value) and now < self._put_at + _CLASH:
            if now < self._not_before:
                return self.subnet
            self._not_before = now + self._backoff.next()
            log.warning(
                "The lease of %s was overwritten with %s: does another machine have the public address %s?",
                subnet, there.value.decode(errors="replace"), self._public_ip,
            )  # fmt: skip
        elif now > self._put_at + _CLASH:
            self._backoff.reset()
        return self._write(subnet, value, there, now)

    def release(self, items: Mapping[str, KeyValue]) -> set[str]:
        """Remove every lease of our public address; returns the keys."""
        keys = set()
        for key, item in items.items():
            lease = parse_lease(item)
            if lease and lease.public_ip == self._public_ip:
                self._client.txn([Compare(key, "mod", item.mod_revision)], [Delete(key)])
                keys.add(key)
        return keys

    def _write(self, subnet: IPv4Network, value: bytes, there: KeyValue | None, now: float) -> IPv4Network | None:
        key = there.key if there else subnet_key(self._prefix, subnet)
        # A key without a lease is a reservation, which has no end.
        reserved = there is not None and there.lease == 0
        lease = 0 if reserved else self._client.grant(self._lease)
        guard = Compare(key, "mod", there.mod_revision) if there else Compare(key, "create", 0)
        result = self._client.txn([guard], [Put(key, value, lease)])
        if not result.succeeded:
            if lease:
                self._client.revoke(lease)
            return None
        if self.subnet and subnet != self.subnet:
            log.warning("This node has the subnet %s from now on, for %s is not free any more.", subnet, self.subnet)
        elif there is None:
            log.info("This node has the subnet %s.", subnet)
        self.subnet, self._value, self._written, self._put_at = subnet, value, result.revision, now
        self._renew_at = now + self._lease - self._margin
        return subnet

    def _remove_unfit(self, config: NetworkConfig, leases: list[Lease], found: Mapping[IPv4Network, KeyValue]) -> bool:
        unfit = [lease.subnet for lease in leases if lease.public_ip == self._public_ip]
        for subnet in unfit:
            item = found[subnet]
            log.warning("The lease of %s is removed, for it does not fit into %s any more.", subnet, config.network)
            self._client.txn([Compare(item.key, "mod", item.mod_revision)], [Delete(item.key)])
        return bool(unfit)


def _boottime() -> float:
    # Goes on while the machine sleeps, as the lease does.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
