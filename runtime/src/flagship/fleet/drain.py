# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine that is being drained gives away together: a unit, its peers on that machine, and its followers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flagship.fleet.requirements import Requirements


def groups(names: Iterable[str], needs: Mapping[str, Requirements]) -> list[list[str]]:
    """*names*, the units of one machine, in groups that MachineOf holds together; by name, as are their members."""
    together: dict[str, set[str]] = {name: {name} for name in names}
    for name in list(together):
        for peer in needs[name].machine_of:
            if peer in together and together[peer] is not together[name]:
                joined = together[name] | together[peer]
                together.update(dict.fromkeys(joined, joined))
    return [sorted(group) for name, group in sorted(together.items()) if name == min(group)]
