# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""etcd's data as the daemons see it: keys are text, values bytes, revisions and leases integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Union


class EtcdError(Exception):
    """etcd refused or failed; the text is one sentence that names the endpoints."""


class Unavailable(EtcdError):  # noqa: N818
    """No endpoint answered within the deadline; a write may or may not have been applied."""


class Compacted(EtcdError):  # noqa: N818
    """The revision asked for is no longer kept; list again."""


class LeaseGone(EtcdError):  # noqa: N818
    """The lease has expired or was revoked, and its keys went with it."""


class PermissionDenied(EtcdError):  # noqa: N818
    """The user is unknown, the password is wrong, or the role does not allow the call."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it was at `mod_revision`; `lease` 0 = bound to none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True)
class Snapshot:
    """All keys under a prefix as they were at `revision`."""

    items: dict[str, KeyValue]
    revision: int


@dataclass(frozen=True)
class Event:
    """A change at `revision`; `value` is None for a delete."""

    kind: Literal["put", "delete"]
    key: str
    value: KeyValue | None
    revision: int


def apply(events: Iterable[Event], items: dict[str, KeyValue]) -> None:
    """Bring `items`, a copy of a prefix, up to date with what has happened since."""
    for event in events:
        if event.value is None:
            items.pop(event.key, None)
        else:
            items[event.key] = event.value


@dataclass(frozen=True)
class Compare:
    """True when the key's revision of that kind equals `revision`; create_revision 0 = the key does not exist."""

    key: str
    kind: Literal["mod", "create"]
    revision: int


@dataclass(frozen=True)
class Put:
    """Write a key; `lease` 0 binds it to none."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True)
class Delete:
    """Remove a key; removing a key that does not exist is no error."""

    key: str


@dataclass(frozen=True)
class Get:
    """Read a key."""

    key: str


Operation = Union[Put, Delete, Get]


@dataclass(frozen=True)
class TxnResult:
    """`gets` holds the results of the Get operations of the branch that ran, in their order."""

    succeeded: bool
    revision: int
    gets: list[KeyValue | None]
