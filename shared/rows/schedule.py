"""What a run of message trace reads, in this order: what is new, what may have changed, what was missed.

Guarantees: the watermark moves over a window only when all of its rows were acknowledged and written down; a range that
could not be read goes to the backfill in the same write, and becomes a gap record before it is dropped as too old; what
is new is read first, and everything else yields while most of the request budget is used; what can never be read is cut
down to a second, and keeps nothing else waiting.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from shared.errors import CollectorError, NoToken, Permanent, Transient
from shared.rows.reader import TraceReader, Unseen, WindowRead
from shared.rows.row import PAGING, WINDOW_TOO_OLD, TraceApi
from shared.rows.windows import (
    FIRST_WIDTH,
    HOUR,
    NARROWEST,
    REREAD,
    Ranges,
    add,
    covers,
    due_hours,
    first_run,
    next_width,
    plan,
    remove,
    together,
    whole_hours,
)
from shared.state.checkpoint import HeldCheckpoint, TraceNote
from shared.state.digests import Digests
from shared.state.gaps import Gaps
from shared.stop import Stop
from shared.times import ServiceClock, Window, hour_of, iso, whole_second

logger = logging.getLogger("m365.trace")

YIELD_ABOVE = 0.6
"""Share of the request budget above which only what is new is read."""

MAX_FAILURES = 3
"""Windows in a row that could not be read, after which it is the service's trouble and not theirs."""

HASTE = timedelta(minutes=5)
"""How narrow a window of what is new has to be before it is put off; the backfill looks for the second that fails."""

MUCH = 9
"""Pages that a window counts for where it could not be read: the next is four times narrower."""

MAX_AGAIN = 200
FIRST_SECONDS = int(FIRST_WIDTH.total_seconds())
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
            read = self._try(window, HASTE)
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
        """Read whole hours again, in which rows may have come late or changed their status.

        Those whose turn it is come first, and the others in an order of chance: some may never be read, and must not
        keep the same ones waiting run after run.
        """
        again = self.note.again
        self._read_in_turn(end, again)
        hours = [hour for hour in again if hour + HOUR <= end]
        random.shuffle(hours)
        for hour in hours:
            if not self._read_hours(Window(hour, hour + HOUR)) or hour in self._unread_hours:
                return

    def _read_in_turn(self, end: datetime, again: tuple[datetime, ...]) -> None:
        now, found = self._clock.now(), self._checkpoint.found
        due, following = due_hours(end, self._checkpoint.value.cursor, now - (found.updated or now))
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
        unseen = self._reader.pending(window)
        if window.start < self._oldest():
            self._reader.give_up(unseen)
            self._read_hours_whole |= hours
            return True
        start, width = window.start, self._width(self.note.width)
        if width > HOUR / 2:
            width = window.end - window.start
        wide = width
        while start < window.end:
            if self._yields():
                return False
            piece = Window(start, min(start + width, window.end))
            read = self._try(piece, HASTE, unseen)
            if read is None:
                # Each by itself the next time: the others may be in order.
                self._unread_hours |= hours
                if self._failures >= MAX_FAILURES:
                    return False
                start, width = piece.end, wide
            elif read.whole:
                start = piece.end
            else:
                seconds = int(width.total_seconds())
                width = timedelta(seconds=self._next_width(seconds, piece, read))
        if not hours & self._unread_hours:
            self._reader.give_up(unseen)
            self._read_hours_whole |= hours
        return True

    def read_backfill(self, end: datetime) -> None:
        """Work off what was missed, oldest first; a window that cannot be read waits for the next run.

        After one that cannot, the newest comes first: it may be but the first of many that can never be read.
        """
        todo, newest = remove(self.backfill, Window(end, end + FOREVER)), False
        self._try_once_more()
        while todo and self._failures < MAX_FAILURES and not self._yields():
            todo = self._forget(todo)
            if not todo:
                return
            note = self.note
            width = self._width(note.backfill_width)
            window = _end_of(todo[-1], width) if newest else _beginning_of(todo[0], width)
            read = self._try(window, NARROWEST)
            if read is None:
                todo, newest = remove(todo, window), True
                self._move(
                    msgspec.structs.replace(note, backfill_width=FIRST_SECONDS), self.backfill
                )
                continue
            seconds = self._next_width(note.backfill_width, window, read)
            note = msgspec.structs.replace(note, backfill_width=seconds)
            if read.whole:
                todo = remove(todo, window)
                self._move(note, remove(self.backfill, window))
            else:
                self._move(note, self.backfill)

    def _forget(self, todo: Ranges) -> Ranges:
        """What is left of ranges without what the service no longer answers for, which becomes a gap record."""
        oldest = self._oldest()
        while todo and todo[0].start < oldest:
            gone = Window(todo[0].start, min(todo[0].end, whole_second(oldest) + NARROWEST))
            self._gaps.record(gone, FORGOTTEN)
            self._move(self.note, remove(self.backfill, gone))
            todo = remove(todo, gone)
        return todo

    def _try_once_more(self) -> None:
        """Where all failed so far, this is worth one attempt: other hours may be in order."""
        self._failures = min(self._failures, MAX_FAILURES - 1)

    def _try(
        self, window: Window, narrow: timedelta, unseen: Unseen | None = None
    ) -> WindowRead | None:
        """Read a window; None where it could not be, which is tried again by the next run.

        Args:
            window: both ends included.
            narrow: a wider one that could not be read is to be tried narrower.
            unseen: see ``TraceReader.read``.
        """
        try:
            read = self._reader.read(window, unseen)
        except (NoToken, Transient, Permanent) as error:
            if self._stop():
                raise
            narrow = NARROWEST if error.code == PAGING else narrow
            if window.end - window.start > narrow and not _of_any_width(error):
                logger.info(
                    "%s to %s is tried narrower: %s", iso(window.start), iso(window.end), error
                )
                return WindowRead(rows=0, pages=MUCH, whole=False)
            self._failures += 1
            self.problems.append(error)
            logger.warning("%s to %s is not read: %s", iso(window.start), iso(window.end), error)
            return None
        self._failures = 0
        if read.whole:
            self.windows = add(self.windows, window)
            self._read_hours_whole |= set(whole_hours(window))
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
        unread = set(self.note.again) - self._read_hours_whole | self._unread_hours
        # Late rows are promised for so long, and pending ones of an hour that was not looked at without an end.
        since = self._clock.now() - REREAD - 2 * HOUR
        unread = {hour for hour in unread if hour > since or hour not in counts}
        return tuple(sorted(pending | unread)[:MAX_AGAIN])


def _beginning_of(todo: Window, width: timedelta) -> Window:
    """The beginning of a range, up to a whole hour where it can, so that its hours are read as a whole."""
    end = min(todo.start + width, todo.end)
    whole = hour_of(end)
    return Window(todo.start, whole if todo.start < whole else end)


def _end_of(todo: Window, width: timedelta) -> Window:
    """The end of a range, likewise."""
    start = max(todo.end - width, todo.start)
    whole = hour_of(start + HOUR - NARROWEST)
    return Window(whole if start < whole < todo.end else start, todo.end)


def _of_any_width(error: CollectorError) -> bool:
    """Whether a narrower window would be answered alike."""
    return isinstance(error, NoToken) or error.code == WINDOW_TOO_OLD
