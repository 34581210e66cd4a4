# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to change in etcd so that the keys of a node are those that its containers make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flagship.etcd import Compare, Delete, KeyValue, Put


@dataclass(frozen=True)
class Change:
    """One write, and what must still be true for it."""

    guard: Compare
    operation: Put | Delete


def changes(
    wanted: Mapping[str, bytes], found: Mapping[str, KeyValue], lease: int, hostname: str
) -> tuple[list[Change], list[str]]:
    """The writes that make `found` what is `wanted`, all under `lease`, and a sentence for each key that is another's.

    A key is this node's when it is under `lease`, or its last part begins with `hostname` and a colon: then an earlier
    life of this register left it behind, and it is taken over in one step, or removed. A key without a lease is
    nobody's. Any other key (a SERVICE_ID can be used twice) belongs to who wrote it, for as long as its lease lives.
    """
    result = []
    complaints = []
    for key, value in sorted(wanted.items()):
        item = found.get(key)
        if item is None:
            result.append(Change(Compare(key, "create", 0), Put(key, value, lease)))
        elif (item.lease, item.value) == (lease, value):
            continue
        elif item.lease in (lease, 0) or item.value == value or _is_named_after(key, hostname):
            result.append(Change(Compare(key, "mod", item.mod_revision), Put(key, value, lease)))
        else:
            complaints.append(f"Key {key} belongs to {item.value!r} under another lease; waiting until that ends.")
    for key, item in sorted(found.items()):
        if key not in wanted and (item.lease == lease or _is_named_after(key, hostname)):
            result.append(Change(Compare(key, "mod", item.mod_revision), Delete(key)))
    return result, complaints


def _is_named_after(key: str, hostname: str) -> bool:
    return key.rpartition("/")[2].startswith(f"{hostname}:")
