"""The Management Activity API: pages to their end, one new token for a refusal, and a publisher on every call."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from shared.contents.content import Content
from shared.errors import AuthError, ConfigError, Permanent, Throttled, Transient
from shared.policy import Action, rule_of
from shared.sources.audit.management_api import LIKELY_FULL, ManagementApi, with_publisher
from shared.times import Window
from tests.scripted import NOON, Service, Waits, asker

ROOT = "https://manage.test"
TENANT = "3c5158d0-5962-5090-9c19-b6852a206f1d"
FEED = f"{ROOT}/api/v1.0/{TENANT}/activity/feed"
PUBLISHER = "11111111-1111-1111-1111-111111111111"
WINDOW = Window(NOON, NOON + timedelta(hours=4))
EXCHANGE = "Audit.Exchange"


def error_body(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "x"}}).encode()


def listed(*ids: str, **fields: Any) -> bytes:
    entries = [
        {
            "contentId": each,
            "contentUri": f"{FEED}/audit/{each}",
            "contentCreated": "2026-03-01T13:00:00.000Z",
            "contentExpiration": "2026-03-08T13:00:00.000Z",
            **fields,
        }
        for each in ids
    ]
    return json.dumps(entries).encode()


@pytest.fixture
def service() -> Service:
    return Service(ROOT)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(service: Service, waits: Waits) -> ManagementApi:
    return ManagementApi(
        EXCHANGE,
        lambda _: None,
        tenant_id=TENANT,
        publisher_id=PUBLISHER,
        root=ROOT,
        asker=asker(service, waits),
    )


def ids(pages: list[list[Content]]) -> list[list[str]]:
    return [[content.id for content in page] for page in pages]


# -- the publisher


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://h/p", "https://h/p?PublisherIdentifier=P", id="no-query"),
        pytest.param("https://h/p?a=b", "https://h/p?a=b&PublisherIdentifier=P", id="a-query"),
        pytest.param(
            "https://h/p?a=%2F+%20&nextPage=x%3D",
            "https://h/p?a=%2F+%20&nextPage=x%3D&PublisherIdentifier=P",
            id="encoded-as-it-was",
        ),
        pytest.param(
            "https://h/p?PublisherIdentifier=Q", "https://h/p?PublisherIdentifier=Q", id="there"
        ),
        pytest.param(
            "https://h/p?a=b&publisheridentifier=Q",
            "https://h/p?a=b&publisheridentifier=Q",
            id="there-in-lower-case",
        ),
        pytest.param(
            "https://h/p?NotPublisherIdentifier=Q",
            "https://h/p?NotPublisherIdentifier=Q&PublisherIdentifier=P",
            id="another-name",
        ),
        pytest.param(
            "https://h/PublisherIdentifier=Q",
            "https://h/PublisherIdentifier=Q?PublisherIdentifier=P",
            id="in-the-path",
        ),
    ],
)
def test_the_publisher_is_added_once_and_nothing_else_is_touched(url: str, expected: str) -> None:
    assert with_publisher(url, "P") == expected


def test_every_call_names_the_publisher(api: ManagementApi, service: Service) -> None:
    service.say()
    service.say(b"{}")
    service.say(NextPageUri=f"{FEED}/subscriptions/content?nextPage=2")
    service.say()
    service.say()

    api.enabled()
    api.start()
    list(api.pages(WINDOW))
    api.fetch(
        Content(id="a", uri=f"{FEED}/audit/a", created="", expires="", day=date(2026, 3, 1)),
        lambda *_: None,
    )

    assert len(service.asked) == 5
    assert all(f"PublisherIdentifier={PUBLISHER}" in url for _, url in service.asked)


# -- listing


def test_a_window_is_asked_for_in_utc_whole_seconds(api: ManagementApi, service: Service) -> None:
    service.say()

    assert list(api.pages(WINDOW)) == [[]]

    assert service.asked[0][1].startswith(
        f"{FEED}/subscriptions/content?contentType=Audit.Exchange"
        "&startTime=2026-03-01T12:00:00&endTime=2026-03-01T16:00:00&"
    )


def test_an_empty_page_does_not_end_a_listing(api: ManagementApi, service: Service) -> None:
    service.say(listed("a"), NextPageUri=f"{FEED}/x?nextPage=2")
    service.say(b"[]", NextPageUrl=f"{FEED}/x?nextPage=3")
    service.say(listed("b"))

    assert ids(list(api.pages(WINDOW))) == [["a"], [], ["b"]]


def numbered(*numbers: int) -> bytes:
    """Contents that were created so many seconds after one o'clock."""
    created = [f"2026-03-01T13:{each // 60:02}:{each % 60:02}.500Z" for each in numbers]
    pages = [
        listed(str(each), contentCreated=at) for each, at in zip(numbers, created, strict=True)
    ]
    return b"[" + b",".join(each[1:-1] for each in pages) + b"]"


def starts(service: Service) -> list[str]:
    """Where each listing that was asked for begins."""
    return [url.partition("startTime=")[2].partition("&")[0][-8:] for _, url in service.asked]


@pytest.mark.parametrize("link", [{}, {"NextPageUri": ""}], ids=["none", "empty"])
def test_a_last_page_as_large_as_any_is_asked_for_from_its_newest_on(
    api: ManagementApi, service: Service, link: dict[str, Any]
) -> None:
    service.say(numbered(1, 2, 3), NextPageUri=f"{FEED}/x?nextPage=2")
    service.say(numbered(4, 6, 5), **link)
    service.say(numbered(6, 7, 8))
    service.say(numbered(8, 9))

    assert ids(list(api.pages(WINDOW))) == [
        ["1", "2", "3"],
        ["4", "6", "5"],
        ["7", "8"],
        ["9"],
    ]
    assert starts(service)[2:] == ["13:00:06", "13:00:08"]
    assert "endTime=2026-03-01T16:00:00" in service.asked[2][1]


def test_a_large_page_is_not_believed_to_be_the_last_though_none_had_a_next_one(
    api: ManagementApi, service: Service
) -> None:
    service.say(numbered(*range(LIKELY_FULL)))
    service.say(numbered(LIKELY_FULL - 1))

    assert [len(page) for page in api.pages(WINDOW)] == [LIKELY_FULL, 0]


def test_asking_once_more_ends_where_nothing_new_comes(
    api: ManagementApi, service: Service
) -> None:
    service.say(numbered(1, 2), NextPageUri=f"{FEED}/x?nextPage=2")
    service.say(numbered(3, 4))
    service.say(numbered(4, 3))

    assert ids(list(api.pages(WINDOW))) == [["1", "2"], ["3", "4"], []]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([1], id="one"),
        pytest.param([LIKELY_FULL - 1], id="a-lone-page"),
        pytest.param([3, 2], id="smaller-than-its-first"),
        pytest.param([0, 1], id="one-after-an-empty-one"),
        pytest.param([1, 1], id="one-by-one"),
    ],
)
def test_what_is_no_full_page_is_asked_for_once(
    api: ManagementApi, service: Service, sizes: list[int]
) -> None:
    for number, size in enumerate(sizes[:-1]):
        entries = range(100 * number, 100 * number + size)
        service.say(numbered(*entries), NextPageUri=f"{FEED}/x?nextPage={number}")
    service.say(numbered(*range(1000, 1000 + sizes[-1])))

    assert [len(page) for page in api.pages(WINDOW)] == sizes
    assert len(service.asked) == len(sizes)


@pytest.mark.parametrize("back", [1, 2])
def test_a_repeated_page_ends_in_an_error_after_what_was_listed(
    api: ManagementApi, service: Service, back: int
) -> None:
    pages = [f"{FEED}/x?nextPage={number}" for number in (1, 2, 3)]
    service.say(listed("a"), NextPageUri=pages[0])
    service.say(listed("b"), NextPageUri=pages[1])
    service.say(listed("c"), NextPageUri=pages[2 - 1 - (back - 1)])

    found: list[list[Content]] = []
    with pytest.raises(Permanent) as caught:
        found.extend(api.pages(WINDOW))

    assert caught.value.code == "page-loop"
    assert ids(found) == [["a"], ["b"], ["c"]]


def test_a_refused_page_token_asks_for_the_window_again(
    api: ManagementApi, service: Service
) -> None:
    service.say(listed("a"), NextPageUri=f"{FEED}/x?nextPage=2")
    service.say(error_body("AF20031"), status=400)

    with pytest.raises(Permanent) as caught:
        list(api.pages(WINDOW))

    assert rule_of(caught.value).action is Action.LIST_AGAIN
    assert len(service.asked) == 2, "the same bad token is not sent again"


@pytest.mark.parametrize(
    "link", ["https://evil.test/x", "https://evil.test\\@manage.test/x", "https://[manage.test/x"]
)
def test_a_next_page_elsewhere_is_refused_without_asking_for_it(
    api: ManagementApi, service: Service, link: str
) -> None:
    service.say(listed("a"), NextPageUri=link)

    with pytest.raises(Permanent) as caught:
        list(api.pages(WINDOW))

    assert caught.value.code == "foreign-url"
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"value":[]}', id="an-object"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"", id="empty"),
        pytest.param(listed("a")[:-5], id="cut-short"),
    ],
)
def test_what_is_no_listing_is_asked_for_again(
    api: ManagementApi, service: Service, body: bytes
) -> None:
    service.say(body)
    service.say(listed("a"))

    assert ids(list(api.pages(WINDOW))) == [["a"]]


def test_an_entry_without_an_id_is_kept_as_it_came(api: ManagementApi, service: Service) -> None:
    service.say(b'[{"contentUri":"x"}, 17, {"contentId":""}]')

    ((one, two, three),) = list(api.pages(WINDOW))

    assert [one.malformed, two.malformed, three.malformed] == [
        b'{"contentUri":"x"}',
        b"17",
        b'{"contentId":""}',
    ]
    assert one.id.startswith("malformed:")
    assert len({one.id, two.id, three.id}) == 3
    assert one.day == WINDOW.start.date()


@pytest.mark.parametrize(
    "created",
    [None, 17, "", "yesterday", "0001-01-01T00:00:00+05:00"],
    ids=["null", "number", "empty", "word", "out-of-range"],
)
def test_an_entry_whose_creation_cannot_be_read_belongs_to_the_windows_first_day(
    api: ManagementApi, service: Service, created: object
) -> None:
    service.say(listed("a", contentCreated=created, contentExpiration=None, contentUri=None))

    (((content,)),) = list(api.pages(WINDOW))

    assert (content.id, content.day, content.malformed) == ("a", date(2026, 3, 1), b"")
    assert (content.uri, content.expires) == (f"{FEED}/audit/a", "")


# -- answers


def test_a_refused_token_is_renewed_once(api: ManagementApi, service: Service) -> None:
    service.say(b"", status=401)
    service.say(listed("a"))

    assert ids(list(api.pages(WINDOW))) == [["a"]]
    assert service.tokens == ["Bearer token1", "Bearer token2"]


def test_a_second_refusal_in_a_row_is_reported(api: ManagementApi, service: Service) -> None:
    service.say(b"", status=401)
    service.say(b"", status=401)

    with pytest.raises(AuthError):
        api.enabled()

    assert len(service.asked) == 2


def test_a_missing_permission_is_tried_once_more_with_a_fresh_token(
    api: ManagementApi, service: Service
) -> None:
    service.say(error_body("AF10001"), status=401)
    service.say(error_body("AF10001"), status=401)

    with pytest.raises(AuthError, match=r"ActivityFeed\.Read"):
        api.enabled()

    assert service.tokens == ["Bearer token1", "Bearer token2"]


@pytest.mark.parametrize("code", ["", "AF10001"])
def test_a_token_that_was_refused_is_not_kept_for_the_next_run(
    api: ManagementApi, service: Service, code: str
) -> None:
    body = error_body(code) if code else b""
    for _ in range(3):
        service.say(body, status=401)
    service.say(listed("a"))

    with pytest.raises(AuthError):
        list(api.pages(WINDOW))
    list(api.pages(WINDOW))

    assert service.tokens == [f"Bearer token{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AF20022", Permanent), ("AF20010", ConfigError)],
)
def test_an_error_object_with_status_200_is_an_error(
    api: ManagementApi, service: Service, code: str, kind: type[Exception]
) -> None:
    service.say(error_body(code))

    with pytest.raises(kind):
        list(api.pages(WINDOW))


TENANT_UNKNOWN = b"Tenant 3c5158d0 does not exist."


def test_a_tenant_without_auditing_is_told_how_to_turn_it_on(
    api: ManagementApi, service: Service
) -> None:
    service.say(TENANT_UNKNOWN, status=400)

    with pytest.raises(ConfigError, match=r"manage\.test: .*Purview") as caught:
        api.enabled()

    assert (caught.value.code, caught.value.status) == ("auditing-off", 400)


def test_a_known_code_says_more_than_what_is_said_of_the_tenant(
    api: ManagementApi, service: Service
) -> None:
    body = {"error": {"code": "AF20013", "message": TENANT_UNKNOWN.decode()}}
    service.say(json.dumps(body).encode(), status=400)

    with pytest.raises(ConfigError) as caught:
        api.enabled()

    assert caught.value.code == "AF20013"


def test_throttling_pauses_and_asks_again_as_long_as_the_service_said(
    api: ManagementApi, service: Service, waits: Waits
) -> None:
    service.say(error_body("AF429"), status=403, Retry_After="7")
    service.say(b"{'error':{'code':'AF429','message':'x'}}", status=429, Retry_After="11")
    service.say()

    api.enabled()

    assert 18 <= waits.now - NOON.timestamp() < 25
    assert api.asker.throttled == 2


def test_passing_failures_are_tried_four_times(api: ManagementApi, service: Service) -> None:
    for _ in range(4):
        service.say(b"", status=503)

    with pytest.raises(Transient):
        api.enabled()

    assert len(service.asked) == api.asker.requests == 4


def test_a_start_that_is_throttled_is_not_repeated(api: ManagementApi, service: Service) -> None:
    service.say(error_body("AF429"), status=429)

    with pytest.raises(Throttled):
        api.start()

    assert len(service.asked) == 1


def test_a_start_of_what_is_already_on_succeeds(api: ManagementApi, service: Service) -> None:
    service.say(error_body("AF20024"), status=400)

    api.start()

    assert service.asked[0][0] == "POST"


def test_what_is_on_is_read_without_letter_case_and_whatever_else_stands_there(
    api: ManagementApi, service: Service
) -> None:
    service.say(
        json.dumps(
            [
                {"contentType": " audit.exchange", "status": "Enabled", "webhook": None},
                {"contentType": "DLP.All", "status": "Disabled ", "webhook": {"address": "x"}},
                {"contentType": "Audit.General"},
                {"contentType": 7, "status": "enabled"},
                "an entry",
            ]
        ).encode()
    )

    assert api.enabled() - {""} == {"audit.exchange", "audit.general"}
