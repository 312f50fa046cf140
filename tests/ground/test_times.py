"""Days: what ended while a watermark moved, as far back as somebody asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.times import ended_days

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "most", "first", "count"),
    [
        pytest.param(NOON - timedelta(hours=1), 7 * DAY, 20, 0, id="the-same-day"),
        pytest.param(NOON - 2 * DAY, 7 * DAY, 18, 2, id="two"),
        pytest.param(NOON - 12 * DAY, 7 * DAY, 13, 7, id="no-more-than-asked-for"),
        pytest.param(NOON - 12 * DAY, 30 * DAY, 8, 12, id="all"),
        pytest.param(NOON + DAY, 7 * DAY, 20, 0, id="from-the-future"),
    ],
)
def test_the_days_that_ended_are_those_from_the_old_watermark_to_yesterday(
    since: datetime, most: timedelta, first: int, count: int
) -> None:
    days = ended_days(since, NOON, most)

    assert [day.day for day in days] == list(range(first, first + count))


def test_without_a_watermark_no_day_is_known_to_have_ended() -> None:
    assert ended_days(None, NOON, DAY) == ended_days(NOON, None, DAY) == []
