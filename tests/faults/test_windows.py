"""Windows that the service refuses, clocks that differ, chains of pages that break: nothing is passed over."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from local.tenant import Fault
from shared.times import whole_second
from tests.harness import EXCHANGE, Rig, record

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST = 166.0
"""Hours: contents of this age stand in the first window that a first run lists."""


def refusals(rig: Rig) -> list[str | None]:
    """The codes with which listings were refused."""
    return [note.code for note in rig.tenant.books.requests("list") if note.code]


def widest(rig: Rig) -> timedelta:
    """The widest window that was asked for."""
    asked = [parse_qs(urlsplit(note.path).query) for note in rig.tenant.books.requests("list")]
    return max(
        datetime.fromisoformat(query["endTime"][0]) - datetime.fromisoformat(query["startTime"][0])
        for query in asked
    )


@pytest.mark.parametrize(
    "ahead",
    [
        pytest.param(timedelta(hours=3), id="fast"),
        pytest.param(-timedelta(days=2), id="slow"),
    ],
)
def test_a_machine_whose_clock_is_wrong_asks_by_the_services_time(
    make_rig: Callable[..., Rig], ahead: timedelta
) -> None:
    rig = make_rig(reject_future=True, subscribed=(EXCHANGE,))
    # Seen from the service, it is the collector's clock that is off.
    rig.tenant.advance(-ahead)
    for hours in (0.01, 1, 100, OLDEST):
        rig.offer(hours_ago=hours, records=[record()])

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.gap_seconds) == ("succeeded", 4, 0)
    assert refusals(rig) == []
    rig.assert_complete()
    rig.offer(hours_ago=0.001, records=[record()])
    rig.tenant.advance(timedelta(minutes=10))
    assert rig.run().delivered == 1
    assert refusals(rig) == []
    rig.assert_complete()


def test_a_service_that_does_not_say_its_time_corrects_a_fast_clock_by_its_refusals(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(reject_future=True)
    rig.tenant.advance(-timedelta(hours=3))
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(
            on="subscriptions",
            action="status",
            status=200,
            body="[]",
            headers={"Date": ""},
            times=-1,
        ),
        Fault(on="start", action="status", code="AF20024", headers={"Date": ""}, times=-1),
    )
    rig.tenant.subscriptions.set("Audit.Exchange", "enabled")

    summaries = rig.run_until(lambda summary: summary.caught_up, most=3)

    assert all(summary.error_code in ("", "AF20055") for summary in summaries)
    assert all(summary.gap_seconds == 0 for summary in summaries)
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize("code", ["AF20055", "AF20030"])
def test_a_window_that_is_refused_once_is_listed_after_all(rig: Rig, code: str) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(3, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="status", code=code, times=1))

    summary = rig.run()

    assert (summary.status, summary.delivered) == ("succeeded", 3)
    assert summary.gap_seconds < 60, "only what may have left the horizon between the two requests"
    rig.assert_complete()


def test_windows_that_are_refused_for_ever_are_not_passed_and_no_gap_is_made_up(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(3)
    rig.tenant.faults.add(Fault(on="list", action="status", code="AF20055", times=-1))

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "AF20055")
    assert re.match(r"window 20\S+Z to 20\S+Z: localhost: Microsoft refused", summary.error)
    assert (rig.checkpoint().watermark, summary.gap_seconds) == (None, 0)
    rig.tenant.faults.clear()
    assert rig.run().caught_up
    rig.assert_complete()


def test_what_leaves_the_horizon_while_it_is_listed_becomes_a_gap_record(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.run()
    # The watermark lies a minute inside the horizon when the run begins, and three outside when it lists.
    rig.tenant.advance(timedelta(days=7, minutes=-6))
    kept = rig.offer_many(3, hours_ago=100)
    rig.tenant.faults.add(Fault(on="list", action="status", code="AF20055", times=1))
    pick = rig.tenant.faults.pick

    def pick_late(kind: str, source: str | None, content_id: str | None) -> Fault | None:
        fault = pick(kind, source, content_id)
        if fault is not None:
            rig.tenant.advance(timedelta(minutes=4))
        return fault

    monkeypatch.setattr(rig.tenant.faults, "pick", pick_late)
    summary = rig.run()

    assert (summary.status, summary.delivered) == ("succeeded", len(kept))
    assert abs(summary.gap_seconds - 180) < 60
    assert sum(row["gap_seconds"] for row in rig.day_rows()) == summary.gap_seconds
    assert not any(row["complete"] for row in rig.day_rows() if row["gap_seconds"])
    rig.assert_complete()


def test_a_service_that_refuses_windows_of_exactly_a_day_is_never_asked_for_one(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(reject_full_day=True, subscribed=(EXCHANGE,))
    for outage in (timedelta(0), timedelta(hours=24), timedelta(days=6)):
        rig.tenant.advance(outage)
        rig.offer_many(2, hours_ago=0.5)
        assert rig.run().caught_up

    assert refusals(rig) == []
    assert widest(rig) <= timedelta(hours=23)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_page_token_that_is_refused_in_mid_chain_has_its_window_listed_again(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3)
    rig.offer_many(11, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="status", code="AF20031", after=2, times=1))

    summary = rig.run()

    assert (summary.status, summary.listed, summary.delivered) == ("succeeded", 11, 11)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_page_tokens_that_are_refused_for_ever_keep_back_only_the_second_that_needs_them(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3)
    contents = rig.offer_many(11, records=1, hours_ago=OLDEST)
    crowded = [rig.offer(created=contents[5].created, records=[record()]) for _ in range(3)]
    newest = rig.offer_many(2, records=1)
    rig.tenant.faults.add(Fault(on="list", action="refuse_page_token", times=-1))

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "AF20031")
    # A page of that second is listed, the rest of it needs a token.
    assert summary.delivered == len(contents) + len(crowded) + len(newest) - 1
    second = whole_second(contents[5].created)
    assert rig.checkpoint().unlisted == ((second, second + timedelta(seconds=1)),)
    rig.assert_nothing_claimed_early()

    rig.tenant.faults.clear()
    assert rig.run().caught_up
    assert rig.checkpoint().unlisted == ()
    rig.assert_complete()
    assert rig.repeats() == 0
