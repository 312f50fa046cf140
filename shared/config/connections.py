"""Connections: one tenant through one app registration in one cloud, with the credential that opens it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.config.certificates import Certificate, read_certificate
from shared.config.clouds import AZURE_CLOUDS, CLOUDS, AzureCloud
from shared.config.reader import Reader, setting, shown
from shared.sources.message_trace.settings import KEYS as TRACE_KEYS
from shared.sources.message_trace.settings import MessageTrace, read_message_trace

SOURCES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
    "MessageTrace",
)
"""Every source: the content types by the names that Microsoft gives them, and the message trace."""

FEDERATED, CERTIFICATE, SECRET, MANAGED_IDENTITY = (
    "federated",
    "certificate",
    "secret",
    "managed-identity",
)
CREDENTIALS = (FEDERATED, CERTIFICATE, SECRET, MANAGED_IDENTITY)
"""How a connection proves who it is; the first is the default in Azure and has no secret at all."""

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = {
    "name": "M365_CONNECTION_NAME",
    "client_secret_setting": "M365_CLIENT_SECRET",
    "certificate_setting": "M365_CERTIFICATE",
    "certificate_password_setting": "M365_CERTIFICATE_PASSWORD",
}
_OF_ONE_TENANT = (
    "M365_TENANT_ID",
    "M365_CLIENT_ID",
    "M365_CREDENTIAL",
    "M365_CLIENT_SECRET",
    "M365_CERTIFICATE",
    "M365_CERTIFICATE_PASSWORD",
    "M365_CREDENTIAL_EXPIRES",
    "M365_CONNECTION_NAME",
    "M365_SOURCES",
    "M365_PUBLISHER_ID",
    "M365_LOGIN_ENDPOINT",
    "M365_MANAGEMENT_ENDPOINT",
    "M365_MANAGEMENT_SCOPE",
    *(f"M365_{key.upper()}" for key in TRACE_KEYS),
)
"""Every setting that M365_CONNECTIONS takes the place of; M365_CLOUD is none, it also says where the app runs."""

_KEYS = {
    "name",
    "tenant_id",
    "client_id",
    "credential",
    "client_secret_setting",
    "certificate_setting",
    "certificate_password_setting",
    "credential_expires",
    "cloud",
    "sources",
    "publisher_id",
    "login_endpoint",
    "management_endpoint",
    "management_scope",
    *TRACE_KEYS,
}


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


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One tenant through one app registration in one cloud.

    Attributes:
        name: display name.
        tenant_id: lower-case GUID; with the source it keys all state.
        client_id: application id; "" where a managed identity has the grants itself.
        credential: how it proves who it is.
        sources: what is collected from it.
        publisher_id: lower-case GUID for ``PublisherIdentifier``.
        login: Entra authority.
        known_login: whether the authority is one of Microsoft's, which need no discovery switched off.
        management: root of the Management Activity API.
        scope: token scope.
        message_trace: how its message trace is read.
    """

    name: str
    tenant_id: str
    client_id: str
    credential: Credential
    sources: tuple[str, ...]
    publisher_id: str
    login: str
    known_login: bool
    management: str
    scope: str
    message_trace: MessageTrace


def read_connections(read: Reader, azure: AzureCloud, identity: str) -> tuple[Connection, ...]:
    """The connections of a configuration: one from plain settings, or many from ``M365_CONNECTIONS``.

    Args:
        read: the settings; gathers the problems.
        azure: the Azure cloud that the app runs in.
        identity: client id of its user-assigned managed identity, "" for none.
    """
    text = read.text("M365_CONNECTIONS")
    if not text:
        plain = {
            "name": read.text("M365_CONNECTION_NAME"),
            "tenant_id": read.text("M365_TENANT_ID"),
            "client_id": read.text("M365_CLIENT_ID"),
            "credential": read.text("M365_CREDENTIAL") or _kind_of_what_is_set(read),
            "client_secret_setting": "M365_CLIENT_SECRET",
            "certificate_setting": "M365_CERTIFICATE",
            "certificate_password_setting": "M365_CERTIFICATE_PASSWORD",
            "credential_expires": read.text("M365_CREDENTIAL_EXPIRES"),
            "cloud": read.text("M365_CLOUD"),
            "sources": [part.strip() for part in read.text("M365_SOURCES").split(",")],
            "publisher_id": read.text("M365_PUBLISHER_ID"),
            "login_endpoint": read.text("M365_LOGIN_ENDPOINT"),
            "management_endpoint": read.text("M365_MANAGEMENT_ENDPOINT"),
            "management_scope": read.text("M365_MANAGEMENT_SCOPE"),
            **{key: read.text(f"M365_{key.upper()}") for key in TRACE_KEYS},
        }
        return (_OneConnection(read, plain, None, azure, identity).read(),)
    _refuse_plain(read, text)
    return _many(read, text, azure, identity)


def _kind_of_what_is_set(read: Reader) -> str:
    secret, certificate = read.text("M365_CLIENT_SECRET"), read.text("M365_CERTIFICATE")
    if secret and certificate:
        read.problem(
            setting("M365_CREDENTIAL"),
            "not set, while both M365_CLIENT_SECRET and M365_CERTIFICATE are",
            f"which of them counts: '{SECRET}' or '{CERTIFICATE}'",
        )
    return SECRET if secret else CERTIFICATE if certificate else FEDERATED


def _many(read: Reader, text: str, azure: AzureCloud, identity: str) -> tuple[Connection, ...]:
    where = setting("M365_CONNECTIONS")
    try:
        items = json.loads(text)
    except ValueError as error:
        read.problem(where, f"not JSON ({error})", "a JSON array of connections")
        return ()
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        read.problem(where, "not a list of objects", "a JSON array of connections, at least one")
        return ()
    found = tuple(
        _OneConnection(read, item, index, azure, identity).read()
        for index, item in enumerate(items)
    )
    # What is missing or wrong was reported already, and is no duplicate.
    _unique(read, [each.name for each in found if each.name], "name", where)
    keys = [
        f"{each.tenant_id}/{source}" for each in found if each.tenant_id for source in each.sources
    ]
    _unique(read, keys, "tenant id and source (they key the state)", where)
    return found


def _refuse_plain(read: Reader, connections: str) -> None:
    """Report each setting of one tenant that says something which M365_CONNECTIONS would silently overrule."""
    for name in _OF_ONE_TENANT:
        # A connection may name one of them as the place of its own secret.
        if not read.differs(name) or f'"{name}"' in connections:
            continue
        # Templates say so always, and saying nothing means the same.
        if name == "M365_CREDENTIAL" and read.text(name).lower() == FEDERATED:
            continue
        read.problem(
            setting(name),
            "set together with M365_CONNECTIONS",
            "one of the two: plain settings for one tenant, or M365_CONNECTIONS for many (empty the plain one, and "
            "say it in each connection)",
        )


def _unique(read: Reader, keys: list[str], what: str, where: str) -> None:
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        read.problem(where, f"two connections with the {what} {shown(key)}", "each only once")


class _OneConnection:
    """Reads one connection, whether it stands in plain settings (no index) or in the JSON array."""

    def __init__(
        self,
        read: Reader,
        item: Mapping[str, Any],
        index: int | None,
        azure: AzureCloud,
        identity: str,
    ) -> None:
        self._read = read
        self._item = item
        self._index = index
        self._azure = azure
        self._identity = identity

    def read(self) -> Connection:
        """The connection; problems are noted."""
        for key in sorted(set(self._item) - _KEYS):
            self._read.problem(
                self._where(key), "not a key of a connection", f"one of {sorted(_KEYS)}"
            )
        name = self._text("name", "default" if self._index is None else "")
        if not _NAME.fullmatch(name):
            self._read.problem(
                self._where("name"), f"found {shown(name)}", "1 to 40 of a-z, 0-9 and '-'"
            )
        cloud = CLOUDS[
            self._read.choice(self._where("cloud"), self._text("cloud", "worldwide"), CLOUDS)
        ]
        tenant_id = self._read.guid(
            self._where("tenant_id"),
            self._text("tenant_id"),
            "the tenant's GUID (Entra overview, 'Tenant ID')",
        )
        publisher = self._text("publisher_id")
        login = self._read.url(
            self._where("login_endpoint"), self._text("login_endpoint", cloud.login)
        )
        management = self._read.url(
            self._where("management_endpoint"), self._text("management_endpoint", cloud.management)
        )
        kind = self._read.choice(
            self._where("credential"), self._text("credential", self._default_kind()), CREDENTIALS
        )
        sources = self._sources()
        return Connection(
            name=name,
            tenant_id=tenant_id,
            client_id=self._client_id(kind),
            credential=self._credential(kind, login),
            sources=sources,
            publisher_id=(
                self._read.guid(self._where("publisher_id"), publisher, "a GUID, or nothing")
                if publisher
                else tenant_id
            ),
            login=login,
            known_login=_is_known(login),
            management=management,
            scope=self._text("management_scope", f"{management}/.default"),
            message_trace=read_message_trace(
                self._read,
                self._where,
                self._text,
                cloud,
                login,
                wanted="MessageTrace" in sources,
            ),
        )

    def _where(self, key: str) -> str:
        if self._index is not None:
            return f"app setting M365_CONNECTIONS[{self._index}].{key}"
        return setting(_PLAIN.get(key, "M365_" + key.upper()))

    def _text(self, key: str, default: str = "") -> str:
        value = self._item.get(key)
        if value is None or value == "":
            return default
        if key == "message_trace_backfill_days" and type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            # Not the value: it may hold a secret in the wrong place.
            self._read.problem(
                self._where(key), f"found a value of type {type(value).__name__}", "a text"
            )
            return default
        return value.strip()

    def _client_id(self, kind: str) -> str:
        text = self._text("client_id")
        if kind == MANAGED_IDENTITY and not text:
            return ""
        return self._read.guid(
            self._where("client_id"), text, "the app registration's application (client) id"
        )

    def _sources(self) -> tuple[str, ...]:
        where, value = self._where("sources"), self._item.get("sources")
        if value is None:
            return SOURCES
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._read.problem(where, f"found {shown(repr(value))}", "a list of sources")
            return ()
        expected = f"sources out of {', '.join(SOURCES)}"
        if not any(value):
            self._read.problem(where, "names no source", expected)
        names = {source.lower(): source for source in SOURCES}
        for each in value:
            if each and each.lower() not in names:
                self._read.problem(where, f"found {shown(each)}", expected)
        chosen = {names.get(each.lower()) for each in value}
        return tuple(source for source in SOURCES if source in chosen)

    # -- the credential

    def _credential(self, kind: str, login: str) -> Credential:
        if kind == SECRET:
            return Credential(kind=kind, secret=self._secret(), expires=self._expires())
        if kind == CERTIFICATE:
            certificate = self._certificate()
            return Credential(
                kind=kind,
                certificate=certificate,
                expires=certificate.expires if certificate else None,
            )
        if kind == FEDERATED:
            self._check_federation(login)
        return Credential(
            kind=kind, identity=self._identity, audience=self._azure.exchange_audience
        )

    def _default_kind(self) -> str:
        if self._text("client_secret_setting"):
            return SECRET
        return CERTIFICATE if self._text("certificate_setting") else FEDERATED

    def _check_federation(self, login: str) -> None:
        if not self._identity:
            instead = (
                "leave M365_CREDENTIAL empty and set M365_CLIENT_SECRET or M365_CERTIFICATE"
                if self._index is None
                else "name a client_secret_setting or a certificate_setting in the connection"
            )
            self._read.problem(
                setting("M365_IDENTITY_CLIENT_ID"),
                "not set",
                "the client id of the user-assigned managed identity that the app registration trusts (only a "
                f"user-assigned one can be trusted; outside Azure there is none: {instead})",
            )
        if _is_known(login) and login != self._azure.login:
            self._read.problem(
                self._where("credential"),
                f"'{FEDERATED}' from an identity of {_azure_name(self._azure)} to a tenant that logs in at {login}",
                "both in one cloud, since an app registration trusts no identity of another: use "
                f"'{CERTIFICATE}', or run the app in that cloud and say so in M365_AZURE_CLOUD",
            )

    def _secret(self) -> str:
        name = self._named("client_secret_setting", "the client secret")
        return (
            self._read.secret(name, "the app registration's client secret (its value, not its id)")
            if name
            else ""
        )

    def _certificate(self) -> Certificate | None:
        expected = "the app registration's certificate with its private key: PEM, or the base64 of a PFX file"
        name = self._named("certificate_setting", "the certificate")
        text = self._read.secret(name, expected) if name else ""
        if not text:
            return None
        password_name = self._text("certificate_password_setting")
        password = (self._read.values.get(password_name) or "").strip()
        try:
            return read_certificate(text, password)
        except ValueError as error:
            self._read.problem(setting(name), f"found {error}", expected)
            return None

    def _named(self, key: str, what: str) -> str:
        """The name of the setting that holds a secret."""
        name = self._text(key)
        if _SETTING.fullmatch(name):
            return name
        # Often the secret itself, which must not be shown.
        found = "found what cannot be the name of an app setting (not shown)" if name else "not set"
        self._read.problem(
            self._where(key),
            found,
            f"the name of the app setting that holds {what}, not {what} itself",
        )
        return ""

    def _expires(self) -> datetime | None:
        text = self._text("credential_expires")
        if not text:
            return None
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            self._read.problem(
                self._where("credential_expires"),
                f"found {shown(text)}",
                "a date, such as 2027-01-31",
            )
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _is_known(login: str) -> bool:
    return any(login == each.login for each in AZURE_CLOUDS.values())


def _azure_name(azure: AzureCloud) -> str:
    return next(name for name, each in AZURE_CLOUDS.items() if each is azure)
