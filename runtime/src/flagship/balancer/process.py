# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The balancer that runs: checks a file, reads it, and shows what it has read."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path

from flagship.balancer import haproxy
from flagship.balancer.config import STAGED, STAGED_NAME, TemplateConfig
from flagship.balancer.container import Container
from flagship.balancer.control import BalancerError, Control, Programs

log = logging.getLogger(__name__)

# How long a balancer that was told to read its file may take to show the file's digest, each of three times.
CONFIRM_TIMEOUT = 3.0
# The same for a change through the runtime API, which is done when it is answered.
RUNTIME_CONFIRM_TIMEOUT = 1.0

# A proxy named in the environment has no business between this program and the balancer beside it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class UnconfirmedError(BalancerError):
    """The balancer was told to read its file, and still runs with another one."""


class Balancer:
    """What the configuration says about the running balancer, as functions."""

    def __init__(self, config: TemplateConfig) -> None:
        self._config = config
        self._control: Control = (
            Container(config.container, config.signal) if config.container else Programs(config.reload, config.running)
        )
        self._api = haproxy.RuntimeApi(config.haproxy_socket) if config.haproxy_socket else None

    def check(self, staged: Path) -> None:
        """Raises BalancerError when the balancer would not take the file, NotRunningError when none can be asked."""
        places = {STAGED: str(staged), STAGED_NAME: staged.name}
        command = []
        for word in self._config.check:
            for placeholder, value in places.items():
                word = word.replace(placeholder, value)
            command.append(word)
        self._control.check(command)

    def reload(self) -> None:
        """Make the balancer read its file; raises BalancerError, NotRunningError."""
        self._control.reload()

    def shows(self, digest: str) -> bool:
        """Whether it runs with the file of that digest, as far as it can be asked; raises NotRunningError."""
        if self._config.confirm and _first_line(self._config.confirm) != digest:
            self._control.ask_whether_running()
            return False
        return True

    def reload_until_live(self, digest: str, text: str) -> None:
        """Make the balancer read its file and wait until it shows that; raises BalancerError, NotRunningError."""
        for last in (False, False, True):
            self.reload()
            try:
                self.confirm(digest, text, CONFIRM_TIMEOUT)
                return
            except UnconfirmedError as error:
                # HAProxy's master misses a signal that comes while it starts the worker of the reload before.
                if last:
                    raise
                log.info("The reload is repeated: %s", error)

    def confirm(self, digest: str, text: str, limit: float) -> None:
        """Wait until the balancer runs with the file of that digest; raises UnconfirmedError, NotRunningError."""
        deadline = time.monotonic() + limit
        pause = 0.01
        while problem := self._unconfirmed(digest, text):
            if time.monotonic() >= deadline:
                self._control.ask_whether_running()
                raise UnconfirmedError(f"the balancer does not run with the new file after {limit:g} s: {problem}.")
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)

    def _unconfirmed(self, digest: str, text: str) -> str:
        """What shows that the balancer does not run with the file, "" when nothing does."""
        if self._config.confirm and (shown := _first_line(self._config.confirm)) != digest:
            return f"{self._config.confirm} answers {shown[:80]!r} instead of {digest!r}"
        if self._api:
            try:
                missing = haproxy.differences(haproxy.split(text, digest).servers, self._api.servers())
            except haproxy.RuntimeApiError as error:
                return str(error).rstrip(".")
            if missing:
                return f"still to be done there is {missing[0]!r}"
        return ""

    def change_servers(self, old: tuple[str, str], new: tuple[str, str]) -> bool:
        """Change HAProxy's servers from those of one text and digest to those of another without a reload.

        Returns whether that was possible.
        """
        if not self._api:
            return False
        before, after = haproxy.split(*old), haproxy.split(*new)
        if after.static:
            log.info("%s is reloaded for every change: %s.", self._config.destination, after.static)
        if not haproxy.same_but_servers(before, after):
            return False
        try:
            if self._config.confirm and _first_line(self._config.confirm) != old[1]:
                return False
            said = self._api.ask_all(haproxy.plan(after.servers, self._api.servers()))
            refused = haproxy.differences(after.servers, self._api.servers())
        except haproxy.RuntimeApiError as error:
            log.warning("%s", error)
            return False
        if refused:
            log.warning("HAProxy did not do %r and says: %s", refused[0], " ".join(said.split())[:500] or "nothing")
        return not refused

    def name_servers(self, digest: str, text: str) -> bool:
        """Let HAProxy show the digest of the file that its changed servers are in; returns whether it does."""
        if not self._api:
            return False
        try:
            self._api.ask(f"set var proc.digest str({digest})")
            self.confirm(digest, text, RUNTIME_CONFIRM_TIMEOUT)
        except (haproxy.RuntimeApiError, BalancerError) as error:
            log.warning("%s", error)
            return False
        return True

    def tidy(self, text: str, digest: str) -> bool:
        """Put HAProxy's servers right and delete those that have left; returns whether there is more to do later."""
        if not self._api:
            return False
        wanted = haproxy.split(text, digest).servers
        try:
            self._api.ask_all(haproxy.plan(wanted, self._api.servers()))
            return bool(haproxy.plan(wanted, self._api.servers()))
        except haproxy.RuntimeApiError:
            return False  # it is not running: then it will read the file


def _first_line(url: str) -> str:
    """What the URL answers, "" when it does not."""
    try:
        with _opener.open(url, timeout=2) as answer:
            return str(answer.readline(200).decode("utf-8", "replace").strip())
    except (OSError, ValueError, http.client.HTTPException):
        return ""
