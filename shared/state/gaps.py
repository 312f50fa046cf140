"""Gap records: ranges of ``contentCreated`` that were never listed, written down before anything passes over them.

A record is known by its start, and the longest of the same start counts, so writing one again, or a longer one, is
harmless. None reaches into the future.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from shared.state.ledger import GAP, Line
from shared.times import ServiceClock, Window, iso, whole_second

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.state.feed_ledger import FeedLedger
    from shared.state.run_tables import RunSummary

logger = logging.getLogger("m365.gaps")


class Gaps:
    """The gap records of one feed.

    Args:
        ledger: where they are written, a piece for each UTC day.
        clock: the service's time.
        summary: of the run, which counts the seconds that no record had covered before.
    """

    def __init__(self, ledger: FeedLedger, clock: ServiceClock, summary: RunSummary) -> None:
        self._ledger = ledger
        self._clock = clock
        self._summary = summary

    def record(self, gap: Window, reason: str) -> None:
        """Write a range down that was never listed, up to now."""
        end = min(gap.end, whole_second(self._clock.now()))
        if end <= gap.start:
            return
        pieces = list(by_day(Window(gap.start, end)))
        before = self._covered(pieces)
        self._ledger.write((day, self._line(piece, reason)) for day, piece in pieces)
        if not (added := self._covered(pieces) - before):
            return
        self._summary.gap_seconds += added
        logger.error(
            "gap in %s/%s: nothing between %s and %s was listed (%s)",
            self._summary.tenant_id,
            self._summary.source,
            iso(gap.start),
            iso(end),
            reason,
        )

    def _covered(self, pieces: Iterable[tuple[date, Window]]) -> int:
        return sum(self._ledger.day(day).gap_seconds for day, _ in pieces)

    def _line(self, gap: Window, reason: str) -> Line:
        return Line(
            id=f"gap:{iso(gap.start)}",
            state=GAP,
            created=iso(gap.start),
            expires=iso(gap.end),
            run=self._summary.run,
            time=int(self._clock.now().timestamp()),
            reason=reason,
        )


def by_day(window: Window) -> Iterable[tuple[date, Window]]:
    """Cut a range at midnights (UTC)."""
    start = window.start
    while start < window.end:
        midnight = datetime.combine(start.date() + timedelta(days=1), datetime.min.time(), UTC)
        end = min(midnight, window.end)
        yield start.date(), Window(start, end)
        start = end
