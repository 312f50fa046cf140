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
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.times import parse_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set

RETRY_LIMIT = timedelta(hours=6)
MOST_TOGETHER = 1 << 19
"""Bytes of the lines that are appended at once, about."""
LAST_TRIES = timedelta(days=1)

EMPTY = "empty-content"
"""Reason of an attempt that brought no records; a content that is empty is so to two runs."""


class State(enum.StrEnum):
    """Where a content stands; the order of definition is the order of precedence, weakest first."""

    LISTED = "listed"
    ATTEMPT = "attempt"
    LOST = "lost"
    DEAD_LETTERED = "dead-lettered"
    DELIVERED = "delivered"


GAP = "gap"
"""Pseudo-state of a gap record: a range of ``contentCreated`` that was never listed."""

VOID = "void"
"""Pseudo-state of a line that takes back the attempts of its run that have its reason: the run met an outage."""

_RANK = {state.value: rank for rank, state in enumerate(State)}
_TERMINAL = _RANK[State.LOST]


class Line(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One line of the ledger, as it is stored.

    Attributes:
        id: the content id (of a gap record: ``gap:`` and its start).
        state: a value of ``State``, ``gap`` or ``void``.
        created: ``contentCreated`` as on the wire; of a gap record its start.
        expires: ``contentExpiration`` as on the wire; of a gap record its end.
        uri: ``contentUri``, only where it is not the feed's root followed by the content id.
        run: id of the run that wrote the line.
        time: seconds since 1970, by the service's clock.
        records: events acknowledged.
        bytes: sum of their bodies.
        dead: records of this content that were dead-lettered one by one; the others are then delivered.
        claim_checks: of the events acknowledged those that were pointers to their bytes.
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
    claim_checks: int = 0
    reason: str = ""


class Try(NamedTuple):
    """A run's attempt in vain: when, with which answer, by whom."""

    time: int
    reason: str
    run: str


class Entry(msgspec.Struct, kw_only=True, gc=False):
    """All that is known of one content: the merge of its lines.

    Every attempt is kept, and two sets of them merge to their union. So whatever follows from them (how many, the last,
    since when one answer stands) does not depend on the order in which lines were read. They are few: a content is
    asked for four times a day at most, and for a month.

    Attributes:
        listed: when it was first known, by its earliest line that does not settle it; 0 where there is none.
        listed_last: time of the ``listed`` line that says where it is: the latest, since a service that lists a content
            again may correct itself; ``created``, ``expires`` and ``uri`` are that line's. 0 where there is none.
        tries: the attempts in vain; a line that was stored twice counts once.
        reason: why it is lost or dead-lettered; while it is pending that of its last attempt.
    """

    id: str
    state: str = State.LISTED.value
    created: str = ""
    expires: str = ""
    uri: str = ""
    listed: int = 0
    listed_last: int = 0
    tries: frozenset[Try] = frozenset()
    time: int = 0
    records: int = 0
    bytes: int = 0
    dead: int = 0
    claim_checks: int = 0
    reason: str = ""

    @property
    def terminal(self) -> bool:
        """Whether nothing more will be done for it, unless it is lost and listed again."""
        return _RANK.get(self.state, 0) >= _TERMINAL

    @property
    def attempts(self) -> frozenset[str]:
        """Ids of the runs that tried and failed."""
        return frozenset(each.run for each in self.tries)

    def since(self, like: Callable[[str], bool], now: datetime) -> datetime:
        """Since when, without any other in between, attempts had an answer like this; now where the last had not.

        Args:
            like: tells such a reason.
            now: the service's time; an attempt dated later was dated by a wrong clock and says nothing.
        """
        found = now.timestamp()
        for each in sorted(self.tries, reverse=True):
            if each.time <= now.timestamp():
                if not like(each.reason):
                    break
                found = each.time
        return datetime.fromtimestamp(found, UTC)

    def due(self, retry_base: timedelta, now: datetime | None = None) -> datetime:
        """When it may be fetched next: at once, or after the base doubling per failed run up to six hours.

        What was empty is asked for by the next run, however soon that is: it may be settled by it.

        Args:
            retry_base: the wait after the first failed run.
            now: the service's time; an attempt dated later was dated by a wrong clock and keeps nothing waiting.
        """
        last = max((each.time for each in self.tries), default=0)
        ahead = now is not None and last > now.timestamp()
        if not self.tries or ahead or self.reason == EMPTY:
            return datetime.fromtimestamp(0, UTC)
        # Doubling past 2**20 would only overflow; the limit is reached long before.
        delay = min(retry_base * float(1 << min(len(self.attempts) - 1, 20)), RETRY_LIMIT)
        return datetime.fromtimestamp(last, UTC) + delay

    def expires_at(self, retention: timedelta, longest: timedelta) -> datetime:
        """Until when it can be fetched: as the wire says, as far as that is to be believed.

        Args:
            retention: a content lives no shorter than so long after it was created, whatever the wire says.
            longest: and no longer than that.
        """
        least = self._after_creation(retention)
        try:
            said = parse_wire(self.expires)
        except (ValueError, OverflowError):
            return least
        return max(least, min(said, self._after_creation(longest)))

    def hopeless_at(self, longest: timedelta) -> datetime:
        """When nothing can be hoped for any more: a day after the longest that any content lives."""
        return self._after_creation(longest + LAST_TRIES)

    def _after_creation(self, span: timedelta) -> datetime:
        """So long after it was created; where that cannot be read, after it was listed first."""
        try:
            return parse_wire(self.created) + span
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(self.listed, UTC) + span


def entry_of(line: Line) -> Entry:
    """Lift one line to an entry."""
    rank = _RANK.get(line.state, 0)
    if rank >= _TERMINAL:
        return Entry(
            id=line.id,
            state=line.state,
            created=line.created,
            expires=line.expires,
            uri=line.uri,
            time=line.time,
            records=line.records,
            bytes=line.bytes,
            dead=line.dead,
            claim_checks=line.claim_checks,
            reason=line.reason,
        )
    return Entry(
        id=line.id,
        state=State.ATTEMPT.value if rank else State.LISTED.value,
        created=line.created,
        expires=line.expires,
        uri=line.uri,
        listed=line.time,
        listed_last=0 if rank else line.time,
        tries=frozenset((Try(line.time, line.reason, line.run),)) if rank else frozenset(),
        reason=line.reason if rank else "",
    )


def _strength(entry: Entry) -> tuple[int, int, int, int, int, int, str]:
    return (
        _RANK.get(entry.state, 0),
        entry.time,
        entry.records,
        entry.bytes,
        entry.dead,
        entry.claim_checks,
        entry.reason,
    )


def _place(entry: Entry) -> tuple[int, str, str, str]:
    return (entry.listed_last, entry.created, entry.expires, entry.uri)


def merge(a: Entry, b: Entry) -> Entry:
    """Merge what two lines (or two merges) say of one content; order and repetition do not matter."""
    strong = a if _strength(a) >= _strength(b) else b
    place = a if _place(a) >= _place(b) else b
    tries = a.tries | b.tries
    return Entry(
        id=a.id,
        state=strong.state,
        created=place.created,
        expires=place.expires,
        uri=place.uri,
        listed=_earlier(a.listed, b.listed),
        listed_last=place.listed_last,
        tries=tries,
        time=strong.time,
        records=strong.records,
        bytes=strong.bytes,
        dead=strong.dead,
        claim_checks=strong.claim_checks,
        reason=max(tries).reason if tries and not strong.terminal else strong.reason,
    )


def without(entry: Entry, voids: Set[tuple[str, str]]) -> Entry:
    """An entry without attempts that were taken back, before or after they were read.

    Args:
        entry: what is known.
        voids: runs and reasons.
    """
    kept = frozenset(each for each in entry.tries if (each.run, each.reason) not in voids)
    if len(kept) == len(entry.tries):
        return entry
    if entry.terminal:
        return msgspec.structs.replace(entry, tries=kept)
    state = State.ATTEMPT if kept else State.LISTED
    reason = max(kept).reason if kept else ""
    return msgspec.structs.replace(entry, tries=kept, state=state.value, reason=reason)


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


def parts(lines: list[Line]) -> Iterable[list[Line]]:
    """Cut lines into appends that stay far below the service's limit."""
    size = 0
    part: list[Line] = []
    for line in lines:
        part.append(line)
        size += 200 + len(line.id) + len(line.uri) + len(line.reason)
        if size > MOST_TOGETHER:
            yield part
            part, size = [], 0
    if part:
        yield part


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
