"""Time: the service's clock is believed where it is certain, and ranges, hours and days are cut without a hole."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.times import (
    LEAP,
    LEAP_ANSWERS,
    MAX_OFFSET,
    MAX_STEP,
    STEP_ANSWERS,
    Ranges,
    ServiceClock,
    Window,
    add,
    beginning_of,
    by_day,
    end_of,
    ended_days,
    format_wire,
    hour_of,
    iso,
    overlaps,
    parse_wire,
    remove,
    utc,
    whole_hours,
    whole_second,
)

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY = timedelta(days=1)
EAST = timezone(2 * HOUR)


# -- the service's clock


def told(*offsets: timedelta) -> ServiceClock:
    """A clock at noon that has seen answers with these differences."""
    clock = ServiceClock(lambda: NOON)
    for each in offsets:
        clock.observe(format_datetime(NOON + each, usegmt=True))
    return clock


@pytest.mark.parametrize(
    ("offsets", "seconds"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([SECOND], 0, id="a-second-is-the-header's"),
        pytest.param([-SECOND], 0, id="a-second-behind"),
        pytest.param([2 * SECOND], 2, id="two"),
        pytest.param([-3 * SECOND], -3, id="behind"),
        pytest.param([9 * SECOND, SECOND], 0, id="set-right"),
        pytest.param([MAX_STEP], 300, id="as-much-as-a-step"),
        pytest.param([4 * MINUTE, 8 * MINUTE], 480, id="two-steps"),
        pytest.param([-2 * MINUTE, 2 * MINUTE], 120, id="ahead-again"),
    ],
)
def test_the_clock_goes_by_what_the_service_told_last(
    offsets: list[timedelta], seconds: int
) -> None:
    clock = told(*offsets)

    assert clock.offset == seconds
    assert clock.now() == NOON + seconds * SECOND
    assert not clock.doubtful


@pytest.mark.parametrize(
    ("before", "far", "again", "confirmed"),
    [
        pytest.param(0, 6, 6, True, id="the-same"),
        pytest.param(0, 6, 11, True, id="near-enough"),
        pytest.param(0, 10, 16, False, id="another"),
        pytest.param(0, 6, -6, False, id="the-other-way"),
        pytest.param(0, -60, -58, True, id="behind"),
        pytest.param(3, 60, 60, True, id="from-somewhere"),
    ],
)
def test_a_step_counts_only_once_a_second_answer_confirms_it(
    before: int, far: int, again: int, confirmed: bool
) -> None:
    clock = told(before * MINUTE, far * MINUTE)
    assert (clock.offset, clock.doubtful) == (before * 60, True)

    clock.observe(format_datetime(NOON + again * MINUTE, usegmt=True))

    assert clock.offset == (again if confirmed else before) * 60
    assert clock.doubtful is not confirmed


@pytest.mark.parametrize("way", [1, -1])
def test_a_leap_counts_only_once_three_more_answers_confirm_it(way: int) -> None:
    far = way * LEAP
    for few in (1, 2, 3):
        clock = told(*[far] * few)
        assert (clock.offset, clock.doubtful) == (0, True)
    assert told(*[far] * LEAP_ANSWERS).offset == far.total_seconds()
    assert told(*[far - way * SECOND] * STEP_ANSWERS).offset == (far - way * SECOND).total_seconds()
    broken = told(far, far, far, SECOND, far)
    assert (broken.offset, broken.doubtful) == (0, True)


def test_an_answer_that_agrees_again_ends_the_doubt() -> None:
    clock = told(HOUR, 3 * SECOND)
    assert (clock.offset, clock.doubtful) == (3, False)

    clock.observe(format_datetime(NOON + HOUR, usegmt=True))
    assert (clock.offset, clock.doubtful) == (3, True)


@pytest.mark.parametrize("header", [None, "", "noon", "Fri, 99 Mar 2026 12:00:00 GMT"])
def test_a_date_that_nobody_can_read_tells_nothing(header: str | None) -> None:
    clock = told(9 * SECOND)

    clock.observe(header)

    assert (clock.offset, clock.doubtful) == (9, False)


def test_a_year_and_more_is_not_believed_however_often_it_is_told() -> None:
    assert told(*[MAX_OFFSET] * LEAP_ANSWERS).offset == 366 * 86_400
    for far in (MAX_OFFSET + SECOND, -MAX_OFFSET - SECOND):
        clock = told(*[far] * LEAP_ANSWERS)
        assert (clock.offset, clock.doubtful) == (0, False)


def test_a_date_without_a_zone_is_utc() -> None:
    clock = ServiceClock(lambda: NOON)

    clock.observe("Fri, 20 Mar 2026 12:00:09 -0000")

    assert clock.offset == 9


def test_what_an_earlier_process_saw_holds_until_the_service_tells_its_time() -> None:
    clock = ServiceClock(lambda: NOON)
    clock.recall(7200.5)
    assert (clock.offset, clock.doubtful) == (7200.5, False)

    clock.observe(format_datetime(NOON + 2 * HOUR, usegmt=True))
    clock.recall(5)

    assert clock.offset == 7200


# -- as it is written


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(datetime(2026, 3, 20, 12, tzinfo=UTC), id="utc"),
        pytest.param(datetime(2026, 3, 20, 14, tzinfo=EAST), id="another-zone"),
        pytest.param(datetime(2026, 3, 20, 12), id="none"),  # noqa: DTZ001
    ],
)
def test_a_stored_time_is_utc_whatever_its_zone(value: datetime) -> None:
    assert utc(value).isoformat() == "2026-03-20T12:00:00+00:00"


@pytest.mark.parametrize(
    "text", ["2026-03-20T12:00:00", "2026-03-20T12:00:00.000Z", "2026-03-20T14:00:00+02:00"]
)
def test_a_time_of_the_wire_is_utc_whatever_its_zone(text: str) -> None:
    assert parse_wire(text).isoformat() == "2026-03-20T12:00:00+00:00"


@pytest.mark.parametrize("text", ["", "noon", "0001-01-01T00:00:00+02:00", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_of_these_years_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|range|month"):
        parse_wire(text)


def test_a_time_is_written_in_utc_and_milliseconds_only_where_there_are_any() -> None:
    east = datetime(2026, 3, 20, 14, tzinfo=EAST)

    assert iso(east) == "2026-03-20T12:00:00Z"
    assert iso(east + timedelta(milliseconds=7)) == "2026-03-20T12:00:00.007Z"
    assert format_wire(east + timedelta(milliseconds=7)) == "2026-03-20T12:00:00"
    assert whole_second(NOON + timedelta(microseconds=999_999)) == NOON


# -- ranges


def hours(*ranges: tuple[float, float]) -> Ranges:
    return tuple(Window(NOON + start * HOUR, NOON + end * HOUR) for start, end in ranges)


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1)])
def test_a_range_has_a_beginning_before_its_end(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="is not before its end"):
        hours((start, end))


pieces = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda each: (each[0], sum(each))),
    max_size=6,
)


def instants(*ranges: tuple[int, int]) -> set[int]:
    return {hour for start, end in ranges for hour in range(start, end)}


@given(pieces, pieces, st.tuples(st.integers(0, 30), st.integers(31, 40)))
def test_ranges_hold_what_was_put_in_and_not_taken_out_and_none_touch(
    one: list[tuple[int, int]], other: list[tuple[int, int]], out: tuple[int, int]
) -> None:
    both = add(add((), *hours(*one)), *hours(*other))
    left = remove(both, *hours(out))

    wanted = instants(*one, *other)
    for ranges, held in ((both, wanted), (left, wanted - instants(out))):
        cut = [((each.start - NOON) // HOUR, (each.end - NOON) // HOUR) for each in ranges]
        assert instants(*cut) == held
        assert all(before[1] < after[0] for before, after in zip(cut, cut[1:], strict=False))
        for hour in range(41):
            start = NOON + hour * HOUR
            assert overlaps(ranges, start, start + HOUR) == (hour in held)


def test_taking_the_middle_out_leaves_both_ends() -> None:
    assert remove(hours((0, 9), (12, 13)), *hours((2, 3))) == hours((0, 2), (3, 9), (12, 13))


# -- hours and days


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [
        pytest.param(0, 2, [0, 1], id="from-hour-to-hour"),
        pytest.param(0.5, 3, [1, 2], id="from-within"),
        pytest.param(0, 2.5, [0, 1], id="into-one"),
        pytest.param(0.5, 1.5, [], id="none-whole"),
        pytest.param(0.1, 0.9, [], id="within-one"),
    ],
)
def test_only_hours_that_lie_in_a_range_from_beginning_to_end_are_whole(
    start: float, end: float, whole: list[int]
) -> None:
    (window,) = hours((start, end))

    assert list(whole_hours(window)) == [NOON + hour * HOUR for hour in whole]
    assert hour_of(window.start + timedelta(seconds=59, microseconds=7)) == NOON


def test_a_range_is_cut_at_midnights() -> None:
    night = datetime(2026, 3, 21, tzinfo=UTC)
    twentieth, last = date(2026, 3, 20), date(2026, 3, 22)

    assert list(by_day(Window(NOON, night + 36 * HOUR))) == [
        (twentieth, Window(NOON, night)),
        (night.date(), Window(night, night + DAY)),
        (last, Window(night + DAY, night + 36 * HOUR)),
    ]
    assert list(by_day(Window(NOON, night))) == [(twentieth, Window(NOON, night))]
    assert (end_of(twentieth), beginning_of(night.date())) == (night, night)


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
