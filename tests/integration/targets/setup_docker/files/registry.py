# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""registry.py ROOT-ARCHIVE DIRECTORY PORT: a registry on the loopback with one image in two versions, for pulls only.

What the tag of any repository means is what the file DIRECTORY/tag holds, "one" or "two"; DIRECTORY/one.digest and
DIRECTORY/two.digest say how the two are pulled by digest.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TYPE = "application/vnd.docker.distribution.manifest.v2+json"
root, directory, port = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
blobs: dict[str, bytes] = {}


def keep(content: bytes) -> str:
    """Store a blob and return its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blobs[digest] = content
    return digest


def manifest(version: str) -> str:
    """Make one version of the image and return the digest of its manifest."""
    layer = keep(root.read_bytes())
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "config": {"Cmd": ["/bin/sleep", "1000"], "Env": ["PATH=/bin"], "Labels": {"version": version}},
    }
    image = keep(json.dumps(config).encode())
    content = {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": _part("application/vnd.docker.container.image.v1+json", image),
        "layers": [_part("application/vnd.docker.image.rootfs.diff.tar", layer)],
    }
    return keep(json.dumps(content).encode())


def _part(kind: str, digest: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": len(blobs[digest])}


manifests = {version: manifest(version) for version in ("one", "two")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        kind, _slash, reference = self.path.rpartition("/")
        digest = reference
        if kind.endswith("/manifests") and reference == "1":
            digest = manifests[(directory / "tag").read_text().strip()]
        content = b"{}" if self.path == "/v2/" else blobs.get(digest)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Type", TYPE if kind.endswith("/manifests") else "application/octet-stream")
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET" and content:
            self.wfile.write(content)

    do_GET = do_HEAD = _answer  # noqa: N815


(directory / "tag").write_text("one")
for name, identity in manifests.items():
    (directory / f"{name}.digest").write_text(identity)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
