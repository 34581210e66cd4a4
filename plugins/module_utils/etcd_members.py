# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of etcd_member wants, and what the answers of members mean. All pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_model import EtcdError

ALARM = re.compile(r"memberID:\s*(\d+)\s+alarm:\s*(\w+)")


class Member(NamedTuple):
    """A member as the cluster knows it; one that was never started has neither name nor client URLs."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    learner: bool = False


class Answer(NamedTuple):
    """What the server at a URL says of itself, or a sentence that says why it says nothing."""

    url: str
    member_id: int
    cluster_id: int
    failure: str
    version: str = ""
    leader: int = 0
    db_size: int = 0
    db_size_in_use: int = 0
    raft_index: int = 0
    raft_term: int = 0
    errors: tuple[str, ...] = ()


def same_scheme(url: str, other: str) -> bool:
    return urlsplit(url).scheme == urlsplit(other).scheme


def check_task(params: Mapping[str, Any]) -> None:
    """Raises EtcdError for options that cannot be meant together."""
    for url in params["peer_urls"] or ():
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port and not parts.path.strip("/")
        except ValueError:
            usable = False
        if not usable:
            raise EtcdError(f"the peer URL {url!r} is not understood; write it as https://host:2380")
    if params["peer_urls"] is not None and not params["peer_urls"]:
        raise EtcdError("peer_urls is empty; give at least one URL, or leave it out")
    if params["id"] is not None and not re.fullmatch(r"[0-9a-fA-F]{1,16}", params["id"]):
        raise EtcdError(f"the id {params['id']!r} is no hexadecimal number; give it as etcd_member_info returns it")
    if params["name"] == "":
        raise EtcdError("the name is empty; give it, or leave it out and give peer_urls")
    if params["state"] == "absent" and params["learner"] is not None:
        raise EtcdError("learner is for members that shall be there; leave it out when state is absent")


def urls_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The wanted peer URLs, as etcd sorts them."""
    return tuple(sorted({url.rstrip("/") for url in params["peer_urls"] or ()}))


def find(params: Mapping[str, Any], members: Sequence[Member]) -> Member | None:
    """The member that the task means; raises EtcdError if there is more than one."""
    if params["id"] is not None:
        return next((member for member in members if member.id == int(params["id"], 16)), None)
    named = [member for member in members if params["name"] and member.name == params["name"]]
    urls = urls_of(params)
    placed = [member for member in members if set(urls).intersection(member.peer_urls)]
    found = set(named + placed)
    if len(found) > 1:
        others = ", ".join(f"{member.id:x} ({member.name or 'not started'})" for member in sorted(found))
        raise EtcdError(f"name and peer_urls mean more than one member: {others}; give the id of one")
    return found.pop() if found else None


def decide(params: Mapping[str, Any], found: Member | None) -> list[str]:
    """The steps to do, of add, update, promote and remove; raises EtcdError for what cannot be done."""
    if params["state"] == "absent":
        return ["remove"] if found else []
    urls = urls_of(params)
    if found is None:
        if params["id"] is not None:
            raise EtcdError("there is no member with this id; correct it, or give name and peer_urls to add one")
        if not urls:
            raise EtcdError(
                "there is no such member (one without a start has no name yet); give peer_urls to add it, or its id"
            )
        return ["add"]
    if params["learner"] and not found.learner:
        raise EtcdError("it has a vote, which cannot be taken back; remove it and add it as a learner")
    steps = []
    if urls and urls != tuple(sorted(found.peer_urls)):
        steps.append("update")
    if params["learner"] is False and found.learner:
        steps.append("promote")
    return steps


def predicted(params: Mapping[str, Any], found: Member | None) -> dict[str, Any] | None:
    """The member as it will be; an id that the cluster has not given yet is none."""
    if params["state"] == "absent":
        return None
    urls = urls_of(params)
    if found is None:
        return {"id": None, "name": "", "peer_urls": list(urls), "client_urls": [], "learner": bool(params["learner"])}
    learner = found.learner if params["learner"] is None else params["learner"]
    return described(found._replace(peer_urls=urls or found.peer_urls, learner=learner))


def described(member: Member | None) -> dict[str, Any] | None:
    """A member as the modules return it."""
    if member is None:
        return None
    return {
        "id": f"{member.id:x}",
        "name": member.name,
        "peer_urls": list(member.peer_urls),
        "client_urls": list(member.client_urls),
        "learner": member.learner,
    }


def initial_cluster(members: Sequence[Member], found: Member | None, name: str | None) -> str:
    """What etcd's --initial-cluster of the member has to say; name is that of a member that has not been started."""
    pairs = []
    for member in members:
        known = member.name or (name if member == found else "")
        pairs += [f"{known}={url}" for url in member.peer_urls if known]
    return ",".join(sorted(pairs))


def health(members: Sequence[Member], answers: Sequence[Answer]) -> dict[str, Any]:
    """The members with what they say of themselves, and the state of the whole."""
    by_member = {answer.member_id: answer for answer in answers if not answer.failure}
    alarms = sorted({alarm for answer in by_member.values() for text in answer.errors for alarm in ALARM.findall(text)})
    found = [_member_health(member, by_member.get(member.id), answers, alarms) for member in members]
    leader = next((f"{answer.leader:x}" for answer in by_member.values() if answer.leader), None)
    return {
        "members": found,
        "healthy": bool(found) and not alarms and all(member["healthy"] for member in found),
        "leader": leader,
        "cluster_id": next((f"{answer.cluster_id:x}" for answer in by_member.values()), None),
        "alarms": [{"member_id": f"{int(owner):x}", "alarm": alarm} for owner, alarm in alarms],
    }


def _member_health(
    member: Member, answer: Answer | None, answers: Sequence[Answer], alarms: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    own = [alarm for owner, alarm in alarms if int(owner) == member.id]
    result: dict[str, Any] = {**(described(member) or {}), "alarms": own}
    if answer is None:
        failures = [item.failure for item in answers if item.failure and item.url in member.client_urls]
        silent = "none of its client URLs can be asked" if member.client_urls else "it has not been started"
        error = "; ".join(failures) or silent
        unknown = dict.fromkeys(("version", "db_size", "db_size_in_use", "raft_index", "raft_term"))
        return {**result, **unknown, "leader": False, "healthy": False, "error": error}
    other = [text for text in answer.errors if not ALARM.search(text)]
    error = "; ".join(other) or ("" if answer.leader else "it sees no leader")
    return {
        **result,
        "leader": answer.leader == member.id,
        "healthy": not (error or own),
        "version": answer.version,
        "db_size": answer.db_size,
        "db_size_in_use": answer.db_size_in_use,
        "raft_index": answer.raft_index,
        "raft_term": answer.raft_term,
        "error": error,
    }
