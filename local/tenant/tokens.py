"""The login authority of a simulated tenant, and the tokens it hands out; also those that continue a listing.

The authority checks the app's id and secret and answers with the codes of the real one (identity, 1 to 3).
A client assertion is taken as it is when the spec allows assertions: there is nobody here who
could have signed it.
"""

from __future__ import annotations

import base64
import itertools
import secrets
import threading
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import jwt

from local.tenant.errors import login_error
from local.tenant.messages import Answer, Refused, Request, json_answer
from local.tenant.spec import AUDIENCES, ROLE_APIS, TenantSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local.tenant.model import Tenant


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
        return found.audience if found and found.ends > time.monotonic() else None

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

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login:
    """Answers requests of the kinds ``discovery`` and ``token``."""

    def __init__(self, tenant: Tenant, endpoint: str) -> None:
        self._tenant = tenant
        self._endpoint = endpoint

    def answer(self, request: Request) -> Answer:
        """The answer to a request."""
        try:
            return self._discovery(request) if request.kind == "discovery" else self._token(request)
        except Refused as refused:
            return login_error(refused.code, self._tenant.now(), *refused.about)

    def _discovery(self, request: Request) -> Answer:
        tenant_id, endpoint = self._tenant.spec.tenant_id, self._endpoint
        _, asked, rest = request.route
        root = f"{endpoint}/{tenant_id}"
        if rest == "instance":
            configuration = f"{root}/v2.0/.well-known/openid-configuration"
            found = {"tenant_discovery_endpoint": configuration, "api-version": "1.1"}
            return json_answer({**found, "metadata": []})
        if asked.lower() != tenant_id.lower():
            return login_error("90002", self._tenant.now(), asked, error="invalid_tenant")
        return json_answer(
            {
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "issuer": f"{root}/v2.0",
                "jwks_uri": f"{root}/discovery/v2.0/keys",
            }
        )

    def _token(self, request: Request) -> Answer:
        """A token for client credentials, in the form of the endpoint that was asked."""
        _, asked, version = request.route
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        self._admit(asked, form)
        life, audience = int(self._tenant.spec.token_life_s), form.get("resource", "")
        if version:
            scope = form.get("scope", "")
            if not scope.endswith("/.default"):
                raise Refused("70011", scope)
            audience = scope.removesuffix("/.default")
        if not audience:
            raise Refused("900144", "resource")
        token = {"token_type": "Bearer", "access_token": self._tenant.tokens.issue(audience)}
        if version:
            return json_answer({**token, "expires_in": life, "ext_expires_in": life})
        now = int(self._tenant.now().timestamp())
        times = {"expires_in": life, "ext_expires_in": life, "expires_on": now + life}
        texts = {name: str(value) for name, value in {**times, "not_before": now}.items()}
        return json_answer({**token, **texts, "resource": audience})

    def _admit(self, asked: str, form: dict[str, str]) -> None:
        spec, client = self._tenant.spec, form.get("client_id", "")
        if asked.lower() != spec.tenant_id.lower():
            raise Refused("90002", asked)
        if form.get("grant_type") != "client_credentials":
            raise Refused("70003", form.get("grant_type", ""))
        if client.lower() != spec.client_id.lower():
            raise Refused("700016", client, asked)
        if "client_assertion" in form:
            right = form.get("client_assertion_type") == _ASSERTION_TYPE
            if not (spec.accept_assertions and right and form["client_assertion"]):
                raise Refused("700027")
        elif spec.secret_expired:
            raise Refused("7000222", client)
        elif form.get("client_secret") != spec.client_secret:
            raise Refused("7000215", client)
