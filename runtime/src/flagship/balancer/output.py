# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A configuration file that is only ever replaced as a whole, after its check, and what is known about it."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from flagship.balancer.config import TemplateConfig
from flagship.balancer.control import BalancerError, NotRunningError
from flagship.balancer.process import Balancer, UnconfirmedError
from flagship.balancer.render import Rendered

log = logging.getLogger(__name__)


class OutputError(Exception):
    """The file was not replaced, or the balancer did not come to run with it; the text is one sentence."""


class Output:
    """The destination of one template and its status file, `<status_directory>/<name>.json`.

    The status holds: name, destination, revision, hash (sha256) and digest of what the balancer was last told to read,
    confirmed (whether the balancer showed that it runs with it; null if it cannot be asked), reload_pending (the file
    is newer than that), error (of the last attempt, "" = none) and time (UTC) of the last change of the status.
    """

    def __init__(self, config: TemplateConfig, status_directory: Path) -> None:
        self._config = config
        self._balancer = Balancer(config)
        self._status_file = status_directory / f"{config.name}.json"
        status = _read_json(self._status_file)
        # Kept across restarts: a reload that was still due when this process ended is made up for.
        self._applied = str(status.get("hash", ""))
        self._digest = str(status.get("digest", ""))
        self._revision = int(status.get("revision", 0))
        self._error = str(status.get("error", ""))
        self._confirmed = bool(status.get("confirmed"))
        self.unfinished = False
        """Whether servers that have left are still to be removed: apply() again later."""

    @property
    def exists(self) -> bool:
        """Whether there is a file, which then has passed an earlier check."""
        return self._config.destination.is_file()

    def apply(self, new: Rendered, revision: int) -> bool:
        """Make the text live and return whether it was not so already; raises OutputError, after which to try again."""
        wanted = hashlib.sha256(new.text.encode()).hexdigest()
        confirmed = False
        try:
            current = self._read()
            changed = not (new.text == current and wanted == self._applied)
            try:
                if changed or not self._balancer.shows(new.digest):
                    self._go_live(current, new)
                    changed = True
                self.unfinished = self._balancer.tidy(new.text, new.digest)
                confirmed = True
            except NotRunningError as error:
                log.info("Nothing reads %s now: %s", self._config.destination, error)
                self.unfinished = False
        except (BalancerError, OutputError) as error:
            self._confirmed = False
            self.report(str(error))
            raise OutputError(str(error)) from None
        if changed or self._error or revision != self._revision or confirmed != self._confirmed:
            self._applied, self._digest, self._revision, self._error = wanted, new.digest, revision, ""
            self._confirmed = confirmed
            self._record()
        return changed

    def report(self, error: str) -> None:
        """Put the error of an attempt into the status."""
        self._error = error
        self._record()

    def _go_live(self, current: str | None, new: Rendered) -> None:
        """Raises BalancerError, OutputError, and NotRunningError after the file was replaced."""
        known = current is not None and hashlib.sha256(current.encode()).hexdigest() == self._applied
        if known and self._balancer.change_servers((current or "", self._digest), (new.text, new.digest)):
            self._replace(new.text, checked=True)
            if self._balancer.name_servers(new.digest, new.text):
                return
        elif new.text != current:
            self._replace(new.text, checked=True)
        try:
            self._balancer.reload_until_live(new.digest, new.text)
        except UnconfirmedError:
            # It runs with the file before: should it start again, that is the one that works.
            if current is not None:
                self._replace(current, checked=False)
            raise

    def _replace(self, text: str, *, checked: bool) -> None:
        destination = self._config.destination
        absent: NotRunningError | None = None
        try:
            staged = _stage(destination, text, self._config.mode)
        except OSError as error:
            raise OutputError(f"{destination} cannot be written: {error.strerror}.") from None
        try:
            if checked:
                self._balancer.check(staged)
        except NotRunningError as error:
            absent = error
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        try:
            staged.replace(destination)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise OutputError(f"{destination} cannot be replaced: {error.strerror}.") from None
        if absent:
            raise absent

    def _read(self) -> str | None:
        """The file's text, None when there is none."""
        try:
            return self._config.destination.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{self._config.destination} cannot be read: {error.strerror}.") from None

    def _record(self) -> None:
        try:
            text = self._read() or ""
            pending = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest() != self._applied
        except OutputError:
            pending = True
        asked = self._config.confirm or self._config.haproxy_socket
        status = {
            "name": self._config.name,
            "destination": str(self._config.destination),
            "revision": self._revision,
            "hash": self._applied,
            "digest": self._digest,
            "confirmed": self._confirmed if asked else None,
            "reload_pending": pending,
            "error": self._error,
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        }
        try:
            _stage(self._status_file, json.dumps(status, indent=2) + "\n", 0o644).replace(self._status_file)
        except OSError as failure:
            log.warning("Status file %s cannot be written: %s.", self._status_file, failure.strerror)


def _stage(destination: Path, text: str, mode: int) -> Path:
    """Write `text` to a new file beside `destination`, from where one rename puts it in its place."""
    destination.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            # After a power loss there must be the old file or the new one, never an empty one.
            os.fsync(stream.fileno())
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    return staged


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
