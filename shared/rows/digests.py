"""What became of each row of a listing: 17 bytes a row and step, in append blobs by the hour of the row's time.

A line is a letter and the row's digest. Like the ledger this is a merge, not a log: ``delivered`` beats
``dead-lettered``, which beats ``no longer offered``, which beats ``listed``. Repeats and order do not matter, so
appends need no fencing and may be repeated whenever their answer was lost.

A row is written down as listed before it is published. It counts as delivered only by a line written after Event Hubs
acknowledged it. Lines that cannot be read are skipped, which can repeat a row but never lose one. So for each hour:
listed = delivered + lost + pending.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.state.append_blobs import DigestStore, Segments
from shared.state.ledger_day import Counts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import date, datetime

logger = logging.getLogger("m365.digests")

LISTED, GONE, DEAD, DELIVERED = b"LGKD"
"""The letters; in this order, each beats those before it."""

NO_LONGER_OFFERED = "no-longer-offered"
DEAD_LETTERED = "dead-lettered"

HOLD = 300_000
"""Rows whose digests are in memory at the same time, about 110 bytes each; one hour may exceed it alone."""

_LINE = struct.Struct("B16s")
_RANK = bytes(b"LGKD".find(letter) + 1 for letter in range(256))


@dataclass(frozen=True, kw_only=True)
class HourCounts:
    """What an hour's digests say.

    Attributes:
        size: bytes of the blobs that were read for this.
    """

    size: int = 0
    listed: int = 0
    delivered: int = 0
    gone: int = 0
    dead: int = 0

    @property
    def pending(self) -> int:
        """Rows that are neither delivered nor lost."""
        return self.listed - self.delivered - self.gone - self.dead

    def counts(self) -> Counts:
        """The same in the words of a day's row; nobody knows the bytes any more."""
        lost = {NO_LONGER_OFFERED: self.gone, DEAD_LETTERED: self.dead}
        return Counts(
            listed=self.listed,
            delivered=self.delivered,
            pending=self.pending,
            lost={reason: number for reason, number in lost.items() if number},
            records=self.delivered,
        )


class Hour:
    """The digests of one hour, in memory."""

    def __init__(self) -> None:
        self.states: dict[bytes, int] = {}
        self.torn = 0
        self.size = 0
        self._numbers: Counter[int] = Counter()

    def load(self, data: bytes) -> None:
        """Merge what a segment holds."""
        whole = len(data) - len(data) % _LINE.size
        states, rank = self.states, _RANK
        for letter, digest in _LINE.iter_unpack(data[:whole]):
            if rank[letter] > rank[states.get(digest, 0)]:
                states[digest] = letter
            elif not rank[letter]:
                self.torn += 1
        self.torn += whole != len(data)
        self.size += len(data)
        self._numbers = Counter(states.values())

    def apply(self, letter: int, digests: Iterable[bytes]) -> None:
        """Merge lines that were just stored."""
        for digest in digests:
            known = self.states.get(digest, 0)
            if _RANK[letter] > _RANK[known]:
                self.states[digest] = letter
                self._numbers[letter] += 1
                if known:
                    self._numbers[known] -= 1

    def pending(self) -> set[bytes]:
        """The rows that are neither delivered nor lost."""
        if not self._numbers[LISTED]:
            return set()
        return {digest for digest, letter in self.states.items() if letter == LISTED}

    def counts(self) -> HourCounts:
        """Count the rows by what became of them."""
        return HourCounts(
            size=self.size,
            listed=len(self.states),
            delivered=self._numbers[DELIVERED],
            gone=self._numbers[GONE],
            dead=self._numbers[DEAD],
        )


class Digests:
    """The digests of one feed during one run: hours are read when they are asked for, and only a few are held.

    Args:
        store: the append blobs.
        hold: rows in memory beyond which the hour that was not used for longest is let go.

    Attributes:
        stored: the hours and how large they are, without what others have appended since they were read.
    """

    def __init__(self, store: DigestStore, *, hold: int = HOLD) -> None:
        self._store = store
        self._hold = hold
        self._hours: OrderedDict[datetime, Hour] = OrderedDict()
        self._left: dict[datetime, HourCounts] = {}
        self.stored: dict[datetime, Segments] = {}

    def open(self) -> None:
        """Learn what is stored."""
        self.stored = self._store.stored()
        self._store.resume(self.stored)

    def hour(self, hour: datetime) -> Hour:
        """An hour's digests, read from storage unless they are held."""
        found = self._hours.get(hour)
        if found is None:
            found = self._hours[hour] = self._read(hour)
        self._hours.move_to_end(hour)
        return found

    def _read(self, hour: datetime) -> Hour:
        found = Hour()
        sizes = self.stored.get(hour, Segments()).sizes
        for segment in sorted(sizes):
            data = self._store.read(hour, segment, 0)
            found.load(data)
            sizes[segment] = len(data)
        if found.torn:
            logger.warning(
                "digests of %s: %d lines cannot be read and are skipped; at worst their rows are delivered again",
                hour,
                found.torn,
            )
        return found

    def write(self, letter: int, rows: Iterable[tuple[datetime, bytes]]) -> None:
        """Append a line for each (hour, digest); they are merged in memory once they are stored.

        Raises:
            CollectorError: they are not known to be stored. Writing them again is safe.
        """
        by_hour: dict[datetime, list[bytes]] = {}
        for hour, digest in rows:
            by_hour.setdefault(hour, []).append(digest)
        mark = bytes((letter,))
        for hour, digests in sorted(by_hour.items()):
            held = self.hour(hour)
            data = b"".join(mark + digest for digest in digests)
            segment, offset = self._store.append(hour, data)
            sizes = self.stored.setdefault(hour, Segments()).sizes
            held.apply(letter, digests)
            if sizes.get(segment, 0) == offset:
                # Else somebody has appended in between, and a later run sees that the hour has grown.
                sizes[segment] = offset + len(data)
                held.size += len(data)

    def trim(self) -> None:
        """Let go of hours that are more than may be held, those that were not used for longest first."""
        rows = sum(len(hour.states) for hour in self._hours.values())
        while rows > self._hold and len(self._hours) > 1:
            hour, left = self._hours.popitem(last=False)
            self._left[hour] = left.counts()
            rows -= len(left.states)

    def counts(self) -> dict[datetime, HourCounts]:
        """What is known of every hour that was read in this run."""
        return {**self._left, **{hour: held.counts() for hour, held in self._hours.items()}}

    def drop(self, days: Collection[date]) -> None:
        """Remove the hours of days, but for those that another worker has written of since they were listed."""
        if not days:
            return
        stored = self._store.stored()
        for hour in [each for each in self.stored if each.date() in days]:
            if stored.get(hour, Segments()).total == self.stored[hour].total:
                self._store.delete(hour, self.stored.pop(hour))
                self._hours.pop(hour, None)
