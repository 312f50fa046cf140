"""A range that cannot be listed: it keeps back itself alone, and costs little until it is named as a gap."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.times import parse_wire, whole_second
from tests.harness import EXCHANGE, Rig, record

if TYPE_CHECKING:
    from collections.abc import Collection

    from local.tenant.messages import Answer, Request

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


class Poison:
    """Whatever window holds one of these times cannot be listed."""

    def __init__(self, rig: Rig, *moments: datetime) -> None:
        self.moments: Collection[datetime] = moments
        self.refused = 0
        rig.tenant.mangle = self._spoil

    def _spoil(self, request: Request, answer: Answer) -> None:
        if request.kind != "list" or "starttime" not in request.query:
            return
        start, end = (parse_wire(request.query[name]) for name in ("starttime", "endtime"))
        if any(start <= each < end for each in self.moments):
            self.refused += 1
            answer.status, answer.body = 500, b'{"error":{"code":"AF50000","message":"internal"}}'
            answer.headers.pop("NextPageUri", None)


def second_of(moment: datetime) -> tuple[datetime, datetime]:
    return whole_second(moment), whole_second(moment) + SECOND


def lists(rig: Rig) -> int:
    return len(rig.tenant.books.requests("list"))


def test_a_second_that_cannot_be_listed_keeps_back_nothing_else(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    poison = rig.tenant.now() - 3 * HOUR
    near = [rig.offer(created=poison + each) for each in (2 * SECOND, -2 * SECOND, HOUR / 2)]
    bad = Poison(rig, poison)

    first = rig.run(tries=1)

    assert rig.delivered() == {each.content_id for each in near}
    assert (first.status, first.error_code) == ("failed", "AF50000")
    assert second_of(poison)[0].isoformat().replace("+00:00", "Z") in first.error
    assert rig.checkpoint().unlisted == (second_of(poison),)
    assert not first.caught_up
    assert first.lag_seconds >= 3 * 3600

    # From now on it costs one listing a run, and the watermark and the re-list go on.
    cursors = set()
    for _ in range(4):
        rig.tenant.advance(HOUR)
        before, refused = lists(rig), bad.refused
        rig.run(tries=1)
        assert bad.refused - refused <= 2
        assert lists(rig) - before <= 8
        cursors.add(rig.checkpoint().cursor)
        watermark = rig.checkpoint().watermark
        assert watermark is not None
        assert rig.tenant.now() - watermark < HOUR / 2
    assert len(cursors) == 4

    bad.moments = ()
    late = rig.offer(created=whole_second(poison))
    assert rig.run(tries=1).caught_up
    assert rig.checkpoint().unlisted == ()
    assert late.content_id in rig.delivered()
    assert rig.repeats() == 0


def test_a_second_that_leaves_the_horizon_unlisted_is_a_gap_of_a_second(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    poison = rig.tenant.now() - 3 * HOUR
    Poison(rig, poison)
    gap = 0
    for _ in range(16):
        gap += rig.run(tries=1).gap_seconds
        rig.tenant.advance(DAY / 2)

    assert gap == 1
    assert rig.checkpoint().unlisted == ()
    (flaw,) = [each for each in rig.reasons(poison.date()) if each[0] == "gap"]
    assert flaw[1:] == second_of(poison)
    assert rig.states()[poison.date()] == "flawed"
    assert rig.run(tries=1).caught_up


def test_what_waits_while_nothing_runs_for_weeks_is_a_gap_and_waits_no_longer(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    poison = rig.tenant.now() - 3 * HOUR
    bad = Poison(rig, poison)
    rig.run(tries=1)
    assert rig.checkpoint().unlisted == (second_of(poison),)
    bad.moments = ()
    rig.tenant.advance(20 * DAY)
    asked = lists(rig)

    summary = rig.run()

    # Nobody asks for it any more.
    assert not any(note.code for note in rig.tenant.books.requests("list")[asked:])

    assert (summary.status, summary.caught_up, summary.lag_seconds) == ("succeeded", True, 0)
    assert rig.checkpoint().unlisted == ()
    assert ("gap", *second_of(poison)) in rig.reasons(poison.date())


def test_many_that_cannot_be_listed_cost_a_run_no_more_than_it_may(rig: Rig) -> None:
    rig.has_collected(hours_ago=9)
    now = rig.tenant.now()
    moments = [now - timedelta(minutes=each) for each in range(40, 500, 23)]
    good = rig.offer_many(30, records=1, hours_ago=8)
    bad = Poison(rig, *moments)

    for _ in range(14):
        before = bad.refused
        rig.run(tries=1)
        assert bad.refused - before <= 17
        rig.tenant.advance(timedelta(minutes=10))

    assert rig.delivered() == {each.content_id for each in good}
    assert rig.checkpoint().unlisted == tuple(second_of(each) for each in sorted(moments))
    assert rig.repeats() == 0


def test_where_nothing_can_be_listed_everything_stays_as_it_is(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    rig.offer(hours_ago=2)
    before = rig.checkpoint()
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, times=-1))

    summary = rig.run(tries=1)

    after = rig.checkpoint()
    for name in ("watermark", "cursor", "tail", "unlisted", "relist"):
        assert getattr(after, name) == getattr(before, name), name
    assert (summary.status, summary.listed) == ("failed", 0)
    rig.tenant.faults.clear()
    assert rig.run().caught_up
    rig.assert_complete()


def test_what_cannot_be_listed_again_is_no_gap_and_stops_no_other_turn(rig: Rig) -> None:
    rig.has_collected(hours_ago=1)
    rig.run()
    poison = rig.tenant.now() - 4 * DAY
    bad = Poison(rig, poison)
    gaps: list[int] = []
    for _ in range(10):
        gaps.append(rig.run(tries=1).gap_seconds)
        rig.tenant.advance(DAY / 2)

    assert sum(gaps) == 0
    assert rig.checkpoint().relist == ()
    assert {kind for kind, *_ in rig.reasons(poison.date())} <= {"unverified"}
    assert bad.refused < 40


@pytest.mark.parametrize("died", ["_put_off", "_work_off"])
def test_a_run_that_dies_on_the_way_forgets_nothing_that_was_not_listed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    rig.has_collected(hours_ago=9)
    poison = rig.tenant.now() - 6 * HOUR
    good = [rig.offer(created=poison + each) for each in (SECOND * 3, HOUR, 3 * HOUR)]
    bad = Poison(rig, poison)

    class Died(BaseException):
        """What a kill leaves behind."""

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(f"shared.contents.listing.Listing.{died}", die)
        patch.setattr("shared.state.checkpoint.WRITE_EVERY", 0.0)
        with pytest.raises(Died):
            rig.run(tries=1)
    bad.moments = ()
    late = rig.offer(created=whole_second(poison))
    rig.tenant.advance(timedelta(minutes=2))

    assert rig.run().caught_up
    assert rig.delivered() == {each.content_id for each in (*good, late)}
    assert rig.reasons(poison.date()) == []


def test_the_second_is_known_by_its_window(rig: Rig) -> None:
    """The run's text names the narrowest window alone, once."""
    rig.has_collected(hours_ago=5)
    poison = rig.tenant.now() - 3 * HOUR
    Poison(rig, poison)
    rig.offer(records=[record()])

    summary = rig.run(EXCHANGE, tries=1)

    assert summary.error.count("window ") == 1
