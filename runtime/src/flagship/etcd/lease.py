# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lease that is kept alive as long as its owner lives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from flagship.daemon import Backoff
from flagship.etcd.client import Client
from flagship.etcd.model import EtcdError, LeaseGone

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Holds a lease of `ttl` seconds in a thread of its own, and takes a new one when it is lost.

    Each of `on_new_lease` is called in that thread with every new lease, the first included, to write what hangs on it;
    one that raises EtcdError is called again until it succeeds. They must return well within the TTL.
    The lease is renewed every `renewal` seconds: unless given a third of the TTL, and at most 1.5 s, as etcd may lose a
    lease whose owner lives (flagship.fleet.patience says when), and its keys are back only after the next renewal.
    """

    def __init__(
        self, client: Client, ttl: int, on_new_lease: Sequence[Callable[[int], None]] = (), *, renewal: float = 0.0
    ) -> None:
        self._client = client
        self._ttl = ttl
        self._renewal = renewal or min(1.5, ttl / 3)
        self._callbacks = tuple(on_new_lease)
        self._pending: list[Callable[[int], None]] = []
        self._lease: int | None = None
        self._expires = 0.0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    @property
    def lease(self) -> int | None:
        """The id of the lease, or None while there is none."""
        return self._lease

    @property
    def live(self) -> bool:
        """Whether etcd surely still holds the lease, by this machine's monotonic clock, counted from the request."""
        return self._lease is not None and time.monotonic() < self._expires

    def start(self) -> None:
        self._thread.start()

    def renew_now(self) -> None:
        """Renew the lease at once, as somebody has reason to believe that it is gone."""
        self._wake.set()

    def stop(self, revoke: bool) -> None:
        """End the thread; with `revoke` the lease and its keys go at once, else they go when the lease expires."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * self._client.connection.timeout)
        lease, self._lease = self._lease, None
        if revoke and lease is not None:
            try:
                self._client.revoke(lease)
            except EtcdError as error:
                log.warning("Lease %x was not revoked and will expire by itself: %s", lease, error)

    def wait_live(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the lease to be live; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.live, timeout)

    def _run(self) -> None:
        backoff = Backoff(first=0.1, limit=min(5.0, self._ttl / 6, 2 * self._renewal))
        reported = False
        while not self._stop.is_set():
            try:
                self._renew()
                self._call_back()
            except LeaseGone:
                log.warning("Lease %x is gone; taking a new one.", self._lease or 0)
                self._lease = None
                self._stop.wait(backoff.next())
            except EtcdError as error:
                if not reported:
                    log.warning("The lease cannot be kept alive, trying on: %s", error)
                reported = True
                self._stop.wait(backoff.next())
            except Exception:
                log.exception("What hangs on lease %x was not written, trying on.", self._lease or 0)
                self._stop.wait(backoff.next())
            else:
                if reported:
                    log.info("The lease is kept alive again.")
                reported = False
                backoff.reset()
                self._wake.wait(self._renewal)
                self._wake.clear()

    def _renew(self) -> None:
        sent = time.monotonic()
        if self._lease is None:
            lease, seconds = self._client.grant(self._ttl), self._ttl
            self._pending = list(self._callbacks)
        else:
            lease, seconds = self._lease, self._client.keep_alive(self._lease)
        with self._changed:
            self._lease, self._expires = lease, sent + seconds
            self._changed.notify_all()

    def _call_back(self) -> None:
        while self._pending and self._lease is not None and not self._stop.is_set():
            self._pending[0](self._lease)
            self._pending.pop(0)
