"""The request nodes `$cbs` (tokens) and `$management` (what hubs and partitions there are).

A client opens a pair of links to a node and sends requests over one; each answer goes out over
the other, bearing the request's message id, with its AMQP type, as correlation id.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any

from local.eventhubs.amqp import Array, Described, Int, Section, Symbol, Timestamp, encode, values
from local.eventhubs.frames import ACCEPTED, Frame
from local.eventhubs.namespace import is_valid_token
from local.eventhubs.session import Link

if TYPE_CHECKING:
    from local.eventhubs.hub import Hub, Partition


class ReplyLink(Link):
    """The client's receiver at a node: answers go out over it."""

    def answers(self, address: str, reply_to: str | None) -> bool:
        """Say whether a request to this node, with this reply-to, is answered here."""
        names = (None, self.attach.name, self.attach.target[0])
        return address == self.attach.address and reply_to in names


class RequestLink(Link):
    """The client's sender at a node: requests come in over it."""

    def opened(self) -> None:
        """Let the client send."""
        self.session.flow(self)

    def received(self, transfer: Frame, payload: bytes) -> None:
        """Answer a request."""
        self.session.settle(transfer, ACCEPTED)
        found = dict(values(payload))
        standard: list[Any] = [*found.get(Section.PROPERTIES, []), *[None] * 5]
        message_id, reply_to = standard[0], standard[4]
        asked: dict[str, Any] = found.get(Section.APPLICATION_PROPERTIES) or {}
        if self.attach.address == "$cbs":
            status, description, body = self._put_token(asked, found.get(Section.VALUE))
        else:
            status, description, body = self._describe(asked)
        about = {"status-code": Int(status), "status-description": description}
        if status == 404:
            about["error-condition"] = Symbol("amqp:not-found")
        message = encode(
            Described(Section.PROPERTIES, [None] * 5 + [message_id]),
            Described(Section.APPLICATION_PROPERTIES, about),
            Described(Section.VALUE, body),
        )
        for link in self.session.links.values():
            if isinstance(link, ReplyLink) and link.answers(self.attach.address, reply_to):
                self.session.transfer(link, message, settled=True)
                return

    def _put_token(self, asked: dict[str, Any], token: Any) -> tuple[int, str, Any]:
        self.namespace.stats.put_tokens += 1
        audience = urllib.parse.urlsplit(str(asked.get("name", "")))
        hub = audience.path.strip("/").partition("/")[0]
        fault = self.namespace.faults.take("put_token", hub=hub)
        if fault is not None:
            return fault.status or 401, fault.description or "A fault says so.", ""
        text = token.decode() if isinstance(token, bytes) else str(token)
        if not is_valid_token(str(asked.get("type", "")), text):
            return 401, "InvalidSignature: The token has an invalid signature.", ""
        self.session.wire.authorized = True
        return 202, "Accepted", ""

    def _describe(self, asked: dict[str, Any]) -> tuple[int, str, Any]:
        name = str(asked.get("name", ""))
        hub = self.namespace.hubs.get(name)
        if hub is None:
            return 404, f"The messaging entity '{name}' could not be found.", None
        if asked.get("type") == "com.microsoft:eventhub":
            return 200, "OK", _hub_properties(hub)
        try:
            partition = hub.partition(str(asked.get("partition", "")))
        except KeyError as error:
            return 404, f"There is no partition {error} in hub '{name}'.", None
        return 200, "OK", _partition_properties(hub, partition)


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
