"""The table rows of a feed's days: counted from the digests, hour by hour, and never counted up.

A day's row remembers for each hour what was counted and how large its digests were then. So only hours that have grown
are read again, and the row keeps what it knew when the digests are removed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.state.digests import Digests, HourCounts
from shared.state.ledger import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.state.run_tables import Runs

_Hours = dict[int, tuple[int, int, int, int, int]]
"""Hour of the day to bytes of its digests, rows listed, delivered, gone and dead."""

_decoder = msgspec.json.Decoder(_Hours)


def sizes_by_day(digests: Digests) -> dict[date, int]:
    """Bytes of the digests of each day."""
    sizes: dict[date, int] = {}
    for hour, segments in digests.stored.items():
        sizes[hour.date()] = sizes.get(hour.date(), 0) + segments.total
    return sizes


def write_row_days(
    runs: Runs,
    digests: Digests,
    days: Iterable[date],
    *,
    now: datetime,
    gap_seconds: Callable[[date], int],
    listed: Callable[[date], bool],
) -> dict[date, Counts]:
    """Count days and write their rows.

    Args:
        runs: the tables.
        digests: what became of each row.
        days: which.
        now: the service's time.
        gap_seconds: how much of a day is on record as never read.
        listed: whether a day was read to its end.

    Returns:
        What was counted.
    """
    wanted = sorted(set(days))
    known = runs.known_days(wanted)
    counts: dict[date, Counts] = {}
    columns: dict[date, dict[str, str]] = {}
    for day in wanted:
        row = known.get(day, {})
        hours = _count(digests, day, row)
        total = Counts()
        for each in hours.values():
            total.add(each.counts())
        total.gap_seconds = max(gap_seconds(day), int(row.get("gap_seconds", 0)))
        counts[day] = total
        columns[day] = {"hours": _encode(hours)}
    runs.write_days(counts, now, listed, columns)
    return counts


def _count(digests: Digests, day: date, row: dict[str, Any]) -> dict[int, HourCounts]:
    """The hours of a day: as they stand in the row where nothing has changed since, else counted anew."""
    found = _decode(row.get("hours", ""))
    fresh = digests.counts()
    midnight = datetime.combine(day, time(), UTC)
    for number in range(24):
        hour = midnight + timedelta(hours=number)
        segments = digests.stored.get(hour)
        if segments is None:
            # Never written, or removed; then the row alone knows.
            continue
        if hour in fresh:
            found[number] = fresh[hour]
        elif number not in found or found[number].size != segments.total:
            found[number] = digests.hour(hour).counts()
            digests.trim()
    return found


def _encode(hours: dict[int, HourCounts]) -> str:
    value: _Hours = {
        number: (each.size, each.listed, each.delivered, each.gone, each.dead)
        for number, each in sorted(hours.items())
    }
    return msgspec.json.encode(value).decode()


def _decode(text: str) -> dict[int, HourCounts]:
    try:
        value = _decoder.decode(text or "{}")
    except msgspec.MsgspecError:
        # Counted anew from what is stored.
        return {}
    return {
        number: HourCounts(size=size, listed=listed, delivered=delivered, gone=gone, dead=dead)
        for number, (size, listed, delivered, gone, dead) in value.items()
    }
