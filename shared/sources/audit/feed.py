"""The feeds of the audit sources: their API client, their jobs, and what a replay makes of their dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contents.job import ContentJob
from shared.contents.replay import replay_feed
from shared.run.context import Feed, JobMaker, Parts, RunContext, Tuning
from shared.service.budget import Allowance
from shared.sources.audit.auditing import Switches
from shared.sources.audit.management_api import AUDIT_POLICY, ManagementApi
from shared.sources.audit.settings import audit_of
from shared.sources.audit.subscription import SubscriptionKeeper
from shared.sources.clients import Apis, Factory
from shared.stop import Stop
from shared.times import ServiceClock, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.config.connections import Connection
    from shared.contents.content import Content
    from shared.run.replays import ReplaySummary


class AuditContents:
    """One content type of a tenant; see ``ContentApi``.

    Args:
        api: the tenant's Management Activity API.
        content_type: such as ``Audit.Exchange``.
        switches: told of every body.
    """

    def __init__(self, api: ManagementApi, content_type: str, switches: Switches) -> None:
        self._api = api
        self._content_type = content_type
        self._switches = switches
        self.asker = api.asker
        self.content_uri = api.content_uri

    def pages(self, window: Window) -> Iterator[list[Content]]:
        """List a window page by page."""
        return self._api.pages(self._content_type, window)

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a content's body; what it says of auditing is written down before anything of it is published."""
        body = self._api.fetch(content, reserve)
        self._switches.watch(body)
        return body


def management(apis: Apis, connection: Connection) -> Factory[ManagementApi]:
    """The Management Activity API of a connection."""
    audit, clock = audit_of(connection), ServiceClock()
    budget = apis.budget(connection, "management", Allowance(limit=audit.requests))
    ask = apis.asker(connection, audit.endpoint, audit.scope, budget, clock)

    def build(stop: Stop) -> ManagementApi:
        return ManagementApi(
            tenant_id=connection.tenant_id,
            publisher_id=audit.publisher_id or connection.tenant_id,
            root=audit.endpoint,
            asker=ask(stop),
        )

    return Factory(build=build, clock=clock)


def audit_jobs(apis: Apis, connection: Connection) -> JobMaker:
    """What makes the jobs of a connection's audit feeds."""
    made = apis.client(management, connection)

    def make(run: RunContext) -> ContentJob:
        api = made.build(run.stop)
        switches = Switches(run.parts.storage.state, run.feed.tenant_id)
        keeper = SubscriptionKeeper(
            run.feed.source,
            api=api,
            checkpoint=run.checkpoint,
            clock=made.clock,
            switches=switches,
        )
        contents = AuditContents(api, run.feed.source, switches)
        return ContentJob(run, contents, AUDIT_POLICY, gate=keeper)

    def replay(feed: Feed, parts: Parts, tuning: Tuning) -> list[ReplaySummary]:
        read_entry = made.build(Stop(float("inf"))).read_entry
        return [replay_feed(feed, parts, tuning, AUDIT_POLICY.days, read_entry=read_entry)]

    return JobMaker(make=make, replay=replay, clock=made.clock)
