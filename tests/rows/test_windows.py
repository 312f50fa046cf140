"""Which ranges a run of rows reads: nothing is passed over, and nothing waits longer than it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rows.windows import (
    covers,
    due_hours,
    first_run,
    next_width,
    plan,
    together,
)
from shared.sources.message_trace.policy import trace_policy
from shared.times import HOUR, Ranges, Window, add, overlaps, remove, whole_hours

if TYPE_CHECKING:
    from shared.rows.source import RowPolicy

NOW = datetime(2026, 11, 24, 13, 20, 7, tzinfo=UTC)
DAY = timedelta(days=1)
HORIZON = 90 * DAY - HOUR

TRACE = trace_policy(delay=timedelta(minutes=5), backfill=7 * DAY)
OTHER = replace(
    TRACE, overlap=2 * HOUR, longest_live=5 * HOUR, reread=12 * HOUR, cycle=3 * HOUR, target_rows=50
)
"""Of a source that there is not."""

policies = st.sampled_from([TRACE, OTHER])

seconds = st.integers(0, 95 * 86_400).map(lambda n: timedelta(seconds=n))
pieces = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=8)


def ranges_of(found: list[tuple[int, int]]) -> Ranges:
    ranges: Ranges = ()
    for start, length in found:
        ranges = add(
            ranges, Window(NOW + timedelta(minutes=start), NOW + timedelta(minutes=start + length))
        )
    return ranges


def minutes_of(found: list[tuple[int, int]]) -> set[int]:
    return {minute for start, length in found for minute in range(start, start + length)}


def minutes_in(ranges: Ranges) -> set[int]:
    return {n for n in range(500) if covered(ranges, NOW + timedelta(minutes=n))}


def covered(ranges: Ranges, moment: datetime) -> bool:
    return overlaps(ranges, moment, moment + timedelta(microseconds=1))


@given(pieces, pieces)
def test_ranges_hold_what_was_added_and_not_what_was_removed(
    added: list[tuple[int, int]], removed: list[tuple[int, int]]
) -> None:
    ranges = ranges_of(added)
    for gone in ranges_of(removed):
        ranges = remove(ranges, gone)

    assert minutes_in(ranges) == minutes_of(added) - minutes_of(removed)
    for before, after in zip(ranges, ranges[1:], strict=False):
        assert before.end < after.start


@given(seconds, pieces, seconds, policies)
def test_every_instant_since_the_watermark_is_read_now_or_later_or_is_a_gap(
    back: timedelta, known: list[tuple[int, int]], at: timedelta, policy: RowPolicy
) -> None:
    watermark, backfill, oldest = NOW - back, ranges_of(known), NOW - HORIZON

    live = plan(NOW, watermark, backfill, oldest, policy)

    moment = NOW - at
    if moment >= watermark:
        gap = (live.gap,) if live.gap else ()
        assert live.start <= moment or covered(live.backfill, moment) or covered(gap, moment)
    # What was waiting waits on.
    assert minutes_in(backfill) <= minutes_in(live.backfill)
    assert NOW - live.start <= policy.longest_live
    assert live.start <= NOW - policy.overlap
    # What is waiting is not passed over by the watermark unless it is noted.
    assert live.mark <= NOW


@given(st.integers(0, 90), st.integers(0, 90 * 86_400), policies)
def test_a_first_run_reads_the_last_hour_and_leaves_the_days_before_to_the_backfill(
    days: int, at: int, policy: RowPolicy
) -> None:
    live = first_run(NOW, replace(policy, backfill=timedelta(days=days)), NOW - HORIZON)

    moment = NOW - timedelta(seconds=at)
    if moment >= max(NOW - timedelta(days=days), NOW - HORIZON):
        assert live.start <= moment or covered(live.backfill, moment)
    assert live.start == live.mark == NOW - policy.overlap
    assert all(each.start >= NOW - HORIZON for each in live.backfill)


def test_a_first_run_begins_with_a_whole_day() -> None:
    live = first_run(NOW, TRACE, NOW - HORIZON)

    assert live.backfill[0].start == datetime(2026, 11, 17, tzinfo=UTC)


@given(st.integers(60, 6 * 3600), st.integers(0, 3600), policies)
def test_every_hour_of_the_last_48_is_read_again_within_six_hours_for_any_schedule(
    interval: int, offset: int, policy: RowPolicy
) -> None:
    every, now = timedelta(seconds=interval), NOW + timedelta(seconds=offset)
    cursor: datetime | None = None
    read: dict[datetime, datetime] = {}
    ended = now + 4 * policy.cycle
    while now < ended:
        due, cursor = due_hours(now, cursor, every, policy)
        read.update(dict.fromkeys(due, now))
        now += every
        if now < ended - 2 * policy.cycle:
            continue
        # A run takes its turn when it comes, so up to an interval later.
        within = policy.cycle + every
        # What is older than that is no longer read again, what is newer is read by every run.
        start, end = now - policy.reread + within, now - within - HOUR
        for hour in whole_hours(Window(start, end)) if start < end else ():
            assert now - read[hour] <= within


@pytest.mark.parametrize(
    "cursor", [None, NOW - 100 * DAY, NOW + DAY], ids=["none", "old", "future"]
)
def test_a_cursor_that_makes_no_sense_begins_with_the_oldest_hour(cursor: datetime | None) -> None:
    (hour,), following = due_hours(NOW, cursor, timedelta(minutes=1), TRACE)

    assert hour == datetime(2026, 11, 22, 14, tzinfo=UTC)
    assert following == hour + HOUR


@given(
    st.integers(1, 10 * 86_400),
    st.integers(1, 10 * 86_400),
    st.integers(0, 10**7),
    st.integers(1, 5000),
)
def test_a_width_is_a_second_at_least_and_never_more_than_the_service_takes(
    width: int, read: int, rows: int, pages: int
) -> None:
    found = next_width(
        timedelta(seconds=width),
        timedelta(seconds=min(read, width)),
        rows,
        pages,
        target=9000,
        most=10 * DAY,
    )

    assert timedelta(seconds=1) <= found <= 10 * DAY
    assert found <= timedelta(seconds=2 * width)


def width_after(rows: int, pages: int) -> timedelta:
    return next_width(HOUR, HOUR, rows, pages, target=TRACE.target_rows, most=10 * DAY)


def test_a_width_follows_the_rows() -> None:
    assert width_after(36_000, 8) == HOUR / 4
    assert width_after(0, 0) == 2 * HOUR
    # A service with small pages.
    assert width_after(500, 9) == HOUR / 4


def test_hours_are_read_together_as_far_as_the_width_goes() -> None:
    first = datetime(2026, 11, 24, 3, tzinfo=UTC)
    hours = [first + n * HOUR for n in (0, 1, 2, 5, 6)]

    assert together(hours, HOUR / 60) == tuple(Window(each, each + HOUR) for each in hours)
    assert together(hours, 2 * HOUR) == (
        Window(hours[0], hours[2]),
        Window(hours[2], hours[2] + HOUR),
        Window(hours[3], hours[4] + HOUR),
    )
    assert covers((Window(first, first + HOUR),), first)
    assert not covers((Window(first + HOUR / 2, first + 2 * HOUR),), first)
