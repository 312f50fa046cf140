"""Credentials: what Entra refuses is said in words a person can act on, and never with a secret."""

from __future__ import annotations

import threading
import time

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from shared.errors import AuthError, CollectorError, NoToken, Throttled
from shared.publish.event_hubs import sink_error
from shared.service.credentials import SPARE, AzureTokenSource, translate
from shared.service.in_time import TimedCredential
from shared.state.failures import storage_errors
from shared.stop import Stop
from tests.waits import LONG

SECRET = "Q8~canary"
QUOTED = f"client_secret={SECRET}&grant_type=client_credentials Trace ID: 17"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        pytest.param("7000215", AuthError, "secret is wrong", id="wrong-secret"),
        pytest.param("7000222", AuthError, "secret has expired", id="expired-secret"),
        pytest.param("700016", AuthError, "M365_CLIENT_ID", id="unknown-application"),
        pytest.param("90002", AuthError, "M365_TENANT_ID", id="unknown-tenant"),
        pytest.param("700027", AuthError, "certificate", id="certificate"),
        pytest.param("500011", AuthError, "M365_CLOUD", id="unknown-api"),
        pytest.param("7000229", AuthError, "consent", id="no-service-principal"),
        pytest.param("53003", AuthError, "Conditional Access", id="conditional-access"),
        pytest.param("900432", AuthError, "M365_CLOUD", id="wrong-cloud"),
        pytest.param("50196", NoToken, "in trouble for the moment", id="loop-is-passing"),
        pytest.param("90033", NoToken, "in trouble for the moment", id="service-trouble"),
        pytest.param("90055", Throttled, "in trouble for the moment", id="tenant-throttled"),
        pytest.param("123456", NoToken, "error?code=123456", id="unlisted"),
        pytest.param("123456", NoToken, "does not know", id="unlisted-is-said"),
    ],
)
def test_a_code_of_entra_is_explained(code: str, kind: type[CollectorError], words: str) -> None:
    error = translate(ClientAuthenticationError(f"AADSTS{code}: {QUOTED}"), "contoso")

    assert type(error) is kind
    assert error.code == f"AADSTS{code}"
    assert words in str(error)
    assert "'contoso'" in str(error)
    assert SECRET not in str(error)
    assert "Trace" not in str(error)


@pytest.mark.parametrize(
    "cause",
    [
        pytest.param(ServiceRequestError(QUOTED), id="unreachable"),
        pytest.param(ClientAuthenticationError(QUOTED), id="no-code"),
        pytest.param(ValueError(QUOTED), id="value"),
    ],
)
def test_without_a_code_it_is_a_passing_failure(cause: Exception) -> None:
    error = translate(cause, "contoso")

    assert isinstance(error, NoToken)
    assert error.code == "no-token"
    assert SECRET not in str(error)


class Numbered:
    """A credential that numbers its tokens, and refuses where it is told to."""

    made = asked = 0
    lifetime = 0.0

    def __init__(self, refusal: Exception | None = None) -> None:
        Numbered.made += 1
        self.number = Numbered.made
        self.refusal = refusal

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        Numbered.asked += 1
        if self.refusal is not None:
            raise self.refusal
        return AccessToken(f"{scopes[0]}#{self.number}", int(time.time() + self.lifetime))


def test_a_credential_is_kept_until_its_token_is_refused() -> None:
    source = AzureTokenSource(Numbered, "scope", "contoso")

    first = source.token()
    assert source.token() == first
    source.invalidate()
    assert source.token() != first


def test_the_library_is_asked_again_when_a_token_nears_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Numbered, "lifetime", 3600.0)
    now = [0.0]
    source = AzureTokenSource(Numbered, "scope", "contoso", clock=lambda: now[0])
    asked = Numbered.asked

    for now[0] in (0.0, 1.0, 3600 - SPARE - 2):
        source.token()
    assert Numbered.asked == asked + 1

    for now[0] in (3600 - SPARE + 2, 3600 - SPARE + 3):
        source.token()
    # What it answered just now ends an hour after that.
    assert Numbered.asked == asked + 2

    source.invalidate()
    source.token()
    assert Numbered.asked == asked + 3


def test_of_a_token_that_lives_for_hours_the_library_is_asked_when_it_would_renew_it() -> None:
    class Long(Numbered):
        def get_token_info(self, *scopes: str, **_: object) -> AccessTokenInfo:
            Numbered.asked += 1
            now = int(time.time())
            return AccessTokenInfo(scopes[0], now + 86_400, refresh_on=now + 43_200)

    now = [0.0]
    source = AzureTokenSource(Long, "scope", "contoso", clock=lambda: now[0])
    asked = Numbered.asked

    for now[0] in (0.0, 43_190.0):
        source.token()
    assert Numbered.asked == asked + 1

    now[0] = 43_210.0
    source.token()
    assert Numbered.asked == asked + 2


def test_a_token_that_ends_soon_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbered, "lifetime", SPARE - 1)
    source = AzureTokenSource(Numbered, "scope", "contoso")
    asked = Numbered.asked

    source.token()
    source.token()

    assert Numbered.asked == asked + 2


def test_a_token_that_is_refused_while_it_is_fetched_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Numbered, "lifetime", 3600.0)

    class Slow(Numbered):
        def get_token(self, *scopes: str, **more: object) -> AccessToken:
            source.invalidate()
            return super().get_token(*scopes, **more)

    source = AzureTokenSource(Slow, "scope", "contoso")

    assert source.token() != source.token()


def test_a_refusal_reaches_the_caller_translated() -> None:
    refusal = ClientAuthenticationError(f"AADSTS7000215: {QUOTED}")
    source = AzureTokenSource(lambda: Numbered(refusal), "scope", "contoso")

    with pytest.raises(AuthError, match="secret is wrong") as caught:
        source.token()

    assert SECRET not in str(caught.value)


class Hanging(Numbered):
    """A credential that does not answer before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def get_token(self, *scopes: str, **more: object) -> AccessToken:
        assert self.go.wait(LONG)
        return super().get_token(*scopes, **more)


def test_a_token_is_waited_for_no_longer_than_the_run_lasts() -> None:
    hanging = Hanging()
    source = AzureTokenSource(lambda: hanging, "scope", "contoso")
    stop, began, asked = Stop(0.2), time.monotonic(), Numbered.asked

    for _ in range(2):
        with pytest.raises(NoToken, match="nothing answered in time"):
            source.token(stop)
    assert time.monotonic() - began < LONG / 2

    hanging.go.set()
    assert source.token() == f"scope#{hanging.number}"
    assert Numbered.asked <= asked + 2, "those who wait together ask once"


def test_the_apps_own_identity_is_waited_for_a_bounded_time_by_storage_and_by_the_hub() -> None:
    hanging = Hanging()
    identity = TimedCredential(hanging, longest=0.2)

    with pytest.raises(ClientAuthenticationError) as caught:
        identity.get_token("scope")
    with pytest.raises(CollectorError) as of_storage, storage_errors("read x"):
        raise caught.value

    assert of_storage.value.code == "storage-no-token"
    assert sink_error(caught.value, "hub").code == "hub-no-token"
    hanging.go.set()
    assert identity.get_token("scope").token == f"scope#{hanging.number}"
