"""The details of rows, for those who want them: a content of its own for each row that has reached its final status.

Each detail costs a request of the same small quota as 5,000 rows. So only the statuses that are named are asked for, at
most a quarter of the budget goes to them, and no row ever waits for its details. They have a ledger of their own, are
retried by its rules and expire after seven days, and count in no identity of the rows.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from shared.contents.content import Content
from shared.contents.pipeline import Pipeline
from shared.contents.work import Work
from shared.days.counted import facts_of
from shared.days.gaps import GAP
from shared.days.states import Rules
from shared.errors import CollectorError
from shared.publish.format import DETAIL
from shared.rows.source import RowApi
from shared.run.context import days_of
from shared.sources.message_trace.row import TraceRow
from shared.state.append_blobs import LedgerStore
from shared.state.checkpoint import Checkpoint
from shared.state.dead_letters import DeadLetters
from shared.state.feed_ledger import FeedLedger
from shared.state.ledger import GAP as GAP_LINE
from shared.state.ledger import Entry, Line, State
from shared.stop import RunStopped, Stop
from shared.times import Window, by_day, iso, whole_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.rows.row import Row
    from shared.run.context import Feed, RunContext
    from shared.service.budget import Budget

logger = logging.getLogger("m365.trace")

LIFE = timedelta(days=7)
MOST_WAITING = 20_000
"""Details that wait, about what their share of the budget can fetch in seven days; of further rows none are asked for,
or their ledger would grow without an end and hold up the rows."""

DAYS = Rules(leaves=LIFE, late_enough=timedelta())
"""A detail is noted on the day on which its row was delivered, so all of a day are known when it is over."""

SUFFIX = ".Details"


class DetailsApi(Protocol):
    """Where details of rows are fetched."""

    def details_uri(self, row: TraceRow) -> str | None:
        """Where the details of a row are fetched; None where this service has none, or the row is malformed."""
        ...

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch the details behind ``content.uri``: a JSON array, as a content's body is.

        Args:
            content: with the ``uri`` that ``details_uri`` gave.
            reserve: told the announced length and whether it is compressed, before the body is read.
        """
        ...


class TraceApi(RowApi, DetailsApi, Protocol):
    """One tenant's message trace, and the details of its rows."""

    def pages(self, window: Window) -> Iterator[list[TraceRow]]:
        """List the rows received in a window; see ``RowApi``."""
        ...


class TraceDetails:
    """The details of one run; a ``Follower`` of its rows.

    Args:
        run: the run.
        api: where they are fetched.
        statuses: lower-case statuses of the rows whose details are wanted.
        budget: of details alone, a part of the tenant's.

    Attributes:
        skipped: rows whose details are not asked for, since too many wait.
        problems: what ended the fetching early.
    """

    def __init__(
        self,
        run: RunContext,
        api: DetailsApi,
        *,
        statuses: frozenset[str],
        budget: Budget,
    ) -> None:
        self._run = run
        self._api = api
        self._statuses = statuses
        self._budget = budget
        self._clock = run.parts.clock
        self._key = details_feed(run.feed).state_key
        self._stop = Stop(run.tuning.run_seconds)
        self._stop.watch(run.stop)
        self._pipeline: Pipeline | None = None
        self._ledger = FeedLedger(
            LedgerStore(run.parts.storage.state, f"ledger/{self._key}"),
            on_written=self._written,
            on_error=run.stop.set,
            flush_every=run.tuning.flush_every,
            retention=LIFE,
            longest=LIFE,
        )
        self._days = days_of(details_feed(run.feed), run.parts.storage, DAYS, looked_at=False)
        self._waiting = 0
        self._passed_since: datetime | None = None
        self.skipped = 0
        self.problems: list[CollectorError] = []

    def load(self, closed: dict[date, int]) -> None:
        """Read the ledger of details, but for days of which everything is settled."""
        self._ledger.open(closed)
        self._waiting = len(self._ledger.pending())
        self._days.load(Checkpoint(), self._clock.now(), self._ledger.sizes())

    def note(self, rows: Sequence[Row]) -> None:
        """Write down whose details are wanted, and that those of others are not asked for.

        Raises:
            CollectorError: that is not known to be stored; the rows are then not delivered yet.
        """
        now, passed = self._clock.now(), False
        lines: list[Line] = []
        for row in rows:
            try:
                uri = self._uri(row)
            except UnicodeEncodeError:
                logger.warning(
                    "the details of row %s are not asked for: its id or its recipient is no Unicode",
                    row.digest.hex(),
                )
                passed = True
                continue
            if uri is None or self._ledger.find(now.date(), row.digest.hex()):
                continue
            if self._waiting + len(lines) >= MOST_WAITING:
                self.skipped += 1
                passed = True
                continue
            line = Line(
                id=row.digest.hex(),
                state=State.LISTED.value,
                created=iso(now),
                expires=iso(now + LIFE),
                uri=uri,
                run=self._run.summary.run,
                time=int(now.timestamp()),
            )
            lines.append(line)
        gaps = self._passed(now) if passed else []
        self._ledger.write([*gaps, *((now.date(), line) for line in lines)])
        self._waiting += len(lines)

    def _uri(self, row: Row) -> str | None:
        """Where a row's details are; None where they are not wanted, or there are none.

        Raises:
            UnicodeEncodeError: they are wanted, and no address can name the row.
        """
        if not isinstance(row, TraceRow) or row.status.lower() not in self._statuses:
            return None
        return self._api.details_uri(row)

    def fetch_due(self) -> None:
        """Fetch what is due, in its turn, as far as the share of the budget goes without waiting for it."""
        now, base = self._clock.now(), self._run.tuning.retry_base
        room = int(self._budget.limit * (1 - self._budget.used()))
        due = [(day, e) for day, e in self._ledger.pending() if e.due(base, now) <= now][:room]
        if not due:
            return
        self._pipeline = pipeline = Pipeline(
            self._run,
            api=_Paid(self._api, self._budget, self._stop),
            ledger=self._ledger,
            dead_letters=DeadLetters(self._run.parts.storage.dead_letters, self._key),
            stop=self._stop,
            kind=DETAIL,
            threads=2,
            content=_content,
        )
        for day, entry in due:
            pipeline.submit(Work(_content(day, entry), entry))
        pipeline.finish()
        try:
            pipeline.publisher.close(self._run.tuning.close_seconds)
        except CollectorError as error:
            self.problems.append(error)
        pipeline.write_attempts(last=True)
        if pipeline.failures.emptied and (problem := pipeline.failures.problem):
            self.problems.append(problem)
        if pipeline.unkept is not None:
            self.problems.append(pipeline.unkept)
        if self._stop.error is not None and not isinstance(self._stop.error, RunStopped):
            self.problems.append(self._stop.error)

    def _written(self, ids: list[str]) -> None:
        if self._pipeline is not None:
            self._pipeline.written(ids)

    def _passed(self, now: datetime) -> list[tuple[date, Line]]:
        """What says that details are not asked for, from the first of them in this run until now."""
        self._passed_since = min(self._passed_since or now, now)
        span = Window(whole_second(self._passed_since), whole_second(now) + timedelta(seconds=1))
        return [(day, self._gap(piece)) for day, piece in by_day(span)]

    def _gap(self, piece: Window) -> Line:
        return Line(
            id=f"gap:{iso(piece.start)}",
            state=GAP_LINE,
            created=iso(piece.start),
            expires=iso(piece.end),
            run=self._run.summary.run,
            time=int(self._clock.now().timestamp()),
            reason=GAP,
        )

    # -- the end

    def close(self) -> None:
        """Append what is noted, and say for how many rows nobody asks."""
        if self.skipped:
            logger.warning(
                "the details of %d rows are not asked for, since %d wait already: name fewer statuses in "
                "M365_MESSAGE_TRACE_DETAILS",
                self.skipped,
                self._waiting,
            )
        self._ledger.close(patience=min(30.0, self._run.tuning.close_seconds))

    def closed(self, known: dict[date, int]) -> dict[date, int]:
        """The days of which everything is settled."""
        return self._ledger.settled_days(known)

    def write_days(self, problem: CollectorError | None) -> None:
        """Bring the rows of the days of details up to date."""
        found = {day: facts_of(each) for day, each in self._ledger.loaded().items()}
        for day in set(self._days.owed(self._ledger.sizes())) - set(found):
            found[day] = facts_of(self._ledger.glance(day))
        self._days.write(found, self._clock.now(), problem)

    def drop_old(self, closed: dict[date, int]) -> None:
        """Remove days that are settled and old, and whose rows say all of them."""
        confirmed = {day: size for day, size in closed.items() if self._days.confirmed(day, size)}
        self._ledger.drop_old(self._clock.now().date(), confirmed)


class _Paid:
    """Fetches details, each paid for from their share of the budget before the tenant's own."""

    def __init__(self, api: DetailsApi, budget: Budget, stop: Stop) -> None:
        self._api = api
        self._budget = budget
        self._stop = stop

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a detail."""
        self._budget.take(self._stop)
        return self._api.fetch(content, reserve)


def details_feed(feed: Feed) -> Feed:
    """The feed of a feed's details, which have a ledger, dead letters and day rows of their own."""
    return replace(feed, source=feed.source + SUFFIX)


def _content(day: date, entry: Entry) -> Content:
    return Content(
        id=entry.id, uri=entry.uri, created=entry.created, expires=entry.expires, day=day
    )
