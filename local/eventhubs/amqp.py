"""The AMQP 1.0 type system: encoding, decoding, and stepping over encoded values.

`decode` keeps the wire type (a `ULong` stays a `ULong`), so that what a client sent can be sent
back unchanged: clients compare message ids by type as well as by value. `skip` and `sections`
walk an encoded message without decoding it, which is what keeps the stand-in fast. Malformed
input raises `AmqpError` and nothing else. Source: OASIS AMQP 1.0, part 1 (types) and part 3
(message format).
"""

from __future__ import annotations

import itertools
import struct
import uuid
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")


class AmqpError(ValueError):
    """The peer sent bytes that are not the AMQP 1.0 this server reads."""


class Symbol(str):
    """An ASCII name from a fixed set, such as an error condition."""


class UByte(int):
    """An unsigned number of 8 bits."""


class UShort(int):
    """An unsigned number of 16 bits."""


class UInt(int):
    """An unsigned number of 32 bits."""


class ULong(int):
    """An unsigned number of 64 bits."""


class Int(int):
    """A signed number of 32 bits; a plain `int` is AMQP's long, of 64 bits."""


class Timestamp(int):
    """Milliseconds since 1970-01-01 UTC."""


class Array(list[str]):
    """A typed array of strings, or of symbols when its first item is one."""


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


class Span(NamedTuple):
    """Where one section of an encoded message lies: descriptor at `start`, value up to `end`."""

    code: int
    start: int
    value: int
    end: int


def encode(*values: object) -> bytearray:
    """Encode values, one after another; TypeError for a type without an encoding here."""
    out = bytearray()
    for value in values:
        _encode(out, value)
    return out


def decode(data: Buffer, position: int = 0) -> tuple[Any, int]:
    """Decode the value at `position`; return it and the position after it."""
    return _read(_decode, data, position)


def skip(data: Buffer, position: int) -> int:
    """Return the position after the value at `position`, without decoding it."""
    return _read(_skip, data, position)[1]


def sections(message: Buffer, position: int = 0) -> Iterator[Span]:
    """Walk the sections of an encoded message, without decoding them."""
    while position < len(message):
        if message[position] != 0:
            raise AmqpError(f"no AMQP section at byte {position}")
        code, value = decode(message, position + 1)
        if not isinstance(code, int):
            raise AmqpError(f"unknown AMQP section {code!r}")
        end = skip(message, value)
        yield Span(code, position, value, end)
        position = end


def values(message: Buffer) -> Iterator[tuple[int, Any]]:
    """Decode the sections of a message, each with its code."""
    return ((span.code, decode(message, span.value)[0]) for span in sections(message))


# The types of fixed width: constructor and layout. What is encoded takes the first that it fits.
_NUMBERS: Final[dict[type, list[tuple[int, struct.Struct]]]] = {
    kind: [(int(form[:2], 16), struct.Struct(">" + form[2:])) for form in forms.split()]
    for kind, forms in {
        UByte: "50B",
        UShort: "60H",
        UInt: "52B 70I",
        ULong: "53B 80Q",
        Int: "54b 71i",
        int: "55b 81q 51b 61h",
        float: "82d 72f",
        bool: "56?",
        Timestamp: "83q",
    }.items()
}
_FIXED: Final[dict[int, tuple[Callable[[Any], Any], struct.Struct]]] = {
    constructor: (kind, layout) for kind, forms in _NUMBERS.items() for constructor, layout in forms
} | {0x98: (lambda raw: uuid.UUID(bytes=raw), struct.Struct("16s"))}
_CONSTANTS: Final = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0)}
_WIDTHS: Final = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}

# The one-byte forms of what has a size; the four-byte form of each is 0x10 more.
_BINARY, _STRING, _SYMBOL, _LIST, _MAP, _ARRAY = 0xA0, 0xA1, 0xA3, 0xC0, 0xC1, 0xE0
_WIDE: Final = 0x10
_EMPTY_LIST: Final = 0x45


def _encode(out: bytearray, value: Any) -> None:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise TypeError(f"no AMQP encoding for {type(value).__name__}")
    encoder(out, value)


def _encode_number(out: bytearray, value: Any) -> None:
    for constructor, layout in _NUMBERS[type(value)]:
        try:
            encoded = layout.pack(value)
        except struct.error:
            continue
        out.append(constructor)
        out += encoded
        return
    raise struct.error(f"{value} does not fit {type(value).__name__}")


def _encode_sized(out: bytearray, constructor: int, data: Buffer, *count: int) -> None:
    """Append a value with its size and the count of its items, each in a byte where they fit."""
    if len(data) < 255 and all(number < 256 for number in count):
        out += bytes((constructor, len(data) + len(count), *count))
    else:
        out.append(constructor + _WIDE)
        for number in (len(data) + 4 * len(count), *count):
            out += struct.pack(">I", number)
    out += data


def _encode_described(out: bytearray, value: Described) -> None:
    out.append(0)
    code = value.descriptor
    _encode(out, ULong(code) if isinstance(code, int) else code)
    _encode(out, value.value)


def _encode_array(out: bytearray, value: Array) -> None:
    element = _SYMBOL if value and isinstance(value[0], Symbol) else _STRING
    texts = [each.encode() for each in value]
    body = b"".join(struct.pack(">I", len(text)) + text for text in texts)
    _encode_sized(out, _ARRAY, bytes((element | _WIDE,)) + body, len(value))


def _encode_list(out: bytearray, value: list[Any]) -> None:
    if value:
        _encode_sized(out, _LIST, encode(*value), len(value))
    else:
        out.append(_EMPTY_LIST)


def _encode_map(out: bytearray, value: dict[Any, Any]) -> None:
    parts = list(itertools.chain.from_iterable(value.items()))
    _encode_sized(out, _MAP, encode(*parts), len(parts))


_ENCODERS: Final[dict[type, Callable[[bytearray, Any], None]]] = {
    **dict.fromkeys(_NUMBERS, _encode_number),
    type(None): lambda out, _: out.append(0x40),
    bool: lambda out, value: out.append(0x41 if value else 0x42),
    str: lambda out, value: _encode_sized(out, _STRING, value.encode()),
    Symbol: lambda out, value: _encode_sized(out, _SYMBOL, value.encode()),
    bytes: lambda out, value: _encode_sized(out, _BINARY, value),
    uuid.UUID: lambda out, value: out.extend(b"\x98" + value.bytes),
    Described: _encode_described,
    Array: _encode_array,
    list: _encode_list,
    dict: _encode_map,
}


def _read(
    reader: Callable[[Buffer, int], tuple[T, int]], data: Buffer, position: int
) -> tuple[T, int]:
    try:
        value, end = reader(data, position)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise AmqpError(f"malformed AMQP value at byte {position}: {error}") from error
    if end > len(data):
        raise AmqpError(f"AMQP value at byte {position} is cut short")
    return value, end


def _decode(data: Buffer, position: int, element: int | None = None) -> tuple[Any, int]:
    """Decode a value; the constructor of one in an array stands before the first."""
    constructor = data[position] if element is None else element
    position += element is None
    if constructor == 0 and element is None:
        descriptor, position = _decode(data, position)
        value, position = _decode(data, position)
        return Described(descriptor, value), position
    if constructor in _FIXED:
        kind, layout = _FIXED[constructor]
        return kind(layout.unpack_from(data, position)[0]), position + layout.size
    if constructor in _CONSTANTS:
        return _CONSTANTS[constructor], position
    if constructor == _EMPTY_LIST:
        return [], position
    family = constructor & ~_WIDE
    if family not in (_BINARY, _STRING, _SYMBOL, _LIST, _MAP, _ARRAY):
        raise AmqpError(f"AMQP type 0x{constructor:02x} is not read here")
    size, position = _decode_size(constructor, data, position)
    end = position + size
    if end > len(data):
        raise AmqpError("a value is cut short")
    if family >= _LIST:
        return _decode_items(constructor, data, position, end), end
    raw = bytes(data[position:end])
    if family == _BINARY:
        return raw, end
    return raw.decode() if family == _STRING else Symbol(raw.decode("ascii")), end


def _decode_items(constructor: int, data: Buffer, position: int, end: int) -> Any:
    count, start = _decode_size(constructor, data, position)
    # Every item takes a byte or more; this also refuses an array of four billion nulls.
    if count > end - position:
        raise AmqpError("a compound value counts more than it holds")
    items: list[Any] = []
    array = constructor & ~_WIDE == _ARRAY
    element, position = (data[start], start + 1) if array else (None, start)
    for _ in range(count):
        item, position = _decode(data, position, element)
        items.append(item)
    if position != end:
        raise AmqpError("a compound value does not end where it says")
    if constructor & ~_WIDE == _MAP:
        return dict(zip(items[::2], items[1::2], strict=False))
    return Array(items) if array else items


def _decode_size(constructor: int, data: Buffer, position: int) -> tuple[int, int]:
    """Read a size or count: one byte, or four when the constructor is of the wide kind."""
    if constructor & _WIDE:
        return struct.unpack_from(">I", data, position)[0], position + 4
    return data[position], position + 1


def _skip(data: Buffer, position: int) -> tuple[None, int]:
    constructor = data[position]
    if constructor == 0:
        return _skip(data, _skip(data, position + 1)[1])
    width = _WIDTHS.get(constructor >> 4)
    if width is not None:
        return None, position + 1 + width
    if constructor < _BINARY:
        raise AmqpError(f"AMQP type 0x{constructor:02x} does not exist")
    size, start = _decode_size(constructor, data, position + 1)
    return None, start + size
