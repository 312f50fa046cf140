"""The app settings there are: names, defaults and what each is for.

Declared once: local.settings.sample.json and docs/settings.md are made from here (``make settings``), and
``shared.config.settings`` reads by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.config.clouds import AZURE_CLOUDS, CLOUDS
from shared.config.connections import SOURCES
from shared.network import AMQP
from shared.sources.message_trace.settings import FINAL, GRAPH

SETTING_NAMES = {
    "Audit.AzureActiveDirectory": "AUDIT_AZURE_ACTIVE_DIRECTORY",
    "Audit.Exchange": "AUDIT_EXCHANGE",
    "Audit.SharePoint": "AUDIT_SHAREPOINT",
    "Audit.General": "AUDIT_GENERAL",
    "DLP.All": "DLP_ALL",
    "MessageTrace": "MESSAGE_TRACE",
}
"""How a source is spelt inside the name of a setting."""

DEFAULT_HUB = "m365-audit"
DEFAULT_HUBS = {
    source: "m365-message-trace" if source == "MessageTrace" else DEFAULT_HUB
    for source in SETTING_NAMES
}
"""Rows of the trace are no audit records, so they have a hub of their own."""


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
        Setting(
            name=f"M365_OUTPUT_{name}",
            default=DEFAULT_HUBS[source],
            help=f"Event hub for `{source}`.",
        )
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
    Setting(
        name="M365_CREDENTIAL",
        default="",
        help="How the app proves who it is: `federated` (a managed identity that the app registration trusts; no "
        "secret), `certificate`, `secret`, or `managed-identity` (with grants of its own, no app registration). Empty: "
        "the secret or certificate that is set, else `federated`.",
    ),
    Setting(
        name="M365_CERTIFICATE",
        default="",
        help="Certificate with its private key: PEM, or the base64 of a PFX file; best a Key Vault reference.",
        secret=True,
    ),
    Setting(
        name="M365_CERTIFICATE_PASSWORD",
        default="",
        help="Password of the certificate's private key, where it has one.",
        secret=True,
    ),
    Setting(
        name="M365_CREDENTIAL_EXPIRES",
        default="",
        help="When the client secret ends (a date), for run rows and alerts; a certificate says so itself.",
    ),
    Setting(name="M365_CLOUD", default="worldwide", help=f"Microsoft cloud: {', '.join(CLOUDS)}."),
    Setting(
        name="M365_AZURE_CLOUD",
        default="",
        help=f"Azure cloud that the app runs in: {', '.join(AZURE_CLOUDS)}; empty: the one beside `M365_CLOUD`.",
    ),
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
        name="M365_MESSAGE_TRACE_API",
        default=GRAPH,
        help="Where message trace comes from: `graph`, or `reporting` (the Reporting Web Service, which Microsoft has "
        "retired for most tenants).",
    ),
    Setting(
        name="M365_MESSAGE_TRACE_BACKFILL_DAYS",
        default="7",
        help="How far back a first run of message trace goes: at most 90 days, with `reporting` 10.",
    ),
    Setting(
        name="M365_MESSAGE_TRACE_DETAILS",
        default="",
        help=f"Final statuses whose details are fetched too, one request a row, comma-separated: {', '.join(FINAL)}. "
        "Empty: none.",
    ),
    Setting(
        name="M365_GRAPH_ENDPOINT",
        default="",
        help="Root of Microsoft Graph, where it is not the cloud's.",
    ),
    Setting(
        name="M365_GRAPH_SCOPE",
        default="",
        help="Token scope, where it is not the Graph endpoint followed by `/.default`.",
    ),
    Setting(
        name="M365_REPORTING_ENDPOINT",
        default="",
        help="Root of the Reporting Web Service, where it is not the cloud's.",
    ),
    Setting(
        name="M365_REPORTING_SCOPE",
        default="",
        help="Token scope for it, where it is not the cloud's.",
    ),
    Setting(
        name="M365_CONNECTIONS",
        default="",
        help="Many tenants: a JSON array of connections, in place of the settings above (see docs/settings.md).",
    ),
    Setting(
        name="M365_EVENTHUB_NAMESPACE",
        default="",
        help="Event Hubs namespace, `<name>.servicebus.windows.net`, reached by the app's identity; the name alone is "
        "completed as `M365_AZURE_CLOUD` wants it.",
    ),
    Setting(
        name="M365_EVENTHUB_CONNECTION_STRING",
        default="",
        help="Event Hubs by connection string instead (emulators, tests).",
        secret=True,
    ),
    Setting(
        name="M365_EVENTHUB_TRANSPORT",
        default=AMQP,
        help="`amqp` (port 5671, through no proxy) or `websocket` (port 443, through HTTPS_PROXY if set).",
    ),
    Setting(
        name="M365_EVENTHUB_ENDPOINT",
        default="",
        help="Where to connect to in place of the namespace's own host (private endpoint, relay): `sb://host:port`.",
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
        name="M365_STORAGE_BLOB_ENDPOINT",
        default="",
        help="The account's blob endpoint, where it is not `https://<account>.blob.<the cloud's suffix>`.",
    ),
    Setting(
        name="M365_STORAGE_TABLE_ENDPOINT",
        default="",
        help="The account's table endpoint, likewise.",
    ),
    Setting(
        name="M365_IDENTITY_CLIENT_ID",
        default="",
        help="Client id of the user-assigned identity: for Event Hubs and Storage, and for the credentials `federated` "
        "and `managed-identity`; empty: the app's own identity.",
    ),
    Setting(
        name="M365_CA_FILE",
        default="",
        help="PEM file of the certificate authorities to trust for Microsoft 365, Entra, Storage and Event Hubs alike. "
        "It takes the place of the public ones, so those that are still needed belong into it too.",
    ),
    Setting(
        name="M365_CONNECT_SECONDS",
        default="10",
        help="Longest time to connect to any service (with `amqp`, Event Hubs has one second, which cannot be set).",
    ),
    Setting(
        name="M365_READ_SECONDS",
        default="30",
        help="Longest silence of a service; storage and Entra are given 10 s at most, since leases and the end of a "
        "run depend on them.",
    ),
    Setting(
        name="M365_TOTAL_SECONDS",
        default="300",
        help="Longest time for one whole answer of the Microsoft 365 APIs.",
    ),
    Setting(
        name="M365_REQUESTS_PER_MINUTE",
        default="1600",
        help="Request budget per tenant; Microsoft's baseline quota is 2,000.",
    ),
    Setting(
        name="M365_MESSAGE_TRACE_REQUESTS",
        default="90",
        help="Message trace requests per tenant in five minutes; Microsoft's quota is 100, for all apps together.",
    ),
    Setting(
        name="M365_MESSAGE_TRACE_DELAY_SECONDS",
        default="300",
        help="How far message trace keeps behind now, since rows appear with delay; what comes later is read again.",
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
