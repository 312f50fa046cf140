"""The settings of message trace: which API, in which cloud, how far back, and no silent mistake."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from shared.config.clouds import CLOUDS
from shared.config.declarations import keys_of
from shared.config.keys import Values
from shared.config.reader import Reader
from shared.sources.message_trace.settings import (
    DELAY,
    REQUESTS,
    MessageTrace,
    message_trace_of,
    read_message_trace,
)
from shared.sources.registry import SETTINGS, SOURCES, load
from tests.config.test_settings import GOOD, connection, many, problems

DEFAULTS = {each.name: each.default for each in SETTINGS}
NUMBERS = {each.name: float(each.default) for each in (REQUESTS, DELAY)}


def trace(**more: str) -> MessageTrace:
    (one,) = load({**GOOD, **more}).connections
    return message_trace_of(one)


def read(cloud: str = "worldwide", **keys: str) -> tuple[MessageTrace, list[str]]:
    """Read the keys of a connection from which message trace is collected; with its problems."""
    reader = Reader({}, DEFAULTS)
    values = Values(reader, keys_of(SOURCES), keys, numbers=NUMBERS)
    found = read_message_trace(values, CLOUDS[cloud], CLOUDS[cloud].login, True)
    return found, reader.problems


def test_message_trace_comes_from_graph_a_week_back_without_details() -> None:
    found = load(GOOD)

    assert message_trace_of(found.connections[0]) == MessageTrace(
        api="graph",
        endpoint="https://graph.microsoft.com",
        scope="https://graph.microsoft.com/.default",
        offered=True,
        requests=90,
        delay=timedelta(seconds=300),
        backfill=timedelta(days=7),
        details=frozenset(),
    )
    assert found.hubs["MessageTrace"] == "m365-message-trace"


@pytest.mark.parametrize(
    ("cloud", "offered"), [("worldwide", True), ("gcc", True), ("gcc-high", False), ("dod", False)]
)
def test_clouds_whose_graph_has_no_trace_are_known(cloud: str, offered: bool) -> None:
    found, wrong = read(cloud)

    assert (found.offered, wrong) == (offered, [])
    assert found.endpoint == CLOUDS[cloud].graph


def test_a_graph_endpoint_of_ones_own_is_taken_to_have_the_trace() -> None:
    found, _ = read("gcc-high", graph_endpoint="https://relay.example/")

    assert (found.endpoint, found.offered) == ("https://relay.example", True)
    assert found.scope == "https://relay.example/.default"


@pytest.mark.parametrize(
    "more",
    [
        {"M365_GRAPH_ENDPOINT": "https://microsoftgraph.chinacloudapi.cn"},
        {"M365_LOGIN_ENDPOINT": "https://login.partner.microsoftonline.cn"},
    ],
)
def test_a_tenant_in_china_has_no_trace(more: dict[str, str]) -> None:
    assert not trace(**more).offered


@pytest.mark.parametrize(
    ("cloud", "host", "scope"),
    [
        ("worldwide", "reports.office365.com", "https://outlook.office365.com/.default"),
        ("gcc", "reports.office365.com", "https://outlook.office365.com/.default"),
        ("gcc-high", "outlook.office365.us", "https://outlook.office365.us/.default"),
    ],
)
def test_the_reporting_service_has_a_host_and_a_scope_that_do_not_follow_from_each_other(
    cloud: str, host: str, scope: str
) -> None:
    found, wrong = read(cloud, message_trace_api="reporting")

    assert (found.scope, found.offered, wrong) == (scope, True, [])
    assert found.endpoint == f"https://{host}"


def test_where_no_reporting_service_is_known_its_endpoint_and_scope_are_asked_for() -> None:
    _, wrong = read("dod", message_trace_api="reporting")
    assert [each.split(":")[0] for each in wrong] == [
        "app setting M365_REPORTING_ENDPOINT",
        "app setting M365_REPORTING_SCOPE",
    ]

    found, wrong = read(
        "dod",
        message_trace_api="reporting",
        reporting_endpoint="https://r.example/",
        reporting_scope="https://o.example/.default",
    )
    assert (found.endpoint, found.scope, wrong) == (
        "https://r.example",
        "https://o.example/.default",
        [],
    )


def test_details_are_asked_for_by_final_status_in_any_letter_case() -> None:
    found = trace(M365_MESSAGE_TRACE_DETAILS="failed, filteredasspam,,Quarantined")

    assert found.details == {"failed", "filteredasspam", "quarantined"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"M365_MESSAGE_TRACE_API": "smtp"}, "M365_MESSAGE_TRACE_API: found 'smtp'"),
        ({"M365_MESSAGE_TRACE_BACKFILL_DAYS": "91"}, "from 0 to 90"),
        ({"M365_MESSAGE_TRACE_BACKFILL_DAYS": "-1"}, "from 0 to 90"),
        ({"M365_MESSAGE_TRACE_BACKFILL_DAYS": "1.5"}, "from 0 to 90"),
        ({"M365_MESSAGE_TRACE_BACKFILL_DAYS": "a week"}, "from 0 to 90"),
        (
            {"M365_MESSAGE_TRACE_API": "reporting", "M365_MESSAGE_TRACE_BACKFILL_DAYS": "11"},
            "from 0 to 10",
        ),
        ({"M365_MESSAGE_TRACE_DETAILS": "delivered,pending"}, "M365_MESSAGE_TRACE_DETAILS: found"),
        (
            {"M365_MESSAGE_TRACE_API": "reporting", "M365_MESSAGE_TRACE_DETAILS": "failed"},
            "only 'graph' has details",
        ),
        ({"M365_MESSAGE_TRACE_DELAY_SECONDS": "-1"}, "M365_MESSAGE_TRACE_DELAY_SECONDS: found"),
        ({"M365_MESSAGE_TRACE_REQUESTS": "0"}, "M365_MESSAGE_TRACE_REQUESTS: found"),
        ({"M365_GRAPH_ENDPOINT": "graph"}, "M365_GRAPH_ENDPOINT: found 'graph'"),
        ({"M365_REPORTING_ENDPOINT": "http://r.example"}, "M365_REPORTING_ENDPOINT: found"),
        ({"M365_OUTPUT_MESSAGE_TRACE": "a/b"}, "M365_OUTPUT_MESSAGE_TRACE: found"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(more: dict[str, str], expected: str) -> None:
    (line,) = problems({**GOOD, **more})

    assert expected in line
    assert re.search(r": (found|set) .*; expected .", line)


def test_each_of_many_connections_has_a_trace_of_its_own() -> None:
    more: dict[str, Any] = {
        "message_trace_backfill_days": 30,
        "message_trace_details": "failed",
        "graph_endpoint": "https://relay.example",
        "graph_scope": "https://graph.microsoft.com/.default",
    }
    one, two = load(
        many(
            connection(**more),
            connection(
                name="b",
                tenant_id="64bcde50-1111-5090-9c19-b6852a206f1d",
                message_trace_api="reporting",
            ),
        )
    ).connections

    assert message_trace_of(one) == MessageTrace(
        api="graph",
        endpoint="https://relay.example",
        scope="https://graph.microsoft.com/.default",
        offered=True,
        requests=90,
        delay=timedelta(seconds=300),
        backfill=timedelta(days=30),
        details=frozenset({"failed"}),
    )
    assert message_trace_of(two).api == "reporting"


def test_a_mistake_in_one_of_many_connections_is_named_with_its_place() -> None:
    (line,) = problems(many(connection(message_trace_backfill_days="91")))

    assert line.startswith("app setting M365_CONNECTIONS[0].message_trace_backfill_days: found")
