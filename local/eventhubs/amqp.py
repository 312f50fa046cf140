"""The AMQP 1.0 type system: encoding, decoding, and stepping over encoded values.

`decode` keeps the wire type (a `ULong` stays a `ULong`), so that what a client sent can be sent
back unchanged: clients compare message ids by type as well as by value. `skip` and `sections`
walk an encoded message without decoding it, which is what keeps the stand-in fast. Malformed
input raises `AmqpError` and nothing else. Source: OASIS AMQP 1.0, part 1 (types) and part 3
(message format).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

Buffer = bytes | bytearray | memoryview


class AmqpError(ValueError):
    """The peer sent bytes that are not the AMQP 1.0 this server reads."""


class Symbol(str):
    """An ASCII name from a fixed set, such as an error condition."""

    __slots__ = ()


class UByte(int):
    """An unsigned number of 8 bits."""

    __slots__ = ()


class UShort(int):
    """An unsigned number of 16 bits."""

    __slots__ = ()


class UInt(int):
    """An unsigned number of 32 bits."""

    __slots__ = ()


class ULong(int):
    """An unsigned number of 64 bits."""

    __slots__ = ()


class Int(int):
    """A signed number of 32 bits; a plain `int` is AMQP's long, of 64 bits."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since 1970-01-01 UTC."""

    __slots__ = ()


class Array(list[str]):
    """A typed array of strings, or of symbols when its first item is one."""

    __slots__ = ()


class Described(NamedTuple):
    """A value with its type's descriptor: performatives, sections, outcomes, filters."""

    descriptor: int | str
    value: Any


class Section(IntEnum):
    """Descriptors of the sections of a message."""

    HEADER = 0x70
    DELIVERY_ANNOTATIONS = 0x71
    MESSAGE_ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75
    SEQUENCE = 0x76
    VALUE = 0x77
    FOOTER = 0x78


class Span(NamedTuple):
    """Where one section of an encoded message lies: descriptor at `start`, value up to `end`."""

    code: int
    start: int
    value: int
    end: int


def encode(value: object) -> bytearray:
    """Encode one value.

    Raises:
        TypeError: the type has no encoding here.
        struct.error: a number does not fit its type.
    """
    out = bytearray()
    encode_into(out, value)
    return out


def encode_into(out: bytearray, value: object) -> None:
    """Append the encoding of one value to `out`; raises as `encode` does."""
    kind = type(value)
    if value is None:
        out.append(0x40)
    elif isinstance(value, bool):
        out.append(0x41 if value else 0x42)
    elif kind in _WIDE:
        _encode_number(out, kind, value)
    elif isinstance(value, Described):
        out.append(0)
        described_by = value.descriptor
        encode_into(out, ULong(described_by) if isinstance(described_by, int) else described_by)
        encode_into(out, value.value)
    elif isinstance(value, Symbol):
        _encode_variable(out, 0xA3, value.encode("ascii"))
    elif isinstance(value, str):
        _encode_variable(out, 0xA1, value.encode())
    elif isinstance(value, uuid.UUID):
        out.append(0x98)
        out += value.bytes
    elif isinstance(value, bytes | bytearray | memoryview):
        _encode_variable(out, 0xA0, value)
    elif isinstance(value, Array):
        _encode_array(out, value)
    elif isinstance(value, list | tuple):
        _encode_list(out, value)
    elif isinstance(value, dict):
        _encode_compound(out, 0xC1, [part for item in value.items() for part in item])
    else:
        raise TypeError(f"no AMQP encoding for {kind.__name__}")


def decode(data: Buffer, position: int = 0) -> tuple[Any, int]:
    """Decode the value at `position`; return it and the position after it.

    Raises:
        AmqpError: the bytes are cut short, malformed, or of a type not read here.
    """
    try:
        value, end = _decode(data, position)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise AmqpError(f"malformed AMQP value at byte {position}: {error}") from error
    if end > len(data):
        raise AmqpError(f"AMQP value at byte {position} is cut short")
    return value, end


def skip(data: Buffer, position: int) -> int:
    """Return the position after the value at `position`, without decoding it.

    Raises:
        AmqpError: the value is cut short.
    """
    try:
        end = _skip(data, position)
    except (IndexError, struct.error, RecursionError) as error:
        raise AmqpError(f"malformed AMQP value at byte {position}: {error}") from error
    if end > len(data):
        raise AmqpError(f"AMQP value at byte {position} is cut short")
    return end


def sections(message: Buffer, position: int = 0) -> Iterator[Span]:
    """Walk the sections of an encoded message, without decoding them.

    Raises:
        AmqpError: the bytes are not a sequence of AMQP sections.
    """
    while position < len(message):
        if message[position] != 0:
            raise AmqpError(f"no AMQP section at byte {position}")
        code, value = decode(message, position + 1)
        if not isinstance(code, int):
            raise AmqpError(f"unknown AMQP section {code!r}")
        end = skip(message, value)
        yield Span(code, position, value, end)
        position = end


_U32 = struct.Struct(">I")

# Type: (constructor, layout), with a one-byte form where the type has one.
_WIDE: dict[type, tuple[int, struct.Struct]] = {
    UByte: (0x50, struct.Struct(">B")),
    UShort: (0x60, struct.Struct(">H")),
    UInt: (0x70, struct.Struct(">I")),
    Int: (0x71, struct.Struct(">i")),
    ULong: (0x80, struct.Struct(">Q")),
    int: (0x81, struct.Struct(">q")),
    float: (0x82, struct.Struct(">d")),
    Timestamp: (0x83, struct.Struct(">q")),
}
_NARROW: dict[type, tuple[int, struct.Struct, range]] = {
    UInt: (0x52, struct.Struct(">B"), range(256)),
    ULong: (0x53, struct.Struct(">B"), range(256)),
    Int: (0x54, struct.Struct(">b"), range(-128, 128)),
    int: (0x55, struct.Struct(">b"), range(-128, 128)),
}
_NUMBERS: dict[int, tuple[type, struct.Struct]] = {
    **{constructor: (kind, layout) for kind, (constructor, layout) in _WIDE.items()},
    **{constructor: (kind, layout) for kind, (constructor, layout, _) in _NARROW.items()},
    0x51: (int, struct.Struct(">b")),
    0x61: (int, struct.Struct(">h")),
    0x72: (float, struct.Struct(">f")),
}
_CONSTANTS: dict[int, Any] = {
    0x40: None,
    0x41: True,
    0x42: False,
    0x43: UInt(0),
    0x44: ULong(0),
}


def _encode_number(out: bytearray, kind: type, value: Any) -> None:
    narrow = _NARROW.get(kind)
    constructor, layout = _WIDE[kind]
    if narrow is not None and value in narrow[2]:
        constructor, layout = narrow[0], narrow[1]
    out.append(constructor)
    out += layout.pack(value)


def _encode_variable(out: bytearray, short: int, data: Buffer) -> None:
    # The four-byte form of every variable or compound constructor is the short one plus 0x10.
    if len(data) < 256:
        out += bytes((short, len(data)))
    else:
        out.append(short + 0x10)
        out += _U32.pack(len(data))
    out += data


def _encode_list(out: bytearray, items: list[Any] | tuple[Any, ...]) -> None:
    if items:
        _encode_compound(out, 0xC0, items)
    else:
        out.append(0x45)


def _encode_compound(out: bytearray, short: int, items: list[Any] | tuple[Any, ...]) -> None:
    body = bytearray()
    for item in items:
        encode_into(body, item)
    if len(body) < 255 and len(items) < 256:
        out += bytes((short, len(body) + 1, len(items)))
    else:
        out.append(short + 0x10)
        out += _U32.pack(len(body) + 4)
        out += _U32.pack(len(items))
    out += body


def _encode_array(out: bytearray, items: Array) -> None:
    symbols = bool(items) and isinstance(items[0], Symbol)
    body = bytearray(b"\xb3" if symbols else b"\xb1")
    for item in items:
        data = item.encode()
        body += _U32.pack(len(data))
        body += data
    out.append(0xF0)
    out += _U32.pack(len(body) + 4)
    out += _U32.pack(len(items))
    out += body


def _decode(data: Buffer, position: int) -> tuple[Any, int]:
    constructor = data[position]
    position += 1
    if constructor == 0:
        descriptor, position = _decode(data, position)
        value, position = _decode(data, position)
        return Described(descriptor, value), position
    return _decode_as(constructor, data, position)


def _decode_as(constructor: int, data: Buffer, position: int) -> tuple[Any, int]:
    """Decode the value whose constructor has been read."""
    number = _NUMBERS.get(constructor)
    if number is not None:
        kind, layout = number
        return kind(layout.unpack_from(data, position)[0]), position + layout.size
    if constructor in _CONSTANTS:
        return _CONSTANTS[constructor], position
    if constructor == 0x45:
        return [], position
    if constructor == 0x56:
        return data[position] == 1, position + 1
    if constructor == 0x98:
        raw = bytes(data[position : position + 16])
        if len(raw) < 16:
            raise AmqpError("uuid is cut short")
        return uuid.UUID(bytes=raw), position + 16
    family = constructor & 0xEF
    if family in (0xA0, 0xA1, 0xA3):
        return _decode_variable(constructor, data, position)
    if family in (0xC0, 0xC1, 0xE0):
        return _decode_compound(constructor, data, position)
    raise AmqpError(f"AMQP type 0x{constructor:02x} is not read here")


def _decode_variable(constructor: int, data: Buffer, position: int) -> tuple[Any, int]:
    size, position = _read_size(constructor, data, position)
    raw = bytes(data[position : position + size])
    if len(raw) < size:
        raise AmqpError("variable-width value is cut short")
    family = constructor & 0xEF
    if family == 0xA0:
        return raw, position + size
    if family == 0xA1:
        return raw.decode(), position + size
    return Symbol(raw.decode("ascii")), position + size


def _decode_compound(constructor: int, data: Buffer, position: int) -> tuple[Any, int]:
    size, position = _read_size(constructor, data, position)
    end = position + size
    count, position = _read_size(constructor, data, position)
    # Every item takes a byte or more; this also refuses an array of four billion nulls.
    if count > size or end > len(data):
        raise AmqpError("compound value is cut short")
    items: list[Any] = []
    family = constructor & 0xEF
    if family == 0xE0:
        element = data[position]
        position += 1
        for _ in range(count):
            item, position = _decode_as(element, data, position)
            items.append(item)
    else:
        for _ in range(count):
            item, position = _decode(data, position)
            items.append(item)
    if position != end:
        raise AmqpError("compound value does not end where it says")
    if family == 0xC1:
        return dict(zip(items[::2], items[1::2], strict=False)), end
    return (Array(items) if family == 0xE0 else items), end


def _read_size(constructor: int, data: Buffer, position: int) -> tuple[int, int]:
    """Read a size or count: one byte, or four when the constructor is of the wide kind."""
    if constructor & 0x10:
        return _U32.unpack_from(data, position)[0], position + 4
    return data[position], position + 1


_FIXED_WIDTH = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}


def _skip(data: Buffer, position: int) -> int:
    constructor = data[position]
    if constructor == 0:
        return _skip(data, _skip(data, position + 1))
    width = _FIXED_WIDTH.get(constructor >> 4)
    if width is not None:
        return position + 1 + width
    if constructor < 0xA0:
        raise AmqpError(f"AMQP type 0x{constructor:02x} does not exist")
    size, start = _read_size(constructor, data, position + 1)
    return start + size
