"""The feeds of the audit sources: their API client, their jobs, and what a replay makes of their dead letters."""

from __future__ import annotations

import functools
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
from shared.times import ServiceClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.config.connections import Connection
    from shared.run.replays import ReplaySummary


def management(
    apis: Apis, connection: Connection
) -> Factory[Callable[[str, Callable[[bytes], None]], ManagementApi]]:
    """The Management Activity API of a connection, by content type."""
    audit, clock = audit_of(connection), ServiceClock()
    budget = apis.budget(connection, "management", Allowance(limit=audit.requests))
    ask = apis.asker(connection, audit.endpoint, audit.scope, budget, clock)

    def build(stop: Stop) -> Callable[[str, Callable[[bytes], None]], ManagementApi]:
        return functools.partial(
            ManagementApi,
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
        switches = Switches(run.parts.storage.state, run.feed.tenant_id)
        api = made.build(run.stop)(run.feed.source, switches.watch)
        keeper = SubscriptionKeeper(
            run.feed.source,
            api=api,
            checkpoint=run.checkpoint,
            clock=made.clock,
            switches=switches,
        )
        return ContentJob(run, api, AUDIT_POLICY, gate=keeper)

    def replay(feed: Feed, parts: Parts, tuning: Tuning) -> list[ReplaySummary]:
        switches = Switches(parts.storage.state, feed.tenant_id)
        api = made.build(Stop(float("inf")))(feed.source, switches.watch)
        return [replay_feed(feed, parts, tuning, AUDIT_POLICY.days, read_entry=api.read_entry)]

    return JobMaker(make=make, replay=replay, clock=made.clock)
