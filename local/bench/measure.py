"""Runs the benchmark: starts the rig, has everything ready, lets the kinds of measurement take turns, checks each.

Nothing is timed before every body is written and compressed. A figure counts only if the hub took exactly the events
that were there to be published.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from local.bench import tenants
from local.bench.child import BARE, COLLECTOR, PLAIN, Task
from local.bench.rig import BenchError, BenchRig, fetch_all, measured, token
from local.bench.state import TIMER, fill_digests, fill_ledger, forget, put_checkpoint
from local.bench.tenants import LARGE, MAIL, MEASURED, SHARES, SMALL, WARM, WHOLE_DAY, Steady
from shared.sources.message_trace.policy import OVERLAP, REREAD
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.state.checkpoint import RowsNote, SubscriptionNote
from shared.times import Window, whole_hours

if TYPE_CHECKING:
    from local.bench.loops import Reading
    from local.bench.tenants import Sizes
    from shared.state.account import Storage

END_TO_END, BARE_CEILING, PLAIN_LOOP = "end_to_end", "bare_ceiling", "plain_loop"
TRACE = "message_trace"
SMALL_END_TO_END, SMALL_BARE_CEILING = "small_end_to_end", "small_bare_ceiling"

Report = Callable[[int, int, str], None]
"""Told steps done, steps in all, and what is done next."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a tenant has to be collected."""

    uris: list[str] = field(default_factory=list)
    warm_uris: list[str] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    wire_bytes: int = 0


@dataclass(kw_only=True)
class Found:
    """Everything that was measured: readings by kind, and what the tenant's request log says of a stretch of a day."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    listing: dict[str, int] = field(default_factory=dict)
    corpora: dict[str, Corpus] = field(default_factory=dict)


def run(sizes: Sizes, report: Report) -> Found:
    """Measure everything; a ``BenchError`` says which measurement gives no figure."""
    report(0, 1, "starting the rig")
    now = tenants.start_of_clocks(datetime.now(UTC))
    with BenchRig(tenants.orders(sizes, now)) as rig, closing(rig.storage()) as storage:
        return _Bench(sizes, rig, storage).run(report)


class _Bench:
    def __init__(self, sizes: Sizes, rig: BenchRig, storage: Storage) -> None:
        self._sizes = sizes
        self._rig = rig
        self._storage = storage
        self._found = Found()
        self._closed: dict[int, dict[date, int]] = {}

    def run(self, report: Report) -> Found:
        kinds: dict[str, Callable[[], Reading]] = {
            END_TO_END: partial(self._collector, LARGE),
            BARE_CEILING: partial(self._loop, LARGE, BARE),
            PLAIN_LOOP: partial(self._loop, LARGE, PLAIN),
            SMALL_END_TO_END: partial(self._collector, SMALL),
            SMALL_BARE_CEILING: partial(self._loop, SMALL, BARE),
            TRACE: self._trace,
            **{tenants.idle_name(each): partial(self._idle, each) for each in self._sizes.idle},
        }
        steps = 2 + len(kinds) * self._sizes.repeats
        report(0, steps, "writing bodies and ledgers")
        self._found.corpora = {name: self._corpus(name) for name in (LARGE, SMALL)}
        for per_day in self._sizes.idle:
            name = tenants.idle_name(per_day)
            known = tenants.ledger_of(per_day, self._rig.orders[name].now)
            tenant_id = self._rig.tenant_id(name)
            self._closed[per_day] = fill_ledger(self._storage, tenant_id, MEASURED, known)
        turns = [(n, kind) for n in range(1, self._sizes.repeats + 1) for kind in kinds]
        for done, (number, kind) in enumerate(turns, start=1):
            report(done, steps, f"round {number}: {kind.replace('_', ' ')}")
            self._found.readings.setdefault(kind, []).append(kinds[kind]())
        report(steps - 1, steps, "listing requests of a day")
        self._found.listing = self._listing()
        report(steps, steps, "done")
        return self._found

    def _corpus(self, name: str) -> Corpus:
        """Have a tenant write and compress everything it has; returns what that is."""
        measured, warm = self._rig.orders[name].stretches
        settings, tenant_id = self._rig.settings(name), self._rig.tenant_id(name)
        root = f"{settings['M365_MANAGEMENT_ENDPOINT']}/api/v1.0/{tenant_id}/activity/feed/audit"
        uris, warm_uris = (
            [f"{root}/{each.content_id}" for each in stretch.placed()]
            for stretch in (measured, warm)
        )
        fetch_all(settings, warm_uris)
        events, size, wire = fetch_all(settings, uris)
        if events != len(uris) * measured.records:
            raise BenchError(f"tenant {name} serves {events} records, not what it was ordered")
        return Corpus(uris=uris, warm_uris=warm_uris, events=events, bytes=size, wire_bytes=wire)

    def _collector(self, name: str) -> Reading:
        forget(self._storage, self._rig.tenant_id(name), MEASURED, WARM)
        return self._measure(self._task(name, [MEASURED]), self._found.corpora[name])

    def _loop(self, name: str, kind: str) -> Reading:
        corpus = self._found.corpora[name]
        return self._measure(self._task(name, corpus.uris, corpus.warm_uris, kind), corpus)

    def _idle(self, per_day: int) -> Reading:
        """A run that finds nothing new: everything it lists has been delivered."""
        name = tenants.idle_name(per_day)
        forget(self._storage, self._rig.tenant_id(name), WARM)
        at = Steady.at(self._rig.control(name).advance(0))
        self._stand(name, MEASURED, at, self._closed[per_day])
        before = self._lists(name)
        reading = self._measure(self._task(name, [MEASURED]), Corpus())
        if self._lists(name) - before < 3:
            raise BenchError("an idle run listed too little to be one")
        return reading

    def _trace(self) -> Reading:
        """Rows of message trace that come as densely as a million a day, beside two days of such digests."""
        tenant_id, control = self._rig.tenant_id(MAIL), self._rig.control(MAIL)
        forget(self._storage, tenant_id, MESSAGE_TRACE, WARM)
        now = control.advance(0)
        since = now - tenants.mail_span(self._sizes) - TIMER
        hours = whole_hours(Window(now - REREAD, since - OVERLAP))
        fill_digests(self._storage, tenant_id, hours, self._sizes.trace_per_day // 24)
        feed, known = (self._storage, tenant_id, MESSAGE_TRACE), since.replace(microsecond=0)
        rows = RowsNote(since=since - timedelta(days=7), width=600)
        put_checkpoint(*feed, now, watermark=known, rows=rows)
        reading, arrived = self._arriving(self._task(MAIL, [MESSAGE_TRACE]))
        shown = len(control.trace_rows("served"))
        if not arrived == reading.events == shown > self._sizes.trace_rows / 2:
            raise BenchError(
                f"message trace: {shown} rows were shown, {reading.events} are said to be published, {arrived} arrived"
            )
        return reading

    def _task(
        self, name: str, work: list[str], warm: list[str] | None = None, kind: str = COLLECTOR
    ) -> Task:
        settings = self._rig.settings(name)
        bearer = "" if kind == COLLECTOR else token(settings)
        warm = [WARM] if warm is None else warm
        return Task(kind=kind, settings=settings, work=work, warm=warm, token=bearer)

    def _arriving(self, task: Task) -> tuple[Reading, int]:
        """Measure; returns the reading, and how many events arrived meanwhile."""
        with measured(task) as measure:
            before = self._rig.arrived()
            reading = measure()
            return reading, self._rig.arrived() - before

    def _measure(self, task: Task, corpus: Corpus) -> Reading:
        reading, arrived = self._arriving(task)
        # The obvious loop writes its records anew, so only their number can be compared.
        sizes_agree = task.kind == PLAIN or reading.bytes == corpus.bytes
        if not arrived == reading.events == corpus.events or not sizes_agree:
            raise BenchError(
                f"{task.kind}: {corpus.events} events ({corpus.bytes} bytes) were there, {reading.events} "
                f"({reading.bytes} bytes) are said to be published, {arrived} arrived"
            )
        return reading

    def _listing(self) -> dict[str, int]:
        """Let all feeds run every ten minutes of the tenant's time, and count in its request log."""
        control, tenant_id = self._rig.control(WHOLE_DAY), self._rig.tenant_id(WHOLE_DAY)
        at = Steady.at(control.advance(0))
        stretches = self._rig.orders[WHOLE_DAY].stretches
        for source in SHARES:
            placed = [each for s in stretches if s.source == source for each in s.placed()]
            # The rest has come since the last run, ten minutes ago, and is for the first of these.
            known = [each for each in placed if each.created < at.now - TIMER]
            closed = fill_ledger(self._storage, tenant_id, source, known)
            self._stand(WHOLE_DAY, source, at, closed)
        runs, before, delivered = self._sizes.day_runs, self._lists(WHOLE_DAY), 0
        with measured(self._task(WHOLE_DAY, list(SHARES), [])) as measure:
            for number in range(runs):
                if number:
                    control.advance(TIMER.total_seconds())
                delivered += measure().contents
        requests = self._lists(WHOLE_DAY) - before
        return {"runs": runs, "requests": requests, "delivered": delivered}

    def _stand(self, name: str, source: str, at: Steady, closed: dict[date, int]) -> None:
        feed, on = (self._storage, self._rig.tenant_id(name), source), at.now - TIMER
        known: dict[str, Any] = {"cursor": at.cursor, "tail": at.tail, "closed": closed}
        put_checkpoint(*feed, at.now, subscription=SubscriptionNote(enabled=on), **known)

    def _lists(self, name: str) -> int:
        """Listing requests to a tenant so far."""
        requests: dict[str, dict[str, int]] = self._rig.control(name).books()["requests"]
        return sum(requests.get("list", {}).values())
