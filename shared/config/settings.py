"""The configuration: app settings in, frozen values out, every problem reported at once.

Nothing is read at import, and no source is known here: ``load`` takes a mapping and the sources that there are. A
problem names the setting, where it was looked for, what was found and what is expected. Values of secret settings never
appear in a message or a ``repr``.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared import policy
from shared.config.clouds import AZURE_CLOUDS, CLOUDS, AzureCloud
from shared.config.connections import Connection, ConnectionReader
from shared.config.declarations import Declared, numbers_of, settings_of
from shared.config.reader import Reader, setting, shown
from shared.network import TRANSPORTS, Network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]")
_ENDPOINT = re.compile(r"Endpoint=sb://([^/:;]+)")
_RELAY = re.compile(r"(sb://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")
_STORAGE = re.compile(
    r"(^|;)\s*(AccountName=|BlobEndpoint=|UseDevelopmentStorage=true)", re.IGNORECASE
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration; see ``settings_of`` for what each value means."""

    connections: tuple[Connection, ...]
    hubs: Mapping[str, str]
    eventhub_namespace: str
    eventhub_connection_string: str = field(repr=False)
    eventhub_transport: str
    eventhub_endpoint: str
    partition_key: str
    storage_blob_endpoint: str
    storage_table_endpoint: str
    storage_connection_string: str = field(repr=False)
    identity_client_id: str
    network: Network
    run_seconds: float
    retry_seconds: float
    fetch_threads: int
    bytes_in_flight: int

    @property
    def eventhub_host(self) -> str:
        """The namespace's host, wherever it is named."""
        found = _ENDPOINT.search(self.eventhub_connection_string)
        return found.group(1) if found else self.eventhub_namespace

    def connections_for(self, source: str) -> tuple[Connection, ...]:
        """The connections from which a source is collected."""
        return tuple(each for each in self.connections if source in each.sources)


def load(values: Mapping[str, str], sources: Sequence[Declared]) -> Settings:
    """Read the configuration from app settings (in Functions: the environment).

    Args:
        values: the app settings.
        sources: every source that there is.

    Raises:
        ConfigError: naming every problem, one a line.
    """
    read = Reader(values, {each.name: each.default for each in settings_of(sources)})
    azure = _azure_cloud(read)
    identity = _identity(read)
    numbers = {
        each.name: read.number(each.name, *(each.bounds or ())) for each in numbers_of(sources)
    }
    settings = Settings(
        connections=ConnectionReader(read, sources, numbers, azure, identity).read(),
        hubs=_hubs(read, sources),
        partition_key=_partition_key(read),
        **_eventhub(read, azure),
        **_storage(read, azure),
        identity_client_id=identity,
        network=_network(read),
        run_seconds=read.number("M365_RUN_SECONDS", 1, 86_400),
        retry_seconds=read.number("M365_RETRY_SECONDS", 0, 86_400),
        fetch_threads=int(read.number("M365_FETCH_THREADS", 1, 64)),
        bytes_in_flight=int(read.number("M365_MEGABYTES_IN_FLIGHT", 1, 4096) * 1_000_000),
    )
    if read.problems:
        count = len(read.problems)
        raise policy.error(
            "configuration",
            text=f"the configuration has {count} problem{'s' if count > 1 else ''}:\n"
            + "\n".join(f"  - {problem}" for problem in read.problems),
        )
    return settings


def _azure_cloud(read: Reader) -> AzureCloud:
    """Where the app runs: as said, else beside the Microsoft 365 cloud."""
    name = read.text("M365_AZURE_CLOUD")
    if name:
        return AZURE_CLOUDS[read.choice(setting("M365_AZURE_CLOUD"), name, AZURE_CLOUDS)]
    cloud = CLOUDS.get(read.text("M365_CLOUD").lower(), CLOUDS["worldwide"])
    return AZURE_CLOUDS[cloud.azure]


def _identity(read: Reader) -> str:
    name = "M365_IDENTITY_CLIENT_ID"
    text = read.text(name)
    expected = "the client id (a GUID) of a user-assigned managed identity, or nothing"
    return read.guid(setting(name), text, expected) if text else ""


def _hubs(read: Reader, sources: Sequence[Declared]) -> dict[str, str]:
    hubs = {}
    for source in sources:
        name = f"M365_OUTPUT_{source.setting}"
        hubs[source.name] = read.text(name)
        if not _HUB.fullmatch(hubs[source.name]):
            read.problem(
                setting(name),
                f"found {shown(hubs[source.name])}",
                "the name of an event hub (letters, digits, '.', '-', '_'; at most 256)",
            )
    return hubs


def _partition_key(read: Reader) -> str:
    key = read.text("M365_PARTITION_KEY")
    if key not in ("none", "tenant"):
        read.problem(setting("M365_PARTITION_KEY"), f"found {shown(key)}", "'none' or 'tenant'")
    return key


def _eventhub(read: Reader, azure: AzureCloud) -> dict[str, str]:
    namespace = read.text("M365_EVENTHUB_NAMESPACE")
    secret = read.text("M365_EVENTHUB_CONNECTION_STRING")
    expected = f"the namespace's host name, such as 'contoso.{azure.eventhub_suffix}'"
    if not namespace and not secret:
        read.problem(setting("M365_EVENTHUB_NAMESPACE"), "not set", expected)
    if _NAMESPACE.fullmatch(namespace):
        namespace = f"{namespace}.{azure.eventhub_suffix}"
    if namespace and not _HOST.fullmatch(namespace):
        read.problem(setting("M365_EVENTHUB_NAMESPACE"), f"found {shown(namespace)}", expected)
    if secret and "Endpoint=sb://" not in secret:
        read.problem(
            setting("M365_EVENTHUB_CONNECTION_STRING"),
            "found a value without 'Endpoint=sb://'",
            "a connection string of an Event Hubs namespace",
        )
    return {
        "eventhub_namespace": namespace,
        "eventhub_connection_string": secret,
        "eventhub_transport": _transport(read),
        "eventhub_endpoint": _relay(read),
    }


def _transport(read: Reader) -> str:
    name = "M365_EVENTHUB_TRANSPORT"
    transport = read.text(name).lower()
    if transport not in TRANSPORTS:
        read.problem(setting(name), f"found {shown(transport)}", f"one of {', '.join(TRANSPORTS)}")
    return transport


def _relay(read: Reader) -> str:
    name = "M365_EVENTHUB_ENDPOINT"
    text = read.text(name)
    if not text:
        return ""
    if not _RELAY.fullmatch(text):
        read.problem(
            setting(name), f"found {shown(text)}", "sb://host or sb://host:port, without a path"
        )
    # The SDK appends a path of its own.
    return f"sb://{text.removeprefix('sb://').rstrip('/')}"


def _storage(read: Reader, azure: AzureCloud) -> dict[str, str]:
    account = read.text("M365_STORAGE_ACCOUNT")
    secret = read.text("M365_STORAGE_CONNECTION_STRING")
    expected = "the name of a storage account (3 to 24 lower-case letters and digits)"
    if account and not _ACCOUNT.fullmatch(account):
        read.problem(setting("M365_STORAGE_ACCOUNT"), f"found {shown(account)}", expected)
    if secret and not _STORAGE.search(secret):
        read.problem(
            setting("M365_STORAGE_CONNECTION_STRING"),
            "found a value without 'AccountName=' or 'BlobEndpoint='",
            "a connection string of a storage account, or 'UseDevelopmentStorage=true' for Azurite",
        )
    endpoints = {
        f"storage_{service}_endpoint": _storage_endpoint(read, service, account, azure)
        for service in ("blob", "table")
    }
    if not secret and not all(endpoints.values()):
        read.problem(setting("M365_STORAGE_ACCOUNT"), "not set", expected)
    return {**endpoints, "storage_connection_string": secret}


def _storage_endpoint(read: Reader, service: str, account: str, azure: AzureCloud) -> str:
    name = f"M365_STORAGE_{service.upper()}_ENDPOINT"
    if text := read.text(name):
        return read.url(setting(name), text)
    return f"https://{account}.{service}.{azure.storage_suffix}" if account else ""


def _network(read: Reader) -> Network:
    return Network(
        ca_file=_ca_file(read),
        connect=read.number("M365_CONNECT_SECONDS", 0.1, 40),
        read=read.number("M365_READ_SECONDS", 0.1, 600),
        total=read.number("M365_TOTAL_SECONDS", 1, 3600),
    )


def _cannot(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or "which cannot be read"


def _ca_file(read: Reader) -> str:
    path = read.text("M365_CA_FILE")
    if path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except (OSError, ValueError) as error:
            # Of a file without certificates, too, OpenSSL says that in its own words.
            why = "no certificates in it" if isinstance(error, ssl.SSLError) else _cannot(error)
            read.problem(
                setting("M365_CA_FILE"),
                f"found {shown(path)}, {why}",
                "a PEM file of certificate authorities that the app can read",
            )
    return path
