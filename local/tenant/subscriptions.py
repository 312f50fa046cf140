"""What a simulated tenant lets one do: subscriptions, the rules for starting and stopping them, and quotas.

A content type is enabled, disabled (by an administrator) or missing. Starting what is enabled
changes nothing and is an error (AF20024) unless it changes the webhook. Starting again within 15
minutes is refused. What became visible between a stop and the next start is lost for the API
(management-activity-api, 4.1 to 4.3).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.tenant.messages import Refused
from local.tenant.spec import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

COOL_DOWN = timedelta(minutes=15)


@dataclass(kw_only=True)
class _State:
    status: str | None = None
    webhook: dict[str, Any] | None = None
    last_start: datetime | None = None
    stopped_at: datetime | None = None
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)


class Subscriptions:
    """The subscriptions of one tenant. Safe to use from several threads."""

    def __init__(self, enabled: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._states = {source: _State() for source in SOURCES}
        for source in enabled:
            self._states[source].status = "enabled"

    def listed(self) -> list[dict[str, Any]]:
        """The answer to a list request: everything that is not missing."""
        with self._lock:
            return [
                {"contentType": source, "status": state.status, "webhook": state.webhook}
                for source, state in self._states.items()
                if state.status is not None
            ]

    def status(self, source: str) -> str | None:
        """``enabled``, ``disabled`` or None for missing."""
        with self._lock:
            return self._states[source].status

    def set(self, source: str, status: str | None) -> None:
        """Set a state from outside, as an administrator does; forgets the cool-down."""
        if source not in SOURCES or status not in ("enabled", "disabled", None):
            raise ValueError("source is a content type, status enabled, disabled or null")
        with self._lock:
            state = self._states[source]
            state.status, state.last_start = status, None

    def start(
        self, source: str, webhook: Mapping[str, Any] | None, now: datetime
    ) -> dict[str, Any]:
        """The API's answer to a start: AF429 within the cool-down, AF20024 when nothing would change."""
        with self._lock:
            state = self._states[source]
            if state.last_start is not None and now - state.last_start < COOL_DOWN:
                left = int((state.last_start + COOL_DOWN - now).total_seconds())
                text = f"Subscription started too often; retry after {left // 60}m {left % 60}s"
                raise Refused("AF429", text, status=429)
            kept = None if webhook is None else {"status": "enabled", **webhook}
            if state.status == "enabled" and state.webhook == kept:
                state.last_start = now
                raise Refused("AF20024", source)
            if state.stopped_at is not None:
                state.gaps.append((state.stopped_at, now))
                state.stopped_at = None
            state.status, state.webhook, state.last_start = "enabled", kept, now
            return {"contentType": source, "status": "enabled", "webhook": kept}

    def stop(self, source: str, now: datetime) -> None:
        """Remove a subscription; AF20022 when there is none."""
        with self._lock:
            state = self._states[source]
            if state.status is None:
                raise Refused("AF20022", source)
            state.status, state.webhook, state.stopped_at = None, None, now

    def lost(self, source: str, visible_at: datetime) -> bool:
        """Whether what became visible then was missed because the subscription was stopped."""
        with self._lock:
            gaps = self._states[source].gaps
            return any(stopped <= visible_at < started for stopped, started in gaps)


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
