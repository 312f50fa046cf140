"""The feed of a connection's message trace: its API client, its jobs, and what a replay makes of its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.rows.job import RowJob
from shared.run.context import JobMaker, RunContext
from shared.service.budget import Allowance, Budget
from shared.sources.clients import Apis, Factory
from shared.sources.message_trace.details import TraceApi, TraceDetails
from shared.sources.message_trace.graph import GraphTrace
from shared.sources.message_trace.policy import trace_policy
from shared.sources.message_trace.replay import replay_trace
from shared.sources.message_trace.reporting import ReportingTrace
from shared.sources.message_trace.settings import REPORTING, message_trace_of
from shared.times import ServiceClock

if TYPE_CHECKING:
    from shared.config.connections import Connection
    from shared.stop import Stop

BUDGET_WINDOW = 300.0
"""Seconds over which Microsoft counts the requests of message trace."""

DETAILS_SHARE = 0.25
"""Of these requests that may go to details."""


def message_trace(apis: Apis, connection: Connection) -> Factory[TraceApi]:
    """The message trace of a connection, from whichever API its settings name."""
    trace = message_trace_of(connection)
    clock = ServiceClock()
    budget = _budget(apis, connection, "trace", trace.requests, clock)
    ask = apis.asker(connection, trace.endpoint, trace.scope, budget, clock)

    def build(stop: Stop) -> TraceApi:
        if trace.api == REPORTING:
            return ReportingTrace(root=trace.endpoint, asker=ask(stop))
        return GraphTrace(root=trace.endpoint, asker=ask(stop), offered=trace.offered)

    return Factory(build=build, clock=clock)


def message_trace_jobs(apis: Apis, connection: Connection) -> JobMaker:
    """What makes the jobs of a connection's message-trace feed."""
    made, trace = apis.client(message_trace, connection), message_trace_of(connection)
    policy = trace_policy(delay=trace.delay, backfill=trace.backfill)
    share = max(1, int(trace.requests * DETAILS_SHARE))
    budget = _budget(apis, connection, "trace-details", share, made.clock)

    def make(run: RunContext) -> RowJob:
        api = made.build(run.stop)
        details = None
        if trace.details:
            details = TraceDetails(run, api, statuses=trace.details, budget=budget)
        return RowJob(run, api, policy, follower=details)

    return JobMaker(make=make, replay=replay_trace, clock=made.clock)


def _budget(
    apis: Apis, connection: Connection, name: str, limit: int, clock: ServiceClock
) -> Budget:
    return apis.budget(
        connection,
        name,
        # A page may take seconds, and most of a block would be forfeited.
        Allowance(limit=limit, window=BUDGET_WINDOW, first_block=1, max_block=8),
        # Five minutes are long enough for instances whose own clocks differ to count each other wrong.
        now=lambda: clock.now().timestamp(),
    )
