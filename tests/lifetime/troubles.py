"""What happens to a tenant and to whoever collects it, and when nothing does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from shared.times import HOUR, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

HUB = "hub down"
STOPPED = "app stopped"
READ_ONLY = "storage read-only"
OFF = "subscription off"
THROTTLED = "throttled"
NO_TOKEN = "no token"
CLOCK = "clock jumps"
STUCK = "a content that never comes"
DOUBLE = "twice the volume"
OLDER = "state of an older version"
NO_CHECKPOINT = "checkpoint deleted"
NO_LOOKS = "looks deleted"

HINDERS = frozenset({HUB, STOPPED, READ_ONLY, THROTTLED, NO_TOKEN, CLOCK})
"""What keeps every feed from collecting while it lasts."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that happens, so long after the beginning; ``source`` is the one that it is about, if any."""

    what: str
    begins: timedelta
    lasts: timedelta = timedelta(0)
    source: str = ""

    @property
    def ends(self) -> timedelta:
        """When it is over, as ``begins``."""
        return self.begins + self.lasts

    def span(self, began: datetime) -> Window:
        """When it was, for a life that began then; what it did may be seen an hour later."""
        return Window(began + self.begins, began + self.ends + HOUR)

    def hinders(self, source: str) -> bool:
        """Whether it keeps a feed from collecting."""
        return self.what in HINDERS or (self.what == OFF and self.source == source)


def quarter(seed: int, sources: Sequence[str], days: float) -> list[Trouble]:
    """Everything that can happen, each once, in an order of chance and spread over a life of so many days.

    The last nine days are quiet. An outage of the app longer than the audit feeds are kept is among it.
    """
    pick = Random(f"{seed} troubles")
    audit = [each for each in sources if each.startswith(("Audit", "DLP"))]
    kinds: list[tuple[str, timedelta]] = [
        (HUB, 9 * HOUR),
        (STOPPED, 30 * HOUR),
        (STOPPED, 9 * DAY),
        (READ_ONLY, HOUR),
        (OFF, 5 * HOUR),
        (THROTTLED, 4 * HOUR),
        (NO_TOKEN, 3 * HOUR),
        (CLOCK, 20 * MINUTE),
        (DOUBLE, DAY),
        (OLDER, timedelta(0)),
        (NO_CHECKPOINT, timedelta(0)),
        (NO_LOOKS, timedelta(0)),
    ]
    pick.shuffle(kinds)
    # What is pending for ever is given up after a month.
    kinds.insert(1, (STUCK, timedelta(0)))
    busy = sum((lasts for _, lasts in kinds), timedelta(0))
    pause = (timedelta(days=days) - 11 * DAY - busy) / len(kinds)
    found, at = [], 2 * DAY
    for what, lasts in kinds:
        begins = at + pick.random() * pause
        source = pick.choice(audit) if what in (OFF, STUCK) else ""
        found.append(Trouble(what=what, begins=begins, lasts=lasts, source=source))
        at += pause + lasts
    return found


def calm(spans: Iterable[Window], start: datetime, end: datetime) -> list[Window]:
    """What is left of a range without these spans."""
    found, at = [], start
    for span in sorted(spans, key=lambda each: each.start):
        if at < span.start < end:
            found.append(Window(at, span.start))
        at = max(at, span.end)
    if at < end:
        found.append(Window(at, end))
    return found
