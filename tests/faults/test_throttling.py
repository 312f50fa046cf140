"""Throttling: every form of it is waited out, by everybody, and costs nothing but time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import shared.service.budget
from local.tenant import Fault
from shared.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import Rig

pytestmark = pytest.mark.usefixtures("collected_before")

OLDEST = 166.0
KINDS = ("subscriptions", "list", "content")


@pytest.mark.parametrize(
    ("form", "pause"),
    [
        pytest.param({}, 0.09, id="403-in-single-quotes"),
        pytest.param({"retry_after": 1}, 1.0, id="403-with-seconds"),
        pytest.param({"status": 429}, 0.09, id="429-without-a-time"),
        pytest.param({"status": 429, "retry_after": 1}, 1.0, id="429-with-seconds"),
        # A date has whole seconds, so up to one of these two has passed already.
        pytest.param(
            {"status": 429, "retry_after": 2, "retry_after_date": True}, 0.9, id="429-with-a-date"
        ),
    ],
)
def test_a_throttled_request_is_made_again_after_the_pause_that_was_asked_for(
    rig: Rig, form: dict[str, Any], pause: float
) -> None:
    rig.tenant.subscriptions.set("Audit.Exchange", "enabled")
    rig.offer_many(3, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="throttle", **form))

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.throttled) == ("succeeded", 3, 1)
    notes = rig.tenant.books.requests("subscriptions", "list", "content")
    (at,) = [number for number, note in enumerate(notes) if note.fault]
    assert notes[at].code == "AF429"
    assert notes[at + 1].at - notes[at].at >= pause
    rig.assert_complete()
    assert rig.repeats() == 0


def test_each_kind_of_request_may_be_throttled_and_no_attempt_is_counted(rig: Rig) -> None:
    contents = rig.offer_many(12)
    rig.tenant.faults.add(*(Fault(on=kind, action="throttle", times=2) for kind in KINDS))

    summary = rig.run(throttle_backoff=0.05)

    assert (summary.status, summary.delivered, summary.throttled) == ("succeeded", 12, 6)
    ledger = rig.ledger()
    assert not any(ledger[content.content_id].attempts for content in contents)
    rig.assert_complete()


def test_a_pool_that_is_throttled_for_an_hour_is_left_alone_for_an_hour_and_costs_nothing(
    rig: Rig, make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = make_rig()
    neighbour.offer_many(2)
    rig.run()
    rig.offer_many(8)
    rig.tenant.faults.add(
        *(Fault(on=kind, action="throttle", retry_after=3600, times=-1) for kind in KINDS)
    )
    asked = len(rig.tenant.books.requests())

    summaries = [rig.run() for _ in range(3)]

    # One request learns of it; no later run, each a process of its own, asks at all.
    assert len(rig.tenant.books.requests("subscriptions", "list", "content")) <= asked + 1
    assert {(each.status, each.error_code) for each in summaries} <= {
        ("incomplete", "AF429"),
        ("incomplete", "budget"),
    }
    assert not any(each.caught_up for each in summaries)
    assert neighbour.run().caught_up, "another tenant has a pool of its own"

    def an_hour_later() -> datetime:
        return utc_now() + timedelta(seconds=3601)

    monkeypatch.setattr(shared.service.budget, "utc_now", an_hour_later)
    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(hours=1))
    after = rig.run()

    assert (after.status, after.delivered, after.gap_seconds) == ("succeeded", 8, 0)
    rig.assert_complete()
    neighbour.assert_complete()


def test_contents_that_are_throttled_to_the_end_of_a_run_are_delivered_by_the_next(
    rig: Rig,
) -> None:
    contents = rig.offer_many(12)
    rig.tenant.faults.add(Fault(on="content", action="throttle", times=-1))

    summary = rig.run(throttle_backoff=0.02)

    assert (summary.status, summary.error_code) == ("incomplete", "AF429")
    assert (summary.delivered, summary.pending) == (0, 12)
    ledger = rig.ledger()
    assert not any(ledger[content.content_id].attempts for content in contents)

    rig.tenant.faults.clear()
    # At once: nothing about the contents failed.
    assert rig.run().delivered == 12
    rig.assert_complete()
    assert rig.repeats() == 0
