"""Each kind of credential delivers, and says what is wrong when it cannot."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.managed_identity import ManagedIdentity
from local.tenant import Fault
from shared.service.credentials import token_source
from shared.sources.message_trace.settings import message_trace_of
from shared.sources.registry import load
from tests.certificate import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import Rig

pytestmark = pytest.mark.usefixtures("collected_before")

IDENTITY = str(uuid.uuid4())


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[ManagedIdentity]:
    """A function app with a user-assigned managed identity."""
    with ManagedIdentity(IDENTITY) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture
def trusting(make_rig: Callable[..., Rig]) -> Rig:
    """A tenant whose app registration takes assertions."""
    rig = make_rig(accept_assertions=True)
    rig.offer_many(3)
    return rig


def federated(client_id: str = IDENTITY) -> dict[str, str]:
    """Settings without any secret."""
    return {
        "M365_CLIENT_SECRET": "",
        "M365_CREDENTIAL": "federated",
        "M365_IDENTITY_CLIENT_ID": client_id,
    }


def test_a_federated_identity_delivers_without_any_secret(
    trusting: Rig, identity: ManagedIdentity
) -> None:
    summary = trusting.run(settings=federated())

    assert summary.status == "succeeded", summary.error
    trusting.assert_complete()
    assert set(identity.asked) == {"api://AzureADTokenExchange"}


def test_an_identity_that_is_not_trusted_is_told_what_to_add(
    trusting: Rig, identity: ManagedIdentity
) -> None:
    body = '{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record"}'
    trusting.tenant.faults.add(
        Fault(
            on="token",
            action="status",
            status=401,
            body=body,
            headers={"Content-Type": "application/json"},
            times=-1,
        )
    )

    summary = trusting.run(settings=federated())

    assert (summary.status, summary.error_code) == ("failed", "AADSTS700213")
    assert "federated credential whose subject is" in summary.error
    assert trusting.events() == []


def test_a_token_endpoint_that_answers_with_a_page_is_a_passing_failure(
    trusting: Rig, identity: ManagedIdentity
) -> None:
    trusting.tenant.faults.add(
        Fault(on="token", action="status", status=503, body="<html>busy</html>", times=-1)
    )

    summary = trusting.run(settings=federated())

    assert (summary.status, summary.error_code) == ("failed", "no-token")
    trusting.tenant.faults.clear()
    assert trusting.run(settings=federated()).status == "succeeded"
    trusting.assert_complete()


@pytest.mark.parametrize("where", ["no-endpoint", "another-identity"])
def test_a_missing_managed_identity_is_named(
    trusting: Rig, identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "no-endpoint":
        for name in identity.environment:
            monkeypatch.delenv(name)
        # Without the platform's endpoint the library looks for the one of a virtual machine.
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    settings = federated() if where == "no-endpoint" else federated(str(uuid.uuid4()))

    summary = trusting.run(settings=settings)

    assert (summary.status, summary.error_code) == ("failed", "no-managed-identity")
    assert "M365_IDENTITY_CLIENT_ID" in summary.error


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        pytest.param(
            500, {"statusCode": 500, "message": "of x"}, "identity-failed", "HTTP 500", id="500"
        ),
        pytest.param(503, {"ErrorCode": "x", "StatusCode": 503}, "identity-failed", "", id="503"),
        pytest.param(502, [], "identity-failed", "something else than a token", id="a-page"),
        pytest.param(
            400,
            {"statusCode": 400, "message": "AADSTS500011: of x"},
            "AADSTS500011",
            "the managed identity's endpoint answered HTTP 400",
            id="a-code-of-entra",
        ),
    ],
)
def test_an_identity_whose_endpoint_fails_is_not_called_missing(
    trusting: Rig,
    identity: ManagedIdentity,
    status: int,
    body: Any,
    code: str,
    words: str,
) -> None:
    identity.failure = (status, body)

    summary = trusting.run(settings=federated())

    assert (summary.status, summary.error_code) == ("failed", code)
    assert words in summary.error
    assert "of x" not in summary.error
    identity.failure = None
    # MSAL remembers such an answer for a minute.
    trusting.restart()
    assert trusting.run(settings=federated()).status == "succeeded"
    trusting.assert_complete()


@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_delivers_and_its_end_is_in_the_run_row(trusting: Rig, form: str) -> None:
    made = certificate(password="of the key" if form == "pfx" else "")
    settings = {
        "M365_CLIENT_SECRET": "",
        "M365_CERTIFICATE": getattr(made, form),
        "M365_CERTIFICATE_PASSWORD": made.password,
    }

    summary = trusting.run(settings=settings)

    assert summary.status == "succeeded", summary.error
    trusting.assert_complete()
    assert trusting.run_rows()[0]["credential_expires"] == made.expires.strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


def test_a_credential_that_ends_soon_is_warned_of(
    trusting: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=7)).date().isoformat()
    with caplog.at_level(logging.WARNING, "m365.run"):
        trusting.run(settings={"M365_CREDENTIAL_EXPIRES": soon})
    assert any(f"expires on {soon}" in record.getMessage() for record in caplog.records)
    assert trusting.run_rows()[0]["credential_expires"] == f"{soon}T00:00:00Z"

    caplog.clear()
    later = (datetime.now(UTC) + timedelta(days=200)).date().isoformat()
    with caplog.at_level(logging.WARNING, "m365.run"):
        trusting.run(settings={"M365_CREDENTIAL_EXPIRES": later})
    assert not caplog.records


@pytest.mark.parametrize("kind", ["secret", "certificate", "federated", "managed-identity"])
def test_every_kind_of_credential_gets_a_token_for_each_api(
    trusting: Rig, identity: ManagedIdentity, kind: str
) -> None:
    settings = {
        "secret": {},
        "certificate": {"M365_CLIENT_SECRET": "", "M365_CERTIFICATE": certificate().pem},
        "federated": federated(),
        "managed-identity": {**federated(), "M365_CREDENTIAL": "managed-identity"},
    }[kind]
    settings["M365_GRAPH_ENDPOINT"] = ""
    found = load(trusting.values(**settings))
    reporting = load(trusting.values(**settings, M365_MESSAGE_TRACE_API="reporting"))
    scopes = [
        message_trace_of(found.connections[0]).scope,
        message_trace_of(reporting.connections[0]).scope,
        "https://manage.office.com/.default",
    ]

    tokens = [
        token_source(found.connections[0], scope, network=found.network).token() for scope in scopes
    ]

    expected = [
        "https://graph.microsoft.com",
        "https://outlook.office365.com",
        "https://manage.office.com",
    ]
    if kind == "managed-identity":
        assert identity.asked == expected
    else:
        assert [trusting.tenant.tokens.audience(f"Bearer {each}") for each in tokens] == expected
