"""A session of a connection, and the links in it: the sending side of the conversation.

A link has one name and handle in both directions; the handle the client chose is used for both.
The kinds of link are in `publishing`, `reading` and `nodes`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, Protocol

from local.eventhubs.amqp import AmqpError, Described, UInt
from local.eventhubs.frames import Attach, Performative, error
from local.eventhubs.namespace import Namespace

INCOMING_WINDOW: Final = 5_000
LINK_CREDIT: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message received whole."""

    number: int
    message_format: int
    settled: bool
    payload: bytes


class Wire(Protocol):
    """The connection, as its sessions and links see it."""

    namespace: Namespace
    authorized: bool
    peer_frame_bytes: int

    def send(
        self,
        channel: int,
        performative: Performative,
        fields: list[Any],
        payload: bytes | bytearray | memoryview = b"",
    ) -> None:
        """Send a frame, unless the connection has gone."""

    def drop(self) -> None:
        """Cut the connection without a word."""

    def close_with(self, condition: str, description: str) -> None:
        """Close the connection with an error."""

    def later(self, delay_s: float, action: Any, *args: Any) -> None:
        """Call `action(*args)` after a delay, on the server's thread."""


class Link:
    """One link of a client. Of the events below, a kind of link takes those it needs."""

    def __init__(self, session: Session, attach: Attach, address: str) -> None:
        self.session = session
        self.name = attach.name
        self.handle = attach.handle
        self.address = address
        self.delivery_count = 0

    def opened(self) -> None:
        """Act on the link having been attached by both sides."""
        return

    def received(self, delivery: Delivery) -> None:
        """Take a message from the client."""
        raise AmqpError(f"a message on link '{self.name}', which takes none")

    def credited(self, credit: int) -> None:
        """Take the client's leave to send it so many messages."""
        return

    def first_frame(self) -> bool:
        """Look at the first frame of a message of several; False when the connection is gone."""
        return True

    def closed(self) -> None:
        """Act on the link having ended for whatever reason."""
        return


class Session:
    """One session: its links and its transfer numbers."""

    def __init__(self, wire: Wire, channel: int, next_incoming_id: int) -> None:
        self.wire = wire
        self.channel = channel
        self.links: dict[int, Link] = {}
        self.next_incoming_id = next_incoming_id
        self.next_outgoing_id = 1
        self.ended = False

    def send(self, performative: Performative, fields: list[Any]) -> None:
        """Send a frame on this session's channel."""
        self.wire.send(self.channel, performative, fields)

    def flow(self, link: Link) -> None:
        """Renew the session's window, and a link's credit."""
        self.send(
            Performative.FLOW,
            [
                UInt(self.next_incoming_id & 0xFFFFFFFF),
                UInt(INCOMING_WINDOW),
                UInt(self.next_outgoing_id),
                UInt(INCOMING_WINDOW),
                UInt(link.handle),
                UInt(link.delivery_count),
                UInt(LINK_CREDIT),
                UInt(0),
                False,
                False,
            ],
        )

    def transfer(self, link: Link, message: bytearray, *, settled: bool) -> None:
        """Send a message to the client, in as many frames as it takes."""
        number = self.next_outgoing_id
        self.next_outgoing_id += 1
        link.delivery_count += 1
        room = self.wire.peer_frame_bytes - _TRANSFER_OVERHEAD
        view = memoryview(message)
        for start in range(0, len(message), room):
            more = start + room < len(message)
            fields = [UInt(link.handle), UInt(number), _U32.pack(number), UInt(0), settled, more]
            self.wire.send(self.channel, Performative.TRANSFER, fields, view[start : start + room])

    def settle(self, delivery: Delivery, outcome: Described) -> None:
        """Answer a delivery, unless the client sent it settled."""
        if delivery.settled:
            return
        number = UInt(delivery.number)
        self.send(Performative.DISPOSITION, [True, number, number, True, outcome])

    def detach(self, link: Link, condition: str | None = None, description: str = "") -> None:
        """End a link, with an error where a condition is given."""
        if self.links.pop(link.handle, None) is None:
            return
        link.closed()
        reason = error(condition, description) if condition else None
        self.send(Performative.DETACH, [UInt(link.handle), True, reason])

    def end(self) -> None:
        """End every link without a frame: the session or connection has gone."""
        self.ended = True
        links, self.links = self.links, {}
        for link in links.values():
            link.closed()


_TRANSFER_OVERHEAD: Final = 128
_U32: Final = struct.Struct(">I")
