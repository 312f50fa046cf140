"""Tokens for the Microsoft 365 APIs: from a connection to a bearer token, with errors a person can act on.

The credential libraries renew tokens, and say from when on; until then one is kept here, since asking them costs as
much as a request. ``invalidate`` is for the one case that they cannot see, a token that the API refuses although it has
not expired.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

import requests
from requests.structures import CaseInsensitiveDict

from shared import policy
from shared.config.credentials import CERTIFICATE, MANAGED_IDENTITY, SECRET
from shared.network import Network, chain, identity_failed, reason_of
from shared.network.timed_http import Deadline, TimedAdapter
from shared.service.answers import retry_after
from shared.service.in_time import InTime, NoAnswer
from shared.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential
    from azure.core.pipeline import PipelineResponse
    from azure.core.pipeline.transport import RequestsTransport
    from azure.identity import ManagedIdentityCredential

    from shared.config.connections import Connection
    from shared.errors import CollectorError

_AADSTS = re.compile(r"AADSTS(\d{4,8})")

LONGEST_WAIT = 5.0
"""Seconds for which the token endpoint may make a run wait; beyond it the run had better end and a later one go on."""

LONGEST_ANSWER = 30.0
"""Seconds for an answer of the token endpoint, the retries of the library included; it is noticed one read too late."""

SPARE = 300.0
"""Seconds before a token's end from which on the library is asked for each request: it renews it then."""


class TokenSource(Protocol):
    """Where bearer tokens come from."""

    def token(self, stopping: Callable[[], bool] = lambda: False) -> str:
        """Return a token that is valid now.

        Args:
            stopping: whether the run ends; then no answer is waited for.

        Raises:
            AuthError: the credential is refused.
            Throttled: the token service asked to wait longer than a run should.
            NoToken: the token service does not answer.
        """
        ...

    def invalidate(self) -> None:
        """Forget the current token, since the API refused it."""
        ...


class AzureTokenSource:
    """Tokens from azure-identity.

    Args:
        make: builds the credential; called again after ``invalidate``, because a credential caches its token.
        scope: what the token is for.
        name: the connection's name, for messages.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[], TokenCredential],
        scope: str,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._scope = scope
        self._name = name
        self._clock = clock
        self._quiet_until = 0.0
        self._credential: TokenCredential | None = None
        self._kept, self._kept_until = "", 0.0
        self._lock = threading.Lock()
        self._in_time = InTime()

    def token(self, stopping: Callable[[], bool] = lambda: False) -> str:
        """Return a token that is valid now."""
        from azure.core.exceptions import AzureError

        with self._lock:
            if self._clock() < self._kept_until:
                return self._kept
            if (left := self._quiet_until - self._clock()) > 0:
                raise self._throttled(left)
            if self._credential is None:
                self._credential = self._make()
            credential = self._credential
        try:
            found: AccessTokenInfo = self._in_time.get(
                id(credential), lambda: _ask(credential, self._scope), stopping
            )
        except NoAnswer as error:
            at = f"connection '{self._name}'"
            raise policy.error("no-token", at=at, detail="nothing answered in time") from error
        except (AzureError, ValueError, TypeError, KeyError, AttributeError, _AskedToWait) as error:
            # What is not JSON makes the library stumble instead of complain.
            if wait := next((e for e in chain(error) if isinstance(e, _AskedToWait)), None):
                with self._lock:
                    self._quiet_until = self._clock() + wait.seconds
                raise self._throttled(wait.seconds) from error
            raise translate(error, self._name) from error
        with self._lock:
            # Not if it was refused meanwhile, and forgotten.
            if credential is self._credential:
                # Of one that lives for hours the library tries to get a new one long before its end.
                renewed = min(found.expires_on - SPARE, found.refresh_on or math.inf)
                self._kept, self._kept_until = found.token, self._clock() + renewed - time.time()
        return found.token

    def _throttled(self, seconds: float) -> CollectorError:
        return policy.error(
            "token-throttled",
            at=f"connection '{self._name}'",
            detail=f"{seconds:.0f} s are left",
            retry_after=seconds,
        )

    def invalidate(self) -> None:
        """Forget the credential and with it the token it cached."""
        with self._lock:
            self._credential = None
            self._kept, self._kept_until = "", 0.0


def _ask(credential: TokenCredential, scope: str) -> AccessTokenInfo:
    """A token; of most credentials with the time from which on they would renew it."""
    from azure.core.credentials import AccessTokenInfo

    Deadline(LONGEST_ANSWER).hold()
    if (ask := getattr(credential, "get_token_info", None)) is not None:
        return cast("AccessTokenInfo", ask(scope))
    token, expires_on = credential.get_token(scope)
    return AccessTokenInfo(token, expires_on)


def translate(error: Exception, name: str) -> CollectorError:
    """Name what a credential's failure means; the library's text is not repeated, it quotes requests."""
    from azure.identity import CredentialUnavailableError

    at = f"connection '{name}'"
    failed = identity_failed(error)
    if isinstance(error, CredentialUnavailableError) and not failed:
        return policy.error("no-managed-identity", at=at)
    # An unknown tenant is named by the answer to the discovery, which the library keeps as the cause of its own words.
    match = next(filter(None, (_AADSTS.search(str(each)) for each in chain(error))), None)
    if match is None and failed:
        return policy.error("identity-failed", at=at, detail=failed)
    if match is None:
        return policy.error("no-token", at=at, detail=reason_of(error) or type(error).__name__)
    code = match.group()
    known = policy.is_known(code)
    detail = code if known else f"{code}, https://login.microsoftonline.com/error?code={code[6:]}"
    return policy.error(code, at=at, detail=f"{detail}; {failed}" if failed else detail)


class _AskedToWait(Exception):
    """The token endpoint named a time that is longer than a run should wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the token endpoint asked to wait")
        self.seconds = seconds


def _end_long_waits(response: PipelineResponse[Any, Any]) -> None:
    """End the library's own retries where it would sleep for as long as the token endpoint says, which has no bound."""
    answer = response.http_response
    if answer.status_code < 400:
        return
    seconds = retry_after(CaseInsensitiveDict(answer.headers), utc_now)
    if seconds is not None and seconds > LONGEST_WAIT:
        raise _AskedToWait(seconds)


def token_source(
    connection: Connection, scope: str, *, network: Network | None = None
) -> AzureTokenSource:
    """Tokens of a connection for one of its APIs.

    Args:
        connection: whose credential it is, whatever its kind.
        scope: the API's, such as ``https://manage.office.com/.default``.
        network: proxies and authorities.
    """
    options = (network or Network()).credential_options()
    return AzureTokenSource(lambda: _credential(connection, options), scope, connection.name)


def _credential(connection: Connection, options: dict[str, Any]) -> TokenCredential:
    from azure.identity import (
        CertificateCredential,
        ClientAssertionCredential,
        ClientSecretCredential,
    )

    known = connection.credential
    if known.kind == MANAGED_IDENTITY:
        return _managed_identity(known.identity)
    options = {
        **options,
        "authority": connection.login,
        # Discovery would ask login.microsoftonline.com about an authority that is not Microsoft's.
        "disable_instance_discovery": not connection.known_login,
        "retry_total": 2,
        "retry_backoff_factor": 0.4,
        "raw_response_hook": _end_long_waits,
        "transport": _transport(options),
    }
    who = (connection.tenant_id, connection.client_id)
    if known.kind == CERTIFICATE and known.certificate is not None:
        return CertificateCredential(
            *who,
            certificate_data=known.certificate.data,
            password=known.certificate.password or None,
            **options,
        )
    if known.kind == SECRET:
        return ClientSecretCredential(*who, known.secret, **options)
    identity = _managed_identity(known.identity)
    scope = f"{known.audience}/.default"
    # The identity's token, which lives as long as the platform says and is cached by it, takes the place of a secret.
    return ClientAssertionCredential(*who, func=lambda: identity.get_token(scope).token, **options)


def _transport(options: dict[str, Any]) -> RequestsTransport:
    """What carries the library's requests, and ends an answer that drips: its own waits anew with every byte."""
    from azure.core.pipeline.transport import RequestsTransport

    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, TimedAdapter())
    return RequestsTransport(session=session, **options)


def _managed_identity(client_id: str) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    # Its endpoint is on this machine: no proxy and no authority of ours has to do with it.
    return _Spoken(
        ManagedIdentityCredential(client_id=client_id or None, proxies={"http": "", "https": ""})
    )


class _Spoken:
    """A managed identity of which each failure says that it is one of the identity and not of Entra."""

    def __init__(self, identity: ManagedIdentityCredential) -> None:
        self._identity = identity

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token."""
        with _spoken():
            found: AccessToken = self._identity.get_token(*scopes, **options)
            return found

    def get_token_info(self, *scopes: str, **options: Any) -> AccessTokenInfo:
        """A token, with the time from which on the library would renew it."""
        with _spoken():
            found: AccessTokenInfo = self._identity.get_token_info(*scopes, **options)
            return found


@contextlib.contextmanager
def _spoken() -> Iterator[None]:
    from azure.identity import CredentialUnavailableError

    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # What is not JSON makes the library stumble instead of complain.
        raise CredentialUnavailableError("Token request error: (no JSON)") from error
