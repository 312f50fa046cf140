"""WebSocket frames of RFC 6455: cutting a client's byte stream into them, building the server's.

What a client may not send is `Broken`, with the code to close with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_PAYLOAD_BYTES: Final = 1 << 20
FRAGMENT_BYTES: Final = 1 << 14
MAX_CONTROL_BYTES: Final = 125

U16: Final = struct.Struct(">H")
_U64: Final = struct.Struct(">Q")


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Code(IntEnum):
    """Why a WebSocket is closed."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    TOO_BIG = 1009


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, its payload unmasked."""

    opcode: int
    payload: bytes
    final: bool = True


class Broken(Exception):
    """The peer broke a rule of the protocol."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def build_frame(opcode: int, payload: bytes | bytearray, *, final: bool = True) -> bytes:
    """Encode a server's frame, which is never masked."""
    size = len(payload)
    first = bytes((opcode | (0x80 if final else 0),))
    if size < 126:
        return first + bytes((size,)) + payload
    if size < 1 << 16:
        return first + b"\x7e" + U16.pack(size) + payload
    return first + b"\x7f" + _U64.pack(size) + payload


def build_message(payload: bytes | bytearray) -> Iterator[bytes]:
    """Encode a binary message, a large one in fragments."""
    starts = range(0, max(len(payload), 1), FRAGMENT_BYTES)
    for start in starts:
        opcode = Opcode.CONTINUATION if start else Opcode.BINARY
        part = payload[start : start + FRAGMENT_BYTES]
        yield build_frame(opcode, part, final=start == starts[-1])


class FrameReader:
    """Cuts a client's byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_message = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in bytes and yield the frames that are complete.

        Raises:
            Broken: they are not what a client may send.
        """
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        size, start = buffer[1] & 0x7F, 2
        self._check(buffer[0], masked=bool(buffer[1] & 0x80), size=size)
        if size >= 126:
            number = U16 if size == 126 else _U64
            start += number.size
            if len(buffer) < start:
                return None
            size = number.unpack_from(buffer, 2)[0]
        if size > MAX_PAYLOAD_BYTES:
            raise Broken(Code.TOO_BIG, f"a frame of {size} bytes")
        end = start + 4 + size
        if len(buffer) < end:
            return None
        payload = _unmask(buffer[start + 4 : end], bytes(buffer[start : start + 4]))
        del buffer[:end]
        if opcode < Opcode.CLOSE:
            self._in_message = not final
        return Frame(opcode, payload, final)

    def _check(self, first: int, *, masked: bool, size: int) -> None:
        opcode, final = first & 0x0F, bool(first & 0x80)
        if first & 0x70:
            raise Broken(Code.PROTOCOL_ERROR, "reserved bits of an extension nobody agreed on")
        if not masked:
            raise Broken(Code.PROTOCOL_ERROR, "a client's frame without a mask")
        if opcode >= Opcode.CLOSE:
            if opcode > Opcode.PONG or not final or size > MAX_CONTROL_BYTES:
                raise Broken(Code.PROTOCOL_ERROR, "a control frame that is none")
        elif opcode == Opcode.TEXT:
            raise Broken(Code.UNSUPPORTED, "text")
        elif opcode > Opcode.BINARY or (opcode == Opcode.CONTINUATION) != self._in_message:
            raise Broken(Code.PROTOCOL_ERROR, "a frame out of order")


def _unmask(data: bytearray, mask: bytes) -> bytes:
    size = len(data)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(pad)).to_bytes(size)
