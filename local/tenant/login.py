"""The login authority of the simulated tenant: discovery and tokens for client credentials.

It checks the app's id and secret and answers with the codes of the real one (identity, 1 to 3).
A client assertion is taken as it is when the spec allows assertions: there is nobody here who
could have signed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from local.tenant.errors import login_error
from local.tenant.messages import Answer, Refused, Request, json_answer

if TYPE_CHECKING:
    from local.tenant.model import Tenant

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
            return json_answer(
                {"tenant_discovery_endpoint": configuration, "api-version": "1.1", "metadata": []}
            )
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
