"""Subscriptions: started when missing, never touched when on, reported when an administrator turned them off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from local.tenant import Fault
from tests.harness import EXCHANGE, Rig


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
    assert abs(on.gap_seconds - timedelta(hours=5).total_seconds()) < 60
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
