"""What every sink must pass: a test class inherits this and says which sink it is, and how to look into it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from shared.publish.publisher import Publisher
from tests.publish.parcels import parcel

if TYPE_CHECKING:
    from shared.publish.outbox import Delivery
    from shared.publish.sink import Sink

Stored = Callable[[], list[bytes]]


class SinkSuite:
    """The promises of ``Sink``, ``Sender`` and ``Batch``."""

    @pytest.fixture
    def sink(self) -> Sink:
        raise NotImplementedError

    @pytest.fixture
    def stored(self, sink: Sink) -> Stored:
        """The bodies that the sink holds, in any order."""
        raise NotImplementedError

    def test_it_has_a_name_for_the_log(self, sink: Sink) -> None:
        assert sink.name

    def test_a_batch_takes_the_events_that_it_is_offered_and_no_other(
        self, sink: Sink, stored: Stored
    ) -> None:
        sender = sink.borrow()
        batch = sender.new_batch()

        assert batch.take(parcel(b"{0}", b"{1}", b"{2}", b"{3}"), 1, 3) == 2
        sender.send(batch)

        assert sorted(stored()) == [b"{1}", b"{2}"]
        sender.close()

    def test_what_was_sent_is_stored_when_send_returns(self, sink: Sink, stored: Stored) -> None:
        sender = sink.borrow()
        for number in range(3):
            batch = sender.new_batch()
            assert batch.take(parcel(b"{%d}" % number), 0, 1) == 1
            sender.send(batch)
            assert len(stored()) == number + 1
        sender.close()

    def test_a_batch_takes_events_of_several_parcels(self, sink: Sink, stored: Stored) -> None:
        sender = sink.borrow()
        batch = sender.new_batch()

        assert batch.take(parcel(b"{1}", source="one"), 0, 1) == 1
        assert batch.take(parcel(b"{2}", b"{3}", source="other"), 0, 2) == 2
        sender.send(batch)

        assert sorted(stored()) == [b"{1}", b"{2}", b"{3}"]
        sender.close()

    def test_a_full_batch_says_how_many_fitted_and_the_rest_goes_into_the_next(
        self, sink: Sink, stored: Stored
    ) -> None:
        bodies = [b'{"n":%d,"x":"%s"}' % (number, b"x" * 100_000) for number in range(40)]
        whole = parcel(*bodies)
        sender = sink.borrow()
        start, batches = 0, 0
        while start < len(bodies):
            batch = sender.new_batch()
            taken = batch.take(whole, start, len(bodies))
            assert taken > 0
            if start + taken < len(bodies):
                assert batch.take(whole, start + taken, len(bodies)) == 0, "it was full before"
            sender.send(batch)
            start, batches = start + taken, batches + 1

        assert sorted(stored()) == sorted(bodies)
        assert batches > 1
        sender.close()

    def test_a_sender_that_was_given_back_sends_again(self, sink: Sink, stored: Stored) -> None:
        for number in range(2):
            sender = sink.borrow()
            batch = sender.new_batch()
            batch.take(parcel(b"{%d}" % number), 0, 1)
            sender.send(batch)
            sink.give_back(sender)

        assert sorted(stored()) == [b"{0}", b"{1}"]

    def test_a_sender_can_be_cut_and_closed_at_any_time(self, sink: Sink) -> None:
        fresh, used = sink.borrow(), sink.borrow()
        used.new_batch()

        for sender in (fresh, used):
            sender.cut()
            sender.close()

    def test_a_publisher_delivers_every_content_through_it_once(
        self, sink: Sink, stored: Stored
    ) -> None:
        settled: Counter[str] = Counter()
        lock = threading.Lock()

        def note(delivery: Delivery[str]) -> None:
            with lock:
                settled[delivery.key] += delivery.records

        publisher: Publisher[str] = Publisher(sink, on_settled=note, on_oversize=lambda *_: None)
        for name in ("a", "b", "c"):
            bodies = [b'{"%s":%d}' % (name.encode(), number) for number in range(70)]
            publisher.publish(name, parcel(*bodies[:30], last=False))
            publisher.publish(name, parcel(*bodies[30:], first=30))
        publisher.publish("broken", parcel(b"{}", last=False))
        publisher.close(60)

        assert settled == {"a": 70, "b": 70, "c": 70}
        assert Counter(stored()).total() == 211
