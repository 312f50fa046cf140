"""AMQP over WebSockets: the same connection, its bytes in binary messages.

The service takes WebSockets on port 443 at `/$servicebus/websocket`, with the subprotocol
`AMQPWSB10`. Here one port takes both: the first bytes of a connection say which it is. Message
boundaries mean nothing (OASIS AMQP WebSocket Binding 1.0, 2.4), so payloads go straight into the
AMQP reader. Frames and the handshake are wsproto's.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from local.eventhubs.connection import Connection
from local.eventhubs.namespace import Namespace

PATH: Final = "/$servicebus/websocket"
SUBPROTOCOL: Final = "AMQPWSB10"
MAX_MESSAGE_BYTES: Final = 1 << 20
FRAGMENT_BYTES: Final = 1 << 14


class Entrance(asyncio.Protocol):
    """Takes a connection and hands it to who speaks its protocol."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._namespace.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that never said what it is."""
        self._namespace.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Wait for the four bytes that tell a request from an AMQP header."""
        self._seen += data
        if len(self._seen) < 4:
            return
        self._namespace.connections.discard(self)
        chosen: asyncio.Protocol = Connection(self._namespace)
        if self._seen.startswith(b"GET "):
            chosen = WebSocket(self._namespace, chosen)
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        chosen.data_received(self._seen)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()


class WebSocket(asyncio.Protocol, asyncio.Transport):
    """The server's side of a WebSocket: a protocol to its socket, the transport of what it carries."""

    def __init__(self, namespace: Namespace, carried: asyncio.Protocol) -> None:
        super().__init__()
        self._namespace = namespace
        self._carried = carried
        self._wire = WSConnection(ConnectionType.SERVER)
        self._open = self._closing = False
        self._size = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._namespace.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._namespace.connections.discard(self)
        if self._open:
            self._carried.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived."""
        if self._closing:
            return
        try:
            self._wire.receive_data(data)
        except RemoteProtocolError as problem:
            self._refuse(cast(RejectConnection, problem.event_hint).status_code)
        for event in self._wire.events():
            if not self._closing:
                self._on_event(event)

    # What the carried connection and the namespace call.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message, a large one in fragments."""
        for start in range(0, max(len(data), 1), FRAGMENT_BYTES):
            end = start + FRAGMENT_BYTES
            self._send(BytesMessage(bytes(data[start:end]), message_finished=end >= len(data)))

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        if self._open:
            self._send(Ping(b"alive?"))

    def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close in order: with a closing frame, then the connection."""
        self._send(CloseConnection(code, reason))
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self._transport.is_closing()

    # The rest.

    def _on_event(self, event: Event) -> None:
        match event:
            case Request():
                self._upgrade(event)
            case BytesMessage():
                self._size += len(event.data)
                if self._size > MAX_MESSAGE_BYTES:
                    self.close(CloseReason.MESSAGE_TOO_BIG, "a message of more than 1 MiB")
                    return
                if event.message_finished:
                    self._size = 0
                self._carried.data_received(bytes(event.data))
            case TextMessage():
                self.close(CloseReason.UNSUPPORTED_DATA, "text")
            case Ping():
                self._send(event.response())
            case Pong():
                self._namespace.stats.pongs += 1
            case CloseConnection():
                # The client's own, or what wsproto says to one that broke a rule.
                self.close(event.code, event.reason or "")

    def _upgrade(self, request: Request) -> None:
        key = dict(request.extra_headers).get(b"sec-websocket-key")
        if request.target != PATH:
            self._refuse(404)
        elif SUBPROTOCOL not in request.subprotocols or not key:
            self._refuse(400)
        else:
            self._send(AcceptConnection(subprotocol=SUBPROTOCOL))
            self._open = True
            self._namespace.stats.websockets += 1
            self._carried.connection_made(self)

    def _refuse(self, status: int) -> None:
        self._send(RejectConnection(status_code=status))
        self._closing = True
        self._transport.close()

    def _send(self, event: Event) -> None:
        if not self._closing:
            self._transport.write(self._wire.send(event))
