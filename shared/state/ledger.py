"""What became of each content: JSON lines in append blobs, merged on reading.

The ledger is a merge, not a log. ``merge`` is commutative, associative and idempotent, so a line that is written
twice, written late by a stale worker, or read in any order changes nothing: ``delivered`` beats ``dead-lettered`` and
``lost``, which beat ``attempt``, which beats ``listed``. Appends therefore need no fencing and may be repeated
whenever their answer was lost.

Guarantees: a content is written down as ``listed`` before anything of it is fetched. It counts as delivered only by
a line written after Event Hubs acknowledged all of it. A torn or unreadable line is skipped and counted, which can
repeat a content but never lose one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.times import parse_wire

if TYPE_CHECKING:
    from collections.abc import Iterable

RETRY_LIMIT = timedelta(hours=6)


class State(enum.StrEnum):
    """Where a content stands; the order of definition is the order of precedence, weakest first."""

    LISTED = "listed"
    ATTEMPT = "attempt"
    LOST = "lost"
    DEAD_LETTERED = "dead-lettered"
    DELIVERED = "delivered"


GAP = "gap"
"""Pseudo-state of a gap record: a range of ``contentCreated`` that was never listed."""

_RANK = {state.value: rank for rank, state in enumerate(State)}
_TERMINAL = _RANK[State.LOST]


class Line(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One line of the ledger, as it is stored.

    Attributes:
        id: the content id (of a gap record: ``gap:`` and its start).
        state: a value of ``State``, or ``gap``.
        created: ``contentCreated`` as on the wire; of a gap record its start.
        expires: ``contentExpiration`` as on the wire; of a gap record its end.
        uri: ``contentUri``, only where it is not the feed's root followed by the content id.
        run: id of the run that wrote the line.
        time: seconds since 1970, by the service's clock.
        records: events acknowledged.
        bytes: sum of their bodies.
        dead: records of this content that were dead-lettered one by one.
        reason: why it is lost, dead-lettered or still pending.
    """

    id: str
    state: str
    created: str = ""
    expires: str = ""
    uri: str = ""
    run: str = ""
    time: int = 0
    records: int = 0
    bytes: int = 0
    dead: int = 0
    reason: str = ""


class Entry(msgspec.Struct, kw_only=True, gc=False):
    """All that is known of one content: the merge of its lines.

    Attributes:
        listed: when it was first known, by its earliest line that does not settle it; 0 where there is none.
        listed_last: time of the ``listed`` line that says where it is: the latest, since a service that lists a content
            again may correct itself; ``created``, ``expires`` and ``uri`` are that line's. 0 where there is none.
        first_attempt: when a run first tried and failed; 0 where none did.
        attempts: ids of the runs that tried and failed, so that a line that was stored twice counts once.
    """

    id: str
    state: str = State.LISTED.value
    created: str = ""
    expires: str = ""
    uri: str = ""
    listed: int = 0
    listed_last: int = 0
    first_attempt: int = 0
    last_attempt: int = 0
    attempts: frozenset[str] = frozenset()
    time: int = 0
    records: int = 0
    bytes: int = 0
    dead: int = 0
    reason: str = ""

    @property
    def terminal(self) -> bool:
        """Whether nothing more will be done for it."""
        return _RANK.get(self.state, 0) >= _TERMINAL

    def due(self, retry_base: timedelta, now: datetime | None = None) -> datetime:
        """When it may be fetched next: at once, or after the base doubling per failed run up to six hours.

        Args:
            retry_base: the wait after the first failed run.
            now: the service's time; an attempt dated later was dated by a wrong clock and keeps nothing waiting.
        """
        ahead = now is not None and self.last_attempt > now.timestamp()
        if not self.attempts or ahead:
            return datetime.fromtimestamp(0, UTC)
        # Doubling past 2**20 would only overflow; the limit is reached long before.
        delay = min(retry_base * float(1 << min(len(self.attempts) - 1, 20)), RETRY_LIMIT)
        return datetime.fromtimestamp(self.last_attempt, UTC) + delay

    def expires_at(self, retention: timedelta) -> datetime:
        """Its expiration on the wire; where that is missing or unreadable, so long after it was created."""
        for text, extra in ((self.expires, timedelta()), (self.created, retention)):
            try:
                return parse_wire(text) + extra
            except (ValueError, OverflowError):
                continue
        return datetime.fromtimestamp(self.listed, UTC) + retention


def entry_of(line: Line) -> Entry:
    """Lift one line to an entry."""
    rank = _RANK.get(line.state, 0)
    terminal = rank >= _TERMINAL
    return Entry(
        id=line.id,
        state=line.state if line.state in _RANK else State.LISTED.value,
        created=line.created,
        expires=line.expires,
        uri=line.uri,
        listed=0 if terminal else line.time,
        listed_last=0 if rank else line.time,
        first_attempt=line.time if line.state == State.ATTEMPT else 0,
        last_attempt=line.time if line.state == State.ATTEMPT else 0,
        attempts=frozenset((line.run,)) if line.state == State.ATTEMPT else frozenset(),
        time=line.time if terminal else 0,
        records=line.records,
        bytes=line.bytes,
        dead=line.dead,
        reason=line.reason,
    )


def _strength(entry: Entry) -> tuple[int, int, int, int, int, str]:
    return (
        _RANK.get(entry.state, 0),
        entry.time if entry.terminal else entry.last_attempt,
        entry.records,
        entry.bytes,
        entry.dead,
        entry.reason,
    )


def _place(entry: Entry) -> tuple[int, str, str, str]:
    return (entry.listed_last, entry.created, entry.expires, entry.uri)


def merge(a: Entry, b: Entry) -> Entry:
    """Merge what two lines (or two merges) say of one content; order and repetition do not matter."""
    strong = a if _strength(a) >= _strength(b) else b
    place = a if _place(a) >= _place(b) else b
    return Entry(
        id=a.id,
        state=strong.state,
        created=place.created,
        expires=place.expires,
        uri=place.uri,
        listed=_earlier(a.listed, b.listed),
        listed_last=place.listed_last,
        first_attempt=_earlier(a.first_attempt, b.first_attempt),
        last_attempt=max(a.last_attempt, b.last_attempt),
        attempts=a.attempts | b.attempts,
        time=strong.time,
        records=strong.records,
        bytes=strong.bytes,
        dead=strong.dead,
        reason=strong.reason,
    )


def _earlier(a: int, b: int) -> int:
    """The earlier of two times, of which 0 is none."""
    return min(a, b) if a and b else a or b


_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def encode(lines: Iterable[Line]) -> bytes:
    """Encode lines for one append.

    It begins with a line break, so that a torn line before it cannot swallow the first of these.
    """
    return b"\n" + b"".join(_encoder.encode(line) + b"\n" for line in lines)


def decode(data: bytes) -> tuple[list[Line], int]:
    """Decode what an append blob holds.

    Returns:
        The lines, and how many could not be read.
    """
    try:
        return _decoder.decode_lines(data), 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    lines, torn = [], 0
    for raw in data.split(b"\n"):
        if not raw.strip():
            continue
        try:
            lines.append(_decoder.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            torn += 1
    return lines, torn


@dataclass(kw_only=True)
class Counts:
    """The completeness of a feed's day, always recomputed from its entries.

    For every day: listed = delivered + lost (all reasons) + pending.

    Attributes:
        gap_seconds: seconds of the day that were never listed; a day with any is never complete.
        dead_records: records dead-lettered one by one inside delivered contents.
    """

    listed: int = 0
    delivered: int = 0
    pending: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    records: int = 0
    bytes: int = 0
    dead_records: int = 0
    gap_seconds: int = 0

    def add(self, other: Counts) -> None:
        """Add another day's counts."""
        self.listed += other.listed
        self.delivered += other.delivered
        self.pending += other.pending
        self.records += other.records
        self.bytes += other.bytes
        self.dead_records += other.dead_records
        self.gap_seconds += other.gap_seconds
        for reason, number in other.lost.items():
            self.lost[reason] = self.lost.get(reason, 0) + number


class Day:
    """The ledger of one feed and one UTC day of ``contentCreated``, in memory."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.entries: dict[str, Entry] = {}
        self.gaps: dict[str, Line] = {}
        self.torn = 0
        self.read_to: dict[str, int] = {}

    def apply(self, line: Line) -> None:
        """Merge one line."""
        if line.state == GAP:
            self._apply_gap(line)
            return
        new, old = entry_of(line), self.entries.get(line.id)
        self.entries[line.id] = new if old is None else merge(old, new)

    def _apply_gap(self, line: Line) -> None:
        try:
            end = parse_wire(line.expires)
            known = self.gaps.get(line.id)
            if parse_wire(line.created) < end and (
                known is None or parse_wire(known.expires) < end
            ):
                self.gaps[line.id] = line
        except ValueError:
            self.torn += 1

    def load(self, data: bytes) -> None:
        """Merge what was read from storage."""
        lines, torn = decode(data)
        self.torn += torn
        for line in lines:
            self.apply(line)

    def pending(self) -> list[Entry]:
        """Every content that is neither delivered nor given up, oldest first."""
        return sorted(
            (entry for entry in self.entries.values() if not entry.terminal),
            key=lambda entry: (entry.created, entry.id),
        )

    @property
    def gap_seconds(self) -> int:
        """Seconds of the day that gap records cover."""
        return _covered_seconds(self.gaps.values())

    @property
    def settled(self) -> bool:
        """Whether every content of the day is terminal."""
        return all(entry.terminal for entry in self.entries.values())

    def counts(self) -> Counts:
        """Recompute the day's completeness."""
        counts = Counts(listed=len(self.entries))
        for entry in self.entries.values():
            if entry.state == State.DELIVERED:
                counts.delivered += 1
                counts.records += entry.records
                counts.bytes += entry.bytes
                counts.dead_records += entry.dead
            elif entry.terminal:
                reason = (
                    entry.state if entry.state == State.DEAD_LETTERED else entry.reason or "unknown"
                )
                counts.lost[reason] = counts.lost.get(reason, 0) + 1
            else:
                counts.pending += 1
        counts.gap_seconds = self.gap_seconds
        return counts


def _covered_seconds(gaps: Iterable[Line]) -> int:
    """Seconds covered by gap records that may overlap."""
    total, reached = 0.0, datetime.fromtimestamp(0, UTC)
    for start, end in sorted((parse_wire(gap.created), parse_wire(gap.expires)) for gap in gaps):
        total += max(0.0, (end - max(start, reached)).total_seconds())
        reached = max(reached, end)
    return int(total)
