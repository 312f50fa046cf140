"""The ledger of one feed during one run: what is known, what is new, what waits to be written down.

Lines that settle contents are gathered and appended twice a second by a thread of their own, so that a crash repeats
at most what was acknowledged since. ``listed`` lines are written at once: nothing is fetched before they are stored.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from shared import policy
from shared.errors import CollectorError, textless
from shared.state.append_blobs import LedgerStore, Segments
from shared.state.ledger import Entry, Line, encode, parts
from shared.state.ledger_day import Day, days_near
from shared.threads import start_thread
from shared.times import by_day, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shared.state.waiting import WaitingIndex
    from shared.times import Window

logger = logging.getLogger("m365.ledger")

KEEP = timedelta(days=9)
RETENTION = timedelta(days=7)
LONGEST = timedelta(days=30)
"""No content was seen to live longer than 20 days; an expiration later than this is not believed."""
SPARE = timedelta(days=2)
LAST_DAY = timedelta(days=1)
MAX_DROPPED = 14
"""Days that one run removes at most."""
PAUSE = 1.0
"""Seconds before the last lines are written again."""


class FeedLedger:
    """A feed's ledger, loaded day by day as it is needed; thread-safe.

    Args:
        store: the append blobs.
        on_written: called with the ids whose settling lines are stored.
        on_error: called once with the first failure to write.
        flush_every: seconds between appends of settling lines.
        retention: how long a content can be listed, and fetched whatever its listing says.
        longest: how long a content can be fetched where its listing says so.
        waiting: the index of what waits, where one is kept.
        wall: this machine's own clock, UTC.
    """

    def __init__(
        self,
        store: LedgerStore,
        *,
        on_written: Callable[[list[str]], None] = lambda _: None,
        on_error: Callable[[CollectorError], None] = lambda _: None,
        flush_every: float = 0.5,
        retention: timedelta = RETENTION,
        longest: timedelta = LONGEST,
        waiting: WaitingIndex | None = None,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._on_written = on_written
        self._on_error = on_error
        self._flush_every = flush_every
        self._retention = retention
        self._longest = max(retention, longest)
        self._waiting = waiting
        self._wall = wall
        self._days: dict[date, Day] = {}
        self._stored: dict[date, Segments] = {}
        self._buffer: list[tuple[date, Line]] = []
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, closed: dict[date, int], kept: Mapping[date, Day] | None = None) -> None:
        """Load what may wait: the days of which not everything was terminal, or what an index says of them.

        Args:
            closed: days of which everything was terminal when they had this size in bytes.
            kept: days as they were when they were read; what has come since is read.
        """
        self._stored = self._store.stored()
        self._store.resume(self._stored)
        for day, each in (kept or {}).items():
            segments = self._stored.get(day, Segments()).sizes
            if all(segments.get(name, 0) >= size for name, size in each.read_to.items()):
                self._days[day], each.appended = self._read_on(each), False
        unread = {day for day, each in self._stored.items() if closed.get(day) != each.total}
        unread -= set(self._days)
        known = self._waiting.load() if self._waiting is not None and unread else {}
        for day in sorted(unread):
            if day in known and known[day].sizes == self._stored[day].sizes:
                self._days[day] = Day.of_waiting(day, known[day].sizes, known[day].entries)
            else:
                self.day(day)
        self._thread = start_thread(self._write, name="ledger")

    def day(self, day: date) -> Day:
        """A day's ledger, read from storage the first time it is asked for."""
        with self._lock:
            found = self._days.get(day)
            if found is None or found.partial:
                found = self._days[day] = self.glance(day)
            return found

    def glance(self, day: date) -> Day:
        """A day's ledger, which is not kept where it was not read before."""
        with self._lock:
            known = self._days.get(day)
            if known is not None and not known.partial:
                return known
            return self._read_on(Day(day), known)

    def _read_on(self, found: Day, known: Day | None = None) -> Day:
        """Merge what came since a day was read, and what is known of it otherwise."""
        # This run may have appended to segments that no listing showed.
        sizes = known.read_to if known is not None else {}
        sizes = sizes | self._stored.get(found.day, Segments()).sizes
        if torn := found.read_on(sizes, lambda *place: self._store.read(found.day, *place)):
            logger.warning(
                "ledger of %s: %d lines cannot be read and are skipped; at worst their contents are delivered again",
                found.day,
                torn,
            )
        if known is not None:
            found.join(known)
        return found

    def find(
        self, day: date, content_id: str, *, everywhere: bool = False
    ) -> tuple[date, Entry] | None:
        """What is known of a content, and the day under which: its own first, then any day that is loaded.

        A service lists contents again under another day. Before one is called unknown, the stored days are loaded
        where it may be, which costs a read each: no more of them than ``days_near`` names.

        Args:
            day: of ``contentCreated``.
            content_id: the content.
            everywhere: the day is a guess, so every stored day is loaded.
        """
        with self._lock:
            if found := self._find(day, content_id):
                return found
            others = self._stored if everywhere else days_near(day, content_id)
            unread = [each for each in others if each in self._stored and not self._is_read(each)]
            for other in unread:
                self.day(other)
            return self._find(day, content_id) if unread else None

    def _is_read(self, day: date) -> bool:
        return day in self._days and not self._days[day].partial

    def _find(self, day: date, content_id: str) -> tuple[date, Entry] | None:
        for ledger in (self.day(day), *self._days.values()):
            if content_id in ledger.entries:
                return ledger.day, ledger.entries[content_id]
        return None

    def knows_any(self, window: Window) -> bool:
        """Whether a content is known that was created in a range."""
        with self._lock:
            days = [day for day, _ in by_day(window) if day in self._stored or day in self._days]
            return any(self.day(day).knows_any(window) for day in days)

    def expires_at(self, entry: Entry) -> datetime:
        """Until when a content can be fetched."""
        return entry.expires_at(self._retention, self._longest)

    def hopeless_at(self, entry: Entry) -> datetime:
        """When a content is given up whatever the answers about it are."""
        return entry.hopeless_at(self._longest)

    def pending(self) -> list[tuple[date, Entry]]:
        """Every content of the loaded days that is neither delivered nor given up, in the order of their turn.

        First those that expire within a day, oldest first; then the others in an order of chance: a run may end before
        all had their turn, and some that hang must not keep the same ones waiting run after run.
        """
        with self._lock:
            found = [
                (day, entry)
                for day, ledger in sorted(self._days.items())
                for entry in ledger.pending()
            ]
        soon = self._wall() + LAST_DAY
        urgent: list[tuple[date, Entry]] = []
        others: list[tuple[date, Entry]] = []
        for each in found:
            (urgent if self.expires_at(each[1]) <= soon else others).append(each)
        random.shuffle(others)
        return urgent + others

    def write(self, lines: Iterable[tuple[date, Line]]) -> None:
        """Append lines now; they are merged in memory once they are stored.

        Raises:
            CollectorError: they are not known to be stored. Writing them again is safe.
        """
        grouped: dict[date, list[Line]] = {}
        for day, line in lines:
            grouped.setdefault(day, []).append(line)
        with self._writing:
            for day, group in sorted(grouped.items()):
                for part in parts(group):
                    self._append(day, part)

    def _append(self, day: date, lines: list[Line]) -> None:
        data = encode(lines)
        with self._lock:
            ledger = self._days.get(day)
            if ledger is None or not ledger.takes(lines):
                ledger = self.day(day)
        segment, offset = self._store.append(day, data)
        with self._lock:
            # Another thread may have read the whole day meanwhile.
            ledger = self._days.get(day, ledger)
            ledger.append(lines)
            if ledger.read_to.get(segment, 0) == offset:
                ledger.read_to[segment] = offset + len(data)

    def settle(self, day: date, line: Line) -> None:
        """Note a line; it is appended within ``flush_every`` seconds."""
        with self._lock:
            self._buffer.append((day, line))

    def flush(self) -> None:
        """Append everything that was noted; what could not be stored stays noted."""
        with self._lock:
            taken, self._buffer = self._buffer, []
        if not taken:
            return
        try:
            self.write(taken)
        except BaseException:
            with self._lock:
                self._buffer = taken + self._buffer
            raise
        self._on_written([line.id for _, line in taken])

    def _write(self) -> None:
        while not self._stop.wait(self._flush_every):
            try:
                self.flush()
            except CollectorError as error:
                self._on_error(error)
            except Exception as error:
                logger.exception("the ledger could not be written", exc_info=textless(error))
                self._on_error(policy.error("internal", detail=type(error).__name__))

    def close(self, *, patience: float = 30.0) -> None:
        """Stop the writing thread and append what is left, trying again for as long as patience lasts.

        Raises:
            CollectorError: lines are left; their contents will be delivered again.
        """
        deadline = time.monotonic() + patience
        self._stop.set()
        if self._thread is not None:
            # Not for a limited time: it may hold lines, and every storage call comes to an end.
            self._thread.join()
        while True:
            try:
                self.flush()
            except CollectorError:
                if time.monotonic() + PAUSE >= deadline:
                    raise
                time.sleep(PAUSE)
            else:
                return

    def settled_days(self, closed: dict[date, int]) -> dict[date, int]:
        """The days of which every content is terminal, with the size at which that holds.

        A size covers no line that was not seen: where another worker appended meanwhile it is less than the day's, so
        that the day is read again.

        Args:
            closed: what an earlier run found so.
        """
        found = {
            day: segments.total
            for day, segments in self._stored.items()
            if day not in self._days and closed.get(day) == segments.total
        }
        with self._lock:
            return found | {
                day: each.size for day, each in self._days.items() if each.settled and each.read_to
            }

    def drop_old(
        self,
        today: date,
        closed: dict[date, int],
        wanted: Callable[[set[date]], set[date]] = lambda _: set(),
    ) -> None:
        """Remove days older than nine days, and than what can be listed, of which everything is terminal.

        They have to be that old by the service's ``today`` and by this machine's clock: one wrong ``Date`` of a
        service must not remove what keeps contents from being delivered again.

        Args:
            today: by the service's clock.
            closed: days of which everything is terminal, and the sizes at which that holds.
            wanted: which of some days are kept all the same; asked only where there is something to remove.
        """
        keep = max(KEEP, self._retention + SPARE)
        today = min(today, self._wall().date())
        old = {day for day in closed if today - day > keep}
        # By chance, so that days which are kept for good do not keep others from being asked about.
        old = set(random.sample(sorted(old), min(len(old), MAX_DROPPED)))
        if not old or not (old := old - wanted(old)):
            return
        # Another worker may have written of a day since; then it is a later run's to say whether it is settled.
        stored = self._store.stored()
        for day in old:
            segments = stored.get(day, Segments())
            if segments.total == closed[day]:
                self._store.delete(day, segments)
                self._days.pop(day, None)

    def loaded(self) -> dict[date, Day]:
        """The days that were read."""
        with self._lock:
            return {day: each for day, each in self._days.items() if not each.partial}

    def sizes(self) -> dict[date, int]:
        """Bytes of every stored day, as far as this run knows of them."""
        stored = {day: segments.total for day, segments in self._stored.items()}
        with self._lock:
            return stored | {day: each.size for day, each in self._days.items() if each.read_to}

    def keep_waiting(self) -> None:
        """Store the index of what waits, where one is kept and something does."""
        with self._lock:
            days = [each for each in self._days.values() if each.read_to and not each.settled]
        if self._waiting is not None and days:
            self._waiting.save(days)
