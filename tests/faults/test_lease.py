"""Leases: lost while a send is in flight, fought over, and ignored by a worker that comes back late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import BlobLeaseClient

from local.eventhubs import Fault as HubFault
from local.tenant import Fault
from shared.publish.pace import Patience
from shared.state.account import read_blob
from shared.state.append_blobs import LedgerStore
from shared.state.checkpoint import Checkpoint, CheckpointStore
from shared.state.failures import Conflict
from shared.state.ledger import Line, State, encode
from tests.campaign import contents_at_hub, free_lease
from tests.harness import EXCHANGE, HUB, Rig
from tests.proxy import LEASE_RENEWAL, Proxy
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from local.azurite import Azurite

pytestmark = pytest.mark.usefixtures("collected_before")

PATIENT: dict[str, Any] = {
    "patience": Patience(watchdog=5 * LONG, no_acknowledgement=5 * LONG, linger=0.02),
    "send_timeout": 5 * LONG,
    "senders": 1,
    "lease_renewal": 0.3,
    "storage_silence": 2.0,
}
"""A send may hang for as long as the test holds its acknowledgement back."""

SLOW = 0.3
"""Seconds for one content, so that a backlog lasts until the lease is lost, on a busy machine too."""
IN_HAND = 4 + 1
"""Requests that may still come once the lease is lost: one of each fetching thread, and one that lists."""


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of the blob service; only the collector goes through it."""
    with Proxy(azurite.blob_endpoint) as running:
        yield running


@pytest.fixture
def through(azurite: Azurite, proxy: Proxy) -> dict[str, str]:
    """Settings that lead the collector through the proxy."""
    connection = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
    return {"M365_STORAGE_CONNECTION_STRING": connection}


def taken(rig: Rig) -> int:
    """How much work was taken up: requests for lists and contents."""
    return len(rig.tenant.books.requests("list", "content"))


def hold_a_send(rig: Rig, contents: int = 120) -> None:
    """Prepare a backlog that takes seconds, whose first batch is stored and not acknowledged."""
    rig.offer_many(contents, records=2)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=SLOW, times=-1))
    rig.hubs.faults.add(HubFault(action="hold", times=1))


@pytest.mark.parametrize("how", ["renewals-get-no-answer", "broken"])
def test_a_lease_lost_while_a_send_is_in_flight_ends_new_work_and_keeps_what_was_acknowledged(
    rig: Rig,
    proxy: Proxy,
    through: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    hold_a_send(rig)

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(rig.run, settings=through, **PATIENT)
        assert rig.hubs.wait_held(1, LONG)
        if how == "broken":
            free_lease(rig)
            proxy.lose_answer(LEASE_RENEWAL, times=1)
        else:
            proxy.refuse(LEASE_RENEWAL)
        wait_for(lambda: "no new work is taken" in caplog.text)
        before = taken(rig)
        assert not run.done()
        held = contents_at_hub(rig)
        rig.hubs.release_held()
        summary = run.result(LONG)

    assert taken(rig) <= before + IN_HAND
    assert len(rig.tenant.books.requests("content")) < 120
    assert held
    assert (summary.status, summary.error_code) == ("incomplete", "lease-lost")
    assert rig.run_rows()[0]["error_code"] == "lease-lost"
    rig.assert_nothing_claimed_early()
    assert rig.delivered() == contents_at_hub(rig) >= held

    free_lease(rig)
    rig.tenant.faults.clear()
    last = rig.run()

    assert (last.status, last.pending) == ("succeeded", 0)
    rig.assert_complete()
    assert rig.repeats() == 0


def settled_down(rig: Rig) -> bool:
    """Whether no work was taken up for half a second."""
    before = taken(rig)
    try:
        wait_for(lambda: taken(rig) > before, 0.5)
    except AssertionError:
        return True
    return False


def test_a_worker_that_comes_back_late_moves_nothing_back(rig: Rig) -> None:
    hold_a_send(rig, contents=12)

    with ThreadPoolExecutor(1) as pool:
        stale = pool.submit(rig.run, **PATIENT)
        assert rig.hubs.wait_held(1, LONG)
        free_lease(rig)
        wait_for(lambda: settled_down(rig))
        assert not stale.done()
        # Meanwhile another worker goes on, much later, and finishes everything.
        rig.tenant.faults.clear()
        other = rig.run()
        assert (other.status, other.pending) == ("succeeded", 0)
        checkpoint = read_blob(rig.storage.state, rig.checkpoint_name())
        ledger = rig.ledger()
        rig.hubs.release_held()
        late = stale.result(LONG)

    assert late.status in ("failed", "incomplete")
    assert late.error_code in ("lease-lost", "superseded")
    assert read_blob(rig.storage.state, rig.checkpoint_name()) == checkpoint
    assert {each: e.state for each, e in rig.ledger().items()} == {
        each: e.state for each, e in ledger.items()
    }
    arrived = rig.events()
    assert rig.run().delivered == 0
    assert rig.events() == arrived
    rig.assert_complete()
    assert sum(row["delivered"] for row in rig.day_rows()) == 12


@pytest.mark.parametrize(
    "state", [State.LISTED, State.ATTEMPT, State.LOST, State.DEAD_LETTERED, State.DELIVERED]
)
def test_a_late_line_about_a_delivered_content_changes_nothing(rig: Rig, state: State) -> None:
    content = rig.offer()
    rig.run()
    before = rig.ledger()[content.content_id]
    rows = [[row["listed"], row["delivered"], row["records"]] for row in rig.day_rows()]
    arrived = rig.events()

    late = Line(id=content.content_id, state=state.value, run="stale", reason="late", time=1)
    append(rig, content.created.date(), encode([late]))
    summary = rig.run()

    assert (summary.status, summary.delivered, summary.pending) == ("succeeded", 0, 0)
    assert rig.ledger()[content.content_id].state == before.state == State.DELIVERED
    assert rig.ledger()[content.content_id].records == before.records
    assert [[r["listed"], r["delivered"], r["records"]] for r in rig.day_rows()] == rows
    assert rig.events() == arrived


def append(rig: Rig, day: date, data: bytes) -> None:
    store = LedgerStore(rig.storage.state, f"ledger/{rig.tenant.spec.tenant_id}/{EXCHANGE}")
    store.resume(store.stored())
    store.append(day, data)


@pytest.mark.parametrize("held_by_other", [False, True])
def test_a_checkpoint_is_not_moved_back_by_a_worker_whose_lease_is_gone(
    rig: Rig, held_by_other: bool
) -> None:
    rig.run()
    stale = CheckpointStore(rig.storage.state, rig.checkpoint_name())
    old = stale.load()
    blob = rig.storage.state.get_blob_client(rig.checkpoint_name())
    lease = BlobLeaseClient(blob)
    lease.acquire(lease_duration=15)
    lease.break_lease(lease_break_period=0)
    rig.offer()
    rig.run()
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    if held_by_other:
        BlobLeaseClient(blob).acquire(lease_duration=15)

    for lease_id in (str(lease.id), None):
        with pytest.raises(Conflict):
            stale.save(old, lease=lease_id)
        with pytest.raises(Conflict):
            stale.save(Checkpoint(), lease=lease_id)

    assert read_blob(rig.storage.state, rig.checkpoint_name()) == stored


def test_of_two_workers_at_once_one_is_skipped(rig: Rig) -> None:
    hold_a_send(rig, contents=10)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rig.run, **PATIENT)
        assert rig.hubs.wait_held(1, LONG)
        before = taken(rig)
        second = rig.run()
        rig.hubs.release_held()
        one = first.result(LONG)

    assert second.status == "skipped"
    assert (second.requests, second.delivered, second.error) == (0, 0, "")
    assert before > 0
    assert (one.status, one.delivered) == ("succeeded", 10)
    assert sorted(row["status"] for row in rig.run_rows()) == ["skipped", "succeeded"]
    rig.assert_complete()
    assert rig.repeats() == 0


def asked_twice(rig: Rig) -> bool:
    """Whether some content was asked for by both workers."""
    asked = [note.content_id for note in rig.tenant.books.requests("content")]
    return len(asked) > len(set(asked))


def test_two_workers_that_both_run_lose_nothing_and_count_right(rig: Rig) -> None:
    rig.offer_many(40, records=2)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=1.0, times=-1))
    # So rare that the first worker never learns that its lease is gone.
    blind: dict[str, Any] = {"lease_renewal": 60.0, "lease_seconds": 60}

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rig.run, **blind)
        wait_for(lambda: len(rig.events()) >= 4)
        free_lease(rig)
        second = pool.submit(rig.run, **blind)
        wait_for(lambda: asked_twice(rig))
        rig.tenant.faults.clear()
        summaries = [first.result(LONG), second.result(LONG)]

    assert [each.status for each in summaries].count("succeeded") >= 1
    assert all(each.delivered for each in summaries)
    rig.assert_nothing_claimed_early()
    last = rig.run()
    assert (last.status, last.delivered, last.pending) == ("succeeded", 0, 0)
    rig.assert_complete()
    assert rig.repeats() <= 40 * 2
    rows = rig.day_rows()
    assert sum(row["listed"] for row in rows) == 40
    assert sum(row["delivered"] for row in rows) == 40
    assert sum(row["records"] for row in rows) == 80


def test_a_hub_that_holds_an_acknowledgement_does_not_cost_the_lease(rig: Rig) -> None:
    rig.offer_many(3)
    rig.hubs.faults.add(HubFault(action="delay", delay_s=1.2, hub=HUB))

    summary = rig.run(**PATIENT)

    assert (summary.status, summary.delivered) == ("succeeded", 3)
    assert rig.repeats() == 0
