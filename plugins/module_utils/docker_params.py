# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of docker_container as a user gives them: what goes together and what does not. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker import as_numbers
from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import COMPARISONS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_endpoint import check_networks
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options import OPTIONS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_storage import check_places

# What an engine must speak for members of options that older ones would silently leave out.
START_INTERVAL_API = (1, 44)


def prepared(params: dict[str, Any]) -> dict[str, Any]:
    """The module's options with those that say one thing together made one. Raises ValueError when they contradict."""
    result = dict(params)
    retries = params["restart_retries"]
    if retries is not None:
        if params["restart_policy"] != "on-failure":
            raise ValueError(
                "restart_retries only means something with restart_policy on-failure; set that or leave it out"
            )
        result["restart_policy"] = f"on-failure:{retries}"
    unknown = set(params["comparisons"]) - {option.name for option in OPTIONS} - {"image", "networks", "*"}
    if unknown:
        raise ValueError(
            f"comparisons names {', '.join(sorted(unknown))}, which is not compared; name options of the container or *"
        )
    for name, kind in params["comparisons"].items():
        if kind not in COMPARISONS:
            raise ValueError(f"the comparison {kind!r} of {name} is not known; use {', '.join(COMPARISONS)}")
    for name in ("stop_timeout", "healthy_wait_timeout"):
        if (params[name] or 0) < 0:
            raise ValueError(f"{name} is {params[name]:g}, but there is no negative time; set 0 or more")
    check_networks(params)
    for option in OPTIONS:
        try:
            option.wanted(result)
        except ValueError as error:
            raise ValueError(f"{option.name}: {error}") from None
    check_places(result)
    return result


def comparison(params: dict[str, Any], name: str) -> str:
    """How to compare the option of that name."""
    comparisons: dict[str, str] = params["comparisons"]
    return comparisons.get(name, comparisons.get("*", "strict"))


def check_engine(params: dict[str, Any], api: str) -> None:
    """Raise ValueError for what an engine that speaks this version of the API does not know."""
    if (params["healthcheck"] or {}).get("start_interval") and as_numbers(api) < START_INTERVAL_API:
        raise ValueError(
            f"healthcheck.start_interval needs Docker 25 (API 1.44), but this engine speaks {api}; leave it out"
        )
