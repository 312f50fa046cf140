"""A day of the ledger: what is known of it in part, where else a content may be, and sums of days."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta

import pytest

from shared.state.ledger import GAP, VOID, Line, State, decode, encode, entry_of
from shared.state.ledger_day import Counts, Day, days_near
from shared.times import Window

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CREATED = "2026-03-01T12:00:00Z"


def line(state: State | str, content: str = "a", **fields: object) -> Line:
    return Line(**{"id": content, "state": str(state), "time": 9, **fields})  # type: ignore[arg-type]


def stored(*lines: Line) -> list[Line]:
    """Lines as they come from storage."""
    return decode(encode(lines))[0]


def day_of(*lines: Line) -> Day:
    day = Day(DAY)
    for each in lines:
        day.apply(each)
    return day


# -- known in part


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        pytest.param([], True, id="none"),
        pytest.param([line(State.DELIVERED, "a")], True, id="what-waited"),
        pytest.param([line(State.DELIVERED, "b")], False, id="another"),
        pytest.param([line(State.DELIVERED, "a"), line(State.LISTED, "b")], False, id="both"),
        pytest.param([line(VOID, "void:r", run="r")], True, id="an-outage"),
        pytest.param([line(GAP, "gap:x")], False, id="a-gap"),
    ],
)
def test_a_day_of_which_only_what_waits_is_known_takes_lines_about_that_alone(
    found: list[Line], taken: bool
) -> None:
    day = Day.of_waiting(DAY, {"00": 7, "01": 5}, [entry_of(line(State.LISTED, "a"))])

    assert (day.day, day.size, day.partial, list(day.entries)) == (DAY, 12, True, ["a"])
    assert day.takes(stored(*found)) is taken
    assert Day(DAY).takes(stored(*found))


def test_what_is_joined_is_merged_and_loses_the_attempts_that_either_knows_to_be_taken_back() -> (
    None
):
    attempts = [
        line(State.ATTEMPT, name, run=run, reason="http-500")
        for name, run in (("a", "r1"), ("b", "r1"), ("b", "r2"))
    ]
    one = day_of(*stored(attempts[0], line(VOID, run="r2", reason="http-500")))
    other = day_of(*attempts[1:], line(State.DELIVERED, "c"))
    other.apply(line(VOID, run="r1", reason="http-500"))

    one.join(other)

    assert {name: each.attempts for name, each in one.entries.items()} == {
        "a": frozenset(),
        "b": frozenset(),
        "c": frozenset(),
    }
    assert {name: each.state for name, each in one.entries.items()} == {
        "a": State.LISTED,
        "b": State.LISTED,
        "c": State.DELIVERED,
    }


@pytest.mark.parametrize(
    ("created", "known"),
    [
        pytest.param("2026-03-01T12:00:00Z", True, id="at-its-start"),
        pytest.param("2026-03-01T12:59:59.999Z", True, id="before-its-end"),
        pytest.param("2026-03-01T13:00:00Z", False, id="at-its-end"),
        pytest.param("2026-03-01T11:59:59Z", False, id="before-it"),
        pytest.param("yesterday", False, id="nobody-knows"),
    ],
)
def test_a_range_is_known_by_a_content_that_was_created_in_it(created: str, known: bool) -> None:
    day = day_of(line(State.LISTED, "x", created="soon"), line(State.LISTED, created=created))

    assert day.knows_any(Window(NOON, NOON + HOUR)) is known


# -- where else a content may be


@pytest.mark.parametrize(
    ("day", "content", "near"),
    [
        pytest.param(DAY, "opaque", [-1, 1], id="around-it"),
        pytest.param(DAY, "20260301101112000000001$x", [-1, 1], id="its-own-date"),
        pytest.param(DAY, "20260226101112000000001$x", [-3, -1, 1], id="another-date"),
        pytest.param(DAY, "2026022610111", [-1, 1], id="too-short-for-one"),
        pytest.param(DAY, "20261399000000000000001$x", [-1, 1], id="no-such-date"),
        pytest.param(DAY, "x20260226101112", [-1, 1], id="not-at-its-beginning"),
        pytest.param(date.max, "opaque", [], id="the-last-day"),
        pytest.param(date(1, 1, 1), "opaque", [], id="the-first-day"),
        pytest.param(date(9999, 12, 30), "opaque", [-1, 1], id="the-last-but-one"),
    ],
)
def test_a_content_may_be_under_the_days_around_its_own_and_the_one_that_its_id_names(
    day: date, content: str, near: list[int]
) -> None:
    assert sorted(days_near(day, content)) == [day + timedelta(days=n) for n in near]


# -- counts


def test_a_day_is_counted_by_what_became_of_its_contents() -> None:
    counts = day_of(
        *stored(
            line(State.DELIVERED, "a", records=5, bytes=70, dead=1),
            line(State.DELIVERED, "b", records=4, bytes=30),
            line(State.DEAD_LETTERED, "c", records=2, bytes=20, dead=3, reason="no JSON"),
            # Nothing of it was published: these are the bytes that were kept.
            line(State.DEAD_LETTERED, "d", bytes=1000),
            line(State.LOST, "e", reason="expired"),
            line(State.ATTEMPT, "f", run="r"),
            line(GAP, "gap:x", created=CREATED, expires="2026-03-01T12:00:09Z"),
        )
    ).counts()

    assert counts == Counts(
        listed=6,
        delivered=2,
        pending=1,
        lost={"dead-lettered": 2, "expired": 1},
        records=11,
        bytes=120,
        dead_records=4,
        gap_seconds=9,
    )


def test_counts_of_days_add_up_field_by_field() -> None:
    names = [name for name in asdict(Counts()) if name != "lost"]
    one, other = Counts(lost={"a": 1, "b": 2}), Counts(lost={"b": 3, "c": 4})
    for at, name in enumerate(names):
        setattr(one, name, at + 1)
        setattr(other, name, 10 * (at + 1))

    total = Counts()
    total.add(one)
    assert total == one
    one.add(other)

    assert one.lost == {"a": 1, "b": 5, "c": 4}
    assert [getattr(one, name) for name in names] == [11 * (at + 1) for at in range(len(names))]


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        pytest.param("2026-03-01T13:00:00Z", "2026-03-01T12:30:00Z", 3600, id="the-longest"),
        pytest.param("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", 0, id="an-empty-one"),
        pytest.param("2026-03-01T11:00:00Z", "2026-03-01T13:00:00Z", 3600, id="a-reversed-one"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True], ids=["in-order", "in-reverse"])
def test_of_gaps_with_one_start_the_longest_that_is_one_counts(
    first: str, second: str, seconds: int, reverse: bool
) -> None:
    ends = [second, first] if reverse else [first, second]
    found = stored(*(line(GAP, "gap:x", created=CREATED, expires=end) for end in ends))

    day = day_of(*found)
    assert (day.gap_seconds, bool(day.gaps)) == (seconds, seconds > 0)
