# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an etcd cluster: its cluster and maintenance API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.flagship.coreos.plugins.module_utils.etcd_members import Answer, Member, same_scheme
from ansible_collections.flagship.coreos.plugins.module_utils.etcd_transport import ETCD3_IMPORT_ERROR, Transport

if ETCD3_IMPORT_ERROR is None:
    from etcd3 import etcdrpc
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# What etcd3 0.12.0 does not know, for it was made from etcd 3.3: learners, and what a member says of its database.
# Numbers and types as in https://github.com/etcd-io/etcd/blob/main/api/etcdserverpb/rpc.proto
MESSAGES: Mapping[str, Sequence[tuple[int, str, str]]] = {
    "Header": [(1, "uint64", "cluster_id"), (2, "uint64", "member_id")],
    "Member": [
        (1, "uint64", "id"),
        (2, "string", "name"),
        (3, "strings", "peer_urls"),
        (4, "strings", "client_urls"),
        (5, "bool", "learner"),
    ],
    "Members": [(1, "Header", "header"), (2, "Members", "members")],
    "MemberAdd": [(1, "strings", "peer_urls"), (2, "bool", "learner")],
    "MemberPromote": [(1, "uint64", "id")],
    "Done": [],
    "Status": [
        (1, "Header", "header"),
        (2, "string", "version"),
        (3, "int64", "db_size"),
        (4, "uint64", "leader"),
        (5, "uint64", "raft_index"),
        (6, "uint64", "raft_term"),
        (8, "strings", "errors"),
        (9, "int64", "db_size_in_use"),
    ],
}


def make_messages() -> dict[str, Any]:
    """The classes of MESSAGES, whatever the version of protobuf."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="flagship_etcd.proto", package="flagship_etcd", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, kind, field_name in fields:
            added = message.field.add(name=field_name, number=number, label=field.LABEL_OPTIONAL)
            if kind in ("strings", "Members"):
                added.label = field.LABEL_REPEATED
            if kind in ("Header", "Members"):
                added.type = field.TYPE_MESSAGE
                added.type_name = f".flagship_etcd.{kind.rstrip('s')}"
            else:
                added.type = getattr(field, f"TYPE_{kind.rstrip('s').upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        get_class = factory.GetMessageClass
    else:  # protobuf before 4.22
        get_class = factory.MessageFactory(pool).GetPrototype
    return {name: get_class(pool.FindMessageTypeByName(f"flagship_etcd.{name}")) for name in MESSAGES}


class Cluster:
    """A cluster's members, reached by the options of etcd_argument_spec; every call raises EtcdError."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.transport = Transport(params)
        self._messages = make_messages()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.transport.close()

    def members(self) -> list[Member]:
        """The members, sorted by name."""
        answer = self.transport.call("Cluster", "MemberList", etcdrpc.MemberListRequest(), self._messages["Members"])
        members = (
            Member(item.id, item.name, tuple(item.peer_urls), tuple(item.client_urls), item.learner)
            for item in answer.members
        )
        return sorted(members, key=lambda member: (member.name, member.id))

    def add(self, peer_urls: Iterable[str], learner: bool) -> None:
        self._change("MemberAdd", self._messages["MemberAdd"](peer_urls=list(peer_urls), learner=learner))

    def update(self, member: Member, peer_urls: Iterable[str]) -> None:
        self._change("MemberUpdate", etcdrpc.MemberUpdateRequest(ID=member.id, peerURLs=list(peer_urls)))

    def promote(self, member: Member) -> None:
        self._change("MemberPromote", self._messages["MemberPromote"](id=member.id))

    def remove(self, member: Member) -> None:
        self._change("MemberRemove", etcdrpc.MemberRemoveRequest(ID=member.id))

    def _change(self, method: str, request: Any) -> None:
        self.transport.call("Cluster", method, request, self._messages["Done"])

    def statuses(self, members: Sequence[Member]) -> list[Answer]:
        """What the endpoints and the members at their own client URLs say of themselves, all asked at once."""
        urls = [url.rstrip("/") for url in self._params["endpoints"]]
        urls += [url for member in members for url in member.client_urls if same_scheme(url, urls[0])]
        urls = list(dict.fromkeys(urls))
        asking = Transport({**self._params, "endpoints": urls})
        try:
            found = asking.ask_each("Maintenance", "Status", etcdrpc.StatusRequest(), self._messages["Status"])
        finally:
            asking.close()
        return [
            Answer(url, 0, 0, item)
            if isinstance(item, str)
            else Answer(
                url,
                item.header.member_id,
                item.header.cluster_id,
                "",
                item.version,
                item.leader,
                item.db_size,
                item.db_size_in_use,
                item.raft_index,
                item.raft_term,
                tuple(item.errors),
            )
            for url, item in zip(urls, found)
        ]

    def check(self) -> str:
        """The version of the first member that answers."""
        answer = self.transport.call("Maintenance", "Status", etcdrpc.StatusRequest(), self._messages["Status"])
        return str(answer.version)

    def snapshot(self) -> Iterator[bytes]:
        """The pieces of the database of the first endpoint that sends it."""
        messages = self.transport.stream(
            "Maintenance", "Snapshot", etcdrpc.SnapshotRequest(), silence=self.transport.timeout
        )
        for message in messages:
            yield message.blob
