"""A simulated Microsoft 365 tenant without sockets: its clock, contents, books and rules.

``Tenant`` is what a test holds: it places contents, moves the clock, adds faults and reads the
books. ``server.TenantServer`` puts it on the wire.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from local.tenant.books import Books
from local.tenant.faults import Faults
from local.tenant.shelf import Shelf
from local.tenant.subscriptions import Quota, Subscriptions
from local.tenant.tokens import Tokens
from local.tenant.trace import MessageTrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.tenant.messages import Answer, Request
    from local.tenant.spec import TenantSpec


class Tenant:
    """One tenant and one app registration in it. Safe to use from several threads."""

    def __init__(self, spec: TenantSpec, *, clock: Callable[[], datetime] | None = None) -> None:
        self.spec = spec
        self._clock = clock or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self._shift = timedelta(0)
        self._lived: list[tuple[datetime, datetime]] = []
        self._since = self.now()
        self.shelf = Shelf(spec, self.now)
        self.books = Books(self.shelf)
        # What a test needs most, by a short way.
        self.offer, self.visible = self.shelf.offer, self.books.visible
        self.expected_events = self.books.expected_events
        self.faults = Faults(spec.seed)
        self.subscriptions = Subscriptions(spec.subscribed)
        self.tokens = Tokens(spec, self.now)
        self.quota = Quota(spec.requests_per_minute, self.now)
        # Changes a right answer to the Management API before it is compressed and sent.
        self.mangle: Callable[[Request, Answer], None] | None = None
        self.trace = MessageTrace(spec.trace, spec.seed, self.now, self.lived)

    def now(self) -> datetime:
        """The tenant's time, in UTC; the ``Date`` header and every rule go by it."""
        return self._clock().astimezone(UTC) + self._shift

    def advance(self, by: timedelta) -> None:
        """Move the tenant's clock; tokens keep the life they have on the wall."""
        with self._lock:
            self._lived.append((self._since, self.now()))
            self._shift += by
            self._since = self.now()

    def lived(self) -> list[tuple[datetime, datetime]]:
        """The stretches of time the clock has gone through, without those it jumped over."""
        with self._lock:
            return [*self._lived, (self._since, self.now())]
