from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, ClientSecretCredential

from local.tenant import Fault
from tests.local.tenant.conftest import CLIENT_ID, SECRET, TENANT_ID, Client, Serve
from tests.waits import LONG

if TYPE_CHECKING:
    import requests

SCOPE = "https://manage.office.com/.default"
OTHER = "43f7fd10-933c-5ef4-bcb1-03a8577bb5c9"


def credential(client: Client, **changed: str) -> ClientSecretCredential:
    given = {"tenant_id": TENANT_ID, "client_id": CLIENT_ID, "client_secret": SECRET, **changed}
    return ClientSecretCredential(
        **given,
        authority=client.server.endpoint,
        disable_instance_discovery=True,
        connection_verify=client.session.verify,
        retry_total=0,
    )


def test_the_real_identity_library_gets_a_token_that_the_api_takes(serve: Serve) -> None:
    client = serve()
    with credential(client) as found:
        token = found.get_token(SCOPE).token
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert client.get("subscriptions/list").status_code == 200
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["tid"] == TENANT_ID
    assert claims["aud"] == "https://manage.office.com"
    assert "ActivityFeed.Read" in claims["roles"]
    notes = client.tenant.books.requests()
    assert [note.kind for note in notes] == ["discovery", "token", "subscriptions"]
    assert [note.authorization for note in notes] == [False, False, True]


@pytest.mark.parametrize(
    ("fields", "changed", "code"),
    [
        pytest.param({}, {"client_secret": "wrong"}, 7000215, id="wrong secret"),
        pytest.param({"secret_expired": True}, {}, 7000222, id="expired secret"),
        pytest.param({}, {"client_id": OTHER}, 700016, id="unknown app"),
    ],
)
def test_a_refused_secret_carries_its_aadsts_code(
    serve: Serve, fields: dict[str, Any], changed: dict[str, str], code: int
) -> None:
    client = serve(**fields)
    with credential(client, **changed) as found, pytest.raises(ClientAuthenticationError) as error:
        found.get_token(SCOPE)
    assert f"AADSTS{code}" in str(error.value)
    assert client.tenant.books.requests("token")[-1].code == f"AADSTS{code}"


def test_an_unknown_tenant_is_refused_by_discovery(serve: Serve) -> None:
    client = serve()
    with (
        credential(client, tenant_id=OTHER) as found,
        pytest.raises((ClientAuthenticationError, ValueError)),
    ):
        found.get_token(SCOPE)
    answer = client.get(f"{client.server.endpoint}/{OTHER}/v2.0/.well-known/openid-configuration")
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_tenant"
    assert answer.json()["error_codes"] == [90002]


@pytest.mark.parametrize("accepted", [True, False])
def test_an_assertion_counts_only_where_the_spec_says_so(serve: Serve, accepted: bool) -> None:
    client = serve(accept_assertions=accepted)
    with ClientAssertionCredential(
        TENANT_ID,
        CLIENT_ID,
        lambda: "a.b.c",
        authority=client.server.endpoint,
        connection_verify=client.session.verify,
    ) as found:
        if accepted:
            assert found.get_token(SCOPE).token
        else:
            with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
                found.get_token(SCOPE)


def form(client: Client, version: str, **changed: str) -> requests.Response:
    given = {"client_id": CLIENT_ID, "client_secret": SECRET, "grant_type": "client_credentials"}
    address = f"{client.server.endpoint}/{TENANT_ID}/oauth2/{version}token"
    return client.session.post(address, data={**given, **changed}, timeout=LONG)


def test_the_old_token_endpoint_answers_with_numbers_as_strings(serve: Serve) -> None:
    answer = form(serve(), "", resource="https://manage.office.com").json()
    assert answer["expires_in"] == "3599"
    assert answer["resource"] == "https://manage.office.com"


@pytest.mark.parametrize(
    ("version", "changed", "code"),
    [
        pytest.param("v2.0/", {"scope": "https://manage.office.com"}, 70011, id="scope"),
        pytest.param("", {}, 900144, id="no resource"),
        pytest.param("v2.0/", {"grant_type": "password", "scope": SCOPE}, 70003, id="grant"),
    ],
)
def test_a_token_request_that_makes_no_sense_is_refused(
    serve: Serve, version: str, changed: dict[str, str], code: int
) -> None:
    answer = form(serve(), version, **changed)
    assert answer.status_code == 400
    assert answer.json()["error_codes"] == [code]


def test_instance_discovery_points_back_to_this_server(serve: Serve) -> None:
    client = serve()
    answer = client.get(f"{client.server.endpoint}/common/discovery/instance?api-version=1.1")
    address = urlsplit(answer.json()["tenant_discovery_endpoint"])
    assert f"https://{address.netloc}" == client.server.endpoint
    assert parse_qs(address.query) == {}


def test_a_token_fault_can_be_an_aadsts_error(serve: Serve) -> None:
    client = serve()
    client.tenant.faults.add(Fault(on="token", action="status", code="AADSTS90033"))
    first, second = (form(client, "v2.0/", scope=SCOPE) for _ in range(2))
    assert (first.status_code, first.json()["error_codes"]) == (503, [90033])
    assert second.status_code == 200
