"""One run of one feed: list what is new, write it down, fetch and publish it, write down what became of it.

Guarantees, in the order of the code: nothing is fetched before it is in the ledger; the watermark moves over a range
only when all of the range was listed and written down; a content is delivered only by a line written after Event Hubs
acknowledged it; whatever ends a run (deadline, lost lease, a failing hub or storage account, a refused credential),
what was acknowledged is written down and everything else is left exactly where the next run finds it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from shared import policy
from shared.checkpoint import CheckpointStore, HeldCheckpoint
from shared.clock import iso, parse_wire
from shared.dead_letters import DeadLetters
from shared.errors import CollectorError, Throttled, Transient
from shared.feed import Feed, Parts, Tuning
from shared.feed_ledger import FeedLedger
from shared.gaps import Gaps
from shared.lease import Lease
from shared.ledger import Entry
from shared.listing import Listing
from shared.memory import Gate
from shared.pipeline import Pipeline, Work
from shared.policy import Action
from shared.publisher import Publisher
from shared.runs import Runs, RunSummary, ended_days
from shared.sources.management_api import Content
from shared.stop import RunStopped, Stop
from shared.storage import Conflict, LedgerStore
from shared.subscription import SubscriptionKeeper

logger = logging.getLogger("m365.collector")

SILENT_WORKER = timedelta(hours=1)


def run_feed(feed: Feed, parts: Parts, tuning: Tuning | None = None) -> RunSummary:
    """Run a feed once. Never raises for what can go wrong in a run: the summary says it.

    Args:
        feed: which.
        parts: what the run is made of.
        tuning: what it may use.
    """
    run = FeedRun(feed, parts, tuning or Tuning())
    return run.execute()


class FeedRun:
    """One run of one feed; see ``run_feed``."""

    def __init__(self, feed: Feed, parts: Parts, tuning: Tuning) -> None:
        self._feed = feed
        self._parts = parts
        self._tuning = tuning
        self._clock = parts.clock
        self._began = time.monotonic()
        self.summary = RunSummary(
            connection=feed.connection,
            tenant_id=feed.tenant_id,
            source=feed.source,
            run=uuid.uuid4().hex[:16],
            started=iso(datetime.now(UTC)),
            hub=parts.sink.name,
            credential_expires=iso(parts.credential_expires) if parts.credential_expires else "",
            version=parts.version,
        )

    def execute(self) -> RunSummary:
        """Run, and write down how it went."""
        summary = self.summary
        runs: Runs | None = None
        try:
            runs = Runs(self._parts.storage, self._feed.tenant_id, self._feed.source)
            self._write_row(runs)
            self._run(runs)
        except CollectorError as error:
            self._note(error)
        except Exception as error:
            logger.exception("the run of %s failed unexpectedly", self._feed.state_key)
            self._note(policy.error("internal", detail=type(error).__name__))
        summary.ended = iso(datetime.now(UTC))
        summary.seconds = round(time.monotonic() - self._began, 3)
        if runs is not None:
            self._write_row(runs)
        return summary

    def _write_row(self, runs: Runs) -> None:
        """Write the run's row; a report that cannot be written is no reason not to collect."""
        try:
            runs.write(self.summary)
        except CollectorError as error:
            logger.warning("the run's row could not be written: %s", error)

    def _note(self, error: CollectorError) -> None:
        """Let the first error decide how the run ended."""
        if self.summary.error:
            return
        self.summary.error = str(error)
        self.summary.error_code = error.code
        orderly = isinstance(error, Throttled | RunStopped) or _goes_on(error)
        self.summary.status = "incomplete" if orderly else "failed"

    def _run(self, runs: Runs) -> None:
        state = self._parts.storage.state
        name = f"checkpoints/{self._feed.state_key}.json"
        checkpoints = CheckpointStore(state, name)
        checkpoints.ensure()
        lease = Lease(
            state,
            name,
            seconds=self._tuning.lease_seconds,
            renew_every=self._tuning.lease_renewal,
        )
        if not lease.acquire():
            self.summary.status = "skipped"
            logger.info("another worker has %s", self._feed.state_key)
            self._check_the_other_worker(checkpoints.load().updated)
            return
        with lease:
            self._collect(checkpoints, lease, runs)

    def _check_the_other_worker(self, updated: datetime | None) -> None:
        """Say so when the worker that holds the lease has long done nothing: nobody collects this feed then."""
        silent = self._clock.now() - updated if updated is not None else timedelta()
        if silent > SILENT_WORKER:
            raise policy.error("lease-stuck", detail=f"for {silent}")

    def _collect(self, checkpoints: CheckpointStore, lease: Lease, runs: Runs) -> None:
        stop = Stop(self._tuning.run_seconds)
        stop.watch(lambda: lease.lost)
        work = _Work(self._feed, self._parts, self._tuning, self.summary, checkpoints, lease, stop)
        try:
            work.load()
            work.collect()
        except RunStopped:
            pass
        except Conflict as error:
            # Somebody else wrote the checkpoint: it is theirs now, and so is the rest of the work.
            logger.info("another worker has written this feed's state: %s", error)
            stop.set(RunStopped("another worker goes on with this feed", code="superseded"))
        except CollectorError as error:
            self._note(error)
            stop.set(error)
        finally:
            problems = work.finish(runs)
        # What ended the run comes before what this made impossible: a lease is also lost where storage does not answer.
        if stop.error is not None:
            self._note(stop.error)
        for problem in problems:
            if not _goes_on(problem):
                self._note(problem)
        if lease.lost:
            self._note(policy.error("lease-lost"))
        for problem in problems:
            self._note(problem)
        if self.summary.status == "running":
            self.summary.status = "succeeded" if self.summary.caught_up else "incomplete"


class _Work:
    """The state of one run while it holds the lease."""

    def __init__(
        self,
        feed: Feed,
        parts: Parts,
        tuning: Tuning,
        summary: RunSummary,
        checkpoints: CheckpointStore,
        lease: Lease,
        stop: Stop,
    ) -> None:
        self._feed = feed
        self._parts = parts
        self._tuning = tuning
        self._summary = summary
        self._stop = stop
        self._clock = parts.clock
        self._api = parts.api(stop)
        self._loaded = False
        self._last_run: datetime | None = None
        self._pipeline: Pipeline | None = None
        self._publisher: Publisher[Work] | None = None
        self._in_work: set[str] = set()
        self._problems: list[CollectorError] = []
        self._checkpoint = HeldCheckpoint(
            checkpoints, lease, run=summary.run, hub=summary.hub, now=parts.clock.now
        )
        self._ledger = FeedLedger(
            LedgerStore(parts.storage.state, f"ledger/{feed.state_key}"),
            on_written=self._written,
            on_error=stop.set,
            flush_every=tuning.flush_every,
        )
        self._dead_letters = DeadLetters(parts.storage.dead_letters, feed.state_key)
        gaps = Gaps(self._ledger, parts.clock, summary)
        self._subscription = SubscriptionKeeper(
            feed.source,
            api=self._api,
            checkpoint=self._checkpoint,
            gaps=gaps,
            clock=parts.clock,
        )
        self._listing = Listing(
            feed.source,
            run=summary.run,
            api=self._api,
            ledger=self._ledger,
            checkpoint=self._checkpoint,
            gaps=gaps,
            clock=parts.clock,
            stop=stop,
            on_new=self._take_up,
            on_pending=self._submit_if_due,
            dead_letters=self._dead_letters,
        )

    def load(self) -> None:
        """Read the checkpoint and the ledger."""
        self._checkpoint.load()
        self._ledger.open(self._checkpoint.value.closed)
        self._loaded = True
        self._last_run = self._checkpoint.value.updated

    # -- collecting

    def collect(self) -> None:
        """Everything from the subscription to the last window."""
        try:
            problem = self._subscription.ensure()
        except (Transient, Throttled) as error:
            # Not knowing the subscription is no reason not to fetch and not to list; listing will tell.
            self._problems.append(error)
            problem = None
        self._pipeline = self._make_pipeline()
        # What was listed before can be fetched whatever became of the subscription.
        self._submit_pending()
        if problem is not None:
            self._problems.append(problem)
            return
        self._listing.list_all()

    def _make_pipeline(self) -> Pipeline:
        pipeline: Pipeline
        publisher: Publisher[Work] = Publisher(
            self._parts.sink,
            on_settled=lambda delivery: pipeline.settled(delivery),
            on_oversize=lambda delivery, event: pipeline.oversize(delivery, event),
            pace=self._parts.pace,
            abandoned=self._parts.abandoned,
            senders=self._tuning.senders,
            patience=self._tuning.patience,
            on_failed=self._stop.set,
        )
        pipeline = Pipeline(
            api=self._api,
            ledger=self._ledger,
            publisher=publisher,
            dead_letters=self._dead_letters,
            gate=Gate(self._tuning.bytes_in_flight, self._stop),
            stop=self._stop,
            clock=self._clock,
            run=self._summary.run,
            properties={
                "connection": self._feed.connection,
                "tenant_id": self._feed.tenant_id,
                "source": self._feed.source,
            },
            threads=self._tuning.fetch_threads,
            max_unsettled=self._tuning.max_unsettled,
        )
        self._publisher = publisher
        return pipeline

    def _written(self, ids: list[str]) -> None:
        if self._pipeline is not None:
            self._pipeline.written(ids)
            self._progress()

    def _progress(self) -> None:
        pipeline, summary = self._pipeline, self._summary
        if pipeline is not None:
            summary.delivered, summary.records = pipeline.delivered, pipeline.records
            summary.bytes = pipeline.bytes
        self._parts.on_progress(summary)

    def _submit_pending(self) -> None:
        """Take up what earlier runs listed and did not finish, where it is due."""
        for day, entry in self._ledger.pending():
            content = Content(
                id=entry.id,
                uri=entry.uri or self._api.content_uri(entry.id),
                created=entry.created,
                expires=entry.expires,
                day=day,
            )
            self._submit_if_due(content, entry)

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
        if content.id not in self._in_work and self._pipeline is not None:
            self._in_work.add(content.id)
            self._pipeline.submit(Work(content, entry))

    # -- the end

    def finish(self, runs: Runs) -> list[CollectorError]:
        """Wait for acknowledgements, write down what became of everything; returns what went wrong on the way."""
        self._step(self._drain)
        stored = self._step(self._close_ledger)
        if self._loaded:
            # Where storage does not answer, each further step would wait in vain; the next run makes up for them.
            stored = stored and self._step(self._close_checkpoint)
            self._sum_up()
            stored = stored and self._step(lambda: self._write_days(runs))
            stored = stored and self._step(self._drop_old)
        self._summary.requests = self._api.requests
        self._summary.throttled = self._api.throttled
        return self._problems + self._listing.problems

    def _step(self, step: Callable[[], None]) -> bool:
        """Do one thing at the end of a run; False where it failed, which is noted."""
        try:
            step()
        except Conflict as error:
            logger.info("another worker has written this feed's state: %s", error)
        except CollectorError as error:
            self._problems.append(error)
            return False
        except Exception as error:
            # Whatever went wrong here, what was acknowledged still has to be written down.
            logger.exception("the run of %s could not end in order", self._feed.state_key)
            self._problems.append(policy.error("internal", detail=type(error).__name__))
            return False
        return True

    def _drain(self) -> None:
        if self._pipeline is None or self._publisher is None:
            return
        self._pipeline.finish()
        try:
            self._publisher.close(self._tuning.close_seconds)
        finally:
            for work, line in self._pipeline.attempts():
                self._ledger.settle(work.content.day, line)

    def _close_ledger(self) -> None:
        self._ledger.close(patience=min(30.0, self._tuning.close_seconds))

    def _close_checkpoint(self) -> None:
        closed = self._ledger.settled_days(self._checkpoint.value.closed)
        if closed != self._checkpoint.value.closed:
            self._checkpoint.move(closed=closed)

    def _drop_old(self) -> None:
        self._ledger.drop_old(self._clock.now().date(), dict(self._checkpoint.value.closed))

    def _write_days(self, runs: Runs) -> None:
        now, watermark = self._clock.now(), self._checkpoint.value.watermark
        for day in ended_days(self._checkpoint.found.watermark, watermark):
            # It may be complete now, although nothing of it was listed again.
            self._ledger.day(day)
        runs.write_days(self._ledger.counts(), now, watermark)
        if self._last_run is None or self._last_run.date() < now.date():
            runs.drop_old(now)

    def _sum_up(self) -> None:
        summary, now = self._summary, self._clock.now()
        pending = self._ledger.pending()
        counts = self._ledger.counts()
        summary.pending = len(pending)
        summary.days = {day.isoformat(): each for day, each in sorted(counts.items())}
        oldest = min((entry.created for _, entry in pending), default="")
        summary.lag_seconds = _age(oldest, now)
        if self._checkpoint.value.watermark is not None:
            summary.watermark = iso(self._checkpoint.value.watermark)
            if not self._listing.reached_now:
                # What was not listed is waiting as well, and nobody can say how much of it there is.
                summary.lag_seconds = max(summary.lag_seconds, _age(summary.watermark, now))
        self._progress()
        if self._pipeline is not None and self._publisher is not None:
            pipeline = self._pipeline
            summary.failed = len(pipeline.failures.lines)
            summary.lost = pipeline.lost
            summary.dead_letters = pipeline.dead + self._listing.dead
            summary.batches = self._publisher.batches
            summary.sink_busy = self._publisher.busy
        summary.caught_up = self._listing.reached_now and not pending


def _goes_on(error: CollectorError) -> bool:
    """Whether nothing is wrong: the next run, or another worker, goes on."""
    return policy.rule_of(error).action is Action.CARRY_ON


def _age(created: str, now: datetime) -> int:
    try:
        return max(0, int((now - parse_wire(created)).total_seconds()))
    except ValueError:
        return 0
