# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lease is kept, known to be live only while it surely is, and replaced when it is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from etcd_server import EtcdServer, wait_for
from flagship.etcd import Client, LeaseKeeper, Unavailable


class Holder:
    """A keeper with a key that hangs on its lease."""

    def __init__(self, client: Client, key: str, ttl: int = 2) -> None:
        self.leases: list[int] = []
        self.failures = 0
        self._client = client
        self._key = key
        self.keeper = LeaseKeeper(client, ttl, [self._write])

    def _write(self, lease: int) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("a failure made for the test.")
        self._client.put(self._key, b"held", lease)
        self.leases.append(lease)


@pytest.fixture
def holder(etcd_server: EtcdServer, prefix: str) -> Iterator[Holder]:
    with Client(etcd_server.connection(timeout=0.5)) as client:
        made = Holder(client, f"{prefix}held")
        yield made
        made.keeper.stop(revoke=False)


def test_a_lease_is_kept_beyond_its_time(holder: Holder, etcd_client: Client, prefix: str) -> None:
    assert not holder.keeper.live
    assert holder.keeper.lease is None
    holder.keeper.start()
    assert holder.keeper.wait_live(5)
    wait_for(lambda: holder.leases, what="the key")
    written = etcd_client.get(f"{prefix}held")
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        assert holder.keeper.live
        time.sleep(0.05)
    assert etcd_client.get(f"{prefix}held") == written
    holder.keeper.stop(revoke=True)
    assert etcd_client.get(f"{prefix}held") is None
    assert not holder.keeper.live


def test_a_revoked_lease_is_replaced(holder: Holder, etcd_client: Client, prefix: str) -> None:
    holder.keeper.start()
    wait_for(lambda: holder.leases, what="the key")
    etcd_client.revoke(holder.leases[0])
    wait_for(lambda: len(holder.leases) == 2, what="a new lease with the key")
    key = etcd_client.get(f"{prefix}held")
    assert key is not None and key.lease == holder.keeper.lease == holder.leases[1]


def test_a_lease_is_not_live_while_nobody_confirms_it(holder: Holder, etcd_server: EtcdServer) -> None:
    holder.keeper.start()
    assert holder.keeper.wait_live(5)
    lease = holder.keeper.lease
    etcd_server.pause()
    frozen = time.monotonic()
    wait_for(lambda: not holder.keeper.live, 3, "the end of certainty")
    assert time.monotonic() - frozen <= 2.2, "the lease may have expired by now"
    assert holder.keeper.lease == lease
    etcd_server.resume()
    assert holder.keeper.wait_live(10)


def test_a_short_outage_changes_nothing(holder: Holder, etcd_server: EtcdServer) -> None:
    holder.keeper.start()
    wait_for(lambda: holder.leases, what="the key")
    etcd_server.pause()
    time.sleep(0.8)
    etcd_server.resume()
    time.sleep(2.5)
    assert holder.keeper.live
    assert len(holder.leases) == 1


def test_what_hangs_on_the_lease_is_written_until_that_succeeds(holder: Holder) -> None:
    holder.failures = 2
    holder.keeper.start()
    wait_for(lambda: holder.leases, what="the third attempt")
    assert holder.leases == [holder.keeper.lease]


def test_stop_without_etcd_ends(holder: Holder, etcd_server: EtcdServer) -> None:
    holder.keeper.start()
    assert holder.keeper.wait_live(5)
    etcd_server.pause()
    started = time.monotonic()
    holder.keeper.stop(revoke=True)
    assert time.monotonic() - started < 3
