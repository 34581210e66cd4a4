# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker engine of this node: its running containers, and what happens to them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from flagship.daemon import Backoff
from flagship.discovery.containers import Container, parse_container

log = logging.getLogger(__name__)

# The longest that an answer of the engine is waited for, in seconds.
TIMEOUT = 5
# Everything after which a container may be listed, or no longer, or elsewhere; the engine leaves out the rest.
_FILTERS = {
    "type": ["container", "network"],
    "event": [
        *("start", "die", "kill", "pause", "unpause", "rename", "destroy", "health_status", "connect", "disconnect")
    ],
}


class EngineError(Exception):
    """The engine refused or failed; the text is one sentence that names it."""


class Engine:
    """A connection to the engine at `url`; every call but a stream's ends within TIMEOUT, and may raise EngineError."""

    def __init__(self, url: str) -> None:
        # Here, because no other command needs the 10 MiB that it takes.
        import docker

        self._url = url
        self._docker = docker
        with self._errors():
            self._client = docker.APIClient(base_url=url, version="auto", timeout=TIMEOUT)

    def close(self) -> None:
        self._client.close()

    def running(self) -> list[Container]:
        """The containers that run, paused and restarting ones included."""
        with self._errors():
            ids = [container["Id"] for container in self._client.containers(quiet=True, trunc=False)]
        return [container for container in map(self.inspect, ids) if container is not None]

    def inspect(self, name: str) -> Container | None:
        """The container of that name or id, or None when there is none."""
        with self._errors():
            try:
                return parse_container(self._client.inspect_container(name))
            except self._docker.errors.NotFound:
                return None

    def events(self, since: int) -> Any:
        """The events since that time (seconds of the epoch), as an iterator with close(); may wait for ever."""
        with self._errors():
            return self._client.events(since=since, filters=_FILTERS, decode=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        # The SDK lets errors of requests, urllib3 and json through besides its own: all that it raises is the engine's.
        except Exception as error:
            raise EngineError(f"the Docker engine at {self._url} cannot be asked: {_reason(error)}.") from None


class ContainerHandler(Protocol):
    """What a ContainerFollower tells; all calls come from its one thread."""

    def on_containers(self, containers: list[Container]) -> None:
        """All containers that run: at the start, after every loss of the engine, and by the resync timer."""

    def on_container(self, identity: str, container: Container | None) -> None:
        """What one container is now; None when it is no more."""

    def on_kill(self, identity: str, number: int) -> None:
        """A container was sent the signal of that number."""

    def on_start(self, identity: str) -> None:
        """A container was started: what it was sent before no longer counts."""

    def on_lost(self, error: EngineError) -> None:
        """The engine cannot be followed; called once, until the next on_containers."""


class ContainerFollower:
    """Lists the containers and follows their events, and starts over when anything is in doubt."""

    def __init__(self, connect: Callable[[], Engine], handler: ContainerHandler, resync: float) -> None:
        self._connect = connect
        self._handler = handler
        self._resync = resync
        self._stop = threading.Event()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="containers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a call to the engine in progress is waited for."""
        self._stop.set()
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(2 * TIMEOUT)

    def _run(self) -> None:
        backoff = Backoff(first=0.1, limit=3.0)
        while not self._stop.is_set():
            try:
                self._follow(backoff)
            except EngineError as error:
                if not self._lost:
                    self._lost = True
                    self._handler.on_lost(error)
            except Exception:
                # A mistake must not end the loop silently: the next list gives it another chance.
                log.exception("Listing all containers again, because handling an event failed.")
            self._stop.wait(backoff.next())

    def _follow(self, backoff: Backoff) -> None:
        engine = self._connect()
        # A new one each time: what an old reader still has to say must not be heard.
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._inbox = inbox
        reader = _Reader(engine, inbox)
        try:
            reader.start()
            self._list(engine)
            next_resync = time.monotonic() + self._resync
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= next_resync:
                    self._list(engine)
                    next_resync = now + self._resync
                try:
                    event = inbox.get(timeout=next_resync - now if next_resync > now else 0)
                except queue.Empty:
                    continue
                if isinstance(event, EngineError):
                    raise event
                if event is not None:
                    backoff.reset()
                    self._tell(engine, event)
        finally:
            reader.close()
            engine.close()

    def _list(self, engine: Engine) -> None:
        self._handler.on_containers(engine.running())
        self._lost = False

    def _tell(self, engine: Engine, event: Mapping[str, Any]) -> None:
        actor = event["Actor"]
        # An event of a network names the container among the attributes.
        identity = actor["ID"] if event["Type"] == "container" else actor["Attributes"].get("container", "")
        if not identity:
            return
        if event["Action"] == "kill":
            self._handler.on_kill(identity, int(actor["Attributes"].get("signal", 0)))
        elif event["Action"] == "start":
            self._handler.on_start(identity)
        self._handler.on_container(identity, engine.inspect(identity))


class _Reader:
    """Reads the events in a thread, into a queue; an EngineError is the last one."""

    def __init__(self, engine: Engine, inbox: queue.SimpleQueue[Any]) -> None:
        self._engine = engine
        self._inbox = inbox
        self._stream: Any = None
        self._subscribed = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Returns when the engine has begun to tell."""
        self._thread.start()
        if not self._subscribed.wait(TIMEOUT):
            raise EngineError("the Docker engine does not begin to tell events.")

    def close(self) -> None:
        self._closed = True
        try:
            if self._stream is not None:
                self._stream.close()
        except Exception as error:  # the SDK closes by hand what may be closed already
            log.debug("The events of the engine end with %r.", error)
        # One that waits for an engine that hangs ends with that engine.
        self._thread.join(0.1)

    def _run(self) -> None:
        try:
            # Events of the last second again: what happened while this began must not be missed.
            self._stream = self._engine.events(int(time.time()) - 1)
            self._subscribed.set()
            for event in self._stream:
                self._inbox.put(event)
                if self._closed:
                    return
            self._inbox.put(EngineError("the Docker engine has ended."))
        except EngineError as error:
            self._inbox.put(error)
        except Exception as error:
            self._inbox.put(EngineError(f"the events of the Docker engine cannot be read: {_reason(error)}."))
        finally:
            self._subscribed.set()


def _reason(error: Exception) -> str:
    text = getattr(error, "explanation", None) or error
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__
