"""What the storage account holds before a measurement: nothing at all, or the ledger of a feed that is up to date."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from shared.rows.row import DIGEST_BYTES
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.append_blobs import DigestStore, LedgerStore
from shared.state.checkpoint import Checkpoint, CheckpointStore
from shared.state.digests import DELIVERED, LISTED
from shared.state.ledger import Line, State, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.state.account import Storage

TIMER = timedelta(minutes=10)
_LIFE = timedelta(days=7)
_PER_APPEND = 2_000
_PAGE = 5_000


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One content: where it lies and what it is known by."""

    source: str
    content_id: str
    created: datetime

    def lines(self) -> tuple[Line, Line]:
        """What the ledger says of it: listed, and delivered half a minute later."""
        seconds = int(self.created.timestamp())
        known: dict[str, Any] = {"id": self.content_id, "run": f"{seconds // 600:016x}"}
        listed = {"created": _stamp(self.created), "expires": _stamp(self.created + _LIFE)}
        delivered: dict[str, Any] = {**known, "records": 100, "bytes": 150_000}
        return (
            Line(**{**known, **listed}, state=State.LISTED.value, time=seconds + 60),
            Line(**delivered, state=State.DELIVERED.value, time=seconds + 90),
        )


def forget(storage: Storage, tenant_id: str, *sources: str) -> None:
    """Remove all state of feeds, as if they had never run."""
    for feed in (f"{tenant_id}/{source}" for source in sources):
        for prefix in (f"checkpoints/{feed}.json", f"ledger/{feed}/", f"digests/{feed}/"):
            for blob in list(storage.state.list_blobs(name_starts_with=prefix)):
                storage.state.delete_blob(blob.name)


def fill_ledger(
    storage: Storage, tenant_id: str, source: str, contents: Iterable[Placed]
) -> dict[date, int]:
    """Write contents down as listed and delivered, as runs do it; returns the size of each day."""
    store = LedgerStore(storage.state, f"ledger/{tenant_id}/{source}")
    for day, placed in groupby(contents, key=lambda each: each.created.date()):
        while chunk := list(islice(placed, _PER_APPEND)):
            for lines in zip(*(each.lines() for each in chunk), strict=True):
                store.append(day, encode(lines))
    return {day: segments.total for day, segments in store.stored().items()}


def fill_digests(
    storage: Storage, tenant_id: str, hours: Iterable[datetime], per_hour: int
) -> None:
    """Write rows of message trace down as listed and delivered, a page at a time, as runs do it."""
    store = DigestStore(storage.state, f"digests/{tenant_id}/{MESSAGE_TRACE}")
    for hour in hours:
        for page in range(0, per_hour, _PAGE):
            known = [os.urandom(DIGEST_BYTES) for _ in range(min(_PAGE, per_hour - page))]
            for letter in (LISTED, DELIVERED):
                store.append(hour, b"".join(bytes((letter,)) + each for each in known))


def put_checkpoint(
    storage: Storage, tenant_id: str, source: str, now: datetime, **fields: Any
) -> None:
    """Make it ten minutes since the feed's last run, which left nothing to be done."""
    store = CheckpointStore(storage.state, f"checkpoints/{tenant_id}/{source}.json")
    store.load()
    ran = now - TIMER
    known = {"watermark": ran.replace(microsecond=0), "run": "0123456789abcdef", "updated": ran}
    store.save(Checkpoint(**{**known, **fields}), lease=None)


def _stamp(moment: datetime) -> str:
    """As on the wire."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
