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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import msgspec

from shared.checkpoint import Checkpoint, CheckpointStore, SubscriptionNote
from shared.clock import ServiceClock, iso, parse_wire
from shared.dead_letters import DeadLetters
from shared.errors import CollectorError, ConfigError, Permanent, Throttled, Transient
from shared.feed_ledger import FeedLedger
from shared.http import Limits
from shared.lease import Lease
from shared.ledger import GAP, Entry, Line, State
from shared.memory import Gate
from shared.pace import Pace
from shared.pipeline import Pipeline, Work
from shared.publisher import Abandoned, Patience, Publisher
from shared.runs import Runs, RunSummary
from shared.sinks import Sink
from shared.sources.management_api import WINDOW_REFUSED, Content, ManagementApi
from shared.stop import RunStopped, Stop
from shared.storage import SILENCE, Conflict, LedgerStore, Storage
from shared.windows import Plan, Window, plan

logger = logging.getLogger("m365.collector")

START_COOL_DOWN = timedelta(minutes=15)
RELISTS = 3
MAX_UNLISTED = 3


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a run may use, and how patient it is; see the settings of the same meaning.

    Attributes:
        run_seconds: no new work after this.
        close_seconds: to wait for acknowledgements after that.
        retry_base: first wait before a failed content is tried again.
        fetch_threads: contents fetched at the same time.
        bytes_in_flight: bodies in memory.
        max_unsettled: contents between fetch and ledger; a crash repeats at most these.
        senders: connections to the hub.
        patience: of the publisher.
        lease_seconds: length of the lease (Azure allows 15 to 60).
        lease_renewal: seconds between renewals.
        flush_every: seconds between ledger appends.
        limits: of one request.
        tries: attempts at a request in one run.
        backoff: seconds before the second attempt; doubles, with full jitter.
        throttle_backoff: seconds that everybody pauses where a throttled answer names none.
        send_timeout: seconds after which the Event Hubs SDK gives up one send.
        storage_silence: seconds without an answer after which a storage call is tried again, twice at most.
    """

    run_seconds: float = 960.0
    close_seconds: float = 90.0
    retry_base: timedelta = timedelta(minutes=10)
    fetch_threads: int = 4
    bytes_in_flight: int = 48_000_000
    max_unsettled: int = 256
    senders: int = 2
    patience: Patience = field(default_factory=Patience)
    lease_seconds: int = 30
    lease_renewal: float = 10.0
    flush_every: float = 0.5
    limits: Limits = field(default_factory=Limits)
    tries: int = 4
    backoff: float = 1.0
    throttle_backoff: float = 30.0
    send_timeout: float = 30.0
    storage_silence: float = SILENCE


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A (connection, source) pair: the unit of work, of state and of failure."""

    connection: str
    tenant_id: str
    source: str

    @property
    def state_key(self) -> str:
        """``<tenant id>/<source>``: renaming a connection loses nothing."""
        return f"{self.tenant_id}/{self.source}"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of.

    Attributes:
        api: builds the API client; given the run's ``Stop``.
        sink: where events go.
        pace: of the process, for that sink.
        abandoned: of the process.
        storage: the state account.
        clock: learns the service's time.
        on_progress: called now and then with the summary as it grows.
    """

    api: Callable[[Stop], ManagementApi]
    sink: Sink
    storage: Storage
    clock: ServiceClock
    pace: Pace = field(default_factory=Pace)
    abandoned: Abandoned = field(default_factory=Abandoned)
    on_progress: Callable[[RunSummary], None] = lambda _: None
    version: str = ""


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
            version=parts.version,
        )

    def execute(self) -> RunSummary:
        """Run, and write down how it went."""
        summary = self.summary
        runs: Runs | None = None
        try:
            runs = Runs(self._parts.storage, self._feed.tenant_id, self._feed.source)
            runs.write(summary)
            self._run(runs)
        except CollectorError as error:
            self._note(error)
        except Exception as error:
            logger.exception("the run of %s failed unexpectedly", self._feed.state_key)
            self._note(
                Transient(f"internal error ({type(error).__name__}: {error})", code="internal")
            )
        summary.ended = iso(datetime.now(UTC))
        summary.seconds = round(time.monotonic() - self._began, 3)
        if runs is not None:
            try:
                runs.write(summary)
            except CollectorError as error:
                logger.warning("the run row could not be closed: %s", error)
        return summary

    def _note(self, error: CollectorError) -> None:
        """Let the first error decide how the run ended."""
        if self.summary.error:
            return
        self.summary.error = str(error)
        self.summary.error_code = error.code
        orderly = isinstance(error, Throttled | RunStopped) or error.code == "deadline"
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
            return
        with lease:
            self._collect(checkpoints, lease, runs)

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
        # What ended the run comes before what this made impossible.
        if stop.error is not None:
            self._note(stop.error)
        if lease.lost:
            self._note(Transient("the lease was lost; another worker goes on", code="lease-lost"))
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
        self._checkpoints = checkpoints
        self._lease = lease
        self._stop = stop
        self._clock = parts.clock
        self._api = parts.api(stop)
        self._checkpoint = Checkpoint()
        self._loaded = False
        self._listed_to_now = False
        self._unlisted = 0
        self._last_run: datetime | None = None
        self._pipeline: Pipeline | None = None
        self._publisher: Publisher[Work] | None = None
        self._in_work: set[str] = set()
        self._problems: list[CollectorError] = []
        self._ledger = FeedLedger(
            LedgerStore(parts.storage.state, f"ledger/{feed.state_key}"),
            on_written=self._written,
            on_error=stop.set,
            flush_every=tuning.flush_every,
        )

    # -- loading

    def load(self) -> None:
        """Read the checkpoint and the ledger."""
        self._checkpoint = self._checkpoints.load()
        self._ledger.open(self._checkpoint.closed)
        self._loaded = True
        self._last_run = self._checkpoint.updated

    # -- collecting

    def collect(self) -> None:
        """Everything from the subscription to the last window."""
        problem = self._ensure_subscription()
        pipeline = self._make_pipeline()
        # What was listed before can be fetched whatever became of the subscription.
        self._submit_pending(pipeline)
        if problem is not None:
            self._problems.append(problem)
            return
        todo = plan(
            self._clock.now(),
            watermark=self._checkpoint.watermark,
            cursor=self._checkpoint.cursor,
            tail=self._checkpoint.tail,
        )
        self._record_gap(todo.gap, "not listed for more than seven days")
        self._list_all(todo)

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
            dead_letters=DeadLetters(self._parts.storage.dead_letters, self._feed.state_key),
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
        self._pipeline, self._publisher = pipeline, publisher
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

    def _submit_pending(self, pipeline: Pipeline) -> None:
        """Take up what earlier runs listed and did not finish, where it is due."""
        now = self._clock.now()
        for day, entry in self._ledger.pending():
            if entry.due(self._tuning.retry_base) > now:
                continue
            content = Content(
                id=entry.id,
                uri=entry.uri or self._api.content_uri(entry.id),
                created=entry.created,
                expires=entry.expires,
                day=day,
            )
            self._submit(pipeline, content, entry)

    def _submit(self, pipeline: Pipeline, content: Content, entry: Entry | None) -> None:
        if content.id not in self._in_work:
            self._in_work.add(content.id)
            pipeline.submit(Work(content, entry))

    def _list_all(self, todo: Plan) -> None:
        """List every window of the plan, moving the checkpoint after each.

        A window that cannot be listed does not keep the newer ones waiting, but the watermark stays before it.
        """
        for window in todo.recent:
            if not self._try_window(window):
                continue
            # The overlap lies behind the watermark, which a stored value from the future must not survive.
            mark = self._checkpoint.watermark
            if not self._unlisted and (mark is None or not window.end <= mark <= todo.end):
                self._save(watermark=window.end)
        self._listed_to_now = not self._unlisted
        if todo.last_call is None or self._try_window(todo.last_call):
            self._save(tail=todo.tail)
        if todo.slice is None or self._try_window(todo.slice):
            self._save(cursor=todo.cursor)

    def _try_window(self, window: Window) -> bool:
        """List a window; False where it could not be, which is tried again by the next run."""
        try:
            self._list_window(window)
        except (Transient, Permanent) as error:
            self._unlisted += 1
            self._problems.append(error)
            logger.warning("window %s to %s is not listed: %s", window.start, window.end, error)
            if self._unlisted >= MAX_UNLISTED or self._stop():
                raise
            return False
        return True

    def _list_window(self, window: Window) -> None:
        """List a window to its end; again from its start where the service lost the thread."""
        for attempt in range(RELISTS):
            try:
                self._list_pages(window)
            except Transient as error:
                if error.code not in ("page-loop", "AF20031") or attempt == RELISTS - 1:
                    raise
                logger.info("%s", error)
            except Permanent as error:
                if error.code not in WINDOW_REFUSED or attempt:
                    raise
                shorter = self._clamp(window)
                if shorter is None:
                    return
                window = shorter
            else:
                return

    def _clamp(self, window: Window) -> Window | None:
        """Cut off what left the horizon meanwhile, or lies in the service's future, and record what is lost by it."""
        oldest, now = self._api.horizon(), self._clock.now().replace(microsecond=0)
        never_listed = self._checkpoint.watermark or window.start
        if window.start < oldest and never_listed < oldest:
            start = max(window.start, never_listed)
            if start < min(oldest, window.end):
                self._record_gap(
                    Window(start, min(oldest, window.end)), "left the seven-day horizon unlisted"
                )
        start, end = max(window.start, oldest), min(window.end, now)
        return Window(start, end) if start < end else None

    def _list_pages(self, window: Window) -> None:
        pipeline = self._pipeline
        assert pipeline is not None  # noqa: S101 - made before anything is listed
        for page in self._api.pages(self._feed.source, window):
            self._stop.raise_if_set()
            try:
                fresh = self._write_down_new(page)
            except CollectorError as error:
                # Nothing may be fetched without the ledger, so there is no point in listing on.
                self._stop.set(error)
                raise
            self._summary.listed += len(fresh)
            for content in fresh:
                self._submit(pipeline, content, None)
            self._progress()

    def _write_down_new(self, page: list[Content]) -> list[Content]:
        """Write ``listed`` for the contents of a page that the ledger does not know, and return these."""
        known = [(c, self._ledger.entry(c.day, c.id)) for c in page]
        fresh = {content.id: content for content, entry in known if entry is None}
        self._ledger.write((c.day, self._listed_line(c)) for c in fresh.values())
        return list(fresh.values())

    def _listed_line(self, content: Content) -> Line:
        return Line(
            id=content.id,
            state=State.LISTED.value,
            created=content.created,
            expires=content.expires,
            uri="" if content.uri == self._api.content_uri(content.id) else content.uri,
            run=self._summary.run,
            time=int(self._clock.now().timestamp()),
        )

    def _record_gap(self, gap: Window | None, reason: str) -> None:
        """Write a range down that was never listed, day by day, before the watermark passes it."""
        if gap is None:
            return
        self._ledger.write((day, self._gap_line(piece, reason)) for day, piece in _by_day(gap))
        self._summary.gap_seconds += int((gap.end - gap.start).total_seconds())
        logger.error(
            "gap in %s: nothing between %s and %s was listed (%s)",
            self._feed.state_key,
            iso(gap.start),
            iso(gap.end),
            reason,
        )

    def _gap_line(self, gap: Window, reason: str) -> Line:
        return Line(
            id=f"gap:{iso(gap.start)}",
            state=GAP,
            created=iso(gap.start),
            expires=iso(gap.end),
            run=self._summary.run,
            time=int(self._clock.now().timestamp()),
            reason=reason,
        )

    # -- the subscription

    def _ensure_subscription(self) -> CollectorError | None:
        """Make sure that the content type is subscribed; returns why listing makes no sense yet."""
        note = self._checkpoint.subscription
        found = self._api.subscriptions().get(self._feed.source)
        now = self._clock.now().replace(microsecond=0)
        if found is None:
            return self._start_subscription(note, now)
        if found.status != "disabled":
            # An entry without a status is unknown, not off; listing will tell.
            if note.disabled is not None and note.disabled < now:
                self._record_gap(Window(note.disabled, now), "the subscription was off")
            self._save(subscription=msgspec.structs.replace(note, enabled=now, disabled=None))
            return None
        if note.enabled is None:
            return self._start_subscription(note, now)
        # It was on and somebody turned it off: that is an administrator's word, so it is reported, not undone.
        since = note.disabled or note.enabled
        self._save(subscription=msgspec.structs.replace(note, disabled=since))
        return ConfigError(
            f"the subscription for {self._feed.source} was disabled in the tenant after it had been on. If that was "
            "not intended, start it again (POST .../subscriptions/start) or delete this feed's checkpoint; nothing "
            "new is collected until then",
            code="subscription-disabled",
        )

    def _start_subscription(self, note: SubscriptionNote, now: datetime) -> CollectorError | None:
        """Start what is missing, once in 15 minutes at most; the attempt is remembered before it is made."""
        if note.attempt is not None and now - note.attempt < START_COOL_DOWN:
            return Throttled(
                f"the subscription for {self._feed.source} was started less than 15 minutes ago and is not on yet",
                code="subscription-pending",
            )
        self._save(subscription=msgspec.structs.replace(note, attempt=now))
        self._api.start(self._feed.source)
        logger.info("started the subscription for %s", self._feed.source)
        if note.enabled is not None:
            self._record_gap(
                Window(note.enabled, now) if note.enabled < now else None,
                "the subscription was missing",
            )
        self._save(
            subscription=msgspec.structs.replace(note, attempt=now, enabled=now, disabled=None)
        )
        return None

    # -- the end

    def _save(
        self,
        *,
        watermark: datetime | None = None,
        cursor: datetime | None = None,
        tail: datetime | None = None,
        subscription: SubscriptionNote | None = None,
        closed: dict[date, int] | None = None,
    ) -> None:
        """Move the checkpoint; one that did not change is not written."""
        old = self._checkpoint
        new = msgspec.structs.replace(
            old,
            watermark=watermark or old.watermark,
            cursor=cursor or old.cursor,
            tail=tail or old.tail,
            subscription=subscription or old.subscription,
            closed=old.closed if closed is None else closed,
        )
        self._checkpoint = new
        if self._lease.lost:
            return
        self._checkpoints.save(
            msgspec.structs.replace(
                new, hub=self._summary.hub, run=self._summary.run, updated=self._clock.now()
            ),
            lease=self._lease.id,
        )

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
        return self._problems

    def _step(self, step: Callable[[], None]) -> bool:
        """Do one thing at the end of a run; False where it failed, which is noted."""
        try:
            step()
        except Conflict as error:
            logger.info("another worker has written this feed's state: %s", error)
        except CollectorError as error:
            self._problems.append(error)
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
        closed = self._ledger.settled_days(self._checkpoint.closed)
        if closed != self._checkpoint.closed:
            self._save(closed=closed)

    def _drop_old(self) -> None:
        self._ledger.drop_old(self._clock.now().date(), dict(self._checkpoint.closed))

    def _write_days(self, runs: Runs) -> None:
        now = self._clock.now()
        runs.write_days(self._ledger.counts(), now)
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
        if self._checkpoint.watermark is not None:
            summary.watermark = iso(self._checkpoint.watermark)
        self._progress()
        if self._pipeline is not None and self._publisher is not None:
            pipeline = self._pipeline
            summary.failed = len(pipeline.failures.lines)
            summary.lost = pipeline.lost
            summary.dead_letters = pipeline.dead
            summary.batches = self._publisher.batches
            summary.sink_busy = self._publisher.busy
        summary.caught_up = self._listed_to_now and not pending


def _by_day(window: Window) -> Iterable[tuple[date, Window]]:
    """Cut a range at midnights (UTC)."""
    start = window.start
    while start < window.end:
        midnight = datetime.combine(start.date() + timedelta(days=1), datetime.min.time(), UTC)
        end = min(midnight, window.end)
        yield start.date(), Window(start, end)
        start = end


def _age(created: str, now: datetime) -> int:
    try:
        return max(0, int((now - parse_wire(created)).total_seconds()))
    except ValueError:
        return 0
