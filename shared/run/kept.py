"""What a process keeps of a feed from one run to the next, so that the next need not read it from storage.

It is taken only where nobody had the feed in between: the checkpoint is then still the one that the last run wrote.
The ledger is looked at all the same, since a worker whose lease was lost may have written there, and a replay does.
What a run takes is gone until it ends in order, so one that fails leaves nothing behind. After an hour all is read
anew, in case that somebody mended the account by hand.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from shared.days.days import Days
    from shared.state.ledger_day import Day

AT_MOST = 3600.0
"""Seconds after which everything is read again."""

MOST = 60_000
"""Contents that a process keeps of all feeds together, some 40 MB of them."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a run leaves behind for the next.

    Attributes:
        ledger: days of the feed's ledger, as far as they were read.
        days: what was known of its days; None where nothing was left.
    """

    ledger: Mapping[date, Day] = field(default_factory=dict)
    days: Days | None = None


class Room:
    """How much a process keeps of all feeds together; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Kept, int] = {}

    def give_up(self, kept: Kept) -> None:
        """Nothing is kept of this feed any more."""
        with self._lock:
            self._held.pop(kept, None)

    def take_up(self, kept: Kept, entries: int) -> None:
        """So much is kept of this feed; what was left longest ago goes where it is too much."""
        with self._lock:
            self._held.pop(kept, None)
            while self._held and sum(self._held.values()) + entries > MOST:
                oldest = next(iter(self._held))
                del self._held[oldest]
                oldest.drop()
            self._held[kept] = entries


class Kept:
    """What is kept of one feed.

    Args:
        clock: seconds, monotonic.
        room: of the process.

    Attributes:
        quiet: the key of the row of the last run that found nothing; None where that is not known.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, room: Room | None = None
    ) -> None:
        self._clock = clock
        self._room = room or Room()
        self._left: tuple[str, Known] | None = None
        self._read_at = clock()
        self.quiet: str | None = None

    def take(self, etag: str | None) -> Known:
        """What the last run left, where nobody had the feed since; nothing is left of it then.

        Args:
            etag: of the checkpoint as it was found.
        """
        self._room.give_up(self)
        left, self._left = self._left, None
        if left is not None and left[0] == etag and self._clock() - self._read_at < AT_MOST:
            return left[1]
        self._read_at, self.quiet = self._clock(), None
        return Known()

    def leave(self, etag: str | None, known: Known) -> None:
        """Leave something for the next run.

        Args:
            etag: of the checkpoint as it was written.
            known: what is known; of the ledger the newest days are kept, as many as may be.
        """
        if etag is None:
            return
        days = sorted(known.ledger.items(), reverse=True)
        entries = itertools.accumulate(len(each.entries) for _, each in days)
        newest = {day: each for (day, each), n in zip(days, entries, strict=True) if n <= MOST}
        self._left = etag, replace(known, ledger=newest)
        # It may have to go again at once, where others of the process leave much at the same time.
        self._room.take_up(self, sum(len(each.entries) for each in newest.values()))

    def drop(self) -> None:
        """Keep nothing."""
        self._left = None
