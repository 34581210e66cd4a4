# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a Docker engine, and its errors as sentences."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

try:
    import docker
    import docker.errors
    import requests.exceptions
except ImportError:
    HAS_DOCKER = False
else:
    HAS_DOCKER = True

# Engine 29 refuses anything older than 1.44; newer versions change the shape of answers (1.52 drops fields of inspect).
NEWEST_API = (1, 44)

CONNECTION: dict[str, Any] = {
    "docker_host": {
        "type": "str",
        "default": "unix:///var/run/docker.sock",
        "fallback": (env_fallback, ["DOCKER_HOST"]),
    },
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "timeout": {"type": "float", "default": 60},
}


class DockerError(Exception):
    """What went wrong, as one sentence for the user."""


def argument_spec(**options: Any) -> dict[str, Any]:
    """The argument spec of a module: its own options and those of the connection."""
    return {**options, **CONNECTION}


def api_version(newest: str, oldest: str) -> str:
    """The API version to speak with an engine that knows the versions from oldest to newest (such as 1.12 and 1.41)."""
    low, high = (tuple(int(part) for part in text.split(".")) for text in (oldest, newest))
    return ".".join(str(part) for part in max(low, min(high, NEWEST_API)))


def connect(module: AnsibleModule) -> Any:
    """Return a docker.APIClient for the module's connection options; end the module when no engine answers."""
    if not HAS_DOCKER:
        reason = "(on nodes of this collection, /opt/flagship/bin/python has it)"
        module.fail_json(msg=missing_required_lib("docker", reason=reason))
    try:
        return open_client(module.params)
    except DockerError as failure:
        module.fail_json(msg=str(failure))


def open_client(params: dict[str, Any]) -> Any:
    """Return a docker.APIClient for connection options that are named as in CONNECTION.

    Raises DockerError when the options contradict each other or no engine answers.
    """
    host, timeout = params["docker_host"], params["timeout"]
    if bool(params["client_cert"]) != bool(params["client_key"]):
        raise DockerError(
            f"client_cert and client_key for {host} belong together, but only one of them is set; set both or none."
        )
    tls: Any = False
    if params["ca_cert"] or params["client_cert"] or host.startswith("https://"):
        if host.startswith(("unix://", "http://")):
            raise DockerError(
                f"ca_cert and client_cert are for TLS, which {host} does not use; leave them out or use tcp:// or https://."
            )
        tls = True
    try:
        if tls:
            pair = (params["client_cert"], params["client_key"]) if params["client_cert"] else None
            tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=params["ca_cert"], verify=True)
        client = docker.APIClient(base_url=host, tls=tls, timeout=timeout, version="1.41")
        versions = client.version(api_version=False)
        wanted = api_version(versions["ApiVersion"], versions.get("MinAPIVersion", "1.12"))
        if wanted == "1.41":
            return client
        client.close()
        return docker.APIClient(base_url=host, tls=tls, timeout=timeout, version=wanted)
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise DockerError(
            f"No Docker engine answers at {host} ({reason(error)}); start it, or set docker_host to where it listens."
        ) from error


def reason(error: BaseException) -> str:
    """What a failed call has to say, without the layers of its libraries."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return str(explanation).strip().rstrip(".")
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        following = next((argument for argument in inner.args if isinstance(argument, BaseException)), None)
        inner = following or inner.__cause__ or getattr(inner, "reason", None)
        if not isinstance(inner, BaseException):
            break
    return str(error).strip().rstrip(".")


def inspect_image(client: Any, name: str) -> Any:
    """What the engine knows about an image, None when it has no such image."""
    try:
        return client.inspect_image(name)
    except docker.errors.NotFound:
        return None


def inspect_container(client: Any, name: str) -> Any:
    """What the engine knows about the container of this name, None when there is none."""
    found = inspect_container_by_id(client, name)
    # The engine also takes the beginning of an id for a name.
    return found if found is not None and found["Name"] == f"/{name}" else None


def inspect_container_by_id(client: Any, identity: str) -> Any:
    """What the engine knows about the container of this id or name, None when there is none."""
    try:
        return client.inspect_container(identity)
    except docker.errors.NotFound:
        return None


def is_image_id(name: str) -> bool:
    """Whether an image is named by its id, which no registry knows."""
    return name.startswith("sha256:") or re.fullmatch("[0-9a-f]{64}", name) is not None


def update_container(client: Any, identity: str, host: dict[str, Any]) -> Any:
    """Give a container new limits, named as in HostConfig; the SDK's own call knows neither NanoCpus nor PidsLimit."""
    answer = client._post_json(client._url("/containers/{0}/update", identity), data=host)
    return client._result(answer, True)


def pull(client: Any, name: str) -> None:
    """Pull an image by name. Raises DockerError."""
    try:
        for line in client.pull(*split_tag(name), stream=True, decode=True):
            if "error" in line:
                raise DockerError(could_not_pull(name, line["error"]))
    except docker.errors.APIError as error:
        raise DockerError(could_not_pull(name, reason(error))) from error


def could_not_pull(name: str, why: str) -> str:
    """The sentence about a pull that failed."""
    return (
        f"The image {name} could not be pulled ({why.strip().rstrip('.')}); "
        "check its name and the way to the registry, or bring it as an archive with flagship.coreos.docker_image."
    )


def split_tag(name: str) -> tuple[str, str]:
    """Repository and tag (or digest) of an image name; the tag is C(latest) where there is none."""
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if at:
        return (head if colon and "/" not in tag else repository), digest
    return (head, tag) if colon and "/" not in tag else (name, "latest")


@contextlib.contextmanager
def errors_as_sentences(module: AnsibleModule, thing: str) -> Iterator[None]:
    """End the module with one sentence about thing when the work inside fails."""
    host = module.params["docker_host"]
    try:
        yield
    except DockerError as error:
        module.fail_json(msg=str(error))
    except ValueError as error:
        module.fail_json(msg=f"The options of {thing} do not fit: {error}.")
    except requests.exceptions.Timeout:
        module.fail_json(
            msg=f"The Docker engine at {host} gave no answer for {module.params['timeout']:g} s while it worked on "
            f"{thing}; look whether it hangs, or set timeout to more."
        )
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            module.fail_json(
                msg=f"The file {error.filename} for {thing} cannot be used ({error.strerror}); check its path."
            )
        module.fail_json(msg=f"The Docker engine at {host} refused what was asked for {thing}: {reason(error)}.")
