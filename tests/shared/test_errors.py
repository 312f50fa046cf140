"""Errors: grouped by what to do, each with a code and a message."""

from __future__ import annotations

import pytest

from shared import errors
from shared.errors import CollectorError, ConfigError, StateError, Throttled

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
