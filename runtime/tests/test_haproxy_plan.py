# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a change HAProxy's runtime API is asked to do, without HAProxy."""

from __future__ import annotations

import pytest
from flagship.balancer.haproxy import Live, Server, differences, parse_state, plan, same_but_servers, split
from hypothesis import given
from hypothesis import strategies as st

TEXT = """global
    set-var proc.digest str(abc)
# a comment
backend one
    balance roundrobin  # in turn
    server a 10.0.0.1:80 check inter 500ms  # /services/website/a
    server b [fd00::1]:80
    server relay abns@quick

frontend http
    bind :80
"""


def test_a_configuration_is_taken_apart() -> None:
    found = split(TEXT, "abc")
    assert found.servers == {"one": {"a": Server("10.0.0.1:80", "check inter 500ms"), "b": Server("[fd00::1]:80", "")}}
    assert found.static == ""
    assert found.skeleton == (
        "global",
        "set-var proc.digest str()",
        "backend one",
        "balance roundrobin  # in turn",
        "server relay abns@quick",
        "frontend http",
        "bind :80",
    )


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        ("# a comment", "# another", True),
        ("str(abc)", "str(def)", True),
        ("10.0.0.1:80", "10.0.0.2:80", True),
        ("    server b [fd00::1]:80\n", "", True),
        ("bind :80", "bind :81", False),
        ("500ms", "600ms", False),
        ("abns@quick", "abns@slow", False),
        ("10.0.0.1:80", "web.example:80", False),
        ("inter 500ms", "inter 500ms disabled", False),
        ("inter 500ms", "sni str('x')", False),
        ("    balance", "    default-server check\n    balance", False),
    ],
)
def test_what_needs_no_reload(before: str, after: str, alike: bool) -> None:
    old, new = split(TEXT, "abc"), split(TEXT.replace(before, after), "def" if "def" in after else "abc")
    assert same_but_servers(old, new) is alike


STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port
3 one 1 a 10.0.0.1 2 0 80
3 one 2 b fd00::1 0 1 80
3 one 3 relay - 2 0 0
"""


def test_the_state_is_read() -> None:
    assert parse_state(STATE) == {"one": {"a": Live("10.0.0.1:80", False), "b": Live("[fd00::1]:80", True)}}
    with pytest.raises(ValueError, match="Permission denied"):
        parse_state("Permission denied")


def test_the_commands() -> None:
    live = parse_state(STATE)
    wanted = {"one": {"c": Server("10.0.0.3:80", "check"), "a": Server("[fd00::9]:81", "")}}
    assert plan(wanted, live) == [
        "add server one/c 10.0.0.3:80 check",
        "enable health one/c",
        "enable server one/c",
        "set server one/a addr fd00::9 port 81",
        "del server one/b",
    ]
    assert plan({"one": {}}, {"one": {"a": live["one"]["a"]}}) == ["set server one/a state maint"]
    assert plan({"one": {"b": Server("[fd00::1]:80", "")}}, {"one": {"b": live["one"]["b"]}}) == [
        "set server one/b state ready"
    ]


names = st.sampled_from("abcde")
addresses = st.sampled_from(["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"])
backends = st.sampled_from(["one", "two"])
wanted_servers = st.dictionaries(backends, st.dictionaries(names, st.builds(Server, addresses, st.just("check"))))
live_servers = st.dictionaries(backends, st.dictionaries(names, st.builds(Live, addresses, st.booleans())))


@given(wanted_servers, live_servers)
def test_two_plans_lead_to_what_is_wanted(
    wanted: dict[str, dict[str, Server]], live: dict[str, dict[str, Live]]
) -> None:
    for _plan in range(2):
        for command in plan(wanted, live):
            obey(command, live)
        assert differences(wanted, live) == []
    found = {
        (backend, name): (server.address, server.away) for backend in live for name, server in live[backend].items()
    }
    assert found == {
        (backend, name): (server.address, False) for backend in wanted for name, server in wanted[backend].items()
    }


def obey(command: str, live: dict[str, dict[str, Live]]) -> None:
    """Do what HAProxy does, with its refusals."""
    verb, _kind, where, *rest = command.split()
    backend, name = where.split("/")
    servers = live.setdefault(backend, {})
    if verb == "add":
        assert name not in servers
        servers[name] = Live(rest[0], True)
        return
    old = servers[name]
    if verb == "del":
        assert old.away
        del servers[name]
    elif command.startswith("enable server"):
        servers[name] = Live(old.address, False)
    elif rest[:1] == ["addr"]:
        servers[name] = Live(f"[{rest[1]}]:{rest[3]}" if ":" in rest[1] else f"{rest[1]}:{rest[3]}", old.away)
    elif rest[:1] == ["state"]:
        servers[name] = Live(old.address, rest[1] == "maint")
    else:
        assert command.startswith("enable health")
