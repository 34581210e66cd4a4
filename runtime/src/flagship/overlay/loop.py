# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The loop of `flagship overlay`: follows the leases, and makes kernel, packet filter and files agree with them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from flagship import daemon
from flagship.etcd import Client, EtcdError, Event, Follower, KeyValue, Snapshot, apply
from flagship.overlay import files, firewall, kernel, system
from flagship.overlay.lease import LeaseHolder
from flagship.overlay.network import Lease, NetworkConfig, NetworkError, config_key, parse_config, parse_lease

log = logging.getLogger(__name__)

# The kernel's state is looked at this often, in seconds, for others change it too: Docker, a firewall, a lost link.
INTERVAL = 10.0
# A peer whose lease is gone keeps its route for this long: etcd that lost its data gets all leases again meanwhile.
GRACE = 30.0
# At a boot etcd comes up at the same time; after this long the copy on disk has to do.
PATIENCE = 15.0
# Docker is not asked more often than this to restart, should it fail to take the subnet.
_DOCKER_PAUSE = 120.0


@dataclass(frozen=True)
class Paths:
    """Where files are; without `docker_settings` (daemon.json) Docker is left alone."""

    subnet_env: Path
    saved_state: Path
    docker_settings: Path | None


class Waiting(Exception):  # noqa: N818 (nothing is wrong)
    """Something has to happen first; the text says what."""


def remember(
    known: Mapping[IPv4Network, tuple[Lease, float]], leases: Mapping[IPv4Network, Lease], now: float
) -> dict[IPv4Network, tuple[Lease, float]]:
    """The peers by subnet, each with the time when its lease was last seen; gone ones stay for GRACE seconds."""
    kept = {subnet: entry for subnet, entry in known.items() if now - entry[1] < GRACE}
    return {**kept, **{subnet: (lease, now) for subnet, lease in leases.items()}}


class Overlay:
    """One node's part of the overlay network. All work is done in a thread of its own; wake() makes it look at once."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        public_ip: IPv4Address,
        paths: Paths,
        *,
        make_holder: Callable[..., LeaseHolder] = LeaseHolder,
    ) -> None:
        self._prefix = prefix
        self._public_ip = public_ip
        self._paths = paths
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._synced = self._lost = False
        self._revision = 0
        self._items: dict[str, KeyValue] = {}
        self._peers: dict[IPv4Network, tuple[Lease, float]] = {}
        self._config_text = ""
        self._config: NetworkConfig | None = None
        self._ready = False
        self._docker_asked_at = -_DOCKER_PAUSE
        self._complaints: dict[str, str] = {}
        self._holder = make_holder(client, prefix, public_ip, self._load())
        self._follower = Follower(client, f"{prefix}/", handler=self)
        self._thread = threading.Thread(target=self._run, name="overlay", daemon=True)

    def start(self) -> None:
        self._follower.start()
        self._thread.start()

    def wake(self) -> None:
        """Look at everything now."""
        self._changed.set()

    def stop(self) -> None:
        """End the threads; kernel, packet filter, files and lease stay."""
        self._stopping.set()
        self._changed.set()
        self._follower.stop()
        if self._thread.is_alive():
            self._thread.join(30)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._items, self._revision = dict(snapshot.items), snapshot.revision
            self._synced, self._lost = True, False
        self._changed.set()

    def on_events(self, events: list[Event], revision: int) -> None:
        with self._lock:
            apply(events, self._items)
            self._revision = revision
        self._changed.set()

    def on_lost(self, error: EtcdError) -> None:
        with self._lock:
            self._lost = True
        log.warning("The overlay stays as it is: %s", error)

    def _run(self) -> None:
        if not self._items:
            self._changed.wait(PATIENCE)
        while not self._stopping.is_set():
            try:
                self._settle()
                self._complain("settle", "")
            except Waiting as reason:
                daemon.notify(f"STATUS={reason}.")
                self._complain("settle", f"Waiting: {reason}.")
            except (EtcdError, NetworkError, system.SystemCallError, files.FileError) as error:
                self._complain("settle", f"The overlay is not as it should be, trying on: {str(error).rstrip('.')}.")
            except Exception:
                # A mistake must not end the loop silently; the next look gives it another chance.
                log.exception("The overlay was not looked at as a whole, trying on.")
            self._changed.wait(INTERVAL)
            self._changed.clear()

    def _settle(self) -> None:
        with self._lock:
            items, revision, synced, lost = dict(self._items), self._revision, self._synced, self._lost
        config = self._read_config(items)
        found, addresses = system.read_kernel()
        uplink = kernel.find_uplink(addresses, self._public_ip)
        if uplink is None:
            raise Waiting(f"no interface has the address {self._public_ip}")
        if uplink.address.network.overlaps(config.network):
            raise NetworkError(f"the overlay network {config.network} holds the address {uplink.address} of this node")
        device = kernel.own_device(config, uplink, found)
        subnet = self._holder.subnet
        if synced and not lost:
            try:
                subnet = self._holder.hold(config, items, revision, device.mac if device else "")
                self._complain("lease", "")
            except EtcdError as error:
                # What is leased already goes on: a lease is renewed long before its end.
                self._complain("lease", f"The lease of this node was not written, trying on: {error}")
        if subnet is None or not config.holds(subnet):
            raise Waiting("a subnet is not leased yet")
        self._note_peers(items, subnet)
        wanted = kernel.wanted_state(config, uplink, device, subnet, [lease for lease, _seen in self._peers.values()])
        failure = self._settle_kernel(kernel.plan(wanted, found, collect=synced))
        self._report_unreachable(wanted.unreachable)
        self._settle_firewall(config, subnet, wanted)
        self._write_files(config, subnet, device.mtu if device else uplink.mtu, items)
        self._be_ready(subnet)
        self._settle_docker(subnet, addresses)
        if failure:
            raise failure

    def _read_config(self, items: Mapping[str, KeyValue]) -> NetworkConfig:
        item = items.get(config_key(self._prefix))
        text = item.value.decode(errors="replace") if item else ""
        if text and text != self._config_text:
            try:
                self._config, self._config_text = parse_config(text), text
                self._complain("config", "")
            except NetworkError as error:
                sentence = f"The configuration in {config_key(self._prefix)} cannot be used: {error}."
                self._complain("config", sentence)
                daemon.notify(f"STATUS={sentence}")
        if self._config is None:
            raise Waiting(f"there is no usable configuration in {config_key(self._prefix)}")
        return self._config

    def _note_peers(self, items: Mapping[str, KeyValue], subnet: IPv4Network) -> None:
        leases = {lease.subnet: lease for item in items.values() if (lease := parse_lease(item))}
        others = {net: lease for net, lease in leases.items() if net != subnet and lease.public_ip != self._public_ip}
        self._peers = remember(self._peers, others, time.monotonic())
        self._peers.pop(subnet, None)

    def _settle_kernel(self, steps: list[kernel.Step]) -> system.SystemCallError | None:
        """Do all steps; the first failure is returned, for Docker's bridge may be in the way until Docker is told."""
        failure = None
        for step in steps:
            log.info("%s", "; ".join(" ".join(command) for command in kernel.commands(step)))
            try:
                system.apply(step)
            except system.SystemCallError as error:
                failure = failure or error
        return failure

    def _report_unreachable(self, peers: tuple[Lease, ...]) -> None:
        names = ", ".join(str(peer.public_ip) for peer in peers)
        text = (
            f"Not on the link of {self._public_ip}, as host-gw needs it, so without a route: {names}." if peers else ""
        )
        self._complain("unreachable", text)

    def _settle_firewall(self, config: NetworkConfig, subnet: IPv4Network, wanted: kernel.Wanted) -> None:
        # The next hop of a peer in the same network is the peer itself.
        routes = [item for item in wanted.items if isinstance(item, kernel.Route)]
        neighbours = [route.via for route in routes if route.via and route.via not in config.network]
        rules = firewall.wanted_rules(config.network, subnet, neighbours)
        for table, text in firewall.changes(rules, system.read_firewall()).items():
            try:
                system.restore_firewall(text)
                log.info("The rules of table %s are set.", table)
            except system.SystemCallError as error:
                if table != "raw":
                    raise
                # A kernel without this table has no rule in it either.
                self._complain("raw", f"Table raw is left alone: {error}.")

    def _write_files(self, config: NetworkConfig, subnet: IPv4Network, mtu: int, items: Mapping[str, KeyValue]) -> None:
        assignment = files.Assignment(config.network, subnet, mtu)
        leases = {key: item.value.decode(errors="replace") for key, item in items.items() if parse_lease(item)}
        files.write(self._paths.saved_state, files.saved_state(self._config_text, subnet, leases))
        files.write(self._paths.subnet_env, files.subnet_env(assignment))
        if self._paths.docker_settings:
            apply_to_docker(self._paths.docker_settings, assignment)

    def _be_ready(self, subnet: IPv4Network) -> None:
        if not self._ready and not self._synced and time.monotonic() < self._started + PATIENCE:
            raise Waiting("etcd has not answered yet")
        if not self._ready:
            source = "as etcd says" if self._synced else "as it was, until etcd answers"
            log.info("The containers of this node belong to %s, %s.", subnet, source)
            self._ready = True
            daemon.notify("READY=1")
        daemon.notify(f"STATUS=subnet {subnet}, {len(self._peers)} other nodes")

    def _settle_docker(self, subnet: IPv4Network, addresses: list[kernel.InterfaceAddress]) -> None:
        if not self._paths.docker_settings:
            return
        now = time.monotonic()
        if bridge_differs(subnet, addresses) and now >= self._docker_asked_at + _DOCKER_PAUSE:
            self._docker_asked_at = now
            log.warning("Docker is restarted, for its bridge is not on %s.", subnet)
            system.restart_docker()

    def _load(self) -> IPv4Network | None:
        """Begin with the copy on disk; returns the subnet that this node had, also under flanneld."""
        try:
            text = files.read(self._paths.saved_state)
            if text:
                config, subnet, leases = files.parse_saved_state(text)
                entries = {**leases, config_key(self._prefix): config}
                self._items = {key: KeyValue(key, value.encode(), 0, 0, 0) for key, value in entries.items()}
                return subnet
        except files.FileError as error:
            log.warning("The copy in %s is not used: %s.", self._paths.saved_state, error)
        try:
            return files.parse_subnet_env(files.read(self._paths.subnet_env)).subnet
        except files.FileError:
            return None

    def _complain(self, topic: str, text: str) -> None:
        before = self._complaints.get(topic, "")
        self._complaints[topic] = text
        if text and text != before:
            log.warning("%s", text)


def apply_to_docker(path: Path, assignment: files.Assignment | None) -> bool:
    """Have daemon.json name the subnet, or (None) no longer; returns whether it changed. Raises FileError."""
    before = files.read(path)
    try:
        text = files.docker_settings(before, assignment)
    except files.FileError as error:
        raise files.FileError(f"{path} cannot be used: {error}") from None
    if not text:
        path.unlink(missing_ok=True)
        return bool(before)
    return files.write(path, text)


def bridge_differs(subnet: IPv4Network, addresses: list[kernel.InterfaceAddress]) -> bool:
    """Whether Docker's bridge is there, but on another subnet."""
    on_bridge = [address for name, _mtu, address in addresses if name == firewall.BRIDGE]
    return bool(on_bridge) and not any(
        address.network == subnet and address.ip == subnet.network_address + 1 for address in on_bridge
    )
