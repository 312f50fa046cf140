"""The request nodes `$cbs` (tokens) and `$management` (what hubs and partitions there are).

A client opens a pair of links to a node and sends requests over one; each answer goes out over
the other, bearing the request's message id, with its AMQP type, as correlation id.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

from local.eventhubs.amqp import (
    Array,
    Described,
    Int,
    Section,
    Symbol,
    Timestamp,
    decode,
    encode_into,
    sections,
)
from local.eventhubs.frames import ACCEPTED, Attach
from local.eventhubs.hub import Hub, Partition
from local.eventhubs.session import Delivery, Link, Session


@dataclass(frozen=True, slots=True)
class _Request:
    message_id: Any
    reply_to: str | None
    properties: dict[str, Any]
    body: Any


class ReplyLink(Link):
    """The client's receiver at a node: answers go out over it."""

    def __init__(self, session: Session, attach: Attach, address: str) -> None:
        super().__init__(session, attach, address)
        self._names = {attach.name, attach.target_address}

    def answers(self, address: str, reply_to: str | None) -> bool:
        """Say whether a request to this node, with this reply-to, is answered here."""
        return address == self.address and (reply_to is None or reply_to in self._names)


class RequestLink(Link):
    """The client's sender at a node: requests come in over it."""

    def opened(self) -> None:
        """Let the client send."""
        self.session.flow(self)

    def received(self, delivery: Delivery) -> None:
        """Answer a request."""
        self.session.settle(delivery, ACCEPTED)
        request = _read_request(delivery.payload)
        answer = self._put_token if self.address == "$cbs" else self._describe
        status, description, body = answer(request)
        message = bytearray()
        for section in (
            Described(Section.PROPERTIES, [None] * 5 + [request.message_id]),
            Described(
                Section.APPLICATION_PROPERTIES,
                {"status-code": Int(status), "status-description": description}
                | ({"error-condition": Symbol("amqp:not-found")} if status == 404 else {}),
            ),
            Described(Section.VALUE, body),
        ):
            encode_into(message, section)
        for link in self.session.links.values():
            if isinstance(link, ReplyLink) and link.answers(self.address, request.reply_to):
                self.session.transfer(link, message, settled=True)
                return

    def _put_token(self, request: _Request) -> tuple[int, str, Any]:
        wire = self.session.wire
        namespace = wire.namespace
        namespace.stats.put_tokens += 1
        audience = urllib.parse.urlsplit(str(request.properties.get("name", "")))
        fault = namespace.faults.take("put_token", hub=audience.path.strip("/").partition("/")[0])
        if fault is not None:
            namespace.stats.faults += 1
            return fault.refusal_status, fault.description or "A fault says so.", ""
        kind = str(request.properties.get("type", ""))
        token = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        if not namespace.admits_token(kind, token):
            return 401, "InvalidSignature: The token has an invalid signature.", ""
        wire.authorized = True
        return 202, "Accepted", ""

    def _describe(self, request: _Request) -> tuple[int, str, Any]:
        name = str(request.properties.get("name", ""))
        hub = self.session.wire.namespace.hubs.get(name)
        if hub is None:
            return 404, f"The messaging entity '{name}' could not be found.", None
        if request.properties.get("type") == "com.microsoft:eventhub":
            return 200, "OK", _hub_properties(hub)
        try:
            partition = hub.partition(str(request.properties.get("partition", "")))
        except KeyError as error:
            return 404, f"There is no partition {error} in hub '{name}'.", None
        return 200, "OK", _partition_properties(hub, partition)


def _read_request(payload: bytes) -> _Request:
    standard: list[Any] = []
    properties: dict[str, Any] = {}
    body: Any = None
    for span in sections(payload):
        if span.code == Section.PROPERTIES:
            standard = decode(payload, span.value)[0]
        elif span.code == Section.APPLICATION_PROPERTIES:
            properties = decode(payload, span.value)[0] or {}
        elif span.code == Section.VALUE:
            body = decode(payload, span.value)[0]
    standard = [*standard, *[None] * 5]
    return _Request(standard[0], standard[4], properties, body)


def _hub_properties(hub: Hub) -> dict[str, Any]:
    return {
        "type": "com.microsoft:eventhub",
        "name": hub.name,
        "created_at": Timestamp(hub.created_ms),
        "partition_count": Int(len(hub.partitions)),
        "partition_ids": Array(partition.id for partition in hub.partitions),
    }


def _partition_properties(hub: Hub, partition: Partition) -> dict[str, Any]:
    stored = partition.next_sequence_number
    return {
        "type": "com.microsoft:partition",
        "name": hub.name,
        "partition": partition.id,
        "begin_sequence_number": 0,
        "last_enqueued_sequence_number": stored - 1,
        "last_enqueued_offset": str(partition.last_offset),
        "last_enqueued_time_utc": Timestamp(partition.last_enqueued_ms),
        "is_partition_empty": stored == 0,
    }
