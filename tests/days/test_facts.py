"""What the ledger of a day says is wrong with it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from shared.days.counted import facts_of
from shared.days.gaps import AUDITING_OFF, GAP, SUBSCRIPTION_OFF
from shared.days.states import DEAD_LETTERED, LOST
from shared.state.ledger import GAP as GAP_LINE
from shared.state.ledger import Line, State
from shared.state.ledger_day import Day

DAY = date(2026, 3, 1)
ONE, TWO = "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z"


def line(state: State, content: str = "a", *, dead: int = 0, created: str = ONE) -> Line:
    return Line(id=content, state=state.value, created=created, time=1, dead=dead)


def never_listed(reason: str = "") -> Line:
    return Line(id=f"gap:{ONE}", state=GAP_LINE, created=ONE, expires=TWO, reason=reason)


def day_of(*lines: Line) -> Day:
    day = Day(DAY)
    for each in lines:
        day.apply(each)
    return day


@pytest.mark.parametrize(
    ("lines", "kinds", "pending"),
    [
        pytest.param([], [], 0, id="nothing-listed"),
        pytest.param([line(State.DELIVERED)], [], 0, id="delivered"),
        pytest.param([line(State.LISTED)], [], 1, id="pending"),
        pytest.param([line(State.ATTEMPT)], [], 1, id="attempt"),
        pytest.param([line(State.LOST)], [LOST], 0, id="lost"),
        pytest.param([line(State.DEAD_LETTERED)], [DEAD_LETTERED], 0, id="dead-lettered"),
        pytest.param([line(State.DELIVERED, dead=1)], [DEAD_LETTERED], 0, id="a-record"),
        pytest.param([never_listed()], [GAP], 0, id="gap"),
        pytest.param([never_listed("left the horizon")], [GAP], 0, id="older-gap"),
        pytest.param([never_listed(SUBSCRIPTION_OFF)], [SUBSCRIPTION_OFF], 0, id="off"),
        pytest.param(
            [never_listed("the subscription was off")], [SUBSCRIPTION_OFF], 0, id="older-off"
        ),
        pytest.param([never_listed(AUDITING_OFF)], [AUDITING_OFF], 0, id="auditing-off"),
    ],
)
def test_what_is_missing_is_told_apart_by_kind(
    lines: list[Line], kinds: list[str], pending: int
) -> None:
    found = facts_of(day_of(*lines))

    assert [each.kind for each in found.facts.flaws] == kinds
    assert found.facts.pending == pending


def test_contents_are_counted_and_their_range_is_named() -> None:
    lost = [line(State.LOST, "a"), line(State.LOST, "b", created=TWO), line(State.LOST, "c")]
    (flaw,) = facts_of(day_of(*lost)).facts.flaws

    assert (flaw.kind, flaw.count) == (LOST, 3)
    assert (flaw.start, flaw.end) == (
        datetime(2026, 3, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 1, 2, tzinfo=UTC),
    )


def test_a_content_without_a_time_lies_at_the_beginning_of_its_day() -> None:
    (flaw,) = facts_of(day_of(line(State.LOST, created="soon"))).facts.flaws

    assert flaw.start == flaw.end == datetime(2026, 3, 1, tzinfo=UTC)
