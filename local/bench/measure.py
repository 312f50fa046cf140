"""Runs the benchmark: starts the rig, has everything ready, lets the kinds of measurement take turns, checks each.

Nothing is timed before every body is written and compressed. A figure counts only if the hub took exactly the events
that were there to be published.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import msgspec

from local.bench import tenants, wire
from local.bench.child import BARE, COLLECTOR, PLAIN, Reading, Task
from local.bench.process import BenchError, Measured
from local.bench.rig import BenchRig
from local.bench.sizes import Sizes
from local.bench.state import (
    TIMER,
    fill_digests,
    fill_ledger,
    forget,
    put_checkpoint,
    put_trace_checkpoint,
)
from local.bench.tenants import (
    LARGE,
    MAIL,
    MEASURED,
    SHARES,
    SMALL,
    WARM,
    WHOLE_DAY,
    Steady,
    idle_name,
)
from shared.rows.windows import whole_hours
from shared.sources.message_trace.policy import OVERLAP, REREAD
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.account import Storage
from shared.times import Window

END_TO_END, BARE_CEILING, PLAIN_LOOP = "end_to_end", "bare_ceiling", "plain_loop"
TRACE = "message_trace"
SMALL_END_TO_END, SMALL_BARE_CEILING = "small_end_to_end", "small_bare_ceiling"

Report = Callable[[int, int, str], None]
"""Told steps done, steps in all, and what is done next."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a tenant has to be collected."""

    uris: list[str]
    warm_uris: list[str]
    events: int
    bytes: int
    wire_bytes: int


@dataclass(kw_only=True)
class Listing:
    """What the tenant's request log says of a stretch of a day."""

    runs: int = 0
    requests: int = 0
    delivered: int = 0


@dataclass(kw_only=True)
class Found:
    """Everything that was measured: readings by kind, in the order of the rounds."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    listing: Listing = field(default_factory=Listing)
    corpora: dict[str, Corpus] = field(default_factory=dict)


def run(sizes: Sizes, report: Report) -> Found:
    """Measure everything.

    Raises:
        ChildError: a server of the rig did not come up.
        BenchError: a measurement gives no figure.
    """
    report(0, 1, "starting the rig")
    now = tenants.start_of_clocks(datetime.now(UTC))
    with BenchRig(tenants.orders(sizes, now)) as rig:
        storage = Storage.from_connection_string(rig.azurite.connection_string)
        try:
            return _Bench(sizes, rig, storage, report).run()
        finally:
            storage.close()


class _Bench:
    def __init__(self, sizes: Sizes, rig: BenchRig, storage: Storage, report: Report) -> None:
        self._sizes = sizes
        self._rig = rig
        self._storage = storage
        self._report = report
        self._found = Found()
        self._closed: dict[int, dict[date, int]] = {}

    def run(self) -> Found:
        kinds: dict[str, Callable[[], Reading]] = {
            END_TO_END: lambda: self._collector(LARGE),
            BARE_CEILING: lambda: self._loop(LARGE, BARE),
            PLAIN_LOOP: lambda: self._loop(LARGE, PLAIN),
            SMALL_END_TO_END: lambda: self._collector(SMALL),
            SMALL_BARE_CEILING: lambda: self._loop(SMALL, BARE),
        }
        kinds[TRACE] = self._trace
        for per_day in self._sizes.idle:
            kinds[idle_name(per_day)] = functools.partial(self._idle, per_day)
        steps = 2 + len(kinds) * self._sizes.repeats
        self._report(0, steps, "writing bodies and ledgers")
        self._prepare()
        done = 1
        for number in range(self._sizes.repeats):
            for kind, measure in kinds.items():
                self._report(done, steps, f"round {number + 1}: {kind.replace('_', ' ')}")
                self._found.readings.setdefault(kind, []).append(measure())
                done += 1
        self._report(done, steps, "listing requests of a day")
        self._found.listing = self._listing()
        self._report(steps, steps, "done")
        return self._found

    def _prepare(self) -> None:
        for name in (LARGE, SMALL):
            self._found.corpora[name] = self._corpus(name)
        for per_day in self._sizes.idle:
            now = self._rig.orders[idle_name(per_day)].now
            self._closed[per_day] = fill_ledger(
                self._storage,
                self._tenant_id(idle_name(per_day)),
                MEASURED,
                tenants.ledger_of(per_day, now),
            )

    def _corpus(self, name: str) -> Corpus:
        """Have a tenant write and compress everything it has; returns what that is."""
        order, settings = self._rig.orders[name], self._rig.settings(name)
        by_source = {
            stretch.source: [wire.uri(settings, each.content_id) for each in stretch.placed()]
            for stretch in order.stretches
        }
        expected = sum(len(list(s.placed())) * s.records for s in order.stretches[:1])
        wire.fetch_all(settings, by_source[WARM])
        events, size, wire_bytes = wire.fetch_all(settings, by_source[MEASURED])
        if events != expected:
            raise BenchError(f"tenant {name} serves {events} records instead of {expected}")
        return Corpus(
            uris=by_source[MEASURED],
            warm_uris=by_source[WARM],
            events=events,
            bytes=size,
            wire_bytes=wire_bytes,
        )

    def _collector(self, name: str) -> Reading:
        for source in (MEASURED, WARM):
            forget(self._storage, self._tenant_id(name), source)
        return self._measure(self._collecting(name), self._found.corpora[name])

    def _loop(self, name: str, kind: str) -> Reading:
        corpus, settings = self._found.corpora[name], self._rig.settings(name)
        task = Task(
            kind=kind,
            settings=settings,
            hub=self._rig.hub(),
            token=wire.token(settings),
            uris=corpus.uris,
            warm_uris=corpus.warm_uris,
        )
        return self._measure(task, corpus)

    def _idle(self, per_day: int) -> Reading:
        """A run that finds nothing new: everything it lists has been delivered."""
        name = idle_name(per_day)
        forget(self._storage, self._tenant_id(name), WARM)
        at = Steady.at(self._rig.control(name).advance(0))
        self._stand(name, MEASURED, at, self._closed[per_day])
        before = self._requests(name)
        nothing = Corpus(uris=[], warm_uris=[], events=0, bytes=0, wire_bytes=0)
        reading = self._measure(self._collecting(name), nothing)
        if self._requests(name)["list"] - before["list"] < 3:
            raise BenchError("an idle run listed too little to be one")
        return reading

    def _trace(self) -> Reading:
        """Rows of message trace that come as densely as a million a day, beside two days of such digests."""
        tenant_id = self._tenant_id(MAIL)
        for source in (MESSAGE_TRACE, WARM):
            forget(self._storage, tenant_id, source)
        control = self._rig.control(MAIL)
        now = control.advance(0)
        since = now - tenants.mail_span(self._sizes) - TIMER
        hours = whole_hours(Window(now - REREAD, since - OVERLAP))
        fill_digests(self._storage, tenant_id, hours, self._sizes.trace_per_day // 24)
        put_trace_checkpoint(self._storage, tenant_id, now=now, watermark=since)
        task = msgspec.structs.replace(self._collecting(MAIL), sources=[MESSAGE_TRACE])
        with Measured(task) as process:
            before = self._rig.arrived()
            reading = process.measure()
            arrived = self._rig.arrived() - before
        shown = len(control.trace_rows("served"))
        if not arrived == reading.events == shown > self._sizes.trace_rows / 2:
            raise BenchError(
                f"message trace: {shown} rows were shown, {reading.events} are said to be published, {arrived} arrived"
            )
        return reading

    def _collecting(self, name: str) -> Task:
        return Task(
            kind=COLLECTOR,
            settings=self._rig.settings(name),
            hub=self._rig.hub(),
            sources=[MEASURED],
            warm_sources=[WARM],
        )

    def _measure(self, task: Task, corpus: Corpus) -> Reading:
        with Measured(task) as process:
            before = self._rig.arrived()
            reading = process.measure()
            arrived = self._rig.arrived() - before
        # The obvious loop writes its records anew, so only their number can be compared.
        sizes_agree = task.kind == PLAIN or reading.bytes == corpus.bytes
        if not arrived == reading.events == corpus.events or not sizes_agree:
            raise BenchError(
                f"{task.kind}: {corpus.events} events ({corpus.bytes} bytes) were there, {reading.events} "
                f"({reading.bytes} bytes) are said to be published, {arrived} arrived"
            )
        return reading

    def _listing(self) -> Listing:
        """Let all feeds run every ten minutes of the tenant's time, and count in its request log."""
        name = WHOLE_DAY
        control, order = self._rig.control(name), self._rig.orders[name]
        at = Steady.at(control.advance(0))
        for source in SHARES:
            known = [
                each
                for stretch in order.stretches
                if stretch.source == source
                for each in stretch.placed()
                # The rest has come since the last run, ten minutes ago, and is for the first of these.
                if each.created < at.now - TIMER
            ]
            closed = fill_ledger(self._storage, self._tenant_id(name), source, known)
            self._stand(name, source, at, closed)
        task = Task(
            kind=COLLECTOR,
            settings=self._rig.settings(name),
            hub=self._rig.hub(),
            sources=list(SHARES),
        )
        before, delivered = self._requests(name), 0
        with Measured(task) as process:
            for number in range(self._sizes.day_runs):
                if number:
                    control.advance(TIMER.total_seconds())
                delivered += process.measure().contents
        after = self._requests(name)
        return Listing(
            runs=self._sizes.day_runs,
            requests=after["list"] - before["list"],
            delivered=delivered,
        )

    def _stand(self, name: str, source: str, at: Steady, closed: dict[date, int]) -> None:
        put_checkpoint(
            self._storage,
            self._tenant_id(name),
            source,
            now=at.now,
            cursor=at.cursor,
            tail=at.tail,
            closed=closed,
        )

    def _requests(self, name: str) -> Counter[str]:
        """Requests to a tenant so far, by kind."""
        found = self._rig.control(name).books()["requests"]
        return Counter({kind: sum(statuses.values()) for kind, statuses in found.items()})

    def _tenant_id(self, name: str) -> str:
        return str(self._rig.orders[name].spec["tenant_id"])
