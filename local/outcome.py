"""How a local run came out, feed by feed, and whether that is all it should be.

What was listed, delivered and lost is read anew from the ledger in storage, as anybody who looks after the app can do.
What should be there comes from the simulated tenant's books, and what is there from the hub itself. Nothing here is
counted up on the way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from shared.rows.digests import Hour
from shared.sources.registry import BY_NAME, ROWS
from shared.state.append_blobs import DigestStore, LedgerStore
from shared.state.ledger_day import Counts, Day
from shared.state.tables import RUNS_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from local.readback import Event, Sample
    from shared.config.connections import Connection
    from shared.config.settings import Settings
    from shared.state.account import Storage
    from shared.state.ledger import Entry

EXAMPLES = 3
Part = TypeVar("Part", Day, Hour)
_NOTHING = (
    "Nothing was listed. Where a subscription was started just now, its first contents can take "
    "twelve hours to appear."
)


@dataclass(frozen=True)
class FeedOutcome:
    """One feed: its ledger, and what the tenant offered (None for a real tenant, which says nobody)."""

    connection: str
    source: str
    offered: int | None
    counts: Counts
    pending: tuple[Entry, ...] = ()

    @property
    def lost(self) -> int:
        """Contents given up, whatever the reason."""
        return sum(self.counts.lost.values())

    @property
    def drained(self) -> bool:
        """Whether everything offered is listed, and everything listed has its end."""
        return not self.counts.pending and self.counts.listed >= (self.offered or 0)

    def next_due(self, retry_base: timedelta) -> datetime | None:
        """When the last of what is pending may be tried again."""
        return max((entry.due(retry_base) for entry in self.pending), default=None)

    def as_json(self) -> dict[str, Any]:
        """The feed's part of the JSON report."""
        lost = {"lost": self.lost, "lost_by_reason": self.counts.lost}
        return {"offered": self.offered, **asdict(self.counts), **lost}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A whole run.

    Attributes:
        expected: the events of the tenant's books; None where there are none. Of message trace what it has shown, and
            what it shows now.
        trace_requests: the most requests of message trace that the tenant counted in five minutes, and how many the
            budget allows; None where nobody counted.
    """

    feeds: Sequence[FeedOutcome]  # in the order of the sources
    errors: Sequence[str] = ()  # what the last run of each feed that did not end well said
    expected: frozenset[Event] | None = None
    possible: frozenset[Event] = frozenset()  # besides: rows in a status that nobody had to see
    found: frozenset[Event] | None = None  # distinct events at the hub; None: it was not read back
    events: int | None = None  # events at the hub, repeats included; None likewise
    sample: Sample | None = None
    faults: Mapping[str, int] = field(default_factory=dict)  # what was played, by name
    seconds: float = 0.0  # from the first round to the last
    rounds: int = 0
    peak_memory_mb: float = 0.0
    trace_requests: tuple[int, int] | None = None
    unread: str = ""  # why the hub could not be read back

    def name(self, feed: FeedOutcome) -> str:
        """A feed's source; with several connections its connection, too."""
        several = len({each.connection for each in self.feeds}) > 1
        return f"{feed.connection}/{feed.source}" if several else feed.source

    @property
    def total(self) -> Counts:
        """All feeds together."""
        total = Counts()
        for feed in self.feeds:
            total.add(feed.counts)
        return total

    @property
    def events_per_s(self) -> float:
        """Records delivered in a second, over all rounds."""
        return self.total.records / self.seconds if self.seconds else 0.0

    def differences(self) -> list[str]:
        """What keeps this run from being perfect, a sentence each; none where it is."""
        total = self.total
        found = [] if total.listed else [_NOTHING]
        for feed in self.feeds:
            found += _feed_differences(feed)
        if self.unread:
            found.append(f"The hub could not be read back: {self.unread}.")
        if self.trace_requests is not None and self.trace_requests[0] > self.trace_requests[1]:
            words = "{} requests of message trace in five minutes were more than the budget of {}."
            found.append(words.format(*self.trace_requests))
        if self.expected is not None and self.found is not None:
            found += _set_differences(self.expected, self.found, self.possible)
        # With books to compare with, a last round that met a fault and still left nothing to do is no difference.
        return [*found, *self.errors] if found or self.expected is None else []

    def as_json(self) -> dict[str, Any]:
        """The JSON report."""
        differences = self.differences()
        distinct = None if self.found is None else len(self.found)
        return {
            "ok": not differences,
            "feeds": {self.name(feed): feed.as_json() for feed in self.feeds},
            "events_at_hub": self.events,
            "distinct_events_at_hub": distinct,
            "offered_events": None if self.expected is None else len(self.expected),
            "repeats": None if self.events is None else self.events - (distinct or 0),
            "peak_memory_mb": self.peak_memory_mb,
            "seconds": round(self.seconds, 2),
            "events_per_s": round(self.events_per_s, 1),
            "rounds": self.rounds,
            "faults": dict(self.faults),
            "trace_requests_in_5_minutes": self.trace_requests and self.trace_requests[0],
            "differences": differences,
        }


class Feeds:
    """The ledgers of all feeds, of which only what changed since is read again."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._known: dict[tuple[str, Any], tuple[dict[str, int], Any]] = {}

    def read(self, offered: Mapping[str, int] | None) -> list[FeedOutcome]:
        """What stands in them.

        `offered` has the contents (of the message trace: rows) that the tenant offers per source; None where it cannot
        be asked.
        """
        return [
            self._feed(connection, source, None if offered is None else offered.get(source, 0))
            for connection in self._settings.connections
            for source in connection.sources
        ]

    def _feed(self, connection: Connection, source: str, offered: int | None) -> FeedOutcome:
        feed, state = f"{connection.tenant_id}/{source}", self._storage.state
        days = self._load(LedgerStore(state, f"ledger/{feed}"), f"ledger of {feed}", Day)
        counts = Counts()
        for day in days:
            counts.add(day.counts())
        if BY_NAME[source].engine == ROWS:
            digests = DigestStore(state, f"digests/{feed}")
            for hour in self._load(digests, f"digests of {feed}", lambda _: Hour()):
                counts.add(hour.counts().counts())
            # Digests know no sizes, so the bytes are those of the runs.
            runs = self._storage.table(RUNS_TABLE).rows(f"{connection.tenant_id}_{source}")
            counts.bytes += sum(int(run["bytes"]) for run in runs)
        entries = [entry for day in days for entry in day.entries.values()]
        pending = tuple(entry for entry in entries if not entry.terminal)
        return FeedOutcome(connection.name, source, offered, counts, pending)

    def _load(self, store: Any, name: str, make: Callable[[Any], Part]) -> list[Part]:
        """Everything that a store holds; what is only appended to is the same while it has the same size."""
        found: list[Part] = []
        for when, segments in store.stored().items():
            sizes, part = self._known.get((name, when), ({}, None))
            if part is None or sizes != segments.sizes:
                part = make(when)
                for segment in sorted(segments.sizes):
                    part.load(store.read(when, segment, 0))
                self._known[name, when] = dict(segments.sizes), part
            found.append(part)
        return found


def _feed_differences(feed: FeedOutcome) -> list[str]:
    counts, found = feed.counts, []
    what = "row" if BY_NAME[feed.source].engine == ROWS else "content"

    def are(number: int) -> str:
        return f"1 {what} is" if number == 1 else f"{number} {what}s are"

    if feed.offered is not None and feed.offered != counts.listed:
        found.append(f"the tenant offered {feed.offered} {what}s and {counts.listed} were listed")
    for reason, number in sorted(counts.lost.items()):
        found.append(f"{are(number)} lost ({reason})")
    if counts.pending:
        some = feed.pending[:EXAMPLES]
        names = ", ".join(f"{each.id} ({each.reason or 'no answer counted'})" for each in some)
        such = f", such as {names}" if names else ""
        found.append(f"{are(counts.pending)} still pending{such}")
    if counts.dead_records:
        found.append(f"{counts.dead_records} records went to the dead letters")
    if counts.gap_seconds:
        found.append(f"{counts.gap_seconds} seconds were never listed")
    return [f"{feed.source}: {each}." for each in found]


def _set_differences(
    expected: frozenset[Event], found: frozenset[Event], possible: frozenset[Event]
) -> list[str]:
    differences = []
    for events, what in (
        (expected - found, "the tenant's books are not at the hub"),
        (found - expected - possible, "the hub are not in the tenant's books"),
    ):
        if events:
            some = sorted(events)[:EXAMPLES]
            examples = "; ".join(f"event {e[1]} of content {e[0]}" for e in some)
            differences.append(f"{len(events)} events of {what}, such as {examples}.")
    return differences
