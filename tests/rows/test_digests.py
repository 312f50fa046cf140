"""The digests of a message trace: a merge that order and repetition cannot change, and counts that add up."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rows.digests import DEAD, DELIVERED, GONE, LISTED, Digests, Hour
from shared.state.account import Storage
from shared.state.append_blobs import DigestStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite

HOUR = datetime(2026, 11, 24, 9, tzinfo=UTC)
RANK = {LISTED: 1, GONE: 2, DEAD: 3, DELIVERED: 4}

digests = st.integers(0, 9).map(lambda n: bytes([n]) * 16)
lines = st.lists(st.tuples(st.sampled_from(sorted(RANK)), digests), max_size=40)


def encode(found: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes((letter,)) + digest for letter, digest in found)


@pytest.fixture
def store(azurite: Azurite) -> Iterator[DigestStore]:
    storage = Storage.from_connection_string(azurite.connection_string)
    yield DigestStore(storage.state, f"digests/{uuid.uuid4()}/MessageTrace")
    storage.close()


@given(lines, st.randoms())
def test_order_and_repetition_of_lines_do_not_matter(
    found: list[tuple[int, bytes]], random: object
) -> None:
    shuffled = [*found, *found[::2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    straight, mixed = Hour(), Hour()
    straight.load(encode(found))
    half = len(shuffled) // 2
    mixed.load(encode(shuffled[:half]))
    mixed.load(encode(shuffled[half:]))

    assert straight.states == mixed.states
    for letter, digest in found:
        assert RANK[straight.states[digest]] >= RANK[letter]


@given(lines)
def test_what_is_applied_one_by_one_counts_as_what_is_read(found: list[tuple[int, bytes]]) -> None:
    read, applied = Hour(), Hour()
    read.load(encode(found))
    for letter, digest in found:
        applied.apply(letter, [digest])

    for hour in (read, applied):
        counts = hour.counts()
        assert counts.listed == counts.delivered + counts.gone + counts.dead + counts.pending
        assert counts.pending == len(hour.pending())
    assert read.states == applied.states
    assert read.counts().counts() == applied.counts().counts()


def test_a_torn_tail_and_unknown_letters_are_skipped_and_counted() -> None:
    hour = Hour()
    hour.load(encode([(DELIVERED, b"a" * 16)]) + b"Z" + b"b" * 16 + b"D" + b"c" * 5)

    assert hour.states == {b"a" * 16: DELIVERED}
    assert hour.torn == 2


def test_a_torn_segment_is_left_alone_so_that_nothing_is_read_out_of_step(
    store: DigestStore,
) -> None:
    store.append(HOUR, b"D123")
    known = Digests(store)
    known.open()
    known.write(LISTED, [(HOUR, b"a" * 16)])

    again = Digests(store)
    again.open()

    assert again.hour(HOUR).states == {b"a" * 16: LISTED}
    assert sorted(again.stored[HOUR].sizes) == ["00.bin", "01.bin"]


def test_hours_beyond_what_may_be_held_are_let_go_and_read_again(store: DigestStore) -> None:
    known = Digests(store, hold=10)
    known.open()
    hours = [HOUR + timedelta(hours=n) for n in range(4)]
    for hour in hours:
        known.write(DELIVERED, [(hour, bytes([n]) * 16) for n in range(6)])
        known.trim()

    assert len(known._hours) == 1
    assert {hour: each.delivered for hour, each in known.counts().items()} == dict.fromkeys(
        hours, 6
    )
    known.write(LISTED, [(hours[0], b"z" * 16)])
    assert known.counts()[hours[0]].pending == 1
    assert known.hour(hours[0]).counts().size == known.stored[hours[0]].total


def test_a_removed_hour_is_gone(store: DigestStore) -> None:
    known = Digests(store)
    known.open()
    known.write(DELIVERED, [(HOUR, b"a" * 16)])
    known.drop([HOUR.date()])

    assert not store.stored()
    assert not known.hour(HOUR).states


def test_an_hour_that_somebody_else_has_written_of_is_not_removed(store: DigestStore) -> None:
    known = Digests(store)
    known.open()
    other = HOUR + timedelta(hours=1)
    known.write(DELIVERED, [(HOUR, b"a" * 16), (other, b"b" * 16)])
    store.append(HOUR, encode([(LISTED, b"c" * 16)]))

    known.drop([HOUR.date()])

    assert set(store.stored()) == {HOUR}


def test_lines_of_somebody_else_are_not_taken_for_read(store: DigestStore) -> None:
    known = Digests(store)
    known.open()
    known.write(LISTED, [(HOUR, b"a" * 16)])
    store.append(HOUR, encode([(LISTED, b"c" * 16)]))
    known.write(DELIVERED, [(HOUR, b"a" * 16)])

    assert known.stored[HOUR].total == known.hour(HOUR).counts().size == 17
    again = Digests(store)
    again.open()
    assert again.hour(HOUR).counts().pending == 1
    again.write(DELIVERED, [(HOUR, b"c" * 16)])
    assert again.stored[HOUR].total == again.hour(HOUR).counts().size == 68


def test_lines_that_came_before_an_hour_was_read_are_counted(store: DigestStore) -> None:
    known = Digests(store)
    store.append(HOUR, encode([(LISTED, b"a" * 16)]))
    known.open()
    store.append(HOUR, encode([(LISTED, b"c" * 16)]))

    known.write(DELIVERED, [(HOUR, b"a" * 16)])

    assert known.stored[HOUR].total == known.hour(HOUR).counts().size == 51
