"""What a run reads of a feed of rows, in this order: what is new, what may have changed, what was missed.

The watermark moves over a window only when all of its rows were acknowledged and written down. A range that could not
be read goes to the backfill in the same write. It becomes a gap record before it is dropped as too old. What is new is
read first, and everything else yields while most of the request budget is used. What can never be read is cut down to
a second, and keeps nothing else waiting.
"""

from __future__ import annotations

import contextlib
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.errors import CollectorError, Permanent, StateError, Transient
from shared.rows.attempts import HASTE, Attempts, Outcome
from shared.rows.backlog import Backlog
from shared.rows.windows import (
    NARROWEST,
    covers,
    due_hours,
    first_run,
    plan,
    together,
)
from shared.times import (
    HOUR,
    LEAP_ANSWERS,
    Ranges,
    Window,
    add,
    overlaps,
    remove,
    whole_hours,
    whole_second,
)

if TYPE_CHECKING:
    from shared.days.days import Days
    from shared.days.gaps import Gaps
    from shared.rows.digests import Digests
    from shared.rows.reader import RowReader, Unseen
    from shared.rows.source import RowApi, RowPolicy
    from shared.run.context import RunContext
    from shared.state.checkpoint import RowsNote

YIELD_ABOVE = 0.6
"""Share of the request budget above which only what is new is read."""

MAX_AGAIN = 200
LAST_READING = timedelta(days=7)
"""How far back an hour gets its last reading although a part of it is still missing."""

FORGOTTEN = "left the service's memory unread"
FOREVER = timedelta(days=36500)


class Reading:
    """The reading of one run.

    Args:
        run: the run.
        api: what lists.
        policy: of the source.
        reader: reads a window.
        digests: what became of each row.
        gaps: records what was never read.
        days: know which hours still need their last reading.

    Attributes:
        reached_now: whether everything new was read.
    """

    def __init__(
        self,
        run: RunContext,
        api: RowApi,
        policy: RowPolicy,
        *,
        reader: RowReader,
        digests: Digests,
        gaps: Gaps,
        days: Days,
    ) -> None:
        self._api = api
        self._policy = policy
        self._reader = reader
        self._digests = digests
        self._gaps = gaps
        self._days = days
        self._checkpoint = run.checkpoint
        self._clock = run.parts.clock
        self._stop = run.stop
        self._attempts = Attempts(
            reader, target_rows=policy.target_rows, max_width=api.max_width, stop=run.stop
        )
        self._looked_at: set[datetime] = set()
        self._unread_hours: set[datetime] = set()
        self.reached_now = False

    @property
    def windows(self) -> Ranges:
        """What was read."""
        return self._attempts.windows

    @property
    def problems(self) -> list[CollectorError]:
        """Why windows could not be read."""
        return self._attempts.problems

    def learn_the_time(self) -> None:
        """Have the service tell its time first, so that nothing is planned by a wrong clock.

        A time that is far from ours counts once others confirm it. What the window holds is read later.
        """
        for _ in range(1 + LEAP_ANSWERS):
            recent = whole_second(self._clock.now() - HOUR)
            # It may be refused where our clock is wrong; the answer still has a date.
            with contextlib.suppress(Permanent):
                next(self._api.pages(Window(recent, recent + NARROWEST)), None)
                self._attempts.answered = True
            if not self._clock.doubtful:
                return

    def plan(self, end: datetime) -> datetime:
        """Where to begin, to read up to ``end``; what lies further back is in the backfill first."""
        known, note, oldest = self._checkpoint.value, self.note, self._oldest()
        if known.watermark is None:
            live = first_run(end, self._policy, oldest)
            since = live.backfill[0].start if live.backfill else live.start
            width = self._first_width
            note = msgspec.structs.replace(note, since=since, width=width, backfill_width=width)
        else:
            live = plan(end, known.watermark, self.backfill, oldest, self._policy)
        if live.gap is not None:
            self._gaps.record(live.gap, FORGOTTEN)
        if (live.mark, live.backfill) != (known.watermark, self.backfill):
            self._move(note, live.backfill, watermark=live.mark)
            self._checkpoint.write()
        return live.start

    def read_live(self, start: datetime, end: datetime) -> None:
        """Read what is new; a window that cannot be read goes to the backfill once a newer one could be."""
        unread: Ranges = ()
        while start < end:
            seconds = self.note.width
            window = Window(start, min(start + self._attempts.width(seconds), end))
            attempt = self._attempts.read(window, seconds, narrow=HASTE)
            note = msgspec.structs.replace(self.note, width=attempt.seconds)
            if attempt.outcome is Outcome.NARROWER:
                self._move(note, self.backfill)
                continue
            start = window.end
            if attempt.outcome is Outcome.NOT_READ:
                unread = add(unread, window)
                if self._attempts.hopeless:
                    return
                continue
            self._move(note, add(self.backfill, *unread), watermark=self._mark(window.end, end))
            unread = ()
        self.reached_now = not unread

    def _mark(self, read_to: datetime, end: datetime) -> datetime:
        """The watermark after a window: it never moves back, unless it lay in the future."""
        mark = self._checkpoint.value.watermark
        return mark if mark is not None and read_to <= mark <= end else read_to

    def read_again(self, end: datetime) -> None:
        """Read whole hours again, in which rows may have come late or changed their status: first whose turn it is."""
        again = self.note.again
        self._read_in_turn(end, again)
        for hour in again:
            if hour in self.note.stuck or hour + HOUR > end:
                continue
            if not self._read_hours(Window(hour, hour + HOUR)):
                return
        # An outage, a turn that came a little early, or seconds that came late left them short of their last reading.
        left = [hour for hour in self._unsure() if hour not in again and not self._missed(hour)]
        for window in together(left, self._attempts.width(self.note.width)):
            if not self._read_hours(window):
                return

    def _unsure(self) -> list[datetime]:
        return self._days.unsure(self._clock.now(), self._api.horizon)

    def _missed(self, hour: datetime) -> bool:
        """Whether the backfill reads it; of one long ago, whatever part of it."""
        if hour > self._clock.now() - LAST_READING:
            return covers(self.backfill, hour)
        return overlaps(self.backfill, hour, hour + HOUR)

    def read_what_waits(self, end: datetime) -> None:
        """Work off what was missed, and the hours that an earlier run could not read again.

        Either may end the run, or leave none of the budget. So which comes first is left to chance.
        """
        parts = [self.read_backfill, self._read_stuck]
        random.shuffle(parts)
        for part in parts:
            self._attempts.once_more()
            part(end)

    def _read_stuck(self, end: datetime) -> None:
        """Up to the first that cannot be read, in an order of chance: it must not keep the same ones waiting."""
        hours = [hour for hour in self.note.stuck if hour + HOUR <= end]
        random.shuffle(hours)
        for hour in hours:
            if not self._read_hours(Window(hour, hour + HOUR)) or hour in self._unread_hours:
                return

    def _read_in_turn(self, end: datetime, again: tuple[datetime, ...]) -> None:
        now, found = self._clock.now(), self._checkpoint.found
        since = now - (found.updated or now)
        due, following = due_hours(end, self._checkpoint.value.cursor, since, self._policy)
        # What will be read whole by the backfill can wait for that.
        turn = [hour for hour in due if hour not in again and not covers(self.backfill, hour)]
        for window in together(turn, self._attempts.width(self.note.width)):
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
        try:
            unseen = self._reader.pending(window)
            if window.start >= self._oldest():
                if not self._read_pieces(window, hours, unseen):
                    return False
                if hours & self._unread_hours:
                    return True
            self._reader.give_up(unseen)
        except (StateError, Transient, Permanent):
            # It may be these hours alone of which nothing can be written down.
            self._unread_hours |= hours
            raise
        self._looked_at |= hours
        return True

    def _read_pieces(self, window: Window, hours: set[datetime], unseen: Unseen) -> bool:
        """Read hours piece by piece where they hold much; False where reading has to yield."""
        start, width = window.start, self._attempts.width(self.note.width)
        if width > HOUR / 2:
            width = window.end - window.start
        wide = width
        while start < window.end:
            if self._yields():
                return False
            piece = Window(start, min(start + width, window.end))
            seconds = int(width.total_seconds())
            attempt = self._attempts.read(piece, seconds, narrow=HASTE, unseen=unseen)
            if attempt.outcome is Outcome.NARROWER:
                width = timedelta(seconds=attempt.seconds)
                continue
            start = piece.end
            if attempt.outcome is Outcome.NOT_READ:
                # Each by itself the next time: the others may be in order.
                self._unread_hours |= hours
                if self._attempts.hopeless:
                    return False
                width = wide
        return True

    def read_backfill(self, end: datetime) -> None:
        """Work off what was missed; a window that cannot be read waits for the next run, and is its last."""
        todo = remove(self.backfill, Window(end, end + FOREVER))
        backlog = Backlog(todo, tuple(Window(*each) for each in self.note.failed))
        while backlog.todo and not self._attempts.hopeless and not self._yields():
            backlog.todo = self._forget(backlog.todo)
            if not backlog.todo:
                return
            seconds = self.note.backfill_width
            window = backlog.window(self._attempts.width(seconds))
            attempt = self._attempts.read(window, seconds, narrow=NARROWEST)
            left, wanted = self.backfill, attempt.seconds
            if attempt.outcome is Outcome.WHOLE:
                backlog.read(window)
                left = remove(left, window)
            elif attempt.outcome is Outcome.NOT_READ:
                backlog.not_read(window)
                wanted = self._first_width
            failed = tuple((each.start, each.end) for each in backlog.failed)
            note = msgspec.structs.replace(self.note, backfill_width=wanted, failed=failed)
            self._move(note, left)

    def _forget(self, todo: Ranges) -> Ranges:
        """What is left of ranges without what the service no longer answers for, which becomes a gap record."""
        oldest = self._oldest()
        while todo and todo[0].start < oldest:
            gone = Window(todo[0].start, min(todo[0].end, whole_second(oldest) + NARROWEST))
            self._gaps.record(gone, FORGOTTEN)
            self._move(self.note, remove(self.backfill, gone))
            todo = remove(todo, gone)
        return todo

    def _yields(self) -> bool:
        """Whether what can wait has to wait."""
        self._stop.raise_if_set()
        return self._api.asker.used() > YIELD_ABOVE

    def _oldest(self) -> datetime:
        return self._clock.now() - self._api.horizon

    @property
    def _first_width(self) -> int:
        return int(self._policy.first_width.total_seconds())

    # -- the checkpoint

    @property
    def note(self) -> RowsNote:
        """What the checkpoint holds of it."""
        return self._checkpoint.value.rows

    @property
    def backfill(self) -> Ranges:
        """What is still to be read."""
        return tuple(Window(start, end) for start, end in self.note.backfill if start < end)

    def _move(self, note: RowsNote, backfill: Ranges, **changes: datetime) -> None:
        """Move the checkpoint. Where a write is missing, what was read is read once more and found known."""
        ranges = tuple((each.start, each.end) for each in backfill)
        note = self.with_hours(msgspec.structs.replace(note, backfill=ranges))
        self._checkpoint.move_soon(rows=note, **changes)

    def with_hours(self, note: RowsNote) -> RowsNote:
        """With the hours to read again before their turn, and those of them that could not be read."""
        again = self._again()
        stuck = {*note.stuck} - self._looked_at - self._attempts.hours | self._unread_hours
        left = tuple(hour for hour in again if hour in stuck)
        return msgspec.structs.replace(note, again=again, stuck=left)

    def _again(self) -> tuple[datetime, ...]:
        counts = self._digests.counts()
        pending = {hour for hour, each in counts.items() if each.pending}
        looked_at = self._looked_at | self._attempts.hours
        unread = set(self.note.again) - looked_at | self._unread_hours
        # Late rows are promised for so long, and pending ones of an hour that was not looked at without an end.
        since = self._clock.now() - self._policy.reread - 2 * HOUR
        kept = {*self._unsure()} if unread else ()
        unread = {hour for hour in unread if hour > since or hour not in counts or hour in kept}
        return tuple(sorted(pending | unread)[:MAX_AGAIN])
