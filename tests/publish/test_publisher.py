"""The publisher: a content settles exactly once, when all of it is acknowledged and not before."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import CollectorError, EventTooLarge, SinkBusy, SinkError, Throttled, Transient
from shared.publish.format import Event, Parcel
from shared.publish.pace import MIN_RATE, Abandoned, Pace, Patience, Sending
from shared.publish.publisher import Publisher
from tests.publish.parcels import parcel
from tests.waits import LONG

if TYPE_CHECKING:
    from shared.publish.outbox import Delivery
    from shared.publish.sink import Batch, Sender

FAST = Patience(watchdog=1.0, no_acknowledgement=10.0, linger=0.01, busy=0.02, error=0.01)
QUIET = Patience(watchdog=LONG, no_acknowledgement=LONG, linger=0.01, busy=0.02, error=0.01)


class Events:
    """A batch of at most so many bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.events: list[Event] = []

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        for at in range(start, stop):
            event = parcel.event(at)
            if sum(len(each.body) for each in self.events) + len(event.body) > self._capacity:
                return at - start
            self.events.append(event)
        return stop - start


Answer = Callable[[list[Event]], None]


@dataclass
class Hub:
    """A sink in memory that keeps what it acknowledged.

    ``answers`` are used one for each send: an error is raised, a function is called; none left means acknowledged.
    """

    capacity: int = 1000
    name: str = "hub"
    answers: list[CollectorError | Answer | None] = field(default_factory=list)
    remark: str = ""
    batches: list[list[Event]] = field(default_factory=list)
    sends: int = 0
    made: int = 0
    closed: int = 0
    idle: list[Sender] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def borrow(self) -> Sender:
        with self.lock:
            self.made += 1
        return HubSender(self)

    def give_back(self, sender: Sender) -> None:
        self.idle.append(sender)

    def close(self) -> None:
        self.closed += 1

    def bodies(self) -> list[bytes]:
        return [event.body for batch in self.batches for event in batch]


@dataclass
class HubSender:
    """A connection to that hub."""

    hub: Hub

    def new_batch(self) -> Batch:
        return Events(self.hub.capacity)

    def send(self, batch: Batch) -> None:
        assert isinstance(batch, Events)
        with self.hub.lock:
            self.hub.sends += 1
            answer = self.hub.answers.pop(0) if self.hub.answers else None
        if isinstance(answer, CollectorError):
            raise answer
        if answer is not None:
            answer(batch.events)
        with self.hub.lock:
            self.hub.batches.append(batch.events)

    def cut(self) -> None:
        pass

    def close(self) -> None:
        self.hub.closed += 1


@dataclass
class Run:
    """A publisher and what it reported."""

    publisher: Publisher[str]
    settled: list[Delivery[str]]
    kept: list[bytes]
    failed: list[CollectorError]

    def content(self, key: str, *bodies: bytes) -> None:
        self.publisher.publish(key, parcel(*bodies))

    def keys(self) -> list[str]:
        return sorted(delivery.key for delivery in self.settled)


Start = Callable[..., Run]


POINTER = b"->"


def start_run(hub: Hub, *, on_keep: Callable[[], None] = lambda: None, **more: object) -> Run:
    settled: list[Delivery[str]] = []
    kept: list[bytes] = []
    failed: list[CollectorError] = []

    def claim_check(large: Parcel, at: int) -> Parcel:
        on_keep()
        kept.append(large.bodies[at])
        return parcel(POINTER, first=large.first + at)

    options: dict[str, object] = {"patience": QUIET, "senders": 1, **more}
    publisher: Publisher[str] = Publisher(
        hub,
        on_settled=settled.append,
        claim_check=claim_check,
        on_failed=failed.append,
        sending=Sending(**options),  # type: ignore[arg-type]
    )
    return Run(publisher, settled, kept, failed)


@pytest.fixture
def start() -> Iterator[Start]:
    runs: list[Run] = []

    def begin(hub: Hub, **more: object) -> Run:
        runs.append(start_run(hub, **more))  # type: ignore[arg-type]
        return runs[-1]

    yield begin
    for run in runs:
        try:
            run.publisher.close(0)
        except CollectorError:
            continue


def eventually(condition: Callable[[], bool], seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- settling


@given(
    sizes=st.lists(st.lists(st.integers(1, 60), max_size=6), min_size=1, max_size=8),
    capacity=st.integers(60, 200),
    senders=st.integers(1, 3),
)
@settings(max_examples=25)
def test_each_content_settles_once_with_what_was_acknowledged_of_it(
    sizes: list[list[int]], capacity: int, senders: int
) -> None:
    hub = Hub(capacity=capacity)
    run = start_run(hub, senders=senders)

    for number, content in enumerate(sizes):
        run.content(str(number), *(b"x" * size for size in content))
    run.publisher.close(LONG)

    assert run.keys() == sorted(str(number) for number in range(len(sizes)))
    for delivery in run.settled:
        content = sizes[int(delivery.key)]
        assert (delivery.records, delivery.bytes) == (len(content), sum(content))
        assert (delivery.outstanding, delivery.claim_checks) == (0, 0)
    assert Counter(len(body) for body in hub.bodies()) == Counter(sum(sizes, []))


def test_batches_are_filled_across_contents(start: Start) -> None:
    gate = threading.Event()
    hub = Hub(answers=[lambda _: None if gate.wait(LONG) else None])
    run = start(hub)
    run.content("first", b"1")
    eventually(lambda: hub.sends == 1)
    for number in range(50):
        run.content(str(number), b"x", b"y")
    gate.set()

    run.publisher.close(LONG)

    assert len(hub.batches) == 2
    assert len(run.settled) == 51


def test_a_content_is_not_settled_before_its_last_batch_is_acknowledged(start: Start) -> None:
    gate = threading.Event()
    hub = Hub(capacity=10, answers=[None, lambda _: None if gate.wait(LONG) else None])
    run = start(hub)

    run.content("a", b"x" * 10, b"y" * 10)
    eventually(lambda: hub.sends == 2)

    assert run.settled == []
    gate.set()
    run.publisher.close(LONG)
    assert run.keys() == ["a"]


def test_a_content_whose_last_stretch_has_not_come_does_not_settle(start: Start) -> None:
    hub = Hub()
    run = start(hub)
    run.publisher.publish("a", parcel(b"1", last=False))
    eventually(lambda: len(hub.batches) == 1)
    run.publisher.publish("a", parcel(b"2", first=1, last=False))
    eventually(lambda: len(hub.batches) == 2)

    assert run.settled == []
    run.publisher.publish("a", parcel(first=2))
    assert run.keys() == ["a"]


def test_a_content_that_breaks_off_between_two_stretches_never_settles(start: Start) -> None:
    hub = Hub()
    run = start(hub)
    run.publisher.publish("a", parcel(b"1", last=False))

    run.publisher.close(LONG)

    assert hub.bodies() == [b"1"]
    assert run.settled == []


def test_a_content_without_records_settles_when_it_ends(start: Start) -> None:
    run = start(Hub())

    run.content("empty")

    assert run.keys() == ["empty"]
    run.publisher.close(0)


# -- failures


def test_a_busy_hub_is_offered_the_same_events_again_after_a_pause(start: Start) -> None:
    hub = Hub(answers=[SinkBusy("busy"), SinkBusy("busy")])
    pace = Pace(clock=lambda: 0.0)
    run = start(hub, pace=pace)

    run.content("a", b"1", b"2")
    run.publisher.close(LONG)

    assert (hub.bodies(), hub.sends, run.publisher.busy) == ([b"1", b"2"], 3, 2)
    assert run.keys() == ["a"]
    # What the slowest pace sends in a second holds up what follows for as long.
    before = pace.delay(int(MIN_RATE))
    assert pace.delay(1) - before == pytest.approx(1.0)
    # Nothing is wrong with the connection.
    assert (hub.made, hub.closed) == (1, 0)


def test_after_an_error_the_events_go_out_on_another_connection(start: Start) -> None:
    hub = Hub(answers=[SinkError("lost")])
    run = start(hub)

    run.content("a", b"1", b"2")
    run.publisher.close(LONG)

    assert hub.bodies() == [b"1", b"2"]
    assert hub.made == 2
    eventually(lambda: hub.closed == 1)
    assert run.keys() == ["a"]


def test_a_healthy_connection_is_kept_for_the_next_run(start: Start) -> None:
    hub = Hub()
    run = start(hub)

    run.content("a", b"1")
    run.publisher.close(LONG)

    eventually(lambda: len(hub.idle) == 1)


def test_a_send_that_hangs_is_abandoned_repeated_and_credited_once(start: Start) -> None:
    gate = threading.Event()
    hub = Hub(answers=[lambda _: None if gate.wait(LONG) else None])
    abandoned = Abandoned()
    run = start(hub, patience=FAST, abandoned=abandoned)

    run.content("a", b"1", b"2")
    run.publisher.close(LONG)

    assert run.keys() == ["a"]
    assert run.settled[0].records == 2
    assert (abandoned.hanging, run.publisher.abandoned) == (1, 1)
    # The late answer of the first send: the events are stored twice and credited once.
    gate.set()
    eventually(lambda: abandoned.hanging == 0)
    eventually(lambda: hub.bodies() == [b"1", b"2"] * 2)
    assert (len(run.settled), run.settled[0].records, run.publisher.batches) == (1, 2, 1)
    assert hub.idle == [] or len(hub.idle) == 1


def test_connecting_that_hangs_is_abandoned_too(start: Start) -> None:
    gate = threading.Event()

    class Slow(Hub):
        def borrow(self) -> Sender:
            first = self.made == 0
            sender = super().borrow()
            if first:
                gate.wait(LONG)
            return sender

    hub = Slow()
    run = start(hub, patience=FAST)

    run.content("a", b"1")
    run.publisher.close(LONG)
    gate.set()

    assert run.keys() == ["a"]
    assert hub.bodies() == [b"1"]


def test_more_than_three_hanging_sends_in_a_process_end_the_run(start: Start) -> None:
    gate = threading.Event()

    def hang(_: list[Event]) -> None:
        gate.wait(LONG)

    hub = Hub(answers=[hang] * 9)
    patience = Patience(watchdog=0.05, no_acknowledgement=LONG, linger=0.01)
    abandoned = Abandoned()
    run = start(hub, patience=patience, abandoned=abandoned)
    run.content("a", b"1")

    with pytest.raises(SinkError, match="4 sends .* hang") as caught:
        run.publisher.close(LONG)

    gate.set()
    assert caught.value.code == "send-abandoned"
    assert run.settled == []
    assert run.failed == [caught.value]
    eventually(lambda: abandoned.hanging == 0)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        pytest.param(SinkBusy("busy"), Throttled, "sink-throttled", id="busy"),
        pytest.param(
            SinkError("lost", code="link:detached"), SinkError, "link:detached", id="lost"
        ),
        pytest.param(SinkError("lost"), SinkError, "no-acknowledgement", id="lost-without-a-code"),
    ],
)
def test_without_any_acknowledgement_the_run_ends_and_says_why(
    start: Start, error: SinkError, kind: type[CollectorError], code: str
) -> None:
    hub = Hub(answers=[error] * 10_000)
    run = start(hub, patience=replace(FAST, no_acknowledgement=0.6), pace=Pace(min_rate=1e9))
    run.content("a", b"1")

    with pytest.raises(kind) as caught:
        run.publisher.close(LONG)

    assert caught.value.code == code
    assert run.failed == [caught.value]
    assert run.settled == []


def test_an_idle_publisher_does_not_give_up(start: Start) -> None:
    run = start(Hub(), patience=Patience(watchdog=1, no_acknowledgement=1, linger=0.01))
    run.content("a", b"1")
    eventually(lambda: run.keys() == ["a"])
    time.sleep(1.2)

    run.content("b", b"2")
    run.publisher.close(LONG)

    assert run.keys() == ["a", "b"]


def test_acknowledgements_in_between_keep_a_slow_hub_alive(start: Start) -> None:
    hub = Hub(capacity=1, answers=[lambda _: time.sleep(0.1)] * 20)
    run = start(hub, patience=Patience(watchdog=LONG, no_acknowledgement=1.5, linger=0.01))
    run.content("a", *[b"x"] * 20)

    run.publisher.close(LONG)

    assert run.keys() == ["a"]


# -- too large


def test_a_pointer_is_sent_in_place_of_an_event_that_no_batch_holds(start: Start) -> None:
    hub = Hub(capacity=10)
    run = start(hub)

    run.content("a", b"1", b"x" * 11, b"2")
    run.content("only", b"y" * 11)
    run.publisher.close(LONG)

    assert sorted(hub.bodies()) == [POINTER, POINTER, b"1", b"2"]
    assert run.kept == [b"x" * 11, b"y" * 11]
    by_key = {delivery.key: delivery for delivery in run.settled}
    assert (by_key["a"].records, by_key["a"].claim_checks, by_key["a"].bytes) == (3, 1, 13)
    assert (by_key["only"].records, by_key["only"].claim_checks) == (1, 1)


def test_a_content_is_not_settled_before_its_pointer_is_acknowledged(start: Start) -> None:
    gate = threading.Event()
    hub = Hub(capacity=10, answers=[lambda _: None if gate.wait(LONG) else None])
    run = start(hub)
    run.content("a", b"x" * 11)
    eventually(lambda: hub.sends == 1)

    assert (run.kept, run.settled) == ([b"x" * 11], [])
    gate.set()
    run.publisher.close(LONG)

    assert run.keys() == ["a"]


def test_many_oversized_events_in_a_row_are_no_silent_hub(start: Start) -> None:
    hub = Hub(capacity=10)
    patience = Patience(watchdog=LONG, no_acknowledgement=1.5, linger=0.01)
    run = start(hub, on_keep=lambda: time.sleep(0.3), patience=patience)
    run.content("a", *[b"x" * 11] * 10)

    run.publisher.close(LONG)

    assert len(run.kept) == 10
    assert run.keys() == ["a"]


def test_one_whose_bytes_take_long_to_keep_is_no_silent_hub(start: Start) -> None:
    patience = Patience(watchdog=LONG, no_acknowledgement=0.4, linger=0.01)
    run = start(Hub(capacity=10), on_keep=lambda: time.sleep(1.2), patience=patience)
    run.content("a", b"x" * 11)

    run.publisher.close(LONG)

    assert (run.keys(), run.failed) == (["a"], [])


def test_where_bytes_cannot_be_kept_their_content_fails_and_its_siblings_flow(start: Start) -> None:
    def refuse() -> None:
        raise Transient("storage is away")

    hub = Hub(capacity=10)
    run = start(hub, on_keep=refuse)
    run.content("a", b"1", b"x" * 11, b"2")
    run.content("b", b"3")

    run.publisher.close(LONG)

    assert sorted(hub.bodies()) == [b"1", b"2", b"3"]
    failed = {delivery.key: delivery.failed for delivery in run.settled}
    assert (str(failed["a"]), failed["b"]) == ("storage is away", None)
    assert run.failed == []


@pytest.mark.parametrize("by", ["its-batch", "the-hub"])
def test_a_pointer_that_is_refused_for_its_size_too_fails_its_content(
    start: Start, by: str
) -> None:
    def judge(events: list[Event]) -> None:
        if any(event.body in (b"big", POINTER) for event in events):
            raise EventTooLarge("too large")

    hub = Hub(capacity=1) if by == "its-batch" else Hub(answers=[judge] * 1000)
    run = start(hub)
    run.content("a", b"1", b"big")
    run.content("b", b"2")

    run.publisher.close(LONG)

    assert sorted(hub.bodies()) == [b"1", b"2"]
    assert run.kept == [b"big"]
    failed = {delivery.key: delivery.failed for delivery in run.settled}
    assert failed["a"] is not None
    assert (failed["a"].code, failed["b"]) == ("claim-check-refused", None)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_hub_that_takes_less_than_it_announced_gets_smaller_batches(
    start: Start, limit: int
) -> None:
    def judge(events: list[Event]) -> None:
        if len(events) > limit:
            raise EventTooLarge("too large")

    hub = Hub(answers=[judge] * 1000)
    run = start(hub)
    run.content("a", *(bytes([number]) for number in range(40)))

    run.publisher.close(LONG)

    assert sorted(hub.bodies()) == [bytes([number]) for number in range(40)]
    assert run.kept == []
    assert run.settled[0].records == 40


def test_the_one_event_that_a_hub_refuses_for_its_size_is_found_by_halving(
    start: Start,
) -> None:
    def judge(events: list[Event]) -> None:
        if any(event.body == b"big" for event in events):
            raise EventTooLarge("too large")

    hub = Hub(answers=[judge] * 1000)
    run = start(hub)
    run.content("a", b"1", b"2", b"3", b"big", b"4", b"5")

    run.publisher.close(LONG)

    assert sorted(hub.bodies()) == [POINTER, b"1", b"2", b"3", b"4", b"5"]
    assert run.kept == [b"big"]
    assert (run.settled[0].records, run.settled[0].claim_checks) == (6, 1)


def test_an_event_that_is_refused_for_its_size_once_is_sent_again_on_another_connection(
    start: Start,
) -> None:
    hub = Hub(answers=[EventTooLarge("too large")])
    run = start(hub, senders=1)
    run.content("a", b"1")

    run.publisher.close(LONG)

    assert hub.bodies() == [b"1"]
    assert run.kept == []
    assert hub.made == 2


# -- the end


def test_close_waits_for_acknowledgements_no_longer_than_it_was_given(start: Start) -> None:
    gate = threading.Event()
    hub = Hub(answers=[lambda _: None if gate.wait(LONG) else None])
    run = start(hub)
    run.content("a", b"1")
    eventually(lambda: hub.sends == 1)

    began = time.monotonic()
    with pytest.raises(SinkError, match="1 events were not yet acknowledged") as caught:
        run.publisher.close(0.1)

    assert time.monotonic() - began < LONG / 2
    assert caught.value.code == "deadline"
    gate.set()
    eventually(lambda: len(hub.batches) == 1)
    time.sleep(0.05)
    assert run.settled == []


def test_nothing_is_sent_after_close(start: Start) -> None:
    hub = Hub(capacity=100)
    pace = Pace(min_rate=100)
    pace.busy()
    run = start(hub, pace=pace)
    # The pace lets one batch out at once and the next a second later.
    run.content("a", *[b"x" * 50] * 6)
    eventually(lambda: hub.sends >= 1)

    with pytest.raises(SinkError):
        run.publisher.close(0.05)
    sent = hub.sends
    time.sleep(1.2)

    assert hub.sends == sent
    assert run.settled == []


def test_putting_more_after_a_failure_says_what_it_was(start: Start) -> None:
    run = start(Hub(answers=[Transient("storage is away")]))
    run.content("a", b"xx")
    eventually(lambda: bool(run.failed))

    with pytest.raises(Transient, match="storage is away"):
        run.content("b", b"1")


def test_a_broken_sender_ends_the_run_instead_of_hanging_it(start: Start) -> None:
    def broken(_: list[Event]) -> None:
        raise RuntimeError("a bug")

    hub = Hub(answers=[broken])
    run = start(hub)
    run.content("a", b"1")

    with pytest.raises(SinkError, match="RuntimeError"):
        run.publisher.close(LONG)

    time.sleep(0.02)
    assert hub.idle == []
    assert run.settled == []
