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
BOUND = 20
"""Windows that fail in a run: sixteen of what waits, and some that are new."""


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

    seconds = tuple(second_of(each) for each in sorted(moments))
    for _ in range(60):
        before = bad.refused
        rig.run(tries=1)
        assert bad.refused - before <= BOUND
        rig.tenant.advance(timedelta(minutes=1))
        if rig.checkpoint().unlisted == seconds:
            break

    assert rig.delivered() == {each.content_id for each in good}
    assert rig.checkpoint().unlisted == seconds
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


@pytest.mark.parametrize("number", [4, 9, 30])
def test_bad_seconds_in_a_row_keep_back_nothing_else(rig: Rig, number: int) -> None:
    rig.has_collected(hours_ago=5)
    start = whole_second(rig.tenant.now()) - 3 * HOUR
    stretch = [start + n * SECOND for n in range(number)]
    # One good second in the midst of the bad ones, what adjoins them, and what is hours away.
    between = start + number * SECOND
    bad = Poison(rig, *stretch, *(each + (number + 1) * SECOND for each in stretch))
    near = (-SECOND, (2 * number + 1) * SECOND)
    good = [
        rig.offer(created=each)
        for each in (between, *(start + each for each in near), start + 2 * HOUR, start - HOUR)
    ]

    for _ in range(60):
        asked, refused = lists(rig), bad.refused
        rig.run(tries=1)
        assert bad.refused - refused <= BOUND
        assert lists(rig) - asked <= 120
        rig.tenant.advance(timedelta(minutes=10))
        left = sum((end - begin for begin, end in rig.checkpoint().unlisted), timedelta())
        if left == 2 * number * SECOND:
            break

    assert left == 2 * number * SECOND
    assert rig.delivered() == {each.content_id for each in good}
    bad.moments = ()
    assert rig.run(tries=1).caught_up
    assert rig.repeats() == 0


def test_a_second_that_healed_is_listed_however_many_before_it_did_not(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    now = whole_second(rig.tenant.now())
    moments = [now - timedelta(minutes=each) for each in range(60, 264, 12)]
    bad = Poison(rig, *moments)
    for _ in range(60):
        rig.run(tries=1)
        rig.tenant.advance(timedelta(minutes=1))
        if rig.checkpoint().unlisted == tuple(second_of(each) for each in sorted(moments)):
            break
    late = rig.offer(created=max(moments))
    bad.moments = moments[1:]

    for _ in range(40):
        rig.run(tries=1)
        rig.tenant.advance(timedelta(minutes=10))
        if late.content_id in rig.delivered():
            break

    assert late.content_id in rig.delivered()
    assert len(rig.checkpoint().unlisted) == len(moments) - 1


def test_bad_seconds_in_a_row_hold_back_no_turn_of_what_was_listed_before(rig: Rig) -> None:
    rig.has_collected(hours_ago=5)
    start = whole_second(rig.tenant.now()) - 4.5 * HOUR
    stretch = [start + n * SECOND for n in range(10)]
    bad = Poison(rig, *stretch)
    rig.run(tries=1)
    # A whole slice fails when its turn comes, and heals.
    again = rig.tenant.now() - 4 * DAY
    bad.moments = [*stretch, *(again + n * HOUR / 4 for n in range(-20, 20))]
    while not rig.checkpoint().relist:
        rig.tenant.advance(timedelta(minutes=10))
        rig.run(tries=1)
    bad.moments = stretch

    # Which of the two comes first is left to chance in each run.
    for _ in range(30):
        rig.tenant.advance(timedelta(minutes=10))
        rig.run(tries=1)
        if not rig.checkpoint().relist:
            break

    assert rig.checkpoint().relist == ()


CODED = '{"error":{"code":"%s","message":"no"}}'


class Refused(Poison):
    """Such a window is refused as if all that is asked were."""

    def __init__(self, rig: Rig, *moments: datetime, status: int, body: str) -> None:
        super().__init__(rig, *moments)
        self._status, self._body = status, body.encode()

    def _spoil(self, request: Request, answer: Answer) -> None:
        before = self.refused
        super()._spoil(request, answer)
        if self.refused > before:
            answer.status, answer.body = self._status, self._body
            answer.headers["Retry-After"] = "0"


REFUSALS = [
    pytest.param(401, "", "http-401", id="401"),
    pytest.param(403, CODED % "AF10001", "AF10001", id="no-permission"),
    pytest.param(400, CODED % "AF20020", "AF20020", id="unknown-type"),
    pytest.param(429, "", "throttled", id="throttled"),
    pytest.param(400, "Tenant x does not exist.", "auditing-off", id="auditing-off"),
]


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS)
def test_a_second_that_is_refused_as_if_all_were_keeps_back_nothing_else(
    rig: Rig, status: int, body: str, code: str
) -> None:
    rig.has_collected(hours_ago=5)
    poison = rig.tenant.now() - 3 * HOUR
    bad = Refused(rig, poison, status=status, body=body)
    good = [rig.offer(created=poison + each) for each in (2 * SECOND, -2 * SECOND, HOUR)]

    for _ in range(6):
        summary = rig.run(tries=1)
        assert summary.error_code == code
        rig.tenant.advance(HOUR)
        good.append(rig.offer(hours_ago=0.5))
    rig.run(tries=1)

    assert rig.delivered() == {each.content_id for each in good}
    assert rig.checkpoint().unlisted == (second_of(poison),)
    assert rig.reasons(poison.date()) == []
    bad.moments = ()
    assert rig.run(tries=1).caught_up


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS[:-1])
def test_what_is_refused_whatever_is_asked_ends_the_run_with_one_more_question(
    rig: Rig, status: int, body: str, code: str
) -> None:
    rig.has_collected(hours_ago=50)
    before, asked = rig.checkpoint(), lists(rig)
    now = rig.tenant.now()
    Refused(
        rig,
        *(now - n * SECOND for n in range(-60, 60)),
        *(now - n * HOUR for n in range(60)),
        status=status,
        body=body,
    )

    summary = rig.run(tries=1)

    assert summary.error_code == code
    # One for the subscription, and six of each window where it is the pace.
    assert lists(rig) - asked <= 1 + 2 * 6
    assert rig.checkpoint().watermark == before.watermark
    assert rig.checkpoint().unlisted == ()
