"""Message trace from the Reporting Web Service: each of its shapes, its relative links, and its retirement."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

import pytest

from shared.contents.content import Content
from shared.errors import CollectorError, ConfigError, Permanent, Transient
from shared.rows.row import PAGING, WINDOW_TOO_OLD
from shared.service.http import Response
from shared.sources.message_trace import reporting_xml
from shared.sources.message_trace.reporting import ReportingTrace
from shared.sources.message_trace.reporting_xml import PAGE_ROWS, read_page, read_time
from shared.sources.message_trace.row import TraceRow, digest_of
from shared.times import Window
from tests.scripted import NOON, Service, Waits, asker

HOST = "https://reports.test"
ROOT = f"{HOST}/ecp/reportingwebservice/reporting.svc"
REPORT = f"{ROOT}/MessageTrace"
WINDOW = Window(NOON, NOON + timedelta(hours=1))
FILTER = (
    "StartDate%20eq%20datetime'2026-03-01T12:00:00Z'%20and%20EndDate%20eq%20"
    "datetime'2026-03-01T13:00:00Z'"
)
RELATIVE = "../../reportingwebservice/reporting.svc/MessageTrace"


def row(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "Organization": "lumenfield.onmicrosoft.com",
        "MessageId": f"<{number}@sender.example>",
        "Received": f"2026-03-01T12:{59 - number % 60:02d}:12.3478219",
        "SenderAddress": "mira@lumenfield.example",
        "RecipientAddress": "partner@outside.example",
        "Subject": "Offer",
        "Status": "Delivered",
        "ToIP": None,
        "FromIP": "198.51.100.23",
        "Size": 48120,
        "MessageTraceId": f"00000000-0000-0000-0000-{number:012d}",
        "StartDate": "2026-03-01T12:00:00Z",
        "EndDate": "2026-03-01T13:00:00Z",
        "Index": number,
        **fields,
    }


def odata(*rows: Any, link: object = None) -> bytes:
    body: dict[str, Any] = {"odata.metadata": f"{ROOT}/$metadata#MessageTrace", "value": list(rows)}
    return json.dumps({**body, "odata.nextLink": link} if link is not None else body).encode()


def verbose(*rows: Any, link: str | None = None) -> bytes:
    inner: dict[str, Any] = {"results": list(rows)}
    return json.dumps({"d": {**inner, "__next": link} if link else inner}).encode()


def bare(*rows: Any, link: str | None = None) -> bytes:
    del link
    return json.dumps({"d": list(rows)}).encode()


def atom(*rows: dict[str, Any], link: str | None = None) -> bytes:
    entries = "".join(
        '<entry><link rel="self" href="x"/><content type="application/xml"><m:properties>'
        + "".join(_property(name, value) for name, value in each.items())
        + "</m:properties></content></entry>"
        for each in rows
    )
    more = f'<link rel="next" href="{escape(link)}"/>' if link else ""
    return (
        '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom" '
        'xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
        f'<link rel="self" href="MessageTrace"/>{entries}{more}</feed>'
    ).encode()


def _property(name: str, value: object) -> str:
    if value is None:
        return f'<d:{name} m:null="true"/>'
    kind = ' m:type="Edm.Int32"' if isinstance(value, int) else ""
    return f"<d:{name}{kind}>{escape(str(value))}</d:{name}>"


SHAPES = pytest.mark.parametrize("shape", [odata, verbose, bare, atom])


@pytest.fixture
def service() -> Service:
    return Service(HOST)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(service: Service, waits: Waits) -> ReportingTrace:
    return ReportingTrace(root=HOST, asker=asker(service, waits))


def listed(api: ReportingTrace, window: Window = WINDOW) -> list[TraceRow]:
    return [each for rows in api.pages(window) for each in rows]


# -- what is asked


def test_the_window_stands_in_the_filter_as_the_service_wants_it(
    api: ReportingTrace, service: Service
) -> None:
    service.say(odata())

    assert listed(api) == []

    assert service.asked == [("GET", f"{REPORT}?$filter={FILTER}")]
    assert service.headers[0]["Accept"] == "application/json"


# -- shapes


@SHAPES
def test_every_shape_gives_the_same_rows(api: ReportingTrace, service: Service, shape: Any) -> None:
    rows = [
        row(1),
        row(1, RecipientAddress="o'hara & <co>#1@x.example", Status="GettingStatus"),
        row(2, MessageId=None, Subject="", SenderAddress="<>"),
    ]
    service.say(shape(*rows))

    found = listed(api)

    assert [json.loads(each.raw) for each in found] == rows
    assert [each.digest for each in found] == [
        digest_of(each["MessageTraceId"], each["RecipientAddress"], each["Status"]) for each in rows
    ]
    assert found[0].received == datetime(2026, 3, 1, 12, 58, 12, 347000, tzinfo=UTC)


@pytest.mark.parametrize("shape", [odata, verbose, bare])
def test_a_row_of_json_is_its_own_bytes(api: ReportingTrace, service: Service, shape: Any) -> None:
    service.say(shape("MARK").replace(b'"MARK"', b'{ "MessageTraceId" : "a",\n "Size":1.50}'))

    assert listed(api)[0].raw == b'{ "MessageTraceId" : "a",\n "Size":1.50}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/Date(1772367012347)/", datetime(2026, 3, 1, 12, 10, 12, 347000, tzinfo=UTC)),
        ("/Date(1772367012347+0100)/", datetime(2026, 3, 1, 12, 10, 12, 347000, tzinfo=UTC)),
        ("/Date(-1)/", datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        ("2026-03-01T12:10:12.3478219", datetime(2026, 3, 1, 12, 10, 12, 347821, tzinfo=UTC)),
        ("2026-03-01T12:10:12", datetime(2026, 3, 1, 12, 10, 12, tzinfo=UTC)),
        ("2026-03-01T12:10:12Z", datetime(2026, 3, 1, 12, 10, 12, tzinfo=UTC)),
        ("/Date(999999999999999)/", None),
        ("/Date(x)/", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_times_are_read_however_they_are_written(text: object, expected: datetime | None) -> None:
    assert read_time(text) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>Sorry</title></html>",
        b"<!DOCTYPE html><html/>",
        b"[]",
        b'{"d":{}}',
        b'{"d":{"results":{}}}',
        b'{"d":null}',
        b'{"value":"x"}',
        b'{"odata.error":{"code":"UnknownError"}}',
        odata(row(), link=17),
        odata(row())[:-9],
        atom(row())[:-9],
        b'<feed xmlns="urn:other"/>',
    ],
)
def test_what_is_no_page_is_asked_for_again(
    api: ReportingTrace, service: Service, body: bytes
) -> None:
    service.say(body)
    service.say(odata(row()))

    assert len(listed(api)) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_feed_that_declares_entities_is_refused(encoding: str) -> None:
    # One that is harmless: what could grow is refused the same way.
    body = atom(row(Subject="MARK")).decode().partition("?>")[2].replace("MARK", "&m;")
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE feed [<!ENTITY m "x">]>{body}'

    with pytest.raises(Transient) as caught:
        read_page(text.encode(encoding), REPORT)

    assert caught.value.code == "not-a-list"


# -- damaged rows


def _damage(body: bytes) -> bytes:
    """Take the quote from behind the second row's status."""
    first = body.index(b'"Status"') + 1
    at = body.index(b'"Status": "Delivered"', first) + len(b'"Status": "Delivered')
    return body[:at] + body[at + 1 :]


JSON_SHAPES = pytest.mark.parametrize("shape", [odata, verbose, bare])


@JSON_SHAPES
def test_a_damaged_row_of_json_keeps_none_of_its_siblings_back(
    api: ReportingTrace, service: Service, shape: Any
) -> None:
    body = _damage(shape(*map(row, range(5))))
    for _ in range(2):
        service.say(body)

    rows = listed(api)

    assert [each.id[-1] for each in rows if not each.mark.place] == list("0234")
    assert [each.mark.recovered for each in rows if not each.mark.place] == [False] + [True] * 3
    (bad,) = (each for each in rows if each.mark.place)
    assert bad.mark.place.startswith("record 2, from byte ")
    assert bad.raw in body
    assert b'"MessageTraceId": "00000000-0000-0000-0000-000000000001"' in bad.raw
    # Where its time can be read it lies there, whichever window it is met in.
    assert bad.received == datetime(2026, 3, 1, 12, 58, 12, 347000, tzinfo=UTC)


@JSON_SHAPES
def test_a_page_that_was_spoilt_on_its_way_is_asked_for_again(
    api: ReportingTrace, service: Service, shape: Any
) -> None:
    service.say(_damage(shape(row(1), row(2))))
    service.say(shape(row(1), row(2)))

    assert [(each.id[-1], each.mark.recovered) for each in listed(api)] == [
        ("1", False),
        ("2", False),
    ]


@JSON_SHAPES
def test_a_page_that_is_cut_short_is_no_page_with_a_damaged_row(
    api: ReportingTrace, service: Service, shape: Any
) -> None:
    for cut in range(1, 30):
        service.say(shape(row(1), row(2))[:-cut])
        service.say(shape(row(1), row(2)))

        assert [each.mark.place for each in listed(api)] == ["", ""]


def test_a_full_page_with_a_damaged_row_is_not_the_last(
    api: ReportingTrace, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting_xml, "PAGE_ROWS", 3)
    for _ in range(2):
        service.say(_damage(bare(*map(row, range(3)))))
    service.say(bare(row(2), row(3)))

    assert [each.id[-1] for each in listed(api) if not each.mark.place] == ["0", "2", "3"]
    assert service.asked[2][1].endswith("&$skiptoken=1")


# -- pages


@pytest.mark.parametrize("shape", [odata, verbose, atom])
def test_a_relative_link_leads_to_the_next_page(
    api: ReportingTrace, service: Service, shape: Any
) -> None:
    service.say(shape(row(1), link=f"{RELATIVE}?$filter={FILTER}&$skiptoken=1999"))
    service.say(shape(row(2)))

    assert len(listed(api)) == 2
    assert service.asked[1] == ("GET", f"{REPORT}?$filter={FILTER}&$skiptoken=1999")


@pytest.mark.parametrize("shape", [verbose, bare, atom])
def test_a_full_page_without_a_link_is_followed_by_the_index_of_its_last_row(
    api: ReportingTrace, service: Service, shape: Any
) -> None:
    service.say(shape(*map(row, range(PAGE_ROWS))))
    service.say(shape(*map(row, range(PAGE_ROWS, 2 * PAGE_ROWS))))
    service.say(shape(row(2 * PAGE_ROWS)))

    assert len(listed(api)) == 2 * PAGE_ROWS + 1
    assert [url.partition("&")[2] for _, url in service.asked] == [
        "",
        "$skiptoken=1999",
        "$skiptoken=3999",
    ]


def odata_with(name: str, link: object, *rows: Any) -> bytes:
    return odata(*rows)[:-1] + b"," + json.dumps({name: link}).encode()[1:]


@pytest.mark.parametrize(
    "link",
    [
        pytest.param({}, id="none"),
        pytest.param({"odata.nextLink": None}, id="null"),
        pytest.param({"odata.nextLink": ""}, id="empty"),
    ],
)
def test_a_full_page_of_odata_without_a_link_is_followed_from_its_oldest_row(
    api: ReportingTrace, service: Service, link: dict[str, object]
) -> None:
    rows = [
        row(each, Received=f"2026-03-01T12:{each // 60:02}:{each % 60:02}.1234567")
        for each in range(PAGE_ROWS + 9, -1, -1)
    ]
    service.say(
        odata(*rows[:PAGE_ROWS])[:-1] + (b"," + json.dumps(link).encode()[1:] if link else b"}")
    )
    service.say(odata(*rows[PAGE_ROWS - 1 :]))

    assert len(listed(api)) == PAGE_ROWS + 10
    assert "EndDate%20eq%20datetime'2026-03-01T12:00:10.124Z'" in service.asked[1][1]


class Same(Service):
    """Answers every request with one page."""

    page = b""

    def request(self, method: str, url: str, **_: Any) -> Response:
        self.asked.append((method, url))
        return Response(status=200, headers={}, body=self.page)


def test_a_full_page_of_one_time_and_one_status_is_not_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting_xml, "PAGE_ROWS", 3)
    service = Same(HOST)
    service.page = odata(*(row(1, RecipientAddress=f"{n}@outside.example") for n in range(3)))

    with pytest.raises(Transient) as caught:
        listed(ReportingTrace(root=HOST, asker=asker(service, Waits())))

    assert caught.value.code == PAGING
    assert "Status%20eq%20'None'" in service.asked[-1][1]
    assert not any("RecipientAddress" in url for _, url in service.asked)
    assert len(service.asked) < 10


@pytest.mark.parametrize(
    "name", ["odata.nextLink", "odata.nextlink", "@odata.nextLink", "nextLink", "__next"]
)
def test_a_link_is_followed_whatever_its_name(
    api: ReportingTrace, service: Service, name: str
) -> None:
    service.say(odata_with(name, f"{RELATIVE}?$filter={FILTER}&$skiptoken=0", row(1)))
    service.say(odata(row(2)))

    assert len(listed(api)) == 2


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/MessageTrace",
        "//evil.test/MessageTrace",
        "https://reports.test@evil.test/",
        "http://reports.test/ecp/x",
    ],
)
def test_a_link_elsewhere_is_refused_after_what_came(
    api: ReportingTrace, service: Service, link: str
) -> None:
    service.say(odata(row(), link=link))

    found: list[list[TraceRow]] = []
    with pytest.raises(Permanent) as caught:
        found.extend(api.pages(WINDOW))

    assert (caught.value.code, len(found), len(service.asked)) == ("foreign-url", 1, 1)


def test_a_token_beyond_the_end_begins_the_window_anew(
    api: ReportingTrace, service: Service
) -> None:
    service.say(odata(row(1), row(2), link=f"{RELATIVE}?$filter={FILTER}&$skiptoken=999999"))
    error = b'{"odata.error":{"code":"UnknownError","message":{"lang":"","value":"An error"}}}'
    for _ in range(4):
        service.say(error, status=500)
    service.say(odata(row(2), row(3)))

    assert [each.id[-1] for each in listed(api)] == ["1", "2", "3"]
    assert "EndDate%20eq%20datetime'2026-03-01T12:57:12.348Z'" in service.asked[-1][1]


# -- refusals


HTML = (
    b"<html><title>401 - Unauthorized: Access is denied due to invalid credentials.</title></html>"
)
NO_ROLE = b'{"ErrorCode":"","Message":"No permission to access the report for the organization ."}'


@pytest.mark.parametrize(
    ("status", "body", "kind", "asked"),
    [
        pytest.param(401, HTML, ConfigError, 2, id="401-after-a-new-token-too"),
        pytest.param(403, NO_ROLE, ConfigError, 1, id="403"),
        pytest.param(403, b"", ConfigError, 1, id="403-without-a-body"),
        pytest.param(404, b"<html><title>404</title></html>", ConfigError, 1, id="404"),
    ],
)
def test_a_service_that_refuses_for_good_is_said_to_be_retired_with_what_to_set_instead(
    api: ReportingTrace,
    service: Service,
    status: int,
    body: bytes,
    kind: type[CollectorError],
    asked: int,
) -> None:
    for _ in range(asked):
        service.say(body, status=status)

    with pytest.raises(kind, match="retired") as caught:
        listed(api)

    assert "set M365_MESSAGE_TRACE_API to 'graph'" in str(caught.value)
    assert "ReportingWebService.Read.All" in str(caught.value)
    assert (caught.value.code, caught.value.status) == ("reporting-retired", status)
    assert len(service.asked) == asked


def test_the_page_of_a_web_server_says_its_title_and_no_more(
    api: ReportingTrace, service: Service
) -> None:
    for _ in range(2):
        service.say(HTML.replace(b"</html>", b"<body>secret</body></html>"), status=401)

    with pytest.raises(ConfigError, match="Access is denied") as caught:
        listed(api)

    assert "secret" not in str(caught.value)


def test_a_token_that_expired_is_no_sign_of_retirement(
    api: ReportingTrace, service: Service
) -> None:
    service.say(HTML, status=401)
    service.say(odata(row()))

    assert len(listed(api)) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "Invalid StartDate value. The StartDate can't be older than 10 days from today.",
            WINDOW_TOO_OLD,
        ),
        ("Invalid filter clause.", "window-refused"),
    ],
)
def test_a_window_that_is_refused_says_why(
    api: ReportingTrace, service: Service, said: str, code: str
) -> None:
    body = {"error": {"code": "", "message": {"lang": "en-US", "value": said}}}
    service.say(json.dumps(body).encode(), status=400)

    with pytest.raises(Permanent) as caught:
        listed(api)

    assert said in str(caught.value)
    assert caught.value.code == code


def test_a_busy_service_is_waited_for(api: ReportingTrace, service: Service, waits: Waits) -> None:
    service.say(b"<html><title>503</title></html>", status=503, Retry_After="20")
    service.say(b"<html/>", status=500)
    service.say(odata(row()))

    assert len(listed(api)) == 1
    assert 20 <= waits.now - NOON.timestamp() < 30


def test_there_are_no_details_here(api: ReportingTrace, service: Service) -> None:
    service.say(odata(row()))
    (found,) = listed(api)

    assert api.details_uri(found) is None
    with pytest.raises(Permanent):
        api.fetch(
            Content(id="a", uri=REPORT, created="", expires="", day=date(2026, 3, 1)),
            lambda _length, _compressed: None,
        )


def test_the_limits_of_the_service_are_kept_with_a_margin(api: ReportingTrace) -> None:
    assert api.max_width <= timedelta(days=1)
    assert timedelta(days=9) < api.horizon < timedelta(days=10)
