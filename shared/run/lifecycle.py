"""The life of a run of one feed: its row, its lease, its checkpoint, its end. What is done in between is its job.

A run holds the feed's lease while it works. A deadline may end it, a lost lease, a failing hub or storage account, or a
refused credential. Whatever ends it, what was acknowledged is written down. Everything else is left exactly where the
next run finds it. What went wrong is in the run's row, the first cause first.

Tests: tests/faults/test_lease.py, tests/faults/test_deadline.py, tests/faults/test_kills.py.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared import policy
from shared.errors import CollectorError, Throttled, textless
from shared.run.context import Feed, Job, Parts, RunContext, Tuning
from shared.run.runs import Runs
from shared.state.checkpoint import CheckpointStore, HeldCheckpoint
from shared.state.failures import Conflict
from shared.state.lease import Lease
from shared.state.run_summary import RunSummary
from shared.stop import RunStopped, Stop
from shared.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("m365.collector")

SILENT_WORKER = timedelta(hours=1)
MUCH = 60.0
"""Seconds that the service's clock may be off by more, or less, than is noted."""


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
            logger.exception(
                "the run of %s failed unexpectedly", self._feed.state_key, exc_info=textless(error)
            )
            self._note(policy.error("internal", detail=type(error).__name__))
        summary.remark = self._parts.sink.remark
        summary.ended = iso(datetime.now(UTC))
        summary.seconds = round(time.monotonic() - self._began, 3)
        if runs is not None:
            self._write_row(runs)
        return summary

    def _write_row(self, runs: Runs) -> None:
        """Write the run's row; a report that cannot be written is no reason not to collect."""
        kept = self._parts.kept
        try:
            kept.quiet = runs.write(self.summary, kept.quiet)
        except CollectorError as error:
            logger.warning("the run's row could not be written: %s", error)
        except Exception as error:
            # Raised through, it would end the runs of other feeds with this one.
            logger.exception("the run's row could not be written", exc_info=textless(error))

    def _note(self, error: CollectorError) -> None:
        """Let the first error decide how the run ended."""
        if self.summary.error:
            return
        self.summary.error = str(error)
        self.summary.error_code = error.code
        orderly = error.harmless or isinstance(error, Throttled | RunStopped)
        self.summary.status = "incomplete" if orderly else "failed"

    def _run(self, runs: Runs) -> None:
        state = self._parts.storage.state
        name = f"checkpoints/{self._feed.state_key}.json"
        checkpoints = CheckpointStore(state, name)
        lease = Lease(
            state,
            name,
            seconds=self._tuning.lease_seconds,
            renew_every=self._tuning.lease_renewal,
        )
        if not _take(lease, checkpoints):
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
        checkpoint = HeldCheckpoint(
            checkpoints,
            lease,
            run=self.summary.run,
            hub=self.summary.hub,
            now=self._clock.now,
        )
        held = _Held(self._feed, self._parts, self._tuning, self.summary, checkpoint, stop)
        try:
            held.load()
            held.job.collect()
        except RunStopped:
            pass
        except Conflict as error:
            # Somebody else wrote the checkpoint: it is theirs now, and so is the rest of the work.
            logger.info("another worker has written this feed's state: %s", error)
            stop.set(policy.error("superseded", text="another worker goes on with this feed"))
        except CollectorError as error:
            stop.set(error)
        finally:
            problems = held.finish(runs)
        # What ended the run comes before what this made impossible: a lease is also lost where storage does not answer.
        if stop.error is not None:
            self._note(stop.error)
        for problem in problems:
            if not problem.harmless:
                self._note(problem)
        if lease.lost:
            self._note(policy.error("lease-lost"))
        for problem in problems:
            self._note(problem)
        if self.summary.status == "running":
            self.summary.status = "succeeded" if self.summary.caught_up else "incomplete"


class _Held:
    """A run while it holds the lease: its job, begun and ended in order."""

    def __init__(
        self,
        feed: Feed,
        parts: Parts,
        tuning: Tuning,
        summary: RunSummary,
        checkpoint: HeldCheckpoint,
        stop: Stop,
    ) -> None:
        self._feed = feed
        self._summary = summary
        self._clock = parts.clock
        self._checkpoint = checkpoint
        self._stop = stop
        self._kept = parts.kept
        self._loaded = False
        self._last_run: datetime | None = None
        self.job: Job = parts.job(
            RunContext(
                feed=feed,
                parts=parts,
                tuning=tuning,
                summary=summary,
                checkpoint=checkpoint,
                stop=stop,
            )
        )

    def load(self) -> None:
        """Read the checkpoint and what the job needs."""
        self._checkpoint.load()
        self._clock.recall(self._checkpoint.value.offset)
        self.job.load(self._kept.take(self._checkpoint.etag))
        self._loaded = True
        self._last_run = self._checkpoint.value.updated

    def finish(self, runs: Runs) -> list[CollectorError]:
        """Wait for acknowledgements, write down what became of everything; returns what went wrong on the way."""
        job, summary = self.job, self._summary
        self._step(job.drain)
        stored = self._step(job.write_down)
        if self._loaded:
            # Where storage does not answer, each further step would wait in vain; the next run makes up for them.
            stored = stored and self._step(self._close_checkpoint)
            stored = stored and self._step(self._checkpoint.write)
            job.sum_up()
            stored = stored and self._step(lambda: self._write_days(runs))
            # What the stored checkpoint does not say was done is done again, and needs what would be removed.
            if stored and self._checkpoint.stored and self._step(job.drop_old):
                self._kept.leave(self._checkpoint.etag, job.known())
        summary.requests, summary.throttled = job.asker.requests, job.asker.throttled
        return job.problems

    def _close_checkpoint(self) -> None:
        self.job.close_checkpoint()
        if abs(self._clock.offset - self._checkpoint.value.offset) > MUCH:
            self._checkpoint.move_soon(offset=round(self._clock.offset))

    def _write_days(self, runs: Runs) -> None:
        if self._checkpoint.lost:
            # Whoever has the feed now knows more of its days.
            return
        now, last_run = self._clock.now(), self._last_run
        wrong = [each for each in self.job.problems if not each.harmless]
        self.job.write_days(self._stop.error or next(iter(wrong or self.job.problems), None))
        if last_run is None and self._checkpoint.value.updated is not None:
            # A first run has nothing that is old. Where it lost its checkpoint, the next day's run sees to it.
            return
        if last_run is None or last_run.date() < now.date():
            runs.drop_old(now)

    def _step(self, step: Callable[[], None]) -> bool:
        """Do one thing at the end of a run; False where it failed, which is noted."""
        try:
            step()
        except Conflict as error:
            logger.info("another worker has written this feed's state: %s", error)
        except CollectorError as error:
            self.job.problems.append(error)
            return False
        except Exception as error:
            # Whatever went wrong here, what was acknowledged still has to be written down.
            logger.exception(
                "the run of %s could not end in order",
                self._feed.state_key,
                exc_info=textless(error),
            )
            self.job.problems.append(policy.error("internal", detail=type(error).__name__))
            return False
        return True


def _take(lease: Lease, checkpoints: CheckpointStore) -> bool:
    """Take the lease of a feed; False where somebody else has it."""
    try:
        return lease.acquire()
    except CollectorError as error:
        if error.status != 404:
            raise
    # A feed's first run: the blob that carries the lease is made for it.
    checkpoints.make()
    return lease.acquire()
