"""The last value of a feed: up to where it listed, and what makes the next run cheap.

A checkpoint is a hint. The ledger holds the truth, so where one is deleted nothing is delivered twice and nothing that
can still be listed is missed: the next run lists the whole horizon. What it costs is the watermark: time that left the
horizon unlisted is then only known from the gap records that were already written. One that cannot be read, or that a
newer version wrote, stops the feed with a clear error instead of being taken for a first run. It is written with
``If-Match`` and under the feed's lease, so a stale worker cannot move it back.
"""

from __future__ import annotations

import contextlib
import time
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared import policy
from shared.state.account import read_blob, write_blob
from shared.state.failures import Conflict
from shared.times import utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.blob import ContainerClient

    from shared.state.lease import Lease

SCHEMA = 2
"""2 has looks, a beginning and states of days, which a version that knows none of them would not keep true."""
WRITE_EVERY = 2.0
"""Seconds between two writes of what may wait."""


class SubscriptionNote(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """What a feed remembers of its subscription.

    Attributes:
        enabled: when it was last seen enabled.
        attempt: when a start was last asked for (Microsoft allows one in 15 minutes).
        disabled: from when on it was off, as far as that is not on record to the end of a day: while an administrator
            keeps it off, it moves along with midnight. Set before a start, so that a lost answer hides no gap.
        why: it was off; see ``shared.days.gaps``.
        switched: ranges in which auditing was off by the records of the switch, as far as they are on record.
    """

    enabled: datetime | None = None
    attempt: datetime | None = None
    disabled: datetime | None = None
    why: str = "subscription-off"
    switched: tuple[tuple[datetime, datetime], ...] = ()


class RowsNote(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """What a feed of rows remembers.

    Attributes:
        since: everything received before it was never asked for.
        backfill: ranges still to be read, start inclusive and end exclusive, oldest first; none overlap.
        failed: what of it could not be read lately; it is tried last.
        width: seconds of a window that had a page or two of rows lately.
        backfill_width: the same in the backfill.
        again: hours to read again before their turn: rows of theirs were written down and not delivered, or they could
            not be read.
        stuck: those of them that could not be read when they were tried last; they keep no other waiting.
        follower_closed: what ``Checkpoint.closed`` is, of the ledger of what follows on rows.
    """

    since: datetime | None = None
    backfill: tuple[tuple[datetime, datetime], ...] = ()
    failed: tuple[tuple[datetime, datetime], ...] = ()
    width: int = 3600
    backfill_width: int = 3600
    again: tuple[datetime, ...] = ()
    stuck: tuple[datetime, ...] = ()
    follower_closed: dict[date, int] = msgspec.field(default_factory=dict, name="details_closed")


Range = tuple[datetime, datetime]
Look = tuple[datetime, datetime, datetime]
"""A range that was listed whole, from its start to its end, and when."""


class Checkpoint(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """A feed's checkpoint.

    Attributes:
        watermark: everything created before it has been listed once; of rows, or is in the backfill.
        cursor: where the rolling re-list goes on.
        tail: everything created before it was listed again shortly before it left the horizon.
        unlisted: ranges before the watermark that could never be listed, start inclusive and end exclusive.
        relist: ranges that could not be listed when their turn came again.
        closed: ledger days of which every content is terminal, with the size in bytes at which that was seen; a day
            that has grown since is read again, so a wrong value here can only cost time.
        subscription: what was last known of the subscription.
        rows: what only a feed of rows needs; stored under the name of the first that there was.
        beginning: when the feed was first seen to be listed.
        looks: those that are not in their blob yet.
        days_closed: every day before it has the row that it keeps, as far as looks go.
        offset: seconds by which the service's clock was ahead of ours when it last told its time.
        hub: where the events of the last run went.
        run: the run that wrote this.
        updated: when.
        schema: version of this layout.
    """

    schema: int = SCHEMA
    watermark: datetime | None = None
    cursor: datetime | None = None
    tail: datetime | None = None
    unlisted: tuple[Range, ...] = ()
    relist: tuple[Range, ...] = ()
    closed: dict[date, int] = msgspec.field(default_factory=dict)
    subscription: SubscriptionNote = SubscriptionNote()
    rows: RowsNote = msgspec.field(default=RowsNote(), name="trace")
    beginning: datetime | None = None
    looks: tuple[Look, ...] = ()
    days_closed: date | None = None
    offset: float = 0.0
    hub: str = ""
    run: str = ""
    updated: datetime | None = None


class _Schema(msgspec.Struct):
    schema: int


_schema = msgspec.json.Decoder(_Schema)
_checkpoint = msgspec.json.Decoder(Checkpoint)


def decode(data: bytes, name: str) -> Checkpoint:
    """Decode a stored checkpoint.

    Raises:
        StateError: it cannot be read or comes from a newer version.
    """
    at = f"checkpoint '{name}'"
    try:
        schema = _schema.decode(data).schema
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise policy.error("checkpoint-unreadable", at=at, detail=str(error)) from error
    if schema > SCHEMA:
        versions = f"schema {schema}; this version reads up to {SCHEMA}"
        raise policy.error("checkpoint-newer", at=at, detail=versions)
    try:
        found: Checkpoint = _in_utc(_checkpoint.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise policy.error("checkpoint-unreadable", at=at, detail=str(error)) from error
    return found


def _in_utc(value: Any) -> Any:
    """What was stored, with every time of it in UTC."""
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, tuple):
        return tuple(map(_in_utc, value))
    if isinstance(value, msgspec.Struct):
        fields = {name: _in_utc(getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value


def _encode(checkpoint: Checkpoint) -> bytes:
    return msgspec.json.encode({"schema": checkpoint.schema, **msgspec.to_builtins(checkpoint)})


class CheckpointStore:
    """One feed's checkpoint blob.

    Args:
        container: the state container.
        name: ``checkpoints/<tenant id>/<source>.json``.

    Attributes:
        etag: of the blob as it was last read or written; None where it is not known.
    """

    def __init__(self, container: ContainerClient, name: str) -> None:
        self._container = container
        self.name = name
        self.etag: str | None = None

    def make(self) -> None:
        """Make the blob where it is missing, so that it can carry the lease."""
        with contextlib.suppress(Conflict):
            write_blob(self._container, self.name, _encode(Checkpoint()), etag=None)

    def load(self) -> Checkpoint:
        """Read the checkpoint.

        Raises:
            StateError: it cannot be read or comes from a newer version.
        """
        stored = read_blob(self._container, self.name)
        if stored is None:
            return Checkpoint()
        self.etag = stored.etag
        return decode(stored.data, self.name)

    def save(self, checkpoint: Checkpoint, *, lease: str | None) -> None:
        """Write the checkpoint.

        Raises:
            Conflict: another worker has written it or holds the lease; it is then theirs to write.
        """
        data = _encode(checkpoint)
        try:
            self.etag = write_blob(self._container, self.name, data, etag=self.etag, lease=lease)
        except Conflict:
            # The write may have been stored and only its answer lost; the retry then meets our own ETag.
            stored = read_blob(self._container, self.name)
            if stored is None or stored.data != data:
                raise
            self.etag = stored.etag


Change = (
    datetime
    | date
    | float
    | SubscriptionNote
    | RowsNote
    | dict[date, int]
    | tuple[Range, ...]
    | tuple[Look, ...]
    | None
)


class HeldCheckpoint:
    """A feed's checkpoint while a run holds the lease.

    Args:
        store: the blob.
        lease: without it nothing is written: the checkpoint is then another worker's.
        run: id of the run.
        hub: where its events go.
        now: the service's time.

    Attributes:
        value: the checkpoint as it stands.
        found: the checkpoint as the run found it.
    """

    def __init__(
        self,
        store: CheckpointStore,
        lease: Lease,
        *,
        run: str,
        hub: str,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._lease = lease
        self._run = run
        self._hub = hub
        self._now = now
        self._changed = False
        self._written_at = time.monotonic()
        self.value = self.found = Checkpoint()

    @property
    def lost(self) -> bool:
        """Whether it is another worker's now."""
        return self._lease.lost

    @property
    def stored(self) -> bool:
        """Whether it is stored as it stands."""
        return not self._changed

    @property
    def etag(self) -> str | None:
        """Of the blob as it was last read or written."""
        return self._store.etag

    def load(self) -> None:
        """Read the checkpoint.

        Raises:
            StateError: it cannot be read or comes from a newer version.
        """
        self.value = self.found = self._store.load()

    def move(self, **changes: Change) -> None:
        """Change fields of the checkpoint and write it.

        Raises:
            Conflict: another worker has written it; it is then theirs to write.
        """
        self._change(changes)
        self.write()

    def move_soon(self, **changes: Change) -> None:
        """Change fields; what is written next takes them along, at the latest the end of the run.

        For what comes many times a second, and is only done again where a write is missing. A change that comes over
        ``WRITE_EVERY`` seconds after the last write is written at once.

        Raises:
            Conflict: as ``move``.
        """
        self._change(changes)
        if time.monotonic() - self._written_at >= WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Write what is not written yet.

        Raises:
            Conflict: as ``move``.
        """
        if self._changed and not self._lease.lost:
            self._store.save(self.value, lease=self._lease.id)
            self._changed, self._written_at = False, time.monotonic()

    def _change(self, changes: dict[str, Change]) -> None:
        self.value = msgspec.structs.replace(
            self.value,
            **changes,
            schema=SCHEMA,
            run=self._run,
            hub=self._hub,
            updated=self._now(),
        )
        self._changed = True
