"""AMQP over WebSockets: the same connection, its bytes in binary messages.

The service takes WebSockets on port 443 at `/$servicebus/websocket`, with the subprotocol
`AMQPWSB10`. Here one port takes both: the first bytes of a connection say which it is. Message
boundaries mean nothing (OASIS AMQP WebSocket Binding 1.0, 2.4), so payloads go straight into the
AMQP reader. Frames and the handshake are wsproto's.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from wsproto import ConnectionType, WSConnection, events
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from local.eventhubs.connection import Connection
from local.eventhubs.namespace import Namespace, Peer

PATH: Final = "/$servicebus/websocket"
SUBPROTOCOL: Final = "AMQPWSB10"
MAX_MESSAGE_BYTES: Final = 1 << 20
FRAGMENT_BYTES: Final = 1 << 14


class Entrance(Peer):
    """Takes a connection and hands it to who speaks its protocol."""

    _seen = b""

    def data_received(self, data: bytes) -> None:
        """Wait for the four bytes that tell a request from an AMQP header."""
        self._seen += data
        if len(self._seen) < 4:
            return
        self.namespace.connections.discard(self)
        chosen: Peer = Connection(self.namespace)
        if self._seen.startswith(b"GET "):
            chosen = WebSocket(self.namespace, chosen)
        self.transport.set_protocol(chosen)
        chosen.connection_made(self.transport)
        chosen.data_received(self._seen)


class WebSocket(Peer, asyncio.Transport):
    """The server's side of a WebSocket: a protocol to its socket, the transport of what it carries."""

    def __init__(self, namespace: Namespace, carried: asyncio.Protocol) -> None:
        super().__init__(namespace)
        self._carried = carried
        self._wire = WSConnection(ConnectionType.SERVER)
        self._open = self._closing = False
        self._size = 0

    # What asyncio calls.

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        super().connection_lost(exc)
        if self._open:
            self._carried.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived."""
        if self._closing:
            return
        try:
            self._wire.receive_data(data)
        except RemoteProtocolError as problem:
            self._refuse(cast("events.RejectConnection", problem.event_hint).status_code)
        for event in self._wire.events():
            if not self._closing:
                self._on_event(event)

    # What the carried connection and the namespace call.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message, a large one in fragments."""
        for start in range(0, max(len(data), 1), FRAGMENT_BYTES):
            end = start + FRAGMENT_BYTES
            self._send(
                events.BytesMessage(bytes(data[start:end]), message_finished=end >= len(data))
            )

    def ping(self) -> bool:
        """Ask the client for a sign of life, unless there is none yet."""
        if self._open:
            self._send(events.Ping(b"alive?"))
        return self._open

    def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close in order: with a closing frame, then the connection."""
        self._send(events.CloseConnection(code, reason))
        self._closing = True
        self.transport.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self.transport.is_closing()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Request():
                self._upgrade(event)
            case events.BytesMessage():
                self._size += len(event.data)
                if self._size > MAX_MESSAGE_BYTES:
                    self.close(CloseReason.MESSAGE_TOO_BIG, "a message of more than 1 MiB")
                    return
                if event.message_finished:
                    self._size = 0
                self._carried.data_received(bytes(event.data))
            case events.TextMessage():
                self.close(CloseReason.UNSUPPORTED_DATA, "text")
            case events.Ping():
                self._send(event.response())
            case events.Pong():
                self.namespace.stats.pongs += 1
            case events.CloseConnection():
                # The client's own, or what wsproto says to one that broke a rule.
                self.close(event.code, event.reason or "")

    def _upgrade(self, request: events.Request) -> None:
        key = dict(request.extra_headers).get(b"sec-websocket-key")
        if request.target != PATH:
            self._refuse(404)
        elif SUBPROTOCOL not in request.subprotocols or not key:
            self._refuse(400)
        else:
            self._send(events.AcceptConnection(subprotocol=SUBPROTOCOL))
            self._open = True
            self.namespace.stats.websockets += 1
            self._carried.connection_made(self)

    def _refuse(self, status: int) -> None:
        self._send(events.RejectConnection(status_code=status))
        self._closing = True
        self.transport.close()

    def _send(self, event: events.Event) -> None:
        if not self._closing:
            self.transport.write(self._wire.send(event))
