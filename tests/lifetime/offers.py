"""What a tenant with day and night brings forth; all of it is written down, so that it can be offered once more."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.sources.message_trace.row import SOURCE as TRACE

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from local.tenant import Content
    from local.tenant.trace import Row
    from tests.tracing import TraceRig

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LATEST = 5.5 * DAY
"""How late a content is at most."""

LATEST_ROW = 40 * HOUR
"""How late a row comes, or changes."""


@dataclass
class Offers:
    """What is offered to the feeds of some sources.

    Attributes:
        rig: of the tenant.
        sources: which.
        per_day: contents of a source, and messages.
        pick: chance.
        contents: what was offered of each source.
        rows: likewise.
        log: every offer, as it was made.
    """

    rig: TraceRig
    sources: tuple[str, ...]
    per_day: float
    pick: Random
    contents: dict[str, list[Content]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def bring(self, step: timedelta, *, volume: float, off: Collection[str]) -> None:
        """Offer what comes into being in the time that is next, but nothing of what is switched off."""
        now, pick = self.rig.tenant.now(), self.pick
        rate = self.per_day * (step / DAY) * (1 - 0.8 * math.cos(2 * math.pi * now.hour / 24))
        for source in self.sources:
            for _ in range(int(volume * rate + pick.random())):
                created = now + pick.random() * step
                if source == TRACE:
                    self._offer(source, self._message(created))
                elif source not in off:
                    self._offer(source, self._content(created))

    def never_comes(self, source: str) -> Content:
        """Offer a content that somebody else makes fail."""
        now = self.rig.tenant.now()
        self._offer(source, {"created": now - HOUR / 2, "visible_at": now, "count": 2})
        return self.contents[source][-1]

    def again(self, log: list[tuple[str, dict[str, Any]]]) -> None:
        """Offer to a new tenant what was offered to an older one: it is the same, byte for byte."""
        for source, options in log:
            self._offer(source, options)

    def _offer(self, source: str, options: dict[str, Any]) -> None:
        self.log.append((source, options))
        tenant = self.rig.tenant
        if source == TRACE:
            self.rows += tenant.trace.offer(**options)
        else:
            self.contents.setdefault(source, []).append(tenant.offer(source, **options))

    def _content(self, created: datetime) -> dict[str, Any]:
        pick, chance = self.pick, self.pick.random()
        options: dict[str, Any] = {"created": created, "count": 2}
        options["visible_at"] = created + pick.uniform(1, 40) * MINUTE
        if chance < 0.08:
            options["visible_at"] = created + pick.random() * LATEST
        elif chance < 0.13:
            options["hidden_after_listings"] = 1
        elif chance < 0.18:
            options["relisted_at"] = created + pick.uniform(0.1, 5) * DAY
        return options

    def _message(self, received: datetime) -> dict[str, Any]:
        pick, chance = self.pick, self.pick.random()
        people = [
            f"user{pick.randrange(50)}@lumenfield.example" for _ in range(pick.choice((1, 1, 2)))
        ]
        options: dict[str, Any] = {"received": received, "recipients": sorted(set(people))}
        options["visible_at"] = received + pick.uniform(1, 10) * MINUTE
        if chance < 0.1:
            options["visible_at"] = received + pick.random() * LATEST_ROW
        elif chance < 0.25:
            options["status"] = "pending"
            options["then"] = [(received + pick.uniform(0.2, 40) * HOUR, "delivered")]
        return options
