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
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flagship.balancer.config import STAGED, TemplateConfig

log = logging.getLogger(__name__)

# How long check, running and reload may take, in seconds.
COMMAND_TIMEOUT = 30.0


class OutputError(Exception):
    """The file was not replaced, or the balancer did not reload it; the text is one sentence."""


class Output:
    """The destination of one template and its status file, `<status_directory>/<name>.json`.

    The status holds: name, destination, revision and hash (sha256) of what the balancer was last told to read,
    reload_pending (the file is newer than that), error (of the last attempt, "" = none) and time (UTC).
    """

    def __init__(self, config: TemplateConfig, status_directory: Path) -> None:
        self._config = config
        self._status_file = status_directory / f"{config.name}.json"
        status = _read_json(self._status_file)
        # Kept across restarts: a reload that was still due when this process ended is made up for.
        self._applied = str(status.get("hash", ""))
        self._revision = int(status.get("revision", 0))
        self._error = str(status.get("error", ""))

    @property
    def exists(self) -> bool:
        """Whether there is a file, which then has passed an earlier check."""
        return self._config.destination.is_file()

    def apply(self, text: str, revision: int) -> bool:
        """Make `text` live and return whether it was not so already; raises OutputError, after which to try again."""
        wanted = hashlib.sha256(text.encode()).hexdigest()
        try:
            current = _digest(self._config.destination)
            changed = not (wanted == current == self._applied)
            if changed:
                self._go_live(text, wanted != current)
        except OutputError as error:
            self.report(str(error))
            raise
        if changed or self._error or revision != self._revision:
            self._applied, self._revision, self._error = wanted, revision, ""
            self._record()
        return changed

    def report(self, error: str) -> None:
        """Put the error of an attempt into the status."""
        self._error = error
        self._record()

    def _go_live(self, text: str, replace: bool) -> None:
        running = self._is_running()
        if replace:
            self._replace(text, self._config.check if running else ())
        if running and self._config.reload:
            _run("reload", self._config.reload)

    def _is_running(self) -> bool:
        if not self._config.running:
            return True
        try:
            _run("running", self._config.running)
        except OutputError as error:
            log.info("Nothing reads %s now, so it is neither checked nor reloaded: %s", self._config.destination, error)
            return False
        return True

    def _replace(self, text: str, check: Sequence[str]) -> None:
        destination = self._config.destination
        try:
            staged = _stage(destination, text, self._config.mode)
        except OSError as error:
            raise OutputError(f"{destination} cannot be written: {error.strerror}.") from None
        try:
            if check:
                _run("check", [word.replace(STAGED, str(staged)) for word in check])
            staged.replace(destination)
        except OSError as error:
            raise OutputError(f"{destination} cannot be replaced: {error.strerror}.") from None
        finally:
            staged.unlink(missing_ok=True)

    def _record(self) -> None:
        try:
            pending = _digest(self._config.destination) != self._applied
        except OutputError:
            pending = True
        status = {
            "name": self._config.name,
            "destination": str(self._config.destination),
            "revision": self._revision,
            "hash": self._applied,
            "reload_pending": pending,
            "error": self._error,
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        }
        try:
            _stage(self._status_file, json.dumps(status, indent=2) + "\n", 0o644).replace(self._status_file)
        except OSError as failure:
            log.warning("Status file %s cannot be written: %s.", self._status_file, failure.strerror)


def _digest(path: Path) -> str:
    """sha256 of the file, "" when there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.") from None


def _stage(destination: Path, text: str, mode: int) -> Path:
    """Write `text` to a new file beside `destination`, from where one rename puts it in its place."""
    destination.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            # After a power loss there must be the old file or the new one, never an empty one.
            os.fsync(stream.fileno())
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    return staged


def _run(name: str, command: Sequence[str]) -> None:
    """Run a command of the configuration; OutputError with its last words if it does not succeed."""
    shown = " ".join(command)
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise OutputError(f"{name} command `{shown}` did not end within {COMMAND_TIMEOUT:g} s.") from None
    except OSError as error:
        raise OutputError(f"{name} command `{shown}` cannot be run: {error.strerror}.") from None
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).decode("utf-8", "replace").splitlines()
        # nginx names the mistake first and sums up last.
        words = "; ".join(lines[:3]).rstrip(".") or "no output"
        raise OutputError(f"{name} command `{shown}` failed with exit code {result.returncode}: {words}.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
