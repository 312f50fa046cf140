"""A message trace whose service fails, throttles, forgets or is not there yet: nothing is lost, and it is said why."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.tenant import Fault
from local.tenant.trace.reporting import status_name
from shared.sources.message_trace.row import SOURCE
from shared.times import LEAP_ANSWERS
from tests.harness import FAST
from tests.tracing import DAY, MANY, TraceRig

Mail = Callable[..., TraceRig]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "status", "code": "page-token", "times": 2}, id="token-400"),
        pytest.param({"action": "break_page_token"}, id="token-broken-for-ever"),
        pytest.param({"action": "throttle", "retry_after": 0.2}, id="429-with-a-time"),
        pytest.param({"action": "throttle"}, id="429-without-a-time"),
        pytest.param({"action": "reset_mid_body"}, id="cut-off"),
        pytest.param({"action": "status", "code": "internal", "times": 2}, id="500s"),
    ],
)
def test_what_breaks_in_mid_window_loses_and_repeats_nothing(
    mail: Mail, fault: dict[str, Any]
) -> None:
    rig = mail(rows=400, days=0.5, odd=0.2, max_page=40)
    rig.tenant.faults.add(Fault(on="trace_page", after=1, **fault))

    rig.trace_until_caught_up()

    assert rig.tenant.faults.played()
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_window_that_cannot_be_read_keeps_no_newer_one_waiting(mail: Mail) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    rig.change_note(width=900)
    (old,) = rig.tenant.trace.offer(received=rig.ago(minutes=4))
    rig.pass_time(hours=2)
    (new,) = rig.tenant.trace.offer(received=rig.ago(minutes=10))
    # The first window after the two questions for the time, in every attempt, as it is and narrower.
    rig.tenant.faults.add(
        Fault(on="trace", action="status", code="internal", after=2, times=2 * FAST.tries)
    )

    summary = rig.trace()

    assert rig.statuses(new.trace_id)
    assert summary.status == "failed"
    # It was put off, and read once the service was well again.
    rig.trace_until_caught_up()
    assert rig.statuses(old.trace_id)
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_service_that_is_down_leaves_everything_to_the_next_run(mail: Mail) -> None:
    rig = mail(rows=200, days=0.5)
    rig.trace()
    watermark = rig.checkpoint(SOURCE).watermark
    rig.pass_time(minutes=30)
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=10))
    rig.tenant.faults.add(Fault(on="trace", action="status", code="internal", times=-1))

    summary = rig.trace()

    assert summary.status == "failed"
    assert rig.checkpoint(SOURCE).watermark == watermark
    rig.tenant.faults.clear()
    assert rig.trace_until_caught_up()
    assert rig.statuses(row.trace_id)
    rig.assert_trace_complete()


def test_ninety_days_of_mail_are_read_within_the_limits_of_the_service(mail: Mail) -> None:
    rig = mail(rows=60, days=89)

    rig.trace_until_caught_up(settings={"M365_MESSAGE_TRACE_BACKFILL_DAYS": "90"})

    # No window was wider than ten days, and none began more than 90 days ago.
    assert not rig.tenant.trace.books.refused()
    assert len(rig.arrived()) >= 55
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_after_a_hundred_days_without_a_run_what_nobody_can_read_any_more_is_a_gap(
    mail: Mail,
) -> None:
    rig = mail()
    rig.tenant.trace.offer(received=rig.ago(minutes=30))
    rig.trace_until_caught_up()
    rig.pass_time(days=100)
    (row,) = rig.tenant.trace.offer(received=rig.ago(days=80))

    done = rig.trace_until_caught_up()

    assert rig.statuses(row.trace_id)
    assert done[0].gap_seconds == pytest.approx(10 * DAY.total_seconds(), abs=2 * 3600)
    missing = [day for day, each in rig.days().items() if each["gap_seconds"]]
    assert len(missing) in (10, 11, 12)
    assert not any(rig.days()[day]["complete"] for day in missing)
    # The questions for the time, by a clock that was a hundred days behind.
    assert rig.tenant.trace.books.refused() == {"age": LEAP_ANSWERS}


def test_an_outage_of_two_days_is_made_up_for_without_keeping_the_newest_rows_waiting(
    mail: Mail,
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    rig.pass_time(days=2)
    missed = [rig.tenant.trace.offer(received=rig.ago(hours=n)) for n in range(2, 40, 7)]
    (new,) = rig.tenant.trace.offer(received=rig.ago(minutes=10))
    # The answers for the time, which leapt, and one for what is new; the next never comes.
    after = LEAP_ANSWERS + 1
    rig.tenant.faults.add(
        Fault(on="trace", action="status", code="internal", after=after, times=-1)
    )

    summary = rig.trace()

    assert rig.statuses(new.trace_id)
    assert not summary.caught_up
    rig.tenant.faults.clear()
    rig.trace_until_caught_up()
    assert all(rig.statuses(row.trace_id) for (row,) in missed)
    rig.assert_trace_complete()


def test_a_service_principal_that_is_missing_for_an_hour_is_named_and_costs_nothing(
    mail: Mail,
) -> None:
    rig = mail(rows=200, days=0.5, service_principal_after_s=3600.0)

    summary = rig.trace()

    assert summary.status == "failed"
    assert "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373" in summary.error
    assert not rig.arrived()
    rig.pass_time(hours=1, minutes=1)
    rig.trace_until_caught_up()
    rig.assert_trace_complete()


def test_two_workers_at_once_deliver_each_row_once(mail: Mail) -> None:
    rig = mail(rows=600, days=0.5, max_page=100)
    first, second = (rig.app(FAST, **MANY) for _ in range(2))

    with ThreadPoolExecutor(2) as pool:
        found = [
            each for runs in pool.map(lambda app: app.run(SOURCE), (first, second)) for each in runs
        ]
    for app in (first, second):
        app.close()

    assert sorted(each.status for each in found) == ["skipped", "succeeded"]
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_first_run_reads_what_is_new_before_the_past_and_within_its_budget(mail: Mail) -> None:
    rig = mail(rows=600, days=1.0, max_page=20)
    (new,) = rig.tenant.trace.offer(received=rig.ago(minutes=10))
    budget = {"M365_MESSAGE_TRACE_REQUESTS": "40"}

    summary = rig.trace(settings=budget)

    assert rig.statuses(new.trace_id)
    # The past yields before the budget is used up, and waits for the next runs.
    assert not summary.caught_up
    assert rig.checkpoint(SOURCE).rows.backfill
    assert rig.tenant.trace.books.max_requests_in_5_minutes <= 40
    for _ in range(12):
        rig.pass_time(minutes=6)
        rig.free_budget()
        if rig.trace(settings=budget).caught_up:
            break
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0
    assert rig.tenant.trace.books.max_requests_in_5_minutes <= 40


@pytest.mark.parametrize("cloud", ["gcc-high", "dod"])
def test_a_cloud_without_message_trace_says_so_and_leaves_the_others_alone(
    mail: Mail, cloud: str
) -> None:
    rig = mail(graph=False)
    rig.offer()

    trace, audit = rig.trace(), rig.run()

    assert (trace.status, trace.error_code) == ("failed", "trace-not-in-cloud")
    assert audit.status == "succeeded"
    rig.assert_complete("Audit.Exchange")


def test_the_older_service_gives_the_same_rows(mail: Mail) -> None:
    rig = mail(rows=300, days=0.9, changing=0.2, odd=0.2, reporting_page=50)
    settings = {"M365_MESSAGE_TRACE_API": "reporting"}

    rig.trace_until_caught_up(settings=settings)
    last = rig.tenant.now()
    rig.trace(settings=settings)

    watermark = rig.checkpoint(SOURCE).watermark
    standing = rig.tenant.trace.books.standing(None, watermark, since=last)
    expected = {(each.id, status_name(each.status)) for each in standing}
    assert {(row["MessageTraceId"], row["Status"]) for row in rig.bodies()} >= expected
    assert rig.trace_repeats() == 0


def test_an_older_service_that_is_retired_says_what_to_set_instead(mail: Mail) -> None:
    rig = mail(reporting_retired=403)
    settings = {"M365_MESSAGE_TRACE_API": "reporting"}

    summary = rig.trace(settings=settings)

    assert summary.status == "failed"
    assert "M365_MESSAGE_TRACE_API" in summary.error
