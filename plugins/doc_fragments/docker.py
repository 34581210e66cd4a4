# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - Where the Docker engine listens, as C(unix:///PATH), C(tcp://HOST:PORT), C(http://HOST:PORT) or C(https://HOST:PORT).
      - TLS is used when O(ca_cert) or O(client_cert) is set, or for C(https://).
      - If the option is not set, the environment variable E(DOCKER_HOST) is used.
    type: str
    default: unix:///var/run/docker.sock
  ca_cert:
    description:
      - File with the certificates of the authorities that may have signed the engine's certificate.
      - Without it, the certificate must be trusted by the system.
    type: path
  client_cert:
    description:
      - File with the certificate that identifies this client.
      - Needs O(client_key).
    type: path
  client_key:
    description:
      - File with the private key of O(client_cert).
    type: path
  timeout:
    description:
      - Seconds that the engine may stay silent before the module gives up.
      - Waiting for a container to stop is added to this.
    type: float
    default: 60
requirements:
  - docker (the Docker SDK for Python) 7.0 or newer
notes:
  - Runs where the Docker engine can be reached, with the Python library on that same machine.
  - Works with Docker engines 20.10 to 29. The version of the API is negotiated.
"""
