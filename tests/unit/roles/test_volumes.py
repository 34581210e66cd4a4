# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles share with containers, as text: labs have no SELinux."""

from __future__ import annotations

import re
from pathlib import Path

ROLES = Path(__file__).parents[3] / "roles"
# HOST:CONTAINER[:OPTIONS]; the host's path may hold an expression.
VOLUME = re.compile(r"--volume ((?:{{.*?}}|[^\s:])+):([^\s:]+)(?::(\S+))?")


def test_containers_may_read_their_volumes_where_selinux_is_on() -> None:
    """docker relabels what is shared only when it is told so; it ignores that where SELinux is off."""
    files = [*ROLES.glob("*/templates/*.j2"), *ROLES.glob("*/vars/*.yml")]
    volumes = [(file.name, match) for file in files for match in VOLUME.finditer(file.read_text())]
    assert {name for name, _match in volumes} == {
        "main.yml",
        "nginx-loadbalancer.service.j2",
        "virtual-ip@.service.j2",
    }
    assert len(volumes) == sum(file.read_text().count("--volume ") for file in files)
    for name, match in volumes:
        assert "z" in (match[3] or "").split(","), f"{name}: {match[0]} without z"
