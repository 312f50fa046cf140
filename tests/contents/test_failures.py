"""Failures of a run: when they are written down, when they are taken back, and how little of them is kept."""

from __future__ import annotations

from datetime import date

import pytest

from shared.contents.failures import CONFIRMED_EMPTY, Failures
from shared.state.ledger import EMPTY, VOID, Line, State

DAY = date(2026, 3, 1)
NOW = 1_772_400_000


def _fail(failures: Failures, content: str, reason: str = "http-500", day: date = DAY) -> None:
    failures.add(day, Line(id=content, state=State.ATTEMPT, run="run1", reason=reason), "why")


def _ids(lines: list[tuple[date, Line]]) -> list[str]:
    return [line.id for _, line in lines]


def test_an_attempt_is_to_be_written_as_it_comes_and_once() -> None:
    failures = Failures("run1")
    failures.fetched = 3

    _fail(failures, "a")

    assert _ids(failures.take()) == ["a"]
    assert failures.take() == []
    assert failures.close(NOW) == []


def test_what_looks_like_an_outage_waits_and_is_written_where_it_was_none() -> None:
    failures = Failures("run1")
    _fail(failures, "a")
    assert _ids(failures.take()) == ["a"], "one alone is no outage"
    _fail(failures, "b")
    _fail(failures, "c")
    assert failures.take() == []

    failures.fetched = 3

    assert _ids(failures.take()) == ["b", "c"]
    assert failures.close(NOW) == []


def test_an_outage_takes_back_what_was_written_before_it_was_known_as_one() -> None:
    failures = Failures("run1")
    _fail(failures, "a")
    failures.take()
    _fail(failures, "b", day=date(2026, 3, 2))
    _fail(failures, "c", "http-503")

    lines = failures.close(NOW)

    assert lines == [
        (DAY, Line(id="void:run1", state=VOID, run="run1", time=NOW, reason="http-500"))
    ]
    _fail(failures, "late")
    assert failures.take() == []


def test_what_is_never_an_outage_is_written_and_not_taken_back() -> None:
    failures = Failures("run1")
    _fail(failures, "a")
    _fail(failures, "b")
    _fail(failures, "c")
    _fail(failures, "gone", "AF20050")

    assert failures.outage
    assert _ids(failures.take()) == ["gone"]
    assert failures.close(NOW) == []


@pytest.mark.parametrize(
    ("empty", "good", "counts"),
    [
        (1, 0, True),
        (2, 0, True),
        (3, 0, False),
        (3, 3, False),
        (3, 4, True),
        (30, 20, False),
    ],
)
def test_what_is_empty_counts_where_it_is_little_of_a_run(
    empty: int, good: int, counts: bool
) -> None:
    failures = Failures("run1")
    failures.fetched = good
    for number in range(empty):
        line = Line(id=str(number), state=State.ATTEMPT, run="run1", reason=EMPTY)
        failures.add(DAY, line, "why", again=number == 0)
    assert failures.take() == []

    found = {line.id: (line.state, line.reason) for _, line in failures.close(NOW)}

    attempts = dict.fromkeys(map(str, range(empty)), (State.ATTEMPT, EMPTY))
    confirmed = {"0": (State.DELIVERED, CONFIRMED_EMPTY)}
    assert found == ({**attempts, **confirmed} if counts else {})
    assert (failures.confirmed, failures.failed) == (counts, empty - counts)
