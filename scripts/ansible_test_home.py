# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the home directory that ansible-test runs with.

- ansible-test hides the environment from pip, so all settings of the user's pip become a file.
- Each of its virtual environments begins with a download of get-pip.py. A stand-in in the cache does the same with the
  pip that Python brings along, so that a package mirror is all that is needed.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Final

GET_PIP: Final = '''"""Install the wanted pip with the one that Python brings along."""

import subprocess
import sys

# In this process, ensurepip would hide the pip settings from all that comes after it.
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
packages = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
subprocess.run([sys.executable, "-m", "pip", "install", *packages], check=True)
'''


def pip_settings(listing: str, cache: str) -> configparser.RawConfigParser:
    """Return pip's configuration file for what `pip config list` prints (SECTION.KEY='VALUE') and a cache directory."""
    settings = configparser.RawConfigParser()
    settings["global"] = {"cache-dir": cache}
    # Pip lists by name; what comes from the environment is stronger than all files.
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _equals, value = line.partition("=")
        section, _dot, key = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings[section][key] = str(ast.literal_eval(value)).replace("\n", " ")
    return settings


def pip(*arguments: str) -> str:
    """Return what pip prints."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def main() -> None:
    # Private names: where ansible-test says which pip, and so which file, it wants.
    host_configs = importlib.import_module("ansible_test._internal.host_configs")
    requirements = importlib.import_module("ansible_test._internal.python_requirements")

    home = Path(sys.argv[1])
    configuration = home / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    with configuration.open("w") as stream:
        pip_settings(pip("config", "list"), pip("cache", "dir")).write(stream)

    python = host_configs.NativePythonConfig(
        version=f"{sys.version_info.major}.{sys.version_info.minor}", path=sys.executable
    )
    version = requirements.get_venv_packages(python)["pip"]
    stand_in = home / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    stand_in.parent.mkdir(parents=True, exist_ok=True)
    if not stand_in.exists():
        stand_in.write_text(GET_PIP)


if __name__ == "__main__":
    main()
