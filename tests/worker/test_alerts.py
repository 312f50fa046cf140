"""Alerts and workbook played on the log lines of the app under Microsoft's runtime.

Each alert fires on its fault, for the feed that has it and no other; on a healthy first day none does, mail or not.
The queries run on duckdb-kql, which refuses what it does not know. It knows no ``maxif`` and no column ``x.kind``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb_kql

from local.eventhubs import Fault as HubFault
from local.tenant import SOURCES, Fault
from shared.sources import registry
from tests.harness import TRACE_HUB
from tests.infra.test_queries import ALERTS, WORKBOOK
from tests.worker.runtime import ROOT, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tracing import TraceRig

AAD, EXCHANGE, SHAREPOINT, GENERAL, DLP = SOURCES
FEEDS = [source.name for source in registry.SOURCES]

FRESH, LAG = timedelta(minutes=60), timedelta(minutes=180)
"""What both deployments set where nobody says otherwise."""

SCRIPT = """
import json, logging, os, sys
from dataclasses import replace
from pathlib import Path
from local.worker import Worker, WorkerError
from shared.app import App, use
from shared.sources.registry import load
from tests.harness import FAST

lines = []

class Keeper(logging.Handler):
    def emit(self, record):
        lines.append([record.created, record.getMessage()])

logging.getLogger("m365").addHandler(Keeper())
logging.getLogger("m365").setLevel(logging.INFO)
worker = Worker(Path(sys.argv[1]))
functions = worker.load()
patience = replace(FAST.patience, no_acknowledgement=8.0)
use(App(load(os.environ), tuning=replace(FAST, tries=2, patience=patience)))
for again in sys.argv[2:]:
    for function in functions:
        if again not in function.name:
            continue
        try:
            worker.loop.run_until_complete(worker.invoke_timer(function))
        except WorkerError:
            pass
worker.close()
print("RESULT " + json.dumps(lines))
"""

OF_THE_WORKBOOK = {
    item["name"]: re.sub(
        r"\{\w+\}", "1h", item["content"]["query"].replace("{TimeRange:grain}", "1h")
    )
    for item in WORKBOOK["items"]
    if item["name"] in ("feeds", "events", "lag", "runs", "speed", "errors", "completeness")
}
"""What it asks of the lines alone."""

EVERY = ""
"""A round of all timers."""

Lines = list[tuple[float, str]]
Fired = set[tuple[str, str]]


def lines_of(rig: TraceRig, *rounds: str, **settings: str) -> Lines:
    """When and what a process logs that runs, in each round, the timers with that in their names."""
    found: Lines = result_of(SCRIPT, ROOT, *rounds, settings=rig.values(**settings))
    return found


def rows_of(query: str, lines: Lines, since: timedelta) -> list[dict[str, Any]]:
    """What a query finds among the lines of that time."""
    now = datetime.now(UTC)
    with duckdb_kql.connect() as connection:
        connection.execute("create table AppTraces (TimeGenerated timestamp, Message varchar)")
        for created, message in lines:
            at = datetime.fromtimestamp(created, UTC)
            if at > now - since:
                row = [at.replace(tzinfo=None), message]
                connection.execute("insert into AppTraces values (?, ?)", row)
        query = re.sub(r"maxif\((\w+), (\w+)\)", r"max(iff(\2, \1, datetime(null)))", query)
        query = query.replace("reason.kind", "reason['kind']")
        found = duckdb_kql.kql(connection, query)
        columns = [each[0] for each in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def span(text: str) -> timedelta:
    """An ISO duration of whole days, hours or minutes."""
    days, hours, minutes = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?", text).groups("0")  # type: ignore[union-attr]
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes))


def fired(lines: Lines, *names: str) -> Fired:
    """Which alerts fire, and for which source."""
    values = {
        "{feeds}": json.dumps([{"connection": "default", "source": each} for each in FEEDS]),
        "{freshMinutes}": str(int(FRESH / timedelta(minutes=1))),
        "{lagMinutes}": str(int(LAG / timedelta(minutes=1))),
    }
    found: Fired = set()
    for alert in ALERTS:
        if names and alert["name"] not in names:
            continue
        query = "\n".join(alert["query"])
        for name, value in values.items():
            query = query.replace(name, value)
        rows = rows_of(query, lines, span(alert["range"] or alert["window"]))
        found |= {(alert["name"], row["source"]) for row in rows}
    return found


def test_each_alert_fires_for_the_feed_that_has_its_fault_and_for_no_other(
    mail: Callable[..., TraceRig],
) -> None:
    rig = mail()
    for source in SOURCES:
        rig.has_collected(source, hours_ago=100 if source == SHAREPOINT else 2)
        rig.offer(source)
    rig.tenant.subscriptions.set(AAD, "disabled")
    stuck = rig.offer(SHAREPOINT, hours_ago=4 * 24)
    rig.tenant.faults.add(
        Fault(on="list", action="throttle", retry_after=0, source=EXCHANGE, times=-1, rate=0.6),
        Fault(on="content", action="status", status=500, content_id=stuck.content_id, times=-1),
    )
    # An entry that names no content is kept at once. A record over the hub's limit is no flaw.
    body = '[{"contentType":"nothing else"}]'
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body=body, source=GENERAL))
    rig.offer(EXCHANGE, records=[b'{"Id":"large","Text":"' + b"x" * 1_100_000 + b'"}'])
    refused = "amqp:unauthorized-access"
    rig.hubs.faults.add(
        HubFault(action="refuse", on="attach", hub=TRACE_HUB, condition=refused, times=-1)
    )

    lines = lines_of(rig, EVERY, "exchange", "exchange", M365_OUTPUT_DLP_ALL=TRACE_HUB)

    assert fired(lines) == {
        ("subscription-off", AAD),
        ("feed-silent", AAD),
        ("throttled", EXCHANGE),
        ("lag", SHAREPOINT),
        ("day-open", SHAREPOINT),
        ("day-flawed", GENERAL),
        ("hub-refusing", DLP),
        ("feed-silent", DLP),
    }
    assert all(rows_of(query, lines, timedelta(days=1)) for query in OF_THE_WORKBOOK.values())


def test_a_credential_that_is_refused_and_one_that_ends_are_told(
    mail: Callable[..., TraceRig],
) -> None:
    rig = mail()
    soon = datetime.now(UTC).date() + timedelta(days=10)

    lines = lines_of(rig, EVERY, M365_CLIENT_SECRET="wrong", M365_CREDENTIAL_EXPIRES=str(soon))

    assert fired(lines) == {
        *(("credential-refused", source) for source in FEEDS),
        *(("feed-silent", source) for source in FEEDS),
        ("credential-ends", "all"),
    }


def test_on_a_first_day_and_on_a_day_without_mail_no_alert_fires(
    mail: Callable[..., TraceRig],
) -> None:
    rig = mail()
    rig.has_collected(AAD)
    rig.has_collected(EXCHANGE)
    rig.offer(EXCHANGE)
    rig.offer(GENERAL, hours_ago=50)
    later = datetime.now(UTC).date() + timedelta(days=300)

    lines = lines_of(rig, EVERY, EVERY, M365_CREDENTIAL_EXPIRES=str(later))

    assert len([line for _, line in lines if line.startswith("feed_run ")]) == 2 * len(FEEDS)
    assert fired(lines) == set()
    # The same lines, and none since.
    old = [(at - FRESH.total_seconds() - 60, line) for at, line in lines]
    assert fired(old) == {("feed-silent", source) for source in FEEDS}


def test_where_no_line_comes_every_feed_is_silent() -> None:
    assert fired([]) == {("feed-silent", source) for source in FEEDS}
