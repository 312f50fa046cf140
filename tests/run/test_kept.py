from __future__ import annotations

from datetime import date

from shared.run.kept import AT_MOST, MOST, Kept, Known, Room
from shared.state.ledger import Entry
from shared.state.ledger_day import Day

KNOWN = Known(ledger={date(2026, 3, 1): Day(date(2026, 3, 1))})


class Seconds:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_run_left_is_there_once() -> None:
    kept = Kept()
    kept.leave("one", KNOWN)
    kept.quiet = "row"

    assert kept.take("one") == KNOWN
    assert kept.quiet == "row"
    assert kept.take("one") == Known()


def test_nothing_is_taken_where_another_has_written_the_checkpoint() -> None:
    for etag in ("two", None):
        kept = Kept()
        kept.leave("one", KNOWN)
        kept.quiet = "row"

        assert kept.take(etag) == Known()
        assert kept.quiet is None


def test_a_checkpoint_that_is_not_known_to_be_written_leaves_nothing() -> None:
    kept = Kept()
    kept.leave("one", KNOWN)

    kept.leave(None, KNOWN)

    assert kept.take(None) == Known()


def test_after_an_hour_everything_is_read_anew_however_often_it_was_taken() -> None:
    clock = Seconds()
    kept = Kept(clock)
    for minute in range(0, 60, 10):
        clock.now = minute * 60.0
        kept.leave("one", KNOWN)
        assert kept.take("one") == KNOWN

    kept.leave("one", KNOWN)
    clock.now = AT_MOST

    assert kept.take("one") == Known()
    kept.leave("one", KNOWN)
    assert kept.take("one") == KNOWN


def test_the_newest_days_are_kept_as_far_as_they_are_few() -> None:
    days = {}
    for number, size in ((1, 1), (2, MOST), (3, 1), (4, MOST - 1)):
        day = Day(date(2026, 3, number))
        day.entries = dict.fromkeys(map(str, range(size)), Entry(id="one", state="listed"))
        days[day.day] = day
    kept = Kept()

    kept.leave("one", Known(ledger=days))

    assert set(kept.take("one").ledger) == {date(2026, 3, 3), date(2026, 3, 4)}


def test_all_feeds_of_a_process_share_the_room_and_the_oldest_gives_way() -> None:
    day = Day(date(2026, 3, 1))
    day.entries = dict.fromkeys(map(str, range(MOST // 2)), Entry(id="one", state="listed"))
    known = Known(ledger={day.day: day})
    room = Room()
    first, second, third = (Kept(room=room) for _ in range(3))

    for each in (first, second, first, third):
        each.leave("one", known)

    assert second.take("one") == Known()
    assert first.take("one") == third.take("one") == known
