"""Which ranges a run reads of what a source lists by time. Pure functions.

Rows appear late, and change. So every run reads what is newest again (``RowPolicy.overlap``), and whole hours in turn
(``reread``, ``cycle``). What is older and was never read (a first run, an outage) is a list of ranges that are worked
off oldest first, so that it never delays what is new. Guarantees, each a property test:

- Every instant since the feed began is before the watermark and read, or in the backfill, or a gap, or after the
  watermark.
- Every hour of ``reread`` is read again within a cycle of runs, for any schedule up to a cycle.
- A width is never less than a second or more than the service takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from shared.times import HOUR, Ranges, Window, add, whole_hours, whole_second

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.rows.source import RowPolicy

NARROWEST = timedelta(seconds=1)
TARGET_PAGES = 2
"""That a window should have, beside ``RowPolicy.target_rows``: a service may have smaller pages than were asked for."""

GROWTH = 2
"""Times that the next window may be as wide as the last, whatever its rows say."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a run reads first.

    Attributes:
        start: where it begins.
        mark: the watermark before it; older than what was stored only where that lay in the future.
        backfill: what is to be read later.
        gap: what can no longer be read.
    """

    start: datetime
    mark: datetime
    backfill: Ranges
    gap: Window | None = None


def first_run(end: datetime, policy: RowPolicy, oldest: datetime) -> Live:
    """Plan a run that knows nothing: the overlap first, then whole days back.

    Args:
        end: up to where is read.
        policy: of the source.
        oldest: the oldest start that the service takes.
    """
    start, back = end - policy.overlap, policy.backfill
    since = datetime.combine((end - back).date(), time(), UTC) if back else start
    since = max(since, _up(oldest))
    ranges = (Window(since, start),) if since < start else ()
    return Live(start=start, mark=start, backfill=ranges)


def plan(
    end: datetime, watermark: datetime, backfill: Ranges, oldest: datetime, policy: RowPolicy
) -> Live:
    """Plan a run.

    Args:
        end: up to where is read.
        watermark: everything before it was read, or is in the backfill.
        backfill: see there.
        oldest: the oldest start that the service takes.
        policy: of the source.
    """
    start = min(watermark, end - policy.overlap)
    if end - start <= policy.longest_live:
        return Live(start=start, mark=min(watermark, end), backfill=backfill)
    start = end - policy.overlap
    gap = None
    if watermark < oldest:
        gap = Window(watermark, min(_up(oldest), start))
    missed = max(watermark, _up(oldest)) if gap else watermark
    if missed < start:
        backfill = add(backfill, Window(missed, start))
    return Live(start=start, mark=start, backfill=backfill, gap=gap)


def _up(moment: datetime) -> datetime:
    """The next whole second."""
    cut = whole_second(moment)
    return cut if cut == moment else cut + timedelta(seconds=1)


def covers(ranges: Iterable[Window], hour: datetime) -> bool:
    """Whether one of these ranges holds a whole hour."""
    return any(each.start <= hour and hour + HOUR <= each.end for each in ranges)


def together(hours: Iterable[datetime], width: timedelta) -> Ranges:
    """Hours as windows: what follows on each other in one, as far as that is no wider than ``width``."""
    windows: list[Window] = []
    for hour in hours:
        last = windows[-1] if windows else None
        if last and last.end == hour and hour + HOUR - last.start <= width:
            windows[-1] = Window(last.start, hour + HOUR)
        else:
            windows.append(Window(hour, hour + HOUR))
    return tuple(windows)


def next_width(
    width: timedelta, read: timedelta, rows: int, pages: int, *, target: int, most: timedelta
) -> timedelta:
    """How wide the next window should be.

    Args:
        width: what was meant for the last one.
        read: how wide that was.
        rows: that it had.
        pages: in which they came.
        target: rows that it should have.
        most: the widest that the service takes.
    """
    wanted = width * GROWTH
    if load := max(rows / target, (pages - 1) / TARGET_PAGES):
        wanted = min(wanted, read / load)
    seconds = min(max(math.floor(wanted.total_seconds()), 1), int(most.total_seconds()))
    return timedelta(seconds=seconds)


def due_hours(
    end: datetime, cursor: datetime | None, since_last: timedelta, policy: RowPolicy
) -> tuple[tuple[datetime, ...], datetime]:
    """The whole hours to read again, and where the next run goes on.

    Args:
        end: up to where is read.
        cursor: where to go on; None or out of range: at the oldest.
        since_last: since the last run.
        policy: of the source.
    """
    hours = list(whole_hours(Window(end - policy.reread, end)))
    every = policy.cycle / (policy.reread / HOUR)
    number = min(max(1, math.ceil(since_last / every)), len(hours))
    first = hours.index(cursor) if cursor in hours else 0
    due = tuple(hours[(first + n) % len(hours)] for n in range(number))
    following = (first + number) % len(hours)
    # Behind the newest hour there may be one more by the next run; only then comes the oldest again.
    return due, hours[following] if following else hours[-1] + HOUR
