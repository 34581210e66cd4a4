#!/usr/bin/python
# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_container
short_description: Keep a Docker container as described
version_added: 0.1.0
description:
  - Creates, replaces, updates, starts, stops and removes one container, so that it is as the options say.
  - Only options that are given are compared with the container. An option that is given is compared exactly.
    Environment, labels and volumes that the image brings along are taken into account. O(comparisons) loosens this.
  - Limits (O(memory), O(memory_reservation), O(memory_swap), O(cpus), O(cpu_shares), O(cpuset_cpus), O(pids_limit)),
    O(restart_policy) and the O(networks) change while the container runs. Any other difference replaces the container.
  - A replacement is created beside the old container before that is stopped. When the new one cannot be created or
    started, or does not become healthy with O(state=healthy), the old one is put back as it was, and the task fails.
  - A replaced container has the options of this task only, so always give all of them.
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
      - With O(pull=always), check mode asks the registry which image it has.
  diff_mode:
    support: full
    details:
      - The values of environment variables are hidden.
  idempotent:
    support: partial
    details:
      - With O(recreate=true) the container is replaced, with O(restart=true) restarted on every run.
options:
  name:
    description:
      - Name of the container.
    type: str
    required: true
  state:
    description:
      - V(present) means that the container exists as described. A new one is not started, one that is replaced keeps
        running when it ran before.
      - V(started) means that it also runs. A paused container continues.
      - V(healthy) means that it also passes its health check. The module waits for that, up to O(healthy_wait_timeout),
        and fails at once when the container has ended or the engine calls it unhealthy. A container without a health
        check is healthy when it runs. In check mode the module does not wait.
      - V(stopped) means that it exists as described and does not run.
      - V(absent) means that there is no such container.
    type: str
    choices: [absent, present, started, stopped, healthy]
    default: started
  healthy_wait_timeout:
    description:
      - Seconds that a container may take to become healthy with O(state=healthy). V(0) looks once.
    type: float
    default: 300
  image:
    description:
      - Name or ID of the image.
      - Needed when the container does not exist yet. Without it, an existing container keeps its image.
      - The container is replaced when the image that has this name is not the one that it was made from.
    type: str
  pull:
    description:
      - V(missing) pulls the image if the engine does not have it, V(always) asks the registry each time, V(never)
        does not pull.
    type: str
    choices: [never, missing, always]
    default: missing
  command:
    description:
      - The command, as a list of words, or as text that is split as a shell would split it.
      - An empty list means the image's command.
    type: raw
  entrypoint:
    description:
      - The entry point, as a list of words.
      - An empty list means the image's entry point, a list with one empty string means none.
    type: list
    elements: str
  env:
    description:
      - Environment variables, as a mapping of names to texts.
      - Put values in quotes that YAML would take for something else, such as V(yes) or V(1.10).
    type: dict
  env_file:
    description:
      - A file with environment variables, one C(NAME=VALUE) in a line, on the machine where the module runs. Empty lines
        and lines that begin with C(#) are left out, values are taken as they are.
      - O(env) wins over the file. Both count as O(env) in O(comparisons).
    type: path
  labels:
    description:
      - Labels, as a mapping of names to texts.
    type: dict
  published_ports:
    description:
      - Ports to publish on the host, each as C([[IP:]HOST:]CONTAINER[/PROTOCOL]).
      - Both ports may be ranges. An IPv6 address is written in brackets. Without a host port the engine picks one.
    type: list
    elements: str
  volumes:
    description:
      - What to mount, each as C(/HOST/PATH:/PATH[:MODES]), C(VOLUME:/PATH[:MODES]) or C(/PATH) for a volume without a
        name.
      - Modes are separated by commas, for example V(ro) or V(rw,rshared).
    type: list
    elements: str
  mounts:
    description:
      - What to mount, in the long form. Unlike O(volumes), a bind mount needs a source that exists.
      - None of O(volumes), O(mounts) and O(tmpfs) may share a place with another.
    type: list
    elements: dict
    suboptions:
      target:
        description:
          - Path inside the container.
        type: str
        required: true
      type:
        description:
          - V(bind) is a path of the host, V(volume) a volume of the engine, V(tmpfs) a file system in memory.
        type: str
        choices: [bind, volume, tmpfs]
        default: volume
      source:
        description:
          - Absolute path of the host, or name of the volume. Without it, a volume has no name.
        type: str
      read_only:
        description:
          - Whether the container can only read there.
        type: bool
      propagation:
        description:
          - How mounts below a bind mount travel between host and container. The engine's own value is V(rprivate).
        type: str
        choices: [private, rprivate, shared, rshared, slave, rslave]
      no_copy:
        description:
          - Whether a new volume stays empty instead of getting what the image has at that place.
        type: bool
      labels:
        description:
          - Labels that a new volume gets, as a mapping of names to texts. A volume that exists keeps its own.
        type: dict
      volume_driver:
        description:
          - The driver that makes a new volume.
        type: str
      volume_options:
        description:
          - Options of the driver for a new volume, as a mapping of names to texts. Those that look like a secret are
            hidden in results.
        type: dict
      tmpfs_size:
        description:
          - The most that a file system in memory holds, such as V(64m), in powers of 1024.
        type: str
      tmpfs_mode:
        description:
          - Octal mode of the directory, in quotes, such as V('1777').
        type: str
  tmpfs:
    description:
      - File systems in memory, as a list of C(PATH[:OPTIONS]) or as a mapping of paths to options.
    type: raw
  read_only:
    description:
      - Whether the container's own file system cannot be written. O(volumes), O(mounts) and O(tmpfs) can.
    type: bool
  shm_size:
    description:
      - Size of C(/dev/shm), such as V(128m), in powers of 1024. V(0) means the engine's own, 64 MiB.
    type: str
  networks:
    description:
      - The networks that the container is connected to, and no others. They must exist.
      - Connections are made and broken while the container exists.
      - If O(network_mode) is not given, a new container starts out in the first of these instead of the default
        network.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the network.
        type: str
        required: true
      ipv4_address:
        description:
          - Fixed IPv4 address of the container in the network.
        type: str
      ipv6_address:
        description:
          - Fixed IPv6 address of the container in the network.
        type: str
      aliases:
        description:
          - Further names that the container has in the network.
        type: list
        elements: str
  network_mode:
    description:
      - The kind of network, V(bridge), V(host), V(none), V(container:NAME) or the name of a network.
    type: str
  hostname:
    description:
      - Host name inside the container.
    type: str
  capabilities:
    description:
      - Capabilities to add, with or without the prefix C(CAP_). V(ALL) means all.
    type: list
    elements: str
  cap_drop:
    description:
      - Capabilities to drop, with or without the prefix C(CAP_). V(ALL) means all.
    type: list
    elements: str
  privileged:
    description:
      - Whether the container has all capabilities and devices of the host.
    type: bool
  security_opts:
    description:
      - Security options as C(docker run --security-opt) has them, for example V(seccomp=unconfined),
        V(apparmor=unconfined), V(no-new-privileges) or V(systempaths=unconfined).
      - V(systempaths=unconfined) leaves no path of C(/proc) and C(/sys) hidden or read-only.
      - A seccomp profile is given as its JSON text, not as the name of a file.
    type: list
    elements: str
  cgroupns_mode:
    description:
      - Whether the container has a cgroup name space of its own (V(private)) or that of the host (V(host)).
    type: str
    choices: [private, host]
  pid_mode:
    description:
      - Whose processes the container sees, V(host), V(container:NAME) or empty for its own.
    type: str
  ipc_mode:
    description:
      - Whose shared memory and semaphores the container uses, V(private), V(shareable), V(host), V(none) or
        V(container:NAME).
    type: str
  devices:
    description:
      - Devices of the host that the container sees, each as C(/HOST/PATH[:/PATH[:PERMISSIONS]]), with permissions
        V(rwm).
    type: list
    elements: str
  sysctls:
    description:
      - Kernel settings of the container's name spaces, as a mapping of names to texts, such as
        C(net.core.somaxconn).
    type: dict
  ulimits:
    description:
      - Limits of the container's processes, each as C(NAME:SOFT[:HARD]), such as V(nofile:1024:4096). V(-1) means no
        limit.
      - An engine that has default limits of its own adds these; then compare with V(allow_more_present).
    type: list
    elements: str
  dns:
    description:
      - Addresses of name servers.
    type: list
    elements: str
  dns_search:
    description:
      - Domains in which names without a dot are looked up.
    type: list
    elements: str
  extra_hosts:
    description:
      - Further entries for C(/etc/hosts), as a mapping of host names to addresses.
    type: dict
  init:
    description:
      - Whether the engine's small init process runs as process 1, passes on signals and reaps children.
    type: bool
  user:
    description:
      - The user (and group) that the command runs as, by name or number, as C(USER[:GROUP]).
    type: str
  groups:
    description:
      - Further groups of that user, by name or number.
    type: list
    elements: str
  working_dir:
    description:
      - The directory that the command starts in.
    type: str
  healthcheck:
    description:
      - How the engine finds out whether the container is healthy. What is not given is the image's own.
      - Durations are numbers with the units V(h), V(m), V(s), V(ms), V(us) or V(ns), such as V(1m30s).
    type: dict
    suboptions:
      test:
        description:
          - The check, as text for the container's shell, or as a list that begins with V(CMD), V(CMD-SHELL) or V(NONE).
            C([NONE]) switches the image's check off.
        type: raw
      interval:
        description:
          - Time from one check to the next. The engine's own value is 30s.
        type: str
      timeout:
        description:
          - Time after which a check has failed. The engine's own value is 30s.
        type: str
      start_period:
        description:
          - Time from the start in which failed checks do not count.
        type: str
      start_interval:
        description:
          - Time from one check to the next during O(healthcheck.start_period). Needs Docker 25 or newer.
        type: str
      retries:
        description:
          - Number of checks in a row that have to fail before the container is unhealthy. The engine's own value is 3.
        type: int
  memory:
    description:
      - The most memory that the container may use, such as V(512m) or V(2g), in powers of 1024. V(0) means no limit.
    type: str
  memory_reservation:
    description:
      - The memory that the container is held to when the host runs short, written as O(memory). V(0) means no limit.
    type: str
  memory_swap:
    description:
      - The most memory and swap together, written as O(memory), which is needed with it. V(-1) means no limit, V(0)
        twice O(memory).
    type: str
  cpus:
    description:
      - How many processors the container may keep busy, such as V(1.5). V(0) means no limit.
    type: float
  cpu_shares:
    description:
      - The container's weight when processors are scarce. The engine's own value is 1024, which V(0) stands for.
    type: int
  cpuset_cpus:
    description:
      - The processors that the container may use, such as V(0-2,4). Empty means all.
    type: str
  pids_limit:
    description:
      - The most processes and threads. V(0) and V(-1) mean no limit.
    type: int
  restart_policy:
    description:
      - What the engine does when the container's process ends.
    type: str
    choices: ["no", on-failure, always, unless-stopped]
  restart_retries:
    description:
      - How often a restart is tried with O(restart_policy=on-failure). V(0) means without end.
    type: int
  stop_signal:
    description:
      - The signal that asks the container's process to end.
    type: str
  stop_timeout:
    description:
      - Seconds between the stop signal and C(SIGKILL). The engine's own value is 10.
    type: int
  force_kill:
    description:
      - Whether a container that has to stop is killed at once.
    type: bool
    default: false
  log_driver:
    description:
      - The driver for the container's output, such as V(json-file) or V(journald).
    type: str
  log_options:
    description:
      - Options of the log driver, as a mapping of names to texts. Those that look like a secret are hidden in results.
    type: dict
  keep_volumes:
    description:
      - Whether volumes without a name stay when their container is removed or replaced. Named ones always stay.
    type: bool
    default: true
  recreate:
    description:
      - Whether to replace the container even if nothing differs.
    type: bool
    default: false
  restart:
    description:
      - Whether to restart a container that runs, with O(state=started) or O(state=healthy). One that is created, started
        or replaced anyway is not restarted as well.
    type: bool
    default: false
  comparisons:
    description:
      - How to compare an option, as a mapping of names of options to one of the following.
      - V(strict) is the default and asks for exactly the wanted value.
      - V(allow_more_present) accepts further entries of a list or mapping, V(ignore) accepts anything.
      - Besides options that describe the container, V(image) and V(networks) can be named. V(*) stands for everything
        that is not named.
    type: dict
    default: {}
seealso:
  - module: flagship.coreos.docker_image
  - module: flagship.coreos.docker_network
"""

EXAMPLES = r"""
- name: Run a web server with its pages from the host
  flagship.coreos.docker_container:
    name: web
    image: nginx:1.27
    published_ports:
      - 127.0.0.1:8080:80
    volumes:
      - /srv/www:/usr/share/nginx/html:ro
    restart_policy: unless-stopped

- name: Boot a machine with systemd at a fixed address
  flagship.coreos.docker_container:
    name: core01
    hostname: core01
    image: example/node:1
    pull: never
    networks:
      - name: lab
        ipv4_address: 172.30.0.11
        aliases: [etcd1]
    capabilities: [ALL]
    cap_drop: [SYS_RESOURCE]
    security_opts: [seccomp=unconfined, apparmor=unconfined, systempaths=unconfined]
    cgroupns_mode: private
    tmpfs:
      /run: exec
      /run/lock: ""
    env:
      container: docker
    volumes:
      - core01-docker:/var/lib/docker
    stop_signal: RTMIN+3

- name: Replace the container when its environment changes, whatever further labels it has
  flagship.coreos.docker_container:
    name: worker
    image: example/worker:2
    env:
      MODE: batch
    labels:
      team: web
    comparisons:
      labels: allow_more_present

- name: Run a service that writes nothing but its volume, and wait until it answers
  flagship.coreos.docker_container:
    name: api
    image: example/api:3
    state: healthy
    healthy_wait_timeout: 60
    healthcheck:
      test: [CMD, /bin/api, --check]
      interval: 5s
      retries: 3
    read_only: true
    mounts:
      - target: /var/lib/api
        source: api-data
      - target: /etc/api
        type: bind
        source: /srv/api/etc
        read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    memory: 256m
    cpus: 0.5
    pids_limit: 100
    env_file: /srv/api/environment

- name: Make sure that a container runs, and touch nothing else of it
  flagship.coreos.docker_container:
    name: web
    image: nginx:1.28
    comparisons:
      "*": ignore

- name: Remove the container with its volumes
  flagship.coreos.docker_container:
    name: web
    state: absent
    keep_volumes: false
"""

RETURN = r"""
container:
  description:
    - What the engine reports about the container, with the values of environment variables hidden.
    - In check mode this is the container before the change.
  returned: when the container exists
  type: dict
  sample:
    Id: 17a98b2031cfd4eb775417ebfe79ea70c0c55a8f9ba391739f30591bf4903c89
    Name: /web
    State:
      Running: true
actions:
  description:
    - What was done, in order. In check mode, what would be done.
  returned: success
  type: list
  elements: dict
  sample:
    - action: replace
      because: [env]
      start: true
"""


from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flagship.coreos.plugins.module_utils.docker import (
    argument_spec,
    connect,
    errors_as_sentences,
    inspect_container,
)
from ansible_collections.flagship.coreos.plugins.module_utils.docker_container import Container
from ansible_collections.flagship.coreos.plugins.module_utils.docker_diff import diff, redacted
from ansible_collections.flagship.coreos.plugins.module_utils.docker_options_process import env_file_entries
from ansible_collections.flagship.coreos.plugins.module_utils.docker_params import check_engine, prepared
from ansible_collections.flagship.coreos.plugins.module_utils.docker_plan import Plan, decide

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["absent", "present", "started", "stopped", "healthy"], "default": "started"},
    "healthy_wait_timeout": {"type": "float", "default": 300},
    "image": {"type": "str"},
    "pull": {"type": "str", "choices": ["never", "missing", "always"], "default": "missing"},
    "command": {"type": "raw"},
    "entrypoint": {"type": "list", "elements": "str"},
    "env": {"type": "dict"},
    "env_file": {"type": "path"},
    "labels": {"type": "dict"},
    "published_ports": {"type": "list", "elements": "str"},
    "volumes": {"type": "list", "elements": "str"},
    "mounts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "target": {"type": "str", "required": True},
            "type": {"type": "str", "choices": ["bind", "volume", "tmpfs"], "default": "volume"},
            "source": {"type": "str"},
            "read_only": {"type": "bool"},
            "propagation": {
                "type": "str",
                "choices": ["private", "rprivate", "shared", "rshared", "slave", "rslave"],
            },
            "no_copy": {"type": "bool"},
            "labels": {"type": "dict"},
            "volume_driver": {"type": "str"},
            "volume_options": {"type": "dict"},
            "tmpfs_size": {"type": "str"},
            "tmpfs_mode": {"type": "str"},
        },
    },
    "tmpfs": {"type": "raw"},
    "read_only": {"type": "bool"},
    "shm_size": {"type": "str"},
    "networks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "ipv4_address": {"type": "str"},
            "ipv6_address": {"type": "str"},
            "aliases": {"type": "list", "elements": "str"},
        },
    },
    "network_mode": {"type": "str"},
    "hostname": {"type": "str"},
    "capabilities": {"type": "list", "elements": "str"},
    "cap_drop": {"type": "list", "elements": "str"},
    "privileged": {"type": "bool"},
    "security_opts": {"type": "list", "elements": "str"},
    "cgroupns_mode": {"type": "str", "choices": ["private", "host"]},
    "pid_mode": {"type": "str"},
    "ipc_mode": {"type": "str"},
    "devices": {"type": "list", "elements": "str"},
    "sysctls": {"type": "dict"},
    "ulimits": {"type": "list", "elements": "str"},
    "dns": {"type": "list", "elements": "str"},
    "dns_search": {"type": "list", "elements": "str"},
    "extra_hosts": {"type": "dict"},
    "init": {"type": "bool"},
    "user": {"type": "str"},
    "groups": {"type": "list", "elements": "str"},
    "working_dir": {"type": "str"},
    "healthcheck": {
        "type": "dict",
        "options": {
            "test": {"type": "raw"},
            "interval": {"type": "str"},
            "timeout": {"type": "str"},
            "start_period": {"type": "str"},
            "start_interval": {"type": "str"},
            "retries": {"type": "int"},
        },
    },
    "memory": {"type": "str"},
    "memory_reservation": {"type": "str"},
    "memory_swap": {"type": "str"},
    "cpus": {"type": "float"},
    "cpu_shares": {"type": "int"},
    "cpuset_cpus": {"type": "str"},
    "pids_limit": {"type": "int"},
    "restart_policy": {"type": "str", "choices": ["no", "on-failure", "always", "unless-stopped"]},
    "restart_retries": {"type": "int"},
    "stop_signal": {"type": "str"},
    "stop_timeout": {"type": "int"},
    "force_kill": {"type": "bool", "default": False},
    "log_driver": {"type": "str"},
    "log_options": {"type": "dict"},
    "keep_volumes": {"type": "bool", "default": True},
    "recreate": {"type": "bool", "default": False},
    "restart": {"type": "bool", "default": False},
    "comparisons": {"type": "dict", "default": {}},
}


def variables(path: str) -> dict[str, str]:
    """The variables in an environment file."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(env_file_entries(file.read(), path))
    except UnicodeDecodeError:
        raise ValueError(f"env_file {path} is not text in UTF-8; save it as such") from None


def complete(params: dict[str, Any], client: Any) -> dict[str, Any]:
    """The module's options as prepared, with what they refer to: the file of variables, and the ids of containers."""
    params = dict(params)
    if params["state"] == "absent":
        return dict(prepared(params))
    if params["env_file"]:
        params["env"] = {**variables(params["env_file"]), **(params["env"] or {})}
    params = prepared(params)
    for option in ("network_mode", "pid_mode", "ipc_mode"):
        kind, _colon, other = (params[option] or "").partition(":")
        if kind == "container":
            params[option] = f"container:{client.inspect_container(other)['Id']}"
    check_engine(params, client.api_version)
    return dict(params)


def run(module: AnsibleModule, client: Any) -> dict[str, Any]:
    """Bring the container to what the module's options say and return the module's result."""
    params = complete(module.params, client)
    container = Container(client, params)
    situation, first = container.situation()
    if params["state"] != "absent":
        situation, pulled = container.with_image(situation, module.check_mode)
        first += pulled
    plan = decide(params, situation)
    if not module.check_mode:
        restore = [action for action in first if action.kind == "restore"]
        container.carry_out(Plan(restore + plan.actions, plan.differences), situation)
    for warning in container.warnings:
        module.warn(warning)
    actions = first + plan.actions
    result: dict[str, Any] = {"changed": bool(actions), "actions": [action.shown() for action in actions]}
    if module._diff:
        result["diff"] = diff(situation, plan, params)
    found = situation.container
    if not module.check_mode and (actions or params["state"] == "healthy"):
        found = inspect_container(client, params["name"])
    if found is not None:
        result["container"] = redacted(found)
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    client = connect(module)
    with errors_as_sentences(module, f"the container {module.params['name']}"):
        module.exit_json(**run(module, client))


if __name__ == "__main__":
    main()
