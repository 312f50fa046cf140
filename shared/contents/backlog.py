"""Ranges that were due and could not be listed: they wait in the checkpoint, so that nothing waits for them.

One is narrowed until what fails is a second, and what could be listed is taken out of it at once. Where in it a run
tries is left to chance, so many that fail hold back what lies behind them for some runs, and not for good. What fails
until it leaves the horizon becomes a gap record. Every instant that was never listed is behind the watermark, in here,
or a gap.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.contents.windows import split
from shared.times import Ranges, Window, add, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from shared.contents.content import ContentPolicy
    from shared.state.checkpoint import Change, HeldCheckpoint

NARROWEST = timedelta(seconds=1)
CUT = 4
"""Parts into which a range is cut that cannot be listed as a whole."""

MOST_REFUSED = 16
"""Windows that fail while a run works off all of it, or what is urgent; eight narrow a range of hours to a second."""

MOST_SECONDS = 4
"""Of them, single seconds that failed before, as long as anything wider waits."""

MOST_LISTED = 100
"""Windows that a run lists meanwhile, whatever becomes of them."""

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

    def work_off(
        self,
        is_listed: Callable[[Window], bool],
        is_outage: Callable[[], bool],
        until: datetime | None = None,
    ) -> None:
        """List what waits, as far as it can be, in ever narrower windows.

        Args:
            is_listed: lists a window; False where it could not be.
            is_outage: whether it makes no sense to go on.
            until: only what was created before it.
        """
        waiting = self._windows(until)
        seconds = [each for each in waiting if each.end - each.start <= NARROWEST]
        wide = [each for each in waiting if each not in seconds]
        spent = _Spent(is_listed, is_outage)
        # Seconds first, which may have healed, and few of them, since most have not.
        for windows, most in (
            (seconds, MOST_SECONDS),
            (wide, MOST_REFUSED),
            (seconds, MOST_REFUSED),
        ):
            while windows and spent.leaves(most):
                # What lies beside the way down comes next, the widest first.
                windows += reversed(self._descend(windows.pop(), spent, most))

    def _descend(self, window: Window, spent: _Spent, most: int) -> list[Window]:
        """List a window, or narrower ones at some place of it; returns what lies beside them."""
        beside: list[Window] = []
        while not spent.on(window):
            narrower = _by_chance(parts(window))
            window = narrower.pop()
            beside += narrower
            if not narrower or not spent.leaves(most):
                return beside
        self.done(window)
        return beside

    def _windows(self, until: datetime | None) -> list[Window]:
        """All of it, or what was created before a time, in windows that may be asked for."""
        ranges = add(self.unlisted, *self.relist)
        if until is not None:
            ranges = remove(ranges, Window(until, until + self._policy.horizon))
        return _by_chance(
            [part for each in ranges for part in split(each.start, each.end, self._policy.slice)]
        )

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


@dataclass
class _Spent:
    """What a run spends on the backlog.

    Attributes:
        is_listed: lists a window.
        is_outage: whether it makes no sense to go on.
        listed: how often that was tried.
        refused: how often it failed.
    """

    is_listed: Callable[[Window], bool]
    is_outage: Callable[[], bool]
    listed: int = 0
    refused: int = 0

    def on(self, window: Window) -> bool:
        """List a window; False where it could not be."""
        self.listed += 1
        found = self.is_listed(window)
        self.refused += not found
        return found

    def leaves(self, most: int) -> bool:
        """Whether another may be listed, where so many may fail."""
        return self.refused < most and self.listed < MOST_LISTED and not self.is_outage()


def narrowest(windows: list[Window]) -> list[Window]:
    """Those of these windows that hold no other."""
    return [
        each
        for each in windows
        if not any(
            other != each and each.start <= other.start and other.end <= each.end
            for other in windows
        )
    ]


def parts(window: Window) -> tuple[Window, ...]:
    """Cut a range that could not be listed; one of a second stays whole."""
    width = timedelta(seconds=(window.end - window.start) // NARROWEST // CUT)
    return split(window.start, window.end, max(width, NARROWEST))


def _by_chance(windows: Iterable[Window]) -> list[Window]:
    found = list(windows)
    random.shuffle(found)
    return found


def _few(ranges: Ranges) -> Ranges:
    while len(ranges) > MOST:
        at = min(range(1, len(ranges)), key=lambda n: ranges[n].start - ranges[n - 1].end)
        ranges = (
            *ranges[: at - 1],
            Window(ranges[at - 1].start, ranges[at].end),
            *ranges[at + 1 :],
        )
    return ranges
