"""Splitting: every record is a slice of the body, byte for byte, or the body is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.records import BOM, ErrorBody, event_id, fields, members, split

WHITE = st.text(alphabet=" \t\r\n", max_size=3)
texts = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """The records as they stand in a body, and the body."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    indent = draw(st.sampled_from([None, 0, 2]))
    records = [
        json.dumps(
            value, ensure_ascii=draw(st.booleans()), separators=separators, indent=indent
        ).encode("utf-8", "surrogatepass")
        for value in draw(st.lists(values, max_size=5))
    ]
    parts = [b"%b%b%b" % (_white(draw), record, _white(draw)) for record in records]
    return records, _white(draw) + b"[" + (b",".join(parts) or _white(draw)) + b"]" + _white(draw)


def _white(draw: st.DrawFn) -> bytes:
    return draw(WHITE).encode()


@given(bodies(), st.booleans())
@settings(max_examples=150)
def test_records_are_the_bodys_own_bytes_and_what_json_reads(
    made: tuple[list[bytes], bytes], bom: bool
) -> None:
    records, body = made

    found = split(BOM + body if bom else body)

    assert found == records
    assert [json.loads(each) for each in found] == json.loads(body)


@given(
    bodies(), st.sampled_from([rb'{"a":"\ud800"}', rb'"\uDFFF"', b'"\xff\xfe"', b'"\xed\xa0\x80"'])
)
@settings(max_examples=100)
def test_a_record_with_a_lone_surrogate_or_bytes_that_are_not_utf_8_changes_nothing_else(
    made: tuple[list[bytes], bytes], odd: bytes
) -> None:
    records, body = made
    rest = body.lstrip()[1:]
    body = b"[ " + odd + (b" , " if records else b" ") + rest

    assert split(body) == [odd, *records]


@given(bodies(), st.data())
@settings(max_examples=100)
def test_a_body_cut_anywhere_is_refused(
    made: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    body = made[1].strip()

    with pytest.raises(Permanent) as caught:
        split(body[: data.draw(st.integers(0, len(body) - 1))])

    assert caught.value.code == "not-records"


@given(bodies(), st.text(min_size=1, max_size=5).filter(lambda text: text.strip(" \t\r\n") != ""))
@settings(max_examples=50)
def test_what_follows_the_array_refuses_the_body(
    made: tuple[list[bytes], bytes], rest: str
) -> None:
    with pytest.raises(Permanent):
        split(made[1] + rest.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_no_bytes_lead_to_anything_but_records_or_a_refusal(data: bytes) -> None:
    try:
        records = split(b"[" + data + b"]")
    except Permanent:
        return
    assert all(record in data for record in records)


def test_entries_that_are_no_objects_are_records_too() -> None:
    assert split(b'[1, "a", null, [2 , 3], {}]') == [b"1", b'"a"', b"null", b"[2 , 3]", b"{}"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"error":{"code":"AF50000","message":"x"}}', id="plain"),
        pytest.param(b' \r\n{"error":1}', id="after-blanks"),
        pytest.param(BOM + b'{"error":1}', id="after-a-byte-order-mark"),
        pytest.param(rb'{"error":"\ud800"}', id="with-a-lone-surrogate"),
        pytest.param(b"{'error':{'code':'AF429'}}", id="single-quoted"),
    ],
)
def test_an_object_in_place_of_records_is_told_apart(body: bytes) -> None:
    with pytest.raises(ErrorBody):
        split(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="blank"),
        pytest.param(BOM, id="byte-order-mark"),
        pytest.param(b"null", id="null"),
        pytest.param(b"17", id="number"),
        pytest.param(b'"[1]"', id="text"),
        pytest.param(b"<html>Service Unavailable</html>", id="html"),
        pytest.param("[1]".encode("utf-16"), id="utf-16"),
        pytest.param(b"[1,]", id="trailing-comma"),
        pytest.param(b"[,1]", id="leading-comma"),
        pytest.param(b"[1 2]", id="no-comma"),
        pytest.param(b'[{"a":1}][{"b":2}]', id="two-arrays"),
        pytest.param(b"[1]\n[2]", id="an-array-a-line"),
        pytest.param(b"[{'Id':'1'}]", id="single-quoted-records"),
    ],
)
def test_a_body_that_is_no_array_of_records_is_refused(body: bytes) -> None:
    with pytest.raises(Permanent) as caught:
        split(body)

    assert caught.value.code == "not-records"


@pytest.mark.parametrize("depth", [100, 5000, 200_000])
@pytest.mark.parametrize("more", [b"", rb',"\ud800"'], ids=["fast", "slow"])
def test_deep_nesting_is_split_or_refused_and_never_a_crash(depth: int, more: bytes) -> None:
    deep = b"[" * depth + b"]" * depth

    try:
        first = split(b"[" + deep + more + b"]")[0]
    except Permanent:
        assert depth > 100
    else:
        assert first == deep


# -- ids


def _blake(record: bytes) -> str:
    return hashlib.blake2b(record, digest_size=16).hexdigest()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(b'{"Id":"one","id":"two"}', "one", id="plain"),
        pytest.param(b'{"a":{"Id":"inner"},"Id":"outer"}', "outer", id="not-the-inner-one"),
        pytest.param('{"Id":"ä→"}'.encode(), "ä→", id="unicode"),
        pytest.param(b'{"Id":" 0-1 "}', " 0-1 ", id="as-it-stands"),
        pytest.param(rb'{"x":"\ud800","Id":"one"}', "one", id="beside-a-lone-surrogate"),
        pytest.param(rb'{"Id":"\ud83d\ude00"}', "😀", id="surrogate-pair"),
        pytest.param(b'{"Id":"' + b"x" * 1024 + b'"}', "x" * 1024, id="the-longest"),
        pytest.param(b'{"x":"\xff","Id":"one"}', "one", id="beside-bytes-that-are-not-utf-8"),
    ],
)
def test_the_id_of_an_event_is_the_records_own(record: bytes, expected: str) -> None:
    assert event_id(record) == expected


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"{}", id="none"),
        pytest.param(b'{"Id":""}', id="empty"),
        pytest.param(b'{"Id":" \\t"}', id="blank"),
        pytest.param(b'{"Id":"00000000-0000-0000-0000-000000000000"}', id="zeros"),
        pytest.param(
            rb'{"x":"\ud800","Id":"{00000000-0000-0000-0000-000000000000}"}', id="odd-zeros"
        ),
        pytest.param(b'{"Id":null}', id="null"),
        pytest.param(b'{"Id":17}', id="number"),
        pytest.param(b'{"id":"lower"}', id="lower-case"),
        pytest.param(rb'{"Id":"\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"Id":"\xff"}', id="not-utf-8"),
        pytest.param(b'{"Id":"' + b"x" * 1025 + b'"}', id="longer-than-any"),
        pytest.param(b'"text"', id="no-object"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="deep"),
        pytest.param(rb'["\ud800",' + b"[" * 100_000 + b"]" * 100_000 + b"]", id="deep-and-odd"),
    ],
)
def test_a_record_without_an_id_is_known_by_its_bytes(record: bytes) -> None:
    assert event_id(record) == _blake(record)


@given(values)
@settings(max_examples=50)
def test_an_id_is_stable_and_can_travel_as_a_property(value: Any) -> None:
    record = json.dumps({"Id": value}).encode()

    found = event_id(record)

    assert found == event_id(record)
    assert found.encode()


# -- objects


@given(st.dictionaries(texts, values, max_size=5), st.sampled_from([None, 1]))
def test_the_members_of_an_object_are_its_own_bytes(
    value: dict[str, Any], indent: int | None
) -> None:
    body = json.dumps(value, indent=indent).encode()

    found = members(body)

    assert {name: json.loads(raw) for name, raw in found.items()} == value
    assert all(raw in body for raw in found.values())


@given(st.dictionaries(texts, values, max_size=5))
def test_what_msgspec_refuses_is_cut_at_the_same_places(value: dict[str, Any]) -> None:
    body = json.dumps({**value, "odd": "MARK"}).replace("MARK", "\\ud83d").encode()

    found = members(b" \n" + body + b"\r\n")

    assert found.pop("odd") == b'"\\ud83d"'
    value.pop("odd", None)
    assert {name: json.loads(raw) for name, raw in found.items()} == value


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"17", b'{"a":1', b'{"a" 1}', b'{"a":1}x', b'{"a":1,}', b"{1:2}", b"<html>"]
    + [b'{"a":"\\ud83d"', b'{"a":"\\ud83d"}x', b'{"a":"\\ud83d",}', b'{1:"\\ud83d"}'],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Permanent) as caught:
        members(body)

    assert caught.value.code == "not-records"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"a":"x","b":{"c":1},"z":0}', ("x", {"c": 1})),
        (b'{"a":null}', (None, None)),
        (b'{"a":"\\ud83d","b":2}', ("\ud83d", 2)),
        (b"[]", (None, None)),
        (b'"a"', (None, None)),
        (b"{", (None, None)),
        (b'{"a":' + b"[" * 100_000, (None, None)),
    ],
)
def test_fields_are_read_or_missing(record: bytes, expected: tuple[object, object]) -> None:
    assert fields(record, ("a", "b")) == expected
