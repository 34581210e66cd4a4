# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, roles and permissions of an etcd cluster: what a task of etcd_auth wants, and etcd's auth API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.flagship.coreos.plugins.module_utils.etcd import encoded, prefix_end
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_transport import ETCD3_IMPORT_ERROR, Transport

if ETCD3_IMPORT_ERROR is None:
    from etcd3 import etcdrpc
    from etcd3.etcdrpc import auth_pb2

ACCESS = ("read", "write", "readwrite")
ROOT = "root"


class Range(NamedTuple):
    """Keys from `key` to before `end`, or one key where `end` is empty, as etcd keeps them."""

    key: bytes
    end: bytes


# As `etcdctl role grant-permission --prefix` has it with an empty key.
ALL = Range(b"\0", b"\0")
Permissions = Mapping[Range, str]


class Store(NamedTuple):
    """What a cluster has: permissions by role, roles by user, and whether it asks who one is."""

    roles: Mapping[str, Permissions]
    users: Mapping[str, frozenset[str]]
    enabled: bool


class Step(NamedTuple):
    """One change; C{what} is its name in the result."""

    what: str
    role: str = ""
    user: str = ""
    range: Range | None = None
    access: str = ""

    def __str__(self) -> str:
        about = [f"{kind} {name}" for kind, name in (("role", self.role), ("user", self.user)) if name]
        if self.range is not None:
            about.append(" ".join(filter(None, (self.access, written(self.range)))))
        return ": ".join((self.what, ", ".join(about))) if about else self.what


def written(keys: Range) -> str:
    """The keys as a person writes them."""
    text = "" if keys == ALL else keys.key.decode("utf-8", "backslashreplace")
    if not keys.end:
        return text
    if keys.end == prefix_end(text):
        return f"{text}*"
    return f"{text}..{keys.end.decode('utf-8', 'backslashreplace')}"


def wanted_roles(params: Mapping[str, Any]) -> dict[str, dict[Range, str]]:
    """The permissions by role; raises EtcdError for what cannot be meant."""
    roles: dict[str, dict[Range, str]] = {}
    for role in params["roles"] or ():
        name = role["name"]
        if not name or name in roles:
            raise EtcdError(f"the role {name!r} is given twice" if name else "a role has an empty name; give it one")
        if name == ROOT:
            raise EtcdError("the role root has every right by itself; leave it out of roles")
        permissions: dict[Range, str] = {}
        for permission in role["permissions"]:
            key = permission["key"]
            if not key and not permission["prefix"]:
                raise EtcdError(f"a permission of the role {name} has no key; give it, or prefix=true for all keys")
            keys = Range(encoded(key), prefix_end(key) if permission["prefix"] else b"") if key else ALL
            if keys in permissions:
                raise EtcdError(f"the role {name} has {written(keys)} twice; give it once, with the access of both")
            permissions[keys] = permission["access"]
        roles[name] = permissions
    return roles


def wanted_users(params: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The roles by user; raises EtcdError for what cannot be meant."""
    users: dict[str, frozenset[str]] = {}
    for user in params["users"] or ():
        name = user["name"]
        if not name or name in users:
            raise EtcdError(f"the user {name!r} is given twice" if name else "a user has an empty name; give it one")
        users[name] = frozenset(user["roles"])
    return users


def steps_to(params: Mapping[str, Any], now: Store) -> list[Step]:
    """What is left to do; roles and users that the task does not name stay as they are. Raises EtcdError."""
    steps: list[Step] = []
    roles, users = wanted_roles(params), wanted_users(params)
    if params["enabled"] is False and now.enabled:
        steps.append(Step("disable"))
    for name, permissions in roles.items():
        had = now.roles.get(name)
        if had is None:
            steps.append(Step("add role", role=name))
        for keys, access in permissions.items():
            if (had or {}).get(keys) != access:
                steps.append(Step("grant permission", role=name, range=keys, access=access))
        for keys in set(had or {}) - permissions.keys():
            steps.append(Step("revoke permission", role=name, range=keys))
    known = {ROOT, *roles, *now.roles}
    for name, of_user in users.items():
        for role in sorted(of_user - known):
            raise EtcdError(f"the user {name} shall have the role {role}, which is neither there nor in roles; add it")
        has = now.users.get(name)
        if has is None:
            steps.append(Step("add user", user=name))
        steps += [Step("grant role", user=name, role=role) for role in sorted(of_user - (has or frozenset()))]
        steps += [Step("revoke role", user=name, role=role) for role in sorted((has or frozenset()) - of_user)]
    if params["enabled"]:
        if ROOT not in {**now.users, **users}.get(ROOT, ()):
            raise EtcdError("authentication needs a user root with the role root; add it to users")
        if not now.enabled:
            steps.append(Step("enable"))
    return steps


def described(params: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The part of a store that the task is about, for people."""
    roles = {
        name: sorted(f"{access} {written(keys)}" for keys, access in store.roles[name].items())
        for name in wanted_roles(params)
        if name in store.roles
    }
    users = {name: sorted(store.users[name]) for name in wanted_users(params) if name in store.users}
    return {"enabled": store.enabled, "roles": roles, "users": users}


def predicted(params: Mapping[str, Any], now: Store) -> Store:
    """The store after all steps."""
    enabled = now.enabled if params["enabled"] is None else bool(params["enabled"])
    return Store({**now.roles, **wanted_roles(params)}, {**now.users, **wanted_users(params)}, enabled)


class Auth:
    """The users and roles of a cluster that is reached by the options of etcd_argument_spec; every call raises EtcdError."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.transport = Transport(params)

    def __enter__(self) -> Auth:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.transport.close()

    def store(self) -> Store:
        """What there is now, of the roles and users that the task names."""
        roles = set(self._call("RoleList", etcdrpc.AuthRoleListRequest()).roles)
        users = set(self._call("UserList", etcdrpc.AuthUserListRequest()).users)
        return Store(
            {name: self._permissions(name) if name in wanted_roles(self._params) else {} for name in roles},
            {name: self._roles_of(name) for name in users & {ROOT, *wanted_users(self._params)}},
            self._enabled(),
        )

    def _enabled(self) -> bool:
        # AuthStatus came with etcd 3.5. Nobody is called so, and the answer says which of the two is the reason.
        try:
            self._call("Authenticate", etcdrpc.AuthenticateRequest(name=secrets.token_hex(8), password="-"))  # noqa: S106
        except EtcdError as error:
            return "authentication is not enabled" not in str(error)
        return True

    def _permissions(self, role: str) -> dict[Range, str]:
        found = self._call("RoleGet", etcdrpc.AuthRoleGetRequest(role=role)).perm
        return {Range(one.key, one.range_end): ACCESS[one.permType] for one in found}

    def _roles_of(self, user: str) -> frozenset[str]:
        return frozenset(self._call("UserGet", etcdrpc.AuthUserGetRequest(name=user)).roles)

    def do(self, step: Step) -> None:
        """Do the step, which another task may have done before."""
        method, request = _request(step)
        self._call(method, request)

    def _call(self, method: str, request: Any) -> Any:
        return self.transport.call("Auth", method, request)


def _request(step: Step) -> tuple[str, Any]:
    """The method of etcd's auth API that does the step, and its request."""
    keys = step.range or Range(b"", b"")
    permission = {"permType": ACCESS.index(step.access or ACCESS[0]), "key": keys.key, "range_end": keys.end}
    # etcd3 has these as text.
    first, end = (part.decode("utf-8", "surrogateescape") for part in keys)
    method, fields = {
        "add role": ("RoleAdd", {"name": step.role}),
        "grant permission": ("RoleGrantPermission", {"name": step.role, "perm": auth_pb2.Permission(**permission)}),
        "revoke permission": ("RoleRevokePermission", {"role": step.role, "key": first, "range_end": end}),
        # A password that nobody knows: who is this user shows it by a certificate.
        "add user": ("UserAdd", {"name": step.user, "password": secrets.token_hex(32)}),
        "grant role": ("UserGrantRole", {"user": step.user, "role": step.role}),
        "revoke role": ("UserRevokeRole", {"name": step.user, "role": step.role}),
        "enable": ("AuthEnable", {}),
        "disable": ("AuthDisable", {}),
    }[step.what]
    return method, getattr(etcdrpc, f"Auth{method.removeprefix('Auth')}Request")(**fields)


def bring(auth: Auth, params: Mapping[str, Any]) -> None:
    """Do what is left to do until nothing is; raises EtcdError."""
    before: Sequence[Step] = ()
    while steps := steps_to(params, auth.store()):
        if list(before) == steps:
            raise EtcdError(f"etcd took the change and does not show it ({steps[0]}); look at its log")
        before = steps
        for step in steps:
            auth.do(step)
