"""Time as the collector sees it: the wall clock, corrected by the Date header of the service that judges our windows.

Windows, expiry and retry times are all compared with the service's clock, so that an instance whose own clock is
wrong neither asks for the future (AF20055) nor gives a content up too early.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


class ServiceClock:
    """The wall clock plus the last known difference to the service's clock.

    Args:
        now: the local wall clock, UTC.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._offset = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Now, by the service's clock as far as it is known."""
        with self._lock:
            return self._now() + self._offset

    def observe(self, date_header: str | None) -> None:
        """Learn from a ``Date`` header; whole seconds, so differences below two seconds are ignored."""
        if not date_header:
            return
        try:
            served = parsedate_to_datetime(date_header)
        except ValueError:
            return
        if served.tzinfo is None:
            served = served.replace(tzinfo=UTC)
        offset = served - self._now()
        with self._lock:
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
