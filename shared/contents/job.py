"""The job of a feed of contents: list what is new, write it down, fetch and publish it, write down what became of it.

In the order of the code: nothing is fetched before it is in the ledger. The watermark moves over a range only when all
of the range was listed and written down. A content is delivered only by a line written after Event Hubs acknowledged
it.

Tests: tests/faults/test_listing.py, tests/faults/test_kills.py, tests/faults/test_completeness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contents.content import Content, Gate
from shared.contents.listing import Listing
from shared.contents.pipeline import Pipeline
from shared.contents.work import Work
from shared.days.counted import facts_of
from shared.days.gaps import Gaps
from shared.errors import CollectorError, Permanent, Throttled, Transient
from shared.run.kept import Known
from shared.state.append_blobs import LedgerStore
from shared.state.dead_letters import DeadLetters
from shared.state.feed_ledger import FeedLedger
from shared.state.waiting import WaitingIndex
from shared.times import iso, parse_wire

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.contents.content import ContentApi, ContentPolicy
    from shared.run.context import RunContext
    from shared.state.ledger import Entry


class ContentJob:
    """The state of one run of a feed of contents.

    Args:
        run: the run.
        api: what lists and fetches.
        policy: how it is listed.
        gate: knows whether it is listed at all, where that is in doubt.
    """

    def __init__(
        self,
        run: RunContext,
        api: ContentApi,
        policy: ContentPolicy,
        *,
        gate: Gate | None = None,
    ) -> None:
        feed, parts, tuning = run.feed, run.parts, run.tuning
        self._run = run
        self._parts = parts
        self._tuning = tuning
        self._summary = run.summary
        self._stop = run.stop
        self._clock = parts.clock
        self._checkpoint = run.checkpoint
        self._contents = api
        self._policy = policy
        self._gate = gate or Gate()
        self.asker = api.asker
        self.problems: list[CollectorError] = []
        self._pipeline: Pipeline | None = None
        self._in_work: set[str] = set()
        self._left_out = False
        self._ledger = FeedLedger(
            LedgerStore(parts.storage.state, f"ledger/{feed.state_key}"),
            retention=policy.horizon,
            on_written=self._written,
            on_error=run.stop.set,
            flush_every=tuning.flush_every,
            waiting=WaitingIndex(parts.storage.state, feed.state_key),
        )
        self._dead_letters = DeadLetters(parts.storage.dead_letters, feed.state_key)
        self._days = run.days(policy.days)
        self._gaps = Gaps(self._ledger, parts.clock, run.summary)
        self._listing = Listing(
            run,
            api=api,
            policy=policy,
            ledger=self._ledger,
            gaps=self._gaps,
            days=self._days,
            on_new=self._take_up,
            on_pending=self._submit_if_due,
        )

    def load(self, known: Known) -> None:
        """Read the ledger, and what is known of the days."""
        checkpoint = self._checkpoint.value
        self._ledger.open(checkpoint.closed, known.ledger)
        self._days.load(checkpoint, self._clock.now(), self._ledger.sizes(), known.days)

    def known(self) -> Known:
        """The ledger as far as it was read, and what is known of the days."""
        return Known(ledger=self._ledger.loaded(), days=self._days)

    # -- collecting

    def collect(self) -> None:
        """Everything from the first question, whether the service lists at all, to the last window."""
        try:
            problem = self._gate.ensure(self._gaps)
        except (Transient, Throttled, Permanent) as error:
            # Not knowing it is no reason not to fetch and not to list; listing will tell.
            self.problems.append(error)
            problem = None
        self._pipeline = Pipeline(
            self._run,
            api=self._contents,
            ledger=self._ledger,
            dead_letters=self._dead_letters,
            stop=self._stop,
            threads=self._tuning.fetch_threads,
            content=self._content,
        )
        # What was listed before can be fetched whether or not it lists now.
        self._submit_pending()
        if problem is not None:
            self.problems.append(problem)
            return
        try:
            self._listing.list_all()
            if self._in_work:
                # Fetching may go on for minutes. Else the run's end writes what was reached.
                self._checkpoint.write()
        except CollectorError as error:
            self._gate.refused(error, self._gaps)
            raise
        finally:
            for one in self._listing.refused:
                self._gate.refused(one, self._gaps)

    def _written(self, ids: list[str]) -> None:
        if self._pipeline is not None:
            self._pipeline.written(ids)
            self._progress()

    def _progress(self) -> None:
        pipeline, summary = self._pipeline, self._summary
        if pipeline is not None:
            summary.delivered, summary.records = pipeline.delivered, pipeline.records
            summary.bytes, summary.claim_checks = pipeline.bytes, pipeline.claim_checks
        self._parts.on_progress(summary)

    def _submit_pending(self) -> None:
        """Take up what earlier runs listed and did not finish, where it is due."""
        for day, entry in self._ledger.pending():
            self._submit_if_due(self._content(day, entry), entry)

    def _content(self, day: date, entry: Entry) -> Content:
        return Content(
            id=entry.id,
            uri=entry.uri or self._contents.content_uri(entry.id),
            created=entry.created,
            expires=entry.expires,
            day=day,
        )

    def _submit_if_due(self, content: Content, entry: Entry) -> None:
        now = self._clock.now()
        if entry.due(self._tuning.retry_base, now) <= now:
            self._submit(content, entry)

    def _take_up(self, contents: list[Content]) -> None:
        """Collect what was just listed for the first time."""
        self._summary.listed += len(contents)
        for content in contents:
            if not content.malformed:
                self._submit(content, None)
        self._progress()

    def _submit(self, content: Content, entry: Entry | None) -> None:
        if content.id in self._in_work or self._pipeline is None:
            return
        if self._pipeline.submit(Work(content, entry)):
            self._in_work.add(content.id)
        else:
            self._left_out = True

    # -- the end

    def drain(self) -> None:
        """Wait for what is being fetched and published."""
        if self._pipeline is None:
            return
        while self._left_out and not self._stop():
            if self._pipeline.has_room:
                self._left_out = False
                self._submit_pending()
            else:
                self._stop.wait(0.1)
        self._pipeline.finish()
        try:
            self._pipeline.publisher.close(self._tuning.close_seconds)
        finally:
            self._pipeline.write_attempts(last=True)

    def write_down(self) -> None:
        """Append what the ledger was told."""
        self._ledger.close(patience=min(30.0, self._tuning.close_seconds))

    def close_checkpoint(self) -> None:
        """Note the days that need not be read again, and what was looked at."""
        closed = self._ledger.settled_days(self._checkpoint.value.closed)
        if closed != self._checkpoint.value.closed:
            self._checkpoint.move_soon(closed=closed)
        self._ledger.keep_waiting()
        self._days.keep(self._checkpoint, self._clock.now())

    def sum_up(self) -> None:
        """Say in the summary what is left, and what became of the rest."""
        summary, now = self._summary, self._clock.now()
        pending = self._ledger.pending()
        summary.pending = len(pending)
        waits = self._listing.waits_since
        oldest = [entry.created for _, entry in pending] + ([iso(waits)] if waits else [])
        summary.lag_seconds = max((_age(each, now) for each in oldest), default=0)
        if self._checkpoint.value.watermark is not None:
            summary.watermark = iso(self._checkpoint.value.watermark)
            if not self._listing.reached_now:
                # What was not listed is waiting as well, and nobody can say how much of it there is.
                summary.lag_seconds = max(summary.lag_seconds, _age(summary.watermark, now))
        self._progress()
        if self._pipeline is not None:
            pipeline = self._pipeline
            summary.failed = pipeline.failures.failed
            summary.lost = pipeline.lost
            summary.dead_letters = pipeline.dead + self._listing.dead
            summary.batches = pipeline.publisher.batches
            summary.sink_busy = pipeline.publisher.busy
        summary.caught_up = self._listing.reached_now and not pending and waits is None
        # After what ended the run, which may have been the cause.
        self.problems += self._listing.problems
        if self._gate.doubt is not None:
            self.problems.append(self._gate.doubt)
        if self._pipeline is not None:
            found = (self._pipeline.unkept, self._pipeline.failures.problem)
            self.problems += [each for each in found if each is not None]

    def write_days(self, problem: CollectorError | None) -> None:
        """Bring the rows of the days up to date."""
        days = set(self._days.owed(self._ledger.sizes()))
        # How large the ledger is that another worker wrote to as well is not known here.
        days |= {day for day, each in self._ledger.loaded().items() if each.appended}
        found = {day: facts_of(self._ledger.glance(day)) for day in days}
        self._days.write(found, self._clock.now(), problem)

    def drop_old(self) -> None:
        """Remove days of the ledger that nothing can ask for any more, and whose rows say all of them."""
        closed = self._checkpoint.value.closed
        self._ledger.drop_old(
            self._clock.now().date(),
            {day: size for day, size in closed.items() if self._days.confirmed(day, size)},
            # A replay has to find what is known of them.
            self._dead_letters.days_among,
        )


def _age(created: str, now: datetime) -> int:
    try:
        return max(0, int((now - parse_wire(created)).total_seconds()))
    except ValueError:
        return 0
