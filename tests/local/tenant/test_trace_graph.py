"""The message trace of the simulated tenant in Microsoft Graph, as its contract has it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests

from local.tenant import Fault, Tenant, TraceSpec, Triple
from local.tenant.trace.graph import PATH
from tests.local.tenant.conftest import NOW, Client, Serve, make_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAPH = "https://graph.microsoft.com"
# The app whose service principal a tenant needs before Graph answers its trace.
FIRST_PARTY_APP = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"
ROLES = ("ExchangeMessageTrace.Read.All",)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
MINUTE = timedelta(minutes=1)


def tenant_with(**trace: Any) -> Tenant:
    return make_tenant(roles=ROLES, trace=TraceSpec(**trace))


def ask(client: Client, filter_: str | None = None, **more: Any) -> requests.Response:
    """One page of the trace; ``top``, ``prefer`` and ``audience`` as asked for."""
    token = client.tenant.tokens.issue(more.pop("audience", GRAPH))
    headers = {"Authorization": f"Bearer {token}", "Prefer": "include-unknown-enum-members"}
    headers["Prefer"] = more.pop("prefer", headers["Prefer"])
    url = more.pop("url", None)
    query = {"$filter": filter_, "$top": more.pop("top", None)}
    asked = "&".join(f"{name}={quote(str(value))}" for name, value in query.items() if value)
    return client.get(url or f"{client.server.endpoint}{PATH}?{asked}", headers=headers)


def window(start: datetime, end: datetime) -> str:
    return f"receivedDateTime ge {wire(start)} and receivedDateTime le {wire(end)}"


def wire(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def pages(client: Client, filter_: str | None = None, **more: Any) -> Iterator[list[Any]]:
    answer = ask(client, filter_, **more)
    while True:
        assert answer.status_code == 200, answer.text
        yield answer.json()["value"]
        following = answer.json().get("@odata.nextLink")
        if following is None:
            return
        answer = ask(client, url=following)


def rows(client: Client, filter_: str | None = None, **more: Any) -> list[Any]:
    return [row for page in pages(client, filter_, **more) for row in page]


def triples(found: list[Any]) -> list[Triple]:
    return [Triple(row["id"], row["recipientAddress"], row["status"]) for row in found]


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


def test_every_row_of_a_window_comes_once_newest_first_whatever_the_page_size(
    serve: Serve,
) -> None:
    tenant = tenant_with(rows=300, days=1, duplicates=0.1, odd=0.2, changing=0.2)
    client = serve(tenant)
    found = rows(client, window(NOW - DAY, NOW), top=7)
    times = [row["receivedDateTime"] for row in found]
    assert [datetime.fromisoformat(time) for time in times] == sorted(
        (datetime.fromisoformat(time) for time in times), reverse=True
    )
    assert len(found) == tenant.trace.books.summary()["visible"]
    assert set(triples(found)) == tenant.trace.books.standing() == tenant.trace.books.served()
    assert len(set(triples(found))) < len(found)
    assert rows(client, window(NOW - DAY, NOW), top=100) == found
    assert set(found[0]) == {
        *("id", "senderAddress", "recipientAddress", "messageId", "receivedDateTime"),
        *("subject", "status", "fromIP", "toIP", "size"),
    }


def test_both_ends_of_a_window_belong_to_it(serve: Serve) -> None:
    tenant = tenant_with()
    for at in (-2, -1, 0, 1):
        tenant.trace.offer(received=NOW - HOUR + at * SECOND, subject=str(at))
    client = serve(tenant)
    found = rows(client, window(NOW - HOUR - SECOND, NOW - HOUR))
    assert [row["subject"] for row in found] == ["0", "-1"]
    assert len(rows(client, window(NOW - HOUR, NOW - HOUR))) == 1


def test_without_a_filter_it_is_the_last_48_hours(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.trace.offer(received=NOW - 47 * HOUR)
    tenant.trace.offer(received=NOW - 49 * HOUR)
    assert len(rows(serve(tenant))) == 1


@pytest.mark.parametrize(
    ("filter_", "top", "text"),
    [
        pytest.param(
            "receivedDateTime ge 2026-11-20T00:00:00Z",
            None,
            "EndDate is required when a StartDate is entered.",
            id="one bound",
        ),
        pytest.param(
            window(NOW - 11 * DAY, NOW - DAY + SECOND),
            None,
            "|System.ArgumentException|The interval between StartDate and EndDate can't be longer "
            "than 10 days.",
            id="span",
        ),
        pytest.param(
            window(NOW - 90 * DAY - SECOND, NOW - 85 * DAY),
            None,
            "Invalid StartDate value. The StartDate can't be older than 90 days from today.",
            id="age",
        ),
        pytest.param(window(NOW - DAY, NOW), "0", "ResultSize is invalid", id="top 0"),
        pytest.param(window(NOW - DAY, NOW), "5001", "ResultSize is invalid", id="top 5001"),
        pytest.param(window(NOW - DAY, NOW + SECOND), None, "future", id="future"),
        pytest.param(window(NOW, NOW - DAY), None, "StartDate", id="backward"),
        pytest.param("receivedDateTime gt 2026-11-20T00:00:00Z", None, "filter", id="gt"),
        pytest.param("receivedDateTime ge '2026-11-20T00:00:00Z'", None, "filter", id="quoted"),
        pytest.param("receivedDateTime ge 2026-11-20T00:00:00", None, "filter", id="no zone"),
        pytest.param("organizer eq 'x'", None, "filter", id="field"),
    ],
)
def test_a_wrong_request_gets_the_text_of_the_service(
    serve: Serve, filter_: str, top: str | None, text: str
) -> None:
    status, message = error(ask(serve(tenant_with()), filter_, top=top))
    assert status == 400
    assert text in message


def test_ten_days_and_ninety_days_are_just_allowed(serve: Serve) -> None:
    assert ask(serve(tenant_with()), window(NOW - 90 * DAY, NOW - 80 * DAY)).status_code == 200


def test_filters_narrow_down_and_what_has_no_effect_has_none(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.trace.offer(recipients=["o'neill@x.example", "a@x.example"], subject="Tea and 'cake'")
    tenant.trace.offer(recipients=["b@y.example"], status="failed")
    client = serve(tenant)

    def recipients(filter_: str) -> set[str]:
        return {row["recipientAddress"] for row in rows(client, filter_)}

    assert recipients("recipientAddress eq 'O''Neill@x.example'") == {"o'neill@x.example"}
    assert recipients("recipientAddress eq '*@x.example'") == {"o'neill@x.example", "a@x.example"}
    assert recipients("status eq 'failed'") == {"b@y.example"}
    both = {"o'neill@x.example", "a@x.example"}
    assert recipients("contains(subject, 'tea and ''cake''') and fromIP eq '203.0.113.9'") == both
    assert recipients("status eq 'delivered' or status eq 'failed'") == {"b@y.example"}
    assert recipients("status ne 'failed'") == {*both, "b@y.example"}


def test_a_page_token_is_good_only_with_its_filter(serve: Serve) -> None:
    tenant = tenant_with(rows=20, days=1)
    client = serve(tenant)
    following = ask(client, window(NOW - DAY, NOW), top=5).json()["@odata.nextLink"]
    other = following.replace(quote(wire(NOW), safe=":"), quote(wire(NOW - HOUR), safe=":"))
    assert other != following
    assert ask(client, url=following).status_code == 200
    assert error(ask(client, url=other))[0] == 400
    assert error(ask(client, url=f"{client.server.endpoint}{PATH}?$skiptoken=bWFkZSB1cA"))[0] == 400


def test_a_token_breaks_on_demand_in_mid_chain_and_the_next_try_goes_on(serve: Serve) -> None:
    tenant = tenant_with(rows=20, days=1)
    tenant.faults.add(Fault(on="trace_page", action="status", code="page-token", after=1))
    client = serve(tenant)
    following = ask(client, window(NOW - DAY, NOW), top=5).json()["@odata.nextLink"]
    following = ask(client, url=following).json()["@odata.nextLink"]
    status, text = error(ask(client, url=following))
    assert (status, "argument transformation" in text) == (400, True)
    assert ask(client, url=following).status_code == 200


def test_a_token_that_was_handed_out_broken_stays_so(serve: Serve) -> None:
    tenant = tenant_with(rows=20, days=1)
    tenant.faults.add(Fault(on="trace", action="break_page_token"))
    client = serve(tenant)
    first = ask(client, window(NOW - DAY, NOW), top=5).json()
    assert len(first["value"]) == 5
    for _ in range(2):
        assert error(ask(client, url=first["@odata.nextLink"]))[0] == 400
    assert ask(client, window(NOW - DAY, NOW), top=5).json()["value"] == first["value"]


def test_a_strict_tenant_refuses_to_go_on_behind_an_odd_recipient(serve: Serve) -> None:
    tenant = tenant_with(strict_tokens=True)
    tenant.trace.offer(received=NOW - HOUR, recipients=["plain@x.example"])
    tenant.trace.offer(received=NOW - MINUTE, recipients=["team#1@x.example"])
    client = serve(tenant)
    following = ask(client, top=1).json()["@odata.nextLink"]
    assert error(ask(client, url=following)) == (
        400,
        "|System.ArgumentException|Invalid starting recipient address",
    )


def test_links_can_loop_lead_away_or_come_with_an_empty_page(serve: Serve) -> None:
    tenant = tenant_with(rows=20, days=1)
    client = serve(tenant)
    first = ask(client, window(NOW - DAY, NOW), top=5).json()
    tenant.faults.add(
        Fault(on="trace_page", action="repeat_page_token"),
        Fault(on="trace_page", action="empty_page_with_next"),
        Fault(on="trace_page", action="foreign_next_page", host="elsewhere.example"),
    )
    looping = ask(client, url=first["@odata.nextLink"]).json()
    empty = ask(client, url=looping["@odata.nextLink"]).json()
    foreign = ask(client, url=empty["@odata.nextLink"]).json()
    assert looping["@odata.nextLink"] == first["@odata.nextLink"] != empty["@odata.nextLink"]
    assert (empty["value"], foreign["value"]) == ([], looping["value"])
    assert foreign["@odata.nextLink"].startswith(f"https://elsewhere.example{PATH}?")


def test_a_tenant_takes_its_quota_in_five_minutes(serve: Serve) -> None:
    tenant = tenant_with(quota=3)
    client = serve(tenant)
    assert [ask(client).status_code for _ in range(4)] == [200, 200, 200, 429]
    tenant.advance(timedelta(minutes=4))
    answer = ask(client)
    assert error(answer) == (
        429,
        "Your recent queries have surpassed the permitted limit, please try again later.",
    )
    assert 60 <= int(answer.headers["Retry-After"]) <= 61
    tenant.advance(timedelta(minutes=1))
    assert ask(client).status_code == 200
    assert tenant.trace.books.max_requests_in_5_minutes == 5
    assert tenant.trace.books.refused() == {"throttled": 2}


def test_a_429_comes_without_retry_after_too(serve: Serve) -> None:
    tenant = tenant_with(quota=0, retry_after=False)
    client = serve(tenant)
    tenant.faults.add(Fault(on="trace", action="throttle", retry_after=7))
    tenant.faults.add(Fault(on="trace", action="throttle"))
    assert ask(client).headers["Retry-After"] == "7"
    for _ in range(2):
        answer = ask(client)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (429, None)


def test_unknown_statuses_come_only_to_who_prefers_them(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.trace.offer(status="recalled")
    client = serve(tenant)
    assert ask(client).json()["value"][0]["status"] == "recalled"
    assert ask(client, prefer="").json()["value"][0]["status"] == "unknownFutureValue"


def test_null_empty_and_odd_fields_come_as_they_are(serve: Serve) -> None:
    tenant = tenant_with()
    empty: dict[str, Any] = {"subject": "", "from_ip": None, "to_ip": None, "message_id": None}
    tenant.trace.offer(received=NOW - HOUR, sender=None, recipients=[None], **empty)
    tenant.trace.offer(sender="<>", recipients=["", "o'x\"#1@x.example"], subject='a"\\\n\u2028')
    found = rows(serve(tenant))
    assert [row["recipientAddress"] for row in found] == ["o'x\"#1@x.example", "", None]
    assert [row["senderAddress"] for row in found] == ["<>", "<>", None]
    assert [row["subject"] for row in found] == ['a"\\\n\u2028', 'a"\\\n\u2028', ""]
    assert (found[2]["fromIP"], found[2]["toIP"], found[2]["messageId"]) == (None, None, None)


def test_details_come_for_one_recipient_or_are_missing(serve: Serve) -> None:
    tenant = tenant_with()
    name = "o'neill+#1@x.example"
    (row,) = tenant.trace.offer(recipients=[name])
    (empty,) = tenant.trace.offer(details="empty")
    (missing,) = tenant.trace.offer(details="missing")
    client = serve(tenant)

    def details(trace_id: str, recipient: str | None) -> requests.Response:
        address = quote((recipient or "").replace("'", "''"), safe="")
        call = f"getDetailsByRecipient(recipientAddress='{address}')"
        return ask(client, url=f"{client.server.endpoint}{PATH}/{trace_id}/{call}")

    answer = details(row.trace_id, name)
    assert [one["event"] for one in answer.json()["value"]] == ["Receive", "Deliver"]
    assert {one["id"] for one in answer.json()["value"]} == {row.trace_id}
    assert details(empty.trace_id, empty.recipient).json()["value"] == []
    assert details(missing.trace_id, missing.recipient).status_code == 404
    assert details(row.trace_id, "other@x.example").status_code == 404
    assert tenant.trace.books.details()[row.trace_id, name] == 1
    assert tenant.trace.books.max_requests_in_5_minutes == 4


def test_details_of_a_written_row_are_found_by_its_id(serve: Serve) -> None:
    tenant = tenant_with(rows=200, days=1)
    client = serve(tenant)
    row = rows(client)[20]
    call = f"getDetailsByRecipient(recipientAddress='{quote(row['recipientAddress'], safe='')}')"
    answer = ask(client, url=f"{client.server.endpoint}{PATH}/{row['id']}/{call}")
    assert answer.json()["value"][0]["messageId"] == row["messageId"]


def test_a_missing_service_principal_is_a_401_until_it_has_spread(serve: Serve) -> None:
    tenant = tenant_with(service_principal_after_s=3600)
    client = serve(tenant)
    answer = ask(client)
    assert answer.json()["error"]["code"] == "Unauthorized"
    assert error(answer) == (
        401,
        "Service principal-less Authentication failed: the service principal for App ID "
        f"{FIRST_PARTY_APP} was not found",
    )
    tenant.advance(HOUR)
    assert ask(client).status_code == 200
    tenant.trace.provision(None)
    assert ask(client).status_code == 401


def test_only_a_graph_token_with_the_role_opens_the_trace(serve: Serve) -> None:
    client = serve(tenant_with())
    for audience in ("https://manage.office.com", "https://outlook.office365.com"):
        answer = ask(client, audience=audience)
        assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert ask(client, audience="00000003-0000-0000-c000-000000000000").status_code == 200
    assert ask(client, audience=client.server.endpoint).status_code == 200
    client.tenant.tokens.expire()
    url = f"{client.server.endpoint}{PATH}"
    assert error(client.get(url)) == (401, "Lifetime validation failed, the token is expired.")
    other = serve(make_tenant(roles=("ActivityFeed.Read",)))
    assert error(ask(other)) == (403, "Insufficient privileges to complete the operation.")


def test_a_graph_token_does_not_open_the_management_api(serve: Serve) -> None:
    client = serve()
    client.session.headers["Authorization"] = f"Bearer {client.tenant.tokens.issue(GRAPH)}"
    assert client.get("subscriptions/list").status_code == 401


def test_a_cloud_without_the_trace_has_no_such_segment(serve: Serve) -> None:
    assert error(ask(serve(tenant_with(graph=False)))) == (
        400,
        "Resource not found for the segment 'tracing'.",
    )


@pytest.mark.parametrize("action", ["reset_mid_body", "truncate_json"])
def test_what_was_not_answered_whole_was_not_served(serve: Serve, action: str) -> None:
    tenant = tenant_with(rows=20, days=1)
    tenant.faults.add(Fault(on="trace", action=action))
    client = serve(tenant)
    with pytest.raises((requests.RequestException, ValueError)):
        ask(client).json()
    assert tenant.trace.books.served() == set()
    ask(client)
    assert tenant.trace.books.served() == tenant.trace.books.standing()


def test_a_fault_on_anything_is_played_on_a_trace_too(serve: Serve) -> None:
    tenant = tenant_with()
    tenant.faults.add(Fault(on="any", action="status", code="AF50000", times=2))
    client = serve(tenant)
    assert ask(client).status_code == 500
    url = f"{client.server.endpoint}/ecp/reportingwebservice/reporting.svc/MessageTrace"
    assert ask(client, url=url).headers["Content-Type"].startswith("text/html")
    assert ask(client).status_code == 200


def test_a_fault_names_a_code_of_its_api() -> None:
    with pytest.raises(ValueError, match="accepted are"):
        Fault(on="trace", action="status", code="AF50000")
    with pytest.raises(ValueError, match="acts on trace, trace_page"):
        Fault(on="report", action="break_page_token")
