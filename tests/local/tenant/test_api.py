from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from tests.local.tenant.conftest import EXCHANGE, NOW, TENANT_ID, Serve, code_of, make_tenant
from tests.waits import LONG

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OTHER = "43f7fd10-933c-5ef4-bcb1-03a8577bb5c9"


@pytest.mark.parametrize("header", [None, "Bearer made-up", "Basic YTpi"])
def test_only_a_token_issued_here_opens_the_api(serve: Serve, header: str | None) -> None:
    client = serve()
    del client.session.headers["Authorization"]
    answer = client.get("subscriptions/list", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert "error" not in answer.json()


def test_a_token_ends_with_its_life(serve: Serve) -> None:
    assert serve(token_life_s=0.0).get("subscriptions/list").status_code == 401


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param(f"{OTHER}/activity/feed/subscriptions/list", "AF20010", id="other tenant"),
        pytest.param("contoso.example/activity/feed/subscriptions/list", "AF20013", id="domain"),
        pytest.param(f"{TENANT_ID}/activity/feed/subscriptions/content", "AF20001", id="no type"),
        pytest.param(
            f"{TENANT_ID}/activity/feed/subscriptions/content?contentType=Audit.Mail",
            "AF20020",
            id="unknown type",
        ),
        pytest.param(
            f"{TENANT_ID}/activity/feed/subscriptions/list?PublisherIdentifier=me",
            "AF20002",
            id="publisher",
        ),
        pytest.param(f"{TENANT_ID}/activity/feed/audit/abc", "AF20052", id="malformed id"),
        pytest.param(f"{TENANT_ID}/activity/feed/audit/a%24b%24c", "AF20052", id="encoded id"),
        pytest.param(f"{TENANT_ID}/activity/feed/audit/a$b$c", "AF20050", id="unknown id"),
    ],
)
def test_a_wrong_request_gets_its_code(serve: Serve, path: str, code: str) -> None:
    client = serve()
    answer = client.get(f"{client.server.endpoint}/api/v1.0/{path}")
    assert code_of(answer) == code
    assert answer.status_code == (404 if code == "AF20050" else 400)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        pytest.param({"roles": ("ServiceHealth.Read",)}, 403, "AF10001", id="role"),
        pytest.param({"auditing": False}, 400, "AF20011", id="auditing off"),
    ],
)
def test_a_tenant_that_is_not_set_up_says_so(
    serve: Serve, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = serve(**fields).get("subscriptions/list")
    assert (answer.status_code, code_of(answer)) == (status, code)


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        pytest.param(NOW, NOW, "AF20055", id="empty"),
        pytest.param(NOW, NOW - HOUR, "AF20055", id="backward"),
        pytest.param(NOW - DAY - timedelta(seconds=1), NOW, "AF20055", id="over a day"),
        pytest.param(NOW - 7 * DAY - 2 * HOUR, NOW - 7 * DAY, "AF20055", id="too old"),
        pytest.param("20.11.2026", NOW, "AF20002", id="format"),
        pytest.param("2026-13-01", NOW, "AF20002", id="month"),
        pytest.param("2026-11-20T11:00:00+01:00", NOW, "AF20002", id="offset"),
    ],
)
def test_a_window_that_breaks_a_rule_is_refused(
    serve: Serve, start: datetime | str, end: datetime | str, code: str
) -> None:
    answer = serve().page(start, end)
    assert (answer.status_code, code_of(answer)) == (400, code)


@pytest.mark.parametrize("bound", ["startTime", "endTime"])
def test_one_bound_alone_is_refused(serve: Serve, bound: str) -> None:
    query = f"contentType={EXCHANGE}&{bound}=2026-11-20T10:00:00"
    assert code_of(serve().get(f"subscriptions/content?{query}")) == "AF20030"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(NOW - DAY, NOW, id="a whole day"),
        pytest.param(NOW - 7 * DAY - HOUR, NOW - 7 * DAY, id="an hour of grace"),
        pytest.param(NOW - HOUR, NOW + HOUR, id="end in the future"),
        pytest.param("2026-11-20", "2026-11-20T11:00", id="short forms"),
        pytest.param("2026-11-20T10:00:00.123Z", "2026-11-20T11:00:00Z", id="fraction and zone"),
    ],
)
def test_a_window_within_the_rules_is_taken(
    serve: Serve, start: datetime | str, end: datetime | str
) -> None:
    assert serve().page(start, end).json() == []


def test_a_full_day_can_be_refused(serve: Serve) -> None:
    client = serve(reject_full_day=True)
    assert code_of(client.page(NOW - DAY, NOW)) == "AF20055"
    assert client.page(NOW - DAY + timedelta(seconds=1), NOW).status_code == 200


def test_a_window_that_ends_in_the_future_can_be_refused(serve: Serve) -> None:
    client = serve(reject_future=True)
    assert code_of(client.page(NOW - HOUR, NOW + timedelta(seconds=1))) == "AF20055"
    assert client.page(NOW - HOUR, NOW).status_code == 200


def test_a_request_without_tls_is_in_the_books(serve: Serve) -> None:
    client = serve()
    with pytest.raises(requests.ConnectionError):
        client.session.get(client.server.endpoint.replace("https:", "http:"), timeout=LONG)
    assert [note.path for note in client.tenant.books.requests("other")] == ["plain HTTP"]


def test_no_bounds_mean_the_last_day(serve: Serve) -> None:
    tenant = make_tenant()
    tenant.offer(EXCHANGE, created=NOW - DAY - HOUR)
    inside = tenant.offer(EXCHANGE, created=NOW - HOUR)
    answer = serve(tenant).get(f"subscriptions/content?contentType={EXCHANGE}")
    assert [entry["contentId"] for entry in answer.json()] == [inside.content_id]


def test_the_start_of_a_window_belongs_to_it_and_the_end_does_not(serve: Serve) -> None:
    tenant = make_tenant()
    noon = NOW - 2 * HOUR
    first = tenant.offer(EXCHANGE, created=noon)
    last = tenant.offer(EXCHANGE, created=noon + HOUR - timedelta(milliseconds=1))
    beyond = tenant.offer(EXCHANGE, created=noon + HOUR)
    client = serve(tenant)
    assert client.listed(noon, noon + HOUR) == [first.content_id, last.content_id]
    assert client.listed(noon + HOUR, noon + 2 * HOUR) == [beyond.content_id]
    assert client.listed(noon - HOUR, noon) == []


def test_an_entry_has_the_fields_of_the_api(serve: Serve) -> None:
    tenant = make_tenant()
    created = NOW - HOUR + timedelta(milliseconds=210)
    content = tenant.offer(EXCHANGE, created=created)
    client = serve(tenant)
    (entry,) = client.page().json()
    assert entry == {
        "contentType": EXCHANGE,
        "contentId": content.content_id,
        "contentUri": f"{client.root}/audit/{content.content_id}",
        "contentCreated": "2026-11-20T11:00:00.210Z",
        "contentExpiration": "2026-11-27T11:00:00.210Z",
    }
    assert content.content_id.count("$") == 4
    assert client.get(entry["contentUri"]).status_code == 200


def test_an_expired_content_is_refused_as_such(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - HOUR, expires=NOW + HOUR)
    client = serve(tenant)
    assert client.content(content.content_id).status_code == 200
    tenant.advance(HOUR)
    answer = client.content(content.content_id)
    assert (answer.status_code, code_of(answer)) == (400, "AF20051")
    assert tenant.books.refused(content.content_id) == 1


def test_contents_are_served_with_and_without_compression(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, records=[b'{"Id":"a"}', b'{"Id":"b"}'])
    client = serve(tenant)
    zipped = client.content(content.content_id)
    plain = client.content(content.content_id, headers={"Accept-Encoding": "identity"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.content == plain.content == b'[{"Id":"a"},{"Id":"b"}]'


def test_every_answer_carries_the_tenants_date(serve: Serve) -> None:
    client = serve()
    client.tenant.advance(3 * DAY)
    for answer in (client.page(), client.content("x$y$z"), client.get("nowhere")):
        assert parsedate_to_datetime(answer.headers["Date"]) == NOW + 3 * DAY


def test_requests_over_the_quota_get_a_403_that_is_no_json(serve: Serve) -> None:
    client = serve(requests_per_minute=3)
    assert [client.page().status_code for _ in range(5)] == [200, 200, 200, 403, 403]
    answer = client.get(f"subscriptions/list?PublisherIdentifier={TENANT_ID}")
    assert answer.text.startswith("{'error':{'code':'AF429'")
    assert TENANT_ID in answer.text
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    client.tenant.advance(timedelta(seconds=60))
    assert client.page().status_code == 200


def test_both_versions_of_the_path_are_served(serve: Serve) -> None:
    client = serve()
    address = f"{client.server.endpoint}/api/v1/{TENANT_ID}/activity/feed/subscriptions/list"
    assert client.get(address).json() == client.get("subscriptions/list").json()


def test_names_of_sensitive_types_take_one_language(serve: Serve) -> None:
    client = serve()
    assert {"id", "name"} == set(client.get("resources/dlpSensitiveTypes").json()[0])
    several = client.get("resources/dlpSensitiveTypes", headers={"Accept-Language": "de,en"})
    assert code_of(several) == "AF20053"


def test_notifications_repeat_the_entries(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - HOUR)
    query = f"contentType={EXCHANGE}&startTime=2026-11-20T10:00:00&endTime=2026-11-20T12:00:00"
    (entry,) = serve(tenant).get(f"subscriptions/notifications?{query}").json()
    assert entry["contentId"] == content.content_id
    assert entry["notificationStatus"] == "success"
    assert tenant.books.listed(content.content_id) == 0
