"""The message-trace feed over the Reporting Web Service: every shape is delivered, and a retired service says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.tenant import TraceSpec
from local.tenant.trace.reporting import status_name
from shared.sources.message_trace import reporting as reporting_trace
from shared.sources.message_trace.row import SOURCE
from tests.harness import TRACE_HUB, Rig

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
