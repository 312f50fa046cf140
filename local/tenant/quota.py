"""How many requests an API takes in a stretch of the tenant's clock, and the most it was asked."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Quota:
    """A rolling quota of ``limit`` requests per ``period``; without a limit it only watches.

    ``peak`` is the most requests that came within any one period, refused ones too. Safe to use
    from several threads.
    """

    def __init__(
        self,
        limit: int | None,
        now: Callable[[], datetime],
        period: timedelta = timedelta(seconds=60),
    ) -> None:
        self._limit = float("inf") if limit is None else limit
        self._period = period
        self._now = now
        self._lock = threading.Lock()
        self._taken: deque[datetime] = deque()
        self._asked: deque[datetime] = deque()
        self.peak = 0

    def take(self) -> bool:
        """Count a request, or return False when there were too many; those do not count."""
        with self._lock:
            now = self._forget()
            self._asked.append(now)
            self.peak = max(self.peak, len(self._asked))
            free = len(self._taken) < self._limit
            if free:
                self._taken.append(now)
            return free

    def wait_s(self) -> int:
        """Whole seconds until a request counts again."""
        with self._lock:
            now = self._forget()
            if not self._taken or len(self._taken) < self._limit:
                return 0
            return int((self._taken[0] + self._period - now).total_seconds()) + 1

    def _forget(self) -> datetime:
        now = self._now()
        for times in (self._taken, self._asked):
            while times and now - times[0] >= self._period:
                times.popleft()
        return now
