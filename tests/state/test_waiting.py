"""The index of what waits: it spares reading, and never says anything else than the ledger."""

from __future__ import annotations

import random
import uuid
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shared.state import waiting
from shared.state.account import Storage
from shared.state.append_blobs import LedgerStore
from shared.state.feed_ledger import FeedLedger
from shared.state.ledger import VOID, Line, State
from shared.state.waiting import WaitingIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite

DAY = date(2026, 7, 14)
DAYS = [DAY + timedelta(days=n) for n in range(3)]
CREATED = f"{DAY}T09:00:00Z"


class Feed:
    """One feed's ledger, opened anew for each run, and how often a day of it was read."""

    def __init__(self, storage: Storage, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.name = uuid.uuid4().hex
        self.container = storage.state
        self.closed: dict[date, int] = {}
        self.reads = 0

    def open(self) -> FeedLedger:
        store = LedgerStore(self.container, f"ledger/{self.name}")
        read = store.read

        def counted(*args: Any) -> bytes:
            self.reads += 1
            return read(*args)

        self.patch.setattr(store, "read", counted)
        ledger = FeedLedger(store, waiting=WaitingIndex(self.container, self.name))
        self.reads = 0
        ledger.open(self.closed)
        self.reads, self.opening = 0, self.reads
        return ledger

    def end(self, ledger: FeedLedger) -> None:
        ledger.close()
        self.closed = ledger.settled_days(self.closed)
        ledger.keep_waiting()


@pytest.fixture
def feed(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    storage = Storage.from_connection_string(azurite.connection_string)
    yield Feed(storage, monkeypatch)
    storage.close()


def listed(name: str) -> Line:
    return Line(id=name, state=State.LISTED.value, created=CREATED, run="lister", time=1)


def failed(name: str, run: str = "first", time: int = 2) -> Line:
    return Line(id=name, state=State.ATTEMPT.value, run=run, time=time, reason="http-500")


def delivered(name: str) -> Line:
    return Line(id=name, state=State.DELIVERED.value, records=3, bytes=30, time=9)


def begun(feed: Feed) -> None:
    """Three contents a day, of which the first cannot be had."""
    ledger = feed.open()
    for day in DAYS:
        names = [f"{day}-{n}" for n in range(3)]
        ledger.write((day, listed(name)) for name in names)
        ledger.write([(day, failed(names[0])), *((day, delivered(name)) for name in names[1:])])
    feed.end(ledger)


def test_a_day_of_which_little_waits_is_not_read(feed: Feed) -> None:
    begun(feed)

    ledger = feed.open()

    assert feed.opening == 0
    assert {entry.id for _, entry in ledger.pending()} == {f"{day}-0" for day in DAYS}
    assert ledger.loaded() == {}
    assert ledger.settled_days(feed.closed) == {}
    feed.end(ledger)


def test_what_becomes_of_what_waits_is_written_and_known_without_reading(feed: Feed) -> None:
    begun(feed)
    for n in range(3):
        ledger = feed.open()
        ledger.write([(DAY, failed(f"{DAY}-0", run=f"again{n}", time=10 + n))])
        ledger.write([(DAY, Line(id="void", state=VOID, run="again1", reason="http-500"))])
        feed.end(ledger)
        assert (feed.opening, feed.reads) == (0, 0)
    ledger = feed.open()
    (entry,) = (entry for day, entry in ledger.pending() if day == DAY)
    assert entry.attempts == {"first", "again0", "again2"}

    ledger.write([(DAY, delivered(f"{DAY}-0"))])
    feed.end(ledger)

    assert (
        feed.closed[DAY] == LedgerStore(feed.container, f"ledger/{feed.name}").stored()[DAY].total
    )
    assert feed.reads == 0
    ledger = feed.open()
    assert {day for day, _ in ledger.pending()} == set(DAYS[1:])
    assert ledger.day(DAY).counts().delivered == 3
    ledger.close()


def test_a_day_of_which_another_wrote_is_read(feed: Feed) -> None:
    begun(feed)
    store = LedgerStore(feed.container, f"ledger/{feed.name}")
    other = FeedLedger(store)
    other.open({})
    other.write([(DAY, listed("other's"))])
    other.close()

    ledger = feed.open()

    assert feed.opening == 1
    assert {entry.id for day, entry in ledger.pending() if day == DAY} == {f"{DAY}-0", "other's"}
    ledger.close()


def test_what_another_writes_during_the_run_is_read_by_the_next_one(feed: Feed) -> None:
    begun(feed)
    ledger = feed.open()
    other = FeedLedger(LedgerStore(feed.container, f"ledger/{feed.name}"))
    other.open({})
    other.write([(DAY, listed("other's"))])
    other.close()
    ledger.write([(DAY, delivered(f"{DAY}-0"))])
    feed.end(ledger)

    ledger = feed.open()

    assert {entry.id for day, entry in ledger.pending() if day == DAY} == {"other's"}
    ledger.close()


def test_a_content_that_was_settled_long_ago_is_no_news(feed: Feed) -> None:
    """A late line of a stale worker about it must not make it wait."""
    begun(feed)
    ledger = feed.open()

    ledger.write([(DAY, failed(f"{DAY}-1"))])
    found = ledger.find(DAY, f"{DAY}-2")

    assert found is not None
    assert found[1].terminal
    assert {entry.id for day, entry in ledger.pending() if day == DAY} == {f"{DAY}-0"}
    feed.end(ledger)


def test_a_content_that_waits_is_found_under_its_first_day(feed: Feed) -> None:
    begun(feed)
    ledger = feed.open()

    found = ledger.find(DAY + timedelta(days=6), f"{DAY}-0")

    assert found is not None
    assert found[0] == DAY
    ledger.close()


def test_a_glance_shows_all_and_keeps_nothing(feed: Feed) -> None:
    begun(feed)
    ledger = feed.open()
    ledger.write([(DAY, failed(f"{DAY}-0", run="again"))])

    day = ledger.glance(DAY)

    assert (day.counts().listed, day.counts().pending) == (3, 1)
    assert day.entries[f"{DAY}-0"].attempts == {"first", "again"}
    assert day.size == ledger.sizes()[DAY]
    assert ledger.loaded() == {}
    ledger.close()


@pytest.mark.parametrize("stored", [b"", b"{", b"\xff", b'{"2026-07-14": 3}', b"[]"])
def test_an_index_that_cannot_be_read_costs_the_reading(
    feed: Feed, stored: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    begun(feed)
    feed.container.get_blob_client(f"waiting/{feed.name}.json").upload_blob(stored, overwrite=True)

    ledger = feed.open()

    assert feed.opening == 3
    assert len(ledger.pending()) == 3
    assert "cannot be read" in caplog.text
    feed.end(ledger)
    ledger = feed.open()
    assert feed.opening == 0
    ledger.close()


def test_the_days_with_the_most_are_left_out(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 2)
    ledger = feed.open()
    ledger.write((DAY, listed(f"{n}")) for n in range(3))
    ledger.write([(DAYS[1], listed("one"))])
    feed.end(ledger)

    ledger = feed.open()

    assert feed.opening == 1
    assert set(ledger.loaded()) == {DAY}
    assert len(ledger.pending()) == 4
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_with_an_index_the_same_is_known_as_without(feed: Feed, seed: int) -> None:
    """Whatever runs and other workers write, in whatever order."""
    chance = random.Random(seed)
    names = [f"c{n}" for n in range(6)]
    for run in range(6):
        ledger = feed.open()
        other = FeedLedger(LedgerStore(feed.container, f"ledger/{feed.name}"))
        if chance.random() < 0.3:
            other.open({})
        for _ in range(chance.randrange(5)):
            name, day = chance.choice(names), chance.choice(DAYS)
            writer = chance.choice([ledger, ledger, other])
            line = chance.choice(
                [
                    listed(name),
                    failed(name, run=f"run{run}", time=10 + run),
                    Line(id="void", state=VOID, run=f"run{run}", reason="http-500"),
                    delivered(name),
                ]
            )
            writer.write([(day, line)])
            if chance.random() < 0.2:
                ledger.find(day, name)
        feed.end(ledger)
        other.close()

        ledger, plain = feed.open(), FeedLedger(LedgerStore(feed.container, f"ledger/{feed.name}"))
        plain.open({})
        assert sorted(map(str, ledger.pending())) == sorted(map(str, plain.pending()))
        for day in DAYS:
            assert ledger.glance(day).entries == plain.day(day).entries
        ledger.close()
        plain.close()


def test_a_run_that_began_with_nothing_waiting_replaces_an_old_index(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    begun(feed)
    ledger = feed.open()
    ledger.write((day, delivered(f"{day}-0")) for day in DAYS)
    feed.end(ledger)
    ledger = feed.open()
    ledger.write([(DAY, listed("new"))])
    feed.end(ledger)

    ledger = feed.open()

    assert feed.opening == 0
    assert [entry.id for _, entry in ledger.pending()] == ["new"]
    assert caplog.text == ""
    ledger.close()
