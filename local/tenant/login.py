"""The login authority of the simulated tenant: discovery and tokens for client credentials.

It checks the app's id and secret and answers with the codes of the real one (identity, 1 to 3).
A client assertion is taken as it is when the spec allows assertions: there is nobody here who
could have signed it.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from local.tenant.errors import AAD_ERRORS, aad_body
from local.tenant.messages import JSON_TYPE, Answer, Request
from local.tenant.model import Tenant

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login:
    """Answers requests of the kinds ``discovery`` and ``token``."""

    def __init__(self, tenant: Tenant, endpoint: str) -> None:
        self._tenant = tenant
        self._endpoint = endpoint

    def discovery(self, request: Request) -> Answer:
        """OpenID configuration of the tenant, or the list of known authorities."""
        tenant_id, endpoint = self._tenant.spec.tenant_id, self._endpoint
        _, asked, rest = request.route
        if rest == "instance":
            return _json(
                {
                    "tenant_discovery_endpoint": f"{endpoint}/{tenant_id}/v2.0/.well-known/"
                    "openid-configuration",
                    "api-version": "1.1",
                    "metadata": [],
                }
            )
        if asked.lower() != tenant_id.lower():
            return self._error(90002, asked, error="invalid_tenant")
        root = f"{endpoint}/{tenant_id}"
        return _json(
            {
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "issuer": f"{root}/v2.0",
                "jwks_uri": f"{root}/discovery/v2.0/keys",
            }
        )

    def token(self, request: Request) -> Answer:
        """A token for client credentials, in the form of the endpoint that was asked."""
        spec = self._tenant.spec
        _, asked, version = request.route
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        refused = self._refusal(asked, form)
        if refused is not None:
            return refused
        life = int(spec.token_life_s)
        if version:
            scope = form.get("scope", "")
            if not scope.endswith("/.default"):
                return self._error(70011, scope)
            token = self._tenant.tokens.issue(scope.removesuffix("/.default"))
            return _json(
                {
                    "token_type": "Bearer",
                    "expires_in": life,
                    "ext_expires_in": life,
                    "access_token": token,
                }
            )
        resource = form.get("resource", "")
        if not resource:
            return self._error(900144, "resource")
        now = int(self._tenant.now().timestamp())
        return _json(
            {
                "token_type": "Bearer",
                "expires_in": str(life),
                "ext_expires_in": str(life),
                "expires_on": str(now + life),
                "not_before": str(now),
                "resource": resource,
                "access_token": self._tenant.tokens.issue(resource),
            }
        )

    def _refusal(self, asked: str, form: dict[str, str]) -> Answer | None:
        spec = self._tenant.spec
        if asked.lower() != spec.tenant_id.lower():
            return self._error(90002, asked)
        if form.get("grant_type") != "client_credentials":
            return self._error(70003, form.get("grant_type", ""))
        client = form.get("client_id", "")
        if client.lower() != spec.client_id.lower():
            return self._error(700016, client, asked)
        if "client_assertion" in form:
            right = form.get("client_assertion_type") == _ASSERTION_TYPE
            if not (spec.accept_assertions and right and form["client_assertion"]):
                return self._error(700027)
            return None
        if spec.secret_expired:
            return self._error(7000222, client)
        if form.get("client_secret") != spec.client_secret:
            return self._error(7000215, client)
        return None

    def _error(self, code: int, *about: str, error: str | None = None) -> Answer:
        return Answer(
            status=AAD_ERRORS[code][1],
            body=aad_body(code, self._tenant.now(), *about, error=error),
            headers={"Content-Type": JSON_TYPE},
            code=f"AADSTS{code}",
        )


def _json(value: object) -> Answer:
    return Answer(status=200, body=json.dumps(value).encode(), headers={"Content-Type": JSON_TYPE})
