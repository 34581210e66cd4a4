# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet engine: fleet's HTTP API v1 in front of etcd v3, a scheduler, and an agent that drives systemd."""

VERSION = "1.0.0"
"""The fleet release whose API this engine speaks; clients read it in the Server header."""
