"""Errors: grouped by what to do, each with a code and a message."""

from __future__ import annotations

import traceback

import pytest

from shared import errors
from shared.errors import CollectorError, ConfigError, StateError, Throttled, textless

KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, CollectorError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_carries_message_code_and_status(kind: type[CollectorError]) -> None:
    error = kind("what to do", code="AF1", status=403)

    assert (str(error), error.code, error.status) == ("what to do", "AF1", 403)
    assert kind.__doc__


def test_unreadable_state_is_for_a_person_to_mend() -> None:
    assert issubclass(StateError, ConfigError)


def test_throttling_says_how_long_where_it_knows() -> None:
    assert Throttled("wait").retry_after is None
    assert Throttled("wait", retry_after=7).retry_after == 7


def stumble(record: str) -> None:
    try:
        int(record)
    except ValueError as error:
        raise KeyError(record) from error


def test_what_is_logged_of_an_unexpected_error_is_where_and_what_but_not_its_text() -> None:
    record = "canary-of-a-record"
    with pytest.raises(KeyError) as caught:
        stumble(record)

    text = "".join(traceback.format_exception(textless(caught.value)))

    assert "KeyError" in text
    assert "ValueError" in text
    assert "in stumble" in text
    assert record not in text
