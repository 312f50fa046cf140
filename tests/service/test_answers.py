"""Answers: status and code lead to the error that says what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from shared.errors import (
    AuthError,
    CollectorError,
    ConfigError,
    Permanent,
    Throttled,
    Transient,
)
from shared.policy import UNKNOWN, Area
from shared.service.answers import MAX_PAUSE, error_code, error_for, error_text, retry_after
from shared.service.http import Response

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def body(code: str, message: str = "Something.") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def meaning(
    status: int, data: bytes = b"", area: Area = Area.API, **headers: str
) -> CollectorError:
    named = CaseInsensitiveDict({name.replace("_", "-"): text for name, text in headers.items()})
    return error_for(Response(status=status, headers=named, body=data), lambda: NOW, area=area)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "AF10001", AuthError),
        (403, "AF10001", AuthError),
        (401, "AF20010", ConfigError),
        (400, "AF20011", ConfigError),
        (400, "AF20012", ConfigError),
        (400, "AF20013", ConfigError),
        (400, "AF20020", ConfigError),
        (400, "AF20001", Permanent),
        (400, "AF20002", Permanent),
        (400, "AF20022", Permanent),
        (400, "AF20023", Permanent),
        (400, "AF20024", Permanent),
        (400, "AF20030", Permanent),
        (400, "AF20031", Permanent),
        (404, "AF20050", Permanent),
        (410, "AF20051", Permanent),
        (400, "AF20052", Permanent),
        (400, "AF20055", Permanent),
        (500, "AF50000", Transient),
        (403, "AF429", Throttled),
        (429, "AF429", Throttled),
        (200, "AF429", Throttled),
        (500, "AF20051", Permanent),
        (200, "AF50005", Transient),
    ],
)
def test_a_known_code_decides_whatever_the_status(
    status: int, code: str, kind: type[CollectorError]
) -> None:
    error = meaning(status, body(code))

    assert type(error) is kind
    assert (error.code, error.status) == (code, status)
    assert code in str(error)
    assert "Something." in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, AuthError, "http-401"),
        (403, Transient, "http-403"),
        (404, Permanent, "http-404"),
        (410, Permanent, "http-410"),
        (408, Transient, "http-408"),
        (429, Throttled, "throttled"),
        (500, Transient, "http-500"),
        (502, Transient, "http-502"),
        (503, Transient, "http-503"),
        (504, Transient, "http-504"),
        (418, Transient, "http-418"),
    ],
)
@pytest.mark.parametrize("data", [b"", b"<html>"], ids=["empty", "html"])
def test_without_a_code_the_status_decides(
    status: int, kind: type[CollectorError], code: str, data: bytes
) -> None:
    error = meaning(status, data)

    assert (type(error), error.code, error.status) == (kind, code, status)


@pytest.mark.parametrize("status", [400, 403, 404, 418])
def test_an_unknown_code_is_taken_for_a_passing_failure_and_said_to_be_unknown(status: int) -> None:
    error = meaning(status, body("AF99999"))

    assert isinstance(error, Transient)
    assert error.code == "AF99999"
    assert "does not know" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{'error':{'code':'AF429','message':'Too many requests'}}", id="single"),
        pytest.param(b'{ "error" : { "code" : "AF429" } }', id="blanks"),
        pytest.param(b"\xef\xbb\xbf" + body("AF429"), id="byte-order-mark"),
        pytest.param(b'{"Error":{"code":"AF429","message":"' + b"x" * 9999, id="cut-short"),
    ],
)
def test_the_code_is_found_in_bodies_that_are_no_json(data: bytes) -> None:
    assert error_code(data) == "AF429"
    assert isinstance(meaning(403, data), Throttled)


@pytest.mark.parametrize(
    "quoted",
    [
        pytest.param(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl", id="a-jwt"
        ),
        pytest.param("Bearer opaque-token-0123456789", id="a-header"),
        pytest.param("x" * 190 + " Bearer opaque-token-0123456789", id="at-the-cut"),
    ],
)
def test_a_token_that_the_service_quotes_is_not_repeated(quoted: str) -> None:
    data = json.dumps({"error": {"code": "AF10001", "message": f"refused: '{quoted}'"}}).encode()

    text = str(meaning(403, data))

    assert "refused: '" in text
    assert not any(part in text for part in ("eyJ", "opaque", "c2lnbmF0dXJl"))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"code":17}', b'{"code":"' + b"x" * 65 + b'"}', b"\xff"]
)
def test_no_code_is_found_where_there_is_none(data: bytes) -> None:
    assert error_code(data) == ""


@pytest.mark.parametrize("area", [Area.API, Area.TRACE])
@pytest.mark.parametrize(
    "word",
    ["stopped", "closed", "BlobAlreadyExists", "sink-throttled", "trace-app-missing", "paging"],
)
def test_a_word_that_means_something_of_others_means_nothing_in_an_answer(
    word: str, area: Area
) -> None:
    error = meaning(500, body(word), area)

    assert (type(error), error.code) == (Transient, "http-500")
    assert word in str(error)


@pytest.mark.parametrize("code", ["AF20011", "AF20051", "AF429"])
def test_a_code_of_the_management_api_means_nothing_in_an_answer_of_message_trace(
    code: str,
) -> None:
    error = meaning(500, body(code), Area.TRACE)

    assert (type(error), error.code) == (Transient, "http-500")


def test_an_unknown_code_is_said_to_be_one_of_who_answered() -> None:
    found = {area: str(meaning(418, body("Teapot"), area)) for area in (Area.API, Area.TRACE)}

    assert found[Area.API].startswith(UNKNOWN[Area.API].message)
    assert found[Area.TRACE].startswith(UNKNOWN[Area.TRACE].message)
    assert len(set(found.values())) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("0", 0.0, id="zero"),
        pytest.param("17", 17.0, id="seconds"),
        pytest.param(" 17 ", 17.0, id="blanks"),
        pytest.param(format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0, id="date"),
        pytest.param("Sun, 01 Mar 2026 12:00:30 -0000", 30.0, id="date-without-a-zone"),
        pytest.param("Sun, 01 Mar 2026 11:00:00 GMT", 0.0, id="past"),
        pytest.param("86400000", MAX_PAUSE, id="absurd-seconds"),
        pytest.param("9" * 400, MAX_PAUSE, id="no-float-holds-it"),
        pytest.param("Wed, 01 Mar 2045 12:00:00 GMT", MAX_PAUSE, id="absurd-date"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="word"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("²", None, id="superscript"),
        pytest.param("Sun, 99 Mar 2026 12:00:30 GMT", None, id="no-such-day"),
    ],
)
def test_both_forms_of_retry_after_are_read_and_bounded(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}, lambda: NOW) == seconds


def test_retry_after_comes_with_the_throttling_whatever_its_case() -> None:
    error = meaning(403, body("AF429"), retry_after="12")

    assert isinstance(error, Throttled)
    assert error.retry_after == 12.0


@pytest.mark.parametrize("off", [-timedelta(hours=1), timedelta(hours=1)], ids=["slow", "fast"])
def test_a_date_to_come_back_at_is_read_by_the_clock_that_named_it(off: timedelta) -> None:
    at = format_datetime(NOW + timedelta(seconds=7), usegmt=True)
    headers = {"Date": format_datetime(NOW, usegmt=True), "Retry-After": at}

    assert retry_after(headers, lambda: NOW + off) == 7


def test_a_missing_retry_after_is_unknown() -> None:
    assert retry_after({}, lambda: NOW) is None


@given(st.text(max_size=40))
def test_no_retry_after_can_break_anything(text: str) -> None:
    found = retry_after({"Retry-After": text}, lambda: NOW)

    assert found is None or 0 <= found <= MAX_PAUSE


@given(st.integers(200, 599), st.binary(max_size=60))
def test_every_answer_means_something(status: int, data: bytes) -> None:
    assert isinstance(meaning(status, data), CollectorError)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(body("X", "m" * 500), "m" * 200, id="cut"),
        pytest.param(b"{}", "", id="none"),
        pytest.param(b"[]", "", id="array"),
        pytest.param(b'{"error":"x"}', "", id="text"),
        pytest.param(b'{"error":{"message":17}}', "", id="number"),
        pytest.param(b"\xff", "", id="bytes"),
        pytest.param(b"[" * 65_536, "", id="deep"),
    ],
)
def test_the_services_words_are_short_and_only_from_its_message_field(
    data: bytes, text: str
) -> None:
    assert error_text(data) == text
