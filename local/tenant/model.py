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
from local.tenant.quota import Quota
from local.tenant.shelf import HORIZON, Shelf, milliseconds
from local.tenant.subscriptions import Subscriptions
from local.tenant.tokens import Tokens
from local.tenant.trace import MessageTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.tenant.bodies import Content, Event
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

    def grant(self, *roles: str) -> None:
        """Consent to other app roles from now on; tokens keep those that they were issued with."""
        self.tokens.roles = roles

    def offer(
        self,
        source: str,
        *,
        created: datetime | None = None,
        records: Sequence[bytes] | None = None,
        body: bytes | None = None,
        count: int | None = None,
        content_id: str | None = None,
        visible_at: datetime | None = None,
        hidden_after_listings: int | None = None,
        expires: datetime | None = None,
        content_uri: str | None = None,
    ) -> Content:
        """Place one content and return it.

        Its body is ``body`` as it is, or an array of ``records``, or ``count`` records written
        from the seed (the spec's mean by default). It counts as created now and is visible as
        soon as it is created, or now when that was earlier, unless ``visible_at`` says otherwise.
        After ``hidden_after_listings`` listings it is in none any more, but can be fetched.
        ``content_uri`` replaces the true address in listings.

        Raises:
            ValueError: ``content_id`` is taken, or both ``records`` and ``body`` are given.
        """
        if records is not None and body is not None:
            raise ValueError("give records or body, not both")
        now = self.now()
        created = now if created is None else created
        return self.shelf.add(
            source,
            content_id=content_id,
            created=created,
            visible_at=max(created, now) if visible_at is None else visible_at,
            expires=milliseconds(expires or created + HORIZON),
            uri=content_uri,
            hidden_after_listings=hidden_after_listings,
            records=None if records is None else tuple(records),
            body=body,
            count=self.spec.records if count is None else count,
        )

    def expected_events(self, source: str | None = None) -> set[Event]:
        """What a collector has to have delivered by now, see ``Books.expected_events``."""
        return self.books.expected_events(source)

    def visible(self) -> dict[str, int]:
        """Contents visible by now, per source."""
        return self.books.visible()
