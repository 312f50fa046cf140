"""Runs the benchmark: starts the rig, has everything ready, lets the kinds of measurement take turns, checks each.

Nothing is timed before every body is written and compressed. A figure counts only if the hub took exactly the events
that were there to be published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from local.bench import tenants
from local.bench.child import BARE, COLLECTOR, FULL, PLAIN, Task
from local.bench.rig import BenchError, BenchRig, measured
from local.bench.state import TIMER, fill_digests, fill_ledger, forget, put, up_to_date
from local.bench.tenants import LARGE, MAIL, MEASURED, SMALL, WARM, WHOLE_DAY
from local.tenant import SOURCES
from local.tenant.messages import Request
from shared.sources.message_trace.policy import OVERLAP, REREAD
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.checkpoint import Checkpoint, RowsNote
from shared.times import Window, whole_hours

if TYPE_CHECKING:
    from local.bench.loops import Reading
    from local.bench.tenants import Sizes

END_TO_END, BARE_CEILING, PLAIN_LOOP = "end_to_end", "bare_ceiling", "plain_loop"
SMALL_END_TO_END, SMALL_BARE_CEILING = "small_end_to_end", "small_bare_ceiling"
CEILING, SMALL_CEILING = "ceiling_with_properties", "small_ceiling_with_properties"
TRACE = "message_trace"

Report = Callable[[str], None]
"""Told what is done next."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a tenant has to be collected."""

    uris: list[str] = field(default_factory=list)
    warm_uris: list[str] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    wire_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that was measured: readings by kind, and what the tenant's request log says of a stretch of a day."""

    readings: dict[str, list[Reading]]
    listing: dict[str, int]
    corpora: dict[str, Corpus]


def run(sizes: Sizes, report: Report) -> Found:
    """Measure everything; a ``BenchError`` or ``ChildError`` says which measurement gives no figure."""
    report("making tenants and starting the rig")
    now = tenants.start_of_clocks(datetime.now(UTC))
    with BenchRig(tenants.make_tenants(sizes, now)) as rig:
        return _Bench(sizes, rig).run(report)


class _Bench:
    def __init__(self, sizes: Sizes, rig: BenchRig) -> None:
        self._sizes = sizes
        self._rig = rig
        self._tenants = rig.tenants
        self._storage = rig.storage
        self._ids = {name: each.spec.tenant_id for name, each in rig.tenants.items()}
        self._corpora: dict[str, Corpus] = {}
        self._closed: dict[str, dict[date, int]] = {}

    def run(self, report: Report) -> Found:
        idle = {tenants.idle_name(each): tenants.first_name(each) for each in self._sizes.idle}
        kinds: dict[str, Callable[[], Reading]] = {
            END_TO_END: partial(self._collector, LARGE),
            BARE_CEILING: partial(self._loop, LARGE, BARE),
            CEILING: partial(self._loop, LARGE, FULL),
            PLAIN_LOOP: partial(self._loop, LARGE, PLAIN),
            SMALL_END_TO_END: partial(self._collector, SMALL),
            SMALL_BARE_CEILING: partial(self._loop, SMALL, BARE),
            SMALL_CEILING: partial(self._loop, SMALL, FULL),
            TRACE: self._trace,
            **{name: partial(self._idle, name) for name in idle},
            **{first: partial(self._idle, name, first=True) for name, first in idle.items()},
        }
        report("writing bodies and ledgers")
        self._corpora = {name: self._corpus(name) for name in (LARGE, SMALL)}
        for name in idle:
            offered = self._tenants[name].shelf.offered(MEASURED)
            self._closed[name] = fill_ledger(self._storage, self._ids[name], MEASURED, offered)
        readings: dict[str, list[Reading]] = {kind: [] for kind in kinds}
        for number in range(1, self._sizes.repeats + 1):
            for kind, measure in kinds.items():
                report(f"round {number} of {self._sizes.repeats}: {kind.replace('_', ' ')}")
                readings[kind].append(measure())
        report("listing requests of a day")
        return Found(readings=readings, listing=self._listing(), corpora=self._corpora)

    def _corpus(self, name: str) -> Corpus:
        """Have a tenant write and compress everything it has, as if asked for it; returns what that is."""
        site, shelf = self._rig.servers[name].site, self._tenants[name].shelf
        feed = f"/api/v1.0/{self._ids[name]}/activity/feed/audit"
        headers = {"authorization": f"Bearer {self._token(name)}", "accept-encoding": "gzip"}
        uris: dict[str, list[str]] = {MEASURED: [], WARM: []}
        events = size = wire = 0
        for content in shelf.offered():
            request = Request("GET", f"{feed}/{content.content_id}", headers)
            body = site.encode(request, site.answer(request, None), None)
            uris[content.source].append(self._rig.servers[name].endpoint + request.target)
            if content.source == MEASURED:
                # Compact arrays: two brackets, and a comma between two records.
                size += len(shelf.bodies.body(content)) - content.count - 1
                events, wire = events + content.count, wire + len(body)
        return Corpus(
            uris=uris[MEASURED], warm_uris=uris[WARM], events=events, bytes=size, wire_bytes=wire
        )

    def _collector(self, name: str) -> Reading:
        forget(self._storage, self._ids[name], MEASURED, WARM)
        return self._checked(name, COLLECTOR, [MEASURED], [WARM])

    def _loop(self, name: str, kind: str) -> Reading:
        return self._checked(name, kind, self._corpora[name].uris, self._corpora[name].warm_uris)

    def _idle(self, name: str, *, first: bool = False) -> Reading:
        """A run that finds nothing new: everything it lists has been delivered.

        Functions keep their process, so it is one that ran ten minutes before, or else the first.
        """
        forget(self._storage, self._ids[name], WARM)
        self._stand(name, MEASURED, self._closed[name])
        with measured(self._task(name, COLLECTOR)) as collect:
            if not collect([WARM]).events:
                raise BenchError("idle run: the warm-up found nothing")
            if not first:
                collect([MEASURED])
                self._tenants[name].advance(TIMER)
            before = self._lists(name)
            reading = collect([MEASURED])
        if self._lists(name) - before < (3 if first else 2) or reading.events:
            raise BenchError("an idle run listed too little to be one, or found something")
        return reading

    def _trace(self) -> Reading:
        """Rows of message trace that come as densely as a million a day, beside two days of such digests."""
        tenant, feed = self._tenants[MAIL], (self._storage, self._ids[MAIL])
        forget(*feed, MESSAGE_TRACE, WARM)
        now = tenant.now()
        since = now - tenants.mail_span(self._sizes) - TIMER
        hours = whole_hours(Window(now - REREAD, since - OVERLAP))
        fill_digests(*feed, hours, self._sizes.trace_per_day // 24)
        rows = RowsNote(since=since - timedelta(days=7), width=600)
        known = Checkpoint(watermark=since.replace(microsecond=0), rows=rows, updated=now - TIMER)
        put(*feed, MESSAGE_TRACE, known)
        reading, arrived = self._measure(MAIL, COLLECTOR, [MESSAGE_TRACE], [WARM])
        shown = len(tenant.trace.books.served())
        if not arrived == reading.events == shown > self._sizes.trace_rows / 2:
            raise BenchError(
                f"message trace: {shown} rows were shown, {reading.events} are said to be published, {arrived} arrived"
            )
        return reading

    def _checked(self, name: str, kind: str, work: list[str], warm: list[str]) -> Reading:
        corpus = self._corpora.get(name, Corpus())
        reading, arrived = self._measure(name, kind, work, warm)
        # The obvious loop writes its records anew, so only their number can be compared.
        sizes_agree = kind == PLAIN or reading.bytes == corpus.bytes
        if not arrived == reading.events == corpus.events or not sizes_agree:
            raise BenchError(
                f"{kind}: {corpus.events} events ({corpus.bytes} bytes) were there, {reading.events} "
                f"({reading.bytes} bytes) are said to be published, {arrived} arrived"
            )
        return reading

    def _measure(
        self, name: str, kind: str, work: list[str], warm: list[str]
    ) -> tuple[Reading, int]:
        """Warm up and measure; returns the reading, and how many events arrived meanwhile."""
        with measured(self._task(name, kind)) as collect:
            if not collect(warm).events:
                raise BenchError(f"{kind}: the warm-up found nothing")
            before = self._rig.arrived()
            reading = collect(work)
            return reading, self._rig.arrived() - before

    def _listing(self) -> dict[str, int]:
        """Let all feeds run every ten minutes of the tenant's time, and count in its request log."""
        tenant, tenant_id = self._tenants[WHOLE_DAY], self._ids[WHOLE_DAY]
        # The rest has come since the last run, ten minutes ago, and is for the first of these.
        last = tenant.now() - TIMER
        for source in SOURCES:
            known = [each for each in tenant.shelf.offered(source) if each.created < last]
            closed = fill_ledger(self._storage, tenant_id, source, known)
            self._stand(WHOLE_DAY, source, closed)
        runs, delivered = self._sizes.day_runs, 0
        with measured(self._task(WHOLE_DAY, COLLECTOR)) as collect:
            for _ in range(runs):
                delivered += collect(list(SOURCES)).contents
                tenant.advance(TIMER)
        return {"runs": runs, "requests": self._lists(WHOLE_DAY), "delivered": delivered}

    def _task(self, name: str, kind: str) -> Task:
        return Task(kind=kind, settings=self._rig.settings(name), token=self._token(name))

    def _token(self, name: str) -> str:
        return self._tenants[name].tokens.issue("https://manage.office.com")

    def _stand(self, name: str, source: str, closed: dict[date, int]) -> None:
        """Make it ten minutes since a feed's last run, which left nothing to be done."""
        known = up_to_date(self._tenants[name].now(), closed)
        put(self._storage, self._ids[name], source, known)

    def _lists(self, name: str) -> int:
        """Listing requests to a tenant so far."""
        return len(self._tenants[name].books.requests("list"))
