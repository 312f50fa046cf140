"""Error bodies as they come: in any order, cut, or with more around them; the code is found or there is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import CollectorError, Throttled
from shared.policy import Area
from shared.service.answers import error_code, error_for, error_text
from shared.service.http import Response

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

codes = st.from_regex(r"\AAF[0-9]{3,5}\Z") | st.sampled_from(["AF429", "AF10001", "AF20055"])
messages = st.text(max_size=30) | st.just("m" * 5000)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A code, a message, and an error body that holds both."""
    code, message = draw(codes), draw(messages)
    fields: list[tuple[str, object]] = [("code", code), ("message", message)]
    more: list[tuple[str, object]] = [
        ("innerError", {"date": "x"}),
        ("target", None),
        ("details", []),
    ]
    fields += draw(st.lists(st.sampled_from(more), unique_by=lambda each: each[0]))
    error = dict(draw(st.permutations(fields)))
    text = json.dumps(
        {"error": error},
        indent=draw(st.sampled_from([None, 0, 4])),
        ensure_ascii=draw(st.booleans()),
    )
    return code, message, text.encode("utf-8", "surrogatepass")


@given(bodies())
@settings(max_examples=100)
def test_the_code_and_the_message_of_a_body_are_found_in_any_order(
    made: tuple[str, str, bytes],
) -> None:
    code, message, data = made

    assert error_code(data) == code
    assert error_text(data) == message[:200]


@given(bodies(), st.integers(0, 200), st.booleans(), st.booleans())
@settings(max_examples=100)
def test_no_body_however_spoilt_is_more_than_an_error_and_never_another_code(
    made: tuple[str, str, bytes], cut: int, single: bool, bom: bool
) -> None:
    code, _, data = made
    if single:
        data = data.replace(b'"', b"'")
    data = (b"\xef\xbb\xbf" if bom else b"") + data[: max(0, len(data) - cut)]

    found = error_code(data)

    assert found in ("", code)
    for status in (200, 400, 401, 403, 429, 500):
        answer = Response(status=status, headers={}, body=data)
        error = error_for(answer, lambda: NOW, area=Area.API)
        assert isinstance(error, CollectorError)
        assert len(str(error)) < 2000
        if found == "AF429" or status == 429:
            assert isinstance(error, Throttled)


BODY = '{"error":{"code":"AF20023","message":"The subscription was disabled."}}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY.encode(), id="plain"),
        pytest.param(BODY.encode("utf-8-sig"), id="byte-order-mark"),
        pytest.param(BODY.encode("utf-16"), id="utf-16"),
        pytest.param(b"\xef\xbb\xbf\r\n\r\n" + BODY.encode(), id="mark-and-blank-lines"),
        pytest.param(b"\x1f" + BODY.encode(), id="stray-byte"),
        pytest.param(BODY.encode() + b"\x00\r\n", id="bytes-after"),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_what_stands_before_an_error_hides_neither_its_code_nor_its_message(
    body: bytes, status: int
) -> None:
    error = error_for(Response(status=status, headers={}, body=body), lambda: NOW, area=Area.API)

    assert error.code == "AF20023"
    assert "The subscription was disabled." in str(error)


@pytest.mark.parametrize("inside", [b"\xe9", b"\n", b"\t"])
def test_a_byte_that_does_not_belong_into_a_message_does_not_hide_it(inside: bytes) -> None:
    body = BODY.encode().replace(b"disabled.", inside + b"disabled.")

    assert "The subscription was" in error_text(body)


@given(st.binary(max_size=200), st.binary(max_size=40))
@settings(max_examples=100)
def test_bytes_before_and_after_an_error_change_nothing_of_its_code(
    before: bytes, after: bytes
) -> None:
    assert error_code(before.replace(b"code", b"") + b"{'code':'AF20031'}" + after) == "AF20031"
