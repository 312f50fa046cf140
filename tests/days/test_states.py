"""What a day is called: the first of four states that holds, and why."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.days.gaps import AUDITING_OFF, GAP, SUBSCRIPTION_OFF
from shared.days.looks import Looks
from shared.days.states import (
    BEFORE_BEGINNING,
    DEAD_LETTERED,
    LOST,
    UNVERIFIED,
    Facts,
    Flaw,
    Known,
    Rules,
    State,
    Verdict,
    merged,
    state_of,
)
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.times import HOUR, Window, beginning_of, end_of

DAY = date(2026, 3, 10)
START, END = beginning_of(DAY), end_of(DAY)
RULES = AUDIT_POLICY.days
LONG_AGO = START - timedelta(days=30)
LEFT = END + RULES.leaves
NOTHING = Facts()


def looked(
    *looks: tuple[int, int, datetime], made: datetime = LONG_AGO, since: datetime = LONG_AGO
) -> Looks:
    """Looks at hours of the day, from one number to before another, at a time."""
    known = Looks(made=made)
    known.begin(since)
    for first, last, at in looks:
        known.note(Window(START + first * HOUR, START + last * HOUR), at)
    return known


def late_looks(**options: datetime) -> Looks:
    """Every hour was looked at as late as it could be."""
    return looked(*((n, n + 1, START + n * HOUR + RULES.leaves) for n in range(24)), **options)


def said(
    looks: Looks | None,
    now: datetime,
    facts: Facts = NOTHING,
    known: Known | None = None,
    rules: Rules = RULES,
) -> Verdict:
    return state_of(DAY, now, rules=rules, looks=looks, facts=facts, known=known)


def whys(verdict: Verdict) -> list[tuple[str, datetime, datetime]]:
    return [(each.kind, each.start, each.end) for each in verdict.flaws]


def test_a_day_is_open_until_it_is_over_and_every_hour_was_looked_at_since_it_ended() -> None:
    assert said(looked((0, 23, END - HOUR)), END - HOUR).state is State.OPEN
    assert said(looked((0, 23, END - HOUR)), END).state is State.OPEN
    # The last hour was listed while it was not over: that is no look at it.
    assert said(looked((0, 24, END - timedelta(seconds=1))), END).state is State.OPEN
    assert said(looked((0, 24, END)), END).state is State.PROVISIONAL


def test_a_day_is_final_when_every_hour_was_looked_at_in_the_last_day_of_its_horizon() -> None:
    early = END + timedelta(days=5)
    assert said(looked((0, 24, early)), early).state is State.PROVISIONAL
    assert said(late_looks(), LEFT).state is State.FINAL
    almost = late_looks()
    almost.hours[START + 7 * HOUR] = START + 7 * HOUR + RULES.late_enough - timedelta(minutes=1)
    assert said(almost, START + 7 * HOUR + RULES.leaves - HOUR).state is State.PROVISIONAL
    assert whys(said(almost, LEFT)) == [(UNVERIFIED, START + 7 * HOUR, START + 8 * HOUR)]


def test_a_day_is_final_before_it_leaves_where_its_last_looks_were_late_enough() -> None:
    now = END - HOUR + RULES.late_enough
    assert said(looked((0, 24, now)), now).state is State.FINAL
    assert said(looked((0, 24, now - HOUR)), now).state is State.PROVISIONAL


def test_hours_that_left_without_a_look_are_a_gap_and_each_range_is_named_once() -> None:
    looks = late_looks()
    for number in (5, 6, 7, 8, 20):
        del looks.hours[START + number * HOUR]

    verdict = said(looks, START + 8 * HOUR + RULES.leaves)

    # One of them has not left yet.
    assert whys(verdict) == [(GAP, START + 5 * HOUR, START + 9 * HOUR)]
    assert verdict.state is State.FLAWED


@pytest.mark.parametrize("kind", [LOST, DEAD_LETTERED, GAP, SUBSCRIPTION_OFF, AUDITING_OFF])
def test_what_the_ledger_says_is_missing_is_a_flaw_however_well_the_day_was_looked_at(
    kind: str,
) -> None:
    flaw = Flaw(START + 3 * HOUR, START + 4 * HOUR, kind, 2)

    verdict = said(late_looks(), LEFT, Facts(flaws=(flaw,)))

    assert (verdict.state, verdict.flaws, verdict.sure) == (State.FLAWED, (flaw,), True)


def test_a_flaw_comes_before_pending_and_pending_before_everything_else() -> None:
    flaw = Flaw(START, START, LOST, 1)
    assert said(late_looks(), LEFT, Facts(pending=1, flaws=(flaw,))).state is State.FLAWED
    assert said(late_looks(), LEFT, Facts(pending=1)).state is State.OPEN


def test_the_hour_of_the_beginning_and_those_before_it_are_flawed_and_no_more() -> None:
    begun = START + timedelta(hours=12, minutes=20)
    verdict = said(late_looks(since=begun), LEFT)

    assert whys(verdict) == [(BEFORE_BEGINNING, START, START + 13 * HOUR)]
    assert said(late_looks(since=START), LEFT).state is State.FINAL
    assert said(late_looks(since=END), LEFT).state is State.FLAWED


def test_a_record_names_its_part_of_an_hour_and_the_rest_is_unverified() -> None:
    record = Flaw(START + timedelta(minutes=30), START + 2 * HOUR, GAP)
    looks = looked(*((n, n + 1, START + n * HOUR + RULES.leaves) for n in range(2, 24)))

    assert whys(said(looks, LEFT, Facts(flaws=(record,)))) == [
        (UNVERIFIED, START, record.start),
        (GAP, record.start, record.end),
    ]


@pytest.mark.parametrize(
    ("first", "last", "rest"),
    [
        pytest.param(20, 40, [(0, 20), (40, 60)], id="its-middle"),
        pytest.param(0, 40, [(40, 60)], id="its-beginning"),
        pytest.param(20, 60, [(0, 20)], id="its-end"),
        pytest.param(0, 60, [], id="all-of-it"),
        pytest.param(-9, 69, [], id="more-than-it"),
    ],
)
@pytest.mark.parametrize("kind", [GAP, SUBSCRIPTION_OFF, AUDITING_OFF])
def test_what_a_record_leaves_of_an_hour_without_a_look_is_unverified(
    first: int, last: int, rest: list[tuple[int, int]], kind: str
) -> None:
    hour, minute = START + 5 * HOUR, timedelta(minutes=1)
    looks = late_looks()
    del looks.hours[hour]
    record = Flaw(hour + first * minute, hour + last * minute, kind)
    other = Flaw(hour + 6 * HOUR, hour + 7 * HOUR, GAP)

    found = whys(said(looks, LEFT, Facts(flaws=(record, other))))

    assert sorted(found) == sorted(
        [
            *((UNVERIFIED, hour + start * minute, hour + end * minute) for start, end in rest),
            (kind, record.start, record.end),
            (GAP, other.start, other.end),
        ]
    )


def test_what_was_lost_says_nothing_of_an_hour_without_a_look() -> None:
    looks = late_looks()
    del looks.hours[START]
    lost = Flaw(START, START + HOUR, LOST, 1)

    assert whys(said(looks, LEFT, Facts(flaws=(lost,)))) == [
        (GAP, START, START + HOUR),
        (LOST, START, START + HOUR),
    ]


def test_of_hours_that_left_before_anything_was_remembered_the_row_is_believed() -> None:
    minutes = timedelta(minutes=1)
    flaws = (
        Flaw(START + 5 * HOUR + 10 * minutes, START + 7 * HOUR + 10 * minutes, GAP),
        Flaw(START + 9 * HOUR, START + 10 * HOUR, LOST, 1),
        Flaw(START + 15 * HOUR, START + 16 * HOUR, GAP),
    )

    verdict = said(looked(made=LEFT), LEFT, known=Known(state=State.FLAWED, flaws=flaws))

    assert whys(verdict) == [
        (UNVERIFIED, START, START + 5 * HOUR),
        (GAP, flaws[0].start, flaws[0].end),
        (UNVERIFIED, START + 8 * HOUR, START + 15 * HOUR),
        (GAP, START + 15 * HOUR, START + 16 * HOUR),
        (UNVERIFIED, START + 16 * HOUR, END),
    ]
    assert (verdict.sure, verdict.closed) == (False, True)


def test_looks_that_are_deleted_leave_what_left_unverified_and_a_final_day_final() -> None:
    anew = looked(made=LEFT)
    final = Known(state=State.FINAL, sure=True, looked_until=RULES.leaves)
    provisional = Known(state=State.PROVISIONAL)
    gap = Known(state=State.FLAWED, flaws=(Flaw(START, START + HOUR, GAP),))

    assert said(anew, LEFT, known=final).state is State.FINAL
    assert said(anew, LEFT, known=final).looked_until == RULES.leaves
    assert whys(said(anew, LEFT, known=provisional)) == [(UNVERIFIED, START, END)]
    assert whys(said(anew, LEFT)) == [(UNVERIFIED, START, END)]
    assert whys(said(anew, LEFT, known=gap)) == [
        (GAP, START, START + HOUR),
        (UNVERIFIED, START + HOUR, END),
    ]


def test_what_was_looked_at_anew_after_the_looks_were_deleted_goes_on() -> None:
    made = END + timedelta(days=2)
    looks = looked(*((n, n + 1, START + n * HOUR + RULES.leaves) for n in range(24)), made=made)

    assert said(looks, LEFT, known=Known(state=State.PROVISIONAL)).state is State.FINAL
    assert said(looked(made=made), made).state is State.OPEN


def test_a_final_day_stays_final_until_something_of_it_is_missing() -> None:
    final = Known(state=State.FINAL, sure=True)
    forgotten = looked(made=LEFT + timedelta(days=300))
    at = LEFT + timedelta(days=300)

    assert said(forgotten, at, known=final).state is State.FINAL
    assert said(forgotten, at, Facts(pending=1), known=final).state is State.OPEN
    flaw = Flaw(START, START, LOST, 1)
    assert said(forgotten, at, Facts(flaws=(flaw,)), known=final).state is State.FLAWED


def test_a_day_that_is_open_long_after_its_end_is_late() -> None:
    assert not said(looked(), END + timedelta(hours=47)).late
    assert said(looked(), END + timedelta(hours=48)).late
    assert not said(looked((0, 24, END)), END + timedelta(hours=48)).late


def test_the_row_says_how_old_the_day_was_at_its_last_look() -> None:
    assert said(late_looks(), LEFT).looked_until == RULES.leaves
    looks = late_looks()
    looks.hours[START] = START + 30 * HOUR
    assert said(looks, LEFT).looked_until == timedelta(hours=30)
    assert said(looked(), END).looked_until == timedelta()


def test_a_day_is_closed_when_no_look_can_change_it() -> None:
    assert not said(looked((0, 24, END)), END).closed
    assert said(late_looks(), LEFT - HOUR).closed
    assert said(looked(), LEFT).closed
    assert not said(looked(), LEFT - 2 * HOUR).closed


def test_a_feed_that_is_not_listed_by_the_hour_is_known_when_the_day_is_over() -> None:
    assert said(None, END - HOUR).state is State.OPEN
    assert said(None, END).state is State.FINAL
    assert said(None, END, Facts(pending=1)).state is State.OPEN
    assert said(None, END).closed


hours = st.integers(0, 23)
ages = st.integers(1, 9 * 24)


@given(st.lists(st.tuples(hours, ages)), st.integers(0, 10 * 24), st.data())
def test_forgetting_looks_never_makes_a_day_more_certain(
    noted: list[tuple[int, int]], after: int, data: st.DataObject
) -> None:
    order = [State.FLAWED, State.OPEN, State.PROVISIONAL, State.FINAL]
    now = END + after * HOUR
    looks = looked()
    for hour, age in noted:
        at = START + (hour + age) * HOUR
        if at <= min(now, START + hour * HOUR + RULES.leaves):
            looks.note(Window(START + hour * HOUR, START + (hour + 1) * HOUR), at)
    kept = data.draw(st.sets(st.sampled_from(sorted(looks.hours)))) if looks.hours else set()
    fewer = looked()
    fewer.hours = {hour: at for hour, at in looks.hours.items() if hour in kept}

    assert order.index(said(fewer, now).state) <= order.index(said(looks, now).state)


def test_flaws_of_one_kind_that_touch_are_one_and_of_others_stay_apart() -> None:
    at = [START + n * HOUR for n in range(6)]
    flaws = [
        Flaw(at[2], at[3], GAP),
        Flaw(at[0], at[1], GAP),
        Flaw(at[1], at[2], GAP),
        Flaw(at[4], at[5], GAP),
        Flaw(at[0], at[4], LOST, 3),
        Flaw(at[1], at[1], LOST, 1),
    ]
    assert merged(flaws) == (
        Flaw(at[0], at[3], GAP),
        Flaw(at[0], at[4], LOST, 4),
        Flaw(at[4], at[5], GAP),
    )
