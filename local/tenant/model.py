"""A simulated Microsoft 365 tenant without sockets: its clock, contents, books and rules.

``Tenant`` is what a test holds: it places contents, moves the clock, adds faults and reads the
books. ``server.TenantServer`` puts it on the wire.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from local.tenant.books import Books
from local.tenant.content import Content, Event
from local.tenant.faults import Faults
from local.tenant.messages import Answer, Request
from local.tenant.quota import Quota
from local.tenant.shelf import Shelf
from local.tenant.spec import AUDIENCES, ROLE_APIS, TenantSpec
from local.tenant.subscriptions import Subscriptions
from local.tenant.trace import MessageTrace

Clock = Callable[[], datetime]


class Tenant:
    """One tenant and one app registration in it. Safe to use from several threads."""

    def __init__(self, spec: TenantSpec, *, clock: Clock | None = None) -> None:
        self.spec = spec
        self._clock = clock or _utc_now
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
            created=created,
            visible_at=max(created, now) if visible_at is None else visible_at,
            expires=expires or created + timedelta(days=self.spec.expires_days),
            content_id=content_id,
            uri=content_uri,
            hidden_after_listings=hidden_after_listings,
            records=records,
            body=body,
            count=self.spec.records if count is None else count,
        )

    def expected_events(self, source: str | None = None) -> set[Event]:
        """What a collector has to have delivered by now, see ``Books.expected_events``."""
        return self.books.expected_events(source)

    def visible(self) -> dict[str, int]:
        """Contents visible by now, per source."""
        return self.books.visible()


class Tokens:
    """Access tokens the tenant has issued, and which of them still count.

    ``roles`` are those of the app registration, from which a new token gets what its audience knows.
    """

    def __init__(self, spec: TenantSpec, now: Clock) -> None:
        self._spec = spec
        self._now = now
        self._lock = threading.Lock()
        self._issued: dict[str, tuple[float, str]] = {}
        self._roles: dict[str, tuple[str, ...]] = {}
        self.roles = tuple(spec.roles)

    def issue(self, audience: str) -> str:
        """A new token that looks as the login authority's do; nobody can check its signature."""
        spec, now = self._spec, int(self._now().timestamp())
        issuer = f"https://sts.windows.net/{spec.tenant_id}/"
        roles = tuple(role for role in self.roles if self._has(audience, role))
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": now + int(spec.token_life_s),
            "appid": spec.client_id,
            "appidacr": "1",
            "idp": issuer,
            "roles": list(roles),
            "tid": spec.tenant_id,
            "ver": "1.0",
        }
        parts: list[Any] = [{"typ": "JWT", "alg": "RS256", "kid": "local"}, claims]
        token = ".".join(
            [
                *(_encoded(json.dumps(part).encode()) for part in parts),
                _encoded(secrets.token_bytes(64)),
            ]
        )
        with self._lock:
            self._issued[token] = (time.monotonic() + spec.token_life_s, audience)
            self._roles[token] = roles
        return token

    def audience(self, authorization: str | None) -> str | None:
        """Whom the token in an ``Authorization`` header is for; None when it does not count."""
        scheme, _, token = (authorization or "").partition(" ")
        with self._lock:
            ends, audience = self._issued.get(token.strip(), (0.0, ""))
        return audience if scheme.lower() == "bearer" and ends > time.monotonic() else None

    def roles_of(self, authorization: str | None) -> tuple[str, ...]:
        """The roles of the token in an ``Authorization`` header."""
        with self._lock:
            return self._roles.get((authorization or "").partition(" ")[2].strip(), ())

    def issued(self) -> list[str]:
        """Every token that was ever issued, those that no longer count included."""
        with self._lock:
            return list(self._roles)

    def opens(self, api: str, audience: str) -> bool:
        """Whether a token for an audience is one for an API of ``AUDIENCES``.

        One for this machine is for all of them, as they share the endpoint of the rig.
        """
        known = audience.rstrip("/").lower() in AUDIENCES[api]
        return known or urlsplit(audience).hostname in ("localhost", "127.0.0.1")

    def expire(self) -> None:
        """Make all tokens invalid at once."""
        with self._lock:
            self._issued.clear()

    def _has(self, audience: str, role: str) -> bool:
        api = ROLE_APIS.get(role)
        return api is None or self.opens(api, audience)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _utc_now() -> datetime:
    return datetime.now(UTC)
