"""The order in which a run works off what was missed: what could not be read comes last in the next one. Pure.

Guarantee: each run that fails sets aside what it failed at, and the next one goes on elsewhere. Once nothing else is
left, all of it has another turn. So every range that can be read is, after a bounded number of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.rows.windows import NARROWEST
from shared.times import HOUR, Ranges, Window, add, hour_of, remove

if TYPE_CHECKING:
    from datetime import timedelta


class Backlog:
    """What a run still has to read of what was missed.

    Oldest first. After a window that cannot be read the newest comes first: it may be but the first of many that can
    never be read.

    Args:
        todo: all of it.
        failed: what of it earlier runs failed at.

    Attributes:
        todo: what this run has not tried.
    """

    def __init__(self, todo: Ranges, failed: Ranges) -> None:
        self.todo = todo
        # Of what is no longer missing nothing is remembered.
        self._later = _without(todo, _without(todo, failed))
        self._unread: Ranges = ()
        self._newest = False

    @property
    def failed(self) -> Ranges:
        """What the next run tries last."""
        return add(self._later, *self._unread)

    def window(self, width: timedelta) -> Window:
        """What to read next, up to a whole hour where it can, so that hours are read as a whole."""
        first = _without(self.todo, self._later)
        if not first:
            self._later, first = (), self.todo
        return _end_of(first[-1], width) if self._newest else _beginning_of(first[0], width)

    def read(self, window: Window) -> None:
        """It was read."""
        self.todo = remove(self.todo, window)

    def not_read(self, window: Window) -> None:
        """It could not be read, and is not tried again in this run."""
        self.todo, self._newest = remove(self.todo, window), True
        # A wider one says that nothing can be asked for, or that it is too old; no other has a better chance.
        if window.end - window.start <= NARROWEST:
            self._unread = add(self._unread, window)


def _without(ranges: Ranges, others: Ranges) -> Ranges:
    for each in others:
        ranges = remove(ranges, each)
    return ranges


def _beginning_of(todo: Window, width: timedelta) -> Window:
    """The beginning of a range, up to a whole hour where it can."""
    end = min(todo.start + width, todo.end)
    whole = hour_of(end)
    return Window(todo.start, whole if todo.start < whole else end)


def _end_of(todo: Window, width: timedelta) -> Window:
    """The end of a range, likewise."""
    start = max(todo.end - width, todo.start)
    whole = hour_of(start + HOUR - NARROWEST)
    return Window(whole if start < whole < todo.end else start, todo.end)
