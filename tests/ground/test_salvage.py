"""What is taken of a damaged array: records that were there, and nothing that somebody wrote into one of them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.records import Records, cut_in, event_id, read_letters, read_records, split
from shared.records.salvage import is_valid

EVIL = (
    '},{"Id":"x"}',
    '"},{"Id":"x"}',
    '},{"Id":"x"},{"Id":"',
    '"},{},7,{"',
    "},{},[],7",
    "a},{",
    ":1}",
    ":1},",
    "]",
    "]}",
    "\\",
    '\\"',
    "{Id",
    ",",
)
"""What somebody writes into a subject who knows how bodies are read."""

texts = st.lists(st.sampled_from(EVIL) | st.text(max_size=6), max_size=3).map("".join)
values = st.recursive(
    texts | st.integers(0, 99) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("Id", "Name", "b")), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.fixed_dictionaries(
    {"Id": texts}, optional={"Subject": texts, "Number": st.integers(0, 99), "More": values}
)


BEGINS = re.compile(rb'\{[ \n]*"[^ \n,:\]}"]')


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[bytes], int, bytes, bytes]:
    """Records, which of them is damaged, what it is now, and the body."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    many = [
        json.dumps(each, separators=separators, ensure_ascii=draw(st.booleans())).encode()
        for each in draw(st.lists(objects, min_size=1, max_size=5))
    ]
    which = draw(st.integers(0, len(many) - 1))
    bad = _damage(draw, many[which])
    parts = [*many[:which], bad, *many[which + 1 :]]
    return many, which, bad, b"[" + b",".join(parts) + b"]"


def _damage(draw: st.DrawFn, raw: bytes) -> bytes:
    how = draw(st.sampled_from(("cut", "flip", "bracket", "quote")))
    if how == "cut":
        return raw[: draw(st.integers(0, len(raw) - 1))]
    if how == "flip":
        at = draw(st.integers(0, len(raw) - 1))
        byte = draw(st.sampled_from(b'"{}[],:\\ x1') | st.integers(0, 255))
        return raw[:at] + bytes([byte]) + raw[at + 1 :]
    marks = b"{}[]" if how == "bracket" else b'"'
    places = [at for at, byte in enumerate(raw) if byte in marks]
    if how == "quote" and (escaped := [at for at in places if raw[at - 1 : at] == b"\\"]):
        at = draw(st.sampled_from(escaped)) - 1
    else:
        at = draw(st.sampled_from(places))
    return raw[:at] + raw[at + 1 :]


def _cut(body: bytes) -> Records | None:
    try:
        return read_records(body)
    except Permanent:
        return None


@given(damaged())
@settings(max_examples=300, deadline=None)
def test_whatever_is_damaged_no_record_is_made_up_and_none_before_it_is_missing(
    made: tuple[list[bytes], int, bytes, bytes],
) -> None:
    many, which, bad, body = made

    found = _cut(body)

    if found is None:
        # Nothing of it is a record; all of it is kept.
        assert which == 0 or (which == 1 and not BEGINS.match(bad))
        return
    if found.damage is None:
        # It is records still, and nobody can see what happened to one of them.
        return
    bodies = list(found.bodies)
    before, after = bodies[: found.damage.before], bodies[found.damage.before :]
    assert before == many[: len(before)]
    # Where its beginning is damaged, the one before it may be what was damaged.
    assert len(before) == which or (len(before) == which - 1 and not BEGINS.match(bad))
    # A flip that leaves a record by itself cannot be told from one.
    assert after == many[len(many) - len(after) :] or after[0] in bad
    assert len(after) < len(many) - which or after[0] in bad
    _assert_nothing_is_missing(body, found)


def _assert_nothing_is_missing(body: bytes, found: Records) -> None:
    """Records and damage are the body, but for brackets, commas and blanks between them."""
    assert found.damage is not None
    at = found.damage.before
    rest = body
    for part in [*found.bodies[:at], found.damage.raw, *found.bodies[at:]]:
        start = rest.index(part)
        assert not rest[:start].strip(b" \t\r\n,["), rest
        rest = rest[start + len(part) :]
    assert not rest.strip(b" \t\r\n]")
    assert body[found.damage.offset :].lstrip().startswith(found.damage.raw)


GOOD = [b'{"Id":"%d","Subject":"s","Parameters":[{"Name":"n","Value":"v"}]}' % n for n in range(5)]
SAMPLE = (
    b'{"Id":"2","CreationTime":"2026-03-01T10:00:00","Subject":"a \\"b\\" c","Size":12,'
    b'"Item":{"Path":"x\\\\y"},"Parameters":[{"Name":"n","Value":"v"},{"Name":"m"}],"Last":true}'
)


def _without(mark: bytes, number: int = 0) -> bytes:
    at = [place for place in range(len(SAMPLE)) if SAMPLE.startswith(mark, place)][number]
    return SAMPLE[:at] + SAMPLE[at + len(mark) :]


MATRIX = {
    "a raw newline": SAMPLE.replace(b"a \\", b"a\n \\"),
    "a raw tab": SAMPLE.replace(b"a \\", b"a\t \\"),
    "a raw NUL": SAMPLE.replace(b"a \\", b"a\x00 \\"),
    "a raw escape": SAMPLE.replace(b"a \\", b"a\x1b \\"),
    "not a number": SAMPLE.replace(b"12", b"NaN"),
    "a hexadecimal escape": SAMPLE.replace(b"a \\", b"\\x41 \\"),
    "half an escape": SAMPLE.replace(b"a \\", b"\\u12 \\"),
    "an unescaped backslash": SAMPLE.replace(b"x\\\\y", b"x\\y"),
    "an unescaped quote": SAMPLE.replace(b'\\"b', b'"b'),
    "another unescaped quote": SAMPLE.replace(b'b\\"', b'b"'),
    "an escaped end of a string": SAMPLE.replace(b'v"', b'v\\"'),
    "no opening quote of a key": _without(b'"'),
    "no closing quote of a key": _without(b'"', 1),
    "no opening quote of a value": _without(b'"', 2),
    "no closing quote of a value": _without(b'"', 3),
    "no opening bracket": _without(b"{"),
    "no opening bracket inside": _without(b"{", 1),
    "no closing bracket inside": _without(b"}"),
    "no closing bracket of an element": _without(b"}", 1),
    "no closing bracket": SAMPLE[:-1],
    "no opening bracket of a list": _without(b"["),
    "no closing bracket of a list": _without(b"]"),
    "no colon": _without(b":"),
    "no comma": _without(b","),
    "a comma too many": SAMPLE.replace(b"12,", b"12,,"),
    "no value": SAMPLE.replace(b"12", b""),
    "a word": SAMPLE.replace(b"true", b"undefined"),
    "a number that is none": SAMPLE.replace(b"12", b"012"),
    "single quotes": SAMPLE.replace(b'"Last"', b"'Last'"),
    "a number for a bracket": SAMPLE.replace(b"12", b"1}"),
    "a comment": SAMPLE.replace(b"12", b"/* */ 12"),
    "nothing": b"",
    "cut in a key": SAMPLE[:12],
    "cut in a string": SAMPLE[: SAMPLE.index(b"b\\")],
    "cut after a value": SAMPLE[: SAMPLE.index(b',"Size"')],
    "cut in a list": SAMPLE[: SAMPLE.index(b',{"Name":"m"')],
}
TAKEN = {"a raw newline", "a raw tab", "a raw NUL", "a raw escape", "not a number"}


def test_of_36_damages_of_one_record_in_five_one_keeps_siblings_back() -> None:
    assert len(MATRIX) == 36
    flow, held = 0, set()
    for name, bad in MATRIX.items():
        body = b"[" + b",".join([*GOOD[:2], bad, *GOOD[3:]]) + b"]"
        found = read_records(body)
        bodies = [each for each in found.bodies if each != bad]
        assert not set(bodies) - set(GOOD), name
        flow += len(bodies)
        if len(bodies) < 4:
            held.add(name)
        if name in TAKEN:
            assert found.damage is None
            assert list(found.columns["json"]) == ["", "", "invalid", "", ""]
        else:
            assert found.damage is not None, name
            assert list(found.columns.get("recovered", ())).count("true") == len(bodies) - 2
            _assert_nothing_is_missing(body, found)
    # Cut inside a list, the records after it may be elements of that list.
    assert (flow, held) == (4 * 35 + 2, {"cut in a list"})


TRAPS = {
    # Elements of a list, as far as anybody can tell, and so may be the records that follow.
    "cut inside a list": (b'{"Id":"2","More":[{"Id":"a"},{"Id":"b"}', 1, 0),
    # The string ends where its author wanted it to.
    "a quote unescaped": (b'{"Id":"2","S":"x"},{},7,[],null,{","T":"y"}', 1, 2),
    "a quote unescaped, with a list of strings": (
        b'{"Id":"2","S":["x"]},{",":1},{","y"]}',
        1,
        2,
    ),
    # Its head alone would pass for a record.
    "a bracket for a digit": (b'{"Id":"2","Size":1},"Last":true}', 1, 2),
    # The same, but that the record before it has the key itself.
    "no opening bracket": (b'"Id":"2","Last":true}', 1, 2),
    "an object without its bracket": (b'"More":{"Id":"a"},"Last":true}', 0, 2),
    "a string cut before a bracket": (b'{"Id":"2","S":"},{"', 1, 2),
}
"""Bytes in place of a record, and how many of the records around them are taken: of one before, of two after."""


@pytest.mark.parametrize("name", TRAPS)
def test_what_passes_for_a_record_is_none(name: str) -> None:
    bad, before, after = TRAPS[name]
    first, second, third = (b'{"Id":"%d","Subject":"s"}' % n for n in (1, 3, 4))
    body = b"[" + b",".join([first, bad, second, third]) + b"]"

    found = read_records(body)

    assert found.damage is not None
    assert list(found.bodies) == [first][:before] + [second, third][:after]
    assert bad in found.damage.raw
    _assert_nothing_is_missing(body, found)


def test_a_comma_that_is_missing_between_two_records_damages_neither() -> None:
    found = read_records(b"[" + GOOD[0] + b" " + GOOD[1] + b"," + GOOD[2] + b"]")

    assert list(found.bodies) == GOOD[:3]
    assert found.damage is not None
    assert found.damage.raw == b""
    assert found.columns == {"recovered": ["", "true", "true"]}


def test_what_is_damaged_twice_is_one_piece_from_the_first_to_the_last() -> None:
    between = [b"{oops}", GOOD[1], GOOD[2], b'{"Id":oops}']
    body = b"[" + b",".join([GOOD[0], *between, GOOD[3]]) + b"]"

    found = read_records(body)

    assert list(found.bodies) == [GOOD[0], GOOD[3]]
    assert found.damage is not None
    assert found.damage.raw == b",".join(between)
    assert found.damage.place == f"record 2, from byte {len(GOOD[0]) + 2}, is not JSON"


@pytest.mark.parametrize("body", [b"[oops]", b"[", b'[{"Id":1', b"[]x", b'["a" 1]'])
def test_of_what_holds_no_record_nothing_is_taken(body: bytes) -> None:
    with pytest.raises(Permanent) as caught:
        read_records(body)

    assert caught.value.code == "not-records"


@pytest.mark.parametrize("odd", [b'{"a":"\n"}', b'{"a":NaN}', b'{"a":}'])
def test_a_listing_is_taken_as_a_whole_or_not_at_all(odd: bytes) -> None:
    with pytest.raises(Permanent, match="record 2"):
        split(b"[{}," + odd + b",{}]")


def test_a_body_made_to_be_slow_is_not() -> None:
    """Every comma in it begins a record that breaks off at the end."""
    body = b'[{"a":oops}' + b',{"a":1}' * 20_000 + b',{"a":oops}' + b',{"a":[0' * 5_000

    with pytest.raises(Permanent):
        read_records(body)


def test_an_id_beside_control_characters_is_the_records_own() -> None:
    assert event_id(b'{"Subject":"a\nb","Id":"one"}') == "one"
    assert event_id(b'{"Id":"a\nb"}') == "a\nb"


def test_what_dead_letters_hold_says_what_is_no_json() -> None:
    found = read_letters([GOOD[0], GOOD[1][:-1], b'{"a":"\n"}', b"{} x"])

    assert found.columns == {"json": ["", "invalid", "invalid", "invalid"]}
    assert read_letters(GOOD).columns == {}
    assert is_valid(b' {"a":"\xff"} ')


# -- an array in an object


@pytest.mark.parametrize("before", [b"", b'"a":1,', b' "a" : 1 , '])
@pytest.mark.parametrize("after", [b"}", b' , "next":"x"}', b',"next":"x","z":[2]} \n'])
def test_of_a_damaged_array_in_an_object_the_rest_is_taken(before: bytes, after: bytes) -> None:
    array = b"[" + b",".join([GOOD[0], b"{oops}", GOOD[1]]) + b"]"

    cut, found = cut_in(b"{" + before + b'"value":' + array + after, "value")

    assert cut.records == GOOD[:2]
    assert cut.damage is not None
    members = {"a": b"1"} if before else {}
    members |= {"next": b'"x"'} if b"next" in after else {}
    assert found == members | ({"z": b"[2]"} if b"z" in after else {})


def test_an_empty_array_beside_a_member_that_is_no_valid_json_is_empty() -> None:
    cut, found = cut_in(b'{"a":"\n","value":[ ],"next":"x"}', "value")

    assert (cut.records, cut.damage, cut.invalid) == ([], None, frozenset())
    assert found == {"a": b'"\n"', "next": b'"x"'}


@given(damaged(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_in_an_object_the_same_is_taken_and_its_other_members(
    made: tuple[list[bytes], int, bytes, bytes], first: bool
) -> None:
    link = b'"next":"https://x"'
    body = b'{"a":1,%b"value":%b%b}' % (
        (link + b"," if first else b""),
        made[3],
        (b"" if first else b"," + link),
    )

    try:
        cut, found = cut_in(body, "value")
    except Permanent:
        return

    assert found["next"] == b'"https://x"'
    assert {each for each in cut.records if each not in made[2]} <= set(made[0])


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":oops,"value":[{}]}',
        b'{"value":[{"a":1},oops',
        b'{"value":oops}',
        b"{oops}",
        b'{"value":[{},{oops}]}x',
        b'{"value":[{},{oops}],"a"}',
        b'{"value":[{},{oops}];"a":1}',
    ],
)
def test_an_object_that_is_damaged_elsewhere_is_refused(body: bytes) -> None:
    with pytest.raises(Permanent):
        cut_in(body, "value")
