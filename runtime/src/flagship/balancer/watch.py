# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`flagship watch`: writes configuration files that follow service keys in etcd."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flagship import daemon
from flagship.balancer.config import TemplateConfig, load_templates
from flagship.balancer.control import COMMAND_TIMEOUT
from flagship.balancer.node import Node, own_node
from flagship.balancer.output import Output, OutputError
from flagship.balancer.render import Rendered, RenderError, render
from flagship.cli import ArgumentParser, CommandError
from flagship.etcd import Client, EtcdError, Event, Follower, KeyValue, Snapshot, apply
from flagship.services import Instance, parse_services
from flagship.settings import Settings

log = logging.getLogger(__name__)

# How often HAProxy is asked to delete servers that have left and still had connections, in seconds.
TIDY_INTERVAL = 2.0
STATUS_DIRECTORY = "/run/flagship/watch"


def main(argv: Sequence[str], settings: Settings) -> int:
    """Follow etcd until SIGTERM or SIGINT, or write once; returns the exit code."""
    parser = ArgumentParser(
        prog="flagship watch",
        description="Write configuration files that follow service keys in etcd, and make balancers reload them.",
    )
    parser.add_argument(
        "--template-config", required=True, action="append", metavar="FILE", help="what to write (may be repeated)"
    )
    parser.add_argument("--once", action="store_true", help="write the files as etcd wants them now, and end")
    parser.add_argument("--dry-run", action="store_true", help="print the files as etcd wants them now, and end")
    options = parser.parse_args(argv)
    configs = [config for path in options.template_config for config in load_templates(path)]
    for kind, values in (("name", [c.name for c in configs]), ("destination", [str(c.destination) for c in configs])):
        for value in values:
            if values.count(value) > 1:
                parser.error(f"the {kind} {value} occurs twice in the template configuration")
    daemon.log_to_journal()
    node = own_node(settings, os.environ)
    with Client(settings.etcd) as client:
        if options.dry_run or options.once:
            return _once(client, configs, node, options.dry_run)
        return _follow(client, configs, node)


def due(first: float, last: float, shortest: float, longest: float) -> float:
    """When to act on changes made from `first` to `last`: after `shortest` seconds of calm, or `longest` of unrest."""
    return min(last + shortest, first + longest)


class Watcher:
    """One template: collects changes (in its Follower's thread) and applies them (in a thread of its own)."""

    def __init__(self, client: Client, config: TemplateConfig, node: Node, status_directory: Path) -> None:
        self.ready = threading.Event()
        self._config = config
        self._node = node
        self._output = Output(config, status_directory)
        self._follower = Follower(client, config.prefix.rstrip("/") + "/", handler=self, resync=config.resync)
        self._changed = threading.Condition()
        self._items: dict[str, KeyValue] = {}
        self._revision = 0
        self._first_change: float | None = None
        self._last_change = 0.0
        self._stopping = False
        self._complaints: list[str] = []
        self._thread = threading.Thread(target=self._run, name=f"write {config.name}", daemon=True)

    def start(self) -> None:
        self._follower.start()
        self._thread.start()

    def settle_for_less(self) -> None:
        """No file was made of what etcd says: be ready with the one that is there, else make one without instances."""
        with self._changed:
            if self._output.exists:
                log.warning("%s is used as it was found.", self._config.destination)
                self.ready.set()
            elif not self._revision:
                log.warning("%s is written without any instance until etcd answers.", self._config.destination)
                self._note_change()

    def stop(self) -> None:
        self._follower.stop()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2 * COMMAND_TIMEOUT)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        with self._changed:
            self._items, self._revision = dict(snapshot.items), snapshot.revision
            self._note_change()

    def on_events(self, events: list[Event], revision: int) -> None:
        with self._changed:
            apply(events, self._items)
            self._revision = revision
            self._note_change()

    def on_lost(self, error: EtcdError) -> None:
        log.warning("%s stays as it is: %s", self._config.destination, error)

    def _note_change(self) -> None:
        with self._changed:
            self._last_change = time.monotonic()
            if self._first_change is None:
                self._first_change = self._last_change
            self._changed.notify_all()

    def _run(self) -> None:
        backoff = daemon.Backoff(first=0.5, limit=30.0)
        retry_at: float | None = None
        while self._wait_until_due(retry_at):
            if self._apply():
                self.ready.set()
                backoff.reset()
                retry_at = time.monotonic() + TIDY_INTERVAL if self._output.unfinished else None
            else:
                retry_at = time.monotonic() + backoff.next()

    def _wait_until_due(self, retry_at: float | None) -> bool:
        """Wait for changes to calm down or for the time of a retry; False when it is time to stop."""
        config = self._config
        with self._changed:
            while not self._stopping:
                times = [] if retry_at is None else [retry_at]
                if self._first_change is not None:
                    calm = due(self._first_change, self._last_change, config.quiescence_min, config.quiescence_max)
                    times.append(calm)
                remaining = min(times) - time.monotonic() if times else None
                if remaining is not None and remaining <= 0:
                    return True
                self._changed.wait(remaining)
        return False

    def _apply(self) -> bool:
        """Render and apply what is known; False when that failed and has to be tried again."""
        with self._changed:
            items, revision = list(self._items.values()), self._revision
            self._first_change = None
        services, complaints = parse_services(items, self._config.prefix)
        for complaint in complaints:
            if complaint not in self._complaints:
                log.warning("%s", complaint)
        self._complaints = complaints
        try:
            rendered = _render(self._config, services, self._node)
        except RenderError as error:
            self._output.report(str(error))
            return self._failed(str(error))
        try:
            changed = self._output.apply(rendered, revision)
        except OutputError as error:
            return self._failed(str(error))
        if changed:
            listed = ", ".join(instance.address for instances in services.values() for instance in instances)
            log.info("%s is live as of revision %d: %s.", self._config.destination, revision, listed or "no instance")
        return True

    def _failed(self, error: str) -> bool:
        log.error("%s stays as it is: %s Trying again.", self._config.destination, error)
        return False


def _render(config: TemplateConfig, services: Mapping[str, Sequence[Instance]], node: Node) -> Rendered:
    return render(config.template, services, node=node, variables=config.variables)


def _follow(client: Client, configs: Sequence[TemplateConfig], node: Node) -> int:
    stop = daemon.stop_on_signals()
    watchers = [Watcher(client, config, node, _status_directory()) for config in configs]
    for watcher in watchers:
        watcher.start()
    try:
        # The balancer may be started once there is a file for it to read, with or without etcd.
        deadline = time.monotonic() + client.connection.timeout
        for watcher in watchers:
            while not (stop.is_set() or watcher.ready.wait(0.05) or time.monotonic() >= deadline):
                pass
        for watcher in watchers:
            if not watcher.ready.is_set():
                watcher.settle_for_less()
        for watcher in watchers:
            while not (stop.is_set() or watcher.ready.wait(0.2)):
                pass
        if not stop.is_set():
            daemon.notify("READY=1")
        stop.wait()
    finally:
        for watcher in watchers:
            watcher.stop()
    return 0


def _once(client: Client, configs: Sequence[TemplateConfig], node: Node, dry_run: bool) -> int:
    for config in configs:
        try:
            snapshot = client.range(config.prefix.rstrip("/") + "/")
            services, complaints = parse_services(snapshot.items.values(), config.prefix)
            rendered = _render(config, services, node)
            for complaint in complaints:
                log.warning("%s", complaint)
            if dry_run:
                print(f"==> {config.destination} <==\n{rendered.text}", end="")
            elif Output(config, _status_directory()).apply(rendered, snapshot.revision):
                log.info("%s is live as of revision %d.", config.destination, snapshot.revision)
        except (EtcdError, RenderError, OutputError) as error:
            raise CommandError(f"{config.destination} stays as it is: {error}") from None
    return 0


def _status_directory() -> Path:
    # systemd sets RUNTIME_DIRECTORY for a unit with RuntimeDirectory=flagship/watch.
    return Path(os.environ.get("RUNTIME_DIRECTORY", STATUS_DIRECTORY))
