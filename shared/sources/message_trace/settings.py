"""How a connection's message trace is read: from which API, how far back, and with which details."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared.config.clouds import AZURE_CLOUDS, GRAPH_WITHOUT_TRACE, Cloud
from shared.config.reader import Reader, shown

GRAPH, REPORTING = "graph", "reporting"
APIS = (GRAPH, REPORTING)
FINAL = ("delivered", "failed", "expanded", "quarantined", "filteredAsSpam", "recalled")
MAX_BACKFILL_DAYS = {GRAPH: 90, REPORTING: 10}

KEYS = (
    "message_trace_api",
    "message_trace_backfill_days",
    "message_trace_details",
    "graph_endpoint",
    "graph_scope",
    "reporting_endpoint",
    "reporting_scope",
)
"""The keys of a connection that are read here."""


@dataclass(frozen=True, kw_only=True)
class MessageTrace:
    """How a connection's message trace is read.

    Attributes:
        api: one of ``APIS``.
        endpoint: root of that API; "" where this cloud has none and none was named.
        scope: token scope.
        offered: whether this cloud has it, as far as is known.
        backfill: how far back a first run goes.
        details: lower-case final statuses whose details are fetched too.
    """

    api: str
    endpoint: str
    scope: str
    offered: bool
    backfill: timedelta
    details: frozenset[str]


def read_message_trace(
    read: Reader,
    where: Callable[[str], str],
    text: Callable[[str, str], str],
    cloud: Cloud,
    login: str,
    *,
    wanted: bool,
) -> MessageTrace:
    """Read what concerns the message trace of one connection; problems are noted.

    Args:
        read: gathers the problems.
        where: how the place of a key is called.
        text: a key's value, or a default.
        cloud: the connection's.
        login: its Entra authority.
        wanted: whether message trace is collected from it.
    """
    api = read.choice(where("message_trace_api"), text("message_trace_api", GRAPH), APIS)
    graph = read.url(where("graph_endpoint"), text("graph_endpoint", cloud.graph))
    reporting = text("reporting_endpoint", cloud.reporting)
    if reporting or (wanted and api == REPORTING):
        reporting = read.url(where("reporting_endpoint"), reporting)
    scopes = {
        GRAPH: text("graph_scope", f"{graph}/.default"),
        REPORTING: text("reporting_scope", cloud.reporting_scope),
    }
    if wanted and api == REPORTING and not scopes[REPORTING]:
        read.problem(where("reporting_scope"), "not set", "the token scope of that service")
    offered = graph not in GRAPH_WITHOUT_TRACE and login != AZURE_CLOUDS["azure-china"].login
    return MessageTrace(
        api=api,
        endpoint={GRAPH: graph, REPORTING: reporting}[api],
        scope=scopes[api],
        offered=api == REPORTING or offered,
        backfill=timedelta(days=_days(read, where, text, MAX_BACKFILL_DAYS[api])),
        details=_details(read, where, text, api),
    )


def _days(
    read: Reader, where: Callable[[str], str], text: Callable[[str, str], str], most: int
) -> int:
    found = text("message_trace_backfill_days", "7")
    if found.isascii() and found.isdecimal() and int(found) <= most:
        return int(found)
    read.problem(
        where("message_trace_backfill_days"),
        f"found {shown(found)}",
        f"a whole number of days from 0 to {most}, which is how far back the service goes",
    )
    return 0


def _details(
    read: Reader, where: Callable[[str], str], text: Callable[[str, str], str], api: str
) -> frozenset[str]:
    place = where("message_trace_details")
    chosen = {part.strip().lower() for part in text("message_trace_details", "").split(",")} - {""}
    if wrong := sorted(chosen - {each.lower() for each in FINAL}):
        read.problem(
            place, f"found {shown(wrong[0])}", f"final statuses out of {', '.join(FINAL)}, or none"
        )
    elif chosen and api != GRAPH:
        read.problem(place, f"set while the API is '{api}'", f"nothing: only '{GRAPH}' has details")
    return frozenset(chosen)
