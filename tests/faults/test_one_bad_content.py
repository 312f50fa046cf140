"""One content, one answer or one window that is wrong stays one: the rest of the feed goes on."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import BlobLeaseClient

from local.eventhubs import SERVER_BUSY
from local.eventhubs import Fault as HubFault
from local.tenant import Fault
from shared.service.http import Limits
from shared.state.ledger import State
from tests.harness import EXCHANGE, FAST, Rig
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from shared.state.run_summary import RunSummary
    from tests.runclock import RunClock

pytestmark = pytest.mark.usefixtures("collected_before")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "status", "status": 401}, id="unauthorised"),
        pytest.param({"action": "status", "code": "AF10001"}, id="no-permission"),
        pytest.param({"action": "status", "code": "AF20020"}, id="unknown-type"),
        pytest.param({"action": "throttle", "status": 429, "retry_after": 0}, id="throttled"),
    ],
)
def test_a_content_that_is_refused_for_ever_does_not_hold_up_its_siblings(
    rig: Rig, fault: dict[str, object]
) -> None:
    contents = rig.offer_many(30)
    bad = contents[0].content_id
    rig.tenant.faults.add(Fault(on="content", content_id=bad, times=-1, **fault))  # type: ignore[arg-type]

    first = rig.run()

    assert (first.delivered, first.pending) == (29, 1)
    assert rig.ledger()[bad].state == State.ATTEMPT
    rig.offer_many(10, hours_ago=0.5)
    assert rig.run().delivered == 10

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_permission_that_is_gone_ends_the_run_and_counts_no_attempt(rig: Rig) -> None:
    rig.offer_many(30)
    rig.tenant.faults.add(Fault(on="content", action="status", code="AF10001", times=-1))

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "AF10001")
    # Three, what the other threads had asked for meanwhile, and five witnesses, each with two tokens.
    assert len(rig.tenant.books.requests("content")) <= (3 + 3 + 5) * 2
    assert all(not entry.attempts for entry in rig.ledger().values())
    rig.tenant.faults.clear()
    assert rig.run().status == "succeeded"
    rig.assert_complete()


@pytest.mark.parametrize("code", ["AF20050", "AF20051", "AF20052"])
def test_one_definite_answer_loses_nothing_and_only_a_day_of_them_does(rig: Rig, code: str) -> None:
    contents = rig.offer_many(3)
    bad = contents[1].content_id
    rig.tenant.faults.add(Fault(on="content", action="status", content_id=bad, code=code, times=1))
    assert rig.run().pending == 1
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().status == "succeeded"
    rig.assert_complete()

    gone = rig.offer(hours_ago=0.5)
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=gone.content_id, code=code, times=-1)
    )
    assert (rig.run().pending, rig.ledger()[gone.content_id].state) == (1, State.ATTEMPT)
    rig.tenant.advance(timedelta(hours=25))
    assert (rig.run().lost, rig.ledger()[gone.content_id].state) == (1, State.LOST)


def test_what_was_lost_and_is_listed_again_is_asked_for_again(rig: Rig) -> None:
    rig.at_noon()
    rig.run()
    gone = rig.offer(hours_ago=0.5)
    day = rig.tenant.now().date()
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=gone.content_id, code="AF20051", times=-1)
    )
    rig.run()
    rig.tenant.advance(timedelta(hours=25))
    rig.run()
    assert rig.ledger()[gone.content_id].state == State.LOST
    later = []
    for _ in range(8):
        rig.tenant.advance(timedelta(hours=1))
        later.append(rig.run())
    asked = [each for each in rig.tenant.books.requests("content") if gone.content_id in each.path]
    # And is not lost each time.
    assert 2 < len(asked) < 2 + 8
    assert not any(each.lost or each.pending for each in later)
    assert rig.states()[day] == "flawed"

    rig.tenant.faults.clear()
    while rig.ledger()[gone.content_id].state != State.DELIVERED:
        rig.tenant.advance(timedelta(hours=1))
        assert rig.tenant.now().date() < day + timedelta(days=5)
        rig.run()

    rig.assert_complete()
    assert rig.reasons(day) == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"code": "AF20050"}, id="of-the-service"),
        pytest.param({"status": 404, "body": "<html>no such page</html>"}, id="of-a-gateway"),
    ],
)
def test_one_definite_answer_loses_nothing_however_long_a_content_has_waited(
    rig: Rig, answer: dict[str, object]
) -> None:
    contents = rig.offer_many(5)
    rig.hubs.faults.add(HubFault(action="reject", condition=SERVER_BUSY, times=-1))
    assert rig.run(patience=replace(FAST.patience, no_acknowledgement=0.5)).delivered == 0
    rig.hubs.faults.clear()
    rig.tenant.advance(timedelta(hours=30))
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=contents[1].content_id, **answer)  # type: ignore[arg-type]
    )

    summary = rig.run()

    assert (summary.delivered, summary.pending, summary.lost) == (4, 1, 0)
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    rig.assert_complete()


def test_contents_that_are_all_gone_are_lost_after_a_day_and_pass_for_no_outage(rig: Rig) -> None:
    contents = rig.offer_many(3)
    rig.tenant.faults.add(Fault(on="content", action="status", code="AF20050", times=-1))

    assert rig.run().pending == 3
    rig.tenant.advance(timedelta(hours=25))
    assert rig.run().lost == 3

    assert {rig.ledger()[each.content_id].reason for each in contents} == {"not-found"}
    assert rig.events() == []


def test_where_more_fails_than_succeeds_nothing_has_to_wait_for_its_next_try(rig: Rig) -> None:
    contents = rig.offer_many(5)
    for content in contents[:3]:
        rig.tenant.faults.add(
            Fault(on="content", action="status", status=500, content_id=content.content_id)
        )

    assert (rig.run(tries=1).delivered, rig.run().delivered) == (2, 3)
    rig.assert_complete()


def test_contents_that_hang_for_longer_than_a_run_keep_the_others_waiting_for_no_more_than_chance(
    rig: Rig, run_clock: RunClock
) -> None:
    hanging = rig.offer_many(16, hours_ago=2)
    good = {content.content_id for content in rig.offer_many(4)}
    for each in hanging:
        rig.tenant.faults.add(
            Fault(on="content", action="hang", delay_s=30, content_id=each.content_id, times=-1)
        )
    limits = Limits(connect=20, read=1, total=20)
    tuning = replace(FAST, fetch_threads=2, tries=1, limits=limits)

    runs = 0
    with ThreadPoolExecutor(1) as pool:
        while not rig.delivered() & good:
            assert runs < 20
            runs += 1
            # Each run ends long before it has asked for all of them.
            enough = len(rig.tenant.books.requests("content")) + 5
            run = pool.submit(rig.run, tuning=tuning)
            wait_for(partial(_asked_or_done, rig, run, enough))
            run_clock.pass_deadline()
            run.result(LONG)

    assert rig.delivered() <= good
    assert all(entry.state != State.LOST for entry in rig.ledger().values())


def test_one_answer_with_a_wrong_date_makes_nothing_expire(rig: Rig) -> None:
    content = rig.offer()
    far = (datetime.now(UTC) + timedelta(days=9)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    rig.tenant.faults.add(
        Fault(
            on="content",
            action="status",
            content_id=content.content_id,
            status=500,
            headers={"Date": far},
            times=4,
        ),
        Fault(on="subscriptions", action="status", status=503, headers={"Date": far}, times=1),
    )

    first = rig.run()

    assert (first.lost, first.gap_seconds) == (0, 0)
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    rig.assert_complete()


@pytest.mark.first_run
def test_a_page_whose_next_link_is_foreign_is_still_good(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(4)
    rig.tenant.faults.add(
        Fault(on="list", action="foreign_next_page", host="evil.example", times=-1)
    )

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "foreign-url")
    assert rig.checkpoint().watermark is None
    rig.assert_complete()


def test_a_run_of_which_most_contents_fail_says_why_and_the_log_says_it_of_each(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    contents = rig.offer_many(4)
    other = contents[0].content_id
    rig.tenant.faults.add(
        Fault(on="content", action="status", code="AF20050", content_id=other, times=-1),
        Fault(on="content", action="status", code="AF50000", status=500, times=-1),
    )

    with caplog.at_level(logging.INFO, "m365.pipeline"):
        summary = rig.run(tries=1)

    assert (summary.status, summary.error_code) == ("incomplete", "contents-failed")
    assert summary.error.startswith("4 contents failed, mostly (3): localhost: Microsoft's service")
    assert "AF50000" in rig.run_rows()[0]["error"]
    for each in contents:
        said = [one for one in caplog.messages if f"content {each.content_id} failed: " in one]
        assert len(said) == 1
        assert ("AF20050" in said[0]) == (each.content_id == other)

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=11))
    assert (rig.run().error, rig.run().error_code) == ("", "")


@pytest.mark.parametrize(
    "room",
    [
        pytest.param({"max_unsettled": 2}, id="places"),
        pytest.param({"bytes_in_flight": 1}, id="memory"),
    ],
)
def test_contents_that_fail_leave_their_room_to_the_others(rig: Rig, room: dict[str, Any]) -> None:
    contents = rig.offer_many(12)
    for each in contents[:6]:
        # Room for the body is taken before it turns out to be damaged.
        fault = Fault(on="content", action="truncate_json", content_id=each.content_id, times=-1)
        rig.tenant.faults.add(fault)

    # Without room nothing is fetched until the run ends.
    summary = rig.run(tuning=replace(FAST, tries=1, run_seconds=20, **room))

    assert (summary.delivered, summary.pending) == (6, 6)
    assert {each.state for each in rig.ledger().values()} == {State.ATTEMPT, State.DELIVERED}


def test_a_corrected_address_is_used(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    contents = rig.offer_many(3)
    right = contents[0]
    wrong = json.dumps(
        [
            {
                "contentType": EXCHANGE,
                "contentId": right.content_id,
                "contentUri": f"{rig.server.endpoint}/api/v1.0/none",
                "contentCreated": right.created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            }
        ]
    )
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body=wrong, times=-1))
    assert rig.run().pending == 1
    assert rig.ledger()[right.content_id].reason == "http-404"

    rig.tenant.faults.clear()
    for _ in range(3):
        rig.tenant.advance(timedelta(minutes=45))
        rig.run()

    rig.assert_complete()


def test_windows_that_cannot_be_listed_do_not_keep_the_newest_waiting(rig: Rig) -> None:
    rig.run()
    rig.tenant.advance(timedelta(hours=30))
    rig.offer_many(3, hours_ago=1)
    rig.offer(hours_ago=28)
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, times=4))

    summary = rig.run(tries=1)

    # The newest are listed, and those that failed once more after them.
    assert (summary.status, summary.delivered, summary.caught_up) == ("succeeded", 4, True)
    assert rig.checkpoint().unlisted == ()
    rig.assert_complete()


@pytest.mark.parametrize("status", [500, 404])
def test_not_knowing_the_subscriptions_keeps_nothing_waiting(rig: Rig, status: int) -> None:
    rig.run()
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(on="subscriptions", action="status", status=status, body="<html>", times=-1)
    )

    summary = rig.run(tries=1)

    assert (summary.status, summary.error_code) == ("failed", f"http-{status}")
    rig.assert_complete()


def test_a_lease_that_somebody_holds_for_ever_is_reported(rig: Rig) -> None:
    rig.run()
    blob = rig.storage.state.get_blob_client(rig.checkpoint_name())
    stored = json.loads(blob.download_blob().readall())
    stored["updated"] = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    blob.upload_blob(json.dumps(stored), overwrite=True)
    lease = BlobLeaseClient(blob)
    lease.acquire(lease_duration=-1)

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "lease-stuck")
    lease.release()
    assert rig.run().status == "succeeded"


@pytest.mark.first_run
def test_an_entry_without_an_id_is_kept_before_it_is_known(rig: Rig) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(2)
    created = (rig.tenant.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    body = json.dumps([{"contentType": EXCHANGE, "contentCreated": created}])
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=200, body=body, after=40, times=1)
    )

    summary = rig.run()

    assert (summary.status, summary.dead_letters) == ("succeeded", 1)
    (kept,) = rig.dead_letters().values()
    assert json.loads(kept) == json.loads(body)[0]
    rig.run()
    rig.assert_complete()


def _asked_or_done(rig: Rig, run: Future[RunSummary], requests: int) -> bool:
    return run.done() or len(rig.tenant.books.requests("content")) >= requests
