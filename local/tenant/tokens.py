"""Tokens that a simulated tenant hands out: to ask its APIs with, and to continue a listing."""

from __future__ import annotations

import base64
import itertools
import secrets
import threading
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import jwt

from local.tenant.spec import AUDIENCES, ROLE_APIS, TenantSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass
class _Issued:
    ends: float
    audience: str
    roles: tuple[str, ...]


class Tokens:
    """Access tokens the tenant has issued, and which of them still count.

    ``roles`` are those of the app registration, from which a new token gets what its audience knows.
    """

    def __init__(self, spec: TenantSpec, now: Callable[[], datetime]) -> None:
        self._spec = spec
        self._now = now
        self._lock = threading.Lock()
        self._issued: dict[str, _Issued] = {}
        self.roles = tuple(spec.roles)

    def issue(self, audience: str) -> str:
        """A new token that looks as the login authority's do; nobody can check its signature."""
        spec, now = self._spec, int(self._now().timestamp())
        issuer = f"https://sts.windows.net/{spec.tenant_id}/"
        roles = tuple(
            role
            for role in self.roles
            if role not in ROLE_APIS or self.opens(ROLE_APIS[role], audience)
        )
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
        token = jwt.encode(claims, secrets.token_bytes(64), headers={"kid": "local"})
        with self._lock:
            self._issued[token] = _Issued(time.monotonic() + spec.token_life_s, audience, roles)
        return token

    def audience(self, authorization: str | None) -> str | None:
        """Whom the token in an ``Authorization`` header is for; None when it does not count."""
        found = self._find(authorization)
        return found.audience if found is not None and found.ends > time.monotonic() else None

    def roles_of(self, authorization: str | None) -> tuple[str, ...]:
        """The roles of the token in an ``Authorization`` header."""
        found = self._find(authorization)
        return () if found is None else found.roles

    def issued(self) -> list[str]:
        """Every token that was ever issued, those that no longer count included."""
        with self._lock:
            return list(self._issued)

    def opens(self, api: str, audience: str) -> bool:
        """Whether a token for an audience is one for an API of ``AUDIENCES``.

        One for this machine is for all of them, as they share the endpoint of the rig.
        """
        known = audience.rstrip("/").lower() in AUDIENCES[api]
        return known or urlsplit(audience).hostname in ("localhost", "127.0.0.1")

    def expire(self) -> None:
        """Make all tokens invalid at once."""
        with self._lock:
            for issued in self._issued.values():
                issued.ends = 0.0

    def _find(self, authorization: str | None) -> _Issued | None:
        scheme, _, token = (authorization or "").partition(" ")
        with self._lock:
            return self._issued.get(token.strip()) if scheme.lower() == "bearer" else None


class PageSeal:
    """Seals the text of a page token for one listing; no two sealed texts are the same."""

    def __init__(self, about: str) -> None:
        self._key = about.encode()[:64]
        self._numbers = itertools.count(1)

    def close(self, listing: str, text: str) -> str:
        """A token that holds a text, good for that listing alone."""
        text = f"{next(self._numbers)} {text}"
        raw = self._mark(listing, text) + text.encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def open(self, listing: str, token: str) -> str | None:
        """The text in a token; None when it is not one of ours or belongs to another listing."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            text = raw[_MARK:].decode()
        except ValueError:
            return None
        return text.partition(" ")[2] if raw[:_MARK] == self._mark(listing, text) else None

    def _mark(self, listing: str, text: str) -> bytes:
        about = f"{listing} {text}".encode()
        return blake2b(about, key=self._key, digest_size=_MARK).digest()


_MARK = 12
