from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.eventhubs.amqp import (
    AmqpError,
    Array,
    Described,
    Int,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    encode,
    sections,
    skip,
)


def _numbers(kind: type[int], bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(low, high).map(kind)


_ASCII = st.characters(min_codepoint=32, max_codepoint=126)
_SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    _numbers(UByte, 8, signed=False),
    _numbers(UShort, 16, signed=False),
    _numbers(UInt, 32, signed=False),
    _numbers(ULong, 64, signed=False),
    _numbers(Int, 32, signed=True),
    _numbers(int, 64, signed=True),
    _numbers(Timestamp, 64, signed=True),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.text(_ASCII, max_size=300).map(Symbol),
    st.binary(max_size=300),
    st.uuids(),
    st.lists(st.text(max_size=20), max_size=5).map(Array),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.text(max_size=20), inner, max_size=6),
        st.builds(Described, _numbers(ULong, 64, signed=False), inner),
    ),
    max_leaves=20,
)


def _typed(value: Any) -> Any:
    """Make types part of what is compared."""
    if isinstance(value, Described):
        return Described, _typed(value.descriptor), _typed(value.value)
    if isinstance(value, dict):
        return {_typed(key): _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return type(value), [_typed(item) for item in value]
    return type(value), value


@settings(deadline=None)
@given(_VALUES)
def test_every_value_comes_back_with_its_wire_type(value: Any) -> None:
    encoded = encode(value)
    decoded, end = decode(encoded)
    assert _typed(decoded) == _typed(value)
    assert end == len(encoded)


@settings(deadline=None)
@given(_VALUES, st.binary(max_size=4))
def test_skipping_a_value_ends_where_decoding_it_does(value: Any, after: bytes) -> None:
    encoded = bytes(encode(value)) + after
    assert skip(encoded, 0) == decode(encoded)[1] == len(encoded) - len(after)


@settings(deadline=None)
@given(_VALUES, st.data())
def test_a_value_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = encode(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(AmqpError):
        decode(cut)
    with pytest.raises(AmqpError):
        skip(cut, 0)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_an_amqp_error(data: bytes) -> None:
    for read in (decode, lambda bytes_: skip(bytes_, 0), lambda bytes_: list(sections(bytes_))):
        try:
            read(data)
        except AmqpError:
            continue


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        pytest.param("40", None, id="null"),
        pytest.param("5601", True, id="boolean in a byte"),
        pytest.param("42", False, id="false"),
        pytest.param("43", UInt(0), id="uint zero"),
        pytest.param("52ff", UInt(255), id="uint in a byte"),
        pytest.param("44", ULong(0), id="ulong zero"),
        pytest.param("8000000000000000ff", ULong(255), id="ulong wide"),
        pytest.param("55ff", -1, id="long in a byte"),
        pytest.param("51ff", -1, id="byte"),
        pytest.param("610100", 256, id="short"),
        pytest.param("723fc00000", 1.5, id="float"),
        pytest.param("a1026869", "hi", id="string"),
        pytest.param("b3000000026869", Symbol("hi"), id="symbol, wide"),
        pytest.param("c0040241a000", [True, b""], id="list"),
        pytest.param("c1050254015402", {Int(1): Int(2)}, id="map"),
        pytest.param("e00802a3026869026f6b", ["hi", "ok"], id="array of symbols"),
        pytest.param("98" + "00" * 15 + "01", uuid.UUID(int=1), id="uuid"),
    ],
)
def test_known_encodings_are_read(encoded: str, expected: object) -> None:
    data = bytes.fromhex(encoded)
    assert decode(data) == (expected, len(data))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("f00000000affffffff4040404040", id="array of four billion nulls"),
        pytest.param("c10301c00100", id="map with an unhashable key"),
        pytest.param("73000000ff", id="char, which nobody sends"),
        pytest.param("c0020554", id="list that counts more than it holds"),
        pytest.param("e00302a302", id="array cut short"),
        pytest.param("00" * 5000, id="endless descriptors"),
    ],
)
def test_hostile_encodings_are_refused(encoded: str) -> None:
    with pytest.raises(AmqpError):
        decode(bytes.fromhex(encoded))


def test_what_has_no_encoding_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no AMQP encoding for object"):
        encode(object())


def test_sections_are_found_with_their_bounds() -> None:
    first, second = encode(Described(0x72, {"k": 1})), encode(Described(0x75, b"body"))
    spans = list(sections(first + second))
    assert [(span.code, span.start, span.end) for span in spans] == [
        (0x72, 0, len(first)),
        (0x75, len(first), len(first) + len(second)),
    ]
    assert decode(first + second, spans[1].value)[0] == b"body"
