#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot
short_description: Save a snapshot of an etcd cluster
description:
  - Saves the database of an etcd cluster (API v3) to a file on the host that runs the module, as C(etcdctl snapshot save) does.
    C(etcdctl snapshot restore) makes a new cluster of it.
  - The snapshot comes from the first of the O(endpoints) that sends one, and is whole as of one revision.
  - The file appears under its name only when it is complete, is written to disk, and the checksum that etcd
    puts at its end is right. A file that is there stays untouched until then, and for good if anything fails.
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.etcd
  - flagship.coreos.attributes
  - flagship.coreos.attributes.actiongroup_etcd
attributes:
  check_mode:
    support: full
    details: Asks the cluster whether it answers, and looks at the directory.
  diff_mode:
    support: full
    details: Shows size and checksum of the file.
  idempotent:
    support: partial
    details: Every run saves a new snapshot, unless O(force=false) and the file is there.
options:
  dest:
    description:
      - File to write, readable only by the user that the module runs as (mode 0600), for it holds all keys and the hashes of
        all passwords.
      - Its directory must exist, and needs room for a second copy while the snapshot is written.
    type: path
    required: true
  force:
    description: Whether to replace a file that is there. V(false) leaves it as it is, whatever is in it.
    type: bool
    default: true
  timeout:
    description:
      - Seconds after which one request is given up, all endpoints taken together, and that the stream of the snapshot may
        stay silent. The whole snapshot may take any time.
    type: float
    default: 5.0
notes:
  - With authentication switched on, the user needs the role C(root).
seealso:
  - module: flagship.coreos.etcd_member_info
"""

EXAMPLES = r"""
- name: Save a snapshot for each day of the week
  flagship.coreos.etcd_snapshot:
    endpoints: ['http://127.0.0.1:2379']
    dest: "/var/backups/etcd-{{ now().strftime('%a') }}.db"

- name: Keep the state from before an upgrade
  flagship.coreos.etcd_snapshot:
    endpoints: ['https://192.0.2.11:2379', 'https://192.0.2.12:2379']
    ca_cert: /etc/etcd/ca.pem
    user: root
    password: "{{ etcd_root_password }}"
    dest: /var/backups/etcd-before-upgrade.db
    force: false
"""

RETURN = r"""
dest:
  description: The file.
  returned: always
  type: str
  sample: /var/backups/etcd.db
size:
  description: Size of the file in bytes. Not returned in check mode when a snapshot would be saved.
  returned: success
  type: int
  sample: 20512
sha256:
  description: SHA-256 of the file. Not returned in check mode when a snapshot would be saved.
  returned: success
  type: str
version:
  description: Version of an etcd of the cluster.
  returned: when the cluster was asked
  type: str
  sample: 3.4.23
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.etcd import (
    EtcdError,
    etcd_argument_spec,
    fail_without_library,
)
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_cluster import Cluster

DIGEST_SIZE = 32
# The database consists of whole pages, whose size is a multiple of this.
SECTOR = 512


class Verifier:
    """Takes a snapshot piece by piece, and knows whether the checksum at its end is that of the rest."""

    def __init__(self) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._database = hashlib.sha256()
        self._tail = b""

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        self._whole.update(piece)
        held = self._tail + piece
        self._database.update(held[:-DIGEST_SIZE])
        self._tail = held[-DIGEST_SIZE:]

    def sha256(self) -> str:
        return self._whole.hexdigest()

    def check(self) -> None:
        """Raises EtcdError for a snapshot that is not whole."""
        if self.size <= DIGEST_SIZE or self.size % SECTOR != DIGEST_SIZE:
            raise EtcdError(f"the snapshot of {self.size} bytes that came is not whole; run the task again")
        if self._database.digest() != self._tail:
            raise EtcdError("the snapshot that came does not have the checksum at its end; look at that member's disk")


def check_dest(dest: str) -> None:
    """Raises EtcdError for a file that cannot be written."""
    directory = os.path.dirname(os.path.abspath(dest))
    if not dest or os.path.isdir(dest):
        raise EtcdError("dest is a directory; give the name of a file in it")
    if not os.path.isdir(directory):
        raise EtcdError(f"the directory {directory} does not exist; make it first")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EtcdError(f"the directory {directory} cannot be written; use become, or another directory")


def save(pieces: Iterable[bytes], dest: str) -> dict[str, Any]:
    """Write a snapshot to the file, all of it or nothing; its size and checksum. Raises EtcdError."""
    directory = os.path.dirname(os.path.abspath(dest))
    verifier = Verifier()
    temporary = ""
    try:
        # Has mode 0600 from its first moment on.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(dest)}.", dir=directory)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                verifier.take(piece)
                file.write(piece)
            verifier.check()
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, dest)
        temporary = ""
        _sync_directory(directory)
    except OSError as error:
        raise EtcdError(f"it cannot be written ({error.strerror}); make room or correct dest") from error
    finally:
        if temporary:
            os.unlink(temporary)
    return {"size": verifier.size, "sha256": verifier.sha256()}


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def found(dest: str) -> dict[str, Any]:
    """Size and checksum of the file that is there, or nothing; raises EtcdError."""
    if not os.path.lexists(dest):
        return {}
    digest = hashlib.sha256()
    try:
        with open(dest, "rb") as file:
            while True:
                piece = file.read(1 << 20)
                if not piece:
                    return {"size": file.tell(), "sha256": digest.hexdigest()}
                digest.update(piece)
    except OSError as error:
        raise EtcdError(f"the file that is there cannot be read ({error.strerror}); remove it") from error


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Save the snapshot; fills the module's result. Raises EtcdError."""
    dest = module.params["dest"]
    check_dest(dest)
    with Cluster(module.params) as cluster:
        before = found(dest)
        if before and not module.params["force"]:
            result.update(before)
            return
        result["version"] = cluster.check()
        after: dict[str, Any] = {} if module.check_mode else save(cluster.snapshot(), dest)
    headers = {"before_header": dest, "after_header": dest}
    result.update(after, changed=True, diff={**headers, "before": before, "after": after or "a new snapshot\n"})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **etcd_argument_spec(),
            "dest": {"type": "path", "required": True},
            "force": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    fail_without_library(module)
    result: dict[str, Any] = {"changed": False, "dest": module.params["dest"]}
    try:
        run(module, result)
    except EtcdError as error:
        module.fail_json(msg=f"snapshot {module.params['dest']}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
