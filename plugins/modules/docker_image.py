#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_image
short_description: Keep an image in a Docker engine
version_added: 0.1.0
description:
  - Brings an image into a Docker engine by pulling, loading, importing or building it, gives it further names, saves
    it to a file, and removes it.
  - An archive is loaded only when the engine does not have its image under the name. A file system is imported and a
    directory is built only when their content, or an option about them, is not what the image was made from. For
    that, the image gets the label C(org.flagship.coreos.source-sha256).
author:
  - The flagship.coreos contributors (@flagship-coreos)
extends_documentation_fragment:
  - flagship.coreos.docker
  - flagship.coreos.attributes
  - flagship.coreos.attributes.actiongroup_docker
attributes:
  check_mode:
    support: full
    details:
      - With O(source=pull) and O(force=true), check mode asks the registry which image it has.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(force=true) the image is loaded, imported or built on every run.
options:
  name:
    description:
      - Name of the image, as C(REPOSITORY[:TAG]). The tag is V(latest) if it is not set.
      - An ID or a name with a digest can be used where the image does not have to get a name.
    type: str
    required: true
  state:
    description:
      - V(present) means that the engine has the image under O(name) and under all of O(aliases).
      - V(absent) means that it has none of these names. The image itself goes with its last name.
    type: str
    choices: [absent, present]
    default: present
  source:
    description:
      - Where the image comes from when the engine does not have it.
      - V(pull) fetches it from its registry, with the credentials that C(docker login) has left for the user who runs
        the module.
      - V(load) reads an archive that C(docker save) has written. The engine also gives the images in it the names that they
        have there.
      - V(import) makes an image from an archive of a root file system.
      - V(build) builds it from a directory.
      - V(local) means that it has to be in the engine already.
    type: str
    choices: [build, import, load, local, pull]
    default: pull
  path:
    description:
      - The archive to load or import, or the directory to build, on the machine where the module runs.
      - Required with O(source=load), O(source=import) and O(source=build).
    type: path
  changes:
    description:
      - Instructions of a Dockerfile that an import applies. The engine takes C(CMD), C(ENTRYPOINT), C(ENV), C(EXPOSE),
        C(ONBUILD), C(USER), C(VOLUME) and C(WORKDIR) here.
    type: list
    elements: str
  labels:
    description:
      - Labels that an import or a build gives the image, as a mapping of names to texts.
    type: dict
  dockerfile:
    description:
      - The Dockerfile, relative to O(path). The engine takes C(Dockerfile) if this is not set.
    type: str
  build_args:
    description:
      - Values for the C(ARG) instructions of the Dockerfile, as a mapping of names to texts.
    type: dict
  target:
    description:
      - The stage of the Dockerfile that becomes the image. It is the last one if this is not set.
    type: str
  no_cache:
    description:
      - Whether a build that takes place does all of its steps again. It takes place only when something differs, or
        with O(force=true).
    type: bool
    default: false
  platform:
    description:
      - The platform of the image to pull or to build, as C(OS[/ARCHITECTURE[/VARIANT]]), such as V(linux/arm64).
      - An image that is there for another platform is pulled again.
    type: str
  aliases:
    description:
      - Further names for the image.
    type: list
    elements: str
    default: []
  archive_path:
    description:
      - A file that the image is saved to, on the machine where the module runs, in the format of C(docker save).
      - It is written only when it does not hold this image under this name already.
    type: path
  force:
    description:
      - Whether to pull, load, import or build an image that is there already, and to remove an image that containers
        use.
    type: bool
    default: false
seealso:
  - module: flagship.coreos.docker_container
"""

EXAMPLES = r"""
- name: Load an image from an archive
  flagship.coreos.docker_image:
    name: example/node:1
    source: load
    path: /var/cache/images/node.tar

- name: Make an image from a root file system
  flagship.coreos.docker_image:
    name: example/nginx:1
    source: import
    path: /var/cache/images/nginx-root.tar
    changes:
      - EXPOSE 80
      - CMD ["nginx", "-g", "daemon off;"]

- name: Build an image and save it for machines that reach no registry
  flagship.coreos.docker_image:
    name: example/web:2
    source: build
    path: /srv/web
    build_args:
      RELEASE: "2"
    archive_path: /var/cache/images/web.tar

- name: Give an image that is there a second name
  flagship.coreos.docker_image:
    name: example/web:2
    source: local
    aliases:
      - example/web:current

- name: Pull exactly one image, and give it a name
  flagship.coreos.docker_image:
    name: registry.example.com/web@sha256:306d97924e9c3b20f28a9dc1714d3623151f672ea32e8acc338c0d4f61fc145a
    aliases: [example/web:live]

- name: Remove an image
  flagship.coreos.docker_image:
    name: example/web:1
    state: absent
"""

RETURN = r"""
image:
  description:
    - What the engine reports about the image.
    - In check mode this is the image before the change.
  returned: when the image exists
  type: dict
  sample:
    Id: sha256:306d97924e9c3b20f28a9dc1714d3623151f672ea32e8acc338c0d4f61fc145a
    RepoTags:
      - example/node:1
actions:
  description:
    - What was done, in order. In check mode, what would be done.
  returned: success
  type: list
  elements: dict
  sample:
    - action: load
      path: /var/cache/images/node.tar
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    DockerError,
    argument_spec,
    connect,
    errors_as_sentences,
    inspect_image,
    is_image_id,
    pull,
    reason,
    registry_has_another,
    split_tag,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_compare import text_dict
from ansible_collections.flagship.coreos.plugins.module_utils.docker_image import (
    SOURCE_LABEL,
    archived_images,
    build_digest,
    check,
    familiar,
    image_for,
    import_changes,
    import_digest,
    is_for,
)

with contextlib.suppress(ImportError):  # connect() reports it
    from docker.errors import APIError
    from docker.utils.build import exclude_paths

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
    "source": {"type": "str", "choices": ["build", "import", "load", "local", "pull"], "default": "pull"},
    "path": {"type": "path"},
    "changes": {"type": "list", "elements": "str"},
    "labels": {"type": "dict"},
    "dockerfile": {"type": "str"},
    "build_args": {"type": "dict"},
    "target": {"type": "str"},
    "no_cache": {"type": "bool", "default": False},
    "platform": {"type": "str"},
    "aliases": {"type": "list", "elements": "str", "default": []},
    "archive_path": {"type": "path"},
    "force": {"type": "bool", "default": False},
}


class Image:
    """The image's side of the engine. Every step appends to actions, and does nothing else in check mode."""

    def __init__(self, module: AnsibleModule, client: Any, params: dict[str, Any]) -> None:
        self.module = module
        self.client = client
        self.params = params
        self.name = params["name"]
        self.host = params["docker_host"]
        self.actions: list[dict[str, Any]] = []

    def act(self, kind: str, **detail: Any) -> bool:
        """Note an action and tell whether to do it."""
        self.actions.append({"action": kind, **detail})
        return not self.module.check_mode

    def provide(self, found: Any) -> bool:
        """Bring the image in from its source if needed, and tell whether that was (in check mode, would be) done."""
        steps = {"load": self.load, "import": self.make, "build": self.make, "pull": self.pull, "local": self.expect}
        steps[self.params["source"]](found)
        return bool(self.actions)

    def expect(self, found: Any) -> None:
        """Fail when the image is not there."""
        if found is None:
            raise DockerError(
                f"The image {self.name} is not on {self.host}, but source is local; choose another source or name."
            )

    def pull(self, found: Any) -> None:
        """Pull the image if it is not there, or to see whether there is a newer one."""
        platform = self.params["platform"]
        if found is not None and not is_for(platform, found):
            found = None
        if found is not None and not self.params["force"]:
            return
        if found is not None and self.module.check_mode and not registry_has_another(self.client, self.name, found):
            return
        if not self.module.check_mode:
            pull(self.client, self.name, platform)
        after = None if self.module.check_mode else inspect_image(self.client, self.name)
        if found is None or after is None or found["Id"] != after["Id"]:
            self.act("pull", image=self.name)

    def load(self, found: Any) -> None:
        """Load the archive, or only name the image if the engine has it."""
        path = self.params["path"]
        wanted = image_for(self.name, archived_images(path), path)
        present = found if found is not None and found["Id"] in wanted.ids else self.first_of(wanted.ids)
        if (present is None or self.params["force"]) and self.act("load", path=path):
            with open(path, "rb") as archive:
                self.read_stream(self.client.load_image(archive), f"loaded from {path}")
            present = self.first_of([*wanted.ids, *wanted.tags])
        if present is None:
            return
        now = inspect_image(self.client, self.name)
        if (now is None or now["Id"] != present["Id"]) and self.act("tag", image=self.name):
            self.tag(present["Id"], self.name)

    def first_of(self, names: Iterable[str]) -> Any:
        """The first of these images that the engine has, None when it has none of them."""
        return next((image for image in (inspect_image(self.client, name) for name in names) if image), None)

    def make(self, found: Any) -> None:
        """Import or build the image if it was made from something else."""
        params = self.params
        kind, path = params["source"], params["path"]
        digest = import_digest(params) if kind == "import" else build_digest(params, self.context())
        labels = ((found or {}).get("Config") or {}).get("Labels") or {}
        if labels.get(SOURCE_LABEL) == digest and not params["force"]:
            return
        if not self.act(kind, path=path):
            return
        repository, tag = split_tag(self.name)
        if kind == "import":
            with open(path, "rb") as archive:
                changes = import_changes(params, digest)
                answer = self.client.import_image(src=archive, repository=repository, tag=tag, changes=changes)
            self.read_stream(map(json.loads, answer.splitlines()), f"imported from {path}")
            return
        stream = self.client.build(
            path=path,
            tag=f"{repository}:{tag}",
            dockerfile=params["dockerfile"],
            target=params["target"] or "",
            platform=params["platform"],
            nocache=params["no_cache"],
            buildargs=params["build_args"],
            labels={**(params["labels"] or {}), SOURCE_LABEL: digest},
            rm=True,
            forcerm=True,
            decode=True,
            timeout=params["timeout"],
        )
        self.read_stream(stream, f"built from {path}")

    def context(self) -> Iterable[str]:
        """The files that a build sends to the engine, relative to path."""
        path = self.params["path"]
        if not os.path.isdir(path):
            raise DockerError(f"The image {self.name} cannot be built: {path} is not a directory; set path to one.")
        patterns = []
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(path, ".dockerignore"), encoding="utf-8") as file,
        ):
            patterns = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        names: Iterable[str] = exclude_paths(os.path.abspath(path), patterns, dockerfile=self.params["dockerfile"])
        return names

    def read_stream(self, stream: Iterable[dict[str, Any]], done: str) -> None:
        """Wait for the end of a stream of messages. Raises DockerError when one of them is an error."""
        for message in stream:
            if "error" in message:
                why = str(message["error"]).strip().rstrip(".")
                raise DockerError(f"The image {self.name} could not be {done} on {self.host}: {why}.")

    def tag(self, identity: str, name: str) -> None:
        """Give an image a name."""
        repository, tag = split_tag(name)
        self.client.tag(identity, repository, tag)

    def name_aliases(self, image: Any, replaced: bool) -> None:
        """Give the image its further names. In check mode, an image that is replaced is not known yet."""
        unknown = image is None or (replaced and self.module.check_mode)
        for alias in self.params["aliases"]:
            now = inspect_image(self.client, alias)
            if (unknown or now is None or now["Id"] != image["Id"]) and self.act("tag", image=alias):
                self.tag(image["Id"], alias)

    def save(self, image: Any, replaced: bool) -> None:
        """Save the image to archive_path if the file there does not hold it."""
        path = self.params["archive_path"]
        if not path or (not replaced and self.is_saved(image, path)) or not self.act("save", path=path):
            return
        handle, draft = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".docker_image-")
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in self.client.get_image(self.name):
                    file.write(chunk)
            self.module.atomic_move(draft, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)

    def is_saved(self, image: Any, path: str) -> bool:
        """Whether the archive at path holds the image under its name."""
        try:
            images = archived_images(path)
        except (OSError, ValueError):
            return False
        by_id = is_image_id(self.name) or "@" in self.name
        return any(
            image["Id"] in saved.ids and (by_id or familiar(self.name) in map(familiar, saved.tags)) for saved in images
        )

    def remove(self) -> None:
        """Remove the names that the engine has."""
        for name in [self.name, *self.params["aliases"]]:
            if inspect_image(self.client, name) is not None and self.act("remove", image=name):
                try:
                    self.client.remove_image(name, force=self.params["force"])
                except APIError as error:
                    raise DockerError(
                        f"The image {name} could not be removed from {self.host}: {reason(error)}; "
                        "remove what uses it, or set force."
                    ) from error


def run(module: AnsibleModule, client: Any) -> dict[str, Any]:
    """Bring the image to what the module's options say and return the module's result."""
    params = dict(module.params)
    for option in ("labels", "build_args"):
        if params[option] is not None:
            params[option] = text_dict(params[option])
    image = Image(module, client, params)
    found = inspect_image(client, image.name)
    if params["state"] == "absent":
        image.remove()
    else:
        check(params)
        replaced = image.provide(found)
        present = inspect_image(client, image.name) if image.actions else found
        image.name_aliases(present, replaced)
        image.save(present, replaced)
    now = inspect_image(client, image.name) if image.actions else found
    result: dict[str, Any] = {"changed": bool(image.actions), "actions": image.actions}
    if module._diff:
        result["diff"] = diff(module.check_mode, params["state"], found, now, image.actions)
    if now is not None:
        result["image"] = now
    return result


def diff(
    check_mode: bool, state: str, found: Any, now: Any, actions: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The image's id before and after, and the names and files that are new."""
    before: dict[str, Any] = {"id": found["Id"] if found else None}
    after: dict[str, Any] = {"id": now["Id"] if now else None}
    kinds = {action["action"] for action in actions}
    if check_mode and kinds & {"load", "import", "build", "pull"}:
        after["id"] = "(new)"
    if check_mode and "remove" in kinds:
        after["id"] = None
    for kind, key in (("tag", "image"), ("save", "path")):
        new = [action[key] for action in actions if action["action"] == kind]
        if new:
            after[kind] = new
    return {"before": before, "after": after}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(**OPTIONS),
        required_if=[("source", source, ["path"]) for source in ("build", "import", "load")],
        supports_check_mode=True,
    )
    client = connect(module)
    with errors_as_sentences(module, f"the image {module.params['name']}"):
        module.exit_json(**run(module, client))


if __name__ == "__main__":
    main()
