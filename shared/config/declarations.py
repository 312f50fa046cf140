"""The app settings there are: names, defaults and what each is for.

Declared once: local.settings.sample.json and docs/settings.md are made from here (``make settings``), and
``shared.config.settings`` reads by it. What belongs to a source is declared by the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from shared.config.clouds import AZURE_CLOUDS, Cloud
from shared.config.keys import KEYS, Key, Setting, Values
from shared.network import AMQP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is configured for the sources that name it, be it one or several: declared once, and read once.

    Attributes:
        name: by which what was read of a connection is found in its ``own``.
        keys: what a connection may say of them, beside the keys that every connection has.
        settings: numbers of the app that concern them.
        read: what a connection's values mean for them, given the cloud, the login and whether one of them is collected;
            notes problems.
    """

    name: str
    keys: tuple[Key, ...]
    settings: tuple[Setting, ...] = ()
    read: Callable[[Values, Cloud, str, bool], object]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A source, as far as the configuration is concerned.

    Attributes:
        name: such as ``Audit.Exchange``.
        setting: how it is spelt inside the name of a setting, and in lower case as a timer's name.
        hub: the event hub that its events go to unless a setting says otherwise.
        section: what else is configured for it; None where nothing is.
    """

    name: str
    setting: str
    hub: str
    section: Section | None = None


def sections_of(sources: Sequence[Declared]) -> tuple[Section, ...]:
    """The sections that sources name, each once."""
    return tuple(dict.fromkeys(each.section for each in sources if each.section is not None))


def keys_of(sources: Sequence[Declared]) -> tuple[Key, ...]:
    """Every key of a connection; a key that several sections have is one."""
    everything = ",".join(each.name for each in sources)
    common = (replace(key, default=everything) if key.name == "sources" else key for key in KEYS)
    own = chain.from_iterable(each.keys for each in sections_of(sources))
    return tuple(dict.fromkeys((*common, *own)))


def numbers_of(sources: Sequence[Declared]) -> tuple[Setting, ...]:
    """The settings of the app that concern sources; one that several have is one."""
    own = chain.from_iterable(each.settings for each in sections_of(sources))
    return tuple(dict.fromkeys(own))


def settings_of(sources: Sequence[Declared]) -> tuple[Setting, ...]:
    """Every setting that the app reads; the sample and the table in the documents are made from it."""
    return (
        *(key.setting for key in keys_of(sources)),
        *CONNECTING,
        *(
            Setting(
                name=f"M365_OUTPUT_{each.setting}",
                default=each.hub,
                help=f"Event hub for `{each.name}`.",
            )
            for each in sources
        ),
        *STORING,
        *numbers_of(sources),
        *RUNNING,
        *(
            Setting(
                name=f"{each.setting}_SCHEDULE",
                default=f"0 {minute % 10}-59/10 * * * *",
                help=f"When `{each.setting.lower()}` runs: NCRONTAB with six fields, UTC.",
            )
            for minute, each in enumerate(sources)
        ),
    )


CONNECTING = (
    Setting(
        name="M365_CONNECTIONS",
        default="",
        help="Many tenants: a JSON array of connections, in place of the settings above (see docs/settings.md).",
    ),
    Setting(
        name="M365_AZURE_CLOUD",
        default="",
        help=f"Azure cloud that the app runs in: {', '.join(AZURE_CLOUDS)}; empty: the one beside `M365_CLOUD`.",
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
)
"""Many tenants, the app's own cloud, and the way to Event Hubs."""

STORING = (
    Setting(
        name="M365_PARTITION_KEY",
        default="none",
        help="`none` (spread evenly, fastest) or `tenant` (one tenant's events stay in one partition).",
    ),
    Setting(
        name="M365_STORAGE_ACCOUNT",
        default="",
        help="Storage account for state, dead letters and events over the hub's limit, reached by the app's identity.",
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
)
"""State, identity and the way out."""

RUNNING = (
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
)
"""What a run may use."""
