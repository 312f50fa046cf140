"""The job of a feed of rows: its state, and the order in which a run does its work."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from shared.days.gaps import Gaps
from shared.rows.days import HOURS, found_in, hours_of, sizes_by_day
from shared.rows.digests import Digests
from shared.rows.reader import RowReader
from shared.rows.schedule import Reading
from shared.run.kept import Known
from shared.state.append_blobs import DigestStore, LedgerStore
from shared.state.feed_ledger import KEEP, FeedLedger
from shared.times import (
    HOUR,
    beginning_of,
    end_of,
    iso,
    overlaps,
    utc_now,
    whole_second,
)

if TYPE_CHECKING:
    from datetime import date

    from shared.days.table import Found
    from shared.errors import CollectorError
    from shared.rows.source import Follower, RowApi, RowPolicy
    from shared.run.context import RunContext
    from shared.state.checkpoint import RowsNote

MAX_DROPPED_DAYS = 10


class RowJob:
    """The state of one run of a feed of rows.

    Args:
        run: the run.
        api: what lists.
        policy: how.
        follower: what follows on rows, where the source has that.
    """

    def __init__(
        self,
        run: RunContext,
        api: RowApi,
        policy: RowPolicy,
        *,
        follower: Follower | None = None,
    ) -> None:
        self._run = run
        self._policy = policy
        self._follower = follower
        self._clock = run.parts.clock
        self._summary = run.summary
        self._checkpoint = run.checkpoint
        self.asker = api.asker
        self.problems: list[CollectorError] = []
        self._began = self._clock.now()
        key, state = run.feed.state_key, run.parts.storage.state
        self._digests = Digests(DigestStore(state, f"digests/{key}"))
        self._ledger = FeedLedger(LedgerStore(state, f"ledger/{key}"))
        self._days = run.days(policy.days(api.horizon))
        self._reader = RowReader(
            run,
            api=api,
            digests=self._digests,
            late_enough=policy.days(api.horizon).late_enough,
            follower=follower,
            on_progress=self._progress,
        )
        self._reading = Reading(
            run,
            api,
            policy,
            reader=self._reader,
            digests=self._digests,
            gaps=Gaps(self._ledger, self._clock, run.summary),
            days=self._days,
        )

    def load(self, known: Known) -> None:
        """Learn which digests and gap records there are, and what is known of the days."""
        checkpoint = self._checkpoint.value
        self._digests.open()
        self._ledger.open(checkpoint.closed, known.ledger)
        self._days.load(checkpoint, self._clock.now(), self._sizes(), known.days)
        if self._follower is not None:
            self._follower.load(self._note.follower_closed)

    def known(self) -> Known:
        """The gap records as far as they were read, and what is known of the days."""
        return Known(ledger=self._ledger.loaded(), days=self._days)

    def collect(self) -> None:
        """What is new, then what may have changed, then what was missed, and only then what follows on rows."""
        self._reading.learn_the_time()
        self._began = self._clock.now()
        end = whole_second(self._clock.now() - self._policy.delay)
        start = self._reading.plan(end)
        self._reading.read_live(start, end)
        self._reading.read_again(end)
        self._reading.read_what_waits(end)
        if self._follower is not None:
            # It may go on for minutes. Else the run's end writes what was reached.
            self._checkpoint.write()
            self._follower.fetch_due()

    @property
    def _note(self) -> RowsNote:
        return self._checkpoint.value.rows

    def _progress(self) -> None:
        summary, reader = self._summary, self._reader
        summary.listed, summary.delivered = reader.listed, reader.delivered
        summary.records, summary.bytes = reader.delivered, reader.bytes
        summary.claim_checks = reader.claim_checks
        self._run.parts.on_progress(summary)

    # -- the end

    def drain(self) -> None:
        """Wait for the page that is on its way."""
        self._reader.finish(self._run.tuning.close_seconds)

    def write_down(self) -> None:
        """What was acknowledged is written down; close the ledgers."""
        try:
            self._ledger.close(patience=min(30.0, self._run.tuning.close_seconds))
        finally:
            if self._follower is not None:
                self._follower.close()

    def close_checkpoint(self) -> None:
        """Note what has to be read again, whatever ended the run, and the days that need not be read again."""
        for hour in self._note.again:
            self._digests.hour(hour)
            self._digests.trim()
        closed = self._ledger.settled_days(self._checkpoint.value.closed)
        note = self._reading.with_hours(self._note)
        if self._follower is not None:
            known = self._follower.closed(note.follower_closed)
            note = msgspec.structs.replace(note, follower_closed=known)
        if (closed, note) != (self._checkpoint.value.closed, self._note):
            self._checkpoint.move_soon(closed=closed, rows=note)
        for window in self._reading.windows:
            self._days.look(window, self._began)
        if self._checkpoint.value.watermark is not None and note.since is not None:
            self._days.begin(note.since)
        self._days.keep(self._checkpoint, self._clock.now())

    def sum_up(self) -> None:
        """Say in the summary what is left, and what became of the rest."""
        summary, known, reader = self._summary, self._checkpoint.value, self._reader
        self._progress()
        summary.pending = sum(each.pending for each in self._digests.counts().values())
        summary.lost = reader.dead + reader.gone
        summary.dead_letters = reader.dead
        summary.batches, summary.sink_busy = reader.publisher.batches, reader.publisher.busy
        if known.watermark is not None:
            summary.watermark = iso(known.watermark)
            if not self._reading.reached_now:
                age = self._clock.now() - known.watermark
                summary.lag_seconds = max(0, int(age.total_seconds()))
        summary.caught_up = (
            self._reading.reached_now and not self._note.backfill and not summary.pending
        )
        # After what ended the run, which may have been the cause.
        self.problems += self._reading.problems
        if self._follower is not None:
            self.problems += self._follower.problems

    def write_days(self, problem: CollectorError | None) -> None:
        """Bring the rows of the days up to date."""
        days = {*self._days.owed(self._sizes()), *self._ledger.loaded()}
        found = {day: self._found(day) for day in days}
        self._days.write(found, self._clock.now(), problem)
        if self._follower is not None:
            self._follower.write_days(problem)

    def _found(self, day: date) -> Found:
        """What became of the rows of a day."""
        hours = hours_of(day, self._days.column(day, HOURS), self._digests)
        return found_in(day, hours, self._ledger.day(day), self._sizes().get(day, 0))

    def _sizes(self) -> dict[date, int]:
        """Bytes of what is stored of each day."""
        sizes = Counter(sizes_by_day(self._digests))
        sizes.update(self._ledger.sizes())
        return dict(sizes)

    def drop_old(self) -> None:
        """Remove what is too old to be asked for, by both clocks, and of which the rows of days say everything."""
        sizes, now = self._sizes(), self._clock.now()
        confirmed = {day for day, size in sizes.items() if self._days.confirmed(day, size)}
        closed = self._checkpoint.value.closed
        self._ledger.drop_old(now.date(), {day: closed[day] for day in confirmed & set(closed)})
        today = min(now, utc_now()).date()
        again = {hour.date() for hour in self._note.again}
        old = [
            day
            for day in sorted(sizes_by_day(self._digests))
            if today - day > KEEP
            and day not in again
            and day in confirmed
            and not overlaps(self._reading.backfill, beginning_of(day) - HOUR, end_of(day) + HOUR)
        ]
        self._digests.drop(old[:MAX_DROPPED_DAYS])
        if self._follower is not None:
            self._follower.drop_old(dict(self._note.follower_closed))
