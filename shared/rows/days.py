"""The table rows of a feed's days: counted from the digests, hour by hour, and never counted up.

A day's row remembers for each hour what was counted and how large its digests were then. So only hours that have grown
are read again, and the row keeps what it knew when the digests are removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.days.counted import facts_of
from shared.days.states import DEAD_LETTERED, LOST, Facts, Flaw, merged
from shared.days.table import Found
from shared.rows.digests import Digests, HourCounts
from shared.state.ledger_day import Counts
from shared.times import HOUR, beginning_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from shared.state.ledger_day import Day

HOURS = "hours"
"""Column of a day's row."""

_Hours = dict[int, tuple[int, int, int, int, int]]
"""Hour of the day to bytes of its digests, rows listed, delivered, gone and dead."""

_decoder = msgspec.json.Decoder(_Hours)


def sizes_by_day(digests: Digests) -> dict[date, int]:
    """Bytes of the digests of each day."""
    sizes: dict[date, int] = {}
    for hour, segments in digests.stored.items():
        sizes[hour.date()] = sizes.get(hour.date(), 0) + segments.total
    return sizes


def hours_of(day: date, known: str, digests: Digests) -> dict[int, HourCounts]:
    """The hours of a day: as they stand in its row where nothing has changed since, else counted anew.

    Args:
        day: which.
        known: the column ``HOURS`` of its row.
        digests: what became of each row.
    """
    found = _decode(known)
    fresh = digests.counts()
    midnight = beginning_of(day)
    for number in range(24):
        hour = midnight + number * HOUR
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


def found_in(day: date, hours: Mapping[int, HourCounts], gaps: Day, size: int) -> Found:
    """What became of the rows of a day.

    Args:
        day: which.
        hours: what was counted of each.
        gaps: its ledger, which holds the ranges that were never read.
        size: bytes of what is stored of it.
    """
    known = facts_of(gaps)
    counts, flaws = Counts(gap_seconds=known.counts.gap_seconds), [*known.facts.flaws]
    for number, each in sorted(hours.items()):
        counts.add(each.counts())
        hour = beginning_of(day) + number * HOUR
        flaws += [
            Flaw(hour, hour + HOUR, kind, count)
            for kind, count in ((LOST, each.gone), (DEAD_LETTERED, each.dead))
            if count
        ]
    return Found(
        counts=counts,
        facts=Facts(pending=counts.pending, flaws=merged(flaws)),
        size=size,
        more={HOURS: _encode(hours)},
    )


def _encode(hours: Mapping[int, HourCounts]) -> str:
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
