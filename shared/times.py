"""Time as the collector sees it: the wall clock, corrected by the Date header of the service that judges our windows.

Windows, expiry and retry times are all compared with the service's clock, so that an instance whose own clock is
wrong neither asks for the future (AF20055) nor gives a content up too early.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HOUR = timedelta(hours=1)
MAX_STEP = timedelta(minutes=5)
MAX_OFFSET = timedelta(days=366)
LEAP = timedelta(hours=18)
"""A step from which on nothing can be taken back: it makes gaps and losses, and days final."""
STEP_ANSWERS, LEAP_ANSWERS = 2, 4
"""Answers in a row that have to tell a step, and a leap."""


def utc(value: datetime) -> datetime:
    """A stored time; one without a zone is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


class ServiceClock:
    """The wall clock plus the last known difference to the service's clock.

    One answer with a wrong ``Date`` must not make contents expire or windows move: a step of more than five minutes
    counts only once a second answer confirms it. A leap of most of a day needs three more.

    Args:
        now: the local wall clock, UTC.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._offset = timedelta()
        self._step: timedelta | None = None
        self._times = 0
        self._told = False
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Now, by the service's clock as far as it is known."""
        with self._lock:
            return self._now() + self._offset

    @property
    def doubtful(self) -> bool:
        """Whether the last answer told another time, which the next ones have to confirm."""
        with self._lock:
            return self._step is not None

    @property
    def offset(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        with self._lock:
            return self._offset.total_seconds()

    def recall(self, offset: float) -> None:
        """Go by a difference that an earlier process saw, until the service tells its time."""
        with self._lock:
            if not self._told:
                self._offset = timedelta(seconds=offset)

    def observe(self, date_header: str | None) -> None:
        """Learn from a ``Date`` header; whole seconds, so differences below two seconds are ignored."""
        if not date_header:
            return
        try:
            served = parsedate_to_datetime(date_header)
            if served.tzinfo is None:
                served = served.replace(tzinfo=UTC)
            offset = served - self._now()
        except (ValueError, OverflowError):
            return
        if abs(offset) > MAX_OFFSET:
            return
        with self._lock:
            again = self._step is not None and abs(offset - self._step) <= MAX_STEP
            self._times = self._times + 1 if again else 1
            step = abs(offset - self._offset)
            if step > MAX_STEP and self._times < (STEP_ANSWERS if step < LEAP else LEAP_ANSWERS):
                self._step = offset
                return
            self._step = None
            self._told = True
            self._offset = offset if abs(offset) >= timedelta(seconds=2) else timedelta()


def parse_wire(text: str) -> datetime:
    """Parse a timestamp of the API; one without a zone is UTC.

    Raises:
        ValueError: the text is not a timestamp, or not one between the years 1 and 9999 in UTC.
    """
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"out of range: {text!r}") from error


def format_wire(value: datetime) -> str:
    """Format for ``startTime`` and ``endTime``: UTC, whole seconds, no zone (the safest of the accepted forms)."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(value: datetime) -> str:
    """Format for state and tables: UTC with a zone, milliseconds only where there are any."""
    value = value.astimezone(UTC)
    spec = "milliseconds" if value.microsecond else "seconds"
    return value.isoformat(timespec=spec).replace("+00:00", "Z")


@dataclass(frozen=True, order=True)
class Window:
    """A range of time, UTC: its start belongs to it, its end does not."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse an empty or reversed range."""
        if self.start >= self.end:
            raise ValueError(f"window start {self.start} is not before its end {self.end}")


Ranges = tuple[Window, ...]
"""Ranges in the order of time, of which none touch."""


def add(ranges: Ranges, *more: Window) -> Ranges:
    """Put ranges to others; what touches becomes one."""
    merged: list[Window] = []
    for each in sorted((*ranges, *more)):
        if merged and each.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, each.end))
        else:
            merged.append(each)
    return tuple(merged)


def remove(ranges: Ranges, done: Window) -> Ranges:
    """Take a range out of others."""
    left: list[Window] = []
    for each in ranges:
        if each.start < min(done.start, each.end):
            left.append(Window(each.start, min(done.start, each.end)))
        if max(done.end, each.start) < each.end:
            left.append(Window(max(done.end, each.start), each.end))
    return tuple(left)


def overlaps(ranges: Iterable[Window], start: datetime, end: datetime) -> bool:
    """Whether any of these ranges has an instant in common with the one from ``start`` to ``end``."""
    return any(each.start < end and start < each.end for each in ranges)


def whole_second(value: datetime) -> datetime:
    """Cut to the whole second, which is all that the API accepts."""
    return value.replace(microsecond=0)


def ended_days(since: datetime | None, until: datetime | None, most: timedelta) -> list[date]:
    """The UTC days, ``most`` back at most, that ended while the watermark moved; none where it was not known."""
    if since is None or until is None:
        return []
    first = max(since, until - most).date()
    return [first + timedelta(days=n) for n in range((until.date() - first).days)]


def beginning_of(day: date) -> datetime:
    """The midnight (UTC) at which a day begins."""
    return datetime.combine(day, time(), UTC)


def end_of(day: date) -> datetime:
    """The midnight (UTC) at which a day is over."""
    return beginning_of(day + timedelta(days=1))


def hour_of(moment: datetime) -> datetime:
    """The UTC hour that a moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def whole_hours(window: Window) -> Iterator[datetime]:
    """The UTC hours that lie in a range from their beginning to their end."""
    hour = hour_of(window.start)
    if hour < window.start:
        hour += HOUR
    while hour + HOUR <= window.end:
        yield hour
        hour += HOUR


def by_day(window: Window) -> Iterator[tuple[date, Window]]:
    """Cut a range at midnights (UTC)."""
    start = window.start
    while start < window.end:
        end = min(end_of(start.date()), window.end)
        yield start.date(), Window(start, end)
        start = end
