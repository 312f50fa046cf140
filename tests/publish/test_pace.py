"""The pace: unlimited until the hub is busy, then half of what it took, then slowly up again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.publish.pace import GROWTH, MIN_RATE, SPAN, Pace

MB = 1_000_000


class Time:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> Pace:
    return Pace(clock=time)


def flow(pace: Pace, time: Time, rate: float, seconds: float) -> None:
    """The hub takes so many bytes a second for a while."""
    for _ in range(int(seconds * 10)):
        time.now += 0.1
        pace.acknowledged(int(rate / 10))


def rate_of(pace: Pace) -> float:
    """Bytes a second: how long what is booked holds up what follows."""
    before = pace.delay(MB)
    return MB / (pace.delay(0) - before)


def test_it_never_waits_before_the_hub_is_busy(pace: Pace, time: Time) -> None:
    flow(pace, time, 20 * MB, 3)

    assert [pace.delay(MB) for _ in range(100)] == [0.0] * 100


def test_a_busy_hub_halves_what_it_last_took(pace: Pace, time: Time) -> None:
    flow(pace, time, 2 * MB, 10)

    pace.busy()

    assert rate_of(pace) == pytest.approx(MB, rel=0.05)


def test_senders_that_are_refused_together_halve_it_once(pace: Pace, time: Time) -> None:
    flow(pace, time, 2 * MB, 10)

    for _ in range(8):
        pace.busy()

    assert rate_of(pace) == pytest.approx(MB, rel=0.05)


def test_a_hub_that_stays_busy_halves_it_again_and_again_but_not_below_the_least(
    pace: Pace, time: Time
) -> None:
    flow(pace, time, 2 * MB, 10)
    rates = []
    for _ in range(12):
        pace.busy()
        rates.append(rate_of(pace))
        time.now += 1.0

    assert all(after <= before for before, after in pairwise(rates))
    assert rates[-1] == pytest.approx(MIN_RATE)


def test_a_hub_that_took_nothing_starts_at_the_least(pace: Pace) -> None:
    pace.busy()

    assert rate_of(pace) == pytest.approx(MIN_RATE)


def test_it_recovers_by_a_tenth_a_second(pace: Pace, time: Time) -> None:
    flow(pace, time, 2 * MB, 10)
    pace.busy()
    before = rate_of(pace)

    time.now += 10.5

    assert rate_of(pace) == pytest.approx(before * GROWTH**10)


def test_what_the_hub_took_long_ago_does_not_count(pace: Pace, time: Time) -> None:
    flow(pace, time, 20 * MB, SPAN)
    flow(pace, time, 2 * MB, SPAN + 1)

    pace.busy()

    assert rate_of(pace) == pytest.approx(MB, rel=0.05)


@given(st.lists(st.tuples(st.integers(1, MB), st.floats(0, 2)), min_size=2, max_size=60))
@settings(max_examples=60)
def test_bookings_of_many_senders_together_keep_the_rate(sends: list[tuple[int, float]]) -> None:
    time = Time()
    pace = Pace(clock=time)
    flow(pace, time, 2 * MB, 10)
    pace.busy()
    halved, first = time.now, rate_of(pace)

    booked = []
    for size, wait in sends:
        start = time.now + pace.delay(size)
        # A sum of fractions may be a little less than the second that it stands for.
        seconds = int(time.now - halved + 1e-9)
        booked.append((start, size, first * GROWTH**seconds))
        time.now += wait

    for (one, size, rate), (following, _, _) in pairwise(booked):
        assert following >= one + size / rate - 1e-6
