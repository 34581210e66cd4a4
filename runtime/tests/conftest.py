# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for all tests of the runtime: a real etcd, and a prefix of one's own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from backends import Backend
from etcd_server import EtcdCluster, EtcdServer
from flagship.etcd import Client
from hypothesis import HealthCheck, settings

# Hypothesis fails what takes over 0.2 s once, unless told otherwise: on a busy machine anything does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start servers: `-m "not real"` leaves those that are quick and need nothing but Python."""
    for item in items:
        if any("etcd" in name for name in getattr(item, "fixturenames", ())):
            item.add_marker("real")


@pytest.fixture(scope="session")
def _etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def etcd_server(_etcd: EtcdServer) -> Iterator[EtcdServer]:
    """The session's etcd: .endpoints, .connection(), .pause(), .resume(), .stop(), .start(); healed after the test."""
    yield _etcd
    _etcd.resume()
    if not _etcd.running:
        _etcd.start()


@pytest.fixture
def etcd_client(etcd_server: EtcdServer) -> Iterator[Client]:
    """A client of the session's etcd."""
    with Client(etcd_server.connection()) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"/test-{uuid.uuid4().hex}/"


@pytest.fixture
def etcd_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members, for this test alone: .members (each like etcd_server), .endpoints."""
    cluster = EtcdCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def three_backends() -> Iterator[list[Backend]]:
    """Three web servers, each a process of its own."""
    made = [Backend(f"backend {number}") for number in range(3)]
    for backend in made:
        backend.start()
    yield made
    for backend in made:
        backend.kill()
