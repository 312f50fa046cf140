from __future__ import annotations

from collections import Counter
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import pytest

from local.tenant import SOURCES, Event, Fault, Tenant, TenantSpec, event_id
from local.tenant.spec import ROLES
from tests.local.tenant.conftest import (
    CLIENT_ID,
    EXCHANGE,
    NOW,
    SECRET,
    TENANT_ID,
    Serve,
    make_tenant,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


def test_expected_events_are_what_a_client_can_fetch(serve: Serve) -> None:
    client = serve(contents=40, records=5, subscribed=SOURCES, days=0.9, duplicate_ids=0.1)
    fetched = {
        Event(name, event["Id"], "")
        for source in SOURCES
        for name in client.listed(source=source)
        for event in client.content(name).json()
    }
    expected = client.tenant.expected_events()
    assert {event._replace(digest="") for event in expected} == fetched
    assert len(expected) == len(fetched)
    some = next(iter(expected)).content_id
    assert client.tenant.books.expected_events(content_ids=[some]) == {
        event for event in expected if event.content_id == some
    }


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param(b'{"Id":"a b"}', "a b", id="id"),
        pytest.param(b'{"Id":""}', None, id="empty id"),
        pytest.param(b'{"Id":7}', None, id="number"),
        pytest.param(b'{"id":"a"}', None, id="other case"),
        pytest.param(b'{"Id":"\\ud800"}', "\ud800", id="lone surrogate"),
        pytest.param(b"[1]", None, id="no object"),
    ],
)
def test_an_event_is_named_by_its_id_or_by_its_bytes(raw: bytes, name: str | None) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, records=[raw])
    assert tenant.expected_events() == {Event(content.content_id, name or digest(raw), digest(raw))}
    assert event_id(raw) == (name or digest(raw))


@pytest.mark.parametrize(
    ("body", "raws"),
    [
        pytest.param(b"[]", [], id="empty"),
        pytest.param(b'[ {"a":1} ,\n{"b" : "]"} ]', [b'{"a":1}', b'{"b" : "]"}'], id="spaces"),
        pytest.param(b'\xef\xbb\xbf[{"a":1}]', [b'{"a":1}'], id="bom"),
        pytest.param(b'{"error":{}}', [], id="object"),
        pytest.param(b'[{"a":1}', [], id="cut"),
        pytest.param(b"\xff\xfe", [], id="not utf-8"),
    ],
)
def test_a_body_given_whole_is_served_as_it_is_and_its_records_are_expected(
    serve: Serve, body: bytes, raws: list[bytes]
) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, body=body)
    assert serve(tenant).content(content.content_id).content == body
    assert {event.digest for event in tenant.expected_events()} == {digest(raw) for raw in raws}


def test_listings_and_servings_are_counted_per_content(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - HOUR, count=4)
    client = serve(tenant)
    client.listed()
    client.listed()
    client.content(content.content_id)
    name = content.content_id
    assert (tenant.books.listed(name), tenant.books.served(name)) == (2, 1)
    row = tenant.books.summary()["sources"][EXCHANGE]
    assert row == {
        "offered": 1,
        "visible": 1,
        "listed": 1,
        "listings": 2,
        "served": 1,
        "servings": 1,
        "refused": 0,
        "offered_events": 4,
    }
    assert tenant.books.summary()["requests"] == {"list": {"200": 2}, "content": {"200": 1}}


def test_what_a_fault_spoilt_counts_neither_as_listed_nor_as_served(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - HOUR, hidden_after_listings=1)
    client = serve(tenant)
    tenant.faults.add(
        Fault(on="list", action="truncate_json"), Fault(on="content", action="truncate_json")
    )
    client.page()
    client.content(content.content_id)
    name = content.content_id
    assert (tenant.books.listed(name), tenant.books.served(name)) == (0, 0)
    assert client.listed() == [name]
    assert [note.fault for note in tenant.books.requests("content")] == ["truncate_json"]


def test_the_busiest_stretch_is_found(serve: Serve) -> None:
    client = serve()
    for _ in range(4):
        client.page()
    assert client.tenant.books.max_requests_in(60) == 4
    assert client.tenant.books.max_requests_in(60, "token") == 0
    assert client.tenant.books.max_requests_in(1e-9) == 1


def test_a_number_of_contents_is_spread_unevenly_over_the_sources() -> None:
    tenant = make_tenant(contents=500)
    counts = tenant.visible()
    assert sum(counts.values()) == 500
    assert len(set(counts.values())) == 5
    assert tenant.shelf.offered(EXCHANGE)[0].created > NOW - timedelta(days=6.5)
    assert max(c.created for c in tenant.shelf.offered()) <= NOW - timedelta(minutes=3)
    per_content = [content.count for content in tenant.shelf.offered()]
    assert 1 <= min(per_content) <= max(per_content) <= 5
    exact = make_tenant(contents={"DLP.All": 3, EXCHANGE: 7}).visible()
    assert Counter(exact) == Counter({"DLP.All": 3, EXCHANGE: 7})


@pytest.mark.parametrize("after_s", [600.0, 5 * 86400.0])
def test_late_contents_turn_up_in_old_windows_and_are_listable_then(after_s: float) -> None:
    tenant = make_tenant(contents=300, late=0.3, late_after_s=after_s)
    before = sum(tenant.visible().values())
    assert 150 < before < 280
    tenant.advance(timedelta(seconds=after_s))
    assert sum(tenant.visible().values()) == 300
    late = [content for content in tenant.shelf.offered() if content.visible_at > NOW]
    assert all(content.created > tenant.now() - 7 * DAY for content in late)


def test_relisted_contents_stand_in_two_windows_under_one_time(serve: Serve) -> None:
    tenant = make_tenant(contents={EXCHANGE: 60}, relisted=0.3, days=6.0)
    client = serve(tenant)
    seen: Counter[str] = Counter()
    times: dict[str, set[str]] = {}
    for day in range(7):
        for page in client.pages(NOW - (day + 1) * DAY, NOW - day * DAY):
            for entry in page:
                seen[entry["contentId"]] += 1
                times.setdefault(entry["contentId"], set()).add(entry["contentCreated"])
    assert len(seen) == 60
    assert 5 < sum(number > 1 for number in seen.values()) < 40
    assert all(len(created) == 1 for created in times.values())


def test_contents_appear_at_the_rate_as_the_clock_goes_on(serve: Serve) -> None:
    tenant = make_tenant(rate=2.0, sources=(EXCHANGE,))
    client = serve(tenant)
    assert client.listed() == []
    tenant.advance(timedelta(minutes=10))
    assert len(client.listed(NOW, NOW + HOUR)) == 20
    tenant.advance(timedelta(minutes=10))
    listed = client.listed(NOW, NOW + HOUR)
    assert len(listed) == 40
    assert client.content(listed[-1]).status_code == 200
    assert len({event.content_id for event in tenant.expected_events()}) == 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"tenant_id": "contoso.example"}, "tenant_id must be a GUID", id="guid"),
        pytest.param({"late": 2.0}, "late is a fraction", id="fraction"),
        pytest.param({"subscribed": ["Audit.Mail"]}, "unknown source 'Audit.Mail'", id="source"),
        pytest.param({"page_size": 0}, "page_size must be 1 or more", id="page size"),
        pytest.param({"colour": 1}, "unknown field 'colour', accepted are", id="field"),
        pytest.param({"contents": 0, "extra_records": ["{}"]}, "at least one", id="extra"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    given = {"tenant_id": TENANT_ID, "client_id": CLIENT_ID, "client_secret": SECRET}
    with pytest.raises(ValueError, match=message):
        TenantSpec.from_json({**given, **fields})


def test_a_content_id_is_given_once() -> None:
    tenant = Tenant(TenantSpec(tenant_id=TENANT_ID, client_id=CLIENT_ID, client_secret=SECRET))
    assert tenant.spec.roles == ROLES
    tenant.offer(EXCHANGE, content_id="a$b$c")
    with pytest.raises(ValueError, match="already"):
        tenant.offer(EXCHANGE, content_id="a$b$c")
    with pytest.raises(ValueError, match="not both"):
        tenant.offer(EXCHANGE, records=[], body=b"[]")
