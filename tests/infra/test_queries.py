"""Alerts and workbook ask for what the functions log: table, fields, words and codes."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts import smoke
from shared.app import EXPIRY_WARNING
from shared.days.states import ALERTING
from shared.days.table import Change, DayTable
from shared.policy import RULES, TABLE, Action, Area
from shared.state.run_summary import RunSummary

ROOT = Path(__file__).resolve().parents[2]
ALERTS: list[dict[str, Any]] = json.loads((ROOT / "infra" / "alerts.json").read_text())
WORKBOOK: dict[str, Any] = json.loads((ROOT / "infra" / "workbook.json").read_text())

QUERIES = [
    *(pytest.param("\n".join(each["query"]), id=each["name"]) for each in ALERTS),
    *(
        pytest.param(item["content"]["query"], id=f"workbook {item['name']}")
        for item in WORKBOOK["items"]
        if item["type"] == 3
    ),
    pytest.param(smoke.RUNS, id="smoke check"),
]
OF_DAYS = [each for each in QUERIES if "day_state" in str(each.values[0])]
OF_RUNS = [each for each in QUERIES if "AppTraces" in str(each.values[0]) and each not in OF_DAYS]

PREFIX = "feed_run "
LOGGED = {each.name for each in fields(RunSummary)}
REASONS = '[{"kind":"gap","start":"2026-01-01T00:00:00Z","end":"2026-01-01T01:00:00Z","count":1}]'
STATUSES = {"running", "succeeded", "incomplete", "skipped", "failed"}


def _code() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))


@pytest.mark.parametrize("query", OF_RUNS)
def test_a_query_reads_the_run_line_and_fields_that_are_in_it(query: str) -> None:
    assert f"where Message startswith '{PREFIX}{{'" in query
    assert f"parse_json(substring(Message, {len(PREFIX)}))" in query
    assert set(re.findall(r"\brun\.(\w+)", query)) <= LOGGED


@pytest.mark.parametrize("query", OF_RUNS)
def test_a_query_knows_the_statuses_that_there_are(query: str) -> None:
    compared = re.findall(r"\bstatus\)? (?:==|!=) '(\w+)'", query)
    compared += [
        word
        for group in re.findall(r"\bstatus\)? in \(([^)]*)\)", query)
        for word in re.findall(r"'(\w+)'", group)
    ]
    assert set(compared) <= STATUSES
    assert all(f'"{status}"' in _code() for status in STATUSES)


@pytest.mark.parametrize("query", OF_DAYS)
def test_a_query_reads_the_line_of_a_day_and_fields_that_are_in_it(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = DayTable(Nowhere(), "t", "Audit.General", "c")  # type: ignore[arg-type]
    row = {"state": "flawed", "late": False, "reasons": REASONS}
    with caplog.at_level("INFO", logger="m365.days"):
        table.write(
            {date(2026, 1, 1): Change(columns=row, before=None)}, datetime(2026, 1, 2, tzinfo=UTC)
        )
    (line,) = caplog.messages
    assert line.startswith("day_state {")
    logged = json.loads(line.removeprefix("day_state "))

    assert "where Message startswith 'day_state {'" in query
    assert "parse_json(substring(Message, 10))" in query
    assert set(re.findall(r"\bchange\.(\w+)", query)) <= set(logged)
    assert set(re.findall(r"\breason\.(\w+)", query)) <= set(logged["reasons"][0])


class Nowhere:
    """Takes the place of a storage account, and of a table."""

    def table(self, _: str) -> Nowhere:
        """A table of it."""
        return self

    def replace(self, rows: list[object]) -> list[str]:
        """Nothing is stored."""
        return [""] * len(rows)


def test_the_alert_of_flawed_days_knows_every_kind_that_wakes_somebody() -> None:
    (alert,) = [each for each in ALERTS if each["name"] == "day-flawed"]
    (kinds,) = re.findall(r"kind\) in \(([^)]*)\)", " ".join(alert["query"]))
    assert set(re.findall(r"'([^']*)'", kinds)) == ALERTING


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_balanced(query: str) -> None:
    bare = re.sub(r"'[^']*'", "''", query)
    assert bare.count("(") == bare.count(")")
    assert query.count("'") % 2 == 0


def _codes(name: str) -> set[str]:
    """The codes that an alert compares with."""
    (alert,) = [each for each in ALERTS if each["name"] == name]
    query = " ".join(alert["query"])
    listed = re.findall(r"\bcode in \(([^)]*)\)", query)
    single = re.findall(r"error_code\) == '([^']*)'", query)
    return {*re.findall(r"'([^']*)'", " ".join(listed)), *single}


def test_the_alert_of_the_hub_knows_every_code_that_a_hub_can_lead_to() -> None:
    assert _codes("hub-refusing") == {rule.code for rule in TABLE[Area.HUB]}


def test_the_alert_of_the_credential_knows_every_code_for_which_a_person_is_needed() -> None:
    """Entra's own numbers by their prefix, since they are more than any table has."""
    wanted = {
        rule.code
        for area in set(TABLE) - {Area.HUB, Area.STORAGE, Area.COLLECTOR}
        for rule in TABLE[area]
        if rule.action in (Action.STOP_FEED, Action.REFRESH_TOKEN)
        and not rule.code.startswith("AADSTS")
    }
    assert _codes("credential-refused") == wanted | {"no-token", "identity-failed"}
    (alert,) = [each for each in ALERTS if each["name"] == "credential-refused"]
    assert "code startswith 'AADSTS'" in " ".join(alert["query"])


def test_every_code_that_an_alert_looks_for_stands_in_the_table() -> None:
    assert _codes("subscription-off") == {"subscription-disabled"}
    assert set().union(*(_codes(each["name"]) for each in ALERTS)) <= set(RULES)


def test_a_credential_is_warned_of_by_the_alert_as_early_as_by_the_log() -> None:
    (alert,) = [each for each in ALERTS if each["name"] == "credential-ends"]
    assert f"| where expires < now() + {EXPIRY_WARNING.days}d" in alert["query"]
    assert f"within {EXPIRY_WARNING.days} days" in alert["description"]


def test_the_line_is_logged_as_the_queries_expect_it() -> None:
    assert (
        'logger.log(level, "feed_run %s", summary.log_line())'
        in (ROOT / "shared" / "app.py").read_text()
    )
    summary = RunSummary(
        connection="c",
        tenant_id="t",
        source="Audit.General",
        run="r",
        started="2026-01-01T00:00:00Z",
    )
    line = json.loads(summary.log_line())
    assert set(line) == LOGGED


def test_run_lines_are_never_sampled_away() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert "Trace" in sampling["excludedTypes"].split(";")
    assert host["logging"]["logLevel"]["Function"] == "Information"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: each["name"])
def test_an_alert_says_what_to_do_and_gives_its_dimensions(alert: dict[str, Any]) -> None:
    assert 0 <= alert["severity"] <= 4
    assert len(alert["description"]) > 60
    last = alert["query"][-1]
    summarised = any("by connection, source" in line for line in alert["query"])
    assert "source" in last or summarised
    assert set(re.findall(r"\{(\w+)\}", json.dumps(alert))) <= {
        "freshMinutes",
        "lagMinutes",
        "feeds",
    }


def test_every_alert_that_is_promised_is_there() -> None:
    assert [each["name"] for each in ALERTS] == [
        "feed-silent",
        "day-flawed",
        "day-open",
        "lag",
        "throttled",
        "hub-refusing",
        "credential-refused",
        "subscription-off",
        "credential-ends",
    ]
