# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server for a WSGI application on sockets that exist already."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.server import create_server
from waitress.trigger import trigger

THREADS = 8
BODY_MAX = 1024 * 1024


class Server:
    """Serves *application* in threads of its own; responses carry *name* in their Server header."""

    def __init__(self, application: Any, sockets: Sequence[socket.socket], name: str) -> None:
        self._map: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self._map,
            sockets=list(sockets),
            ident=name,
            threads=THREADS,
            max_request_body_size=BODY_MAX,
            channel_timeout=60,
            asyncore_use_poll=True,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the threads; requests under way get a moment, the sockets stay for the next process."""
        self._stop.set()
        for item in list(self._map.values()):
            # The thread may see the stop by itself, and close the trigger meanwhile.
            if isinstance(item, trigger):
                with suppress(OSError):
                    item.pull_trigger()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                # Requests and a stop wake it; the timeout only lets idle connections be closed.
                wasyncore.loop(timeout=10.0, use_poll=True, map=self._map, count=1)
        finally:
            self._server.task_dispatcher.shutdown(timeout=2)
            wasyncore.close_all(self._map)
