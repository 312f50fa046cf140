"""Gap records: ranges of ``contentCreated`` that were never listed, written down before anything passes over them.

A record is known by its start, and the longest of the same start counts, so writing one again, or a longer one, is
harmless. None reaches into the future.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shared.state.ledger import GAP as GAP_LINE
from shared.state.ledger import Line
from shared.times import ServiceClock, Window, by_day, iso, whole_second

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from shared.state.feed_ledger import FeedLedger
    from shared.state.run_summary import RunSummary

logger = logging.getLogger("m365.gaps")

GAP, SUBSCRIPTION_OFF, AUDITING_OFF = "gap", "subscription-off", "auditing-off"
"""Why a range is on record."""

_OFF_BEFORE = "the subscription was off"
"""What an older version wrote; whatever else it wrote was a gap."""


def kind_of(record: Line) -> str:
    """Why a range is on record."""
    if record.reason in (SUBSCRIPTION_OFF, AUDITING_OFF):
        return record.reason
    return SUBSCRIPTION_OFF if record.reason == _OFF_BEFORE else GAP


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

    def record(self, gap: Window, text: str, kind: str = GAP) -> None:
        """Write a range down that was never listed, up to now.

        Args:
            gap: the range.
            text: why, for the log.
            kind: why, in one of the words above.
        """
        end = min(gap.end, whole_second(self._clock.now()))
        if end <= gap.start:
            return
        pieces = list(by_day(Window(gap.start, end)))
        before = self._covered(pieces)
        self._ledger.write((day, self._line(piece, kind)) for day, piece in pieces)
        if not (added := self._covered(pieces) - before):
            return
        self._summary.gap_seconds += added
        logger.error(
            "gap in %s/%s: nothing between %s and %s was listed (%s)",
            self._summary.tenant_id,
            self._summary.source,
            iso(gap.start),
            iso(end),
            text,
        )

    def _covered(self, pieces: Iterable[tuple[date, Window]]) -> int:
        return sum(self._ledger.day(day).gap_seconds for day, _ in pieces)

    def _line(self, gap: Window, kind: str) -> Line:
        # What was merely not listed keeps the id that it always had.
        name = "gap" if kind == GAP else kind
        return Line(
            id=f"{name}:{iso(gap.start)}",
            state=GAP_LINE,
            created=iso(gap.start),
            expires=iso(gap.end),
            run=self._summary.run,
            time=int(self._clock.now().timestamp()),
            reason=kind,
        )
