"""One UTC day of a feed's ledger: what its lines say together, and the completeness that follows from it."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from shared.state.ledger import GAP, VOID, Entry, Line, State, decode, entry_of, merge, without
from shared.times import parse_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set

    from shared.times import Window

_DATED = re.compile(r"[0-9]{14}")


@dataclass(kw_only=True)
class Counts:
    """The completeness of a feed's day, always recomputed from its entries.

    For every day: listed = delivered + lost (all reasons) + pending.

    Attributes:
        gap_seconds: seconds of the day that were never listed; a day with any is never complete.
        dead_records: records dead-lettered one by one inside delivered contents.
        claim_checks: of the records those that went out as pointers.
    """

    listed: int = 0
    delivered: int = 0
    pending: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    records: int = 0
    bytes: int = 0
    dead_records: int = 0
    claim_checks: int = 0
    gap_seconds: int = 0

    def add(self, other: Counts) -> None:
        """Add another day's counts."""
        self.listed += other.listed
        self.delivered += other.delivered
        self.pending += other.pending
        self.records += other.records
        self.bytes += other.bytes
        self.dead_records += other.dead_records
        self.claim_checks += other.claim_checks
        self.gap_seconds += other.gap_seconds
        for reason, number in other.lost.items():
            self.lost[reason] = self.lost.get(reason, 0) + number


class Day:
    """The ledger of one feed and one UTC day of ``contentCreated``, in memory.

    Attributes:
        read_to: bytes of each segment that are in it.
        partial: whether it knows only of what was pending, by an index.
        appended: whether this run wrote to it.
    """

    def __init__(self, day: date) -> None:
        self.day = day
        self.entries: dict[str, Entry] = {}
        self.gaps: dict[str, Line] = {}
        self.voids: set[tuple[str, str]] = set()
        self.torn = 0
        self.read_to: dict[str, int] = {}
        self.partial = self.appended = False

    @classmethod
    def of_waiting(cls, day: date, sizes: dict[str, int], entries: list[Entry]) -> Day:
        """A day of which only what is pending is known."""
        found = cls(day)
        found.partial = True
        found.read_to = dict(sizes)
        found.entries = {each.id: each for each in entries}
        return found

    def takes(self, lines: list[Line]) -> bool:
        """Whether lines can be merged: to one that is partial, those about what was pending alone."""
        return not self.partial or all(
            line.state == VOID or line.id in self.entries for line in lines
        )

    def join(self, other: Day) -> None:
        """Merge what another has of the same day."""
        self._apply_voids(other.voids)
        for each in other.entries.values():
            self._apply_entry(without(each, self.voids))

    @property
    def size(self) -> int:
        """Bytes of the ledger that are in it."""
        return sum(self.read_to.values())

    def knows_any(self, window: Window) -> bool:
        """Whether it has a content that was created in a range."""
        return any(_created_in(each, window) for each in self.entries.values())

    def append(self, lines: list[Line]) -> None:
        """Merge lines that this run wrote."""
        self.appended = True
        for line in lines:
            self.apply(line)

    def apply(self, line: Line) -> None:
        """Merge one line."""
        if line.state == GAP:
            self._apply_gap(line)
            return
        if line.state == VOID:
            self._apply_voids({(line.run, line.reason)})
            return
        self._apply_entry(without(entry_of(line), self.voids))

    def _apply_entry(self, new: Entry) -> None:
        old = self.entries.get(new.id)
        self.entries[new.id] = new if old is None else merge(old, new)

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

    def _apply_voids(self, voids: Set[tuple[str, str]]) -> None:
        """Take attempts back; those that are read later as well, since lines may come in any order."""
        before = len(self.voids)
        self.voids |= voids
        if len(self.voids) > before:
            for content_id, entry in self.entries.items():
                if entry.tries:
                    self.entries[content_id] = without(entry, self.voids)

    def load(self, data: bytes) -> None:
        """Merge what was read from storage."""
        lines, torn = decode(data)
        self.torn += torn
        # First what was taken back, so that the entries are gone through once and not for every such line.
        self._apply_voids({(line.run, line.reason) for line in lines if line.state == VOID})
        for line in lines:
            if line.state != VOID:
                self.apply(line)

    def read_on(self, sizes: Mapping[str, int], read: Callable[[str, int], bytes]) -> int:
        """Merge what was appended since it was read.

        Args:
            sizes: of its segments, in bytes.
            read: gives what a segment holds from a byte on.

        Returns:
            How many lines of that could not be read.
        """
        torn = self.torn
        for segment, size in sorted(sizes.items()):
            start = self.read_to.get(segment, 0)
            if size > start:
                data = read(segment, start)
                self.load(data)
                self.read_to[segment] = start + len(data)
        return self.torn - torn

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
            counts.records += entry.records
            counts.bytes += entry.bytes if entry.records else 0
            counts.dead_records += entry.dead
            counts.claim_checks += entry.claim_checks
            if entry.state == State.DELIVERED:
                counts.delivered += 1
            elif entry.terminal:
                reason = (
                    entry.state if entry.state == State.DEAD_LETTERED else entry.reason or "unknown"
                )
                counts.lost[reason] = counts.lost.get(reason, 0) + 1
            else:
                counts.pending += 1
        counts.gap_seconds = self.gap_seconds
        return counts


def days_near(day: date, content_id: str) -> set[date]:
    """The days under which a content may be known beside its own: those around it, and the one that its id names.

    An id of the Management Activity API begins with the time at which the content was made.

    Args:
        day: under which it is listed now.
        content_id: the content.
    """
    one = timedelta(days=1)
    near = {day - one, day + one} if date.min < day < date.max else set()
    if _DATED.match(content_id):
        with contextlib.suppress(ValueError):
            near.add(datetime.strptime(content_id[:8], "%Y%m%d").replace(tzinfo=UTC).date())
    return near - {day}


def _created_in(entry: Entry, window: Window) -> bool:
    try:
        return window.start <= parse_wire(entry.created) < window.end
    except ValueError:
        return False


def _covered_seconds(gaps: Iterable[Line]) -> int:
    """Seconds covered by gap records that may overlap."""
    total, reached = 0.0, datetime.fromtimestamp(0, UTC)
    for start, end in sorted((parse_wire(gap.created), parse_wire(gap.expires)) for gap in gaps):
        total += max(0.0, (end - max(start, reached)).total_seconds())
        reached = max(reached, end)
    return int(total)
