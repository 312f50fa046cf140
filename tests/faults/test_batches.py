"""What shares a batch does not share a fate: contents settle one by one, and each batch counts once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from local.tenant import Fault
from shared.errors import SinkError
from shared.publish.pace import Abandoned, Patience, Sending
from shared.publish.publisher import Publisher
from shared.service.http import Limits
from shared.state.ledger import State
from tests.harness import HUB, Rig, record
from tests.publish.parcels import parcel
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.publish.format import Event, Parcel
    from shared.publish.outbox import Delivery
    from shared.publish.sink import Batch, Sender

pytestmark = pytest.mark.usefixtures("collected_before")

PATIENT = Patience(watchdog=LONG, no_acknowledgement=5 * LONG, linger=0.01, busy=0.01, error=0.01)


# -- contents that share a batch


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("truncate_json", id="cut-json"),
        pytest.param("truncate_gzip", id="cut-gzip"),
        pytest.param("never_ends", id="never-ends"),
        pytest.param("error_object", id="error-object"),
    ],
)
def test_a_content_that_breaks_off_takes_nothing_along(rig: Rig, damage: str) -> None:
    contents = rig.offer_many(7)
    broken = contents[3].content_id
    rig.tenant.faults.add(Fault(on="content", action=damage, content_id=broken, times=-1))

    limits = Limits(connect=1, read=1, total=1.0, min_rate=100, grace=0.3)
    summary = rig.run(limits=limits, tries=2)

    assert {event[0] for event in rig.events()} == {c.content_id for c in contents} - {broken}
    assert rig.delivered() == {c.content_id for c in contents} - {broken}
    rig.assert_nothing_claimed_early()
    assert (summary.status, summary.failed, summary.pending) == ("incomplete", 1, 1)
    assert rig.ledger()[broken].state == State.ATTEMPT

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().caught_up
    rig.assert_complete()
    assert rig.repeats() == 0


def test_what_cannot_be_split_is_kept_once_a_second_run_gets_it_too(rig: Rig) -> None:
    contents = rig.offer_many(3)
    broken = contents[1]
    rig.tenant.faults.add(
        Fault(on="content", action="truncate_json", content_id=broken.content_id, times=-1)
    )

    first = rig.run()

    assert (first.status, first.pending, rig.dead_letters()) == ("incomplete", 1, {})

    rig.tenant.advance(timedelta(minutes=11))
    second = rig.run()

    assert (second.status, second.pending, second.dead_letters) == ("succeeded", 0, 1)
    assert rig.ledger()[broken.content_id].state == State.DEAD_LETTERED
    # What stands before the damage is delivered, and the rest is kept, whatever it would have been.
    (kept,) = rig.dead_letters().values()
    bodies = {event.body for event in rig.hubs.events(HUB)}
    records = [bytes(each) for each in broken.records or ()]
    whole = [each for each in records if each in bodies]
    assert whole
    assert kept
    assert b",".join(records[len(whole) :]).startswith(kept)
    assert {event[0] for event in rig.events()} == {content.content_id for content in contents}


def test_bytes_that_were_spoilt_on_their_way_in_one_run_are_delivered_by_the_next(
    rig: Rig,
) -> None:
    contents = rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(on="content", action="truncate_json", content_id=contents[1].content_id, times=2)
    )
    assert rig.run().pending == 1

    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().status == "succeeded"

    assert rig.dead_letters() == {}
    rig.assert_complete()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("<html>Maintenance</html>", id="a-page"),
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
    ],
)
def test_what_is_no_content_at_all_is_asked_for_again_and_never_taken_for_one(
    rig: Rig, body: str
) -> None:
    rig.offer_many(3)
    rig.tenant.faults.add(Fault(on="content", action="status", status=200, body=body, times=-1))
    for _ in range(3):
        summary = rig.run()
        assert (summary.pending, summary.dead_letters, summary.lost) == (3, 0, 0)
        rig.tenant.advance(timedelta(hours=1))

    rig.tenant.faults.clear()
    assert rig.run().status == "succeeded"

    assert rig.dead_letters() == {}
    rig.assert_complete()


def test_a_record_just_under_the_hubs_limit_is_delivered(rig: Rig) -> None:
    large = record(Padding="z" * ((1 << 20) - 2_000))
    rig.offer(records=[record(), large, record()])

    summary = rig.run()

    assert (summary.status, summary.claim_checks, summary.records) == ("succeeded", 0, 3)
    rig.assert_complete()
    assert rig.repeats() == 0


# -- the publisher alone, with a sink in memory


class MemoryBatch:
    """Up to four events."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink
        self.events: list[Event] = []

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        """Add events, once the sink lets batches be filled; returns how many fit."""
        if not self._sink.filling.is_set():
            self._sink.reached.release()
            assert self._sink.filling.wait(LONG)
        fitting = min(stop, start + 4 - len(self.events))
        self.events += [parcel.event(at) for at in range(start, fitting)]
        return fitting - start


class MemorySink:
    """Keeps every event; its gates say how far the calls of a sender get.

    Attributes:
        stored: events, in the order of their coming.
        sends: batches that were sent.
        gates: for each coming send, what it waits for before it is acknowledged; none: nothing.
        filling: what adding to a batch waits for.
        reached: released by every call that has to wait.
        answered: released by every send that is acknowledged.
    """

    name = "memory"
    remark = ""

    def __init__(self) -> None:
        self.stored: list[Event] = []
        self.sends = 0
        self.gates: list[threading.Event] = []
        self.filling = threading.Event()
        self.filling.set()
        self.reached = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def borrow(self) -> Sender:
        """A new sender."""
        return MemorySender(self)

    def give_back(self, sender: Sender) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to close."""

    def take(self, batch: MemoryBatch) -> None:
        """Store a batch and acknowledge it when its gate opens."""
        with self._lock:
            self.sends += 1
            gate = self.gates.pop(0) if self.gates else None
            self.stored += batch.events
        if gate is not None:
            self.reached.release()
            assert gate.wait(LONG)
        self.answered.release()


class MemorySender:
    """A sender of a ``MemorySink``."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink

    def new_batch(self) -> Batch:
        """An empty batch."""
        return MemoryBatch(self._sink)

    def send(self, batch: Batch) -> None:
        """Store a batch."""
        assert isinstance(batch, MemoryBatch)
        self._sink.take(batch)

    def cut(self) -> None:
        pass

    def close(self) -> None:
        """Nothing to close."""


class Settled:
    """Which contents a publisher reported, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.records: list[int] = []
        self.changed = threading.Condition()

    def __call__(self, delivery: Delivery[str]) -> None:
        """Note a content."""
        with self.changed:
            self.names.append(delivery.key)
            self.records.append(delivery.records)
            self.changed.notify_all()

    def wait(self, count: int) -> bool:
        """Wait until so many were reported."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.names) >= count, LONG)


def no_claim_check(parcel: Parcel, at: int) -> Parcel:
    """No event is too large here."""
    raise AssertionError(f"{len(parcel.bodies[at])} bytes are over the limit")


@contextmanager
def publishing(
    sink: MemorySink,
    *,
    senders: int = 1,
    patience: Patience = PATIENT,
    abandoned: Abandoned | None = None,
    max_abandoned: int = 3,
) -> Iterator[tuple[Publisher[str], Settled]]:
    """A publisher into a sink in memory, and what it reports."""
    settled = Settled()
    publisher: Publisher[str] = Publisher(
        sink,
        on_settled=settled,
        claim_check=no_claim_check,
        sending=Sending(
            senders=senders,
            patience=patience,
            abandoned=abandoned or Abandoned(),
            max_abandoned=max_abandoned,
        ),
    )
    yield publisher, settled


def events(content: str, count: int, *, last: bool = True) -> Parcel:
    """The first stretch of a content."""
    return parcel(*(f"{content}{n}".encode() for n in range(count)), last=last)


def outstanding(publisher: Publisher[str]) -> int:
    """Events handed over and not acknowledged."""
    return publisher._outbox.outstanding


def bodies(sink: MemorySink) -> list[bytes]:
    """What the sink stored."""
    return [event.body for event in sink.stored]


def test_a_content_that_is_broken_off_never_settles_and_the_others_of_its_batch_do() -> None:
    sink = MemorySink()
    gate = threading.Event()
    sink.gates = [gate]
    with publishing(sink) as (publisher, settled):
        # The batch is held open until events of all three are there.
        sink.filling.clear()
        publisher.publish("good", events("good", 2))
        assert sink.reached.acquire(timeout=LONG)
        publisher.publish("broken", events("broken", 1, last=False))
        publisher.publish("late", events("late", 1))
        sink.filling.set()
        assert sink.reached.acquire(timeout=LONG)
        assert settled.names == [], "nothing is acknowledged yet"
        gate.set()
        publisher.close(LONG)

    assert sink.sends == 1
    assert sorted(settled.names) == ["good", "late"]
    assert outstanding(publisher) == 0
    assert bodies(sink) == [b"good0", b"good1", b"broken0", b"late0"]


def test_a_content_with_a_stretch_missing_is_refused_and_never_settles() -> None:
    sink = MemorySink()
    with publishing(sink) as (publisher, settled):
        publisher.publish("broken", events("broken", 1, last=False))
        with pytest.raises(ValueError, match="record 2 is out of turn"):
            publisher.publish("broken", parcel(b"broken2", first=2))
        with pytest.raises(ValueError, match="record 1 is out of turn"):
            publisher.publish("broken", parcel(b"broken1", first=1))
        publisher.close(LONG)

    assert bodies(sink) == [b"broken0"]
    assert settled.names == []


def test_a_content_that_broke_off_and_is_started_over_counts_anew() -> None:
    sink = MemorySink()
    with publishing(sink) as (publisher, settled):
        publisher.publish("content", events("content", 2, last=False))
        publisher.publish("content", events("content", 3, last=False))
        publisher.publish("content", parcel(b"content3", first=3))
        publisher.close(LONG)

    assert settled.names == ["content"]
    assert settled.records == [4]
    assert len(sink.stored) == 6


def test_a_content_settles_only_after_the_last_of_its_batches_is_acknowledged() -> None:
    sink = MemorySink()
    first, second = threading.Event(), threading.Event()
    sink.gates = [first, second]
    with publishing(sink) as (publisher, settled):
        publisher.publish("content", events("content", 6))
        assert sink.reached.acquire(timeout=LONG)
        first.set()
        assert sink.reached.acquire(timeout=LONG)
        assert (settled.names, outstanding(publisher)) == ([], 2)
        second.set()
        publisher.close(LONG)

    assert settled.names == ["content"]
    assert (settled.records, len(sink.stored)) == ([6], 6)


def test_a_late_acknowledgement_of_an_abandoned_send_credits_nothing() -> None:
    sink = MemorySink()
    hangs, repeat = threading.Event(), threading.Event()
    sink.gates = [hangs, repeat]
    abandoned = Abandoned()
    # Long enough for this test to act before the second send is abandoned too.
    patience = replace(PATIENT, watchdog=2.0)
    with publishing(sink, patience=patience, abandoned=abandoned) as (publisher, settled):
        publisher.publish("content", events("content", 3))
        assert sink.reached.acquire(timeout=LONG)
        assert sink.reached.acquire(timeout=LONG), "the abandoned events were not sent again"
        assert (abandoned.hanging, publisher.abandoned) == (1, 1)

        hangs.set()
        assert sink.answered.acquire(timeout=LONG)
        wait_for(lambda: abandoned.hanging == 0)
        assert settled.names == []
        assert (outstanding(publisher), publisher.batches) == (3, 0)

        repeat.set()
        assert settled.wait(1)
        publisher.close(LONG)

    assert settled.names == ["content"]
    assert (outstanding(publisher), settled.records, publisher.batches) == (0, [3], 1)
    assert sorted(bodies(sink)) == sorted(2 * list(events("content", 3).bodies))


def test_an_acknowledgement_after_the_end_of_the_run_credits_nothing() -> None:
    sink = MemorySink()
    gate = threading.Event()
    sink.gates = [gate]
    abandoned = Abandoned()
    with publishing(sink, abandoned=abandoned) as (publisher, settled):
        publisher.publish("content", events("content", 3))
        assert sink.reached.acquire(timeout=LONG)
        with pytest.raises(SinkError, match="3 events were not yet acknowledged"):
            publisher.close(0.05)
        gate.set()
        assert sink.answered.acquire(timeout=LONG)
        wait_for(lambda: abandoned.hanging == 0)

    assert (settled.names, outstanding(publisher)) == ([], 3)


def test_nothing_is_sent_after_the_end_of_the_run() -> None:
    sink = MemorySink()
    sink.filling.clear()
    before = {t for t in threading.enumerate() if t.name == "sender"}
    with publishing(sink) as (publisher, settled):
        publisher.publish("content", events("content", 1))
        assert sink.reached.acquire(timeout=LONG)
        # A batch is being filled when the run ends.
        with pytest.raises(SinkError, match="1 events were not yet acknowledged"):
            publisher.close(0)
        sink.filling.set()
        for sender in {t for t in threading.enumerate() if t.name == "sender"} - before:
            sender.join(LONG)

    assert (sink.sends, bodies(sink), settled.names) == (0, [], [])


def test_more_hanging_sends_than_allowed_end_the_run_with_a_sink_error() -> None:
    sink = MemorySink()
    gates = [threading.Event() for _ in range(9)]
    sink.gates = list(gates)
    abandoned = Abandoned()
    patience = replace(PATIENT, watchdog=0.1)
    with publishing(sink, patience=patience, abandoned=abandoned, max_abandoned=3) as (
        publisher,
        settled,
    ):
        publisher.publish("content", events("content", 3))
        with pytest.raises(SinkError, match="4 sends to Event Hubs hung") as failure:
            publisher.close(LONG)
        assert failure.value.code == "send-abandoned"
        assert sink.sends <= 5
        for gate in gates:
            gate.set()
        wait_for(lambda: abandoned.hanging == 0)

    assert settled.names == []


def test_the_run_says_that_it_was_slow_because_the_sdk_encodes_in_another_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.offer_many(2)
    monkeypatch.setattr("shared.publish.event_hubs.frame_of", lambda _: None)

    summary = rig.run()

    assert (summary.status, summary.records) == ("succeeded", 6)
    assert "azure-eventhub encodes in a way that is not known here" in summary.remark
    assert rig.run_rows()[0]["remark"] == summary.remark
    rig.assert_complete()
    monkeypatch.undo()
    rig.restart()
    rig.offer_many(2, hours_ago=0.5)
    assert rig.run().remark == ""
