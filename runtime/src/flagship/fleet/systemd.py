# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd over D-Bus: calls with deadlines, and signals instead of sampling (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jeepney import DBusAddress, DBusErrorResponse, MatchRule, MessageType, message_bus, new_method_call
from jeepney.io.blocking import open_dbus_connection as open_for_calls
from jeepney.io.threading import DBusRouter, ReceiveStopped
from jeepney.io.threading import open_dbus_connection as open_for_signals
from jeepney.wrappers import unwrap_msg

from flagship.daemon import Backoff

log = logging.getLogger(__name__)

_ROOT = "/org/freedesktop/systemd1"
_MANAGER = DBusAddress(_ROOT, bus_name="org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager")
CALL_TIMEOUT = 10.0
RELOAD_TIMEOUT = 60.0
_RUNNING = frozenset({"active", "activating", "deactivating", "reloading", "refreshing", "maintenance"})


class SystemdError(Exception):
    """systemd refused or did not answer; the message is one sentence."""


@dataclass(frozen=True)
class UnitStatus:
    """systemd's three states of a unit, and the path of the job that is queued or runs for it, "" for none."""

    load: str
    active: str
    sub: str
    job: str = ""

    @property
    def running(self) -> bool:
        """Whether there is anything to stop."""
        return self.active in _RUNNING


class Listener(Protocol):
    """Whoever wants systemd's signals; called from the thread that receives them."""

    def on_unit(self, name: str) -> None:
        """A unit's state changed."""

    def on_job(self, job: str, name: str, result: str) -> None:
        """A job is over: done, canceled, timeout, failed, dependency or skipped."""

    def on_reconnect(self) -> None:
        """Signals may have been missed: look at everything again."""


class Manager(Protocol):
    """What an agent asks of systemd; every method raises SystemdError."""

    def link(self, paths: Sequence[str]) -> None:
        """Make unit files outside of systemd's directories known until the next boot."""

    def enable(self, paths: Sequence[str]) -> None:
        """Do what the files' [Install] sections say, until the next boot."""

    def disable(self, names: Sequence[str]) -> None:
        """Undo `link` and `enable`."""

    def reload(self) -> None:
        """Read all unit files again."""

    def start(self, name: str) -> str:
        """Queue a start and return the job's path; `on_job` tells its end."""

    def stop(self, name: str) -> str:
        """Queue a stop and return the job's path, "" when systemd does not know the unit."""

    def restart(self, name: str) -> str:
        """Queue a restart, or a start of what does not run, and return the job's path.

        A stop and a start are not the same: units bound to this one would stay stopped.
        """

    def reset_failed(self, name: str) -> None:
        """Forget that the unit has failed."""

    def statuses(self, names: Sequence[str]) -> dict[str, UnitStatus]:
        """The states of the units, in one call; a unit without a file is `not-found`."""


class Systemd:
    """The system's systemd; the methods are for one thread at a time.

    A lost bus is opened again with the next call; the thread that receives signals does so by itself.
    """

    def __init__(self) -> None:
        self._calls: Any = None
        self._signals: Any = None
        self._listener: Listener | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="systemd signals", daemon=True)

    def listen(self, listener: Listener) -> None:
        """Send signals to *listener* from now on."""
        self._listener = listener
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        signals = self._signals
        if signals is not None:
            signals.interrupt()
        if self._thread.is_alive():
            self._thread.join(CALL_TIMEOUT)
        if self._calls is not None:
            self._calls.close()
            self._calls = None

    # Calls.

    def link(self, paths: Sequence[str]) -> None:
        self._call("LinkUnitFiles", "asbb", (list(paths), True, True))

    def enable(self, paths: Sequence[str]) -> None:
        self._call("EnableUnitFiles", "asbb", (list(paths), True, True))

    def disable(self, names: Sequence[str]) -> None:
        self._call("DisableUnitFiles", "asb", (list(names), True))

    def reload(self) -> None:
        self._call("Reload", timeout=RELOAD_TIMEOUT)

    def start(self, name: str) -> str:
        return str(self._call("StartUnit", "ss", (name, "replace"))[0])

    def stop(self, name: str) -> str:
        try:
            return str(self._call("StopUnit", "ss", (name, "replace"))[0])
        except _NoSuchUnitError:
            return ""

    def restart(self, name: str) -> str:
        return str(self._call("RestartUnit", "ss", (name, "replace"))[0])

    def reset_failed(self, name: str) -> None:
        try:
            self._call("ResetFailedUnit", "s", (name,))
        except _NoSuchUnitError:
            return

    def statuses(self, names: Sequence[str]) -> dict[str, UnitStatus]:
        if not names:
            return {}
        rows = self._call("ListUnitsByNames", "as", (list(names),))[0]
        return {row[0]: UnitStatus(row[2], row[3], row[4], row[9] if row[7] else "") for row in rows}

    def _call(self, method: str, signature: str = "", body: tuple[Any, ...] = (), timeout: float = CALL_TIMEOUT) -> Any:
        try:
            if self._calls is None:
                self._calls = open_for_calls(bus="SYSTEM")
            message = new_method_call(_MANAGER, method, signature or None, body)
            return unwrap_msg(self._calls.send_and_get_reply(message, timeout=timeout))
        except DBusErrorResponse as error:
            text = "; ".join(str(part).rstrip(".") for part in error.data)
            kind = _NoSuchUnitError if error.name.endswith(".NoSuchUnit") else SystemdError
            raise kind(f"systemd refused {method}: {text or error.name}") from None
        except Exception as error:
            self._drop_calls()
            reason = "no answer in time" if isinstance(error, TimeoutError) else f"{error}"
            raise SystemdError(f"systemd could not be asked for {method}: {reason}") from error

    def _drop_calls(self) -> None:
        if self._calls is not None:
            self._calls.close()
            self._calls = None

    # Signals.

    def _receive(self) -> None:
        backoff = Backoff(first=0.1, limit=5.0)
        while not self._stop.is_set():
            try:
                self._subscribe()
                self._tell("on_reconnect")
                backoff.reset()
                while not self._stop.is_set():
                    self._dispatch(self._signals.receive())
            except ReceiveStopped:
                return
            except Exception as error:
                log.warning("systemd's signals cannot be received, trying on: %s", error)
                self._stop.wait(backoff.next())
            finally:
                if self._signals is not None:
                    self._signals.close()
                    self._signals = None

    def _subscribe(self) -> None:
        self._signals = open_for_signals(bus="SYSTEM")
        changed = MatchRule(
            type="signal",
            sender=_MANAGER.bus_name,
            interface="org.freedesktop.DBus.Properties",
            member="PropertiesChanged",
            path_namespace=f"{_ROOT}/unit",
        )
        changed.add_arg_condition(0, "org.freedesktop.systemd1.Unit")
        removed = MatchRule(type="signal", sender=_MANAGER.bus_name, interface=_MANAGER.interface, member="JobRemoved")
        with DBusRouter(self._signals) as router:
            for rule in (changed, removed):
                unwrap_msg(router.send_and_get_reply(message_bus.AddMatch(rule), timeout=CALL_TIMEOUT))
            unwrap_msg(router.send_and_get_reply(new_method_call(_MANAGER, "Subscribe"), timeout=CALL_TIMEOUT))

    def _dispatch(self, message: Any) -> None:
        if message.header.message_type is not MessageType.signal:
            return
        fields = {key.name: value for key, value in message.header.fields.items()}
        if fields.get("member") == "PropertiesChanged":
            self._tell("on_unit", unit_name(str(fields.get("path", ""))))
        elif fields.get("member") == "JobRemoved":
            _number, job, name, result = message.body
            self._tell("on_job", job, name, result)

    def _tell(self, event: str, *arguments: str) -> None:
        if self._listener is not None:
            tell: Callable[..., None] = getattr(self._listener, event)
            tell(*arguments)


def own_job() -> str:
    """What systemd does with the unit of this process now: start, stop, restart and so on, "" for nothing.

    The type of a job (systemctl list-jobs) is what tells `systemctl stop` and a shutdown from `systemctl restart`: both
    end a process by the same signal. Raises SystemdError, also where systemd did not start this process.
    """

    def ask(address: DBusAddress, method: str, signature: str, *arguments: object) -> Any:
        return unwrap_msg(
            bus.send_and_get_reply(new_method_call(address, method, signature, arguments), timeout=CALL_TIMEOUT)
        )[0]

    def value(path: str, interface: str, name: str) -> Any:
        properties = DBusAddress(path, _MANAGER.bus_name, "org.freedesktop.DBus.Properties")
        return ask(properties, "Get", "ss", f"{_MANAGER.bus_name}.{interface}", name)[1]

    try:
        with open_for_calls(bus="SYSTEM") as bus:
            number, job = value(ask(_MANAGER, "GetUnitByPID", "u", os.getpid()), "Unit", "Job")
            return str(value(job, "Job", "JobType")) if number else ""
    except Exception as error:
        raise SystemdError(f"systemd does not tell why this process has to end: {error}") from error


class _NoSuchUnitError(SystemdError):
    pass


def unit_name(path: str) -> str:
    """The unit of a D-Bus object path: systemd writes every other byte than ASCII letters and digits as _xx."""
    label = path.rpartition("/")[2]
    return re.sub(r"_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), label)
