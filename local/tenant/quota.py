"""How many requests an API takes in a stretch of the tenant's clock, and the most it was asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta


class Quota:
    """A rolling quota of ``limit`` requests per ``period``; without a limit it only watches.

    Safe to use from several threads.
    """

    def __init__(
        self,
        limit: int | None,
        now: Callable[[], datetime],
        period: timedelta = timedelta(seconds=60),
    ) -> None:
        self._limit = limit
        self._period = period
        self._now = now
        self._lock = threading.Lock()
        self._taken: deque[datetime] = deque()
        self._asked: deque[datetime] = deque()
        self._peak = 0

    def take(self) -> bool:
        """Count a request, or return False when there were too many; those do not count."""
        with self._lock:
            now = self._now()
            self._asked.append(now)
            self._forget(self._asked, now)
            self._peak = max(self._peak, len(self._asked))
            self._forget(self._taken, now)
            if self._limit is not None and len(self._taken) >= self._limit:
                return False
            self._taken.append(now)
            return True

    def wait_s(self) -> int:
        """Whole seconds until a request counts again."""
        with self._lock:
            now = self._now()
            self._forget(self._taken, now)
            if self._limit is None or len(self._taken) < self._limit or not self._taken:
                return 0
            return int((self._taken[0] + self._period - now).total_seconds()) + 1

    @property
    def peak(self) -> int:
        """The most requests that came within any one period, refused ones too."""
        with self._lock:
            return self._peak

    def _forget(self, times: deque[datetime], now: datetime) -> None:
        while times and now - times[0] >= self._period:
            times.popleft()
