"""The API clients of one process: each connection's tokens, clock and budget, shared by all of its feeds and runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shared.rows.row import TraceApi
from shared.service.asking import Asker, Retries
from shared.service.budget import Allowance, Budget
from shared.service.credentials import token_source
from shared.service.http import HttpClient
from shared.sources.management_api import ManagementApi
from shared.sources.message_trace.graph import GraphTrace
from shared.sources.message_trace.reporting import ReportingTrace
from shared.sources.message_trace.settings import REPORTING
from shared.times import ServiceClock

if TYPE_CHECKING:
    from shared.config.connections import Connection
    from shared.config.settings import Settings
    from shared.run.context import Tuning
    from shared.state.account import Storage
    from shared.stop import Stop

TRACE_WINDOW = 300.0
"""Seconds over which Microsoft counts the requests of message trace."""

DETAILS_SHARE = 0.25
"""Of these requests that may go to details."""

Api = TypeVar("Api", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Factory(Generic[Api]):
    """Builds an API client for a run.

    Attributes:
        build: given the run's ``Stop``.
        clock: learns the service's time, from every run.
        budget: of the tenant for this API, shared by all who use it.
    """

    build: Callable[[Stop], Api]
    clock: ServiceClock
    budget: Budget


class Apis:
    """Builds API clients.

    Args:
        settings: the configuration.
        tuning: what a run may use.
        storage: the state account, where budgets are shared.
    """

    def __init__(self, settings: Settings, tuning: Tuning, storage: Storage) -> None:
        self._settings = settings
        self._tuning = tuning
        self._storage = storage
        self._lock = threading.RLock()
        self._management: dict[str, Factory[ManagementApi]] = {}
        self._traces: dict[str, Factory[TraceApi]] = {}
        self._budgets: dict[str, Budget] = {}

    def management(self, connection: Connection) -> Factory[ManagementApi]:
        """The connection's Management Activity API."""
        with self._lock:
            if connection.name not in self._management:
                self._management[connection.name] = self._build_management(connection)
            return self._management[connection.name]

    def message_trace(self, connection: Connection) -> Factory[TraceApi]:
        """The connection's message trace, from whichever API its settings name."""
        with self._lock:
            if connection.name not in self._traces:
                self._traces[connection.name] = self._build_trace(connection)
            return self._traces[connection.name]

    def details_budget(self, connection: Connection) -> Budget:
        """What of the message trace's budget may go to the details of rows."""
        limit = max(1, int(self._settings.message_trace_requests * DETAILS_SHARE))
        clock = self.message_trace(connection).clock
        with self._lock:
            return self._trace_budget(connection, "trace-details", limit, clock)

    def _build_management(self, connection: Connection) -> Factory[ManagementApi]:
        root = connection.management
        budget = self._budget(
            f"budgets/{connection.tenant_id}/management.json",
            Allowance(limit=self._settings.requests_per_minute),
        )
        clock = ServiceClock()
        ask = self._asker(connection, root, connection.scope, budget, clock)

        def build(stop: Stop) -> ManagementApi:
            return ManagementApi(
                tenant_id=connection.tenant_id,
                publisher_id=connection.publisher_id,
                root=root,
                asker=ask(stop),
            )

        return Factory(build=build, clock=clock, budget=budget)

    def _build_trace(self, connection: Connection) -> Factory[TraceApi]:
        trace = connection.message_trace
        clock = ServiceClock()
        budget = self._trace_budget(
            connection, "trace", self._settings.message_trace_requests, clock
        )
        ask = self._asker(connection, trace.endpoint, trace.scope, budget, clock)

        def build(stop: Stop) -> TraceApi:
            if trace.api == REPORTING:
                return ReportingTrace(root=trace.endpoint, asker=ask(stop))
            return GraphTrace(root=trace.endpoint, asker=ask(stop), offered=trace.offered)

        return Factory(build=build, clock=clock, budget=budget)

    def _trace_budget(
        self, connection: Connection, name: str, limit: int, clock: ServiceClock
    ) -> Budget:
        return self._budget(
            f"budgets/{connection.tenant_id}/{name}.json",
            # A page takes seconds, so most of a block would be forfeited.
            Allowance(limit=limit, window=TRACE_WINDOW, max_block=1),
            # Five minutes are long enough for instances whose own clocks differ to count each other wrong.
            now=lambda: clock.now().timestamp(),
        )

    def _budget(self, name: str, allowance: Allowance, **clock: Any) -> Budget:
        if name not in self._budgets:
            self._budgets[name] = Budget(self._storage, name, allowance, **clock)
        return self._budgets[name]

    def _asker(
        self, connection: Connection, root: str, scope: str, budget: Budget, clock: ServiceClock
    ) -> Callable[[Stop], Asker]:
        """What asks one API of a connection: pinned to its root, with tokens for its scope and a clock of its own."""
        tuning, network = self._tuning, self._settings.network
        tokens = token_source(connection, scope, network=network)
        http = HttpClient(root, verify=network.verify, limits=tuning.limits)

        retries = Retries(
            tries=tuning.tries,
            backoff=tuning.backoff,
            throttle_backoff=tuning.throttle_backoff,
        )

        def ask(stop: Stop) -> Asker:
            return Asker(
                http=http,
                tokens=tokens,
                budget=budget,
                clock=clock,
                stopping=stop,
                retries=retries,
                sleep=stop.wait,
            )

        return ask
