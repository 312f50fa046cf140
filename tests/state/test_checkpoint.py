"""Checkpoints: a hint that is either understood or refused, never guessed."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shared.errors import StateError
from shared.state.account import Storage, read_blob
from shared.state.checkpoint import (
    SCHEMA,
    Checkpoint,
    CheckpointStore,
    HeldCheckpoint,
    RowsNote,
    SubscriptionNote,
    decode,
)
from shared.state.failures import Conflict
from shared.state.lease import Lease

if TYPE_CHECKING:
    from local.azurite import Azurite

NAME = "checkpoints/t/Audit.Exchange.json"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stored(**fields: object) -> bytes:
    return json.dumps({"schema": SCHEMA, **fields}).encode()


@pytest.fixture
def store(azurite: Azurite) -> CheckpointStore:
    storage = Storage.from_connection_string(azurite.connection_string)
    return CheckpointStore(storage.state, f"checkpoints/{uuid.uuid4()}/Audit.Exchange.json")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff", id="bytes"),
        pytest.param(b'{"schema": 1, "waterm', id="torn"),
        pytest.param(b"[]", id="an-array"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no-schema"),
        pytest.param(b'{"schema": "one"}', id="schema-a-text"),
        pytest.param(stored(watermark="yesterday"), id="watermark-no-time"),
        pytest.param(stored(closed={"not a day": 3}), id="closed-no-day"),
        pytest.param(stored(subscription=[]), id="subscription-no-object"),
    ],
)
def test_what_cannot_be_read_stops_the_feed_and_says_how_to_mend_it(data: bytes) -> None:
    with pytest.raises(
        StateError, match="cannot be read.*Deleting the blob .* repeats nothing"
    ) as caught:
        decode(data, NAME)

    assert caught.value.code == "checkpoint-unreadable"
    assert NAME in str(caught.value)


def test_a_checkpoint_of_a_newer_version_stops_the_feed_even_when_its_fields_have_changed() -> None:
    with pytest.raises(StateError, match=rf"newer version .*schema {SCHEMA + 1}") as caught:
        decode(stored(schema=SCHEMA + 1, watermark={"per": "shard"}), NAME)

    assert caught.value.code == "checkpoint-newer"


def test_fields_that_this_version_does_not_know_are_passed_over() -> None:
    found = decode(stored(watermark="2026-03-01T12:00:00Z", shard=7), NAME)

    assert found == Checkpoint(watermark=NOON)


def test_a_feed_of_rows_is_stored_under_the_names_that_it_always_had(
    azurite: Azurite, store: CheckpointStore
) -> None:
    day = NOON.date()
    note = RowsNote(
        since=NOON,
        backfill=((NOON, NOON),),
        width=600,
        again=(NOON,),
        follower_closed={day: 7},
    )
    time = "2026-03-01T12:00:00Z"
    expected = {
        "since": time,
        "backfill": [[time, time]],
        "width": 600,
        "again": [time],
        "details_closed": {"2026-03-01": 7},
    }

    store.save(Checkpoint(watermark=NOON, rows=note), lease=None)

    container = Storage.from_connection_string(azurite.connection_string).state
    blob = read_blob(container, store.name)
    assert blob is not None
    assert json.loads(blob.data) == {"schema": SCHEMA, "watermark": time, "trace": expected}
    assert decode(stored(trace=expected), NAME).rows == note


def test_times_without_a_zone_are_utc() -> None:
    naive = "2026-03-01T12:00:00"

    found = decode(
        stored(
            watermark=naive,
            cursor=naive,
            tail=naive,
            updated=naive,
            subscription={"enabled": naive, "attempt": naive, "disabled": naive},
        ),
        NAME,
    )

    note = SubscriptionNote(enabled=NOON, attempt=NOON, disabled=NOON)
    assert found == Checkpoint(
        watermark=NOON, cursor=NOON, tail=NOON, updated=NOON, subscription=note
    )


def test_what_is_saved_is_loaded(store: CheckpointStore) -> None:
    checkpoint = Checkpoint(
        watermark=NOON,
        cursor=NOON,
        tail=NOON,
        closed={date(2026, 3, 1): 17},
        subscription=SubscriptionNote(enabled=NOON),
        hub="m365-audit",
        run="run",
        updated=NOON,
    )
    store.make()
    store.load()

    store.save(checkpoint, lease=None)

    assert store.load() == checkpoint


def test_a_missing_checkpoint_is_an_empty_one(store: CheckpointStore) -> None:
    assert store.load() == Checkpoint()


def test_a_stale_worker_cannot_move_a_checkpoint_back(
    store: CheckpointStore, azurite: Azurite
) -> None:
    storage = Storage.from_connection_string(azurite.connection_string)
    stale = CheckpointStore(storage.state, store.name)
    store.make()
    stale.load()
    store.load()
    store.save(Checkpoint(watermark=NOON), lease=None)

    with pytest.raises(Conflict):
        stale.save(Checkpoint(watermark=NOON.replace(hour=1)), lease=None)

    assert store.load().watermark == NOON


def test_saving_again_what_was_stored_although_its_answer_was_lost_succeeds(
    store: CheckpointStore, azurite: Azurite
) -> None:
    storage = Storage.from_connection_string(azurite.connection_string)
    same = CheckpointStore(storage.state, store.name)
    store.make()
    same.load()
    store.load()
    store.save(Checkpoint(watermark=NOON), lease=None)

    same.save(Checkpoint(watermark=NOON), lease=None)

    same.save(Checkpoint(watermark=NOON.replace(hour=13)), lease=None)


def test_what_may_wait_is_written_with_what_follows_and_never_lost_on_the_way(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Storage.from_connection_string(azurite.connection_string).state
    name = f"checkpoints/{uuid.uuid4()}/Audit.Exchange.json"
    store = CheckpointStore(state, name)
    store.make()
    hours = [NOON + timedelta(hours=n) for n in range(4)]
    with Lease(state, name) as lease:
        assert lease.acquire()
        held = HeldCheckpoint(store, lease, run="r", hub="h", now=lambda: NOON)
        held.load()

        held.move_soon(watermark=hours[0])
        held.move_soon(watermark=hours[1])
        assert (held.value.watermark, store.load().watermark) == (hours[1], None)

        held.move(tail=NOON)
        assert (store.load().watermark, store.load().tail) == (hours[1], NOON)

        held.move_soon(watermark=hours[2])
        held.write()
        assert store.load().watermark == hours[2]

        monkeypatch.setattr("shared.state.checkpoint.WRITE_EVERY", 0.0)
        held.move_soon(watermark=hours[3])
        assert store.load().watermark == hours[3]
