"""What a run of message trace reads, in this order: what is new, what may have changed, what was missed.

Guarantees: the watermark moves over a window only when all of its rows were acknowledged and written down; a range that
could not be read goes to the backfill in the same write, and becomes a gap record before it is dropped as too old; what
is new is read first, and everything else yields while most of the request budget is used.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from shared.checkpoint import HeldCheckpoint, TraceNote
from shared.clock import ServiceClock, iso
from shared.digests import Digests
from shared.errors import CollectorError, Permanent, Transient
from shared.gaps import Gaps
from shared.sources.trace import PAGING, TraceApi
from shared.stop import Stop
from shared.trace_reader import TraceReader, WindowRead
from shared.trace_windows import (
    HOUR,
    NARROWEST,
    Ranges,
    add,
    covers,
    due_hours,
    first_run,
    hour_of,
    next_width,
    plan,
    remove,
    together,
    whole_hours,
)
from shared.windows import Window, whole_second

logger = logging.getLogger("m365.trace")

YIELD_ABOVE = 0.6
"""Share of the request budget above which only what is new is read."""

MAX_FAILURES = 3
"""Windows that could not be read, after which it is the service's trouble and not theirs."""

MUCH = 9
"""Pages that a window counts for where the service lost its way in it: the next is four times narrower."""

MAX_AGAIN = 200
FORGOTTEN = "left the service's memory unread"
FOREVER = timedelta(days=36500)


class TraceReading:
    """The reading of one run.

    Args:
        api: what lists.
        reader: reads a window.
        digests: what became of each row.
        gaps: records what was never read.
        checkpoint: watermark, cursor, backfill.
        clock: the service's time.
        stop: the end of the run.
        used: the share of the tenant's request budget that is taken, by anybody.

    Attributes:
        reached_now: whether everything new was read.
        windows: what was read.
        problems: why windows could not be read.
    """

    def __init__(
        self,
        *,
        api: TraceApi,
        reader: TraceReader,
        digests: Digests,
        gaps: Gaps,
        checkpoint: HeldCheckpoint,
        clock: ServiceClock,
        stop: Stop,
        used: Callable[[], float],
    ) -> None:
        self._api = api
        self._reader = reader
        self._digests = digests
        self._gaps = gaps
        self._checkpoint = checkpoint
        self._clock = clock
        self._stop = stop
        self._used = used
        self._read_hours_whole: set[datetime] = set()
        self._unread_hours: set[datetime] = set()
        self._failures = 0
        self.reached_now = False
        self.windows: Ranges = ()
        self.problems: list[CollectorError] = []

    def learn_the_time(self) -> None:
        """Have the service tell its time first, so that nothing is planned by a wrong clock.

        A time that is far from ours counts once a second answer confirms it. What the window holds is read later.
        """
        for _ in range(2):
            recent = whole_second(self._clock.now() - HOUR)
            # It may be refused where our clock is wrong; the answer still has a date.
            with contextlib.suppress(Permanent):
                next(self._api.pages(Window(recent, recent + NARROWEST)), None)
            if not self._clock.doubtful:
                return

    def plan(self, end: datetime, backfill: timedelta) -> datetime:
        """Where to begin; what lies further back is in the backfill before the watermark passes it.

        Args:
            end: up to where is read.
            backfill: how far back a first run reads.
        """
        known, note, oldest = self._checkpoint.value, self.note, self._oldest()
        if known.watermark is None:
            live = first_run(end, backfill, oldest)
            since = live.backfill[0].start if live.backfill else live.start
            note = msgspec.structs.replace(note, since=since)
        else:
            live = plan(end, known.watermark, self.backfill, oldest)
        if live.gap is not None:
            self._gaps.record(live.gap, FORGOTTEN)
        if (live.mark, live.backfill) != (known.watermark, self.backfill):
            self._move(note, live.backfill, watermark=live.mark)
        return live.start

    def read_live(self, start: datetime, end: datetime) -> None:
        """Read what is new; a window that cannot be read goes to the backfill once a newer one could be."""
        unread: Ranges = ()
        while start < end:
            note = self.note
            window = Window(start, min(start + self._width(note.width), end))
            read = self._try(window)
            if read is None:
                unread = add(unread, window)
                if self._failures >= MAX_FAILURES:
                    return
                start = window.end
                continue
            note = msgspec.structs.replace(note, width=self._next_width(note.width, window, read))
            if not read.whole:
                self._move(note, self.backfill)
                continue
            backfill = self.backfill
            for each in unread:
                backfill = add(backfill, each)
            unread = ()
            mark = self._checkpoint.value.watermark
            if mark is None or not window.end <= mark <= end:
                mark = window.end
            self._move(note, backfill, watermark=mark)
            start = window.end
        self.reached_now = not unread

    def read_again(self, end: datetime) -> None:
        """Read whole hours again, in which rows may have come late or changed their status."""
        now, found, again = self._clock.now(), self._checkpoint.found, self.note.again
        due, following = due_hours(end, self._checkpoint.value.cursor, now - (found.updated or now))
        for hour in again:
            if hour + HOUR <= end and not self._read_hours(Window(hour, hour + HOUR)):
                return
        # What will be read whole by the backfill can wait for that.
        turn = [hour for hour in due if hour not in again and not covers(self.backfill, hour)]
        for window in together(turn, self._width(self.note.width)):
            if not self._read_hours(window):
                return
            after = due.index(window.end - HOUR) + 1
            self._move(
                self.note, self.backfill, cursor=due[after] if after < len(due) else following
            )
        if self._checkpoint.value.cursor != following:
            self._move(self.note, self.backfill, cursor=following)

    def _read_hours(self, window: Window) -> bool:
        """Read whole hours again; False where reading has to yield."""
        hours = set(whole_hours(window))
        if window.start < self._oldest():
            for hour in hours:
                self._reader.give_up(hour)
            return True
        start, width = window.start, self._width(self.note.width)
        if width > HOUR / 2:
            width = window.end - window.start
        while start < window.end:
            if self._yields():
                return False
            piece = Window(start, min(start + width, window.end))
            read = self._try(piece)
            if read is None:
                # Each by itself the next time: the others may be in order.
                self._unread_hours |= hours
                return self._failures < MAX_FAILURES
            if read.whole:
                start = piece.end
            else:
                seconds = int(width.total_seconds())
                width = timedelta(seconds=self._next_width(seconds, piece, read))
        self._read_hours_whole |= hours
        return True

    def read_backfill(self, end: datetime) -> None:
        """Work off what was missed, oldest first; a window that cannot be read waits for the next run."""
        todo = remove(self.backfill, Window(end, end + FOREVER))
        while todo and self._failures < MAX_FAILURES and not self._yields():
            todo = self._forget(todo)
            if not todo:
                return
            note = self.note
            window = _aligned(
                todo[0].start,
                min(todo[0].start + self._width(note.backfill_width), todo[0].end),
            )
            read = self._try(window)
            if read is None:
                todo = remove(todo, window)
                continue
            width = self._next_width(note.backfill_width, window, read)
            note = msgspec.structs.replace(note, backfill_width=width)
            if read.whole:
                todo = remove(todo, window)
                self._move(note, remove(self.backfill, window))
            else:
                self._move(note, self.backfill)

    def _forget(self, todo: Ranges) -> Ranges:
        """What is left of ranges without what the service no longer answers for, which becomes a gap record."""
        oldest = self._oldest()
        if todo[0].start >= oldest:
            return todo
        gone = Window(todo[0].start, min(todo[0].end, whole_second(oldest) + NARROWEST))
        self._gaps.record(gone, FORGOTTEN)
        self._move(self.note, remove(self.backfill, gone))
        return remove(todo, gone)

    def _try(self, window: Window) -> WindowRead | None:
        """Read a window; None where it could not be, which is tried again by the next run."""
        try:
            read = self._reader.read(window)
        except (Transient, Permanent) as error:
            if self._stop():
                raise
            if error.code == PAGING and window.end - window.start > NARROWEST:
                # A narrower window may be read.
                return WindowRead(rows=0, pages=MUCH, whole=False)
            self._failures += 1
            self.problems.append(error)
            logger.warning("%s to %s is not read: %s", iso(window.start), iso(window.end), error)
            return None
        if read.whole:
            self.windows = add(self.windows, window)
        return read

    def _next_width(self, width: int, window: Window, read: WindowRead) -> int:
        wanted = next_width(
            self._width(width),
            window.end - window.start,
            read.rows,
            read.pages,
            self._api.max_width,
        )
        return int(wanted.total_seconds())

    def _width(self, seconds: int) -> timedelta:
        """A stored width, whatever is stored: another API may have been set since."""
        return min(max(timedelta(seconds=seconds), NARROWEST), self._api.max_width)

    def _yields(self) -> bool:
        """Whether what can wait has to wait."""
        self._stop.raise_if_set()
        return self._used() > YIELD_ABOVE

    def _oldest(self) -> datetime:
        return self._clock.now() - self._api.horizon

    # -- the checkpoint

    @property
    def note(self) -> TraceNote:
        """What the checkpoint holds of it."""
        return self._checkpoint.value.trace

    @property
    def backfill(self) -> Ranges:
        """What is still to be read."""
        return tuple(Window(start, end) for start, end in self.note.backfill if start < end)

    def _move(self, note: TraceNote, backfill: Ranges, **changes: datetime) -> None:
        """Write the checkpoint."""
        note = msgspec.structs.replace(
            note,
            backfill=tuple((each.start, each.end) for each in backfill),
            again=self.again(),
        )
        self._checkpoint.move(trace=note, **changes)

    def again(self) -> tuple[datetime, ...]:
        """The hours to read again before their turn."""
        counts = self._digests.counts()
        pending = {hour for hour, each in counts.items() if each.pending}
        unknown = set(self.note.again) - counts.keys() - self._read_hours_whole
        return tuple(sorted(pending | unknown | self._unread_hours)[:MAX_AGAIN])


def _aligned(start: datetime, end: datetime) -> Window:
    """A window that ends at a whole hour where it can, so that its hours are read as a whole."""
    whole = hour_of(end)
    return Window(start, whole if start < whole else end)
