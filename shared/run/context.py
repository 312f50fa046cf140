"""What a run is about and what it is made of: the feed, its parts, its patience."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from shared.days.days import Days
from shared.days.looks import LookStore
from shared.days.table import DayTable
from shared.publish.format import RECORD, About, Format
from shared.publish.formats import DEFAULT
from shared.publish.pace import Abandoned, Pace, Patience, Sending
from shared.publish.publisher import Publisher
from shared.run.claims import claim_check
from shared.run.kept import Kept
from shared.service.http import Limits
from shared.state.transport import SILENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.days.states import Rules
    from shared.errors import CollectorError
    from shared.publish.outbox import Delivery
    from shared.publish.sink import Sink
    from shared.run.kept import Known
    from shared.run.replays import ReplaySummary
    from shared.state.account import Storage
    from shared.state.checkpoint import HeldCheckpoint
    from shared.state.run_summary import RunSummary
    from shared.stop import Stop
    from shared.times import ServiceClock

K = TypeVar("K")


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

    def about(self, content_id: str = "", kind: str = RECORD) -> About:
        """What every event of a content of the feed has in common."""
        return About(
            connection=self.connection,
            tenant_id=self.tenant_id,
            source=self.source,
            content_id=content_id,
            kind=kind,
        )


@dataclass(frozen=True, kw_only=True)
class JobMaker:
    """What a feed's kind brings into its runs.

    Attributes:
        make: builds what a run does.
        replay: delivers the feed's dead letters, or says why they stay.
        clock: learns the time of the service that is asked.
    """

    make: Callable[[RunContext], Job]
    replay: Callable[[Feed, Parts, Tuning], list[ReplaySummary]]
    clock: ServiceClock


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of.

    Attributes:
        job: builds what a run of the feed's kind does.
        sink: where events go.
        pace: of the process, for that sink.
        abandoned: of the process.
        kept: of the process, for that feed.
        storage: the state account.
        clock: learns the service's time.
        on_progress: called now and then with the summary as it grows.
        format: makes events of records.
        credential_expires: when the connection's secret or certificate ends, where that is known.
    """

    job: Callable[[RunContext], Job]
    sink: Sink
    storage: Storage
    clock: ServiceClock
    pace: Pace = field(default_factory=Pace)
    abandoned: Abandoned = field(default_factory=Abandoned)
    kept: Kept = field(default_factory=Kept)
    on_progress: Callable[[RunSummary], None] = lambda _: None
    credential_expires: datetime | None = None
    version: str = ""
    format: Format = DEFAULT

    def publisher(
        self,
        about: About,
        tuning: Tuning,
        on_settled: Callable[[Delivery[K]], None],
        on_failed: Callable[[CollectorError], None],
    ) -> Publisher[K]:
        """What publishes the events of a feed; see ``Publisher``."""
        sending = Sending(
            senders=tuning.senders,
            patience=tuning.patience,
            pace=self.pace,
            abandoned=self.abandoned,
        )
        return Publisher(
            self.sink,
            on_settled=on_settled,
            claim_check=claim_check(about, self.storage),
            on_failed=on_failed,
            sending=sending,
        )


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a job is given: one run of one feed, under its lease."""

    feed: Feed
    parts: Parts
    tuning: Tuning
    summary: RunSummary
    checkpoint: HeldCheckpoint
    stop: Stop

    def days(self, rules: Rules) -> Days:
        """The days of the feed, by the rules of its source."""
        return days_of(self.feed, self.parts.storage, rules)

    def publisher(
        self,
        on_settled: Callable[[Delivery[K]], None],
        on_failed: Callable[[CollectorError], None],
    ) -> Publisher[K]:
        """What publishes to the feed's hub; see ``Publisher``."""
        return self.parts.publisher(self.feed.about(), self.tuning, on_settled, on_failed)


def days_of(feed: Feed, storage: Storage, rules: Rules, *, looked_at: bool = True) -> Days:
    """The days of a feed.

    Args:
        feed: whose.
        storage: the state account.
        rules: of its source.
        looked_at: whether it is listed by the hour.
    """
    table = DayTable(storage, feed.tenant_id, feed.source, feed.connection)
    store = LookStore(storage.state, f"looks/{feed.state_key}.json") if looked_at else None
    return Days(table, store, rules)


class Counted(Protocol):
    """What asks a feed's API, as far as the run's row is concerned."""

    @property
    def requests(self) -> int:
        """Requests made so far."""
        ...

    @property
    def throttled(self) -> int:
        """How many of them the service throttled."""
        ...


class Job(Protocol):
    """What a run does while it holds the lease; each kind of feed has its own.

    After ``collect`` ended, however it did, the other methods are called in the order in which they stand here. None
    may move state past what was acknowledged.

    Attributes:
        problems: what went wrong without ending the run.
    """

    problems: list[CollectorError]

    @property
    def asker(self) -> Counted:
        """What asks the feed's API, and counts the requests."""
        ...

    def load(self, known: Known) -> None:
        """Read what is known of earlier runs; the checkpoint is there already.

        Args:
            known: what the last run of this process left, and need not be read.
        """
        ...

    def collect(self) -> None:
        """Everything from the first request to the last."""
        ...

    def drain(self) -> None:
        """Wait for what is being fetched and published."""
        ...

    def write_down(self) -> None:
        """Write down what was acknowledged."""
        ...

    def close_checkpoint(self) -> None:
        """Note what makes the next run cheap; the run writes it."""
        ...

    def sum_up(self) -> None:
        """Complete the summary."""
        ...

    def write_days(self, problem: CollectorError | None) -> None:
        """Bring the rows of the days up to date, whether or not anything could be listed.

        Args:
            problem: what ended the run, or kept it from its work.
        """
        ...

    def drop_old(self) -> None:
        """Remove what nobody needs any more."""
        ...

    def known(self) -> Known:
        """What the next run of this process need not read; asked for where nothing is left to be written."""
        ...
