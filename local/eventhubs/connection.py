"""One client's connection: protocol headers, SASL, and the frames it sends.

Bytes that are not AMQP end the connection with `amqp:decode-error`. Anyone passes SASL, as at
the service: what counts is the token put to `$cbs`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

from local.eventhubs.amqp import AmqpError, Array, Described, Symbol, UByte, UInt, ULong, UShort
from local.eventhubs.attaching import Entity, Refused, link_for
from local.eventhubs.faults import Fault
from local.eventhubs.frames import (
    KEEP_ALIVE,
    MAX_FRAME_BYTES,
    Attach,
    Frame,
    FrameReader,
    Header,
    Performative,
    Protocol,
    build_frame,
    build_header,
    error,
)
from local.eventhubs.namespace import Namespace
from local.eventhubs.session import INCOMING_WINDOW, LINK_CREDIT, Delivery, Link, Session

_KEEP_ALIVE_S: Final = 30.0
_IDLE_TIMEOUT_MS: Final = 240_000
_LARGEST_PEER_FRAME: Final = 1 << 20
_SMALLEST_PEER_FRAME: Final = 512
_CHANNEL_MAX: Final = 4_999
_HANDLE_MAX: Final = 255


class Connection(asyncio.Protocol):
    """The server's side of a connection."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.authorized = not namespace.check_token
        self.peer_frame_bytes = _SMALLEST_PEER_FRAME
        self._reader = FrameReader()
        self._sessions: dict[int, Session] = {}
        self._incoming: dict[tuple[int, int], _Incoming] = {}
        self._gone = False
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Performative.SASL_INIT: self._on_sasl_init,
            Performative.OPEN: self._on_open,
            Performative.BEGIN: self._on_begin,
            Performative.ATTACH: self._on_attach,
            Performative.FLOW: self._on_flow,
            Performative.TRANSFER: self._on_transfer,
            Performative.DETACH: self._on_detach,
            Performative.END: self._on_end,
            Performative.CLOSE: self._on_close,
        }

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.namespace.connections.add(self)
        self.namespace.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._leave()
        self.namespace.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived."""
        try:
            for item in self._reader.feed(data):
                if self._gone:
                    return
                if isinstance(item, Header):
                    self._on_header(item)
                else:
                    self._on_frame(item)
        except AmqpError as problem:
            self.close_with("amqp:decode-error", str(problem))

    # What sessions and links call.

    def send(
        self,
        channel: int,
        performative: Performative,
        fields: list[Any],
        payload: bytes | bytearray | memoryview = b"",
    ) -> None:
        """Send a frame, unless the connection has gone."""
        if not self._gone and not self._transport.is_closing():
            self._transport.write(build_frame(channel, performative, fields, payload))

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._leave()
        self._transport.abort()

    def close_with(self, condition: str, description: str) -> None:
        """Close the connection with an error."""
        self.send(0, Performative.CLOSE, [error(condition, description)])
        self._leave()
        self._transport.close()

    def later(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        """Call `action(*args)` after a delay, on the server's thread."""
        self._loop.call_later(delay_s, action, *args)

    # Headers and frames.

    def _on_header(self, header: Header) -> None:
        self._transport.write(build_header(header.protocol))
        if header.protocol == Protocol.SASL:
            mechanisms = Array(map(Symbol, ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")))
            self.send(0, Performative.SASL_MECHANISMS, [mechanisms])

    def _on_frame(self, frame: Frame) -> None:
        # Dispositions of readers need no answer, and have no handler.
        handler = self._handlers.get(frame.performative)
        if handler is not None:
            handler(frame)

    def _on_sasl_init(self, _: Frame) -> None:
        self.send(0, Performative.SASL_OUTCOME, [UByte(0)])

    def _on_open(self, frame: Frame) -> None:
        offered = frame.field(2, _LARGEST_PEER_FRAME)
        self.peer_frame_bytes = max(_SMALLEST_PEER_FRAME, min(offered, _LARGEST_PEER_FRAME))
        self.send(
            0,
            Performative.OPEN,
            [
                f"{uuid.uuid4().hex}_G0",
                None,
                UInt(MAX_FRAME_BYTES),
                UShort(_CHANNEL_MAX),
                UInt(_IDLE_TIMEOUT_MS),
            ],
        )
        self._timer = self._loop.call_later(_KEEP_ALIVE_S, self._keep_alive)

    def _on_begin(self, frame: Frame) -> None:
        session = Session(self, frame.channel, frame.field(1, 0))
        self._sessions[frame.channel] = session
        session.send(
            Performative.BEGIN,
            [
                UShort(frame.channel),
                UInt(session.next_outgoing_id),
                UInt(INCOMING_WINDOW),
                UInt(INCOMING_WINDOW),
                UInt(_HANDLE_MAX),
            ],
        )

    def _on_flow(self, frame: Frame) -> None:
        link = self._link(frame.channel, frame.field(4, -1))
        if link is not None:
            link.credited(frame.field(5, 0) + frame.field(6, 0) - link.delivery_count)

    def _on_transfer(self, frame: Frame) -> None:
        session = self._sessions.get(frame.channel)
        handle = frame.field(0, -1)
        link = self._link(frame.channel, handle)
        if session is None or link is None:
            return  # the rest of a message on a link that was ended from here
        session.next_incoming_id += 1
        incoming = self._incoming.setdefault((frame.channel, handle), _Incoming())
        more = frame.field(5, False)
        if incoming.add(frame) and more and not link.first_frame():
            return
        if more:
            return
        delivery = incoming.finish()
        link.delivery_count += 1
        link.received(delivery)
        if incoming.wants_flow() and session.links.get(handle) is link:
            session.flow(link)

    def _on_detach(self, frame: Frame) -> None:
        # The SDK also detaches links of sessions that have ended.
        link = self._link(frame.channel, frame.field(0, -1))
        if link is not None:
            link.session.detach(link)

    def _on_end(self, frame: Frame) -> None:
        session = self._sessions.pop(frame.channel, None)
        if session is not None and not session.ended:
            session.end()
            self.send(frame.channel, Performative.END, [None])

    def _on_close(self, _: Frame) -> None:
        self.send(0, Performative.CLOSE, [None])
        self._leave()
        self._transport.close()

    # Attaching.

    def _on_attach(self, frame: Frame) -> None:
        session = self._sessions.get(frame.channel)
        if session is None:
            raise AmqpError(f"attach on channel {frame.channel}, which has no session")
        self.namespace.stats.links += 1
        attach = Attach.from_frame(frame)
        entity = Entity.of(attach)
        fault = None if entity.is_node else self._attach_fault(entity)
        if fault is not None and fault.action == "delay":
            self.later(fault.delay, self._attach, session, attach, entity, None)
        else:
            self._attach(session, attach, entity, fault)

    def _attach_fault(self, entity: Entity) -> Fault | None:
        fault = self.namespace.faults.take(
            "attach", hub=entity.hub, partition=entity.partition, group=entity.group
        )
        if fault is not None:
            self.namespace.stats.faults += 1
        return fault

    def _attach(
        self, session: Session, attach: Attach, entity: Entity, fault: Fault | None
    ) -> None:
        if session.ended:
            return  # while a fault delayed its link
        try:
            link = link_for(session, attach, entity, fault)
        except Refused as refusal:
            self._refuse_link(session, attach, entity, refusal)
        else:
            self._open_link(session, attach, link)

    def _open_link(self, session: Session, attach: Attach, link: Link) -> None:
        session.links[link.handle] = link
        self._incoming.pop((session.channel, link.handle), None)
        source = Described(0x28, [attach.source_address, *[None] * 7])
        target = Described(0x29, [attach.target_address])
        self._answer_attach(session, attach, source, target)
        link.opened()

    def _refuse_link(
        self, session: Session, attach: Attach, entity: Entity, refusal: Refused
    ) -> None:
        """Attach without a source or target, then detach: how AMQP refuses a link."""
        link = Link(session, attach, entity.address)
        session.links[link.handle] = link
        self._answer_attach(session, attach, None, None)
        session.detach(link, refusal.condition, str(refusal))

    def _answer_attach(
        self,
        session: Session,
        attach: Attach,
        source: Described | None,
        target: Described | None,
    ) -> None:
        session.send(
            Performative.ATTACH,
            [
                attach.name,
                UInt(attach.handle),
                not attach.client_receives,
                UByte(attach.sender_settle_mode),
                UByte(attach.receiver_settle_mode),
                source,
                target,
                None,
                None,
                UInt(0) if attach.client_receives else None,
                ULong(self.namespace.max_message_bytes) if target is not None else None,
            ],
        )

    # The rest.

    def _link(self, channel: int, handle: int) -> Link | None:
        session = self._sessions.get(channel)
        return session.links.get(handle) if session is not None else None

    def _keep_alive(self) -> None:
        if not self._gone:
            self._transport.write(KEEP_ALIVE)
            self._timer = self._loop.call_later(_KEEP_ALIVE_S, self._keep_alive)

    def _leave(self) -> None:
        """Take no more part in anything; the transport may still be flushing."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.end()


class _Incoming:
    """The message arriving on a link, frame by frame, and what has come since the last flow."""

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._first: Frame | None = None
        self._frames = 0
        self._messages = 0

    def add(self, frame: Frame) -> bool:
        """Take a frame in; True when it is the first of its message."""
        is_first = self._first is None
        if self._first is None:
            self._first = frame
        self._parts.append(frame.payload)
        self._frames += 1
        return is_first

    def finish(self) -> Delivery:
        """Put the message together and be ready for the next."""
        first = self._first
        if first is None:
            raise AmqpError("a message without frames")
        delivery = Delivery(
            number=first.field(1, 0),
            message_format=first.field(3, 0),
            settled=first.field(4, False),
            payload=b"".join(self._parts),
        )
        self._parts, self._first = [], None
        self._messages += 1
        return delivery

    def wants_flow(self) -> bool:
        """Say whether the client's credit or window runs low; counts anew when it does."""
        if self._messages < LINK_CREDIT // 2 and self._frames < INCOMING_WINDOW // 4:
            return False
        self._messages = self._frames = 0
        return True
