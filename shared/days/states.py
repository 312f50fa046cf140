"""The states of a day: what may be said of one feed and one UTC day, and why. Pure functions.

What is known is by the hour: when it was last *looked at*, by a listing that covered the whole of it after it was over
and while the service still listed it. An hour *leaves* when it can no longer be listed whole.

The first that holds:

- *flawed*: for some part of the day something is missing, or nobody can say that nothing is.
- *open*: the day is not over, an hour was not looked at and still can be, or anything is pending.
- *provisional*: everything was looked at, and nothing is pending, but late records can still come.
- *final*: every hour was looked at so late that what may still come is outside the promise, and all of it is delivered.

Nothing that is forgotten makes a day more certain. docs/adr/0001 says what final does not cover.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from shared.days.gaps import AUDITING_OFF, GAP, SUBSCRIPTION_OFF
from shared.times import HOUR, beginning_of, end_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

LATE = timedelta(hours=48)
"""After the end of a day; whatever is open then should not be."""


class State(enum.StrEnum):
    """What a day is called; the states above, and that of a row which an older version wrote."""

    FLAWED = "flawed"
    OPEN = "open"
    PROVISIONAL = "provisional"
    FINAL = "final"
    UNKNOWN = "unknown"


LOST, DEAD_LETTERED = "lost", "dead-lettered"
UNVERIFIED, BEFORE_BEGINNING = "unverified", "before-beginning"

BY_LOOKS = frozenset({GAP, UNVERIFIED, BEFORE_BEGINNING})
"""Kinds of flaws that come of what was looked at, and when."""

ALERTING = frozenset({GAP, LOST, DEAD_LETTERED, AUDITING_OFF})
"""Kinds of flaws that wake somebody. A subscription that is off has an alert of its own; the others are shown."""

KINDS = (GAP, LOST, DEAD_LETTERED, SUBSCRIPTION_OFF, AUDITING_OFF, UNVERIFIED, BEFORE_BEGINNING)


@dataclass(frozen=True, order=True)
class Flaw:
    """Why a day is flawed, and for which part of it.

    Attributes:
        start: UTC; of what was lost, when it was created.
        end: likewise.
        kind: one of ``KINDS``.
        count: contents or rows, where these are what is missing; else 0.
    """

    start: datetime
    end: datetime
    kind: str
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How long hours are listed, and when a look at one is late enough; both from the hour's beginning.

    Attributes:
        leaves: after which it is no longer listed whole.
        late_enough: after which a look counts as the last one.
    """

    leaves: timedelta
    late_enough: timedelta


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the ledger of a day, or its row, says of its contents.

    Attributes:
        pending: neither delivered nor given up.
        flaws: what is lost or dead-lettered, and the ranges on record as never listed.
    """

    pending: int = 0
    flaws: tuple[Flaw, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a stored row says.

    Attributes:
        state: of the day.
        sure: whether every hour was looked at late enough; that stays true.
        flaws: of every kind.
        looked_until: as in ``Verdict``.
    """

    state: State
    sure: bool = False
    flaws: tuple[Flaw, ...] = ()
    looked_until: timedelta = timedelta()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of a day.

    Attributes:
        state: it.
        flaws: in their order of time; none unless it is flawed.
        sure: whether every hour was looked at late enough.
        looked_until: the least age, from its beginning, at which an hour of the day was last looked at.
        closed: whether no look can change anything any more.
        late: whether it is open although it was over long ago.
    """

    state: State
    flaws: tuple[Flaw, ...] = ()
    sure: bool = False
    looked_until: timedelta = timedelta()
    closed: bool = False
    late: bool = False


class Looked(Protocol):
    """What was looked at, and since when that is remembered."""

    @property
    def made(self) -> datetime:
        """When remembering began; nothing is known of looks before it."""
        ...

    @property
    def beginning(self) -> datetime | None:
        """When the feed was first seen to be listed; None where it never was."""
        ...

    def at(self, hour: datetime) -> datetime | None:
        """When an hour was last looked at."""
        ...


@dataclass
class _Hours:
    """What is gathered from the hours of a day."""

    flaws: list[Flaw] = field(default_factory=list)
    waiting: bool = False
    sure: bool = True
    closed: bool = True
    ages: list[timedelta] = field(default_factory=list)


def state_of(
    day: date,
    now: datetime,
    *,
    rules: Rules,
    looks: Looked | None,
    facts: Facts,
    known: Known | None = None,
) -> Verdict:
    """The state of a day.

    Args:
        day: UTC.
        now: the service's time.
        rules: of the source.
        looks: what was looked at; None where nothing is listed by the hour, and a day is known once it is over.
        facts: what became of its contents.
        known: what its row says; of hours that left before looks were remembered nothing else does.
    """
    hours = _Hours() if looks is None else _hours(day, now, rules, looks, known)
    flaws = merged([*facts.flaws, *_beside(hours.flaws, facts.flaws)])
    over = now >= end_of(day)
    if flaws:
        state = State.FLAWED
    elif not over or hours.waiting or facts.pending:
        state = State.OPEN
    else:
        state = State.FINAL if hours.sure else State.PROVISIONAL
    return Verdict(
        state=state,
        flaws=flaws,
        sure=hours.sure and over,
        looked_until=min(hours.ages, default=timedelta()),
        closed=over and hours.closed,
        late=state is State.OPEN and now >= end_of(day) + LATE,
    )


def _hours(day: date, now: datetime, rules: Rules, looks: Looked, known: Known | None) -> _Hours:
    found = _Hours()
    if known is not None and known.sure:
        found.ages.append(known.looked_until)
        return found
    for number in range(24):
        hour = beginning_of(day) + number * HOUR
        leaves, look = hour + rules.leaves, looks.at(hour)
        left, age = now >= leaves, look - hour if look is not None else timedelta()
        late_enough = age >= rules.late_enough
        found.ages.append(age)
        if leaves <= looks.made and known is not None:
            # It left before anything was remembered.
            found.sure = False
            found.flaws += _said_of(hour, known)
            continue
        found.closed = found.closed and (left or late_enough)
        if looks.beginning is None or hour < looks.beginning:
            found.flaws.append(Flaw(hour, hour + HOUR, BEFORE_BEGINNING))
        elif look is None and not left:
            found.waiting = True
            found.sure = False
        elif look is None:
            forgotten = hour + HOUR <= looks.made
            found.flaws.append(Flaw(hour, hour + HOUR, UNVERIFIED if forgotten else GAP))
        elif left and not late_enough:
            found.flaws.append(Flaw(hour, hour + HOUR, UNVERIFIED))
        else:
            found.sure = found.sure and late_enough
    if found.flaws:
        found.sure = False
    return found


def _said_of(hour: datetime, known: Known) -> list[Flaw]:
    """What a day's row says of an hour; where that is nothing certain, nobody can say it any more."""
    said = [
        Flaw(max(each.start, hour), min(each.end, hour + HOUR), each.kind)
        for each in known.flaws
        if each.kind in BY_LOOKS and each.start < hour + HOUR and each.end > hour
    ]
    return said or [Flaw(hour, hour + HOUR, UNVERIFIED)]


def _beside(by_looks: Iterable[Flaw], on_record: Sequence[Flaw]) -> list[Flaw]:
    """Flaws of whole hours, without what a record names more exactly; what is left of such an hour is unverified."""
    ranges = [each for each in on_record if each.kind in (GAP, SUBSCRIPTION_OFF, AUDITING_OFF)]
    found: list[Flaw] = []
    for flaw in by_looks:
        pieces = [flaw]
        for each in ranges:
            pieces = [part for piece in pieces for part in _without(piece, each)]
        found += pieces
    return found


def _without(flaw: Flaw, record: Flaw) -> list[Flaw]:
    if flaw.kind == BEFORE_BEGINNING or record.start >= flaw.end or record.end <= flaw.start:
        return [flaw]
    parts = [
        Flaw(flaw.start, record.start, UNVERIFIED),
        Flaw(record.end, flaw.end, UNVERIFIED),
    ]
    return [part for part in parts if part.start < part.end]


def merged(flaws: Iterable[Flaw]) -> tuple[Flaw, ...]:
    """Flaws of one kind whose ranges touch become one."""
    found: dict[str, list[Flaw]] = {}
    for flaw in sorted(flaws):
        of_kind = found.setdefault(flaw.kind, [])
        last = of_kind[-1] if of_kind else None
        if last is not None and flaw.start <= last.end:
            end = max(last.end, flaw.end)
            of_kind[-1] = Flaw(last.start, end, last.kind, last.count + flaw.count)
        else:
            of_kind.append(flaw)
    return tuple(sorted(flaw for of_kind in found.values() for flaw in of_kind))
