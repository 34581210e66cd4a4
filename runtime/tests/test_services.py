# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Service keys and addresses."""

from __future__ import annotations

import ipaddress

import pytest
from flagship.etcd import KeyValue
from flagship.services import Instance, format_address, parse_address, parse_services, service_key
from hypothesis import given
from hypothesis import strategies as st


def item(key: str, value: bytes) -> KeyValue:
    return KeyValue(key, value, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.1:80", "10.0.0.1", 80), ("[fd00::1]:8080", "fd00::1", 8080), ("127.0.0.1:65535", "127.0.0.1", 65535)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert format_address(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "web:80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:٨٠",
        "fd00::1:80",
        "[10.0.0.1]:80",
        "10.0.0.1:80;",
        "10.0.0.1:80\n",
        "10.0.0.256:80",
    ],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an IP address|not between"):
        parse_address(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_addresses_round_trip(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    if getattr(host, "scope_id", None):
        return
    assert parse_address(format_address(str(host), port)) == (str(host), port)


@pytest.mark.parametrize("prefix", ["/services", "/services/", "/services/website", "/services/website/"])
def test_prefix_of_all_services_or_of_one(prefix: str) -> None:
    services, complaints = parse_services([item("/services/website/nginx@1", b"10.0.0.1:80")], prefix)
    assert services == {"website": [Instance("nginx@1", "10.0.0.1", 80, "/services/website/nginx@1")]}
    assert complaints == []


def test_malformed_keys_are_left_out_and_named() -> None:
    items = [
        item("/services/website/nginx@1", b"10.0.0.1:80\n"),
        item("/services/website/nginx@2", b"web:80; evil"),
        item("/services/website/nginx@3", b"\xff\xfe"),
        item("/services/website/a/b", b"10.0.0.1:80"),
        item("/services/website", b"10.0.0.1:80"),
        item("/services/web{site/nginx@1", b"10.0.0.1:80"),
        item("/services/website/", b"10.0.0.1:80"),
        item("/services/website/new\nline", b"10.0.0.1:80"),
    ]
    services, complaints = parse_services(items, "/services")
    assert [instance.name for instance in services["website"]] == ["nginx@1"]
    # A key right below the prefix is an instance of the service that the prefix names.
    assert set(services) == {"website", "services"}
    assert len(complaints) == 6
    assert all("\n" not in complaint for complaint in complaints)


def test_registrators_names_are_accepted() -> None:
    services, complaints = parse_services(
        [item("/services/dumbserve/core01:dumbserve:8080", b"10.1.52.2:8080")], "/services"
    )
    assert complaints == []
    assert services["dumbserve"][0].name == "core01:dumbserve:8080"


names = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.dictionaries(st.tuples(names, names), st.binary(max_size=24) | st.just(b"10.0.0.1:80")))
def test_any_keys_give_safe_sorted_instances(found: dict[tuple[str, str], bytes]) -> None:
    items = [item(f"/services/{service}/{instance}", value) for (service, instance), value in found.items()]
    services, complaints = parse_services(items, "/services")
    assert sum(map(len, services.values())) + len(complaints) == len({i.key for i in items}) == len(items)
    assert list(services) == sorted(services)
    for service, instances in services.items():
        assert instances == sorted(instances)
        for instance in instances:
            assert service_key("/services", service, instance.name) == instance.key
            assert instance.name.isprintable() and " " not in instance.name
            ipaddress.ip_address(instance.host)
