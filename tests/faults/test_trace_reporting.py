"""The message-trace feed over the Reporting Web Service: every shape is delivered, and a retired service says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import TraceSpec
from local.tenant.trace.reporting import ReportingService, status_name
from shared.sources.message_trace import reporting as reporting_trace
from shared.sources.message_trace.row import SOURCE
from tests.harness import FAST, TRACE_HUB, Rig

if TYPE_CHECKING:
    from tests.tracing import TraceRig

MakeRig = Callable[..., Rig]
REPORTING = {"M365_MESSAGE_TRACE_API": "reporting", "M365_MESSAGE_TRACE_REQUESTS": "10000"}


def ask_for(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service answer in a shape that is not asked for in earnest."""
    if shape == "atom":
        monkeypatch.setattr(reporting_trace, "HEADERS", {"Accept": "application/atom+xml"})
    elif shape != "odata":
        plain = reporting_trace.ReportingTrace._first
        monkeypatch.setattr(
            reporting_trace.ReportingTrace,
            "_first",
            lambda *asked: f"{plain(*asked)}&$format=json",
        )


@pytest.mark.parametrize("shape", ["odata", "verbose", "bare", "atom"])
def test_every_row_is_delivered_once_in_each_shape(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    trace = TraceSpec(rows=150, days=0.5, odd=0.2, latency_s=0, verbose_bare=shape == "bare")
    rig = make_rig(trace=trace)
    ask_for(shape, monkeypatch)

    summaries = rig.run_until(lambda each: each.caught_up, source=SOURCE, settings=REPORTING)

    bodies: list[dict[str, Any]] = [json.loads(event.body) for event in rig.hubs.events(TRACE_HUB)]
    watermark = rig.checkpoint(SOURCE).watermark
    standing = rig.tenant.trace.books.standing(None, watermark)
    arrived = [
        (each["MessageTraceId"], each["RecipientAddress"], each["Status"]) for each in bodies
    ]
    expected = {(each.id, each.recipient, status_name(each.status)) for each in standing}
    assert set(arrived) >= expected
    assert len(arrived) == len(set(arrived))
    assert all(each.status == "succeeded" for each in summaries), summaries[-1].error


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_retired_service_fails_its_feed_alone_and_says_what_to_set(
    make_rig: MakeRig, status: int
) -> None:
    rig = make_rig(trace=TraceSpec(reporting_retired=status))
    rig.offer()

    summary = rig.run(SOURCE, settings=REPORTING)

    assert (summary.status, summary.error_code) == ("failed", "reporting-retired")
    assert "set M365_MESSAGE_TRACE_API to 'graph'" in rig.run_rows(SOURCE)[0]["error"]
    assert rig.run(settings=REPORTING).status == "succeeded"
    rig.assert_complete()


def spoil(patch: pytest.MonkeyPatch, bad: str, *, begin: bytes, end: bytes) -> None:
    """Let every page that holds a row have it damaged: what ends a value of it is gone."""
    plain = ReportingService._shaped

    def shaped(*asked: Any) -> Any:
        answer = plain(*asked)
        body = answer.whole()
        key = begin + bad.encode()
        return replace(answer, body=body.replace(key + end, key))

    patch.setattr(ReportingService, "_shaped", shaped)


def ids(rig: Rig) -> list[str]:
    """The rows at the hub."""
    return [json.loads(event.body)["MessageTraceId"] for event in rig.hubs.events(TRACE_HUB)]


@pytest.mark.parametrize("shape", ["odata", "verbose"])
def test_a_damaged_row_of_json_costs_itself_alone(
    mail: Callable[..., TraceRig], monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    rig = mail()
    ask_for(shape, monkeypatch)
    rows = [rig.tenant.trace.offer(received=rig.ago(minutes=20 + n))[0] for n in range(5)]
    bad = rows[2].trace_id
    spoil(monkeypatch, bad, begin=b'"MessageTraceId":"', end=b'"')

    first = rig.trace(settings=REPORTING)
    second = rig.trace(settings=REPORTING)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert sorted(ids(rig)) == sorted({row.trace_id for row in rows} - {bad})
    (kept,) = rig.dead_letters(SOURCE).values()
    assert bad.encode() in kept
    assert (first.dead_letters, second.dead_letters) == (1, 0)


def test_a_damaged_feed_of_atom_costs_its_own_second_is_named_and_comes_once_it_is_mended(
    mail: Callable[..., TraceRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.trace_until_caught_up(settings=REPORTING)
    rig.pass_time(minutes=60)
    ask_for("atom", monkeypatch)
    times = [rig.ago(minutes=10 * n) for n in (5, 4, 3, 2)]
    rows = [rig.tenant.trace.offer(received=each)[0] for each in times]
    bad = rows[1].trace_id
    with monkeypatch.context() as patch:
        spoil(patch, bad, begin=b"", end=b"</d:MessageTraceId>")

        summary = rig.trace(settings=REPORTING, tuning=replace(FAST, tries=1))

    assert (summary.status, summary.error_code) == ("failed", "not-a-list")
    assert "window 20" in summary.error
    assert sorted(ids(rig)) == sorted({row.trace_id for row in rows} - {bad})
    ((start, end),) = rig.checkpoint(SOURCE).rows.backfill
    assert start <= times[1] < end <= start + timedelta(seconds=1)

    rig.trace_until_caught_up(settings=REPORTING)

    assert sorted(ids(rig)) == sorted(row.trace_id for row in rows)
