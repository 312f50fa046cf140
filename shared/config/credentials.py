"""How a connection proves who it is, read from its keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.config.certificates import Certificate, read_certificate
from shared.config.clouds import AZURE_CLOUDS, AzureCloud
from shared.config.reader import Reader, setting, shown

if TYPE_CHECKING:
    from shared.config.keys import Values

FEDERATED, CERTIFICATE, SECRET, MANAGED_IDENTITY = (
    "federated",
    "certificate",
    "secret",
    "managed-identity",
)
CREDENTIALS = (FEDERATED, CERTIFICATE, SECRET, MANAGED_IDENTITY)
"""How a connection proves who it is; the first is the default in Azure and has no secret at all."""

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Credential:
    """How a connection proves who it is; secrets are not in ``repr``.

    Attributes:
        kind: one of ``CREDENTIALS``.
        secret: the client secret.
        certificate: the certificate.
        identity: client id of the user-assigned managed identity, "" for the app's own.
        audience: of the identity's token that stands in for a secret.
        expires: when the secret or certificate ends, where that is known.
    """

    kind: str
    secret: str = field(default="", repr=False)
    certificate: Certificate | None = None
    identity: str = ""
    audience: str = ""
    expires: datetime | None = None


def kind_of_plain(read: Reader) -> str:
    """The kind of credential that the plain settings mean: as said, else what is set."""
    if said := read.text("M365_CREDENTIAL"):
        return said
    secret, certificate = read.text("M365_CLIENT_SECRET"), read.text("M365_CERTIFICATE")
    if secret and certificate:
        read.problem(
            setting("M365_CREDENTIAL"),
            "not set, while both M365_CLIENT_SECRET and M365_CERTIFICATE are",
            f"which of them counts: '{SECRET}' or '{CERTIFICATE}'",
        )
    return SECRET if secret else CERTIFICATE if certificate else FEDERATED


def kind_of(values: Values) -> str:
    """The kind of a connection's credential: as said, else what a setting is named for."""
    if values.text("client_secret_setting"):
        default = SECRET
    else:
        default = CERTIFICATE if values.text("certificate_setting") else FEDERATED
    return values.read.choice(*values.at("credential", default), CREDENTIALS)


def read_credential(
    values: Values, kind: str, login: str, azure: AzureCloud, identity: str
) -> Credential:
    """Read a connection's credential; problems are noted.

    Args:
        values: what the connection says.
        kind: one of ``CREDENTIALS``.
        login: its Entra authority.
        azure: the Azure cloud that the app runs in.
        identity: client id of the app's user-assigned managed identity, "" for none.
    """
    if kind == SECRET:
        return Credential(kind=kind, secret=_secret(values), expires=_expires(values))
    if kind == CERTIFICATE:
        certificate = _certificate(values)
        return Credential(
            kind=kind,
            certificate=certificate,
            expires=certificate.expires if certificate else None,
        )
    if kind == FEDERATED:
        _check_federation(values, login, azure, identity)
    return Credential(kind=kind, identity=identity, audience=azure.exchange_audience)


def is_known(login: str) -> bool:
    """Whether an authority is one of Microsoft's."""
    return any(login == each.login for each in AZURE_CLOUDS.values())


def _check_federation(values: Values, login: str, azure: AzureCloud, identity: str) -> None:
    if not identity:
        instead = (
            "leave M365_CREDENTIAL empty and set M365_CLIENT_SECRET or M365_CERTIFICATE"
            if values.index is None
            else "name a client_secret_setting or a certificate_setting in the connection"
        )
        values.read.problem(
            setting("M365_IDENTITY_CLIENT_ID"),
            "not set",
            "the client id of the user-assigned managed identity that the app registration trusts (only a "
            f"user-assigned one can be trusted; outside Azure there is none: {instead})",
        )
    if is_known(login) and login != azure.login:
        name = next(name for name, each in AZURE_CLOUDS.items() if each is azure)
        values.read.problem(
            values.where("credential"),
            f"'{FEDERATED}' from an identity of {name} to a tenant that logs in at {login}",
            "both in one cloud, since an app registration trusts no identity of another: use "
            f"'{CERTIFICATE}', or run the app in that cloud and say so in M365_AZURE_CLOUD",
        )


def _secret(values: Values) -> str:
    name = _named(values, "client_secret_setting", "the client secret")
    return (
        values.read.secret(name, "the app registration's client secret (its value, not its id)")
        if name
        else ""
    )


def _certificate(values: Values) -> Certificate | None:
    read = values.read
    expected = (
        "the app registration's certificate with its private key: PEM, or the base64 of a PFX file"
    )
    name = _named(values, "certificate_setting", "the certificate")
    text = read.secret(name, expected) if name else ""
    if not text:
        return None
    password_name = values.text("certificate_password_setting")
    password = (read.values.get(password_name) or "").strip()
    try:
        return read_certificate(text, password)
    except ValueError as error:
        read.problem(setting(name), f"found {error}", expected)
        return None


def _named(values: Values, key: str, what: str) -> str:
    """The name of the setting that holds a secret."""
    where, name = values.at(key)
    if _SETTING.fullmatch(name):
        return name
    # Often the secret itself, which must not be shown.
    found = "found what cannot be the name of an app setting (not shown)" if name else "not set"
    values.read.problem(
        where, found, f"the name of the app setting that holds {what}, not {what} itself"
    )
    return ""


def _expires(values: Values) -> datetime | None:
    where, text = values.at("credential_expires")
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        values.read.problem(where, f"found {shown(text)}", "a date, such as 2027-01-31")
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
