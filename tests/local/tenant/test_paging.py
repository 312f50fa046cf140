from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.local.tenant.conftest import EXCHANGE, NOW, TENANT_ID, Serve, code_of, make_tenant

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("contents", "page_size", "sizes"),
    [
        pytest.param(0, 5, [0], id="nothing"),
        pytest.param(5, 5, [5], id="exactly one page"),
        pytest.param(6, 5, [5, 1], id="one more"),
        pytest.param(37, 37, [37], id="prime, one page"),
        pytest.param(37, 5, [5] * 7 + [2], id="prime, several pages"),
        pytest.param(10, 5, [5, 5], id="two full pages"),
    ],
)
def test_every_content_is_on_one_page(
    serve: Serve, contents: int, page_size: int, sizes: list[int]
) -> None:
    tenant = make_tenant(page_size=page_size)
    offered = [tenant.offer(EXCHANGE, created=NOW - HOUR) for _ in range(contents)]
    pages = list(serve(tenant).pages())
    assert [len(page) for page in pages] == sizes
    names = [entry["contentId"] for page in pages for entry in page]
    assert names == [content.content_id for content in offered]


def test_contents_are_listed_in_the_order_of_becoming_visible(serve: Serve) -> None:
    tenant = make_tenant(page_size=2)
    late = tenant.offer(EXCHANGE, created=NOW - 3 * HOUR, visible_at=NOW - MINUTE)
    early = tenant.offer(EXCHANGE, created=NOW - HOUR, visible_at=NOW - HOUR)
    middle = tenant.offer(EXCHANGE, created=NOW - 2 * HOUR, visible_at=NOW - 30 * MINUTE)
    assert serve(tenant).listed() == [c.content_id for c in (early, middle, late)]


def test_a_content_is_listed_once_it_is_visible(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - 3 * HOUR, visible_at=NOW + HOUR)
    client = serve(tenant)
    assert client.listed() == []
    assert client.content(content.content_id).status_code == 404
    tenant.advance(HOUR)
    assert client.listed() == [content.content_id]


def test_pages_stay_right_while_contents_appear(serve: Serve) -> None:
    tenant = make_tenant(page_size=2)
    before = [tenant.offer(EXCHANGE, created=NOW - HOUR) for _ in range(3)]
    pages = serve(tenant).pages(NOW - 2 * HOUR, NOW)
    seen = [entry["contentId"] for entry in next(pages)]
    tenant.advance(MINUTE)
    after = [tenant.offer(EXCHANGE, created=NOW - 90 * MINUTE) for _ in range(2)]
    seen += [entry["contentId"] for page in pages for entry in page]
    assert seen == [content.content_id for content in (*before, *after)]


@pytest.mark.parametrize("version", ["v1.0", "v1"])
def test_the_next_page_address_is_the_services_own(serve: Serve, version: str) -> None:
    tenant = make_tenant(page_size=1, next_page_version=version)
    for _ in range(2):
        tenant.offer(EXCHANGE, created=NOW - HOUR)
    client = serve(tenant)
    answer = client.get(
        f"subscriptions/content?contentType={EXCHANGE}&startTime=2026-11-20T10:00:00"
        f"&endTime=2026-11-20T12:00:00&PublisherIdentifier={TENANT_ID}"
    )
    address = urlsplit(answer.headers["NextPageUri"])
    assert f"https://{address.netloc}" == client.server.endpoint
    assert address.path.startswith(f"/api/{version}/{TENANT_ID}/")
    query = parse_qs(address.query)
    assert query.pop("nextPage")
    assert query == {
        "contentType": [EXCHANGE],
        "startTime": ["2026-11-20T10:00:00"],
        "endTime": ["2026-11-20T12:00:00"],
    }
    assert len(client.get(answer.headers["NextPageUri"]).json()) == 1


def test_a_page_token_counts_for_its_own_listing_only(serve: Serve) -> None:
    tenant = make_tenant(page_size=1)
    for _ in range(2):
        tenant.offer(EXCHANGE, created=NOW - HOUR)
    client = serve(tenant)
    good = client.page(NOW - 2 * HOUR, NOW).headers["NextPageUri"]
    assert code_of(client.get(good + "x")) == "AF20031"
    assert code_of(client.get(good.replace("T10:00:00", "T10:00:01"))) == "AF20031"
    assert code_of(client.get(good.split("nextPage=")[0] + "nextPage=2026R")) == "AF20031"
    assert client.get(good).status_code == 200


def test_a_content_can_vanish_after_it_was_listed(serve: Serve) -> None:
    tenant = make_tenant()
    content = tenant.offer(EXCHANGE, created=NOW - HOUR, hidden_after_listings=1)
    client = serve(tenant)
    assert client.listed() == [content.content_id]
    assert client.listed() == []
    assert client.content(content.content_id).status_code == 200


def test_a_content_can_claim_to_live_elsewhere(serve: Serve) -> None:
    tenant = make_tenant()
    tenant.offer(EXCHANGE, created=NOW - HOUR, content_uri="https://evil.example/audit/a$b$c")
    (entry,) = serve(tenant).page().json()
    assert entry["contentUri"] == "https://evil.example/audit/a$b$c"
