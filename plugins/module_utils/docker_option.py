# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record that describes one option of a container. Pure: nothing here talks to an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import plain


def as_wanted(wanted: Any, image: dict[str, Any], params: dict[str, Any]) -> Any:
    """What the engine reports for an option that the image has no part in."""
    return wanted


def never(wanted: Any) -> bool:
    """For options that a container keeps as long as it exists."""
    return False


def always(wanted: Any) -> bool:
    """For options that the engine changes in place, whatever the value."""
    return True


@dataclass(frozen=True)
class Option:
    """One option of a container.

    canonical takes the user's value, or what read returns, to the form that is compared (docker_compare); ValueError
    says what is wrong with a value. expected says what the engine will report for a wanted value once the image's own
    configuration is merged in. updatable says whether the engine can give that value to a container that exists.
    secret says that values are not to be shown.
    """

    name: str
    canonical: Callable[[Any], Any]
    read: Callable[[dict[str, Any]], Any]
    write: Callable[[dict[str, Any], Any], None]
    expected: Callable[[Any, dict[str, Any], dict[str, Any]], Any] = as_wanted
    updatable: Callable[[Any], bool] = never
    secret: bool = False

    def wanted(self, params: dict[str, Any]) -> Any:
        """The canonical value that was asked for, None when the option was not given. Raises ValueError."""
        value = params.get(self.name)
        return None if value is None else self.canonical(value)

    def found(self, container: dict[str, Any]) -> Any:
        """The canonical value that a container has."""
        return self.canonical(self.read(container))


def field(
    name: str,
    section: str,
    key: str,
    canonical: Callable[[Any], Any],
    empty: Any,
    expected: Callable[[Any, dict[str, Any], dict[str, Any]], Any] = as_wanted,
    updatable: Callable[[Any], bool] = never,
) -> Option:
    """An option that is one member of Config or HostConfig, and empty where the engine reports nothing."""

    def read(container: dict[str, Any]) -> Any:
        value = container[section].get(key)
        return empty if value is None else value

    def write(body: dict[str, Any], value: Any) -> None:
        body[section][key] = plain(value)

    return Option(name, canonical, read, write, expected, updatable)
