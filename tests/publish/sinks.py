"""What every sink must pass: a test class inherits this and says which sink it is, how to look into it and to break it.

That the suite refuses a sink with a defect is proved in tests/publish/test_suites.py.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from shared.errors import SinkError, Throttled
from shared.publish.pace import Patience, Sending
from shared.publish.publisher import Publisher
from tests.publish.parcels import parcel

if TYPE_CHECKING:
    from shared.publish.outbox import Delivery
    from shared.publish.sink import Sink

Stored = Callable[[], list[tuple[bytes, dict[str, str]]]]
Break = Callable[[], None]


def bodies_of(stored: Stored) -> list[bytes]:
    return sorted(body for body, _ in stored())


class SinkSuite:
    """The promises of ``Sink``, ``Sender`` and ``Batch``.

    Attributes:
        holds: bytes that no batch holds; None where a batch holds any one event.
        keeps_properties: whether events keep their properties there; only a sink for trying out may lose them.
    """

    holds: ClassVar[int | None] = 2_000_000
    keeps_properties: ClassVar[bool] = True

    @pytest.fixture
    def sink(self) -> Sink:
        raise NotImplementedError

    @pytest.fixture
    def stored(self, sink: Sink) -> Stored:
        """Body and properties of each event that the sink holds, in any order; {} where it keeps no properties."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self, sink: Sink) -> Break:
        """Makes every further send of the sink fail."""
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

        assert bodies_of(stored) == [b"{1}", b"{2}"]
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

        assert bodies_of(stored) == [b"{1}", b"{2}", b"{3}"]
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

        assert bodies_of(stored) == sorted(bodies)
        assert batches > 1
        sender.close()

    def test_an_empty_batch_takes_nothing_of_an_event_that_it_can_never_hold(
        self, sink: Sink, stored: Stored
    ) -> None:
        large = parcel(b"x" * (self.holds or 4_000_000), b"{}")
        sender = sink.borrow()
        batch = sender.new_batch()

        if self.holds is None:
            assert batch.take(large, 0, 1) == 1
        else:
            assert batch.take(large, 0, 2) == 0
            assert batch.take(large, 1, 2) == 1, "it is still empty"
            sender.send(batch)
            assert bodies_of(stored) == [b"{}"]
        sender.close()

    def test_every_event_carries_the_properties_of_its_parcel_and_its_own(
        self, sink: Sink, stored: Stored
    ) -> None:
        one = replace(
            parcel(b"{0}", b"{1}", b"{2}", source="Audit.Exchange", connection="zoë"),
            columns={"content_id": ["a", "b", "c"], "recovered": ["", "", "true"]},
        )
        other = parcel(b"{3}", first=3, source="DLP.All")
        sender = sink.borrow()
        batch = sender.new_batch()
        batch.take(one, 1, 3)
        batch.take(other, 0, 1)
        sender.send(batch)
        sender.close()

        common = {"source": "Audit.Exchange", "connection": "zoë"}
        expected = {
            b"{1}": {**common, "content_id": "b", "event_id": "event-1"},
            b"{2}": {**common, "content_id": "c", "event_id": "event-2", "recovered": "true"},
            b"{3}": {"source": "DLP.All", "event_id": "event-3"},
        }
        if not self.keeps_properties:
            expected = {body: {} for body in expected}
        assert dict(stored()) == expected

    def test_what_was_not_acknowledged_is_a_sink_error(self, sink: Sink, broken: Break) -> None:
        sender = sink.borrow()
        batch = sender.new_batch()
        batch.take(parcel(b"{}"), 0, 1)
        broken()

        with pytest.raises(SinkError) as caught:
            sender.send(batch)

        assert caught.value.code
        sender.close()

    def test_a_publisher_settles_nothing_that_was_not_acknowledged(
        self, sink: Sink, broken: Break
    ) -> None:
        broken()
        settled: list[str] = []
        hasty = Sending(patience=Patience(no_acknowledgement=1.0, error=0.05, busy=0.05))
        publisher: Publisher[str] = Publisher(
            sink,
            on_settled=lambda delivery: settled.append(delivery.key),
            claim_check=lambda parcel, _: parcel,
            sending=hasty,
        )
        publisher.publish("a", parcel(b"{}"))

        with pytest.raises((SinkError, Throttled)):
            publisher.close(60)

        assert settled == []

    def test_a_sender_that_was_given_back_sends_again(self, sink: Sink, stored: Stored) -> None:
        for number in range(2):
            sender = sink.borrow()
            batch = sender.new_batch()
            batch.take(parcel(b"{%d}" % number), 0, 1)
            sender.send(batch)
            sink.give_back(sender)

        assert bodies_of(stored) == [b"{0}", b"{1}"]

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

        publisher: Publisher[str] = Publisher(
            sink, on_settled=note, claim_check=lambda parcel, _: parcel
        )
        for name in ("a", "b", "c"):
            bodies = [b'{"%s":%d}' % (name.encode(), number) for number in range(70)]
            publisher.publish(name, parcel(*bodies[:30], last=False))
            publisher.publish(name, parcel(*bodies[30:], first=30))
        publisher.publish("broken", parcel(b"{}", last=False))
        publisher.close(60)

        assert settled == {"a": 70, "b": 70, "c": 70}
        assert len(set(bodies_of(stored))) == len(stored()) == 211
