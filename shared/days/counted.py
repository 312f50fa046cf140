"""What the ledger of a day says of its contents, for the row of the day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.days.gaps import kind_of
from shared.days.states import DEAD_LETTERED, LOST, Facts, Flaw, merged
from shared.days.table import Found
from shared.state.ledger import State as ContentState
from shared.times import beginning_of, parse_wire

if TYPE_CHECKING:
    from datetime import datetime

    from shared.state.ledger import Entry
    from shared.state.ledger_day import Day


def facts_of(day: Day) -> Found:
    """What the ledger of a day says of its contents."""
    flaws = [
        Flaw(parse_wire(gap.created), parse_wire(gap.expires), kind_of(gap))
        for gap in day.gaps.values()
    ]
    pending = 0
    missing: dict[str, list[datetime]] = {}
    for entry in day.entries.values():
        if not entry.terminal:
            pending += 1
        elif kind := _missing(entry):
            missing.setdefault(kind, []).append(_created(entry, day))
    flaws += [Flaw(min(times), max(times), kind, len(times)) for kind, times in missing.items()]
    return Found(
        counts=day.counts(),
        facts=Facts(pending=pending, flaws=merged(flaws)),
        size=sum(day.read_to.values()),
    )


def _missing(entry: Entry) -> str:
    """What kind of flaw a settled content is; "" for none."""
    if entry.state == ContentState.DELIVERED:
        return DEAD_LETTERED if entry.dead else ""
    return DEAD_LETTERED if entry.state == ContentState.DEAD_LETTERED else LOST


def _created(entry: Entry, day: Day) -> datetime:
    try:
        return parse_wire(entry.created)
    except ValueError:
        return beginning_of(day.day)
