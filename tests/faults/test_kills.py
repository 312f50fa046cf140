"""SIGKILL at the worst moments: nothing is lost, and repeats are bounded by what was in flight."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from local.tenant import Fault
from shared.state.ledger import State
from tests.campaign import contents_at_hub, free_lease, kill, kill_again_and_again
from tests.harness import EXCHANGE, Rig
from tests.waits import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS = 20
CONTENTS = 120
IN_FLIGHT = 4


def test_killed_after_the_acknowledgement_and_before_the_ledger_repeats_just_that(
    rig: Rig,
) -> None:
    rig.offer_many(8, records=2)
    # Lines that settle contents are gathered for longer than this process lives.
    worker = rig.spawn(tuning={"flush_every": 600, "max_unsettled": 5})
    wait_for(lambda: len(contents_at_hub(rig)) >= 5)
    kill(worker)

    assert not rig.delivered()
    assert len(rig.ledger()) == 8
    # No more than may be on the way between fetch and ledger had been begun.
    assert len(rig.events()) == 5 * 2

    free_lease(rig)
    summary = rig.run()

    assert (summary.status, summary.delivered, summary.pending) == ("succeeded", 8, 0)
    rig.assert_complete()
    assert rig.repeats() == 5 * 2


def test_the_attempts_of_a_killed_run_count(rig: Rig) -> None:
    bad, slow = (content.content_id for content in rig.offer_many(6)[2:4])
    rig.tenant.faults.add(
        Fault(on="content", action="status", code="AF20050", content_id=bad, times=-1),
        Fault(on="content", action="hang", delay_s=30, content_id=slow, times=1),
    )
    worker = rig.spawn()
    wait_for(lambda: len(rig.delivered()) == 4 and rig.ledger()[bad].state != State.LISTED)
    kill(worker)

    entry = rig.ledger()[bad]
    assert (entry.state, entry.reason, len(entry.attempts)) == (State.ATTEMPT, "AF20050", 1)
    free_lease(rig)
    rig.run()
    # Ten minutes are not over, so it was not asked for again.
    assert rig.ledger()[bad] == entry


def test_killed_after_listed_and_before_fetching_still_delivers_what_is_never_listed_again(
    rig: Rig,
) -> None:
    content = rig.offer(hidden_after_listings=1)
    rig.tenant.faults.add(Fault(on="content", action="hang", delay_s=30, times=1))
    worker = rig.spawn()
    wait_for(lambda: content.content_id in rig.ledger())
    kill(worker)

    assert rig.ledger()[content.content_id].state == State.LISTED
    assert not rig.events()
    assert rig.tenant.books.listed(content.content_id) == 1

    free_lease(rig)
    summary = rig.run()

    assert (summary.status, summary.listed, summary.delivered) == ("succeeded", 0, 1)
    assert rig.tenant.books.listed(content.content_id) == 1
    rig.assert_complete()


def test_a_run_that_was_killed_stays_open_in_the_table_of_runs(rig: Rig) -> None:
    rig.offer()
    rig.tenant.faults.add(Fault(on="content", action="hang", delay_s=30, times=1))
    worker = rig.spawn()
    wait_for(lambda: rig.tenant.books.requests("list") and rig.ledger())
    kill(worker)

    (row,) = rig.run_rows()

    assert (row["status"], row["ended"]) == ("running", "")


def test_twenty_kills_at_random_moments_lose_nothing_and_repeat_only_what_was_in_flight(
    rig: Rig,
) -> None:
    rig.offer_many(CONTENTS, records=3, hours_ago=160)

    outcome = kill_again_and_again(rig, kills=KILLS, seed=7, in_flight=IN_FLIGHT)

    assert outcome.kills == KILLS, outcome
    # Most of them hit a worker in the middle of its work.
    assert outcome.busy >= KILLS // 2
    rig.assert_complete()
    assert rig.repeats() <= KILLS * IN_FLIGHT * 3


def kill_while_it_lists(rig: Rig, *, after: int = 0) -> None:
    """Start a run and kill it in its first listing, or after so many."""
    known = len(rig.tenant.books.requests("list")) + after
    rig.tenant.faults.add(Fault(on="list", action="hang", delay_s=60, after=after, times=-1))
    worker = rig.spawn()
    wait_for(lambda: len(rig.tenant.books.requests("list")) > known)
    kill(worker)
    rig.tenant.faults.clear()
    free_lease(rig)


def test_killed_in_its_first_listing_it_still_takes_disabled_for_an_administrators_word(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(subscribed=(EXCHANGE,))
    rig.offer()
    kill_while_it_lists(rig)
    rig.tenant.advance(timedelta(minutes=20))
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")

    summary = rig.run()

    assert summary.error_code == "subscription-disabled"
    assert rig.tenant.books.requests("start") == []
    assert sum(row["gap_seconds"] for row in rig.day_rows()) >= 20 * 60


def test_killed_after_it_found_it_on_again_the_gap_ends_where_it_was_found(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(subscribed=(EXCHANGE,))
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")
    rig.tenant.advance(timedelta(minutes=30))
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    # The second that it asks for first says that it is on again.
    kill_while_it_lists(rig, after=1)
    rig.tenant.advance(timedelta(hours=3))

    rig.run()

    assert 30 * 60 <= sum(row["gap_seconds"] for row in rig.day_rows()) < 60 * 60
