"""The books of a simulated message trace: what was visible, what was served, what was refused.

A collector must have delivered what it was shown and what stands in the trace now (``expected``),
and can have delivered nothing that never stood there (``ever_visible``). One that was killed after
it was shown a status, and found another one when it came back, is excused: ``standing`` is then
what it owes.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from local.tenant.trace.rows import MAX_PHASES, Row, Triple, block_of, graph_row, may_hold, millis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from local.tenant.trace.trace import Lived, MessageTrace

Bound = datetime | None
KINDS = ("standing", "served", "expected", "ever_visible")
SINCE_KINDS = ("standing", "expected")


class TraceBooks:
    """The books of one tenant's trace. Safe to use from several threads.

    ``start`` and ``end`` narrow an answer down to rows received in between, both inclusive.
    """

    def __init__(self, trace: MessageTrace, now: Callable[[], datetime], lived: Lived) -> None:
        self._trace = trace
        self._now = now
        self._lived = lived
        self._lock = threading.Lock()
        # How often a row was served in one of its phases, by ``uid * MAX_PHASES + phase``.
        self._served: Counter[int] = Counter()
        self._refused: Counter[str] = Counter()
        self._details: Counter[tuple[str, str | None]] = Counter()

    def standing(
        self, start: Bound = None, end: Bound = None, *, since: Bound = None
    ) -> set[Triple]:
        """What the trace shows now; with ``since`` only what it has shown from then on."""
        now = millis(self._now())
        latest = now if since is None else millis(since)
        return {
            row.triple(phase)
            for row in self._trace.rows(start, end)
            if (phase := row.phase_at(now)) >= 0 and row.phases[phase][0] <= latest
        }

    def ever_visible(self, start: Bound = None, end: Bound = None) -> set[Triple]:
        """What the trace showed at any time that the tenant's clock went through.

        What stood there only in a time that ``advance`` jumped over was seen by nobody and is not
        among it. What was served is, even if it changed within the same instant.
        """
        spans = [(millis(since), millis(until)) for since, until in self._lived()]
        return self.served(start, end) | {
            row.triple(phase)
            for row in self._trace.rows(start, end)
            for phase in range(len(row.phases))
            if _stood(row, phase, spans)
        }

    def served(self, start: Bound = None, end: Bound = None) -> set[Triple]:
        """What stood in a page that was answered whole."""
        low = float("-inf") if start is None else millis(start)
        high = float("inf") if end is None else millis(end)
        servings = self._servings(low, high)
        return {row.triple(phase) for row, phase, _ in servings if low <= row.received <= high}

    def expected(
        self, start: Bound = None, end: Bound = None, *, since: Bound = None
    ) -> set[Triple]:
        """What a collector must have delivered by now: what it was shown, and what stands there.

        While the clock runs, ``since`` is when the collector began to read for the last time.
        """
        return self.standing(start, end, since=since) | self.served(start, end)

    def bodies(self, start: Bound = None, end: Bound = None) -> dict[Triple, bytes]:
        """The bytes of every row in every status it ever has, as they stand in a page of Graph."""
        return {
            row.triple(phase): msgspec.json.encode(graph_row(row, row.phases[phase][1]))
            for row in self._trace.rows(start, end)
            for phase in range(len(row.phases))
        }

    def servings(self) -> Counter[Triple]:
        """How often each stood in a page that was answered whole."""
        found: Counter[Triple] = Counter()
        for row, phase, times in self._servings():
            found[row.triple(phase)] += times
        return found

    def details(self) -> Counter[tuple[str, str | None]]:
        """How often the details of a (message, recipient) were answered whole."""
        with self._lock:
            return Counter(self._details)

    def refused(self) -> dict[str, int]:
        """How many requests were refused, by the name of the error."""
        with self._lock:
            return dict(self._refused)

    @property
    def max_requests_in_5_minutes(self) -> int:
        """The most requests of Graph in any five minutes of the tenant's clock, refused ones too."""
        return self._trace.quota.peak

    def summary(self) -> dict[str, Any]:
        """Counts, ready for JSON."""
        now = millis(self._now())
        visible = Counter(row.phase_at(now) >= 0 for row in self._trace.rows())
        servings = self.servings()
        return {
            "offered": visible.total(),
            "visible": visible[True],
            "served": len(servings),
            "servings": servings.total(),
            "details": self.details().total(),
            "refused": self.refused(),
            "max_requests_in_5_minutes": self.max_requests_in_5_minutes,
        }

    def note_served(self, page: Iterable[tuple[Row, int]]) -> None:
        """Write down that rows stood in an answer, each in one of its phases."""
        with self._lock:
            self._served.update(row.uid * MAX_PHASES + phase for row, phase in page)

    def note_details(self, trace_id: str, recipient: str | None) -> None:
        """Write down that the details of a row were answered."""
        with self._lock:
            self._details[trace_id, recipient] += 1

    def note_refused(self, name: str) -> None:
        """Write down that a request was refused."""
        with self._lock:
            self._refused[name] += 1

    def _servings(
        self, low: float = float("-inf"), high: float = float("inf")
    ) -> Iterator[tuple[Row, int, int]]:
        """Rows that were served, in which phase, how often; also some out of ``low`` to ``high``."""
        with self._lock:
            served = sorted(self._served.items())
        for block, group in itertools.groupby(served, lambda each: block_of(each[0] // MAX_PHASES)):
            if may_hold(block, low, high):
                rows = {row.uid: row for row in self._trace.block(block)}
                for place, times in group:
                    yield rows[place // MAX_PHASES], place % MAX_PHASES, times


def _stood(row: Row, phase: int, spans: list[tuple[int, int]]) -> bool:
    begin = row.phases[phase][0]
    end = row.phases[phase + 1][0] if phase + 1 < len(row.phases) else None
    return any(begin <= until and (end is None or end > since) for since, until in spans)
