"""A made-up source whose contents are listed, and fetched one by one: all that adding one takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared import policy
from shared.contents.content import Content, ContentPolicy
from shared.contents.job import ContentJob
from shared.contents.replay import replay_feed
from shared.run.context import Feed, JobMaker, Parts, RunContext, Tuning, days_of
from shared.service.budget import Allowance, Budget
from shared.sources.registry import CONTENTS, Source
from shared.times import ServiceClock, Window, iso, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.config.connections import Connection
    from shared.errors import CollectorError
    from shared.run.replays import ReplaySummary
    from shared.sources.clients import Apis
    from shared.state.gaps import Gaps

BADGE_POLICY = ContentPolicy(
    horizon=timedelta(days=3),
    margin=timedelta(minutes=5),
    overlap=timedelta(minutes=90),
    slice=timedelta(hours=6),
    cycle=timedelta(hours=3),
    last_call=timedelta(minutes=30),
    max_width=timedelta(hours=12),
)


@dataclass
class Badges:
    """A service of which every answer is at hand; see ``ContentApi``.

    Attributes:
        ahead: how far its clock is ahead of this machine's.
        asked: every window for which it was asked.
        refused: those that begin before its horizon, or are too wide.
    """

    bodies: dict[str, tuple[datetime, bytes]] = field(default_factory=dict)
    budget: Budget | None = None
    requests: int = 0
    throttled: int = 0
    ahead: timedelta = timedelta(0)
    asked: list[Window] = field(default_factory=list)
    refused: list[Window] = field(default_factory=list)

    def now(self) -> datetime:
        """Its clock."""
        return utc_now() + self.ahead

    def pages(self, window: Window) -> Iterator[list[Content]]:
        """Two contents a page."""
        self.asked.append(window)
        too_old = window.start < self.now() - BADGE_POLICY.horizon
        if too_old or window.end - window.start > BADGE_POLICY.max_width:
            self.refused.append(window)
            raise policy.error("window-too-old")
        found = [
            self._content(name, at)
            for name, (at, _) in self.bodies.items()
            if window.start <= at < window.end
        ]
        for start in range(0, len(found), 2):
            self._pay()
            yield found[start : start + 2]

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """A body, for which room is reserved first."""
        self._pay()
        body = self.bodies[content.id][1]
        reserve(len(body), False)
        return body

    def content_uri(self, content_id: str) -> str:
        """Where a content is."""
        return f"badges:{content_id}"

    def read_entry(self, raw: bytes, start: datetime) -> Content:
        """An entry is the content's id."""
        return self._content(raw.decode(), start)

    def _content(self, name: str, at: datetime) -> Content:
        uri = self.content_uri(name)
        # It does not say until when a content is there.
        return Content(id=name, uri=uri, created=iso(at), expires="", day=at.date())

    def _pay(self) -> None:
        assert self.budget is not None
        self.budget.take()
        self.requests += 1


class Open:
    """It is always listed."""

    def ensure(self, gaps: Gaps) -> CollectorError | None:
        """Nothing has to be done."""
        del gaps
        return None

    def refused(self, error: CollectorError, gaps: Gaps) -> None:
        """Nothing is known of it."""


def source_of(api: Badges) -> Source:
    """The registry row."""

    def jobs(apis: Apis, connection: Connection) -> JobMaker:
        api.budget = apis.budget(connection, "badges", Allowance(limit=600))

        def make(run: RunContext) -> ContentJob:
            return ContentJob(run, api, BADGE_POLICY, gate=Open(), asker=api)

        return JobMaker(make=make, clock=ServiceClock(api.now))

    def replay(
        apis: Apis, connection: Connection, feed: Feed, parts: Parts, tuning: Tuning
    ) -> list[ReplaySummary]:
        days = days_of(feed, parts.storage, BADGE_POLICY.days)
        return [replay_feed(feed, parts, api, tuning, days=days)]

    return Source(
        name="Badges.All",
        setting="BADGES",
        hub="badges",
        engine=CONTENTS,
        jobs=jobs,
        replay=replay,
    )
