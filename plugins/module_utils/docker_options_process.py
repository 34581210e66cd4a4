# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container's process: what runs, as whom, and how its end and health are handled. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import (
    directory,
    duration,
    nanoseconds,
    text_dict,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_option import Option, field


def _inherited(key: str) -> Callable[[Any, dict[str, Any], dict[str, Any]], Any]:
    def expected(wanted: Any, image: dict[str, Any], params: dict[str, Any]) -> Any:
        return wanted or image.get(key) or ""

    return expected


def _words(value: Any) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else [str(word) for word in value]


def _command(wanted: list[str], image: dict[str, Any], params: dict[str, Any]) -> list[str]:
    # An entry point of the container's own also drops the image's command.
    return wanted or ([] if params.get("entrypoint") else list(image.get("Cmd") or []))


def _entrypoint(wanted: list[str], image: dict[str, Any], params: dict[str, Any]) -> list[str]:
    return [] if wanted == [""] else wanted or list(image.get("Entrypoint") or [])


def _read_env(container: dict[str, Any]) -> dict[str, str]:
    entries: list[str] = container["Config"].get("Env") or []
    return dict(entry.partition("=")[::2] for entry in entries)


def _write_env(body: dict[str, Any], value: dict[str, str]) -> None:
    body["Config"]["Env"] = [f"{key}={text}" for key, text in value.items()]


def _env(value: dict[str, Any]) -> dict[str, str]:
    for key in value:
        if not key or "=" in str(key):
            raise ValueError(f"{key!r} cannot be the name of an environment variable")
    return dict(text_dict(value))


def _merged_env(wanted: dict[str, str], image: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    return {**_read_env({"Config": image}), **wanted}


def _merged_labels(wanted: dict[str, str], image: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    return {**(image.get("Labels") or {}), **wanted}


def _signal(value: Any) -> str:
    text = str(value).upper()
    return text if not text or text.isdigit() or text.startswith("SIG") else f"SIG{text}"


def _restart_policy(value: str) -> str:
    return re.sub(r"^$", "no", value).removesuffix(":0")


def _read_restart_policy(container: dict[str, Any]) -> str:
    policy = container["HostConfig"].get("RestartPolicy") or {}
    return f"{policy.get('Name', '')}:{policy.get('MaximumRetryCount', 0)}"


def _write_restart_policy(body: dict[str, Any], value: str) -> None:
    name, _colon, retries = value.partition(":")
    body["HostConfig"]["RestartPolicy"] = {"Name": name, "MaximumRetryCount": int(retries or 0)}


def _read_log_driver(container: dict[str, Any]) -> str:
    return str((container["HostConfig"].get("LogConfig") or {}).get("Type") or "")


def _write_log_driver(body: dict[str, Any], value: str) -> None:
    body["HostConfig"].setdefault("LogConfig", {})["Type"] = value


def _read_log_options(container: dict[str, Any]) -> dict[str, str]:
    return dict((container["HostConfig"].get("LogConfig") or {}).get("Config") or {})


def _write_log_options(body: dict[str, Any], value: dict[str, str]) -> None:
    body["HostConfig"].setdefault("LogConfig", {})["Config"] = value


HEALTH_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}


def _healthcheck(value: dict[str, Any]) -> dict[str, Any]:
    """The members that say something; for the engine, nothing and zero both mean the image's own."""
    check: dict[str, Any] = {}
    test = value.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test] if test else []
    elif test is not None and not isinstance(test, list):
        raise ValueError(f"the test {test!r} is neither text nor a list of words")
    if test:
        check["test"] = [str(word) for word in test]
        if check["test"][0] not in ("NONE", "CMD", "CMD-SHELL"):
            raise ValueError(
                f"the test begins with {check['test'][0]!r}; begin a list with CMD, CMD-SHELL or NONE, or write text "
                "for the shell"
            )
    for name in HEALTH_DURATIONS:
        if value.get(name) and nanoseconds(value[name]):
            if nanoseconds(value[name]) < 10**6:
                raise ValueError(f"the {name} {value[name]} is shorter than the engine's least, 1ms")
            check[name] = duration(nanoseconds(value[name]))
    if value.get("retries"):
        if value["retries"] < 0:
            raise ValueError(f"there cannot be {value['retries']} retries; set 1 or more")
        check["retries"] = value["retries"]
    return check


def _read_healthcheck(container: dict[str, Any]) -> dict[str, Any]:
    reported = container["Config"].get("Healthcheck") or {}
    check = {name: duration(reported[key]) for name, key in HEALTH_DURATIONS.items() if reported.get(key)}
    return {"test": reported.get("Test"), "retries": reported.get("Retries"), **check}


def _write_healthcheck(body: dict[str, Any], value: dict[str, Any]) -> None:
    check: dict[str, Any] = {key: nanoseconds(value[name]) for name, key in HEALTH_DURATIONS.items() if name in value}
    check.update((key, value[name]) for name, key in (("test", "Test"), ("retries", "Retries")) if name in value)
    body["Config"]["Healthcheck"] = check


def _merged_healthcheck(wanted: dict[str, Any], image: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {**_healthcheck(_read_healthcheck({"Config": image})), **wanted}


def env_file_entries(text: str, name: str) -> dict[str, str]:
    """The variables in the text of an environment file. Raises ValueError that names the file and the line."""
    entries = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.lstrip().removesuffix("\r")
        if not stripped or stripped.startswith("#"):
            continue
        variable, equals, setting = stripped.partition("=")
        if not equals or not variable or variable.split() != [variable]:
            raise ValueError(f"line {number} of env_file {name} is not NAME=VALUE; write it so, or begin it with #")
        entries[variable] = setting
    return entries


def _groups(value: list[Any]) -> frozenset[str]:
    return frozenset(str(group) for group in value)


OPTIONS: tuple[Option, ...] = (
    field("hostname", "Config", "Hostname", str, ""),
    field("user", "Config", "User", str, "", _inherited("User")),
    field("working_dir", "Config", "WorkingDir", directory, "", _inherited("WorkingDir")),
    field("command", "Config", "Cmd", _words, [], _command),
    field("entrypoint", "Config", "Entrypoint", _words, [], _entrypoint),
    Option("env", _env, _read_env, _write_env, _merged_env, secret=True),
    field("labels", "Config", "Labels", text_dict, {}, _merged_labels),
    field("stop_signal", "Config", "StopSignal", _signal, "", _inherited("StopSignal")),
    field("stop_timeout", "Config", "StopTimeout", int, 10),
    field("init", "HostConfig", "Init", bool, False),
    field("groups", "HostConfig", "GroupAdd", _groups, []),
    Option("healthcheck", _healthcheck, _read_healthcheck, _write_healthcheck, _merged_healthcheck),
    Option("restart_policy", _restart_policy, _read_restart_policy, _write_restart_policy, updatable=bool),
    Option("log_driver", str, _read_log_driver, _write_log_driver),
    Option("log_options", text_dict, _read_log_options, _write_log_options),
)
