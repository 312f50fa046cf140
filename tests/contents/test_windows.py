"""Windows: nothing between the horizon and now goes unlisted, and nothing leaves it without a last look."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contents.content import ContentPolicy
from shared.contents.windows import Plan, plan, split
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.times import Window, hour_of

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

THREE_DAYS = ContentPolicy(
    horizon=3 * DAY,
    margin=MINUTE,
    overlap=30 * MINUTE,
    slice=3 * HOUR,
    cycle=6 * HOUR,
    last_call=30 * MINUTE,
    max_width=12 * HOUR,
)
THIRTY_DAYS = ContentPolicy(
    horizon=30 * DAY,
    margin=10 * MINUTE,
    overlap=6 * HOUR,
    slice=6 * HOUR,
    cycle=15 * HOUR,
    last_call=2 * HOUR,
    max_width=47 * HOUR,
)
every_policy = pytest.mark.parametrize(
    "policy",
    [
        pytest.param(AUDIT_POLICY, id="audit"),
        pytest.param(THREE_DAYS, id="3-days"),
        pytest.param(THIRTY_DAYS, id="30-days"),
    ],
)

instants = st.integers(0, 10**7).map(lambda n: START + timedelta(seconds=n))
maybe_instants = st.none() | instants


def fresh(
    now: datetime,
    policy: ContentPolicy,
    *,
    watermark: datetime | None = None,
    cursor: datetime | None = None,
    tail: datetime | None = None,
) -> Plan:
    return plan(now, policy=policy, watermark=watermark, cursor=cursor, tail=tail)


def windows_of(todo: Plan) -> list[Window]:
    return [*todo.recent, *filter(None, (todo.last_call, todo.slice))]


@dataclass
class Feed:
    """What a feed lists when every run does all of its plan."""

    policy: ContentPolicy
    watermark: datetime | None = None
    cursor: datetime | None = None
    tail: datetime | None = None
    runs: list[tuple[datetime, Plan]] = field(default_factory=list)

    def run(self, now: datetime) -> Plan:
        todo = plan(
            now,
            policy=self.policy,
            watermark=self.watermark,
            cursor=self.cursor,
            tail=self.tail,
        )
        self.watermark, self.cursor, self.tail = todo.end, todo.cursor, todo.tail
        self.runs.append((now, todo))
        return todo

    def listings(self, instant: datetime) -> list[datetime]:
        """When the windows of all runs held this instant."""
        return [
            now
            for now, todo in self.runs
            for window in windows_of(todo)
            if window.start <= instant < window.end
        ]


def runs_at(
    interval: timedelta, span: timedelta, policy: ContentPolicy, *, jitter: int = 0
) -> Feed:
    chance = random.Random(4711)
    feed, now = Feed(policy), START
    while now < START + span:
        feed.run(now + timedelta(seconds=chance.randint(0, jitter)))
        now += interval
    return feed


@every_policy
@given(now=instants, watermark=maybe_instants, cursor=maybe_instants, tail=maybe_instants)
@settings(max_examples=100)
def test_what_is_listed_gap_and_recent_join_without_a_hole_up_to_now(
    policy: ContentPolicy,
    now: datetime,
    watermark: datetime | None,
    cursor: datetime | None,
    tail: datetime | None,
) -> None:
    todo = plan(now, policy=policy, watermark=watermark, cursor=cursor, tail=tail)

    assert todo.recent[-1].end == todo.end == now
    for one, following in zip(todo.recent, todo.recent[1:], strict=False):
        assert one.end == following.start
    if watermark is None or watermark > now + 5 * MINUTE:
        assert todo.recent[0].start == policy.oldest(now)
        assert todo.gap is None
    elif watermark > now:
        assert todo.recent[0].start == hour_of(now - policy.overlap)
    elif todo.gap is not None:
        assert (todo.gap.start, todo.gap.end) == (watermark, policy.oldest(now))
        assert todo.recent[0].start == policy.oldest(now)
    else:
        assert todo.recent[0].start == max(hour_of(watermark - policy.overlap), policy.oldest(now))


@every_policy
@given(now=instants, watermark=maybe_instants, cursor=maybe_instants, tail=maybe_instants)
@settings(max_examples=100)
def test_no_window_is_wider_than_allowed_older_than_the_horizon_or_in_the_future(
    policy: ContentPolicy,
    now: datetime,
    watermark: datetime | None,
    cursor: datetime | None,
    tail: datetime | None,
) -> None:
    todo = plan(now, policy=policy, watermark=watermark, cursor=cursor, tail=tail)

    for window in windows_of(todo):
        assert now - policy.horizon + policy.margin <= window.start < window.end <= now
        assert window.end - window.start <= policy.max_width
    oldest = policy.oldest(now)
    assert oldest <= todo.cursor <= now
    assert oldest <= todo.tail <= oldest + policy.max_width


@every_policy
@given(
    now=instants,
    micro=st.integers(0, 999_999),
    watermark=maybe_instants,
    cursor=maybe_instants,
    tail=maybe_instants,
)
@settings(max_examples=50)
def test_windows_are_cut_to_whole_seconds(
    policy: ContentPolicy,
    now: datetime,
    micro: int,
    watermark: datetime | None,
    cursor: datetime | None,
    tail: datetime | None,
) -> None:
    todo = fresh(
        now.replace(microsecond=micro),
        policy,
        watermark=watermark and watermark.replace(microsecond=micro),
        cursor=cursor and cursor.replace(microsecond=micro),
        tail=tail and tail.replace(microsecond=micro),
    )

    ends = [each for window in windows_of(todo) for each in (window.start, window.end)]
    if todo.gap is not None:
        ends += [todo.gap.start, todo.gap.end]
    assert all(each.microsecond == 0 for each in [*ends, todo.end, todo.tail, todo.cursor])


@pytest.mark.parametrize(
    ("policy", "interval", "span"),
    [
        pytest.param(AUDIT_POLICY, 10 * MINUTE, 9 * DAY, id="10-minutes"),
        pytest.param(AUDIT_POLICY, HOUR, 17 * DAY, id="hourly"),
        pytest.param(AUDIT_POLICY, 100 * MINUTE, 17 * DAY, id="100-minutes"),
        pytest.param(AUDIT_POLICY, 174 * MINUTE, 21 * DAY, id="2.9-hours"),
        pytest.param(AUDIT_POLICY, 5 * HOUR, 35 * DAY, id="5-hours"),
        pytest.param(AUDIT_POLICY, 22 * HOUR, 60 * DAY, id="22-hours"),
        pytest.param(THREE_DAYS, 10 * MINUTE, 9 * DAY, id="3-days-10-minutes"),
        pytest.param(THREE_DAYS, 11.5 * HOUR, 30 * DAY, id="3-days-11.5-hours"),
        pytest.param(THIRTY_DAYS, HOUR, 40 * DAY, id="30-days-hourly"),
        pytest.param(THIRTY_DAYS, 45 * HOUR, 150 * DAY, id="30-days-45-hours"),
    ],
)
@pytest.mark.parametrize("jitter", [0, 45])
def test_every_instant_gets_a_last_call_just_before_it_leaves_the_horizon(
    policy: ContentPolicy, interval: timedelta, span: timedelta, jitter: int
) -> None:
    feed = runs_at(interval, span, policy, jitter=jitter)
    called: list[Window] = []
    for now, todo in feed.runs:
        if (window := todo.last_call) is not None:
            called.append(window)
            ahead = max(policy.slice, interval + jitter * SECOND + policy.last_call + HOUR)
            # The margin apart: for audit between 6 d 20 h and 7 d for any interval up to two hours.
            assert now - window.end >= policy.horizon - policy.margin - ahead
            assert now - window.start <= policy.horizon - policy.margin

    assert called
    # From the first run's horizon on, one last call begins where the other ended.
    assert called[0].start <= policy.oldest(feed.runs[1][0])
    for one, following in zip(called, called[1:], strict=False):
        assert following.start <= one.end
    assert called[-1].end >= policy.oldest(feed.runs[-1][0])


@every_policy
def test_every_hour_has_a_last_call_as_a_whole_though_each_run_is_later_than_the_one_before(
    policy: ContentPolicy,
) -> None:
    feed, now, pause = Feed(policy), START, policy.slice
    while pause + policy.last_call < policy.max_width - HOUR:
        feed.run(now)
        pause += policy.last_call * 5 / 6
        now += pause

    calls = [todo.last_call for _, todo in feed.runs if todo.last_call is not None]
    hour = hour_of(policy.oldest(feed.runs[1][0])) + HOUR
    while hour + HOUR < policy.oldest(feed.runs[-1][0]):
        assert any(each.start <= hour and hour + HOUR <= each.end for each in calls), hour
        hour += HOUR


@every_policy
@given(
    waits=st.lists(
        st.integers(1, 170)
        | st.integers(1, 170)
        | st.integers(170, 600)
        | st.sampled_from([1440, 4320, 12_000]),
        min_size=30,
        max_size=120,
    )
)
@settings(max_examples=20)
def test_irregular_runs_with_outages_make_a_last_call_for_whatever_one_of_them_could_reach(
    policy: ContentPolicy, waits: list[int]
) -> None:
    feed, now = Feed(policy), START
    for wait in waits:
        feed.run(now)
        now += wait * MINUTE

    for at, _ in feed.runs[1:]:
        # What lies within a slice less a last call (for audit three hours) of the horizon's end when a run looks is
        # looked at in time.
        within = policy.slice - policy.last_call
        for age in (timedelta(0), within / 2, within - SECOND):
            instant = policy.oldest(at) + age
            young = policy.horizon - policy.margin - policy.max_width
            assert any(when - instant >= young for when in feed.listings(instant) if when <= at)


@pytest.mark.parametrize(
    ("policy", "interval", "cycle", "span"),
    [
        pytest.param(AUDIT_POLICY, 10 * MINUTE, 7.5 * HOUR, 3 * DAY, id="10-minutes"),
        pytest.param(AUDIT_POLICY, HOUR, 9 * HOUR, 4 * DAY, id="hourly"),
        pytest.param(AUDIT_POLICY, 5 * HOUR, 55 * HOUR, 14 * DAY, id="5-hours"),
        pytest.param(THREE_DAYS, 10 * MINUTE, 4.5 * HOUR, 2 * DAY, id="3-days-10-minutes"),
        pytest.param(THREE_DAYS, HOUR, 8 * HOUR, 3 * DAY, id="3-days-hourly"),
        pytest.param(THIRTY_DAYS, HOUR, 17 * HOUR, 8 * DAY, id="30-days-hourly"),
    ],
)
def test_every_instant_is_listed_again_in_each_cycle_of_slices(
    policy: ContentPolicy, interval: timedelta, cycle: timedelta, span: timedelta
) -> None:
    feed = runs_at(interval, span, policy, jitter=20)
    last = feed.runs[-1][0]

    instant = START - policy.horizon + DAY
    step = 37 * MINUTE * (policy.horizon / AUDIT_POLICY.horizon)
    while instant < last - cycle - 3 * HOUR:
        listings = sorted({max(START, instant), *feed.listings(instant)})
        end = min(last, instant + policy.horizon - policy.margin)
        for one, following in zip(listings, [*listings[1:], end], strict=True):
            assert following - one <= cycle, f"{instant}: not listed between {one} and {following}"
        instant += step


@every_policy
def test_a_slice_never_repeats_what_the_run_lists_as_recent(policy: ContentPolicy) -> None:
    feed = runs_at(10 * MINUTE, 2 * DAY, policy)

    for _, todo in feed.runs:
        if todo.slice is not None:
            assert todo.slice.end <= todo.recent[0].start


@every_policy
def test_an_outage_beyond_the_horizon_is_a_gap_up_to_where_listing_resumes(
    policy: ContentPolicy,
) -> None:
    now = START + 30 * DAY
    since = now - policy.horizon - 3 * DAY

    todo = fresh(now, policy, watermark=since)

    assert todo.gap == Window(since, now - policy.horizon + policy.margin)
    assert todo.recent[0].start == todo.gap.end


@every_policy
@pytest.mark.parametrize("short", [7, 6, 1, 0.01])
def test_an_outage_within_the_horizon_is_no_gap(policy: ContentPolicy, short: float) -> None:
    now = START + 30 * DAY
    outage = max(timedelta(0), policy.horizon - short * DAY)

    assert fresh(now, policy, watermark=now - outage).gap is None


@every_policy
def test_gaps_and_listed_ranges_of_many_runs_leave_no_hole_however_long_the_outages(
    policy: ContentPolicy,
) -> None:
    chance = random.Random(815)
    feed, now = Feed(policy), START
    reached = policy.oldest(START)
    for _ in range(200):
        todo = feed.run(now)
        begin = todo.gap.start if todo.gap else todo.recent[0].start
        assert begin <= reached
        reached = todo.end
        now += chance.choice([MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 3 * DAY, 8 * DAY, 40 * DAY])


@every_policy
def test_a_clock_that_goes_back_makes_the_run_list_the_whole_horizon_and_no_gap(
    policy: ContentPolicy,
) -> None:
    now = START + 30 * DAY
    tail = now - policy.horizon + DAY

    todo = fresh(now - HOUR, policy, watermark=now, cursor=now - DAY, tail=tail)

    assert todo.gap is None
    assert todo.recent[0].start == policy.oldest(now - HOUR)
    assert todo.end == now - HOUR


@every_policy
@pytest.mark.parametrize("ahead", [20 * MINUTE, DAY, 400 * DAY])
def test_state_from_the_future_never_hides_anything(
    policy: ContentPolicy, ahead: timedelta
) -> None:
    now = START + 30 * DAY
    wrong = Feed(policy)
    wrong.run(now + ahead)
    wrong.run(now + ahead + 10 * MINUTE)

    right = Feed(policy, wrong.watermark, wrong.cursor, wrong.tail)
    first, second = right.run(now), right.run(now + 10 * MINUTE)

    assert first.gap is second.gap is None
    assert first.recent[0].start == policy.oldest(now)
    assert first.end == now
    assert policy.oldest(now) <= second.tail <= policy.oldest(now) + policy.max_width
    assert second.slice is not None
    assert second.slice.start == policy.oldest(now + 10 * MINUTE)


@every_policy
@pytest.mark.parametrize("back", [SECOND, 5 * MINUTE])
def test_a_clock_that_goes_back_a_little_has_nothing_listed_anew_but_the_overlap(
    policy: ContentPolicy, back: timedelta
) -> None:
    now = START + 30 * DAY

    todo = fresh(now, policy, watermark=now + back)

    assert todo.gap is None
    assert todo.recent[0].start == hour_of(now - policy.overlap)
    assert todo.end == now


@every_policy
def test_a_tail_far_ahead_is_forgotten(policy: ContentPolicy) -> None:
    now = START + 30 * DAY

    todo = fresh(now, policy, watermark=now - 10 * MINUTE, tail=now - policy.horizon / 3)

    assert todo.last_call is not None
    assert todo.last_call.start == policy.oldest(now)


@given(start=instants, seconds=st.integers(0, 10**6), width=st.integers(1, 23 * 3600))
@settings(max_examples=100)
def test_split_covers_a_range_exactly(start: datetime, seconds: int, width: int) -> None:
    width = max(width, seconds // 500 + 1)
    pieces = split(start, start + timedelta(seconds=seconds), timedelta(seconds=width))

    assert sum((piece.end - piece.start for piece in pieces), timedelta()) == seconds * SECOND
    assert all(piece.end - piece.start <= width * SECOND for piece in pieces)
    for one, following in zip(pieces, pieces[1:], strict=False):
        assert one.end == following.start


@pytest.mark.parametrize("width", [timedelta(0), -HOUR])
def test_split_refuses_a_width_that_gets_nowhere(width: timedelta) -> None:
    with pytest.raises(ValueError, match="width"):
        split(START, START + DAY, width)


@pytest.mark.parametrize("width", [timedelta(0), -HOUR, timedelta(hours=24)])
def test_a_policy_refuses_a_width_that_the_api_would(width: timedelta) -> None:
    with pytest.raises(ValueError, match="width"):
        replace(AUDIT_POLICY, slice=width)


@pytest.mark.parametrize("end", [START, START - SECOND])
def test_a_window_is_never_empty_or_reversed(end: datetime) -> None:
    with pytest.raises(ValueError, match="not before"):
        Window(START, end)
