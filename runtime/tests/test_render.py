# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundled templates, judged by the real nginx."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from flagship.balancer.render import RenderError, render, server_name
from flagship.etcd import KeyValue
from flagship.services import Instance, parse_services
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def services_of(*values: str) -> dict[str, list[Instance]]:
    items = [KeyValue(f"/services/website/nginx@{i}", v.encode(), 1, 1, 0) for i, v in enumerate(values, 1)]
    services, complaints = parse_services(items, "/services/website")
    assert complaints == []
    return services


def nginx_says(text: str, directory: Path) -> str:
    """What `nginx -t` says against the configuration, "" when nothing."""
    path = directory / "nginx.conf"
    path.write_text(text)
    result = subprocess.run(
        ["nginx", "-t", "-q", "-c", str(path), "-g", f"pid {directory}/nginx.pid;"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return result.stderr if result.returncode else ""


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["10.0.0.1:80"],
        ["10.0.0.1:80", "10.0.0.2:8080", "[fd00::1]:80"],
        [f"[fd00::{i:x}]:80" for i in range(1, 2001)],
    ],
    ids=["none", "one", "several", "many"],
)
def test_nginx_accepts_the_bundled_template(values: list[str], tmp_path: Path) -> None:
    text = render("nginx", services_of(*values)).text
    assert nginx_says(text, tmp_path) == ""
    for value in values:
        assert f"server {value} " in text
    assert ("return 503" in text) == (not values)


def test_nginx_can_refuse(tmp_path: Path) -> None:
    text = render("nginx", services_of("10.0.0.1:80")).text.replace("server 10.0.0.1:80", "servant 10.0.0.1:80")
    assert "servant" in nginx_says(text, tmp_path)


def test_same_services_give_the_same_text() -> None:
    values = ["10.0.0.2:80", "10.0.0.1:80"]
    assert render("nginx", services_of(*values)) == render("nginx", services_of(*values))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    found=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=10),
        st.sampled_from([b"10.0.0.1:80", b"[fd00::2]:8080", b"x;}", b"10.0.0.1:80; }"]) | st.binary(max_size=12),
        max_size=8,
    )
)
def test_no_key_whatever_breaks_nginx(found: dict[str, bytes], tmp_path: Path) -> None:
    items = [KeyValue(f"/services/website/{name}", value, 1, 1, 0) for name, value in found.items()]
    services, _skipped = parse_services(items, "/services/website")
    assert nginx_says(render("nginx", services).text, tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{% for x in %}", "line 1"),
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_bad_templates_are_named(text: str, names: str, tmp_path: Path) -> None:
    path = tmp_path / "site.j2"
    path.write_text(text)
    with pytest.raises(RenderError) as caught:
        render(str(path), {})
    assert str(path) in str(caught.value)
    assert names in str(caught.value)


def test_missing_templates_are_named() -> None:
    with pytest.raises(RenderError, match=r"/nonexistent\.j2 cannot be read"):
        render("/nonexistent.j2", {})
    with pytest.raises(RenderError, match=r"traefik\.conf\.j2 cannot be read"):
        render("traefik", {})


def test_a_template_of_ones_own_sees_everything(tmp_path: Path) -> None:
    path = tmp_path / "site.j2"
    path.write_text(
        "{% for name, instances in services.items() %}{% for i in instances %}"
        "{{ name }} {{ i.name }} {{ i.host }} {{ i.port }} {{ i.address }} {{ i.key }}"
        "{% endfor %}{% endfor %} {{ node.metadata.disk }} {{ variables.colour }}"
    )
    rendered = render(
        str(path), services_of("[fd00::1]:80"), node={"metadata": {"disk": "ssd"}}, variables={"colour": "red"}
    )
    assert rendered.text == "website nginx@1 fd00::1 80 [fd00::1]:80 /services/website/nginx@1 ssd red"


def test_the_documented_template_works(tmp_path: Path) -> None:
    documents = Path(__file__).parents[2] / "docs"
    text = (documents / "balancers.md").read_text().split("```jinja\n")[1].split("```")[0]
    path = tmp_path / "site.j2"
    path.write_text(text)
    variables = {"port": 8080, "health_port": 8081, "connect_timeout": "500ms"}
    for services in ({}, services_of("10.0.0.1:80", "[fd00::1]:80")):
        rendered = render(str(path), services, node={"hostname": "core01"}, variables=variables)
        assert nginx_says(rendered.text, tmp_path) == ""
        assert rendered.digest in rendered.text


def test_the_digest_names_what_is_rendered(tmp_path: Path) -> None:
    path = tmp_path / "site.j2"
    path.write_text("{{ services.website | length }} {{ digest }}")
    one = render(str(path), services_of("10.0.0.1:80"))
    assert re.fullmatch("1 [0-9a-f]{16}", one.text)
    assert one.text.endswith(one.digest)
    other = {**services_of("10.0.0.2:80"), "blog": []}
    assert render(str(path), other) == one, "nothing of what differs is rendered"
    assert render(str(path), services_of("10.0.0.1:80", "10.0.0.2:80")).digest != one.digest


@given(st.lists(st.text(max_size=120), unique=True, max_size=5))
def test_server_names_are_legal_and_of_their_own(texts: list[str]) -> None:
    names = [server_name(text) for text in texts]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", name) for name in names)


def test_names_of_registrators_stay_as_they_are() -> None:
    assert server_name("core01:dumbserve1:8080") == "core01:dumbserve1:8080"


SITES = [{"hosts": ["a.example", "www.a.example"], "service": "website"}, {"service": "http"}]


@pytest.mark.parametrize("sites", [[], SITES[:1], SITES], ids=["one for all", "by host", "by host, and all others"])
@pytest.mark.parametrize("count", [0, 3, 1000])
def test_haproxy_accepts_the_bundled_template(sites: list[object], count: int, tmp_path: Path) -> None:
    services = services_of(*[f"[fd00::{number + 1:x}]:80" for number in range(count)])
    variables = {"sites": sites, "statistics_password": "se'cret \\ # word"}
    text = render("haproxy", services, variables=variables).text
    assert text.count("check inter 500ms") == count
    path = tmp_path / "haproxy.cfg"
    path.write_text(text)
    result = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "[WARNING]" not in result.stderr


@pytest.mark.parametrize("sites", [SITES[:1], SITES], ids=["by host", "by host, and all others"])
def test_nginx_accepts_sites(sites: list[object], tmp_path: Path) -> None:
    assert nginx_says(render("nginx", services_of("10.0.0.1:80"), variables={"sites": sites}).text, tmp_path) == ""
