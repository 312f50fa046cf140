"""Try windows one after the other: how each attempt ended, how wide the next window should be, when to give in."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

from shared.errors import CollectorError, ConfigError, NoToken, Permanent, Transient
from shared.rows.row import PAGING, WINDOW_TOO_OLD
from shared.rows.windows import NARROWEST, next_width
from shared.times import Ranges, Window, add, iso, whole_hours

if TYPE_CHECKING:
    from shared.rows.reader import RowReader, Unseen, WindowRead
    from shared.stop import Stop

logger = logging.getLogger("m365.rows")

MAX_FAILURES = 3
"""Windows in a row that could not be read, after which it is the service's trouble and not theirs."""

HASTE = timedelta(minutes=5)
"""How narrow a window of what is new has to be before it is put off; the backfill looks for the second that fails."""

CUT = 4
"""Times that the next window is narrower than one that could not be read."""


class Outcome(Enum):
    """What came of an attempt."""

    WHOLE = auto()
    """The window was read to its end."""
    NARROWER = auto()
    """It was not; a narrower one from the same start may be."""
    NOT_READ = auto()
    """It could not be read, and a later run tries again."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt at a window.

    Attributes:
        outcome: what came of it.
        seconds: how wide the next window should be.
    """

    outcome: Outcome
    seconds: int


class Attempts:
    """The attempts of one run.

    Args:
        reader: reads a window.
        target_rows: that a window should have.
        max_width: the widest that the service takes.
        stop: the end of the run.

    Attributes:
        windows: what was read.
        hours: whole hours of it.
        problems: why windows could not be read.
        answered: whether a window was answered well. Then what a person would have to mend for all of them is the
            failure of the one that says so.
    """

    def __init__(
        self, reader: RowReader, *, target_rows: int, max_width: timedelta, stop: Stop
    ) -> None:
        self._reader = reader
        self._target_rows = target_rows
        self._max_width = max_width
        self._stop = stop
        self._failures = 0
        self.windows: Ranges = ()
        self.hours: set[datetime] = set()
        self.problems: list[CollectorError] = []
        self.answered = False

    @property
    def hopeless(self) -> bool:
        """Whether so many windows in a row could not be read that none will be."""
        return self._failures >= MAX_FAILURES

    def once_more(self) -> None:
        """Where all failed so far, this is worth one attempt: other hours may be in order."""
        self._failures = min(self._failures, MAX_FAILURES - 1)

    def width(self, seconds: int) -> timedelta:
        """A stored width, whatever is stored: another API may have been set since."""
        return min(max(timedelta(seconds=seconds), NARROWEST), self._max_width)

    def read(
        self, window: Window, seconds: int, *, narrow: timedelta, unseen: Unseen | None = None
    ) -> Attempt:
        """Read a window.

        Args:
            window: what to read.
            seconds: how wide it was meant to be.
            narrow: a wider one that could not be read is to be tried narrower.
            unseen: see ``RowReader.read``.

        Raises:
            CollectorError: there is no point in reading on.
            RunStopped: the run ended.
        """
        try:
            read = self._reader.read(window, unseen)
        except (NoToken, Transient, Permanent, ConfigError) as error:
            if self._stop() or (isinstance(error, ConfigError) and not self.answered):
                raise
            return self._not_read(window, seconds, narrow, error)
        self._failures, self.answered = 0, True
        wanted = self._next(window, seconds, read)
        if not read.whole:
            return Attempt(outcome=Outcome.NARROWER, seconds=wanted)
        self.windows = add(self.windows, window)
        self.hours.update(whole_hours(window))
        return Attempt(outcome=Outcome.WHOLE, seconds=wanted)

    def _not_read(
        self, window: Window, seconds: int, narrow: timedelta, error: CollectorError
    ) -> Attempt:
        narrow = NARROWEST if error.code == PAGING else narrow
        start, end, width = iso(window.start), iso(window.end), window.end - window.start
        if width > narrow and not _of_any_width(error):
            logger.info("%s to %s is tried narrower: %s", start, end, error)
            cut = self.width(int(width.total_seconds()) // CUT)
            return Attempt(outcome=Outcome.NARROWER, seconds=int(cut.total_seconds()))
        self._failures += 1
        logger.warning("%s to %s is not read: %s", start, end, error)
        # Of a token that is missing the window says nothing.
        named = isinstance(error, NoToken)
        self.problems.append(error if named else error.about(f"window {start} to {end}"))
        return Attempt(outcome=Outcome.NOT_READ, seconds=seconds)

    def _next(self, window: Window, seconds: int, read: WindowRead) -> int:
        wanted = next_width(
            self.width(seconds),
            window.end - window.start,
            read.rows,
            read.pages,
            target=self._target_rows,
            most=self._max_width,
        )
        return int(wanted.total_seconds())


def _of_any_width(error: CollectorError) -> bool:
    """Whether a narrower window would be answered alike."""
    return isinstance(error, NoToken) or error.code == WINDOW_TOO_OLD
