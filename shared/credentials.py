"""Tokens for the Microsoft 365 APIs: from a connection to a bearer token, with errors a person can act on.

The credential libraries cache and renew tokens themselves; ``invalidate`` is for the one case that they cannot see, a
token that the API refuses although it has not expired.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from shared.errors import AuthError, CollectorError, ConfigError, Transient
from shared.network import Network, reason_of

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from shared.settings import Connection

_AADSTS = re.compile(r"AADSTS(\d{4,8})")

_MEANING: dict[str, str] = {
    "7000215": "the client secret is wrong (often the secret's id was pasted instead of its value). Put the value of "
    "a valid secret into the setting",
    "7000222": "the client secret has expired. Create a new one in the app registration and update the setting",
    "700016": "the application is not known in the tenant. Check M365_CLIENT_ID and M365_TENANT_ID, and that an "
    "administrator of that tenant has consented",
    "90002": "the tenant is not known. Check M365_TENANT_ID and M365_CLOUD",
    "700027": "the certificate is not registered with the application",
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
        except (AzureError, ValueError) as error:
            raise translate(error, self._name) from error

    def invalidate(self) -> None:
        """Forget the credential and with it the token it cached."""
        with self._lock:
            self._credential = None


def translate(error: Exception, name: str) -> CollectorError:
    """Name what a credential's failure means; the library's text is not repeated, it quotes requests."""
    match = _AADSTS.search(str(error))
    code = match.group(1) if match else ""
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


def token_source(connection: Connection, *, network: Network | None = None) -> AzureTokenSource:
    """Tokens for the Management Activity API of a connection."""
    if not connection.client_secret:
        raise ConfigError(f"connection '{connection.name}' has no client secret", code="no-secret")

    def make() -> TokenCredential:
        from azure.identity import ClientSecretCredential

        return ClientSecretCredential(
            connection.tenant_id,
            connection.client_id,
            connection.client_secret,
            authority=connection.login,
            # Discovery would ask login.microsoftonline.com about an authority that is not Microsoft's.
            disable_instance_discovery=not connection.known_login,
            retry_total=2,
            retry_backoff_factor=0.4,
            **(network or Network()).credential_options(),
        )

    return AzureTokenSource(make, connection.scope, connection.name)
