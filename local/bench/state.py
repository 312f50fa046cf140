"""What the storage account holds before a measurement: nothing at all, or the ledger of a feed that is up to date."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import groupby

from local.bench.contents import Placed
from shared.rows.row import DIGEST_BYTES
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.account import Storage
from shared.state.append_blobs import DigestStore, LedgerStore
from shared.state.checkpoint import Checkpoint, CheckpointStore, RowsNote, SubscriptionNote
from shared.state.digests import DELIVERED, LISTED
from shared.state.ledger import Line, State, encode

TIMER = timedelta(minutes=10)
_PER_APPEND = 2_000
_PAGE = 5_000


def forget(storage: Storage, tenant_id: str, source: str) -> None:
    """Remove all state of a feed, as if it had never run."""
    names = [
        f"checkpoints/{tenant_id}/{source}.json",
        f"ledger/{tenant_id}/{source}/",
        f"digests/{tenant_id}/{source}/",
    ]
    for prefix in names:
        for blob in list(storage.state.list_blobs(name_starts_with=prefix)):
            storage.state.delete_blob(blob.name)


def fill_ledger(
    storage: Storage, tenant_id: str, source: str, contents: Iterable[Placed]
) -> dict[date, int]:
    """Write contents down as listed and delivered, in the order and the form in which runs do it.

    Returns:
        The size of each day.
    """
    store = LedgerStore(storage.state, f"ledger/{tenant_id}/{source}")
    for day, placed in groupby(contents, key=lambda each: each.created.date()):
        for chunk in _chunks(placed):
            store.append(day, encode(_listed(each) for each in chunk))
            store.append(day, encode(_delivered(each) for each in chunk))
    return {day: segments.total for day, segments in store.stored().items()}


def fill_digests(
    storage: Storage, tenant_id: str, hours: Iterable[datetime], per_hour: int
) -> None:
    """Write rows of message trace down as listed and delivered, a page at a time, as runs do it."""
    store = DigestStore(storage.state, f"digests/{tenant_id}/{MESSAGE_TRACE}")
    for hour in hours:
        for page in range(0, per_hour, _PAGE):
            number = min(_PAGE, per_hour - page)
            known = [os.urandom(DIGEST_BYTES) for _ in range(number)]
            for letter in (LISTED, DELIVERED):
                store.append(hour, b"".join(bytes((letter,)) + each for each in known))


def put_trace_checkpoint(
    storage: Storage, tenant_id: str, *, now: datetime, watermark: datetime
) -> None:
    """Make it ten minutes since the message trace's last run, which left nothing in the backfill."""
    store = CheckpointStore(storage.state, f"checkpoints/{tenant_id}/{MESSAGE_TRACE}.json")
    store.load()
    store.save(
        Checkpoint(
            watermark=watermark.replace(microsecond=0),
            rows=RowsNote(since=watermark - timedelta(days=7), width=600),
            run="0123456789abcdef",
            updated=now - TIMER,
        ),
        lease=None,
    )


def put_checkpoint(
    storage: Storage,
    tenant_id: str,
    source: str,
    *,
    now: datetime,
    cursor: datetime,
    tail: datetime,
    closed: dict[date, int],
) -> None:
    """Make it ten minutes since the feed's last run, which left nothing pending."""
    ran = now - TIMER
    store = CheckpointStore(storage.state, f"checkpoints/{tenant_id}/{source}.json")
    store.load()
    store.save(
        Checkpoint(
            watermark=ran.replace(microsecond=0),
            cursor=cursor,
            tail=tail,
            closed=closed,
            subscription=SubscriptionNote(enabled=ran),
            run="0123456789abcdef",
            updated=ran,
        ),
        lease=None,
    )


def _listed(each: Placed) -> Line:
    return Line(
        id=each.content_id,
        state=State.LISTED.value,
        created=each.created_text,
        expires=each.expires_text,
        run=_run(each),
        time=int(each.created.timestamp()) + 60,
    )


def _delivered(each: Placed) -> Line:
    return Line(
        id=each.content_id,
        state=State.DELIVERED.value,
        run=_run(each),
        time=int(each.created.timestamp()) + 90,
        records=100,
        bytes=150_000,
    )


def _run(each: Placed) -> str:
    return f"{int(each.created.timestamp()) // 600:016x}"


def _chunks(placed: Iterable[Placed]) -> Iterator[list[Placed]]:
    chunk: list[Placed] = []
    for each in placed:
        chunk.append(each)
        if len(chunk) == _PER_APPEND:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
