"""The configuration: app settings in, frozen values out, every problem reported at once.

Nothing is read at import; ``load`` takes a mapping. A problem names the setting, where it was looked for, what was
found and what is expected. Values of secret settings never appear in a message or a ``repr``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.clouds import CLOUDS, Cloud
from shared.errors import ConfigError
from shared.http import origin

SOURCES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
"""Every source, by the name that Microsoft gives its content type."""

SETTING_NAMES = {
    "Audit.AzureActiveDirectory": "AUDIT_AZURE_ACTIVE_DIRECTORY",
    "Audit.Exchange": "AUDIT_EXCHANGE",
    "Audit.SharePoint": "AUDIT_SHAREPOINT",
    "Audit.General": "AUDIT_GENERAL",
    "DLP.All": "DLP_ALL",
}
"""How a source is spelt inside the name of a setting."""

DEFAULT_HUB = "m365-audit"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One app setting: its name, its default ("" for none) and one sentence on what it is for."""

    name: str
    default: str
    help: str
    secret: bool = False


def _schedules() -> tuple[Setting, ...]:
    return tuple(
        Setting(
            name=f"{name}_SCHEDULE",
            default=f"0 {minute}-59/10 * * * *",
            help=f"When `{name.lower()}` runs: NCRONTAB with six fields, UTC.",
        )
        for minute, name in enumerate(SETTING_NAMES.values())
    )


def _outputs() -> tuple[Setting, ...]:
    return tuple(
        Setting(name=f"M365_OUTPUT_{name}", default=DEFAULT_HUB, help=f"Event hub for `{source}`.")
        for source, name in SETTING_NAMES.items()
    )


SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="M365_TENANT_ID", default="", help="The tenant's GUID (a domain name will not do)."
    ),
    Setting(
        name="M365_CLIENT_ID", default="", help="Application (client) id of the app registration."
    ),
    Setting(
        name="M365_CLIENT_SECRET",
        default="",
        help="Client secret of the app registration; best a Key Vault reference.",
        secret=True,
    ),
    Setting(name="M365_CLOUD", default="worldwide", help=f"Microsoft cloud: {', '.join(CLOUDS)}."),
    Setting(
        name="M365_CONNECTION_NAME",
        default="default",
        help="Display name of the connection, `[a-z0-9-]`, at most 40; on every event.",
    ),
    Setting(
        name="M365_SOURCES",
        default=",".join(SOURCES),
        help="Sources to collect, comma-separated.",
    ),
    Setting(
        name="M365_PUBLISHER_ID",
        default="",
        help="GUID sent as `PublisherIdentifier`, which selects the quota; the tenant id if empty.",
    ),
    Setting(
        name="M365_LOGIN_ENDPOINT", default="", help="Entra authority, where it is not the cloud's."
    ),
    Setting(
        name="M365_MANAGEMENT_ENDPOINT",
        default="",
        help="Root of the Management Activity API, where it is not the cloud's.",
    ),
    Setting(
        name="M365_MANAGEMENT_SCOPE",
        default="",
        help="Token scope, where it is not the cloud's management host followed by `/.default`.",
    ),
    Setting(
        name="M365_CONNECTIONS",
        default="",
        help="Many tenants: a JSON array of connections, in place of the settings above (see docs/settings.md).",
    ),
    Setting(
        name="M365_EVENTHUB_NAMESPACE",
        default="",
        help="Event Hubs namespace, `<name>.servicebus.windows.net`, reached by the app's identity.",
    ),
    Setting(
        name="M365_EVENTHUB_CONNECTION_STRING",
        default="",
        help="Event Hubs by connection string instead (emulators, tests).",
        secret=True,
    ),
    *_outputs(),
    Setting(
        name="M365_PARTITION_KEY",
        default="none",
        help="`none` (spread evenly, fastest) or `tenant` (one tenant's events stay in one partition).",
    ),
    Setting(
        name="M365_STORAGE_ACCOUNT",
        default="",
        help="Storage account for state and dead letters, reached by the app's identity.",
    ),
    Setting(
        name="M365_STORAGE_CONNECTION_STRING",
        default="",
        help="The storage account by connection string instead (Azurite, tests).",
        secret=True,
    ),
    Setting(
        name="M365_IDENTITY_CLIENT_ID",
        default="",
        help="Client id of the user-assigned identity for Event Hubs and Storage; empty: the app's own identity.",
    ),
    Setting(
        name="M365_CA_FILE",
        default="",
        help="File of certificate authorities to trust for Microsoft 365 and Entra, where a private one signs them.",
    ),
    Setting(
        name="M365_REQUESTS_PER_MINUTE",
        default="1600",
        help="Request budget per tenant; Microsoft's baseline quota is 2,000.",
    ),
    Setting(
        name="M365_RUN_SECONDS",
        default="960",
        help="A run takes no new work after this; 80 % of `functionTimeout` in host.json.",
    ),
    Setting(
        name="M365_RETRY_SECONDS",
        default="600",
        help="First wait before a content that could not be fetched is tried again; doubles up to six hours.",
    ),
    Setting(
        name="M365_FETCH_THREADS",
        default="4",
        help="Contents of one feed fetched at the same time.",
    ),
    Setting(
        name="M365_MEGABYTES_IN_FLIGHT",
        default="48",
        help="Bodies of one feed held in memory until Event Hubs has acknowledged them.",
    ),
    *_schedules(),
)
"""Every setting that the app reads; local.settings.sample.json and docs/settings.md are made from it."""

_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
_NAME = re.compile(r"[a-z0-9-]{1,40}")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_STORAGE = re.compile(
    r"(^|;)\s*(AccountName=|BlobEndpoint=|UseDevelopmentStorage=true)", re.IGNORECASE
)
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYED = re.compile(r"(key|sig|signature|secret|password)\s*=", re.IGNORECASE)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONNECTION_KEYS = {
    "name",
    "tenant_id",
    "client_id",
    "client_secret_setting",
    "cloud",
    "sources",
    "publisher_id",
    "login_endpoint",
    "management_endpoint",
    "management_scope",
}


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One tenant through one app registration in one cloud.

    Attributes:
        name: display name.
        tenant_id: lower-case GUID; with the source it keys all state.
        client_id: application id.
        client_secret: the secret; not in ``repr``.
        sources: what is collected from it.
        publisher_id: lower-case GUID for ``PublisherIdentifier``.
        login: Entra authority.
        known_login: whether the authority is one of Microsoft's, which need no discovery switched off.
        management: root of the Management Activity API.
        scope: token scope.
    """

    name: str
    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    sources: tuple[str, ...]
    publisher_id: str
    login: str
    known_login: bool
    management: str
    scope: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration; see ``SETTINGS`` for what each value means."""

    connections: tuple[Connection, ...]
    hubs: Mapping[str, str]
    eventhub_namespace: str
    eventhub_connection_string: str = field(repr=False)
    partition_key: str
    storage_account: str
    storage_suffix: str
    storage_connection_string: str = field(repr=False)
    identity_client_id: str
    ca_file: str
    requests_per_minute: int
    run_seconds: float
    retry_seconds: float
    fetch_threads: int
    bytes_in_flight: int

    def connections_for(self, source: str) -> tuple[Connection, ...]:
        """The connections from which a source is collected."""
        return tuple(each for each in self.connections if source in each.sources)


class _Reader:
    """Reads values and gathers every problem."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        return (self.values.get(name) or "").strip() or _DEFAULTS[name]

    def problem(self, where: str, found: str, expected: str) -> None:
        self.problems.append(f"{where}: {found}; expected {expected}")

    def guid(self, where: str, text: str, expected: str) -> str:
        if not text:
            self.problem(where, "not set", expected)
            return ""
        try:
            return str(UUID(text))
        except ValueError:
            self.problem(where, f"found {_shown(text)}", expected)
            return ""

    def number(self, name: str, low: float, high: float) -> float:
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            self.problem(
                _setting(name), f"found {_shown(text)}", f"a number from {low:g} to {high:g}"
            )
            return float(_DEFAULTS[name])
        return value

    def url(self, where: str, text: str) -> str:
        try:
            scheme = origin(text)[0]
        except ValueError:
            scheme = ""
        if scheme != "https":
            self.problem(where, f"found {_shown(text)}", "an https:// URL")
        return text.rstrip("/")


def _setting(name: str) -> str:
    return f"app setting {name}"


def _shown(text: str) -> str:
    if _KEYED.search(text):
        return "what looks like a connection string with a key (not shown)"
    return repr(text if len(text) <= 80 else text[:77] + "...")


def load(values: Mapping[str, str]) -> Settings:
    """Read the configuration from app settings (in Functions: the environment).

    Raises:
        ConfigError: naming every problem, one a line.
    """
    read = _Reader(values)
    settings = Settings(
        connections=_connections(read),
        hubs=_hubs(read),
        partition_key=_partition_key(read),
        **_eventhub(read),
        **_storage(read),
        identity_client_id=(
            read.guid(
                _setting("M365_IDENTITY_CLIENT_ID"),
                read.text("M365_IDENTITY_CLIENT_ID"),
                "the client id (a GUID) of a user-assigned managed identity, or nothing",
            )
            if read.text("M365_IDENTITY_CLIENT_ID")
            else ""
        ),
        ca_file=read.text("M365_CA_FILE"),
        requests_per_minute=int(read.number("M365_REQUESTS_PER_MINUTE", 5, 100_000)),
        run_seconds=read.number("M365_RUN_SECONDS", 1, 86_400),
        retry_seconds=read.number("M365_RETRY_SECONDS", 0, 86_400),
        fetch_threads=int(read.number("M365_FETCH_THREADS", 1, 64)),
        bytes_in_flight=int(read.number("M365_MEGABYTES_IN_FLIGHT", 1, 4096) * 1_000_000),
    )
    if read.problems:
        count = len(read.problems)
        raise ConfigError(
            f"the configuration has {count} problem{'s' if count > 1 else ''}:\n"
            + "\n".join(f"  - {problem}" for problem in read.problems),
            code="configuration",
        )
    return settings


def _hubs(read: _Reader) -> dict[str, str]:
    hubs = {}
    for source, name in SETTING_NAMES.items():
        setting = f"M365_OUTPUT_{name}"
        hubs[source] = read.text(setting)
        if not _HUB.fullmatch(hubs[source]):
            read.problem(
                _setting(setting),
                f"found {_shown(hubs[source])}",
                "the name of an event hub (letters, digits, '.', '-', '_'; at most 256)",
            )
    return hubs


def _partition_key(read: _Reader) -> str:
    key = read.text("M365_PARTITION_KEY")
    if key not in ("none", "tenant"):
        read.problem(_setting("M365_PARTITION_KEY"), f"found {_shown(key)}", "'none' or 'tenant'")
    return key


def _eventhub(read: _Reader) -> dict[str, str]:
    namespace = read.text("M365_EVENTHUB_NAMESPACE")
    secret = read.text("M365_EVENTHUB_CONNECTION_STRING")
    expected = "the namespace's full host name, such as 'contoso.servicebus.windows.net'"
    if not namespace and not secret:
        read.problem(_setting("M365_EVENTHUB_NAMESPACE"), "not set", expected)
    if namespace and not _HOST.fullmatch(namespace):
        read.problem(_setting("M365_EVENTHUB_NAMESPACE"), f"found {_shown(namespace)}", expected)
    if secret and "Endpoint=sb://" not in secret:
        read.problem(
            _setting("M365_EVENTHUB_CONNECTION_STRING"),
            "found a value without 'Endpoint=sb://'",
            "a connection string of an Event Hubs namespace",
        )
    return {"eventhub_namespace": namespace, "eventhub_connection_string": secret}


def _storage(read: _Reader) -> dict[str, str]:
    account = read.text("M365_STORAGE_ACCOUNT")
    secret = read.text("M365_STORAGE_CONNECTION_STRING")
    expected = "the name of a storage account (3 to 24 lower-case letters and digits)"
    if not account and not secret:
        read.problem(_setting("M365_STORAGE_ACCOUNT"), "not set", expected)
    if account and not _ACCOUNT.fullmatch(account):
        read.problem(_setting("M365_STORAGE_ACCOUNT"), f"found {_shown(account)}", expected)
    if secret and not _STORAGE.search(secret):
        read.problem(
            _setting("M365_STORAGE_CONNECTION_STRING"),
            "found a value without 'AccountName=' or 'BlobEndpoint='",
            "a connection string of a storage account, or 'UseDevelopmentStorage=true' for Azurite",
        )
    cloud = CLOUDS.get(read.text("M365_CLOUD").lower(), CLOUDS["worldwide"])
    return {
        "storage_account": account,
        "storage_suffix": cloud.storage_suffix,
        "storage_connection_string": secret,
    }


def _connections(read: _Reader) -> tuple[Connection, ...]:
    text = read.text("M365_CONNECTIONS")
    if not text:
        plain = {
            "name": read.text("M365_CONNECTION_NAME"),
            "tenant_id": read.text("M365_TENANT_ID"),
            "client_id": read.text("M365_CLIENT_ID"),
            "client_secret_setting": "M365_CLIENT_SECRET",
            "cloud": read.text("M365_CLOUD"),
            "sources": [part.strip() for part in read.text("M365_SOURCES").split(",")],
            "publisher_id": read.text("M365_PUBLISHER_ID"),
            "login_endpoint": read.text("M365_LOGIN_ENDPOINT"),
            "management_endpoint": read.text("M365_MANAGEMENT_ENDPOINT"),
            "management_scope": read.text("M365_MANAGEMENT_SCOPE"),
        }
        return (_connection(read, plain, None),)
    for name in ("M365_TENANT_ID", "M365_CLIENT_ID"):
        if read.text(name):
            read.problem(
                _setting(name),
                "set together with M365_CONNECTIONS",
                "one of the two: plain settings for one tenant, or M365_CONNECTIONS for many",
            )
    return _many(read, text)


def _many(read: _Reader, text: str) -> tuple[Connection, ...]:
    where = _setting("M365_CONNECTIONS")
    try:
        items = json.loads(text)
    except ValueError as error:
        read.problem(where, f"not JSON ({error})", "a JSON array of connections")
        return ()
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        read.problem(where, "not a list of objects", "a JSON array of connections, at least one")
        return ()
    found = tuple(_connection(read, item, index) for index, item in enumerate(items))
    # What is missing or wrong was reported already, and is no duplicate.
    _unique(read, [each.name for each in found if each.name], "name", where)
    keys = [
        f"{each.tenant_id}/{source}" for each in found if each.tenant_id for source in each.sources
    ]
    _unique(read, keys, "tenant id and source (they key the state)", where)
    return found


def _unique(read: _Reader, keys: list[str], what: str, where: str) -> None:
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        read.problem(where, f"two connections with the {what} {_shown(key)}", "each only once")


def _connection(read: _Reader, item: Mapping[str, Any], index: int | None) -> Connection:
    def where(key: str) -> str:
        if index is not None:
            return f"app setting M365_CONNECTIONS[{index}].{key}"
        plain = {"name": "M365_CONNECTION_NAME", "client_secret_setting": "M365_CLIENT_SECRET"}
        return _setting(plain.get(key, "M365_" + key.upper()))

    def text(key: str, default: str = "") -> str:
        value = item.get(key)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            # Not the value: it may hold a secret in the wrong place.
            read.problem(where(key), f"found a value of type {type(value).__name__}", "a text")
            return default
        return value.strip()

    for key in sorted(set(item) - _CONNECTION_KEYS):
        read.problem(where(key), "not a key of a connection", f"one of {sorted(_CONNECTION_KEYS)}")
    name = text("name", "default" if index is None else "")
    if not _NAME.fullmatch(name):
        read.problem(where("name"), f"found {_shown(name)}", "1 to 40 of a-z, 0-9 and '-'")
    cloud = _cloud(read, text("cloud", "worldwide"), where("cloud"))
    tenant_id = read.guid(
        where("tenant_id"), text("tenant_id"), "the tenant's GUID (Entra overview, 'Tenant ID')"
    )
    publisher = text("publisher_id")
    login = read.url(where("login_endpoint"), text("login_endpoint", cloud.login))
    management = read.url(
        where("management_endpoint"), text("management_endpoint", cloud.management)
    )
    return Connection(
        name=name,
        tenant_id=tenant_id,
        client_id=read.guid(
            where("client_id"), text("client_id"), "the app registration's application (client) id"
        ),
        client_secret=_secret(read, text("client_secret_setting"), where("client_secret_setting")),
        sources=_sources(read, item.get("sources"), where("sources")),
        publisher_id=(
            read.guid(where("publisher_id"), publisher, "a GUID, or nothing")
            if publisher
            else tenant_id
        ),
        login=login,
        known_login=any(login == each.login for each in CLOUDS.values()),
        management=management,
        scope=text("management_scope", f"{management}/.default"),
    )


def _cloud(read: _Reader, name: str, where: str) -> Cloud:
    found = CLOUDS.get(name.lower())
    if found is None:
        read.problem(where, f"found {_shown(name)}", f"one of {', '.join(CLOUDS)}")
        return CLOUDS["worldwide"]
    return found


def _secret(read: _Reader, setting: str, where: str) -> str:
    if not setting:
        read.problem(where, "not set", "the name of the app setting that holds the client secret")
        return ""
    if not _SETTING.fullmatch(setting):
        # Often the secret itself, which must not be shown.
        read.problem(
            where,
            "found what cannot be the name of an app setting (not shown)",
            "the name of the app setting that holds the client secret, not the secret",
        )
        return ""
    value = (read.values.get(setting) or "").strip()
    if not value:
        read.problem(
            _setting(setting),
            "not set",
            "the app registration's client secret (its value, not its id)",
        )
    elif value.startswith("@Microsoft.KeyVault("):
        read.problem(
            _setting(setting),
            "a Key Vault reference that the platform could not resolve",
            "the secret; check the reference and the app identity's role 'Key Vault Secrets User'",
        )
    return value


def _sources(read: _Reader, value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return SOURCES
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        read.problem(where, f"found {_shown(repr(value))}", "a list of sources")
        return ()
    if not any(value):
        read.problem(where, "names no source", f"sources out of {', '.join(SOURCES)}")
    names = {source.lower(): source for source in SOURCES}
    found = []
    for each in (name for name in value if name):
        if each.lower() in names:
            found.append(names[each.lower()])
        else:
            read.problem(where, f"found {_shown(each)}", f"sources out of {', '.join(SOURCES)}")
    return tuple(source for source in SOURCES if source in found)
