"""Contents that are refused like the token, the permission or the pace: only where all are, the run ends by it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.state.ledger import State

if TYPE_CHECKING:
    from local.tenant import Content
    from tests.harness import Rig

refusals = pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "status", "status": 401}, id="unauthorised"),
        pytest.param({"action": "status", "code": "AF10001"}, id="no-permission"),
        pytest.param({"action": "throttle", "status": 429, "retry_after": 0}, id="throttled"),
    ],
)
REFUSED = {"action": "status", "code": "AF10001"}


def refuse(rig: Rig, contents: list[Content], fault: dict[str, Any]) -> None:
    """Refuse these contents for ever."""
    for each in contents:
        rig.tenant.faults.add(Fault(on="content", content_id=each.content_id, times=-1, **fault))


@refusals
@pytest.mark.parametrize("age", [pytest.param(152.0, id="urgent"), pytest.param(30.0, id="old")])
def test_a_few_contents_that_are_refused_for_ever_starve_no_others(
    rig: Rig, fault: dict[str, Any], age: float
) -> None:
    rig.has_collected(hours_ago=age + 1)
    refuse(rig, rig.offer_many(4, hours_ago=age), fault)
    good = []
    for _ in range(3):
        good += rig.offer_many(5, hours_ago=0.5, records=1)
        rig.run()
        rig.tenant.advance(timedelta(minutes=10))

    assert {each.content_id for each in good} <= rig.delivered()


def test_refusals_are_their_contents_own_where_what_was_delivered_is_answered(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.has_collected(hours_ago=5)
    rig.offer_many(2, hours_ago=3)
    assert rig.run().delivered == 2
    bad = rig.offer_many(4)
    refuse(rig, bad, REFUSED)

    with caplog.at_level(logging.WARNING, "m365.refusals"):
        summary = rig.run()

    assert (summary.status, summary.error_code) == ("incomplete", "contents-failed")
    said = " ".join(caplog.messages)
    assert sum(each.content_id in said for each in bad) >= 3
    tries = [rig.ledger()[each.content_id] for each in bad]
    assert sum(each.state == State.ATTEMPT for each in tries) >= 3
    assert rig.repeats() == 0
    # And each waits for its turn, as any that fails.
    asked = len(rig.tenant.books.requests("content"))
    rig.tenant.faults.clear()
    rig.run()
    assert len(rig.tenant.books.requests("content")) - asked <= 1
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    rig.assert_complete()


@pytest.mark.parametrize("number", [pytest.param(30, id="many"), pytest.param(4, id="few")])
@pytest.mark.parametrize("before", [pytest.param(8, id="witnesses"), pytest.param(0, id="none")])
@refusals
def test_a_refusal_of_all_ends_the_run_after_a_few_requests_and_counts_no_attempt(
    rig: Rig, number: int, before: int, fault: dict[str, Any]
) -> None:
    rig.has_collected(hours_ago=5)
    if before:
        rig.offer_many(before, hours_ago=3)
        assert rig.run().delivered == before
    asked = len(rig.tenant.books.requests("content"))
    rig.offer_many(number)
    rig.tenant.faults.add(Fault(on="content", times=-1, **fault))

    summary = rig.run()

    assert summary.error_code in ("http-401", "AF10001", "AF429")
    assert summary.delivered == 0
    # A throttled one is asked for six times, with one witness; the others with two tokens each.
    most = (3 + 3 + 1) * 6 if fault["action"] == "throttle" else (3 + 3 + 5) * 2
    assert len(rig.tenant.books.requests("content")) - asked <= most
    assert all(not entry.attempts for entry in rig.ledger().values())
    rig.tenant.faults.clear()
    assert rig.run().delivered == number
    assert rig.repeats() == 0
    rig.assert_complete()
