"""AMQP 1.0 frames: cutting the byte stream into them, building them, naming what is in them.

The SDK reads the fields of a performative by index and fails on a short list, so every
performative sent here is padded with nulls to its full length, as the service does. Source:
OASIS AMQP 1.0, part 2 (transport) and part 5 (SASL).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from local.eventhubs.amqp import AmqpError, Buffer, Described, Symbol, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FRAME_BYTES: Final = 65_536
KEEP_ALIVE: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"


class Performative(IntEnum):
    """Descriptors of the frame bodies."""

    OPEN = 0x10
    BEGIN = 0x11
    ATTACH = 0x12
    FLOW = 0x13
    TRANSFER = 0x14
    DISPOSITION = 0x15
    DETACH = 0x16
    END = 0x17
    CLOSE = 0x18
    SASL_MECHANISMS = 0x40
    SASL_INIT = 0x41
    SASL_OUTCOME = 0x44


class Header(NamedTuple):
    """A protocol header, which opens each layer: SASL, 3, and then AMQP, 0."""

    protocol: int


class Frame(NamedTuple):
    """One frame. `payload` is a view into the frame's own bytes and may be kept."""

    channel: int
    performative: int
    fields: list[Any]
    payload: memoryview

    def field(self, index: int, default: Any = None) -> Any:
        """Return a field, or the default where it is null or left out."""
        value = self.fields[index] if index < len(self.fields) else None
        return default if value is None else value


class FrameReader:
    """Cuts a byte stream into headers and frames; AmqpError where it is not AMQP."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Header | Frame]:
        """Take in bytes and yield what is complete; keep-alive frames are left out."""
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= 8:
                if buffer[position : position + 4] == b"AMQP":
                    yield Header(buffer[position + 4])
                    position += 8
                    continue
                size = struct.unpack_from(">I", buffer, position)[0]
                if not 8 <= size <= MAX_FRAME_BYTES:
                    raise AmqpError(f"frame of {size} bytes")
                if len(buffer) - position < size:
                    break
                frame = _parse(bytes(memoryview(buffer)[position : position + size]))
                position += size
                if frame is not None:
                    yield frame
        finally:
            del buffer[:position]


def build_frame(
    channel: int, performative: Performative, fields: list[Any], payload: Buffer = b""
) -> bytearray:
    """Encode a frame, with its list of fields padded to full length."""
    padding = [None] * (_FIELD_COUNT.get(performative, 0) - len(fields))
    body = encode(Described(performative, [*fields, *padding]))
    kind = performative >= Performative.SASL_MECHANISMS
    out = bytearray(struct.pack(">IBBH", 8 + len(body) + len(payload), 2, kind, channel))
    return out + body + payload


def error(condition: str, description: str = "") -> Described:
    """Build an AMQP error."""
    return Described(0x1D, [Symbol(condition), description, None])


def rejected(condition: str, description: str = "") -> Described:
    """Build the outcome that refuses a message."""
    return Described(0x25, [error(condition, description)])


ACCEPTED: Final = Described(0x24, [])
RELEASED: Final = Described(0x26, [])
MODIFIED: Final = Described(0x27, [True, False])

# From open to close.
_FIELD_COUNT: Final = dict(zip(Performative, (10, 8, 14, 11, 11, 6, 3, 1, 1), strict=False))


def _parse(data: bytes) -> Frame | None:
    start = data[4] * 4
    if start >= len(data):
        return None
    match decode(data, start):
        case Described(int(code), list(fields)), end:
            return Frame(int.from_bytes(data[6:8]), code, fields, memoryview(data)[end:])
    raise AmqpError("frame without a performative")
