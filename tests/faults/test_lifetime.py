"""A week of two feeds, hour by hour, with what happens in a week: every day is called what the books say it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.days.gaps import GAP
from shared.sources.message_trace.row import SOURCE as TRACE
from tests.harness import EXCHANGE
from tests.lifetime.judge import Judge
from tests.lifetime.life import Lifetime, Plan
from tests.lifetime.troubles import HUB, STOPPED, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.tracing import TraceRig

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_a_week_of_two_feeds_is_called_what_it_was(
    mail: Callable[..., TraceRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(
        sources=(EXCHANGE, TRACE),
        seed=1,
        days=7,
        per_day=8,
        troubles=[
            Trouble(what=HUB, begins=2 * DAY, lasts=9 * HOUR),
            Trouble(what=STOPPED, begins=3.5 * DAY, lasts=30 * HOUR),
        ],
        slows=timedelta(minutes=50),
        settled=8 * DAY,
        seldom=(TRACE,),
        quick=False,
    )
    life = Lifetime(mail(), plan)

    life.live()

    judge = Judge(life)
    judge.judge()
    assert not judge.faults, "\n".join(judge.faults)
    assert judge.states["final"] >= 12, judge.table()
    assert_it_would_be_noticed(life, monkeypatch)


def assert_it_would_be_noticed(life: Lifetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge finds a content that is missing, one that is made up, and an alert for nothing."""
    day = life.diary.began.date() + 2 * DAY
    content = next(each for each in life.offers.contents[EXCHANGE] if each.created.date() == day)
    events = life.events(EXCHANGE)
    others = [each for each in events if each[0] != content.content_id]
    strange = (content.content_id, "nobody's", "")
    monkeypatch.setattr(life, "events", lambda _: [*others, strange])
    life.diary.woken.append((EXCHANGE, day, GAP))

    judge = Judge(life)
    judge.judge()

    assert [each.partition(content.content_id)[0] for each in judge.faults] == [
        f"{EXCHANGE} {day} is final and lacks ['",
        f"{EXCHANGE} {day}: said to be gap, for nothing",
        f"{EXCHANGE} lacks ",
        f"{EXCHANGE}: 1 events that nobody offered",
    ]
