"""A window of the trace, listed from the simulated tenant: whatever breaks, every row comes, once, as it was sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from local.tenant import Fault, TraceSpec, Triple
from local.tenant.trace.reporting import status_name
from shared.contents.content import Content
from shared.errors import CollectorError, ConfigError, Permanent, Throttled, Transient
from shared.rows.row import WINDOW_TOO_OLD
from shared.sources.audit.feed import management
from shared.sources.clients import Apis
from shared.sources.message_trace import graph as graph_trace
from shared.sources.message_trace import reporting as reporting_trace
from shared.sources.message_trace import reporting_xml
from shared.sources.message_trace.feed import message_trace
from shared.sources.registry import load
from shared.state.account import read_blob
from shared.stop import Stop
from shared.times import Window, whole_second
from tests.harness import FAST, Rig
from tests.waits import LONG

if TYPE_CHECKING:
    from shared.config.connections import Connection
    from shared.sources.message_trace.details import TraceApi
    from shared.sources.message_trace.row import TraceRow

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AGO = timedelta(seconds=30)
ROLES = ("ActivityFeed.Read", "ExchangeMessageTrace.Read.All", "ReportingWebService.Read.All")
REPORTING = {"M365_MESSAGE_TRACE_API": "reporting"}
MakeRig = Callable[..., Rig]


def apis(rig: Rig, **settings: str) -> tuple[Apis, Connection]:
    """What a process makes its API clients with, and the one connection that it has."""
    values = {
        "M365_GRAPH_ENDPOINT": rig.server.endpoint,
        "M365_REPORTING_ENDPOINT": rig.server.endpoint,
        # The quota of the tenant is what a test sets, if it does.
        "M365_MESSAGE_TRACE_REQUESTS": "1000",
    }
    loaded = load(rig.values(**{**values, **settings}))
    return Apis(loaded, FAST, rig.storage), loaded.connections[0]


def trace_of(rig: Rig, **settings: str) -> TraceApi:
    made, connection = apis(rig, **settings)
    return made.client(message_trace, connection).build(Stop(10 * LONG))


def past(rig: Rig, back: timedelta = DAY) -> Window:
    """A window of whole seconds that ends a little before the tenant's now."""
    end = whole_second(rig.tenant.now()) - AGO
    return Window(end - back, end)


def listed(api: TraceApi, window: Window) -> list[TraceRow]:
    return [row for page in api.pages(window) for row in page]


def stood(rig: Rig, window: Window) -> set[Triple]:
    """What has stood in a window of ``past`` ever since it was made: a status may change while it is listed."""
    since = window.end + AGO
    return rig.tenant.trace.books.standing(window.start, window.end, since=since)


def assert_complete(rig: Rig, found: list[TraceRow], window: Window) -> None:
    """Each row that stands in the trace came once, as the bytes that were sent."""
    books = rig.tenant.trace.books
    bodies = books.bodies(window.start, window.end)
    ever = books.ever_visible(window.start, window.end)
    assert len({row.digest for row in found}) == len(found)
    came = {row.raw for row in found}
    assert {bodies[triple] for triple in stood(rig, window)} <= came
    assert came <= {bodies[triple] for triple in ever}


ODD = TraceSpec(rows=600, days=1.0, odd=0.2, changing=0.2, duplicates=0.1, max_page=70, quota=None)


# -- Graph


def test_every_row_comes_once_through_pages_and_odd_fields(make_rig: MakeRig) -> None:
    rig = make_rig(roles=ROLES, trace=ODD)
    window = past(rig)

    found = listed(trace_of(rig), window)

    assert_complete(rig, found, window)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"on": "trace", "action": "break_page_token"}, id="token-broken-for-ever"),
        pytest.param(
            {"on": "trace_page", "action": "break_page_token", "times": 3}, id="three-in-a-row"
        ),
        pytest.param(
            {"on": "trace_page", "action": "status", "code": "page-token"}, id="token-refused-once"
        ),
        pytest.param({"on": "trace_page", "action": "repeat_page_token"}, id="token-twice"),
        pytest.param({"on": "trace_page", "action": "empty_page_with_next"}, id="empty-page"),
        pytest.param(
            {"on": "trace_page", "action": "throttle", "retry_after": 0.2}, id="429-in-mid-window"
        ),
        pytest.param(
            {"on": "trace_page", "action": "status", "status": 503, "times": 2}, id="503-twice"
        ),
        pytest.param(
            {"on": "trace_page", "action": "status", "code": "internal", "times": 6}, id="500s"
        ),
        pytest.param({"on": "trace_page", "action": "truncate_json"}, id="cut-json"),
        pytest.param({"on": "trace_page", "action": "reset_mid_body"}, id="cut-off"),
        pytest.param({"on": "trace_page", "action": "truncate_gzip"}, id="cut-gzip"),
        pytest.param({"on": "trace_page", "action": "expire_tokens"}, id="token-expired"),
        pytest.param({"on": "trace_page", "action": "bom"}, id="bom"),
    ],
)
def test_whatever_a_page_meets_every_row_comes_once(
    make_rig: MakeRig, fault: dict[str, Any]
) -> None:
    rig = make_rig(roles=ROLES, trace=ODD)
    rig.tenant.faults.add(Fault(**{"after": 1 if fault["on"] == "trace_page" else 0, **fault}))
    window = past(rig)

    found = listed(trace_of(rig), window)

    assert_complete(rig, found, window)
    assert rig.tenant.faults.played()


def test_tokens_that_odd_recipients_break_for_ever_hide_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(
        roles=ROLES,
        trace=TraceSpec(rows=400, days=1.0, odd=0.8, max_page=5, quota=None, strict_tokens=True),
    )
    window = past(rig)

    found = listed(trace_of(rig), window)

    assert_complete(rig, found, window)
    assert rig.tenant.trace.books.refused()["page-recipient"] > 3


def test_more_than_a_page_in_one_second_comes_whole(make_rig: MakeRig) -> None:
    rig = make_rig(roles=ROLES, trace=TraceSpec(burst=5001))
    window = past(rig, 2 * HOUR)

    assert_complete(rig, listed(trace_of(rig), window), window)


@pytest.mark.parametrize("times", [1, 3, -1], ids=["once", "three-in-a-row", "for-ever"])
def test_a_full_page_without_a_link_hides_nothing(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(graph_trace, "PAGE_ROWS", 70)
    rig = make_rig(roles=ROLES, trace=ODD)
    rig.tenant.faults.add(Fault(on="trace", action="drop_page_link", times=times))
    window = past(rig)

    found = listed(trace_of(rig), window)

    assert len(found) > 4 * graph_trace.PAGE_ROWS
    assert_complete(rig, found, window)


@pytest.mark.parametrize(
    ("on", "settings"), [("trace_page", {}), ("report_page", REPORTING)], ids=["graph", "older"]
)
@pytest.mark.parametrize("times", [1, -1], ids=["once", "for-ever"])
def test_a_page_below_what_was_asked_for_hides_nothing_where_others_were_as_large(
    make_rig: MakeRig, on: str, settings: dict[str, str], times: int
) -> None:
    rig = make_rig(
        roles=ROLES, trace=TraceSpec(rows=300, days=0.9, max_page=70, reporting_page=70, quota=None)
    )
    rig.tenant.faults.add(Fault(on=on, action="drop_page_link", times=times))
    window = past(rig)

    found = listed(trace_of(rig, **settings), window)

    assert len(found) == len(rig.tenant.trace.books.standing(window.start, window.end)) > 200


def test_the_largest_page_of_a_run_ends_a_window_where_nothing_new_comes_behind_it(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(roles=ROLES, trace=TraceSpec(quota=None))
    window = past(rig)
    rig.tenant.trace.offer(count=150, received=window.start + 12 * HOUR)
    api = trace_of(rig)

    for _ in range(2):
        assert len(listed(api, window)) == 150
    assert api.asker.requests <= 4


def test_a_full_page_of_one_millisecond_without_a_link_is_parted_by_status(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_trace, "PAGE_ROWS", 70)
    rig = make_rig(roles=ROLES, trace=replace(ODD, odd=0.0))
    rig.tenant.faults.add(Fault(on="trace", action="drop_page_link", times=-1))
    window = past(rig)
    for status in ("delivered", "failed", "recalled"):
        rig.tenant.trace.offer(count=60, received=window.start + 12 * HOUR, status=status)

    found = listed(trace_of(rig), window)

    assert_complete(rig, found, window)


def test_a_row_at_either_end_of_a_window_is_in_it(make_rig: MakeRig) -> None:
    rig = make_rig(roles=ROLES)
    window = past(rig, HOUR)
    for moment in (window.start, window.end):
        rig.tenant.trace.offer(received=moment)
        rig.tenant.trace.offer(received=moment, status="recalled")

    found = listed(trace_of(rig), window)

    assert [row.received for row in found] == [window.end] * 2 + [window.start] * 2
    assert_complete(rig, found, window)


def test_a_link_to_another_host_is_refused_and_no_token_leaves(make_rig: MakeRig) -> None:
    rig = make_rig(roles=ROLES, trace=ODD)
    rig.tenant.faults.add(Fault(on="trace", action="foreign_next_page", host="evil.example"))

    found: list[list[TraceRow]] = []
    with pytest.raises(Permanent) as caught:
        found.extend(trace_of(rig).pages(past(rig)))

    assert (caught.value.code, len(found)) == ("foreign-url", 1)


def test_a_service_principal_that_spreads_for_an_hour_is_named_until_it_is_there(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(roles=ROLES, trace=TraceSpec(rows=20, days=1.0, service_principal_after_s=3600))
    api, window = trace_of(rig), past(rig)

    with pytest.raises(ConfigError, match="New-MgServicePrincipal") as caught:
        listed(api, window)
    rig.tenant.advance(HOUR)

    assert caught.value.code == "trace-app-missing"
    assert_complete(rig, listed(api, window), window)


@pytest.mark.parametrize(
    ("spec", "code", "mend"),
    [
        pytest.param(
            {"roles": ("ActivityFeed.Read",)},
            "trace-role-missing",
            "ExchangeMessageTrace.Read.All",
            id="no-role",
        ),
        pytest.param(
            {"trace": TraceSpec(graph=False)}, "trace-not-in-cloud", "M365_SOURCES", id="no-trace"
        ),
    ],
)
def test_what_a_tenant_lacks_is_named_with_its_mend(
    make_rig: MakeRig, spec: dict[str, Any], code: str, mend: str
) -> None:
    rig = make_rig(**{"roles": ROLES, **spec})
    api = trace_of(rig)

    with pytest.raises(ConfigError, match=mend) as caught:
        listed(api, past(rig))

    assert (caught.value.code, api.asker.requests) == (code, 1)


@pytest.mark.parametrize(
    ("window", "code"),
    [
        pytest.param((timedelta(days=11), timedelta(days=12)), "", id="both-within"),
        pytest.param((timedelta(), timedelta(days=11)), "window-refused", id="over-10-days"),
        pytest.param((timedelta(days=85), timedelta(days=91)), WINDOW_TOO_OLD, id="over-90-days"),
    ],
)
def test_the_limits_of_the_service_have_a_code_of_their_own(
    make_rig: MakeRig, window: tuple[timedelta, timedelta], code: str
) -> None:
    rig = make_rig(roles=ROLES)
    now, api = whole_second(rig.tenant.now()), trace_of(rig)
    asked = Window(now - window[1], now - window[0])

    if not code:
        assert listed(api, asked) == []
        return
    with pytest.raises(Permanent) as caught:
        listed(api, asked)
    assert caught.value.code == code


def test_the_widest_and_the_oldest_window_that_a_run_may_ask_for_are_answered(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(roles=ROLES)
    now, api = whole_second(rig.tenant.now()), trace_of(rig)

    assert listed(api, Window(now - api.max_width, now)) == []
    assert listed(api, Window(now - api.horizon, now - api.horizon + api.max_width)) == []


def test_a_budget_that_is_used_up_is_not_exceeded_and_is_known_to_others(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(roles=ROLES, trace=ODD)
    made, connection = apis(rig, M365_MESSAGE_TRACE_REQUESTS="3")
    stop = Stop(1.0)

    with pytest.raises(Throttled):
        listed(made.client(message_trace, connection).build(stop), past(rig))

    other, _ = apis(rig, M365_MESSAGE_TRACE_REQUESTS="3")
    assert other.client(message_trace, connection).build(stop).asker.used() == 1.0
    assert rig.tenant.trace.books.max_requests_in_5_minutes == 3
    assert read_blob(rig.storage.state, f"budgets/{connection.tenant_id}/trace.json")
    audit = other.client(management, connection).build(stop)("Audit.General", lambda _: None)
    assert audit.asker.used() == 0.0


# -- details


def test_details_are_fetched_for_recipients_with_quotes_and_signs(make_rig: MakeRig) -> None:
    rig = make_rig(roles=ROLES)
    recipients = ["o'hara@x.example", "a#b+c%d@x.example", "ü&?/@x.example"]
    window, api = past(rig), trace_of(rig)
    rig.tenant.trace.offer(recipients=recipients, received=window.start)

    for row in listed(api, window):
        body = api.fetch(_content(api, row), lambda _length, _compressed: None)
        events = msgspec.json.decode(body)
        assert {each["id"] for each in events} == {row.id}
        assert "Deliver" in [each["event"] for each in events]

    asked = rig.tenant.trace.books.details()
    assert {recipient: count for (_, recipient), count in asked.items()} == dict.fromkeys(
        recipients, 1
    )


@pytest.mark.parametrize(
    ("details", "expected"), [("missing", Permanent), ("empty", None)], ids=["missing", "empty"]
)
def test_details_that_are_not_there_are_told_from_empty_ones(
    make_rig: MakeRig, details: str, expected: type[CollectorError] | None
) -> None:
    rig = make_rig(roles=ROLES)
    window, api = past(rig), trace_of(rig)
    rig.tenant.trace.offer(details=details, received=window.start)
    (row,) = listed(api, window)

    if expected is None:
        assert api.fetch(_content(api, row), lambda _length, _compressed: None) == b"[]"
        return
    with pytest.raises(expected) as caught:
        api.fetch(_content(api, row), lambda _length, _compressed: None)
    assert caught.value.code == "no-details"


def _content(api: TraceApi, row: TraceRow) -> Content:
    uri = api.details_uri(row)
    assert uri is not None
    return Content(id=row.id, uri=uri, created="", expires="", day=date(2026, 1, 1))


# -- the Reporting Web Service


def _named(triples: set[Triple]) -> set[Triple]:
    """What they are called in this service."""
    return {Triple(row.id, row.recipient or None, status_name(row.status)) for row in triples}


def _triples(found: list[TraceRow]) -> set[Triple]:
    return {Triple(row.id, row.recipient or None, row.status) for row in found}


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        pytest.param("odata", {}, id="odata"),
        pytest.param("verbose", {}, id="verbose"),
        pytest.param("verbose", {"verbose_bare": True}, id="bare-array"),
        pytest.param("verbose", {"verbose_next": False}, id="verbose-without-a-link"),
        pytest.param("atom", {}, id="atom"),
    ],
)
def test_every_shape_of_the_older_service_gives_every_row(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, shape: str, more: dict[str, Any]
) -> None:
    rig = make_rig(roles=ROLES, trace=TraceSpec(rows=2200, days=0.9, odd=0.2, changing=0.2, **more))
    window = past(rig)
    if shape == "atom":
        monkeypatch.setattr(reporting_trace, "HEADERS", {"Accept": "application/atom+xml"})
    if shape == "verbose":
        plain = reporting_trace.ReportingTrace._first
        monkeypatch.setattr(
            reporting_trace.ReportingTrace,
            "_first",
            lambda *asked: f"{plain(*asked)}&$format=json",
        )

    found = listed(trace_of(rig, **REPORTING), window)

    ever = rig.tenant.trace.books.ever_visible(window.start, window.end)
    assert _named(stood(rig, window)) <= _triples(found) <= _named(ever)
    # By their bytes: a message may be to nobody and to an empty name.
    assert len(found) == len({row.raw for row in found})


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "repeat_page_token"},
        {"action": "empty_page_with_next"},
        {"action": "status", "code": "unknown", "times": 5},
        {"action": "status", "code": "unavailable"},
    ],
    ids=lambda fault: fault.get("code", fault["action"]),
)
def test_whatever_a_page_of_the_older_service_meets_every_row_comes(
    make_rig: MakeRig, fault: dict[str, Any]
) -> None:
    rig = make_rig(roles=ROLES, trace=TraceSpec(rows=300, days=0.9, reporting_page=50))
    rig.tenant.faults.add(Fault(on="report_page", after=1, **fault))
    window = past(rig)

    found = listed(trace_of(rig, **REPORTING), window)

    assert len(found) == len(rig.tenant.trace.books.standing(window.start, window.end))


@pytest.mark.parametrize("one_time", [False, True], ids=["many-times", "one-millisecond"])
def test_a_full_page_of_the_older_service_without_a_link_hides_nothing(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, one_time: bool
) -> None:
    monkeypatch.setattr(reporting_xml, "PAGE_ROWS", 50)
    rig = make_rig(roles=ROLES, trace=TraceSpec(rows=300, days=0.9, reporting_page=50))
    rig.tenant.faults.add(Fault(on="report", action="drop_page_link", times=-1))
    window = past(rig)
    if one_time:
        for status in ("delivered", "failed", "pending"):
            rig.tenant.trace.offer(count=40, received=window.start + 12 * HOUR, status=status)

    found = listed(trace_of(rig, **REPORTING), window)

    assert len(found) == len(rig.tenant.trace.books.standing(window.start, window.end)) > 100


@pytest.mark.parametrize(
    "trace",
    [
        TraceSpec(reporting_retired=401),
        TraceSpec(reporting_retired=403),
        TraceSpec(reporting_retired=404),
        TraceSpec(directory_role=False),
    ],
    ids=["401", "403", "404", "no-directory-role"],
)
def test_an_older_service_that_refuses_says_that_it_is_retired(
    make_rig: MakeRig, trace: TraceSpec
) -> None:
    rig = make_rig(roles=ROLES, trace=trace)

    with pytest.raises(CollectorError, match="retired") as caught:
        listed(trace_of(rig, **REPORTING), past(rig))

    assert caught.value.code == "reporting-retired"
    assert not isinstance(caught.value, Transient)
