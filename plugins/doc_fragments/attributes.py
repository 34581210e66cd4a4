# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Tells what would change without changing it.
  diff_mode:
    description: With C(--diff), shows what was there before and what is there afterwards.
  idempotent:
    description: A second run with the same arguments finds nothing left to change.
"""

    # For modules that change something and support all of the above.
    FULL = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    # For modules that only read.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: The module only reads.
  diff_mode:
    support: N/A
    details: The module only reads.
  idempotent:
    support: full
"""

    ACTIONGROUP_DOCKER = r"""
options: {}
attributes:
  action_group:
    description: C(group/flagship.coreos.docker) in C(module_defaults) sets the connection options once for all modules of the group.
    support: full
    membership:
      - flagship.coreos.docker
"""

    ACTIONGROUP_ETCD = r"""
options: {}
attributes:
  action_group:
    description: C(group/flagship.coreos.etcd) in C(module_defaults) sets the connection options once for all modules of the group.
    support: full
    membership:
      - flagship.coreos.etcd
"""

    ACTIONGROUP_FLEET = r"""
options: {}
attributes:
  action_group:
    description: C(group/flagship.coreos.fleet) in C(module_defaults) sets the connection options once for all modules of the group.
    support: full
    membership:
      - flagship.coreos.fleet
"""
