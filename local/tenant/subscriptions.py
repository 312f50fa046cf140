"""Subscriptions of a simulated tenant and the rules for starting and stopping them.

A content type is enabled, disabled (by an administrator) or missing. Starting what is enabled
changes nothing and is an error (AF20024) unless it changes the webhook. Starting again within 15
minutes is refused. What became visible between a stop and the next start is lost for the API
(management-activity-api, 4.1 to 4.3).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.tenant.messages import Refused
from local.tenant.spec import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
                wait = f"{left // 60}m {left % 60}s"
                raise Refused(
                    "AF429", f"Subscription started too often; retry after {wait}", status=429
                )
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
