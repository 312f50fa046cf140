"""The request budget: many sharers never use more than the limit in any window."""

from __future__ import annotations

import contextlib
import random
import threading
import uuid
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.azurite import ACCOUNT, ACCOUNT_KEY
from shared.errors import Throttled
from shared.service.answers import MAX_PAUSE
from shared.service.budget import HOLD, LOOK_EVERY, SHARERS, Allowance, Budget, BudgetState, grant
from shared.state.account import Storage, read_blob, write_blob

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.azurite import Azurite

WINDOW = 60.0
START = 1_772_400_000.0


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = START
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def storage(azurite: Azurite) -> Storage:
    return Storage.from_connection_string(azurite.connection_string)


@pytest.fixture
def share(storage: Storage, time: Time) -> Callable[..., Budget]:
    """Makes sharers of one budget in virtual time."""
    shared = f"budgets/{uuid.uuid4()}/management.json"

    def make(name: str = shared, **more: Any) -> Budget:
        allowance = Allowance(**{"limit": 40, **more})
        return Budget(storage, name, allowance, now=time, sleep=time.sleep)

    return make


def most_in_any(span: float, moments: list[float]) -> int:
    """The most of these moments that lie within one half-open span."""
    most, first = 0, 0
    moments = sorted(moments)
    for last, moment in enumerate(moments):
        while moments[first] <= moment - span:
            first += 1
        most = max(most, last - first + 1)
    return most


# -- grants


@given(
    asks=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), min_size=1, max_size=80),
    limit=st.integers(1, 120),
)
@settings(max_examples=100)
def test_however_late_blocks_are_used_no_minute_holds_more_than_the_limit(
    asks: list[tuple[float, int]], limit: int
) -> None:
    state, now, granted = BudgetState(), START, list[float]()
    for wait, wanted in asks:
        now += wait
        number, _ = grant(state, now, wanted, limit=limit, window=WINDOW + HOLD)
        assert number <= wanted
        granted += [now] * number

    # A request of a block may be made up to HOLD later, so a minute of requests is 65 s of grants.
    assert most_in_any(WINDOW + HOLD, granted) <= limit


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
@settings(max_examples=50)
def test_whoever_waits_as_told_is_granted_something(wants: list[int], limit: int) -> None:
    state, now = BudgetState(), START
    for wanted in wants:
        number, wait = grant(state, now, wanted, limit=limit, window=WINDOW)
        if number == 0:
            now += wait
            number, wait = grant(state, now, wanted, limit=limit, window=WINDOW)
        assert (number > 0, wait) == (True, 0.0)


@pytest.mark.parametrize("seconds", [17.0, MAX_PAUSE])
def test_nothing_is_granted_during_a_pause(seconds: float) -> None:
    state = BudgetState(paused_until=START + seconds)

    assert grant(state, START, 5, limit=100, window=WINDOW) == (0, seconds)
    assert grant(state, START + seconds, 5, limit=100, window=WINDOW) == (5, 0.0)


@pytest.mark.parametrize(
    ("ago", "counted"),
    [
        pytest.param(62, False, id="long-ago"),
        pytest.param(61, False, id="whose-second-is-a-window-ago"),
        pytest.param(60, True, id="whose-second-ended-a-window-ago"),
        pytest.param(0, True, id="now"),
        pytest.param(-59, True, id="of-a-clock-ahead"),
        pytest.param(-60, False, id="of-a-wrong-clock"),
    ],
)
def test_what_was_granted_in_the_window_is_taken_from_the_limit(ago: int, counted: bool) -> None:
    state = BudgetState(grants=[(int(START) - ago, 7)])

    granted, wait = grant(state, START, 99, limit=10, window=WINDOW)

    assert (granted, wait) == (3 if counted else 10, 0.0)
    assert sum(number for _, number in state.grants) == 10
    assert state.grants == sorted(state.grants)


@pytest.mark.parametrize(
    ("ago", "since", "wait"),
    [
        pytest.param(30, 0.0, 31.0, id="half-a-window"),
        pytest.param(30, 0.5, 30.5, id="half-a-second"),
        pytest.param(60, 0.99, 0.05, id="in-a-moment"),
    ],
)
def test_whoever_is_granted_nothing_waits_for_the_end_of_the_oldest_second(
    ago: int, since: float, wait: float
) -> None:
    state = BudgetState(grants=[(int(START) - ago, 4), (int(START), 6)])

    assert grant(state, START + since, 1, limit=10, window=WINDOW) == (0, wait)


def test_what_is_granted_is_written_down_by_its_second_in_order() -> None:
    state = BudgetState(grants=[(int(START) + 3, 1)])
    for moment in (START, START + 0.9, START + 3.2, START + 3.9, START + 4):
        grant(state, moment, 2, limit=100, window=WINDOW)

    grants = [(int(second - START), number) for second, number in state.grants]
    assert grants == [(0, 2), (0, 2), (3, 5), (4, 2)]


@pytest.mark.parametrize(("limit", "share"), [(1600, 320), (49, 9), (SHARERS, 1), (1, 1)])
def test_one_who_cannot_share_has_an_equal_part_and_one_request_at_least(
    limit: int, share: int
) -> None:
    assert Allowance(limit=limit).share == share


def test_a_grant_counts_for_as_long_as_it_may_be_used_and_a_window_more() -> None:
    assert Allowance().span == WINDOW + HOLD
    assert Allowance(window=300.0, hold=7.0).span == 307.0


def test_grants_of_a_clock_slightly_ahead_stay_counted() -> None:
    state = BudgetState(grants=[(int(START) + 30, 100)])

    granted, wait = grant(state, START, 5, limit=100, window=WINDOW)

    assert granted == 0
    assert 60 < wait < 100


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(BudgetState(grants=[(int(START) + 86_400, 100)]), id="grants"),
        pytest.param(BudgetState(paused_until=START + 86_400), id="pause"),
        pytest.param(
            BudgetState(paused_until=START + MAX_PAUSE + 1), id="pause-of-an-hour-and-more"
        ),
    ],
)
def test_what_a_wrong_clock_left_behind_blocks_nobody(state: BudgetState) -> None:
    assert grant(state, START, 5, limit=100, window=WINDOW) == (5, 0.0)


def test_the_state_does_not_grow() -> None:
    state = BudgetState()
    for second in range(1000):
        grant(state, START + second / 3, 1, limit=10_000, window=WINDOW)

    assert len(state.grants) <= WINDOW + 2


# -- sharers


def test_sharers_of_one_budget_stay_within_it_in_any_minute(
    share: Callable[..., Budget], time: Time
) -> None:
    chance = random.Random(42)
    sharers = [share() for _ in range(SHARERS)]
    made = []
    while time.now < START + 300:
        chance.choice(sharers).take()
        made.append(time.now)
        # Often at once, and sometimes so late that what is held is forfeited.
        time.sleep(chance.choice([0, 0, 0, 0.05, 0.3, HOLD + 1]))

    assert most_in_any(WINDOW, made) <= 40
    assert len(made) > 100


def test_a_request_made_as_late_as_its_block_allows_is_counted_for_a_minute(
    share: Callable[..., Budget], time: Time
) -> None:
    late, made = [share() for _ in range(20)], []
    # Of a block of two each makes the first request at once, and the second when it is about to be forfeited.
    for wait in (HOLD - 0.1, WINDOW - HOLD + 2):
        for sharer in late:
            sharer.take()
            made.append(time.now)
        time.sleep(wait)
    for _ in range(40):
        late[0].take()
        made.append(time.now)

    assert most_in_any(WINDOW, made) == 40
    assert time.now < START + 2 * (WINDOW + HOLD)


def test_a_lone_sharer_gets_the_whole_budget(share: Callable[..., Budget], time: Time) -> None:
    budget = share()
    for _ in range(40):
        budget.take()

    assert time.now == START


def test_when_the_budget_is_used_up_a_sharer_waits_for_its_return(
    share: Callable[..., Budget], time: Time
) -> None:
    budget = share()
    for _ in range(41):
        budget.take()

    assert START + WINDOW < time.now < START + WINDOW + HOLD + 3
    assert time.slept > WINDOW - 5


def test_a_run_that_ends_waits_no_longer(share: Callable[..., Budget], time: Time) -> None:
    budget = share()
    for _ in range(40):
        budget.take()

    with pytest.raises(Throttled) as caught:
        budget.take(lambda: time.now > START + 5)

    assert caught.value.code == "budget"
    assert time.now < START + 8


def test_a_pause_holds_for_every_sharer(share: Callable[..., Budget], time: Time) -> None:
    one, other = share(), share()
    other.take()
    one.pause(20)

    share().take()
    assert START + 20 <= time.now < START + 23
    one.take()


def test_a_shorter_pause_does_not_cut_a_longer_one(
    share: Callable[..., Budget], time: Time
) -> None:
    share().pause(30)
    share().pause(5)

    share().take()

    assert time.now >= START + 30


def test_a_pause_that_outlasts_our_patience_ends_the_run_and_says_how_long_it_is(
    share: Callable[..., Budget], time: Time
) -> None:
    share().pause(600)

    with pytest.raises(Throttled, match="600 s") as caught:
        share().take()

    assert caught.value.retry_after == 600
    assert time.now == START


def test_a_pause_is_over_once_the_clock_is_set_back_by_more_than_any_lasts(
    share: Callable[..., Budget], time: Time
) -> None:
    one = share()
    time.now += 86_400
    one.pause(600)
    time.now -= 86_400

    one.take()

    assert one.used() < 1.0
    assert time.slept == 0.0
    one.pause(30)
    one.take()
    assert time.slept >= 30


def test_no_pause_lasts_longer_than_an_hour(share: Callable[..., Budget], time: Time) -> None:
    share().pause(float("inf"))
    time.sleep(MAX_PAUSE + 1)

    share().take()

    assert time.now < START + MAX_PAUSE + 2


def test_a_state_that_cannot_be_read_is_counted_anew(
    storage: Storage, time: Time, share: Callable[..., Budget]
) -> None:
    name = f"budgets/{uuid.uuid4()}/management.json"
    write_blob(storage.state, name, b"\x00 nonsense", etag=None)

    share(name=name).take()

    stored = read_blob(storage.state, name)
    assert stored is not None
    assert msgspec.json.decode(stored.data, type=BudgetState).grants


@pytest.mark.parametrize("reachable", [None, False], ids=["none", "unreachable"])
def test_without_storage_a_sharer_takes_an_equal_share(reachable: bool | None, time: Time) -> None:
    budget = Budget(
        None if reachable is None else _unreachable(),
        "budgets/x/management.json",
        Allowance(limit=50),
        now=time,
        sleep=time.sleep,
    )
    made = []
    for _ in range(25):
        budget.take()
        made.append(time.now)

    assert most_in_any(WINDOW, made) == 50 // SHARERS
    assert made[-1] < START + 2.5 * WINDOW


def _unreachable() -> Storage:
    text = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint=http://127.0.0.1:9/{ACCOUNT};TableEndpoint=http://127.0.0.1:9/{ACCOUNT}"
    )
    return Storage.from_connection_string(text, retry_total=0, connection_timeout=1)


def test_racing_processes_never_grant_the_same_requests_twice(storage: Storage) -> None:
    name = f"budgets/{uuid.uuid4()}/management.json"
    made: list[float] = []
    end = monotonic() + 200

    def work(budget: Budget) -> None:
        with contextlib.suppress(Throttled):
            while True:
                budget.take(lambda: len(made) >= 100 or monotonic() > end)
                made.append(monotonic())

    # Two processes, each with a budget object that two of its threads share.
    budgets = [Budget(storage, name, Allowance(limit=100, hold=30)) for _ in range(2)]
    threads = [threading.Thread(target=work, args=(budget,)) for budget in budgets * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)

    assert len(made) == 100


# -- how much is used


def test_every_sharer_sees_how_much_of_the_budget_all_of_them_used(
    share: Callable[..., Budget], time: Time
) -> None:
    one, other = share(first_block=1, max_block=1), share(max_block=1)
    assert other.used() == 0.0

    for _ in range(10):
        one.take()
        time.sleep(1.0)

    assert other.used() == 10 / 40
    time.sleep(120)
    assert other.used() == 0.0


def test_what_is_used_is_looked_up_every_few_seconds_only(
    share: Callable[..., Budget], time: Time
) -> None:
    one, other = share(first_block=1, max_block=1), share(max_block=1)
    other.used()
    one.take()

    assert other.used() == 0.0
    time.sleep(LOOK_EVERY)
    assert other.used() == 1 / 40


def test_a_pause_is_a_budget_used_up_for_every_sharer(
    share: Callable[..., Budget], time: Time
) -> None:
    one, other = share(), share()
    one.pause(30)

    assert one.used() == other.used() == 1.0
    time.sleep(31)
    assert one.used() == other.used() == 0.0


def test_without_storage_the_share_of_its_own_is_what_counts(time: Time) -> None:
    alone = Budget(None, "budget", Allowance(limit=40), now=time, sleep=time.sleep)
    for _ in range(4):
        alone.take()

    assert alone.used() == 4 / (40 // SHARERS)


def test_without_storage_a_clock_that_is_set_back_keeps_nobody_waiting(time: Time) -> None:
    alone = Budget(None, "budget", Allowance(limit=40), now=time, sleep=time.sleep)
    for _ in range(40 // SHARERS):
        alone.take()
    time.now -= 3600

    alone.take()

    assert time.slept == 0.0


@pytest.mark.parametrize("pace", [0.1, 0.7, 1.9, 2.6, 4.9, 5.1, 9.0])
def test_at_a_steady_pace_next_to_nothing_is_forfeited(
    share: Callable[..., Budget], time: Time, pace: float
) -> None:
    steady = share(limit=90, first_block=1, max_block=8, window=300.0)
    asked = 0
    while time.slept == 0.0 and asked < 90:
        steady.take()
        asked += 1
        time.now += pace

    assert asked >= 85


def test_a_request_at_a_time_forfeits_nothing_however_slow_it_is(
    share: Callable[..., Budget], time: Time
) -> None:
    slow = share(first_block=1, max_block=1, window=300.0)
    for _ in range(40):
        slow.take()
        time.now += 6.0

    # 40 requests of 6 s within the 300 s window: all of the budget could be used, and no request had to wait.
    assert time.slept == 0.0


def test_a_run_that_finds_nothing_costs_one_write_and_no_read_of_the_budget(
    share: Callable[..., Budget], time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any, **more: Any) -> Any:
            calls.append(call.__name__)
            return call(*given, **more)

        return made

    for call in (read_blob, write_blob):
        monkeypatch.setattr(f"shared.service.budget.{call.__name__}", counted(call))
    budget = share(limit=1600)
    for _ in range(6):
        calls.clear()
        for _ in range(7):
            budget.take()
            time.sleep(0.2)
        time.sleep(600)

        assert calls[-1:] == ["write_blob"]
        assert calls in (["write_blob"], ["read_blob", "write_blob"])
    assert calls == ["write_blob"]


def test_what_another_process_took_meanwhile_is_seen_by_the_write(
    share: Callable[..., Budget], time: Time
) -> None:
    one, other = share(first_block=1, max_block=1), share(max_block=1)
    made = []
    for turn in range(60):
        (one if turn % 3 else other).take()
        made.append(time.now)
        time.sleep(0.01)

    assert most_in_any(WINDOW, made) <= 40
