"""A sink is added by one module: it passes the suite, and what is collected arrives in it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shared import policy
from shared.times import utc_now
from tests.adding.badges import Badges, source_of
from tests.harness import FAST
from tests.publish.sinks import SinkSuite, Stored

if TYPE_CHECKING:
    from shared.publish.format import Parcel
    from shared.publish.sink import Batch, Sender, Sink
    from tests.adding.conftest import Desk

MOST_BYTES = 1_000_000


class Drawer:
    """Keeps events in memory."""

    name = "drawer"

    def __init__(self, refusals: int = 0) -> None:
        self.kept: list[tuple[bytes, dict[str, str]]] = []
        self._refusals = refusals
        self._lock = threading.Lock()

    def borrow(self) -> Sender:
        """A hand for one thread."""
        return Hand(self)

    def give_back(self, sender: Sender) -> None:
        """Hands are not kept."""

    def close(self) -> None:
        """Nothing is open."""

    def put(self, events: list[tuple[bytes, dict[str, str]]]) -> None:
        """Keep all of a batch, or refuse it."""
        with self._lock:
            if self._refusals:
                self._refusals -= 1
                raise policy.error("not-acknowledged", detail="the drawer is stuck")
            self.kept += events


class Pile:
    """A batch."""

    def __init__(self) -> None:
        self.events: list[tuple[bytes, dict[str, str]]] = []

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        """Add what fits."""
        size = sum(len(body) for body, _ in self.events)
        for at in range(start, stop):
            size += len(parcel.bodies[at])
            if size > MOST_BYTES:
                return at - start
            self.events.append((parcel.bodies[at], parcel.properties(at)))
        return stop - start


class Hand:
    """A sender."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer

    def new_batch(self) -> Batch:
        """An empty pile."""
        return Pile()

    def send(self, batch: Batch) -> None:
        """Put it into the drawer."""
        assert isinstance(batch, Pile)
        self._drawer.put(batch.events)

    def cut(self) -> None:
        """Nothing hangs."""

    def close(self) -> None:
        """Nothing is open."""


class TestDrawer(SinkSuite):
    """It passes what every sink must."""

    @pytest.fixture
    def sink(self) -> Sink:
        return Drawer()

    @pytest.fixture
    def stored(self, sink: Sink) -> Stored:
        assert isinstance(sink, Drawer)
        return lambda: [body for body, _ in sink.kept]


def test_what_is_collected_arrives_in_it_and_nothing_is_claimed_before(desk: Desk) -> None:
    api = Badges({"a": (utc_now() - timedelta(hours=1), b'[{"Id":"1"},{"Id":"2"}]')})
    source, drawer = source_of(api), Drawer(refusals=2)

    summary = desk.collect(source, sink=drawer)

    assert (summary.status, summary.delivered) == ("succeeded", 1)
    assert [body for body, _ in drawer.kept] == [b'{"Id":"1"}', b'{"Id":"2"}']
    assert drawer.kept[0][1] == {
        "connection": "default",
        "tenant_id": desk.tenant_id,
        "source": "Badges.All",
        "content_id": "a",
        "event_id": "1",
    }


def test_what_it_never_takes_stays_pending(desk: Desk) -> None:
    api = Badges({"a": (utc_now() - timedelta(hours=1), b'[{"Id":"1"}]')})
    source = source_of(api)
    hasty = replace(FAST, patience=replace(FAST.patience, no_acknowledgement=1.0))

    summary = desk.collect(source, sink=Drawer(refusals=1_000_000), tuning=hasty)

    assert (summary.delivered, summary.pending) == (0, 1)
    assert desk.ledger(source) == {"a": "listed"}
    drawer = Drawer()
    assert desk.collect(source, sink=drawer).delivered == 1
    assert [body for body, _ in drawer.kept] == [b'{"Id":"1"}']
