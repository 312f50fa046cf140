"""Tokens for the Microsoft 365 APIs: from a connection to a bearer token, with errors a person can act on.

The credential libraries cache and renew tokens themselves; ``invalidate`` is for the one case that they cannot see, a
token that the API refuses although it has not expired.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from shared.connections import CERTIFICATE, MANAGED_IDENTITY, SECRET
from shared.errors import AuthError, CollectorError, Transient
from shared.network import Network, reason_of

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from shared.connections import Connection

_AADSTS = re.compile(r"AADSTS(\d{4,8})")

_FEDERATION = (
    "the app registration does not trust the managed identity. Add a federated credential whose subject is the "
    "identity's object (principal) id, whose issuer is https://<login host>/<the identity's tenant id>/v2.0 and whose "
    "audience is api://AzureADTokenExchange (other clouds have their own); a fresh one takes minutes to spread"
)
_MEANING: dict[str, str] = {
    "70021": _FEDERATION,
    "700211": _FEDERATION,
    "700212": _FEDERATION,
    "700213": _FEDERATION,
    "7000215": "the client secret is wrong (often the secret's id was pasted instead of its value). Put the value of "
    "a valid secret into the setting",
    "7000222": "the client secret has expired. Create a new one in the app registration and update the setting",
    "700016": "the application is not known in the tenant. Check M365_CLIENT_ID and M365_TENANT_ID, and that an "
    "administrator of that tenant has consented",
    "90002": "the tenant is not known. Check M365_TENANT_ID and M365_CLOUD",
    "700027": "the certificate is not registered with the application. Upload its public part to the app registration "
    "(Certificates & secrets), or put the one that is registered into M365_CERTIFICATE",
    "700024": "the certificate's assertion came outside its time: the clock of this machine is wrong",
    "500011": "the API is not known in the tenant: probably the wrong M365_CLOUD",
    "7000229": "the application has no service principal in the tenant: an administrator has to consent",
}


class TokenSource(Protocol):
    """Where bearer tokens come from."""

    def token(self) -> str:
        """Return a token that is valid now.

        Raises:
            AuthError: the credential is refused.
            Transient: the token service does not answer.
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
    """

    def __init__(self, make: Callable[[], TokenCredential], scope: str, name: str) -> None:
        self._make = make
        self._scope = scope
        self._name = name
        self._credential: TokenCredential | None = None
        self._lock = threading.Lock()

    def token(self) -> str:
        """Return a token that is valid now."""
        from azure.core.exceptions import AzureError

        with self._lock:
            if self._credential is None:
                self._credential = self._make()
            credential = self._credential
        try:
            return credential.get_token(self._scope).token
        except (AzureError, ValueError, TypeError, KeyError, AttributeError) as error:
            # What is not JSON makes the library stumble instead of complain.
            raise translate(error, self._name) from error

    def invalidate(self) -> None:
        """Forget the credential and with it the token it cached."""
        with self._lock:
            self._credential = None


def translate(error: Exception, name: str) -> CollectorError:
    """Name what a credential's failure means; the library's text is not repeated, it quotes requests."""
    from azure.identity import CredentialUnavailableError

    match = _AADSTS.search(str(error))
    code = match.group(1) if match else ""
    if isinstance(error, CredentialUnavailableError):
        return AuthError(
            f"connection '{name}': no managed identity answers here. In Azure, assign it to the function app and name "
            "its client id in M365_IDENTITY_CLIENT_ID; elsewhere set M365_CREDENTIAL to 'secret' or 'certificate'",
            code="no-managed-identity",
        )
    if code in _MEANING:
        return AuthError(
            f"connection '{name}': {_MEANING[code]} (AADSTS{code})", code=f"AADSTS{code}"
        )
    if code and not code.startswith("5019") and code != "90033":
        return AuthError(
            f"connection '{name}': Entra refused the credential (AADSTS{code}; its meaning is at "
            f"https://login.microsoftonline.com/error?code={code})",
            code=f"AADSTS{code}",
        )
    why = f"AADSTS{code}" if code else reason_of(error) or type(error).__name__
    return Transient(
        f"connection '{name}': no token from Entra ({why})",
        code=f"AADSTS{code}" if code else "no-token",
    )


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


def _managed_identity(client_id: str) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    # Its endpoint is on this machine: no proxy and no authority of ours has to do with it.
    return ManagedIdentityCredential(client_id=client_id or None, proxies={"http": "", "https": ""})
