# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier process has left on disk, and nobody asks for any more (coreos/fleet issue 1355)."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable

from flagship.fleet.disk import Disk
from flagship.fleet.systemd import Manager

log = logging.getLogger(__name__)


def sweep(disk: Disk, systemd: Manager, known: Iterable[str], wanted: Container[str]) -> list[str]:
    """Remove files, records and links of the *known* units that are not *wanted*, and dead links; the units removed.

    Nothing is stopped for it. Where a unit runs that the schedule does not know, the schedule is in doubt, and then
    all files stay. Raises SystemdError.
    """
    orphans = sorted(name for name in known if name not in wanted)
    statuses = systemd.statuses(orphans)
    running = [name for name in orphans if statuses[name].running]
    if running:
        log.warning(
            "%s: not in this machine's schedule, but loaded by this daemon and running; left alone, see fleetctl why.",
            ", ".join(running),
        )
        orphans = []
    links: list[str] = []
    try:
        for name in orphans:
            disk.remove(name)
            disk.set_launched(name, "")
            log.info("Removed the file of %s, which is not in this machine's schedule.", name)
        # systemd's links to what was just removed are among them.
        links = disk.remove_dead_links()
        for link in links:
            log.info("Removed %s, which led nowhere or was never finished.", link)
    except OSError as error:
        log.warning("Not all that is left of former units could be removed: %s", error)
    if orphans or links:
        systemd.reload()
    return orphans
