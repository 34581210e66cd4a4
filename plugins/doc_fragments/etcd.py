# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - URLs of the cluster's members, V(https://host:port) or V(http://host:port), seen from the host that runs the
        module.
      - They are tried in this order until one answers.
    type: list
    elements: str
    default: ['http://127.0.0.1:2379']
  ca_cert:
    description:
      - File with the certificates (PEM) of the authorities that may have signed the members' certificates.
      - Without it the host's own trust store decides. Only for V(https://) endpoints.
    type: path
  client_cert:
    description: File with the certificate (PEM) that the client presents. Requires O(client_key).
    type: path
  client_key:
    description: File with the unencrypted key (PEM) of O(client_cert).
    type: path
  user:
    description:
      - Name of an etcd user. Requires O(password), and V(https://) endpoints, for a password must not travel in clear.
      - Has no effect while authentication is switched off in the cluster.
    type: str
  password:
    description: Password of O(user).
    type: str
  timeout:
    description: Seconds after which one request is given up, all endpoints taken together.
    type: float
    default: 5.0
requirements:
  - etcd3 >= 0.12.0 (Python library, on the host where the module runs; any protobuf)
notes:
  - Nodes that this collection set up have the library for the interpreter C(/opt/flagship/bin/python); set
    C(ansible_python_interpreter) to it on tasks that run there.
"""

    # For plugins that run on the controller: module_defaults do not reach them, the environment and ansible.cfg do.
    CONTROLLER = r"""
options:
  endpoints:
    env:
      - name: ETCDCTL_ENDPOINTS
    ini:
      - section: etcd
        key: endpoints
  ca_cert:
    env:
      - name: ETCDCTL_CACERT
    ini:
      - section: etcd
        key: ca_cert
  client_cert:
    env:
      - name: ETCDCTL_CERT
    ini:
      - section: etcd
        key: client_cert
  client_key:
    env:
      - name: ETCDCTL_KEY
    ini:
      - section: etcd
        key: client_key
  user:
    env:
      - name: ETCDCTL_USER
    ini:
      - section: etcd
        key: user
  password:
    env:
      - name: ETCDCTL_PASSWORD
  timeout:
    ini:
      - section: etcd
        key: timeout
notes:
  - The environment variables are those of C(etcdctl). A list of endpoints is separated by commas there, and
    C(USER:PASSWORD) in E(ETCDCTL_USER) gives both when the password is not set otherwise.
"""
