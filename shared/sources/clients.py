"""The API clients of one process: each connection's tokens, clock and budget, shared by all of its feeds and runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shared.service.asking import Asker, Retries
from shared.service.budget import Allowance, Budget
from shared.service.credentials import token_source
from shared.service.http import HttpClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.config.connections import Connection
    from shared.config.settings import Settings
    from shared.run.context import Tuning
    from shared.state.account import Storage
    from shared.stop import Stop
    from shared.times import ServiceClock

Api = TypeVar("Api", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Factory(Generic[Api]):
    """Builds an API client for a run.

    Attributes:
        build: given the run's ``Stop``.
        clock: learns the service's time, from every run.
    """

    build: Callable[[Stop], Api]
    clock: ServiceClock


class Apis:
    """Builds API clients.

    Args:
        settings: the configuration.
        tuning: what a run may use.
        storage: the state account, where budgets are shared.
    """

    def __init__(self, settings: Settings, tuning: Tuning, storage: Storage) -> None:
        self.settings = settings
        self._tuning = tuning
        self._storage = storage
        self._lock = threading.RLock()
        self._made: dict[tuple[object, str], Factory[Any]] = {}
        self._budgets: dict[str, Budget] = {}

    def client(
        self, make: Callable[[Apis, Connection], Factory[Api]], connection: Connection
    ) -> Factory[Api]:
        """What ``make`` makes for a connection, made once: its feeds and runs share tokens, clock and budget."""
        with self._lock:
            if (make, connection.name) not in self._made:
                self._made[make, connection.name] = make(self, connection)
            found: Factory[Api] = self._made[make, connection.name]
            return found

    def budget(
        self, connection: Connection, api: str, allowance: Allowance, **clock: Any
    ) -> Budget:
        """The tenant's budget of an API, shared by all who use it; for the clock see ``Budget``."""
        name = f"budgets/{connection.tenant_id}/{api}.json"
        with self._lock:
            if name not in self._budgets:
                self._budgets[name] = Budget(self._storage, name, allowance, **clock)
            return self._budgets[name]

    def asker(
        self, connection: Connection, root: str, scope: str, budget: Budget, clock: ServiceClock
    ) -> Callable[[Stop], Asker]:
        """What asks one API of a connection: pinned to its root, with tokens for its scope and a clock of its own."""
        tuning, network = self._tuning, self.settings.network
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
