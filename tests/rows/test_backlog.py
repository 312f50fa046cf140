"""What was missed is worked off in an order in which nothing that can be read waits for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.rows.attempts import CUT, MAX_FAILURES
from shared.rows.backlog import Backlog
from shared.rows.windows import NARROWEST
from shared.times import HOUR, Ranges, Window, add, remove

BEGAN = datetime(2026, 3, 1, 11, 59, 40, tzinfo=UTC)
SECONDS = 40
ALL = (Window(BEGAN, BEGAN + SECONDS * NARROWEST),)

seconds = st.frozensets(st.integers(0, SECONDS - 1))


def ranges(numbers: frozenset[int]) -> Ranges:
    """Seconds as ranges."""
    starts = (BEGAN + number * NARROWEST for number in numbers)
    return add((), *(Window(start, start + NARROWEST) for start in starts))


def can_be_read(window: Window, bad: Ranges) -> bool:
    return all(remove((window,), each) == (window,) for each in bad)


def run(todo: Ranges, failed: Ranges, bad: Ranges, wide: timedelta) -> tuple[Ranges, Ranges]:
    """What a run leaves unread, and what it failed at."""
    backlog, failures, left, width = Backlog(todo, failed), 0, todo, wide
    while backlog.todo and failures < MAX_FAILURES:
        window = backlog.window(width)
        if can_be_read(window, bad):
            backlog.read(window)
            left, failures = remove(left, window), 0
        elif window.end - window.start > NARROWEST:
            width = max(NARROWEST, timedelta(seconds=width.total_seconds() // CUT))
        else:
            backlog.not_read(window)
            failures, width = failures + 1, wide
    return left, backlog.failed


@given(bad=seconds, failed=seconds, wide=st.integers(1, SECONDS))
def test_all_that_can_be_read_is_after_a_bounded_number_of_runs(
    bad: frozenset[int], failed: frozenset[int], wide: int
) -> None:
    todo: Ranges = ALL
    known = ranges(failed)

    # One turn of what never failed, and one of what did, each with all that can never be read.
    for _ in range(2 * (len(bad) // MAX_FAILURES + 1)):
        todo, known = run(todo, known, ranges(bad), timedelta(seconds=wide))

    assert todo == ranges(bad)


def test_oldest_first_and_newest_after_one_that_cannot_be_read() -> None:
    backlog = Backlog(ALL, ())

    first = backlog.window(NARROWEST)
    backlog.not_read(first)

    assert first == Window(BEGAN, BEGAN + NARROWEST)
    assert backlog.window(NARROWEST) == Window(ALL[0].end - NARROWEST, ALL[0].end)
    assert backlog.failed == (first,)


def test_what_is_no_longer_missing_did_not_fail() -> None:
    assert Backlog((), ALL).failed == ()


def test_a_window_that_was_refused_at_any_width_is_set_aside_for_this_run_alone() -> None:
    backlog = Backlog(ALL, ())

    backlog.not_read(ALL[0])

    assert (backlog.todo, backlog.failed) == ((), ())


def test_windows_end_and_begin_at_whole_hours_where_they_can() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    backlog = Backlog((Window(noon - HOUR / 2, noon + 5 * HOUR / 2),), ())

    assert backlog.window(HOUR) == Window(noon - HOUR / 2, noon)

    backlog.not_read(Window(noon - HOUR / 2, noon - HOUR / 2 + NARROWEST))
    assert backlog.window(2 * HOUR) == Window(noon + HOUR, noon + 5 * HOUR / 2)
