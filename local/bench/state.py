"""What the storage account holds before a measurement: nothing at all, or the state of a feed that is up to date."""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from shared.rows.digests import DELIVERED, LISTED
from shared.rows.row import DIGEST_BYTES
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.append_blobs import DigestStore, LedgerStore
from shared.state.checkpoint import Checkpoint, CheckpointStore, SubscriptionNote
from shared.state.ledger import Line, State, encode
from shared.times import beginning_of, hour_of, iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.tenant import Content
    from shared.state.account import Storage

TIMER = timedelta(minutes=10)


def forget(storage: Storage, tenant_id: str, *sources: str) -> None:
    """Remove all state of feeds, as if they had never run."""
    feeds = tuple(f"{tenant_id}/{source}" for source in sources)
    for blob in list(storage.state.list_blobs()):
        if blob.name.partition("/")[2].startswith(feeds):
            storage.state.delete_blob(blob.name)


def fill_ledger(
    storage: Storage, tenant_id: str, source: str, contents: Iterable[Content]
) -> dict[date, int]:
    """Write contents down as listed and delivered, as runs do it; returns the size of each day."""
    store = LedgerStore(storage.state, f"ledger/{tenant_id}/{source}")
    for hour, group in groupby(contents, key=lambda each: hour_of(each.created)):
        for lines in zip(*map(_lines, group), strict=True):
            store.append(hour.date(), encode(lines))
    return {day: segments.total for day, segments in store.stored().items()}


def _lines(content: Content) -> tuple[Line, Line]:
    """What the ledger says of a content: listed, and delivered half a minute later."""
    name, seconds = content.content_id, int(content.created.timestamp())
    created, expires, run = iso(content.created), iso(content.expires), f"{seconds // 600:016x}"
    return (
        Line(id=name, run=run, state=State.LISTED, created=created, expires=expires, time=seconds),
        Line(
            id=name, run=run, state=State.DELIVERED, records=100, bytes=150_000, time=seconds + 30
        ),
    )


def fill_digests(
    storage: Storage, tenant_id: str, hours: Iterable[datetime], per_hour: int
) -> None:
    """Write rows of message trace down as listed and delivered."""
    store = DigestStore(storage.state, f"digests/{tenant_id}/{MESSAGE_TRACE}")
    for hour in hours:
        known = [os.urandom(DIGEST_BYTES) for _ in range(per_hour)]
        for letter in (LISTED, DELIVERED):
            store.append(hour, b"".join(bytes((letter,)) + each for each in known))


def up_to_date(now: datetime, closed: dict[date, int]) -> Checkpoint:
    """Where a feed that runs every ten minutes stands, in an hour in which a last call is due.

    The rolling re-list goes on three days ago.
    """
    tail = AUDIT_POLICY.oldest(now) + AUDIT_POLICY.slice - timedelta(hours=1, minutes=1)
    return Checkpoint(
        watermark=(now - TIMER).replace(microsecond=0),
        cursor=beginning_of(now.date() - timedelta(days=3)),
        tail=tail,
        closed=closed,
        subscription=SubscriptionNote(enabled=now - TIMER),
        updated=now - TIMER,
    )


def put(storage: Storage, tenant_id: str, source: str, checkpoint: Checkpoint) -> None:
    """Make this a feed's checkpoint."""
    store = CheckpointStore(storage.state, f"checkpoints/{tenant_id}/{source}.json")
    store.load()
    store.save(checkpoint, lease=None)
