"""Attempts at windows: each has a named outcome, and says how wide the next window should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from shared.errors import CollectorError, ConfigError, NoToken, Permanent, Throttled, Transient
from shared.rows.attempts import HASTE, Attempts, Outcome
from shared.rows.reader import RowReader, Unseen, WindowRead
from shared.rows.row import PAGING, WINDOW_TOO_OLD
from shared.rows.windows import NARROWEST
from shared.stop import RunStopped, Stop
from shared.times import HOUR, Window

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = 7200
WIDE = Window(NOON, NOON + 2 * HOUR)
TRANSIENT = Transient("down", code="http-503", status=503)
BROKEN = Transient("the pages break", code=PAGING)


class Reads:
    """Stands where the reader does: hands out what a test says, one after the other."""

    def __init__(self, *found: WindowRead | CollectorError) -> None:
        self._found = list(found)

    def read(self, window: Window, unseen: Unseen | None = None) -> WindowRead:
        del window, unseen
        found = self._found.pop(0)
        if isinstance(found, CollectorError):
            raise found
        return found


def attempts(*found: WindowRead | CollectorError, stop: Stop | None = None) -> Attempts:
    return Attempts(
        cast("RowReader", Reads(*found)),
        target_rows=9000,
        max_width=timedelta(days=10),
        stop=stop or Stop(60),
    )


def test_a_window_that_was_read_is_known_by_itself_and_by_its_hours() -> None:
    tried = attempts(WindowRead(rows=36_000, pages=8, whole=True))

    attempt = tried.read(WIDE, SECONDS, narrow=HASTE)

    assert (attempt.outcome, attempt.seconds) == (Outcome.WHOLE, SECONDS // 4)
    assert tried.windows == (WIDE,)
    assert tried.hours == {NOON, NOON + HOUR}


def test_a_window_with_too_many_pages_is_to_be_read_narrower() -> None:
    tried = attempts(WindowRead(rows=900, pages=9, whole=False))

    attempt = tried.read(WIDE, SECONDS, narrow=HASTE)

    assert (attempt.outcome, attempt.seconds) == (Outcome.NARROWER, SECONDS // 4)
    assert not tried.windows
    assert not tried.hours


@pytest.mark.parametrize(
    ("width", "narrow", "error", "outcome"),
    [
        pytest.param(2 * HOUR, HASTE, TRANSIENT, Outcome.NARROWER, id="wide"),
        pytest.param(HASTE, HASTE, TRANSIENT, Outcome.NOT_READ, id="narrow-enough"),
        pytest.param(HASTE, NARROWEST, TRANSIENT, Outcome.NARROWER, id="the-second-is-looked-for"),
        pytest.param(HASTE, HASTE, BROKEN, Outcome.NARROWER, id="pages-that-break"),
        pytest.param(NARROWEST, HASTE, BROKEN, Outcome.NOT_READ, id="a-second-that-breaks"),
        pytest.param(
            2 * HOUR, HASTE, Permanent("old", code=WINDOW_TOO_OLD), Outcome.NOT_READ, id="too-old"
        ),
        pytest.param(2 * HOUR, HASTE, NoToken("none"), Outcome.NOT_READ, id="no-token"),
    ],
)
def test_what_could_not_be_read_is_tried_narrower_where_that_may_help(
    width: timedelta, narrow: timedelta, error: CollectorError, outcome: Outcome
) -> None:
    tried, seconds = attempts(error), int(width.total_seconds())

    attempt = tried.read(Window(NOON, NOON + width), seconds, narrow=narrow)

    assert attempt.outcome is outcome
    if outcome is Outcome.NARROWER:
        assert attempt.seconds == seconds // 4
        assert not tried.problems
    else:
        assert attempt.seconds == seconds
        assert tried.problems == [error]
        assert str(error).startswith("window ") is not isinstance(error, NoToken)
    assert not tried.hopeless


def test_a_width_stays_a_second_at_least() -> None:
    tried = attempts(BROKEN)

    attempt = tried.read(Window(NOON, NOON + 2 * NARROWEST), 2, narrow=HASTE)

    assert (attempt.outcome, attempt.seconds) == (Outcome.NARROWER, 1)


def test_after_three_failures_in_a_row_there_is_no_hope_but_for_one_more_attempt() -> None:
    good = WindowRead(rows=1, pages=1, whole=True)
    tried = attempts(TRANSIENT, TRANSIENT, good, *[TRANSIENT] * 4)
    narrow = Window(NOON, NOON + HASTE)

    hopeless = []
    for _ in range(6):
        tried.read(narrow, 300, narrow=HASTE)
        hopeless.append(tried.hopeless)
    assert hopeless == [False] * 5 + [True]

    tried.once_more()
    assert not tried.hopeless
    tried.read(narrow, 300, narrow=HASTE)
    assert tried.hopeless


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Throttled("used up"), id="throttled"),
        pytest.param(RunStopped("over", code="stopped"), id="stopped"),
    ],
)
def test_what_concerns_every_window_ends_the_reading(error: CollectorError) -> None:
    with pytest.raises(type(error)):
        attempts(error).read(WIDE, SECONDS, narrow=HASTE)


def test_once_a_window_was_answered_a_refusal_of_all_is_the_next_ones_own() -> None:
    error = ConfigError("no role")
    tried = attempts(error, WindowRead(rows=1, pages=1, whole=True), error, error)
    narrow = Window(NOON, NOON + HASTE)

    with pytest.raises(ConfigError):
        tried.read(narrow, 300, narrow=HASTE)

    tried.read(narrow, 300, narrow=HASTE)
    assert tried.read(WIDE, SECONDS, narrow=HASTE).outcome is Outcome.NARROWER
    assert tried.read(narrow, 300, narrow=HASTE).outcome is Outcome.NOT_READ
    assert tried.problems == [error]


def test_a_failure_once_the_run_has_to_end_is_no_failure_of_the_window() -> None:
    stop = Stop(60)
    stop.set(Transient("the hub is down"))
    tried = attempts(TRANSIENT, stop=stop)

    with pytest.raises(Transient, match="down"):
        tried.read(WIDE, SECONDS, narrow=HASTE)

    assert not tried.problems
