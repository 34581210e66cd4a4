# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - Where fleet's HTTP API is served, seen from the host that runs the module.
      - A socket is written as V(unix:///path/to/socket), anything else as V(https://host:port) or V(http://host:port),
        where a path after the port is put before every request's own.
    type: str
    default: unix:///run/fleet.sock
  ca_cert:
    description:
      - File with the certificates (PEM) of the authorities that may have signed the server's certificate.
      - Without it the host's own trust store decides. Only for an V(https://) endpoint.
    type: path
  client_cert:
    description: File with the certificate (PEM) that the client presents. Requires O(client_key).
    type: path
  client_key:
    description: File with the unencrypted key (PEM) of O(client_cert).
    type: path
  user:
    description: User name for HTTP Basic authentication. Refused for an V(http://) endpoint. Requires O(password).
    type: str
  password:
    description: Password of O(user).
    type: str
  timeout:
    description: Seconds after which one request to the API is given up.
    type: float
    default: 10.0
notes:
  - Nothing but Python 3.9 or newer is needed on the host that asks the API; fleet 1.0.0 and the engine of this collection
    answer alike.
  - The default socket belongs to root and the group C(fleet), so who asks is root, by C(become) in a task, or is in that group.
"""
