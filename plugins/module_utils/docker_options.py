# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a container, each as a record that reads, normalises and writes itself.

Pure: nothing here talks to an engine. A record reads and writes the layout of the engine's inspect answer, a mapping
with the members Config and HostConfig.
"""

from __future__ import annotations

from ansible_collections.flagship.coreos.plugins.module_utils.docker_option import Option
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_host import OPTIONS as HOST
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_network import OPTIONS as NETWORK
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_process import OPTIONS as PROCESS
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_storage import OPTIONS as STORAGE

OPTIONS: tuple[Option, ...] = (*PROCESS, *NETWORK, *STORAGE, *HOST)
