"""What is taken of a damaged array: records that were there, and nothing that somebody wrote into one of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.records import Records, cut_in, event_id, read_letters, read_records, split
from shared.salvage import is_valid

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
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("Id", "Name", "b")), inner, max_size=3),
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
