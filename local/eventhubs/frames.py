"""AMQP 1.0 frames: cutting the byte stream into them, building them, naming their fields.

The SDK reads the fields of a performative by index and fails on a short list, so every
performative sent here is padded with nulls to its full length, as the service does. Source:
OASIS AMQP 1.0, part 2 (transport) and part 5 (SASL).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

from local.eventhubs.amqp import AmqpError, Described, Symbol, decode, encode_into

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


class Protocol(IntEnum):
    """Which protocol a header asks for."""

    AMQP = 0
    SASL = 3


class Header(NamedTuple):
    """A protocol header, which opens each layer."""

    protocol: int


class Frame(NamedTuple):
    """One frame. `payload` is a view into the frame's own bytes and may be kept."""

    channel: int
    performative: int
    fields: list[Any]
    payload: memoryview

    def field(self, index: int, default: Any = None) -> Any:
        """Return a field, or the default where it is null or left out."""
        if index < len(self.fields):
            value = self.fields[index]
            return default if value is None else value
        return default


@dataclass(frozen=True, slots=True)
class Attach:
    """A client's wish to open a link."""

    name: str
    handle: int
    client_receives: bool
    sender_settle_mode: int
    receiver_settle_mode: int
    source: list[Any]
    target: list[Any]
    properties: dict[str, Any]

    @classmethod
    def from_frame(cls, frame: Frame) -> Attach:
        """Read an attach frame."""
        return cls(
            name=frame.field(0, ""),
            handle=frame.field(1, 0),
            client_receives=frame.field(2, False),
            sender_settle_mode=frame.field(3, 2),
            receiver_settle_mode=frame.field(4, 0),
            source=_terminus(frame.field(5)),
            target=_terminus(frame.field(6)),
            properties=frame.field(13, {}),
        )

    @property
    def source_address(self) -> str | None:
        """Where the client reads from, or its own name for a sender."""
        address: str | None = self.source[0]
        return address

    @property
    def target_address(self) -> str | None:
        """Where the client sends to, or its own name for a receiver."""
        address: str | None = self.target[0]
        return address

    @property
    def selector(self) -> str | None:
        """The text of the first filter on the source."""
        filters = self.source[7] if len(self.source) > 7 else None
        for value in (filters or {}).values():
            text = value.value if isinstance(value, Described) else value
            return text.decode() if isinstance(text, bytes) else str(text)
        return None


class FrameReader:
    """Cuts a byte stream into headers and frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Header | Frame]:
        """Take in bytes and yield what is complete; keep-alive frames are left out.

        Raises:
            AmqpError: the bytes are not AMQP.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= 8:
                if buffer[position : position + 4] == b"AMQP":
                    yield Header(buffer[position + 4])
                    position += 8
                    continue
                size = _U32.unpack_from(buffer, position)[0]
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
    channel: int,
    performative: Performative,
    fields: list[Any],
    payload: bytes | bytearray | memoryview = b"",
) -> bytearray:
    """Encode a frame, with its list of fields padded to full length."""
    padding = [None] * (_FIELD_COUNT.get(performative, 0) - len(fields))
    out = bytearray(4)
    out += bytes((2, performative >= Performative.SASL_MECHANISMS))
    out += _U16.pack(channel)
    encode_into(out, Described(performative, [*fields, *padding]))
    _U32.pack_into(out, 0, len(out) + len(payload))
    out += payload
    return out


def build_header(protocol: int) -> bytes:
    """Encode a protocol header."""
    return b"AMQP" + bytes((protocol, 1, 0, 0))


def error(condition: str, description: str = "") -> Described:
    """Build an AMQP error."""
    return Described(0x1D, [Symbol(condition), description, None])


ACCEPTED: Final = Described(0x24, [])
RELEASED: Final = Described(0x26, [])
MODIFIED: Final = Described(0x27, [True, False])


def rejected(condition: str, description: str = "") -> Described:
    """Build the outcome that refuses a message."""
    return Described(0x25, [error(condition, description)])


_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_FIELD_COUNT: Final[dict[int, int]] = {
    Performative.OPEN: 10,
    Performative.BEGIN: 8,
    Performative.ATTACH: 14,
    Performative.FLOW: 11,
    Performative.TRANSFER: 11,
    Performative.DISPOSITION: 6,
    Performative.DETACH: 3,
    Performative.END: 1,
    Performative.CLOSE: 1,
}


def _parse(data: bytes) -> Frame | None:
    start = data[4] * 4
    if start >= len(data):
        return None
    described, end = decode(data, start)
    if not isinstance(described, Described) or not isinstance(described.value, list):
        raise AmqpError("frame without a performative")
    channel = _U16.unpack_from(data, 6)[0]
    code = described.descriptor
    if not isinstance(code, int):
        raise AmqpError(f"unknown performative {code!r}")
    return Frame(channel, code, described.value, memoryview(data)[end:])


def _terminus(described: Any) -> list[Any]:
    """Return the fields of a source or target, its address at least."""
    if isinstance(described, Described) and described.value:
        return list(described.value)
    return [None]
