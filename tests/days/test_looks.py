"""Looks: what is remembered of them, and that nothing that is forgotten or broken makes them more."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shared.days.looks import Looks, LookStore
from shared.state.account import Storage, read_blob, write_blob
from shared.times import HOUR, Window

if TYPE_CHECKING:
    from local.azurite import Azurite

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def storage(azurite: Azurite) -> Storage:
    return Storage.from_connection_string(azurite.connection_string)


def store_of(storage: Storage, name: str) -> LookStore:
    return LookStore(storage.state, name)


@pytest.fixture
def name() -> str:
    return f"looks/{uuid.uuid4()}/Audit.Exchange.json"


def test_an_hour_counts_where_all_of_it_was_listed_after_it_was_over() -> None:
    looks = Looks(made=NOON)
    looks.note(Window(NOON - 3 * HOUR - MINUTE, NOON + 30 * MINUTE), NOON + 30 * MINUTE)
    assert sorted(looks.hours) == [NOON - 3 * HOUR, NOON - 2 * HOUR, NOON - HOUR]
    looks.note(Window(NOON, NOON + HOUR), NOON + HOUR - MINUTE)
    assert looks.at(NOON) is None
    looks.note(Window(NOON, NOON + HOUR), NOON + HOUR)
    assert looks.at(NOON) == NOON + HOUR


def test_the_last_look_counts_and_the_first_beginning() -> None:
    looks = Looks(made=NOON)
    hour = Window(NOON - HOUR, NOON)
    for minutes in (10, 30, 20):
        looks.note(hour, NOON + minutes * MINUTE)
        looks.begin(NOON + minutes * MINUTE)
    looks.begin(None)
    assert looks.at(NOON - HOUR) == NOON + 30 * MINUTE
    assert looks.beginning == NOON + 10 * MINUTE


def test_they_are_read_as_they_were_written_to_the_minute(storage: Storage, name: str) -> None:
    store, looks = store_of(storage, name), store_of(storage, name).load(NOON)
    assert (looks.made, looks.written) == (NOON, None)
    looks.note(Window(NOON - 30 * HOUR, NOON), NOON + 90 * timedelta(seconds=1))
    looks.begin(NOON - 99 * HOUR)

    store.save(looks, NOON + MINUTE)
    found = store_of(storage, name).load(NOON + HOUR)

    assert found.hours == dict.fromkeys(looks.hours, NOON + MINUTE)
    assert len(found.hours) == 30
    assert (found.made, found.written, found.beginning) == (
        NOON,
        NOON + MINUTE,
        NOON - 99 * HOUR,
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\xff", b"[]", b'{"made":1}', b'{"made":"2026-03-10T12:00:00Z","written":"never"}'],
)
def test_what_cannot_be_read_is_made_anew_and_says_so(
    storage: Storage, name: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write_blob(storage.state, name, data, etag=None)
    store = store_of(storage, name)

    looks = store.load(NOON)
    assert (looks.made, looks.hours, looks.written) == (NOON, {}, None)
    assert name in caplog.text
    store.save(looks, NOON)

    assert store_of(storage, name).load(NOON + HOUR).made == NOON


def test_what_another_worker_wrote_meanwhile_is_kept(storage: Storage, name: str) -> None:
    one, other = store_of(storage, name), store_of(storage, name)
    first, second = one.load(NOON), other.load(NOON + MINUTE)
    first.note(Window(NOON - 2 * HOUR, NOON - HOUR), NOON)
    first.begin(NOON)
    second.note(Window(NOON - HOUR, NOON), NOON + MINUTE)
    one.save(first, NOON)
    other.save(second, NOON + MINUTE)

    found = one.load(NOON + HOUR)
    assert sorted(found.hours) == [NOON - 2 * HOUR, NOON - HOUR]
    assert (found.made, found.beginning) == (NOON, NOON)


@pytest.mark.parametrize("reverse", [False, True], ids=["one-way", "the-other-way"])
def test_of_what_two_know_the_later_looks_and_the_earlier_beginnings_count(reverse: bool) -> None:
    one = Looks(made=NOON, beginning=NOON - 9 * HOUR)
    one.hours = {NOON - 3 * HOUR: NOON, NOON - 2 * HOUR: NOON - HOUR}
    other = Looks(made=NOON - HOUR, beginning=NOON - 8 * HOUR)
    other.hours = {NOON - 2 * HOUR: NOON, NOON - HOUR: NOON}
    if reverse:
        one, other = other, one

    one.merge(other)

    assert (one.made, one.beginning) == (NOON - HOUR, NOON - 9 * HOUR)
    assert one.hours == dict.fromkeys([NOON - n * HOUR for n in (1, 2, 3)], NOON)


def test_hours_that_nobody_asks_for_are_dropped() -> None:
    looks = Looks(made=NOON)
    looks.note(Window(NOON - 9 * HOUR, NOON), NOON)
    looks.forget(NOON - 2 * HOUR)
    assert sorted(looks.hours) == [NOON - 2 * HOUR, NOON - HOUR]


def test_what_was_listed_once_counts_as_looked_at_when_it_ended() -> None:
    looks = Looks(made=NOON)
    looks.note(Window(NOON - 3 * HOUR, NOON - 2 * HOUR), NOON)
    looks.listed_once(NOON - 30 * MINUTE, NOON - 3 * HOUR)
    assert looks.hours == {NOON - 3 * HOUR: NOON, NOON - 2 * HOUR: NOON - HOUR}
    # An hour that ends there was listed whole.
    looks.listed_once(NOON, NOON - 90 * MINUTE)
    assert looks.hours[NOON - HOUR] == NOON
    assert len(looks.hours) == 3


def test_the_blob_stays_small(storage: Storage, name: str) -> None:
    store = store_of(storage, name)
    looks = store.load(NOON)
    looks.note(Window(NOON - timedelta(days=92), NOON), NOON)
    store.save(looks, NOON)
    stored = read_blob(storage.state, name)
    assert stored is not None
    assert len(stored.data) < 20_000


def test_what_never_was_listed_is_not_taken_for_looked_at() -> None:
    looks = Looks(made=NOON)
    never = Window(NOON - 2 * HOUR + MINUTE, NOON - 2 * HOUR + 2 * MINUTE)
    looks.listed_once(NOON, NOON - 3 * HOUR, but=[never])
    assert sorted(looks.hours) == [NOON - 3 * HOUR, NOON - HOUR]


def test_looks_of_a_clock_that_ran_ahead_are_dropped() -> None:
    looks = Looks(made=NOON)
    looks.note(Window(NOON - 3 * HOUR, NOON - 2 * HOUR), NOON)
    looks.note(Window(NOON - 2 * HOUR, NOON + 5 * HOUR), NOON + 8 * 24 * HOUR)
    looks.drop_later(NOON)
    assert sorted(looks.hours) == [NOON - 3 * HOUR]
