# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a Docker engine, and its errors as sentences."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

try:
    import docker
    import docker.errors
    import requests.exceptions
    import urllib3.exceptions
except ImportError:
    HAS_DOCKER = False
else:
    HAS_DOCKER = True
    # How the SDK and its libraries say that an answer did not come through.
    BROKEN = (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        docker.errors.StreamParseError,
        json.JSONDecodeError,
        ConnectionError,
    )

    class Client(docker.APIClient):
        """The SDK's client with a timeout for every request; of its own it would wait for a pull without end."""

        def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
            if kwargs.get("timeout") is None:
                kwargs["timeout"] = self.timeout
            return kwargs

        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            # requests would prefer the file in REQUESTS_CA_BUNDLE to ca_cert.
            verify = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, verify, cert)


# Engine 29 refuses anything older than 1.44; newer versions change the shape of answers (1.52 drops fields of inspect).
NEWEST_API = (1, 44)
# Of Docker 20.10. Older engines silently leave out some of what the modules ask for.
OLDEST_API = (1, 41)

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
    return ".".join(str(part) for part in max(as_numbers(oldest), min(as_numbers(newest), NEWEST_API)))


def as_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version such as 1.41."""
    return tuple(int(part) for part in version.split("."))


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
    if timeout <= 0:
        raise DockerError(f"timeout is {timeout:g} s, in which {host} cannot answer; set more than 0.")
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
        client = Client(base_url=host, tls=tls, timeout=timeout, version="1.41")
        versions = client.version(api_version=False)
        if not isinstance(versions, dict) or "ApiVersion" not in versions:
            raise ValueError("what answers there is no Docker engine")
        newest = versions["ApiVersion"]
        if as_numbers(newest) < OLDEST_API:
            raise DockerError(
                f"The Docker engine at {host} speaks version {newest} of the API and is older than Docker 20.10, which "
                "speaks 1.41; upgrade it."
            )
        wanted = api_version(newest, versions.get("MinAPIVersion", "1.12"))
        if wanted == "1.41":
            return client
        client.close()
        return Client(base_url=host, tls=tls, timeout=timeout, version=wanted)
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        why = reason(error)
        way_out = "start it, or set docker_host to where it listens"
        # An engine that misses a client's certificate may also just close the connection.
        if re.search(r"_ssl\.c|HTTPS" + (r"|reset|pipe|closed" if tls else ""), why):
            way_out = "set ca_cert, client_cert and client_key as the engine's certificates ask for, none where it speaks no TLS"
        raise DockerError(f"No Docker engine answers at {host} ({why}); {way_out}.") from error


def reason(error: BaseException) -> str:
    """What a failed call has to say, without the layers of its libraries."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return str(explanation).strip().rstrip(".")
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return "what answers there is no Docker engine"
    if is_timeout(error):
        return "no answer in time"
    inner: Any = error
    while isinstance(inner, BaseException):
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        last = inner
        following = next((argument for argument in inner.args if isinstance(argument, BaseException)), None)
        inner = following or inner.__cause__ or getattr(inner, "reason", None)
    return (str(last) or str(error)).strip().rstrip(".")


def is_timeout(error: BaseException) -> bool:
    """Whether a call has failed because nothing came in time; the SDK and its libraries have several ways to say so."""
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, socket.timeout)):
        return True
    return any(is_timeout(inner) for inner in error.args if isinstance(inner, BaseException))


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


def pull(client: Any, name: str, platform: str | None = None) -> None:
    """Pull an image by name. Raises DockerError."""
    try:
        for line in client.pull(*split_tag(name), stream=True, decode=True, platform=platform):
            if "error" in line:
                raise DockerError(could_not_pull(name, line["error"]))
    except docker.errors.APIError as error:
        raise DockerError(could_not_pull(name, reason(error))) from error


def registry_has_another(client: Any, name: str, image: dict[str, Any]) -> bool:
    """Whether the registry has another image under the name than the engine. Raises DockerError."""
    try:
        digest = client.inspect_distribution(name)["Descriptor"]["digest"]
    except docker.errors.APIError as error:
        raise DockerError(could_not_pull(name, reason(error))) from error
    return not any(entry.endswith(f"@{digest}") for entry in image.get("RepoDigests") or [])


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
    except (docker.errors.DockerException, *BROKEN, OSError) as error:
        if is_timeout(error):
            module.fail_json(
                msg=f"The Docker engine at {host} gave no answer for {module.params['timeout']:g} s while it worked on "
                f"{thing}; look whether it hangs, or set timeout to more."
            )
        if isinstance(error, BROKEN) and not isinstance(error, docker.errors.DockerException):
            module.fail_json(
                msg=f"The connection to the Docker engine at {host} broke while it worked on {thing} ({reason(error)}); "
                "look at the engine's log and run the task again."
            )
        if isinstance(error, OSError) and error.filename:
            module.fail_json(
                msg=f"The file {error.filename} for {thing} cannot be used ({error.strerror}); check its path."
            )
        module.fail_json(msg=f"The Docker engine at {host} refused what was asked for {thing}: {reason(error)}.")
    except ValueError as error:
        module.fail_json(msg=f"The options of {thing} do not fit: {error}.")
