"""A session of a connection, and the links in it: the sending side of the conversation.

A link has one name and handle in both directions; the handle the client chose is used for both.
The kinds of link are in `links` and `nodes`.
"""

from __future__ import annotations

import struct
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

from local.eventhubs.amqp import AmqpError, Buffer, Described, UInt
from local.eventhubs.frames import Frame, Performative, error

if TYPE_CHECKING:
    from local.eventhubs.connection import Connection

INCOMING_WINDOW: Final = 5_000
LINK_CREDIT: Final = 1_000
_TRANSFER_OVERHEAD: Final = 128


class Attach:
    """A client's wish to open a link, to `hub[/ConsumerGroups/group][/Partitions/id]` or a node."""

    def __init__(self, frame: Frame) -> None:
        self.name: str = frame.field(0, "")
        self.handle: int = frame.field(1, 0)
        self.client_receives: bool = frame.field(2, False)
        self.settle_modes: tuple[int, int] = frame.field(3, 2), frame.field(4, 0)
        self.source, self.target = _terminus(frame.field(5)), _terminus(frame.field(6))
        self.epoch: int | None = frame.field(13, {}).get("com.microsoft:epoch")
        # An address may be a URL.
        address = (self.source if self.client_receives else self.target)[0] or ""
        self.address = urllib.parse.urlsplit(str(address)).path.strip("/")
        self.hub, *rest = self.address.split("/")
        names = dict(zip(rest[::2], rest[1::2], strict=False))
        self.group = names.get("ConsumerGroups")
        self.partition = names.get("Partitions")

    @property
    def selector(self) -> str | None:
        """The text of the first filter on the source."""
        filters = self.source[7] if len(self.source) > 7 else None
        for value in (filters or {}).values():
            text = value.value if isinstance(value, Described) else value
            return text.decode() if isinstance(text, bytes) else str(text)
        return None


class Link:
    """One link of a client. Of the events below, a kind of link takes those it needs."""

    def __init__(self, session: Session, attach: Attach) -> None:
        self.session = session
        self.namespace = session.wire.namespace
        self.attach = attach
        self.delivery_count = 0
        self._parts: list[Frame] = []
        self._frames = self._messages = 0

    def opened(self) -> None:
        """Act on the link having been attached by both sides."""

    def received(self, transfer: Frame, payload: bytes) -> None:
        """Take a message from the client, with the frame that it began with."""
        raise AmqpError(f"a message on link '{self.attach.name}', which takes none")

    def credited(self, credit: int) -> None:
        """Take the client's leave to send it so many messages."""

    def begun(self) -> None:
        """Look at the first frame of a message of several."""

    def closed(self) -> None:
        """Act on the link having ended for whatever reason."""

    def transferred(self, frame: Frame) -> None:
        """Take in a frame of a message, and the message with its last."""
        self._parts.append(frame)
        self._frames += 1
        if frame.field(5, False):
            if len(self._parts) == 1:
                self.begun()
            return
        parts, self._parts = self._parts, []
        self._messages += 1
        self.delivery_count += 1
        self.received(parts[0], b"".join(part.payload for part in parts))
        # Before the client's credit or window runs low.
        low = self._messages >= LINK_CREDIT // 2 or self._frames >= INCOMING_WINDOW // 4
        if low and self.session.links.get(self.attach.handle) is self:
            self._frames = self._messages = 0
            self.session.flow(self)


class Session:
    """One session: its links and its transfer numbers."""

    def __init__(self, wire: Connection, channel: int, next_incoming_id: int) -> None:
        self.wire = wire
        self.channel = channel
        self.links: dict[int, Link] = {}
        self.next_incoming_id = next_incoming_id
        self.next_outgoing_id = 1
        self.ended = False

    def send(self, performative: Performative, fields: list[Any], payload: Buffer = b"") -> None:
        """Send a frame on this session's channel."""
        self.wire.send(self.channel, performative, fields, payload)

    def flow(self, link: Link) -> None:
        """Renew the session's window, and a link's credit."""
        incoming, window = self.next_incoming_id & 0xFFFFFFFF, INCOMING_WINDOW
        session = incoming, window, self.next_outgoing_id, window
        credit = link.attach.handle, link.delivery_count, LINK_CREDIT, 0
        self.send(Performative.FLOW, [*map(UInt, (*session, *credit)), False, False])

    def transfer(self, link: Link, message: Buffer, *, settled: bool) -> None:
        """Send a message to the client, in as many frames as it takes."""
        number = self.next_outgoing_id
        self.next_outgoing_id += 1
        link.delivery_count += 1
        room = self.wire.peer_frame_bytes - _TRANSFER_OVERHEAD
        view = memoryview(message)
        about = [UInt(link.attach.handle), UInt(number), struct.pack(">I", number), UInt(0)]
        for start in range(0, len(message), room):
            more = start + room < len(message)
            fields = [*about, settled, more]
            self.send(Performative.TRANSFER, fields, view[start : start + room])

    def settle(self, transfer: Frame, outcome: Described) -> None:
        """Answer a message, unless the client sent it settled."""
        if not transfer.field(4, False):
            number = UInt(transfer.field(1, 0))
            self.send(Performative.DISPOSITION, [True, number, number, True, outcome])

    def detach(self, link: Link, condition: str | None = None, description: str = "") -> None:
        """End a link, with an error where a condition is given."""
        if self.links.pop(link.attach.handle, None) is not None:
            link.closed()
            reason = error(condition, description) if condition else None
            self.send(Performative.DETACH, [UInt(link.attach.handle), True, reason])

    def end(self) -> None:
        """End every link without a frame: the session or connection has gone."""
        self.ended = True
        links, self.links = self.links, {}
        for link in links.values():
            link.closed()


def _terminus(described: Any) -> list[Any]:
    """Return the fields of a source or target, its address at least."""
    if isinstance(described, Described) and described.value:
        return list(described.value)
    return [None]
