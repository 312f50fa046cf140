"""Message trace from Graph: every row of a window once, however its pages break, and every refusal with its mend."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contents.content import Content
from shared.errors import AuthError, CollectorError, ConfigError, Permanent, Throttled, Transient
from shared.rows.row import PAGING, WINDOW_TOO_OLD
from shared.service.http import Response
from shared.sources.message_trace import graph
from shared.sources.message_trace.graph import GraphTrace
from shared.times import Window
from tests.scripted import NOON, Service, Waits, asker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.sources.message_trace.details import TraceApi
    from shared.sources.message_trace.row import TraceRow

ROOT = "https://graph.test"
TRACES = f"{ROOT}/v1.0/admin/exchange/tracing/messageTraces"
WINDOW = Window(NOON, NOON + timedelta(hours=1))
TRACE_APP = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"


def row(number: int = 1, *, after: float = 60.0, **fields: Any) -> dict[str, Any]:
    """A row as Graph sends it, received some seconds after noon."""
    received = (NOON + timedelta(seconds=after)).isoformat(timespec="milliseconds")
    return {
        "id": f"00000000-0000-0000-0000-{number:012d}",
        "senderAddress": "news@sender.example",
        "recipientAddress": "mira@lumenfield.example",
        "messageId": f"<{number}@sender.example>",
        "receivedDateTime": received.replace("+00:00", "Z"),
        "subject": "Quarterly offer",
        "status": "delivered",
        "fromIP": "203.0.113.9",
        "toIP": "",
        "size": 21984,
        **fields,
    }


def page(*rows: Any, link: object = None) -> bytes:
    body = {"@odata.context": f"{ROOT}/v1.0/$metadata#traces", "value": list(rows)}
    return json.dumps({**body, "@odata.nextLink": link} if link is not None else body).encode()


def refusal(code: str, message: str) -> bytes:
    inner = {"date": "2026-03-01T12:00:00", "request-id": "r", "client-request-id": "r"}
    return json.dumps({"error": {"code": code, "message": message, "innerError": inner}}).encode()


@pytest.fixture
def service() -> Service:
    return Service(ROOT)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(service: Service, waits: Waits) -> GraphTrace:
    return GraphTrace(root=ROOT, asker=asker(service, waits))


def listed(api: TraceApi, window: Window = WINDOW) -> list[TraceRow]:
    return [each for rows in api.pages(window) for each in rows]


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# -- what is asked


def test_a_window_is_asked_for_with_both_ends_and_the_largest_page(
    api: GraphTrace, service: Service
) -> None:
    service.say(page())

    assert listed(api) == []

    url = service.asked[0][1]
    assert url.startswith(f"{TRACES}?")
    assert query(url) == {
        "$filter": "receivedDateTime ge 2026-03-01T12:00:00Z and receivedDateTime le 2026-03-01T13:00:00Z",
        "$top": "5000",
    }
    assert " " not in url


def test_statuses_that_came_later_are_asked_for(api: GraphTrace, service: Service) -> None:
    service.say(page(row(), link=f"{TRACES}?$skiptoken=2"))
    service.say(page(row(2, status="recalled")))

    assert [each.status for each in listed(api)] == ["delivered", "recalled"]
    assert [each["Prefer"] for each in service.headers] == ["include-unknown-enum-members"] * 2


# -- rows


def test_a_row_is_handed_over_as_the_bytes_that_came(api: GraphTrace, service: Service) -> None:
    raw = b'{ "id":"A-1", "recipientAddress":"M\\u0069ra@x.example",\n "status":"delivered", "n":1.50 }'
    service.say(b'\xef\xbb\xbf{"value": [' + raw + b" ]}")

    (found,) = listed(api)

    assert found.raw == raw
    assert (found.id, found.recipient, found.status) == ("A-1", "Mira@x.example", "delivered")
    text = "a-1\x1fmira@x.example\x1fdelivered"
    assert found.digest == hashlib.blake2b(text.encode(), digest_size=16).digest()


def test_an_unpaired_surrogate_in_a_subject_breaks_nothing(
    api: GraphTrace, service: Service
) -> None:
    rows = [row(1, subject="\ud83d half"), row(2)]
    service.say(page(*rows))

    found = listed(api)

    assert [json.loads(each.raw) for each in found] == rows
    assert not found[0].id.startswith("malformed:")


def test_seven_recipients_and_two_statuses_are_nine_rows(api: GraphTrace, service: Service) -> None:
    rows = [row(recipientAddress=f"{name}@x.example") for name in "abcdefg"]
    service.say(page(*rows, row(2, status="pending"), row(2), row(2)))

    found = listed(api)

    assert len(found) == 9
    assert len({each.digest for each in found}) == 9


@pytest.mark.parametrize(
    "raw", [{"status": "delivered"}, {"id": ""}, {"id": None}, {"id": 7}, 17, None, "text", []]
)
def test_a_row_without_an_id_is_known_by_its_bytes(
    api: GraphTrace, service: Service, raw: object
) -> None:
    service.say(page(raw))

    (found,) = listed(api)

    assert found.raw == json.dumps(raw).encode()
    assert found.digest == hashlib.blake2b(found.raw, digest_size=16).digest()
    assert found.id == f"malformed:{found.digest.hex()}"
    assert (found.received, api.details_uri(found)) == (WINDOW.start, None)


@pytest.mark.parametrize(
    "odd",
    [
        {"senderAddress": None, "recipientAddress": None, "subject": None},
        {"senderAddress": "", "recipientAddress": "", "fromIP": None, "toIP": None},
        {"senderAddress": "<>", "recipientAddress": "o'hara#1@x.example"},
        {"status": None},
        {"status": 9},
    ],
)
def test_odd_fields_are_no_reason_to_leave_a_row_out(
    api: GraphTrace, service: Service, odd: dict[str, Any]
) -> None:
    service.say(page(row(1, **odd), row(2)))

    found = listed(api)

    assert [json.loads(each.raw) for each in found] == [row(1, **odd), row(2)]
    assert found[0].recipient == (row(1, **odd)["recipientAddress"] or "")


def test_no_recipient_is_not_an_empty_one(api: GraphTrace, service: Service) -> None:
    service.say(page(row(recipientAddress=None), row(recipientAddress=""), row(status=None)))

    assert len({each.digest for each in listed(api)}) == 3


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("2026-03-01T12:30:00.1Z", NOON + timedelta(minutes=30, milliseconds=100)),
        ("2026-03-01T12:30:00.1234567Z", NOON + timedelta(minutes=30, milliseconds=123)),
        ("2026-03-01T14:30:00+02:00", NOON + timedelta(minutes=30)),
        ("2026-03-01T13:00:00Z", WINDOW.end),
        ("2026-03-01T13:00:00.0009999Z", WINDOW.end),
        ("2026-03-01T13:00:00.001Z", WINDOW.end),
        ("2026-03-01T11:59:59.999Z", WINDOW.start),
        ("9999-12-31T23:59:59Z", WINDOW.end),
        ("0001-01-01T00:00:00Z", WINDOW.start),
        ("yesterday", WINDOW.start),
        (None, WINDOW.start),
        (17, WINDOW.start),
    ],
)
def test_a_row_lies_in_the_window_that_was_asked_for(
    api: GraphTrace, service: Service, received: object, expected: datetime
) -> None:
    service.say(page(row(receivedDateTime=received)))

    assert listed(api)[0].received == expected


# -- pages


def test_pages_are_followed_to_the_last_past_an_empty_one(
    api: GraphTrace, service: Service
) -> None:
    service.say(page(row(1), link=f"{TRACES}?$skiptoken=a"))
    service.say(page(link=f"{TRACES}?$skiptoken=b"))
    service.say(page(row(2)))

    assert [each.id[-1] for each in listed(api)] == ["1", "2"]
    assert [url for _, url in service.asked[1:]] == [
        f"{TRACES}?$skiptoken=a",
        f"{TRACES}?$skiptoken=b",
    ]


@pytest.mark.parametrize(
    "link", ["https://evil.test/x", "https://graph.test@evil.test/", "http://graph.test/x", "x"]
)
def test_a_next_page_elsewhere_is_refused_after_what_came(
    api: GraphTrace, service: Service, link: str
) -> None:
    service.say(page(row(), link=link))

    found: list[list[TraceRow]] = []
    with pytest.raises(Permanent) as caught:
        found.extend(api.pages(WINDOW))

    assert (caught.value.code, len(found), len(service.asked)) == ("foreign-url", 1, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"value":{}}',
        b'{"value":null}',
        page(row())[:-9],
        page(row(), link=17),
        refusal("x", "y"),
    ],
)
def test_what_is_no_page_is_asked_for_again(api: GraphTrace, service: Service, body: bytes) -> None:
    service.say(body)
    service.say(page(row()))

    assert len(listed(api)) == 1


# -- broken page tokens


@dataclass
class Mailflow(Service):
    """Lists rows as Graph does: newest first, by a filter of whole milliseconds, with tokens that break."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    page_rows: int = 3
    broken: Iterator[str] = field(default_factory=lambda: iter(()))
    truncates: bool = False
    linked: bool = True

    def request(self, method: str, url: str, **more: Any) -> Response:
        self.check(url)
        self.asked.append((method, url))
        asked = query(url)
        skip = int(asked.get("$skiptoken", "0"))
        if skip and (how := next(self.broken, "")):
            return self._break(how, url)
        _, _, low, _, _, _, high, *status = asked["$filter"].split()
        if self.truncates:
            high = high.partition(".")[0].rstrip("Z") + "Z"
        found = sorted(
            (
                each
                for each in self.rows
                if moment(low) <= moment(received(each)) <= moment(high)
                and (not status or f"'{each['status']}'" == status[-1])
            ),
            key=lambda each: (received(each), each["id"]),
            reverse=True,
        )
        link = None
        if self.linked and skip + self.page_rows < len(found):
            link = f"{url.partition('&$skiptoken')[0]}&$skiptoken={skip + self.page_rows}"
        body = page(*found[skip : skip + self.page_rows], link=link)
        return Response(status=200, headers={}, body=body)

    def _break(self, how: str, url: str) -> Response:
        if how == "loop":
            return Response(status=200, headers={}, body=page(link=url))
        return Response(status=int(how), headers={}, body=refusal("BadRequest", "bad token"))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def received(each: dict[str, Any]) -> str:
    return str(each["receivedDateTime"])


def trace_of(flow: Mailflow) -> GraphTrace:
    waits = Waits()
    return GraphTrace(root=ROOT, asker=asker(flow, waits))


BREAKS = st.sampled_from(["", "400", "404", "410", "500", "loop"])


@given(
    offsets=st.lists(st.integers(0, 3_600_000), min_size=1, max_size=40, unique=True),
    page_rows=st.integers(2, 7),
    breaks=st.lists(BREAKS, max_size=12),
)
@settings(max_examples=150, deadline=None)
def test_wherever_page_tokens_break_every_row_comes_once(
    offsets: list[int], page_rows: int, breaks: list[str]
) -> None:
    rows = [row(number, after=offset / 1000) for number, offset in enumerate(offsets, 1)]
    # One 500 alone is tried again with the same token; enough of them in a row break it.
    broken = [each for how in breaks for each in ([how] * 4 if how == "500" else [how])]
    flow = Mailflow(ROOT, rows=rows, page_rows=page_rows, broken=iter(broken))

    found = listed(trace_of(flow))

    assert sorted(each.id for each in found) == sorted(each["id"] for each in rows)


def test_a_window_is_begun_anew_at_the_oldest_row_that_came() -> None:
    rows = [row(number, after=60.0 * number) for number in range(1, 8)]
    flow = Mailflow(ROOT, rows=rows, broken=iter(["400"]))

    found = listed(trace_of(flow))

    assert [each.id[-1] for each in found] == list("7654321")
    assert "le 2026-03-01T12:05:00Z" in query(flow.asked[2][1])["$filter"]


def test_a_token_that_always_breaks_lets_a_window_through_all_the_same() -> None:
    rows = [row(number, after=number / 100) for number in range(1, 200)]
    flow = Mailflow(ROOT, rows=rows, broken=iter(["400"] * 1000))

    assert len(listed(trace_of(flow))) == 199


def test_more_rows_in_a_millisecond_than_a_page_holds_are_given_up_after_a_few_beginnings() -> None:
    rows = [row(number, after=1.0) for number in range(1, 6)]
    flow = Mailflow(ROOT, rows=rows, broken=iter(["400"] * 1000))

    with pytest.raises(Transient) as caught:
        listed(trace_of(flow))

    assert caught.value.code == PAGING
    assert len(flow.asked) < 10


def test_a_service_that_cuts_the_time_to_seconds_makes_no_hole() -> None:
    rows = [row(number, after=10 + number / 10) for number in range(1, 10)]
    flow = Mailflow(ROOT, rows=rows, broken=iter(["400"]), truncates=True)

    with pytest.raises(Transient, match="left off") as caught:
        listed(trace_of(flow))

    assert caught.value.code == PAGING


# -- missing links


@pytest.fixture
def pages_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "PAGE_ROWS", 3)


@pytest.mark.usefixtures("pages_of_three")
@pytest.mark.parametrize("link", [None, "null", '""'], ids=["none", "null", "empty"])
def test_a_full_page_without_a_link_is_followed_from_its_oldest_row(
    api: GraphTrace, service: Service, link: str | None
) -> None:
    more = b"" if link is None else b',"@odata.nextLink":' + link.encode()
    rows = [row(number, after=float(number)) for number in (4, 3, 2, 1)]
    service.say(page(*rows[:3])[:-1] + more + b"}")
    service.say(page(*rows[2:]))

    assert [each.id[-1] for each in listed(api)] == list("4321")
    assert "le 2026-03-01T12:00:02Z" in query(service.asked[1][1])["$filter"]


@pytest.mark.usefixtures("pages_of_three")
def test_a_full_page_with_a_damaged_row_and_no_link_is_not_the_last(
    api: GraphTrace, service: Service
) -> None:
    rows = [row(number, after=float(number)) for number in (4, 3, 2, 1)]
    damaged = (
        page(*rows[:3]).replace(b'"status"', b'"status', 2).replace(b'"status', b'"status"', 1)
    )
    service.say(damaged)
    service.say(damaged)
    service.say(page(*rows[2:]))

    assert [each.id[-1] for each in listed(api) if not each.mark.place] == list("421")


@pytest.mark.parametrize(
    "name", ["@odata.nextlink", "odata.nextLink", "@nextLink", "nextLink", "NextLink"]
)
def test_a_link_is_followed_whatever_its_name(api: GraphTrace, service: Service, name: str) -> None:
    service.say(
        page(row(1), link="x").replace(
            b'"@odata.nextLink": "x"', json.dumps({name: f"{TRACES}?$skiptoken=a"}).encode()[1:-1]
        )
    )
    service.say(page(row(2)))

    assert len(listed(api)) == 2


@pytest.mark.usefixtures("pages_of_three")
@pytest.mark.parametrize("count", [1, 3, 5, 6, 7, 40])
def test_a_service_that_never_links_gives_every_row(count: int) -> None:
    rows = [row(number, after=float(number)) for number in range(count)]

    assert len(listed(trace_of(Mailflow(ROOT, rows=rows, linked=False)))) == count


@pytest.mark.usefixtures("pages_of_three")
def test_a_full_page_of_one_time_is_asked_for_by_status() -> None:
    rows = [
        row(number, after=9.0, status=status)
        for number, status in enumerate(["delivered", "failed", "pending"] * 2)
    ]
    rows.append(row(9, after=1.0))
    flow = Mailflow(ROOT, rows=rows, linked=False)

    assert len(listed(trace_of(flow))) == 7
    # Two show that time does not part them, and with the row below those delivered fill a page of their own.
    assert len(flow.asked) == 2 + len(graph.STATUSES) + 1


@pytest.mark.usefixtures("pages_of_three")
@pytest.mark.parametrize("status", ["delivered", "of-tomorrow"])
def test_a_full_page_of_one_time_and_one_status_is_not_passed(status: str) -> None:
    rows = [row(number, after=9.0, status=status) for number in range(5)]
    flow = Mailflow(ROOT, rows=[*rows, row(9, after=1.0)], linked=False)

    with pytest.raises(Transient) as caught:
        listed(trace_of(flow))

    assert caught.value.code == PAGING


@pytest.mark.usefixtures("pages_of_three")
def test_a_message_to_more_recipients_than_a_page_holds_is_not_taken_for_those_on_the_page() -> (
    None
):
    rows = [row(1, after=9.0, recipientAddress=f"{n}@outside.example") for n in range(5)]
    flow = Mailflow(ROOT, rows=rows, linked=False)

    with pytest.raises(Transient) as caught:
        listed(trace_of(flow))

    assert caught.value.code == PAGING
    assert not any("recipientAddress" in query(url)["$filter"] for _, url in flow.asked)


def test_an_empty_page_after_a_new_beginning_is_no_hole(api: GraphTrace, service: Service) -> None:
    service.say(page(row(3, after=3), row(2, after=2), link=f"{TRACES}?$skiptoken=2"))
    service.say(refusal("BadRequest", "bad token"), status=400)
    service.say(page(link=f"{TRACES}?$skiptoken=3"))
    service.say(page(row(2, after=2), row(1, after=1)))

    assert [each.id[-1] for each in listed(api)] == ["3", "2", "1"]


def test_nothing_at_all_after_a_new_beginning_is_a_hole(api: GraphTrace, service: Service) -> None:
    service.say(page(row(3, after=3), row(2, after=2), link=f"{TRACES}?$skiptoken=2"))
    service.say(refusal("BadRequest", "bad token"), status=400)
    service.say(page())

    with pytest.raises(Transient, match="left off"):
        listed(api)


def test_a_service_that_lists_oldest_first_is_begun_anew_at_the_end(
    api: GraphTrace, service: Service
) -> None:
    rows = [row(number, after=float(number)) for number in (1, 2, 3)]
    service.say(page(*rows[:2], link=f"{TRACES}?$skiptoken=2"))
    service.say(refusal("BadRequest", "bad token"), status=400)
    service.say(page(*rows))

    assert len(listed(api)) == 3
    assert service.asked[2] == service.asked[0]


def test_pages_without_end_that_hold_nothing_new_end_all_the_same(
    api: GraphTrace, service: Service
) -> None:
    for number in range(200):
        service.say(page(row(), link=f"{TRACES}?$skiptoken={number}"))

    with pytest.raises(Transient) as caught:
        listed(api)

    assert caught.value.code == PAGING


def test_five_thousand_and_one_rows_in_one_second_all_come() -> None:
    rows = [row(number, after=5.0 + number / 10_000) for number in range(5001)]
    flow = Mailflow(ROOT, rows=rows, page_rows=5000)

    assert len({each.digest for each in listed(trace_of(flow))}) == 5001


# -- refusals


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "name", "mend"),
    [
        pytest.param(
            401,
            "Unauthorized",
            "Service principal-less Authentication failed: the service principal for App ID "
            f"{TRACE_APP} was not found",
            ConfigError,
            "trace-app-missing",
            f"New-MgServicePrincipal -AppId {TRACE_APP}",
            id="no-service-principal",
        ),
        pytest.param(
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
            ConfigError,
            "trace-role-missing",
            "ExchangeMessageTrace.Read.All",
            id="no-role",
        ),
        pytest.param(
            403, "UnknownError", "", ConfigError, "trace-role-missing", "consent", id="no-role-2"
        ),
        pytest.param(
            400,
            "BadRequest",
            "Invalid StartDate value. The StartDate can't be older than 90 days from today.",
            Permanent,
            WINDOW_TOO_OLD,
            "90 days",
            id="too-old",
        ),
        pytest.param(
            400,
            "BadRequest",
            "|System.ArgumentException|The interval between StartDate and EndDate can't be longer than 10 days.",
            Permanent,
            "window-refused",
            "10 days",
            id="too-wide",
        ),
        pytest.param(
            400,
            "BadRequest",
            "Resource not found for the segment 'tracing'.",
            ConfigError,
            "trace-not-in-cloud",
            "M365_SOURCES",
            id="not-in-this-cloud",
        ),
        pytest.param(
            404, "NotFound", "", ConfigError, "trace-not-in-cloud", "M365_SOURCES", id="not-there"
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_and_how_to_mend_it(
    api: GraphTrace,
    service: Service,
    status: int,
    code: str,
    message: str,
    kind: type[CollectorError],
    name: str,
    mend: str,
) -> None:
    service.say(refusal(code, message), status=status)

    with pytest.raises(kind) as caught:
        listed(api)

    assert mend in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.code, caught.value.status) == (name, status)
    assert len(service.asked) == 1


def test_a_permission_that_is_granted_is_seen_with_a_new_token(
    api: GraphTrace, service: Service
) -> None:
    service.say(refusal("Forbidden", "no"), status=403)
    with pytest.raises(ConfigError):
        listed(api)
    service.say(page(row()))

    assert len(listed(api)) == 1
    assert service.tokens == ["Bearer token1", "Bearer token2"]


def test_an_expired_token_is_renewed_once(api: GraphTrace, service: Service) -> None:
    expired = refusal("InvalidAuthenticationToken", "Lifetime validation failed, it is expired.")
    service.say(expired, status=401)
    service.say(page(row()))
    assert len(listed(api)) == 1

    service.say(expired, status=401)
    service.say(expired, status=401)
    with pytest.raises(AuthError):
        listed(api)


def test_a_refusal_that_does_not_say_why_names_what_is_most_likely_missing(
    api: GraphTrace, service: Service
) -> None:
    for _ in range(2):
        service.say(refusal("Unauthorized", ""), status=401)

    with pytest.raises(ConfigError, match="New-MgServicePrincipal") as caught:
        listed(api)

    assert caught.value.code == "trace-app-missing"
    assert service.tokens == ["Bearer token1", "Bearer token2"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_in_mid_window_is_waited_for_and_the_window_goes_on(
    api: GraphTrace, service: Service, waits: Waits, status: int
) -> None:
    service.say(page(row(1), link=f"{TRACES}?$skiptoken=2"))
    service.say(refusal("TooManyRequests", "surpassed"), status=status, Retry_After="30")
    service.say(page(row(2)))

    assert len(listed(api)) == 2
    assert 30 <= waits.now - NOON.timestamp() < 40
    assert api.asker.throttled == 1


def test_a_long_pause_ends_the_run_and_says_how_long_it_is(
    api: GraphTrace, service: Service
) -> None:
    service.say(refusal("TooManyRequests", "surpassed"), status=429, Retry_After="290")

    with pytest.raises(Throttled) as caught:
        listed(api)

    assert caught.value.retry_after is not None
    assert len(service.asked) == 1


def test_a_cloud_without_the_trace_is_never_asked(service: Service, waits: Waits) -> None:
    api = GraphTrace(root=ROOT, asker=asker(service, waits), offered=False)

    with pytest.raises(ConfigError, match="M365_MESSAGE_TRACE_API") as caught:
        listed(api)

    assert (caught.value.code, service.asked) == ("trace-not-in-cloud", [])


# -- details


def detail(event: str) -> dict[str, str]:
    return {"id": "a", "event": event, "data": "<root/>"}


def content(uri: str) -> Content:
    return Content(id="a", uri=uri, created="", expires="", day=date(2026, 3, 1))


def test_details_are_asked_for_with_quotes_doubled_and_everything_else_encoded(
    api: GraphTrace, service: Service
) -> None:
    service.say(page(row(id="a/b#c", recipientAddress="o'hara#1+x@ü.example")))
    (found,) = listed(api)

    uri = api.details_uri(found)

    assert uri is not None
    assert uri == (
        f"{TRACES}/a%2Fb%23c/getDetailsByRecipient"
        "(recipientAddress='o%27%27hara%231%2Bx%40%C3%BC.example')"
    )
    assert "o''hara#1+x@ü.example" in unquote(uri)


def test_details_are_the_elements_as_they_came_from_all_pages(
    api: GraphTrace, service: Service
) -> None:
    uri = f"{TRACES}/a/getDetailsByRecipient(recipientAddress='x')"
    service.say(page(detail("Receive"), link=f"{TRACES}?$skiptoken=2"))
    service.say(page(detail("Deliver")))
    lengths: list[int] = []

    body = api.fetch(content(uri), lambda length, _: lengths.append(length))

    assert json.loads(body) == [detail("Receive"), detail("Deliver")]
    assert len(lengths) == 2


@pytest.mark.parametrize("status", [400, 404, 410])
def test_details_that_are_not_there_are_a_definite_answer(
    api: GraphTrace, service: Service, status: int
) -> None:
    service.say(refusal("ResourceNotFound", "gone"), status=status)

    with pytest.raises(Permanent) as caught:
        api.fetch(content(f"{TRACES}/a/getDetailsByRecipient(recipientAddress='x')"), _nothing)

    assert caught.value.code == "no-details"


def test_details_go_to_no_other_host(api: GraphTrace, service: Service) -> None:
    with pytest.raises(Permanent) as caught:
        api.fetch(content("https://evil.test/x"), _nothing)

    assert (caught.value.code, service.asked) == ("foreign-url", [])


def test_details_whose_pages_go_round_in_circles_end(api: GraphTrace, service: Service) -> None:
    service.say(page(detail("Receive"), link=f"{TRACES}?$skiptoken=2"))
    service.say(page(detail("Receive"), link=f"{TRACES}?$skiptoken=2"))

    with pytest.raises(Permanent) as caught:
        api.fetch(content(f"{TRACES}/a/getDetailsByRecipient(recipientAddress='x')"), _nothing)

    assert caught.value.code == "page-loop"


def _nothing(_length: int, _compressed: bool) -> None:
    pass


def test_the_limits_of_the_service_are_kept_with_a_margin(api: GraphTrace) -> None:
    assert api.max_width <= timedelta(days=10)
    assert timedelta(days=89) < api.horizon < timedelta(days=90)
