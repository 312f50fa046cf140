"""AMQP over WebSockets: the same connection, its bytes in binary messages.

The service takes WebSockets on port 443 at `/$servicebus/websocket`, with the subprotocol
`AMQPWSB10`. Here one port takes both: the first bytes of a connection say which it is. Message
boundaries mean nothing (OASIS AMQP WebSocket Binding 1.0, 2.4), so payloads go straight into the
AMQP reader. Pings are answered; a peer that breaks the rules of RFC 6455 is closed with its code.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterable
from typing import Final, cast

from local.eventhubs.connection import Connection
from local.eventhubs.namespace import Namespace
from local.eventhubs.websocket_frames import (
    MAX_CONTROL_BYTES,
    U16,
    Broken,
    Code,
    Frame,
    FrameReader,
    Opcode,
    build_frame,
    build_message,
)

PATH: Final = "/$servicebus/websocket"
SUBPROTOCOL: Final = "AMQPWSB10"

_ACCEPT_SALT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_REQUEST_BYTES: Final = 16_384


class Refused(Exception):
    """A request that does not become a WebSocket, with the status that says why."""


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
        known = self._seen.startswith(b"GET ")
        chosen = WebSocket(self._namespace) if known else Connection(self._namespace)
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        chosen.data_received(self._seen)

    def drop(self) -> None:
        """Cut the connection."""
        self._transport.abort()


class WebSocket(asyncio.Protocol):
    """The server's side of a WebSocket, around the AMQP connection that it carries."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._amqp = Connection(namespace)
        self._request = b""
        self._reader = FrameReader()
        self._open = False
        self._closing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._namespace.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._namespace.connections.discard(self)
        if self._open:
            self._amqp.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived."""
        try:
            if not self._open:
                data = self._upgrade(data)
            for frame in self._reader.feed(data) if self._open else ():
                self._on_frame(frame)
        except Refused as refusal:
            self._transport.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            self._transport.close()
        except Broken as problem:
            self.close(problem.code, str(problem))

    # What the AMQP connection and the namespace call.

    def send(self, data: bytes | bytearray) -> None:
        """Send a binary message."""
        if not self._closing:
            for frame in build_message(data):
                self._transport.write(frame)

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        if self._open and not self._closing:
            self._transport.write(build_frame(Opcode.PING, b"alive?"))

    def close(self, code: Code = Code.NORMAL, reason: str = "") -> None:
        """Close in order: with a closing frame, then the connection."""
        if not self._closing:
            self._closing = True
            text = reason.encode()[: MAX_CONTROL_BYTES - 2]
            self._transport.write(build_frame(Opcode.CLOSE, U16.pack(code) + text))
        self._transport.close()

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self._transport.is_closing()

    # The rest.

    def _upgrade(self, data: bytes) -> bytes:
        """Answer the request once it is whole; returns what came after it."""
        self._request += data
        head, end, rest = self._request.partition(b"\r\n\r\n")
        if len(head) > _MAX_REQUEST_BYTES:
            raise Refused("431 Request Header Fields Too Large")
        if not end:
            return b""
        accept = _accept(head.decode("latin-1"))
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n"
            b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n\r\n"
        )
        self._open = True
        self._namespace.stats.websockets += 1
        self._amqp.connection_made(_Channel(self))
        return rest

    def _on_frame(self, frame: Frame) -> None:
        if self._closing:
            return
        if frame.opcode in (Opcode.BINARY, Opcode.CONTINUATION):
            self._amqp.data_received(frame.payload)
        elif frame.opcode == Opcode.PING:
            self._transport.write(build_frame(Opcode.PONG, frame.payload))
        elif frame.opcode == Opcode.PONG:
            self._namespace.stats.pongs += 1
        else:
            self.close()


class _Channel(asyncio.Transport):
    """A WebSocket in the place of the transport that the AMQP connection writes to."""

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__()
        self._websocket = websocket

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._websocket.send(data if isinstance(data, bytearray) else bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._websocket.close()

    def abort(self) -> None:
        self._websocket.drop()

    def is_closing(self) -> bool:
        return self._websocket.is_closing()


def _accept(head: str) -> bytes:
    """Check a request; returns the answer to its key."""
    request, *lines = head.split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in map(_colon, lines)}
    method, _, target = request.partition(" ")
    if method != "GET" or target.split(" ")[0] != PATH:
        raise Refused("404 Not Found")
    upgrades = _words(fields.get("upgrade", "")), _words(fields.get("connection", ""))
    if "websocket" not in upgrades[0] or "upgrade" not in upgrades[1]:
        raise Refused("426 Upgrade Required\r\nUpgrade: websocket")
    if fields.get("sec-websocket-version") != "13" or not fields.get("sec-websocket-key"):
        raise Refused("400 Bad Request\r\nSec-WebSocket-Version: 13")
    if SUBPROTOCOL.lower() not in _words(fields.get("sec-websocket-protocol", "")):
        raise Refused("400 Bad Request")
    key = fields["sec-websocket-key"].encode("latin-1")
    return base64.b64encode(hashlib.sha1(key + _ACCEPT_SALT, usedforsecurity=False).digest())


def _colon(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")}
