"""The retired Reporting Web Service of the simulated tenant, in the three shapes it answers in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin
from xml.etree import ElementTree

import pytest

from local.tenant import Fault, Tenant, TraceSpec
from tests.local.tenant.conftest import NOW, Client, Serve, make_tenant

if TYPE_CHECKING:
    import requests

EXCHANGE = "https://outlook.office365.com"
ROLES = ("ReportingWebService.Read.All",)
PATH = "/ecp/reportingwebservice/reporting.svc/MessageTrace"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JSON = "application/json"


def tenant_with(**trace: Any) -> Tenant:
    return make_tenant(roles=ROLES, trace=TraceSpec(**trace))


def ask(
    client: Client,
    query: str | None = None,
    *,
    url: str | None = None,
    accept: str = JSON,
    audience: str = EXCHANGE,
) -> requests.Response:
    token = client.tenant.tokens.issue(audience)
    headers = {"Authorization": f"Bearer {token}", "Accept": accept}
    query = f"$filter={window(NOW - DAY, NOW)}" if query is None else query
    return client.get(url or f"{client.server.endpoint}{PATH}?{query}", headers=headers)


def window(start: datetime, end: datetime, zone: str = "Z") -> str:
    bounds = (f"{at:%Y-%m-%dT%H:%M:%S}{zone}" for at in (start, end))
    return quote("StartDate eq datetime'{}' and EndDate eq datetime'{}'".format(*bounds))


def test_odata_json_has_relative_links_and_times_without_a_zone(serve: Serve) -> None:
    tenant = tenant_with(rows=50, days=0.9, reporting_page=20)
    client = serve(tenant)
    answer, found, links = ask(client), [], []
    while True:
        found += answer.json()["value"]
        link = answer.json().get("odata.nextLink")
        if link is None:
            break
        links.append(link)
        answer = ask(client, url=urljoin(answer.url, link))
    assert [link.rpartition("=")[2] for link in links] == ["19", "39"]
    assert all(link.startswith("../../reportingwebservice/reporting.svc/") for link in links)
    assert [row["Index"] for row in found] == list(range(50))
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}", row["Received"]) for row in found
    )
    assert {row["FromIP"] for row in found} != {None}
    assert tenant.trace.books.served() == tenant.trace.books.standing()


def test_verbose_json_has_dates_in_milliseconds(serve: Serve) -> None:
    tenant = tenant_with(reporting_page=1)
    rows = tenant.trace.offer(received=NOW - HOUR, count=2)
    client = serve(tenant)
    whole = ask(client, f"$filter={window(NOW - DAY, NOW)}&$format=json").json()["d"]
    (row,) = whole["results"]
    assert row["__metadata"]["type"] == "TenantReporting.MessageTrace"
    assert row["Received"] == f"/Date({rows[0].received})/"
    assert row["Status"] == "Delivered"
    following = ask(client, url=urljoin(f"{client.server.endpoint}{PATH}", whole["__next"]))
    assert following.json()["d"]["results"][0]["MessageTraceId"] == rows[0].trace_id
    bare = serve(tenant_with(rows=3, verbose_bare=True))
    assert len(ask(bare, "$format=json&$top=2").json()["d"]) == 2


def test_atom_comes_when_nothing_is_asked_for(serve: Serve) -> None:
    tenant = tenant_with(reporting_page=1)
    tenant.trace.offer(count=2, subject='<&"\x00\u2028', sender=None)
    feed = ElementTree.fromstring(ask(serve(tenant), accept="*/*").content)
    names = {"a": "http://www.w3.org/2005/Atom"}
    names["d"] = "http://schemas.microsoft.com/ado/2007/08/dataservices"
    assert [one.text for one in feed.iterfind(".//d:Subject", names)] == ['<&"\u2028']
    assert len(feed.findall("a:entry", names)) == 1
    (link,) = feed.findall("a:link", names)
    assert link.attrib["href"].endswith("&$skiptoken=0")


def test_bounds_come_with_and_without_a_zone_and_none_are_48_hours(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.trace.offer(received=NOW - HOUR)
    client = serve(tenant)
    for query in (f"$filter={window(NOW - 2 * HOUR, NOW, '')}", "", "$filter="):
        assert len(ask(client, query).json()["value"]) == 1
    assert ask(client, f"$filter={window(NOW - 3 * HOUR, NOW - 2 * HOUR)}").json()["value"] == []
    only = quote("Status eq 'Failed'")
    assert ask(client, f"$filter={window(NOW - DAY, NOW)}%20and%20{only}").json()["value"] == []


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        pytest.param(
            f"$filter={window(NOW - 11 * DAY, NOW - 10 * DAY)}", 400, "older than 10 days", id="age"
        ),
        pytest.param("$filter=nonsense", 400, "filter", id="filter"),
        pytest.param("$skiptoken=999999", 500, "An error has occurred on the server.", id="beyond"),
    ],
)
def test_a_wrong_request_gets_the_error_of_the_service(
    serve: Serve, query: str, status: int, text: str
) -> None:
    answer = ask(serve(tenant_with()), query)
    assert answer.status_code == status
    assert text in answer.json().get("error", answer.json().get("odata.error"))["message"]["value"]


@pytest.mark.parametrize(
    ("trace", "status", "text"),
    [
        pytest.param({"reporting_retired": 401}, 401, "<title>401 - Unauthorized", id="401"),
        pytest.param({"reporting_retired": 403}, 403, '"ErrorCode": ""', id="403"),
        pytest.param({"reporting_retired": 404}, 404, "<title>404", id="404"),
        pytest.param({"directory_role": False}, 403, "No permission to access", id="role"),
    ],
)
def test_a_retired_service_refuses_everybody(
    serve: Serve, trace: dict[str, Any], status: int, text: str
) -> None:
    client = serve(tenant_with(**trace))
    for _ in range(2):
        answer = ask(client)
        assert answer.status_code == status
        assert text in answer.text


def test_a_wrong_audience_is_a_page_of_html(serve: Serve) -> None:
    answer = ask(serve(tenant_with()), audience="https://graph.microsoft.com")
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (401, "text/html")


def test_faults_answer_in_html_and_a_link_can_lead_away(serve: Serve) -> None:
    tenant = tenant_with(rows=5, reporting_page=2)
    client = serve(tenant)
    tenant.faults.add(Fault(on="report", action="status", status=503, retry_after=3))
    tenant.faults.add(Fault(on="report", action="status", code="no-permission"))
    tenant.faults.add(Fault(on="report", action="throttle"))
    tenant.faults.add(Fault(on="report", action="foreign_next_page", host="elsewhere.example"))
    first = ask(client, "")
    assert (first.status_code, first.headers["Retry-After"]) == (503, "3")
    assert "<title>503" in first.text
    assert ask(client, "").json()["ErrorCode"] == ""
    assert ask(client, "").status_code == 429
    link = ask(client, "").json()["odata.nextLink"]
    assert link.startswith("https://elsewhere.example/ecp/reportingwebservice/reporting.svc/")


def test_rows_that_turn_up_between_two_pages_move_the_others(serve: Serve) -> None:
    tenant = tenant_with(reporting_page=2)
    tenant.trace.offer(received=NOW - HOUR, count=4)
    client = serve(tenant)
    first = ask(client).json()
    tenant.trace.offer(received=NOW - HOUR / 2)
    second = ask(client, url=urljoin(f"{client.server.endpoint}{PATH}", first["odata.nextLink"]))
    assert second.json()["value"][0]["MessageTraceId"] == first["value"][1]["MessageTraceId"]


def test_zone_less_times_are_utc(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.trace.offer(received=NOW - HOUR)
    (row,) = ask(serve(tenant)).json()["value"]
    received = datetime.fromisoformat(row["Received"]).replace(tzinfo=UTC)
    assert abs(received - (NOW - HOUR)) < timedelta(milliseconds=1)
