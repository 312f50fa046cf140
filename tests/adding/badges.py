"""A made-up source whose contents are listed, and fetched one by one: all that adding one takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from shared import policy
from shared.contents.content import Content, ContentPolicy
from shared.contents.job import ContentJob
from shared.contents.replay import replay_feed
from shared.run.context import JobMaker
from shared.service.budget import Allowance, Payer
from shared.sources.registry import CONTENTS, Source
from shared.times import HOUR, ServiceClock, Window, iso, parse_wire, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from shared.config.connections import Connection
    from shared.sources.clients import Apis

POLICY = ContentPolicy(horizon=72 * HOUR, slice=6 * HOUR, cycle=3 * HOUR, max_width=12 * HOUR)


@dataclass
class Badges:
    """A service of which every answer is at hand, with a clock of its own; see ``ContentApi``."""

    asker: Payer = field(init=False)
    listed: list[Content] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        """Its clock."""
        return utc_now() + self.ahead

    def offer(self, name: str, body: bytes, *, hours_ago: float = 1.0) -> None:
        """Let there be a content."""
        at = self.now() - hours_ago * HOUR
        self.listed.append(Content(id=name, uri=name, created=iso(at), day=at.date()))
        self.bodies[name] = body

    def pages(self, window: Window) -> Iterator[list[Content]]:
        """Two contents a page, of a window that is neither too old nor too wide."""
        age, width = self.now() - window.start, window.end - window.start
        if age > POLICY.horizon or width > POLICY.max_width:
            raise policy.error("http-400")
        found = [x for x in self.listed if window.start <= parse_wire(x.created) < window.end]
        for start in range(0, len(found), 2):
            self.asker.pay()
            yield found[start : start + 2]

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """A body, for which room is reserved first."""
        self.asker.pay()
        reserve(len(self.bodies[content.id]), False)
        return self.bodies[content.id]

    def content_uri(self, content_id: str) -> str:
        """A content is asked for by its id."""
        return content_id


def source_of(api: Badges) -> Source:
    """The registry row."""

    def jobs(apis: Apis, connection: Connection) -> JobMaker:
        api.asker = Payer(apis.budget(connection, "badges", Allowance(limit=600)))
        return JobMaker(
            make=lambda run: ContentJob(run, api, POLICY),
            replay=lambda feed, parts, tuning: [replay_feed(feed, parts, tuning, POLICY.days)],
            clock=ServiceClock(api.now),
        )

    return Source(name="Badges.All", setting="BADGES", hub="badges", engine=CONTENTS, jobs=jobs)
