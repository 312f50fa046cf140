"""One client's connection: protocol headers, SASL, and the frames it sends.

Bytes that are not AMQP end the connection with `amqp:decode-error`. Anyone passes SASL, as at
the service: what counts is the token put to `$cbs`.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

from local.eventhubs import frames
from local.eventhubs.amqp import AmqpError, Array, Described, Symbol, UByte, UInt, ULong, UShort
from local.eventhubs.frames import Frame, Header, Performative, error
from local.eventhubs.links import NODES, Refused, link_for
from local.eventhubs.namespace import Namespace, Peer
from local.eventhubs.session import INCOMING_WINDOW, Attach, Link, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.eventhubs.amqp import Buffer
    from local.eventhubs.faults import Fault

_SASL: Final = 3
_KEEP_ALIVE_S: Final = 30.0
_IDLE_TIMEOUT_MS: Final = 240_000
_LARGEST_PEER_FRAME: Final = 1 << 20
_SMALLEST_PEER_FRAME: Final = 512
_CHANNEL_MAX: Final = 4_999
_HANDLE_MAX: Final = 255


class Connection(Peer):
    """The server's side of a connection."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self.authorized = False
        self.peer_frame_bytes = _SMALLEST_PEER_FRAME
        self._reader = frames.FrameReader()
        self._sessions: dict[int, Session] = {}
        self._gone = False
        self._timer: asyncio.TimerHandle | None = None
        # Dispositions of readers need no answer, and have no handler.
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Performative.SASL_INIT: lambda _: self.send(0, Performative.SASL_OUTCOME, [UByte(0)]),
            Performative.OPEN: self._on_open,
            Performative.BEGIN: self._on_begin,
            Performative.ATTACH: self._on_attach,
            Performative.FLOW: self._on_flow,
            Performative.TRANSFER: self._on_transfer,
            Performative.DETACH: self._on_detach,
            Performative.END: self._on_end,
            Performative.CLOSE: lambda _: self.close(),
        }

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        super().connection_made(transport)
        self.loop = asyncio.get_running_loop()
        self.namespace.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived."""
        try:
            for item in self._reader.feed(data):
                if self._gone:
                    return
                if isinstance(item, Header):
                    self._on_header(item)
                elif handler := self._handlers.get(item.performative):
                    handler(item)
        except AmqpError as problem:
            self.close(error("amqp:decode-error", str(problem)))

    # What the namespace, sessions and links call.

    def send(
        self, channel: int, performative: Performative, fields: list[Any], payload: Buffer = b""
    ) -> None:
        """Send a frame, unless the connection has gone."""
        if not self._gone and not self.transport.is_closing():
            self.transport.write(frames.build_frame(channel, performative, fields, payload))

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._leave()
        super().abort()

    def close(self, reason: Described | None = None) -> None:
        """Close the connection, with an error where one is given."""
        self.send(0, Performative.CLOSE, [reason])
        self._leave()
        self.transport.close()

    # Headers and frames.

    def _on_header(self, header: Header) -> None:
        self.transport.write(b"AMQP" + bytes((header.protocol, 1, 0, 0)))
        if header.protocol == _SASL:
            mechanisms = Array(map(Symbol, ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")))
            self.send(0, Performative.SASL_MECHANISMS, [mechanisms])

    def _on_open(self, frame: Frame) -> None:
        offered = frame.field(2, _LARGEST_PEER_FRAME)
        self.peer_frame_bytes = max(_SMALLEST_PEER_FRAME, min(offered, _LARGEST_PEER_FRAME))
        limits = UInt(frames.MAX_FRAME_BYTES), UShort(_CHANNEL_MAX), UInt(_IDLE_TIMEOUT_MS)
        self.send(0, Performative.OPEN, [f"{uuid.uuid4().hex}_G0", None, *limits])
        self._timer = self.loop.call_later(_KEEP_ALIVE_S, self._keep_alive)

    def _on_begin(self, frame: Frame) -> None:
        session = Session(self, frame.channel, frame.field(1, 0))
        self._sessions[frame.channel] = session
        numbers = session.next_outgoing_id, INCOMING_WINDOW, INCOMING_WINDOW, _HANDLE_MAX
        session.send(Performative.BEGIN, [UShort(frame.channel), *map(UInt, numbers)])

    def _on_attach(self, frame: Frame) -> None:
        session = self._sessions.get(frame.channel)
        if session is None:
            raise AmqpError(f"attach on channel {frame.channel}, which has no session")
        self.namespace.stats.links += 1
        attach = Attach(frame)
        fault = None
        if attach.address not in NODES:
            fault = self.namespace.faults.take(
                "attach", hub=attach.hub, partition=attach.partition, group=attach.group
            )
        if fault is not None and fault.action == "delay":
            self.loop.call_later(fault.delay, self._attach, session, attach, None)
        else:
            self._attach(session, attach, fault)

    def _on_flow(self, frame: Frame) -> None:
        link = self._link(frame, 4)
        if link is not None:
            link.credited(frame.field(5, 0) + frame.field(6, 0) - link.delivery_count)

    def _on_transfer(self, frame: Frame) -> None:
        link = self._link(frame, 0)
        if link is not None:  # else the rest of a message on a link that was ended from here
            link.session.next_incoming_id += 1
            link.transferred(frame)

    def _on_detach(self, frame: Frame) -> None:
        # The SDK also detaches links of sessions that have ended.
        link = self._link(frame, 0)
        if link is not None:
            link.session.detach(link)

    def _on_end(self, frame: Frame) -> None:
        session = self._sessions.pop(frame.channel, None)
        if session is not None and not session.ended:
            session.end()
            session.send(Performative.END, [None])

    def _attach(self, session: Session, attach: Attach, fault: Fault | None) -> None:
        if session.ended:
            return  # while a fault delayed its link
        refusal: Refused | None = None
        try:
            link = link_for(session, attach, fault)
        except Refused as problem:
            link, refusal = Link(session, attach), problem
        session.links[attach.handle] = link
        self._answer_attach(session, attach, refused=refusal is not None)
        if refusal is None:
            link.opened()
        else:
            session.detach(link, refusal.condition, str(refusal))

    def _answer_attach(self, session: Session, attach: Attach, *, refused: bool) -> None:
        """Attach from here; without a source or target it is how AMQP begins to refuse a link."""
        source = None if refused else Described(0x28, [attach.source[0], *[None] * 7])
        target = None if refused else Described(0x29, attach.target[:1])
        first_count = UInt(0) if attach.client_receives else None
        largest = None if refused else ULong(self.namespace.max_message_bytes)
        fields = [attach.name, UInt(attach.handle), not attach.client_receives]
        fields += [*map(UByte, attach.settle_modes), source, target, None, None]
        session.send(Performative.ATTACH, [*fields, first_count, largest])

    def _link(self, frame: Frame, handle: int) -> Link | None:
        """Return the link that a frame is about; its handle is the field of that index."""
        session = self._sessions.get(frame.channel)
        return session.links.get(frame.field(handle, -1)) if session is not None else None

    def _keep_alive(self) -> None:
        if not self._gone:
            self.transport.write(frames.KEEP_ALIVE)
            self._timer = self.loop.call_later(_KEEP_ALIVE_S, self._keep_alive)

    def _leave(self) -> None:
        """Take no more part in anything; the transport may still be flushing."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.end()
