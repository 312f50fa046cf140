"""Details of rows: an opt-in with events, budget and ledger of their own, for which no row ever waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.tenant import Fault
from shared.rows.row import SOURCE, digest_of
from shared.sources.message_trace import details as trace_details
from tests.campaign import free_lease, kill
from tests.tracing import MANY, TraceRig
from tests.waits import wait_for

Mail = Callable[..., TraceRig]
DETAILS = f"{SOURCE}.Details"
WANTED = {"M365_MESSAGE_TRACE_DETAILS": "delivered"}


def detailed(rig: TraceRig) -> set[str]:
    """The rows of which details are at the hub, by their digests."""
    return {str(event.properties["content_id"]) for event in rig.details()}


@pytest.mark.parametrize("status", ["delivered", "failed"])
def test_details_are_events_of_their_own_and_hold_no_row_back(mail: Mail, status: str) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20), status="delivered")
    (gone,) = rig.tenant.trace.offer(
        received=rig.ago(minutes=20), status="delivered", details="missing"
    )
    rig.tenant.trace.offer(received=rig.ago(minutes=20), status="pending")
    settings = {"M365_MESSAGE_TRACE_DETAILS": status}

    summary = rig.trace(settings=settings)

    assert summary.delivered == 3
    assert len(rig.arrived()) == 3
    details = rig.details()
    if status != "delivered":
        assert not details
        return
    assert {event.properties["content_id"] for event in details} == {
        digest_of(row.trace_id, row.recipient, "delivered").hex()
    }
    assert all(row.trace_id.encode() in event.body for event in details)
    # The one without details waits in a ledger of its own, and is in nobody's way.
    pending = [each for each in rig.ledger(DETAILS).values() if not each.terminal]
    assert [each.id for each in pending] == [
        digest_of(gone.trace_id, gone.recipient, "delivered").hex()
    ]
    assert rig.trace(settings=settings).delivered == 0
    assert len(rig.details()) == len(details)


def test_details_take_a_quarter_of_the_budget_and_the_rest_of_them_waits_for_the_next_run(
    mail: Mail,
) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=12, received=rig.ago(minutes=20))
    budget = {"M365_MESSAGE_TRACE_REQUESTS": "20", "M365_MESSAGE_TRACE_BACKFILL_DAYS": "0"}

    rig.trace(settings={**WANTED, **budget})

    assert len(rig.arrived()) == 12
    assert len(detailed(rig)) == 5
    for _ in range(2):
        rig.pass_time(minutes=6)
        rig.trace(settings={**WANTED, **budget})
    assert len(detailed(rig)) == 12
    assert rig.tenant.trace.books.max_requests_in_5_minutes <= 20


def test_details_that_never_answer_hold_up_no_row_and_come_once_they_can(mail: Mail) -> None:
    rig = mail()
    (late,) = rig.tenant.trace.offer(received=rig.ago(days=3))
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))
    rig.tenant.faults.add(Fault(on="details", action="hang", delay_s=60, times=-1))

    summary = rig.trace(settings=WANTED, run_seconds=8)

    assert rig.statuses(row.trace_id)
    assert rig.statuses(late.trace_id)
    assert summary.delivered == 2
    assert not rig.checkpoint(SOURCE).trace.backfill
    rig.tenant.faults.clear()
    rig.trace(settings=WANTED)
    rig.assert_trace_complete()
    assert len(detailed(rig)) == 2


def test_killed_while_it_fetches_details_every_one_of_them_comes(mail: Mail) -> None:
    rig = mail()
    rows = rig.tenant.trace.offer(count=6, received=rig.ago(minutes=20))
    rig.tenant.faults.add(Fault(on="details", action="slow", delay_s=0.3, times=-1))
    worker = rig.spawn(SOURCE, settings={**MANY, **WANTED})
    wait_for(lambda: len(rig.details()) >= 2)
    kill(worker)
    rig.tenant.faults.clear()
    free_lease(rig, SOURCE)

    rig.trace(settings=WANTED)

    assert detailed(rig) == {
        digest_of(row.trace_id, row.recipient, "delivered").hex() for row in rows
    }
    assert rig.trace_repeats() == 0
    rig.assert_trace_complete()


def test_of_more_details_than_can_ever_be_fetched_no_more_are_asked_for_and_the_log_says_so(
    mail: Mail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace_details, "MOST_WAITING", 3)
    rig = mail()
    rig.tenant.trace.offer(count=8, received=rig.ago(minutes=20))

    rig.trace(settings=WANTED)

    assert len(rig.arrived()) == 8
    assert len(detailed(rig)) == len(rig.ledger(DETAILS)) == 3
    assert "the details of 5 rows are not asked for" in caplog.text
    rig.assert_trace_complete()
