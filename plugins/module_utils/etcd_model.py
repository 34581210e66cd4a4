# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients of etcd hand one another: keys, changes, errors."""

from __future__ import annotations

from typing import NamedTuple


class EtcdError(Exception):
    """etcd could not be asked, or refused; the text names the endpoints, what was found, and the way out."""


class UnreachableError(EtcdError):
    """No endpoint answered as it should; one may a little later."""


class RefusedError(EtcdError):
    """etcd refused for a reason that may pass by itself."""


class KeyValue(NamedTuple):
    """A key's value with the revisions of its creation and last change; lease is 0 for a key that stays."""

    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


class Entry(NamedTuple):
    """A key as a listing has it; version counts its changes since it was created."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    @property
    def key_value(self) -> KeyValue:
        return KeyValue(self.value, self.create_revision, self.mod_revision, self.lease)


class Listing(NamedTuple):
    """Keys in the order asked for, how many there are without the limit, and the revision of the store."""

    entries: list[Entry]
    total: int
    revision: int


class Change(NamedTuple):
    """A write to a key whose last change was at mod_revision (0: it does not exist); value None removes it."""

    key: str
    value: bytes | None
    lease: int
    mod_revision: int


class ConflictError(EtcdError):
    """The key is not what it should be for the write, so nothing was written."""

    def __init__(self, key: str, what: str, found: KeyValue | None) -> None:
        super().__init__(f"it {what}; nothing was written, look at what 'before' returns and decide anew")
        self.key = key
        self.what = what
        self.found = found


class RevisionError(ConflictError):
    """The key is at another revision than expected (0: absent), or was found when it should be absent."""

    def __init__(self, key: str, found: KeyValue | None, expected: int) -> None:
        actual = f"has revision {found.mod_revision}" if found else "does not exist"
        awaited = f"revision {expected} was expected" if expected else "it was expected not to exist"
        super().__init__(key, f"{actual} but {awaited}", found)


class CompactedError(EtcdError):
    """The cluster does not have the revision any more that a watch should begin with."""
