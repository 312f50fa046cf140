"""The ledger of a feed: what is kept, and until when."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shared.state.account import Storage
from shared.state.append_blobs import LedgerStore
from shared.state.feed_ledger import FeedLedger
from shared.state.ledger import Line, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite

DAY = date(2026, 3, 1)


@pytest.fixture
def store(azurite: Azurite) -> Iterator[LedgerStore]:
    storage = Storage.from_connection_string(azurite.connection_string)
    yield LedgerStore(storage.state, f"ledger/{uuid.uuid4()}/Audit.Exchange")
    storage.close()


def test_what_expires_soon_has_its_turn_first_and_nothing_else_is_always_first(
    store: LedgerStore,
) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=6, hours=12)
    ledger = FeedLedger(store, wall=lambda: here)
    ledger.open({})
    lines = [
        (day, Line(id=f"{day}/{hour:02}", state="listed", created=f"{day}T{hour:02}:00:00Z"))
        for day in (DAY, DAY + timedelta(days=1))
        for hour in range(24)
    ]
    ledger.write(lines)

    orders = [[entry.id for _, entry in ledger.pending()] for _ in range(10)]

    ledger.close()
    soon = [f"{DAY}/{hour:02}" for hour in range(13)]
    assert {tuple(order[: len(soon)]) for order in orders} == {tuple(soon)}
    assert len({order[len(soon)] for order in orders}) > 1
    assert {frozenset(order) for order in orders} == {frozenset(line.id for _, line in lines)}


@pytest.mark.parametrize(
    ("content_id", "read"),
    [
        pytest.param("opaque", [4, 5, 6], id="no-date"),
        pytest.param("20260303101112000000001$x", [3, 4, 5, 6], id="a-date"),
        pytest.param("20260305235959000000001$x", [4, 5, 6], id="its-own-date"),
        pytest.param("20250101000000000000001$x", [4, 5, 6], id="a-date-not-kept"),
        pytest.param("20261399000000000000001$x", [4, 5, 6], id="no-such-date"),
    ],
)
def test_an_unknown_content_costs_a_read_of_the_days_where_it_may_be_and_only_the_first(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch, content_id: str, read: list[int]
) -> None:
    days = [DAY + timedelta(days=number) for number in range(9)]
    before = FeedLedger(store)
    before.open({})
    before.write([(day, Line(id=f"{day}", state=State.DELIVERED.value)) for day in days])
    closed = before.settled_days({})
    before.close()
    reads: list[date] = []
    ledger = FeedLedger(store)
    ledger.open(closed)
    plain = LedgerStore.read

    def counted(self: LedgerStore, key: date, segment: str, start: int) -> bytes:
        reads.append(key)
        return plain(self, key, segment, start)

    monkeypatch.setattr(LedgerStore, "read", counted)
    for _ in range(2):
        assert ledger.find(DAY + timedelta(days=4), content_id) is None
    ledger.close()

    assert sorted(day.day for day in reads) == read


@pytest.mark.parametrize(
    ("service", "wall", "kept"),
    [
        pytest.param(9, 9, True, id="young"),
        pytest.param(10, 10, False, id="old"),
        pytest.param(12, 1, True, id="service-ahead"),
        pytest.param(1, 12, True, id="machine-ahead"),
    ],
)
def test_a_day_is_dropped_only_when_it_is_old_by_both_clocks(
    store: LedgerStore, service: int, wall: int, kept: bool
) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=wall)
    ledger = FeedLedger(store, wall=lambda: here)
    ledger.open({})
    ledger.write([(DAY, Line(id="a", state=State.DELIVERED.value))])
    closed = ledger.settled_days({})

    ledger.drop_old(DAY + timedelta(days=service), closed)
    ledger.close()

    assert list(closed) == [DAY]
    assert (DAY in store.stored()) is kept


@pytest.mark.parametrize(
    ("retention", "age", "kept"),
    [
        pytest.param(30, 32, True, id="longer"),
        pytest.param(30, 33, False, id="longer-and-over"),
        pytest.param(3, 9, True, id="shorter"),
    ],
)
def test_a_day_is_kept_for_as_long_as_its_contents_can_be_listed(
    store: LedgerStore, retention: int, age: int, kept: bool
) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=age)
    ledger = FeedLedger(store, retention=timedelta(days=retention), wall=lambda: here)
    ledger.open({})
    ledger.write([(DAY, Line(id="a", state=State.DELIVERED.value))])

    ledger.drop_old(here.date(), ledger.settled_days({}))
    ledger.close()

    assert (DAY in store.stored()) is kept


def test_an_old_day_is_kept_for_as_long_as_somebody_wants_it(store: LedgerStore) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=30)
    ledger = FeedLedger(store, wall=lambda: here)
    ledger.open({})
    ledger.write([(DAY, Line(id="a", state=State.DEAD_LETTERED.value))])
    closed = ledger.settled_days({})

    ledger.drop_old(here.date(), closed, lambda _: {DAY})
    assert DAY in store.stored()

    ledger.drop_old(here.date(), closed, lambda _: set())
    ledger.close()
    assert DAY not in store.stored()


def test_only_days_that_are_to_be_dropped_are_asked_about(store: LedgerStore) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=30)
    ledger = FeedLedger(store, wall=lambda: here)
    ledger.open({})
    young = here.date()
    ledger.write([(day, Line(id="a", state=State.DELIVERED.value)) for day in (DAY, young)])
    closed = ledger.settled_days({})
    asked: list[set[date]] = []

    def wanted(days: set[date]) -> set[date]:
        asked.append(days)
        return set()

    ledger.drop_old(here.date(), {young: closed[young]}, wanted)
    assert asked == []
    ledger.drop_old(here.date(), closed, wanted)
    ledger.close()

    assert asked == [{DAY}]
    assert set(store.stored()) == {young}


def test_a_day_of_which_another_worker_wrote_meanwhile_is_not_dropped(store: LedgerStore) -> None:
    here = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=30)
    ledger = FeedLedger(store, wall=lambda: here)
    ledger.open({})
    ledger.write([(DAY, Line(id="a", state=State.DELIVERED.value))])
    other = FeedLedger(store)
    other.open({})
    other.write([(DAY, Line(id="b", state=State.LISTED.value, created=f"{DAY}T00:00:00Z"))])
    other.close()

    ledger.drop_old(here.date(), ledger.settled_days({}))
    ledger.close()

    following = FeedLedger(store)
    following.open({})
    assert [entry.id for _, entry in following.pending()] == ["b"]
    following.close()


def test_where_nothing_came_no_line_of_another_worker_is_called_settled(store: LedgerStore) -> None:
    first = FeedLedger(store)
    first.open({})
    first.write([(DAY, Line(id="a", state=State.DELIVERED.value))])
    closed = first.settled_days({})
    first.close()

    idle = FeedLedger(store)
    idle.open(closed)
    other = FeedLedger(store)
    other.open(closed)
    other.write([(DAY, Line(id="b", state=State.LISTED.value, created=f"{DAY}T00:00:00Z"))])
    other.close()

    assert idle.settled_days(closed) == closed
    assert store.stored()[DAY].total > closed[DAY]
    idle.close()
    following = FeedLedger(store)
    following.open(closed)
    assert [entry.id for _, entry in following.pending()] == ["b"]
    assert following.settled_days(closed) == {}
    following.close()
