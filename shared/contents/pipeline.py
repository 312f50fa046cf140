"""Fetch, split and publish contents in parallel, and write down what became of each.

Nothing is fetched that is not in the ledger. A content is written down as delivered only after all of its events were
acknowledged. A failure of one content never stops its siblings. Bodies in memory are bounded by bytes, and contents
between fetch and ledger by number, which bounds what a crash can repeat.

Tests: tests/faults/test_one_bad_content.py, tests/faults/test_kills.py, tests/contents/test_memory.py.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING

from shared import policy
from shared.contents.failures import Failures, loss_of
from shared.contents.memory import Gate
from shared.contents.reader import ContentReader, Unreadable
from shared.contents.refusals import Refusals
from shared.contents.witnesses import Witnesses
from shared.contents.work import BACKLOG, LAST, Work, turn_of
from shared.errors import (
    AuthError,
    CollectorError,
    ConfigError,
    NoToken,
    SinkError,
    Throttled,
    textless,
)
from shared.publish.format import RECORD as RECORD_EVENT
from shared.state.dead_letters import CONTENT, RECORD, DeadLetters
from shared.state.ledger import EMPTY, Line, State
from shared.stop import RunStopped, Stop
from shared.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from shared.contents.content import Content
    from shared.contents.work import Fetches, Turn
    from shared.publish.outbox import Delivery
    from shared.publish.publisher import Publisher
    from shared.run.context import RunContext
    from shared.state.feed_ledger import FeedLedger
    from shared.state.ledger import Entry

logger = logging.getLogger("m365.pipeline")

MOST_SAID = 100  # contents of which a run says in the log why they failed
MOST_QUEUED = 20_000
"""Contents of the backlog that are queued: what the quota of a tenant lets a run of ten minutes fetch."""
PATIENCE = 30.0
"""Seconds to wait, once the run takes no new work, for what is being fetched."""


class Pipeline:
    """The parallel part of one feed's run.

    Args:
        run: what it is part of.
        api: where contents are fetched.
        ledger: what is known.
        dead_letters: where undeliverable bytes go.
        stop: the end of its work.
        kind: of its events.
        threads: contents fetched at the same time.
        content: makes a content of what the ledger knows.

    Attributes:
        publisher: what it publishes with.
        unkept: why an event over the hub's limit could not be kept, None where all of them were.
    """

    def __init__(
        self,
        run: RunContext,
        *,
        api: Fetches,
        ledger: FeedLedger,
        dead_letters: DeadLetters,
        stop: Stop,
        kind: str = RECORD_EVENT,
        threads: int = 4,
        content: Callable[[date, Entry], Content],
    ) -> None:
        self._run = run
        self._reader = ContentReader(api, ledger, run.parts.clock)
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._gate = Gate(run.tuning.bytes_in_flight, stop)
        self._stop = stop
        self._clock = run.parts.clock
        self._kind = kind
        self._witnesses = Witnesses(ledger, content, self._reader, self._gate, self._clock)
        self._refusals = Refusals(self._witnesses, stop)
        self.publisher: Publisher[Work] = run.publisher(self._settled, stop.set)
        self._slots = threading.Semaphore(run.tuning.max_unsettled)
        self._queue: queue.PriorityQueue[tuple[Turn, int, Work | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._free: set[str] = set()
        self.failures = Failures(run.summary.run)
        self.delivered = 0
        self.records = 0
        self.bytes = 0
        self.dead = 0
        self.lost = 0
        self.claim_checks = 0
        self.unkept: CollectorError | None = None
        self._threads = [start_thread(self._work, name=f"fetch-{n}") for n in range(threads)]

    def submit(self, work: Work) -> bool:
        """Queue a content that is already in the ledger: what expires soon first, then what is new, then the rest.

        Returns:
            Whether it is queued. Of the rest not more are than a run can fetch: the ledger has them, for later.
        """
        now = self._clock.now()
        known = work.known(now)
        turn = turn_of(known.created, self._ledger.expires_at(known), now)
        if turn[0] == BACKLOG and self._queue.qsize() >= MOST_QUEUED:
            return False
        self._queue.put((turn, next(self._numbers), work))
        return True

    @property
    def has_room(self) -> bool:
        """Whether so little is queued that it is time for more."""
        return self._queue.qsize() < MOST_QUEUED // 2

    def finish(self) -> None:
        """Wait until every queued content was fetched, or the run takes no new work."""
        for _ in self._threads:
            self._queue.put((LAST, next(self._numbers), None))
        while not self._stop() and any(thread.is_alive() for thread in self._threads):
            self._stop.wait(0.05)
        # A thread that still waits for an answer is left behind; what it brings comes too late to count.
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def written(self, ids: list[str]) -> None:
        """Settling lines are stored: their places are free."""
        with self._lock:
            # Those of what failed were free before.
            settled = [each for each in ids if each not in self._free]
        for _ in settled:
            self._slots.release()

    # -- called from the publisher's threads

    def _settled(self, delivery: Delivery[Work]) -> None:
        """Every event of a content is acknowledged, or one failed; what is damaged of it has its dead letter."""
        work = delivery.key
        if delivery.failed is not None:
            with self._lock:
                self.unkept = delivery.failed
                self.failures.fetched -= 1
            self._failed(work, delivery.failed)
            return
        dead = int(bool(work.damaged))
        if work.reservation is not None:
            work.reservation.release()
        with self._lock:
            self.delivered += not work.damaged
            self.records += delivery.records
            self.bytes += delivery.bytes
            self.dead += dead
            self.claim_checks += delivery.claim_checks
        state = State.DEAD_LETTERED if work.damaged else State.DELIVERED
        line = self._line(
            work,
            state,
            records=delivery.records,
            size=delivery.bytes,
            dead=dead,
            claim_checks=delivery.claim_checks,
            reason=work.damaged,
        )
        self._ledger.settle(work.content.day, line)

    # -- the fetching threads

    def _work(self) -> None:
        while (work := self._queue.get()[2]) is not None:
            if not self._acquire_slot():
                continue
            try:
                self._collect(work)
            except RunStopped:
                self._give_up(work)
            except (AuthError, ConfigError, NoToken, SinkError, Throttled) as error:
                self._refused(work, error)
            except CollectorError as error:
                self._failed(work, error)
            except Exception as error:
                logger.exception("a content could not be processed", exc_info=textless(error))
                self._failed(work, policy.error("internal", detail=type(error).__name__))

    def _refused(self, work: Work, error: CollectorError) -> None:
        """Tell a refusal that concerns every content alike, which ends the run, from one content's own.

        The hub, the token service and the shared budget concern all. What the API says of one content it may say of
        that content alone.
        """
        self._give_up(work)
        if not error.status or isinstance(error, SinkError):
            self._stop.set(error)
            return
        for each, why in self._refusals.hold(work, error):
            self._note(each, why, certain=True)
        self.write_attempts()

    def _acquire_slot(self) -> bool:
        """Wait for a place between fetch and ledger; False where the run takes no new work."""
        while not self._stop():
            if self._slots.acquire(timeout=0.25):
                return True
        return False

    def _give_up(self, work: Work) -> None:
        if work.reservation is not None:
            work.reservation.release()
        with self._lock:
            self._free.add(work.content.id)
        self._slots.release()

    def _collect(self, work: Work) -> None:
        content = work.content
        work.reservation = self._gate.reservation()
        try:
            records = self._reader.records(work, work.reservation)
        except Unreadable as found:
            self._keep(work, found.body, found.reason)
            return
        if records.damage is not None and records.damage.raw:
            # Before its siblings flow: the line that says so comes with the last of them.
            work.damaged = records.damage.place
            self._put(work, RECORD, records.damage.raw, work.damaged)
        about = self._run.feed.about(content.id, self._kind)
        parcel = self._run.parts.format.parcel(records, about)
        with self._lock:
            self.failures.fetched += 1
        for each, why in self._refusals.take():
            self._note(each, why)
        self.write_attempts()
        try:
            self.publisher.publish(work, parcel)
        except CollectorError as error:
            self._stop.set(error)
            raise policy.error("stopped", detail="nothing can be published") from error

    def _put(self, work: Work, kind: str, data: bytes, reason: str) -> None:
        content = work.content
        try:
            put = self._dead_letters.put
            name = put(kind, content.day, data, content_id=content.id, reason=reason)
        except CollectorError as error:
            # Storage's trouble, not the content's: it must not count as an answer about it.
            self._stop.set(error)
            raise policy.error("stopped", detail="a dead letter could not be stored") from error
        logger.warning("a %s is dead-lettered (%s): %s", kind, reason, name)

    def _keep(self, work: Work, data: bytes, reason: str) -> None:
        self._put(work, CONTENT, data, reason)
        if work.reservation is not None:
            work.reservation.release()
        with self._lock:
            self.failures.fetched += 1
            self.dead += 1
        line = self._line(work, State.DEAD_LETTERED, size=len(data), reason=reason)
        self._ledger.settle(work.content.day, line)

    def _failed(self, work: Work, error: CollectorError) -> None:
        if work.reservation is not None:
            work.reservation.release()
        if not self._note(work, error):
            self._give_up(work)
            self.write_attempts()

    def _note(self, work: Work, error: CollectorError, *, certain: bool = False) -> bool:
        """Note that a content failed; returns whether it is lost."""
        known = work.known(self._clock.now())
        if known.state == State.LOST:
            # It was listed again, and stays what it was called.
            line = self._line(work, State.ATTEMPT, reason=error.code or type(error).__name__)
            self._ledger.settle(work.content.day, line)
            return True
        reason = loss_of(error, known, self._ledger, self._clock.now())
        if reason:
            with self._lock:
                self.failures.fetched += 1
                self.lost += 1
            logger.warning("content %s is lost (%s): %s", work.content.id, reason, error.log)
            self._ledger.settle(work.content.day, self._line(work, State.LOST, reason=reason))
            return True
        with self._lock:
            line = self._line(work, State.ATTEMPT, reason=error.code or type(error).__name__)
            again = known.reason == EMPTY
            # Before its line can be stored.
            self._free.add(work.content.id)
            self.failures.add(work.content.day, line, str(error), again=again, certain=certain)
            say = len(self.failures.ids) <= MOST_SAID
        if say:
            logger.info("content %s failed: %s", work.content.id, error.log)
        return False

    def write_attempts(self, *, last: bool = False) -> None:
        """Write down the failures that count as far as is known, and at the end that they did not in an outage."""
        if last:
            for each, why in self._refusals.close():
                self._note(each, why)
            if self.failures.emptied and not self._stop():
                self.failures.witnessed = self._witnesses.have_records(self.failures.ids)
        with self._lock:
            now = int(self._clock.now().timestamp())
            lines = self.failures.close(now) if last else self.failures.take()
            self.delivered += self.failures.confirmed if last else 0
        for day, line in lines:
            self._ledger.settle(day, line)

    def _line(
        self,
        work: Work,
        state: State,
        *,
        records: int = 0,
        size: int = 0,
        dead: int = 0,
        claim_checks: int = 0,
        reason: str = "",
    ) -> Line:
        return Line(
            id=work.content.id,
            state=state.value,
            run=self._run.summary.run,
            time=int(self._clock.now().timestamp()),
            records=records,
            bytes=size,
            dead=dead,
            claim_checks=claim_checks,
            reason=reason,
        )
