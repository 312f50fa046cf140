"""How a connection's message trace is read: from which API, how far back, and with which details."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.config.clouds import AZURE_CLOUDS, GRAPH_WITHOUT_TRACE, Cloud
from shared.config.declarations import Section
from shared.config.keys import NUMBER, Key, Setting, Values
from shared.config.reader import shown
from shared.sources.message_trace.row import SOURCE

if TYPE_CHECKING:
    from shared.config.connections import Connection

GRAPH, REPORTING = "graph", "reporting"
APIS = (GRAPH, REPORTING)
FINAL = ("delivered", "failed", "expanded", "quarantined", "filteredAsSpam", "recalled")
MAX_BACKFILL_DAYS = {GRAPH: 90, REPORTING: 10}

KEYS = (
    Key(
        name="message_trace_api",
        default=GRAPH,
        help="Where message trace comes from: `graph`, or `reporting` (the Reporting Web Service, which Microsoft has "
        "retired for most tenants).",
    ),
    Key(
        name="message_trace_backfill_days",
        default="7",
        kind=NUMBER,
        help="How far back a first run of message trace goes: at most 90 days, with `reporting` 10.",
    ),
    Key(
        name="message_trace_details",
        help=f"Final statuses whose details are fetched too, one request a row, comma-separated: {', '.join(FINAL)}. "
        "Empty: none.",
    ),
    Key(name="graph_endpoint", help="Root of Microsoft Graph, where it is not the cloud's."),
    Key(
        name="graph_scope",
        help="Token scope, where it is not the Graph endpoint followed by `/.default`.",
    ),
    Key(
        name="reporting_endpoint",
        help="Root of the Reporting Web Service, where it is not the cloud's.",
    ),
    Key(name="reporting_scope", help="Token scope for it, where it is not the cloud's."),
)
"""What a connection may say of its message trace."""

REQUESTS = Setting(
    name="M365_MESSAGE_TRACE_REQUESTS",
    default="90",
    bounds=(1, 10_000),
    help="Message trace requests per tenant in five minutes; Microsoft's quota is 100, for all apps together.",
)
DELAY = Setting(
    name="M365_MESSAGE_TRACE_DELAY_SECONDS",
    default="300",
    bounds=(0, 86_400),
    help="How far message trace keeps behind now, since rows appear with delay; what comes later is read again.",
)


@dataclass(frozen=True, kw_only=True)
class MessageTrace:
    """How a connection's message trace is read.

    Attributes:
        api: one of ``APIS``.
        endpoint: root of that API; "" where this cloud has none and none was named.
        scope: token scope.
        offered: whether this cloud has it, as far as is known.
        requests: of the tenant in five minutes.
        delay: how far windows trail the service's clock.
        backfill: how far back a first run reads.
        details: lower-case statuses of the rows whose details are wanted.
    """

    api: str
    endpoint: str
    scope: str
    offered: bool
    requests: int
    delay: timedelta
    backfill: timedelta
    details: frozenset[str]


def message_trace_of(connection: Connection) -> MessageTrace:
    """How a connection's message trace is read."""
    found: MessageTrace = connection.own[MESSAGE_TRACE.name]
    return found


def read_message_trace(values: Values, cloud: Cloud, login: str, wanted: bool) -> MessageTrace:
    """Read what concerns the message trace of one connection; problems are noted.

    Args:
        values: what the connection says.
        cloud: the connection's.
        login: its Entra authority.
        wanted: whether message trace is collected from it.
    """
    read = values.read
    api = read.choice(*values.at("message_trace_api"), APIS)
    graph = read.url(*values.at("graph_endpoint", cloud.graph))
    where, reporting = values.at("reporting_endpoint", cloud.reporting)
    if reporting or (wanted and api == REPORTING):
        reporting = read.url(where, reporting)
    where, scope = values.at("reporting_scope", cloud.reporting_scope)
    if wanted and api == REPORTING and not scope:
        read.problem(where, "not set", "the token scope of that service")
    scopes = {GRAPH: values.text("graph_scope", f"{graph}/.default"), REPORTING: scope}
    offered = graph not in GRAPH_WITHOUT_TRACE and login != AZURE_CLOUDS["azure-china"].login
    return MessageTrace(
        api=api,
        endpoint={GRAPH: graph, REPORTING: reporting}[api],
        scope=scopes[api],
        offered=api == REPORTING or offered,
        requests=int(values.numbers[REQUESTS.name]),
        delay=timedelta(seconds=values.numbers[DELAY.name]),
        backfill=timedelta(days=_days(values, MAX_BACKFILL_DAYS[api])),
        details=_details(values, api),
    )


def _days(values: Values, most: int) -> int:
    where, found = values.at("message_trace_backfill_days")
    if found.isascii() and found.isdecimal() and int(found) <= most:
        return int(found)
    values.read.problem(
        where,
        f"found {shown(found)}",
        f"a whole number of days from 0 to {most}, which is how far back the service goes",
    )
    return 0


def _details(values: Values, api: str) -> frozenset[str]:
    """Lower-case final statuses of the rows whose details are wanted."""
    read, (place, said) = values.read, values.at("message_trace_details")
    chosen = {part.strip().lower() for part in said.split(",")} - {""}
    if wrong := sorted(chosen - {each.lower() for each in FINAL}):
        read.problem(
            place, f"found {shown(wrong[0])}", f"final statuses out of {', '.join(FINAL)}, or none"
        )
    elif chosen and api != GRAPH:
        read.problem(place, f"set while the API is '{api}'", f"nothing: only '{GRAPH}' has details")
    return frozenset(chosen)


MESSAGE_TRACE = Section(name=SOURCE, keys=KEYS, settings=(REQUESTS, DELAY), read=read_message_trace)
"""What is configured for message trace alone."""
