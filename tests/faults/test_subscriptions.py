"""Subscriptions: started when missing, never touched when on, reported when an administrator turned them off."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.state.account import read_blob
from tests.harness import EXCHANGE, Rig, record

if TYPE_CHECKING:
    from collections.abc import Callable


def gap_seconds(rig: Rig) -> int:
    """What the table of days says was never listed."""
    return sum(row["gap_seconds"] for row in rig.day_rows())


def change_note(rig: Rig, **times: datetime | None) -> None:
    """Change what the stored checkpoint remembers of the subscription."""
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    assert stored is not None
    found = json.loads(stored.data)
    for name, value in times.items():
        found["subscription"][name] = value and value.isoformat()
    rig.storage.state.upload_blob(rig.checkpoint_name(), json.dumps(found), overwrite=True)


def test_a_missing_subscription_is_started_once_and_what_exists_is_delivered(rig: Rig) -> None:
    rig.offer_many(2)

    rig.run()
    rig.run()

    assert len(rig.tenant.books.starts(EXCHANGE)) == 1
    rig.assert_complete()


def test_an_enabled_subscription_is_never_started(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(subscribed=(EXCHANGE,))
    rig.offer_many(2)

    rig.run()

    assert rig.tenant.books.requests("start") == []
    rig.assert_complete()


@pytest.mark.parametrize("state", ["enabled", "disabled", "expired"])
def test_somebody_elses_webhook_is_left_alone_whatever_its_state(rig: Rig, state: str) -> None:
    rig.offer_many(2)
    hook = {"address": "https://siem.example/hook", "authId": "theirs", "expiration": None}
    rig.tenant.subscriptions.start(EXCHANGE, hook, rig.tenant.now())
    shown = [{**each, "webhook": {**hook, "status": state}} for each in listed(rig)]
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body=json.dumps(shown), times=-1)
    )

    for _ in range(2):
        assert rig.run().status == "succeeded"
        rig.tenant.advance(timedelta(minutes=20))

    assert rig.tenant.books.requests("start", "stop") == []
    assert listed(rig)[0]["webhook"]["address"] == hook["address"]
    rig.assert_complete()


def listed(rig: Rig) -> list[dict[str, Any]]:
    """The tenant's subscriptions."""
    return rig.tenant.subscriptions.listed()


def test_an_answer_that_it_is_already_on_is_a_success(rig: Rig) -> None:
    rig.offer_many(2)
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body="[]", times=1),
        Fault(on="start", action="status", code="AF20024", times=1),
    )

    summary = rig.run()

    assert summary.status == "succeeded"
    rig.assert_complete()


def test_a_start_is_not_repeated_within_fifteen_minutes_across_restarts(rig: Rig) -> None:
    rig.offer_many(1)
    rig.tenant.faults.add(Fault(on="start", action="status", status=503, times=-1))
    assert rig.run(tries=1).status == "failed"
    asked = len(rig.tenant.books.requests("start"))

    second = rig.run()
    assert second.error_code == "subscription-pending"
    assert len(rig.tenant.books.requests("start")) == asked

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=16))
    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_start_that_comes_too_soon_after_somebody_elses_is_made_once_more_later(rig: Rig) -> None:
    rig.offer_many(1)
    rig.tenant.subscriptions.start(EXCHANGE, None, rig.tenant.now())
    rig.tenant.subscriptions.stop(EXCHANGE, rig.tenant.now())

    first, second = rig.run(), rig.run()

    assert (first.status, first.error_code) == ("incomplete", "AF429")
    assert (second.status, second.error_code) == ("incomplete", "subscription-pending")
    assert len(rig.tenant.books.starts(EXCHANGE)) == 1

    rig.tenant.advance(timedelta(minutes=16))
    assert rig.run().status == "succeeded"
    assert len(rig.tenant.books.starts(EXCHANGE)) == 2
    content = rig.offer(hours_ago=0)
    rig.tenant.advance(timedelta(seconds=2))
    rig.run()
    assert content.content_id in rig.delivered()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(None, "AF20022", id="missing"),
        pytest.param("disabled", "AF20023", id="disabled"),
    ],
)
def test_a_subscription_that_goes_while_it_is_listed_ends_the_run_and_loses_nothing(
    rig: Rig, status: str | None, code: str
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.run()
    rig.offer_many(3)
    before = rig.checkpoint().watermark
    seen = json.dumps(listed(rig))
    rig.tenant.faults.add(Fault(on="subscriptions", action="status", status=200, body=seen))
    rig.tenant.subscriptions.set(EXCHANGE, status)

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", code)
    assert rig.checkpoint().watermark == before
    if status:
        assert rig.run().error_code == "subscription-disabled"
        assert rig.tenant.books.starts(EXCHANGE) == []
        rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    assert rig.run().caught_up
    assert len(rig.tenant.books.starts(EXCHANGE)) == (0 if status else 1)
    rig.assert_complete()


def test_a_subscription_that_an_administrator_disabled_is_reported_and_not_undone(
    rig: Rig,
) -> None:
    rig.offer_many(1)
    rig.run()
    starts = len(rig.tenant.books.requests("start"))
    rig.tenant.advance(timedelta(hours=3))
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")

    off = rig.run()

    assert (off.status, off.error_code) == ("failed", "subscription-disabled")
    assert "start it again" in off.error
    assert len(rig.tenant.books.requests("start")) == starts

    rig.tenant.advance(timedelta(hours=2))
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    on = rig.run()
    # From when it was last seen on: nobody can say when within that time it was turned off.
    assert abs(off.gap_seconds - timedelta(hours=3).total_seconds()) < 60
    assert abs(on.gap_seconds - timedelta(hours=2).total_seconds()) < 60
    assert abs(gap_seconds(rig) - timedelta(hours=5).total_seconds()) < 60
    assert rig.run().gap_seconds == 0


def test_what_was_listed_before_is_fetched_although_the_subscription_is_off(rig: Rig) -> None:
    content = rig.offer()
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=content.content_id, status=503, times=-1)
    )
    assert rig.run().pending == 1
    rig.tenant.faults.clear()
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    rig.tenant.advance(timedelta(minutes=30))

    rig.run()

    rig.assert_complete()


def test_a_start_whose_answer_is_lost_hides_no_gap(rig: Rig) -> None:
    rig.offer_many(1)
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, None)
    rig.tenant.advance(timedelta(hours=10))
    rig.tenant.faults.add(Fault(on="start", action="reset", times=1))
    rig.run(tries=1)
    assert gap_seconds(rig) == 0

    # The start was carried out all the same.
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.tenant.advance(timedelta(minutes=10))
    summary = rig.run()

    expected = timedelta(hours=10, minutes=10).total_seconds()
    assert abs(summary.gap_seconds - expected) < 60
    assert gap_seconds(rig) == summary.gap_seconds
    assert rig.run().gap_seconds == 0


def test_a_gap_outlives_the_checkpoint_of_a_feed_whose_subscription_is_off(rig: Rig) -> None:
    rig.offer_many(1)
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    for _ in range(2):
        rig.tenant.advance(timedelta(hours=5))
        assert "delete this feed's checkpoint" in rig.run().error

    rig.storage.state.delete_blob(rig.checkpoint_name())
    summary = rig.run()

    assert summary.status == "succeeded"
    assert abs(gap_seconds(rig) - timedelta(hours=10).total_seconds()) < 60
    assert all(not row["complete"] for row in rig.day_rows() if row["gap_seconds"])
    assert rig.repeats() == 0


def test_a_subscription_that_stays_off_is_one_gap_that_each_run_extends(rig: Rig) -> None:
    rig.run()
    off = rig.checkpoint().subscription.enabled
    assert off is not None
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")

    counted = 0
    for _ in range(6):
        rig.tenant.advance(timedelta(hours=13))
        counted += rig.run().gap_seconds

    assert abs(counted - timedelta(hours=78).total_seconds()) < 60
    assert gap_seconds(rig) == counted
    days: set[date] = {off.date() + timedelta(days=n) for n in range(5)}
    written = [rig.ledger_day(day) for day in sorted(days) if day <= rig.tenant.now().date()]
    assert [len(day.gaps) for day in written] == [1] * len(written)


def test_a_start_dated_in_the_future_does_not_keep_the_subscription_off(rig: Rig) -> None:
    rig.offer_many(1)
    rig.tenant.faults.add(Fault(on="start", action="status", status=503, times=1))
    rig.run(tries=1)
    change_note(rig, attempt=rig.tenant.now() + timedelta(days=3))

    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_date_in_the_future_makes_no_gap_that_is_none_and_hides_none_that_is(rig: Rig) -> None:
    rig.run()
    ahead = rig.tenant.now() + timedelta(days=3)
    change_note(rig, enabled=ahead, disabled=ahead)
    assert rig.run().gap_seconds < 60

    change_note(rig, enabled=ahead)
    rig.tenant.advance(timedelta(hours=4))
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    summary = rig.run()

    assert summary.error_code == "subscription-disabled"
    assert abs(summary.gap_seconds - timedelta(hours=4).total_seconds()) < 60


def test_a_date_long_ago_makes_a_gap_of_thirty_days_at_most(rig: Rig) -> None:
    rig.run()
    change_note(rig, disabled=datetime(2001, 1, 1, tzinfo=UTC))

    assert rig.run().gap_seconds == timedelta(days=30).total_seconds()


HOOK = {"address": "https://siem.example/hook", "authId": "theirs", "expiration": None}


@pytest.mark.parametrize("shown", ["audit.exchange", "AUDIT.EXCHANGE", "Audit.exchange "])
def test_a_name_in_another_letter_case_starts_nothing_and_removes_no_webhook(
    rig: Rig, shown: str
) -> None:
    rig.offer_many(2)
    rig.tenant.subscriptions.start(EXCHANGE, HOOK, rig.tenant.now() - timedelta(hours=3))
    for _ in range(3):
        body = json.dumps([{**each, "contentType": shown} for each in listed(rig)])
        rig.tenant.faults.clear()
        rig.tenant.faults.add(
            Fault(on="subscriptions", action="status", status=200, body=body, times=-1)
        )
        assert rig.run().status == "succeeded"
        rig.tenant.advance(timedelta(minutes=20))

    assert rig.tenant.books.requests("start") == []
    assert listed(rig)[0]["webhook"]["address"] == HOOK["address"]
    assert gap_seconds(rig) == 0
    rig.assert_complete()


@pytest.mark.parametrize("shown", ["audit.exchange", "Audit.Exchange"])
def test_what_an_administrator_disabled_is_left_alone_however_it_is_spelled(
    rig: Rig, shown: str
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    rig.tenant.advance(timedelta(minutes=20))
    body = json.dumps([{**each, "contentType": shown} for each in listed(rig)])
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body=body, times=-1)
    )

    assert rig.run().error_code == "subscription-disabled"
    assert rig.tenant.books.requests("start") == []


@pytest.mark.parametrize("hook", [None, HOOK], ids=["no-webhook", "a-webhook"])
def test_a_wrong_empty_list_of_subscriptions_starts_nothing_and_makes_no_gap(
    rig: Rig, hook: dict[str, Any] | None
) -> None:
    rig.tenant.subscriptions.start(EXCHANGE, hook, rig.tenant.now() - timedelta(hours=3))
    rig.run()
    rig.tenant.advance(timedelta(hours=24))
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body="[]", times=2)
    )

    summary = rig.run()

    assert (summary.status, summary.gap_seconds) == ("succeeded", 0)
    assert rig.tenant.books.requests("start") == []
    assert gap_seconds(rig) == 0
    rig.assert_complete()


@pytest.mark.parametrize("code", ["AF20022", "AF20023"])
def test_one_wrong_answer_of_the_listing_starts_nothing(rig: Rig, code: str) -> None:
    rig.tenant.subscriptions.start(EXCHANGE, HOOK, rig.tenant.now() - timedelta(hours=3))
    rig.offer_many(2)
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body="[]", times=1),
        Fault(on="list", action="status", code=code, times=1),
    )

    assert rig.run().status == "succeeded"
    assert rig.tenant.books.requests("start") == []
    rig.assert_complete()


def test_a_start_that_is_answered_with_already_on_makes_no_gap(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.run()
    rig.tenant.advance(timedelta(hours=2))
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=200, body="[]", times=2),
        Fault(on="list", action="status", code="AF20022", times=2),
        Fault(on="start", action="status", code="AF20024", times=1),
    )

    rig.run()
    rig.run()

    assert gap_seconds(rig) == 0


def test_a_disabled_one_that_nobody_saw_on_is_started_once(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    rig.offer_many(1)

    assert rig.run().status == "succeeded"
    assert len(rig.tenant.books.starts(EXCHANGE)) == 1

    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    rig.tenant.advance(timedelta(minutes=30))
    assert rig.run().error_code == "subscription-disabled"
    assert len(rig.tenant.books.starts(EXCHANGE)) == 1


OFF = b'{"error":{"message":"Microsoft.Office.Compliance.Audit.DataServiceException: Tenant x does not exist."}}'


@pytest.mark.parametrize("on", ["subscriptions", "list"])
def test_auditing_that_was_off_is_a_flaw_of_its_days_and_not_of_others(rig: Rig, on: str) -> None:
    noon = datetime.combine(rig.tenant.now().date() + timedelta(days=1), datetime.min.time(), UTC)
    rig.tenant.advance(noon + timedelta(hours=12) - rig.tenant.now())
    rig.has_collected()
    rig.run()
    last_good = rig.tenant.now()
    rig.tenant.faults.add(Fault(on=on, action="status", status=400, body=OFF.decode(), times=-1))
    for _ in range(3):
        rig.tenant.advance(timedelta(hours=1))
        assert rig.run().error_code == "auditing-off"
    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(hours=1))
    rig.run()
    good_again = rig.tenant.now()
    for _ in range(17):
        rig.tenant.advance(timedelta(hours=12))
        rig.run()

    ((kind, start, end),) = rig.reasons(last_good.date())
    assert kind == "auditing-off"
    assert abs(start - last_good) < timedelta(minutes=1)
    assert abs(end - good_again) < timedelta(minutes=1)
    assert rig.states()[last_good.date() + timedelta(days=1)] == "final"
    assert not any(row["complete"] for row in rig.day_rows() if row["state"] != "final")


def test_the_record_of_the_switch_of_auditing_is_a_flaw_of_every_feed_of_the_tenant(
    rig: Rig,
) -> None:
    noon = datetime.combine(rig.tenant.now().date() + timedelta(days=1), datetime.min.time(), UTC)
    rig.tenant.advance(noon + timedelta(hours=12) - rig.tenant.now())
    general = "Audit.General"
    # A minute ago: the collector's clock learns of each jump of the tenant's in the course of a run.
    off = rig.tenant.now().replace(microsecond=0) - timedelta(minutes=1)

    def switch(at: datetime, value: str) -> bytes:
        return json.dumps(
            {
                "Id": f"switch-{value}",
                "CreationTime": at.isoformat()[:19],
                "Operation": "Set-AdminAuditLogConfig",
                "Parameters": [{"Name": "UnifiedAuditLogIngestionEnabled", "Value": value}],
            }
        ).encode()

    for source in (EXCHANGE, general):
        rig.has_collected(source)
        rig.run(source)
    rig.offer(hours_ago=0.1, records=[record(), switch(off, "False")])
    rig.tenant.advance(timedelta(minutes=30))
    for source in (EXCHANGE, general):
        rig.run(source)
    assert rig.states(general)[off.date()] == "flawed"
    rig.tenant.advance(timedelta(hours=2))
    on = rig.tenant.now().replace(microsecond=0) - timedelta(minutes=1)
    rig.offer(hours_ago=0.1, records=[switch(on, "True")])
    for _ in range(2):
        for source in (EXCHANGE, general):
            rig.run(source)
        rig.tenant.advance(timedelta(minutes=10))

    for source in (EXCHANGE, general):
        assert rig.reasons(off.date(), source) == [("auditing-off", off, on)]
    rig.assert_complete()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param({"status": 401, "body": "{}"}, "http-401", id="401"),
        pytest.param({"code": "AF10001"}, "AF10001", id="no-permission"),
    ],
)
def test_a_list_of_subscriptions_that_is_refused_keeps_back_nothing_and_is_named(
    rig: Rig, fault: dict[str, Any], code: str
) -> None:
    rig.has_collected(hours_ago=5)
    rig.offer_many(3)
    rig.tenant.subscriptions.start(EXCHANGE, HOOK, rig.tenant.now() - timedelta(hours=3))
    rig.tenant.faults.add(Fault(on="subscriptions", action="status", times=-1, **fault))

    for _ in range(2):
        summary = rig.run()
        assert (summary.status, summary.error_code) == ("failed", code)
        assert summary.caught_up
        rig.tenant.advance(timedelta(minutes=20))

    assert rig.tenant.books.requests("start") == []
    assert listed(rig)[0]["webhook"]["address"] == HOOK["address"]
    assert gap_seconds(rig) == 0
    rig.assert_complete()


def sees_its_first_day(rig: Rig) -> date:
    """Let a feed have listed from noon on; returns its day."""
    noon = rig.at_noon()
    rig.has_collected(hours_ago=13)
    rig.run()
    rig.tenant.advance(timedelta(hours=2))
    rig.offer_many(2)
    return noon


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"code": "AF20022"}, id="missing"),
        pytest.param({"code": "AF20023"}, id="disabled"),
        pytest.param({"status": 400, "body": OFF.decode()}, id="auditing-off"),
    ],
)
@pytest.mark.parametrize("on", ["subscriptions", "list", "content"])
def test_one_wrong_answer_records_nothing(rig: Rig, on: str, answer: dict[str, Any]) -> None:
    sees_its_first_day(rig)
    rig.tenant.faults.add(Fault(on=on, action="status", times=1, **answer))

    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()

    assert rig.tenant.faults.played() == {"status": 1}
    assert gap_seconds(rig) == 0
    assert rig.checkpoint().subscription.disabled is None
    assert rig.tenant.books.requests("start") == []
    rig.assert_complete()


@pytest.mark.parametrize(("answers", "recorded"), [(2, False), (3, True)])
def test_what_a_listing_says_is_on_record_from_the_last_good_one_where_it_is_said_again(
    rig: Rig, answers: int, recorded: bool
) -> None:
    """The window, the newest second, and the question after them."""
    day = sees_its_first_day(rig)
    seen = rig.checkpoint().subscription.enabled
    assert seen is not None
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=400, body=OFF.decode(), times=answers)
    )

    assert rig.run().error_code == "auditing-off"
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()

    assert [kind for kind, *_ in rig.reasons(day)] == ["auditing-off"] * recorded
    assert all(abs(start - seen) < timedelta(minutes=1) for _, start, _ in rig.reasons(day))
