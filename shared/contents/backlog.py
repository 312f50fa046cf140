"""Ranges that were due and could not be listed: they wait in the checkpoint, so that nothing waits for them.

One is narrowed until what fails is a second. That is tried once a run, and becomes a gap record when it leaves the
horizon. Every instant that was never listed is behind the watermark, in here, or a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.contents.windows import split
from shared.times import Ranges, Window, add, remove

if TYPE_CHECKING:
    from datetime import datetime

    from shared.contents.content import ContentPolicy
    from shared.state.checkpoint import Change, HeldCheckpoint

NARROWEST = timedelta(seconds=1)
CUT = 4
"""Parts into which a range is cut that cannot be listed as a whole."""

MOST = 200
"""Ranges that a checkpoint holds; of more, those next to each other become one, which only costs listings."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A window that is due.

    Attributes:
        window: itself.
        new: it was never listed.
        moves: fields of the checkpoint that hold once it was, or waits in the backlog.
    """

    window: Window = field(kw_only=False)
    new: bool
    moves: dict[str, datetime]


class Backlog:
    """What waits to be listed.

    Args:
        checkpoint: where it is kept.
        policy: of the source.
    """

    def __init__(self, checkpoint: HeldCheckpoint, policy: ContentPolicy) -> None:
        self._checkpoint = checkpoint
        self._policy = policy

    @property
    def unlisted(self) -> Ranges:
        """What was never listed."""
        return tuple(Window(start, end) for start, end in self._checkpoint.value.unlisted)

    @property
    def relist(self) -> Ranges:
        """What was, and could not be when its turn came again."""
        return tuple(Window(start, end) for start, end in self._checkpoint.value.relist)

    def todo(self, until: datetime | None = None) -> list[Window]:
        """All of it, or what was created before a time, in windows that may be asked for.

        By when it leaves the horizon; single seconds, which were tried before, come last.
        """
        ranges = add(self.unlisted, *self.relist)
        if until is not None:
            ranges = remove(ranges, Window(until, until + self._policy.horizon))
        windows = [
            window for each in ranges for window in split(each.start, each.end, self._policy.slice)
        ]
        return sorted(windows, key=lambda each: each.end - each.start <= NARROWEST)

    def around(self, due: Due) -> list[Due]:
        """What is due and not in here, piece by piece."""
        pieces: Ranges = (due.window,)
        for known in (*self.unlisted, *self.relist):
            pieces = remove(pieces, known)
        # Whole only with its last piece; up to there the watermark follows.
        names = set(due.moves) & {"watermark"}
        return [
            replace(
                due,
                window=each,
                moves=due.moves if each is pieces[-1] else dict.fromkeys(names, each.end),
            )
            for each in pieces
        ]

    def put(self, due: Due) -> None:
        """Keep what is due and could not be listed, and move past it."""
        start, end, mark = due.window.start, due.window.end, self._checkpoint.value.watermark
        # What lies before the watermark was listed before.
        since = end if not due.new else start if mark is None else min(max(start, mark), end)
        if start < since:
            self._change(relist=_few(add(self.relist, Window(start, since))))
        if since < end:
            self._change(unlisted=_few(add(self.unlisted, Window(since, end))))
        self.move_past(due)

    def move_past(self, due: Due) -> None:
        """Move the checkpoint over what was listed, or waits in here; never back."""
        mark = self._checkpoint.value.watermark
        if not due.new or mark is None or mark < due.window.end:
            self._checkpoint.move_soon(**due.moves)

    def done(self, window: Window) -> None:
        """A range needs no listing any more."""
        found = {"unlisted": self.unlisted, "relist": self.relist}
        left = {name: remove(ranges, window) for name, ranges in found.items()}
        if left != found:
            self._change(**left)

    def _change(self, **ranges: Ranges) -> None:
        changes: dict[str, Change] = {
            name: tuple((each.start, each.end) for each in found) for name, found in ranges.items()
        }
        self._checkpoint.move_soon(**changes)


def covers(window: Window, other: Window) -> bool:
    """Whether a range holds all of another."""
    return window.start <= other.start and other.end <= window.end


def parts(window: Window) -> tuple[Window, ...]:
    """Cut a range that could not be listed; one of a second stays whole."""
    width = timedelta(seconds=(window.end - window.start) // NARROWEST // CUT)
    return split(window.start, window.end, max(width, NARROWEST))


def _few(ranges: Ranges) -> Ranges:
    while len(ranges) > MOST:
        at = min(range(1, len(ranges)), key=lambda n: ranges[n].start - ranges[n - 1].end)
        ranges = (
            *ranges[: at - 1],
            Window(ranges[at - 1].start, ranges[at].end),
            *ranges[at + 1 :],
        )
    return ranges
