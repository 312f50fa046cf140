"""Storage that stops answering, or carries out what it is asked and loses the answer."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.azurite import Azurite
from local.tenant import Fault
from shared.contents.job import ContentJob
from tests.campaign import contents_at_hub, free_lease
from tests.harness import EXCHANGE, FAST, Rig
from tests.proxy import APPEND, BUDGET_WRITE, CHECKPOINT_WRITE, Proxy
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from local.certs import Certs

IMPATIENT: dict[str, Any] = {"storage_silence": 0.5, "close_seconds": 3.0}
QUICK: dict[str, Any] = {"storage_silence": 2.0}


@pytest.fixture(scope="module")
def account() -> Iterator[Azurite]:
    """A storage account of this module's own, since it is going to be unavailable."""
    with Azurite() as running:
        yield running


@pytest.fixture
def own_rig(certs: Certs, account: Azurite) -> Iterator[Rig]:
    """A rig on that account."""
    with Rig(certs, account.connection_string) as rig:
        yield rig


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


def assert_counts(rig: Rig, contents: int, records: int) -> None:
    """The table of days says that so many contents and records were delivered, and nothing else."""
    rows = rig.day_rows()
    for name, number in (("listed", contents), ("delivered", contents), ("records", records)):
        assert sum(row[name] for row in rows) == number, name
    # What was offered an hour ago, too, may be of yesterday.
    now = rig.tenant.now()
    recent = {(now - timedelta(hours=n)).date().isoformat() for n in (0, 1)}
    assert {row["RowKey"] for row in rows if not row["complete"]} <= recent


@pytest.mark.parametrize(
    "at_hub",
    [
        pytest.param(0, id="before-anything-is-delivered"),
        pytest.param(40, id="in-the-middle-of-delivering"),
    ],
)
def test_a_run_whose_storage_stops_answering_ends_in_order_and_the_next_one_completes(
    own_rig: Rig, account: Azurite, at_hub: int
) -> None:
    rig = own_rig
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(60, records=2)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.04, times=-1))

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(rig.run, flush_every=0.4, **IMPATIENT)
        wait_for(lambda: rig.tenant.books.requests("list"))
        wait_for(lambda: len(rig.events()) >= at_hub)
        account.pause()
        stopped = time.monotonic()
        try:
            summary = run.result(5 * LONG)
        finally:
            account.resume()

    # A handful of storage calls of 3 x 1 s and their pauses; without storage a run is worth nothing.
    assert time.monotonic() - stopped < 2 * LONG < FAST.run_seconds
    assert (summary.status, summary.caught_up) == ("failed", False)
    assert "storage" in summary.error
    rig.assert_nothing_claimed_early()
    unclaimed = contents_at_hub(rig) - rig.delivered()

    # A run that could not give its lease back leaves it to run out.
    free_lease(rig)
    last = rig.run()

    assert (last.status, last.pending) == ("succeeded", 0)
    rig.assert_complete()
    assert rig.repeats() <= 2 * len(unclaimed)
    assert_counts(rig, 60, 120)


def test_a_short_silence_of_storage_is_bridged_and_costs_nothing(
    own_rig: Rig, account: Azurite
) -> None:
    rig = own_rig
    rig.offer_many(40, records=2)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.04, times=-1))

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(rig.run, storage_silence=2.0)
        wait_for(lambda: len(rig.events()) >= 10)
        account.pause()
        time.sleep(0.7)
        account.resume()
        summary = run.result(5 * LONG)

    assert (summary.status, summary.delivered) == ("succeeded", 40)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_storage_that_does_not_answer_at_all_fails_the_run_before_it_collects_anything(
    own_rig: Rig, account: Azurite
) -> None:
    rig = own_rig
    rig.offer_many(3)
    account.pause()
    try:
        summary = rig.run(**IMPATIENT)
    finally:
        account.resume()

    assert (summary.status, summary.listed) == ("failed", 0)
    assert "storage" in summary.error
    assert not rig.events()
    assert not rig.tenant.books.requests("content", "list", "start")

    free_lease(rig)
    assert rig.run().status == "succeeded"
    rig.assert_complete()


@pytest.mark.parametrize("state", ["listed", "delivered"])
def test_an_append_whose_answer_was_lost_is_repeated_and_counts_once(
    rig: Rig, proxy: Proxy, through: dict[str, str], state: str
) -> None:
    rig.offer_many(12, records=3)
    lost = proxy.lose_answer(APPEND, body=f'"state":"{state}"'.encode())

    summary = rig.run(settings=through, **QUICK)

    assert lost.acted == 1
    assert (summary.status, summary.delivered, summary.pending) == ("succeeded", 12, 0)
    rig.assert_complete()
    assert rig.repeats() == 0
    assert_counts(rig, 12, 36)


def test_listed_lines_that_were_stored_without_an_answer_are_taken_up_by_the_next_run(
    rig: Rig, proxy: Proxy, through: dict[str, str]
) -> None:
    rig.offer_many(12, records=3)
    # As often as the SDK asks again: the collector must take them for not stored.
    proxy.lose_answer(APPEND, body=b'"state":"listed"', times=3)

    first = rig.run(settings=through, **QUICK)

    assert first.status == "failed"
    assert not rig.events()
    assert not rig.tenant.books.requests("content")

    second = rig.run()

    assert (second.status, second.delivered) == ("succeeded", 12)
    rig.assert_complete()
    assert rig.repeats() == 0
    assert_counts(rig, 12, 36)


def test_a_window_whose_contents_could_not_be_written_down_is_listed_again_however_old(
    rig: Rig, proxy: Proxy, through: dict[str, str]
) -> None:
    # Listed in a window that ends four hours later, so two hours of overlap do not reach back to them.
    rig.offer_many(12, records=3, hours_ago=103.5)
    proxy.refuse(APPEND, times=3)

    first = rig.run(settings=through, **QUICK)

    assert first.status == "failed"
    assert not rig.ledger()
    assert not rig.tenant.books.requests("content")

    assert rig.run().delivered == 12
    rig.assert_complete()


def test_delivered_lines_that_were_stored_without_an_answer_are_delivered_once(
    rig: Rig, proxy: Proxy, through: dict[str, str]
) -> None:
    rig.offer_many(12, records=3)
    proxy.lose_answer(APPEND, body=b'"state":"delivered"', times=3)

    rig.run(settings=through, **QUICK)
    rig.run()

    rig.assert_complete()
    assert rig.repeats() == 0
    assert_counts(rig, 12, 36)


@pytest.fixture
def every_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is written for each window."""
    monkeypatch.setattr("shared.state.checkpoint.WRITE_EVERY", 0.0)


@pytest.mark.usefixtures("every_watermark")
@pytest.mark.parametrize(
    "write", [pytest.param(0, id="that-makes-it"), pytest.param(3, id="of-a-watermark")]
)
def test_a_checkpoint_write_whose_answer_was_lost_is_known_to_be_our_own(
    rig: Rig, proxy: Proxy, through: dict[str, str], write: int
) -> None:
    lost = proxy.lose_answer(CHECKPOINT_WRITE, after=write)
    rig.offer_many(5)

    summary = rig.run(settings=through, **QUICK)

    assert lost.acted == 1
    assert (summary.status, summary.delivered) == ("succeeded", 5)
    assert rig.checkpoint().run == summary.run
    rig.assert_complete()


@pytest.mark.usefixtures("every_watermark")
def test_a_checkpoint_that_was_stored_without_an_answer_ends_the_run_and_loses_nothing(
    rig: Rig, proxy: Proxy, through: dict[str, str]
) -> None:
    rig.offer_many(5)
    proxy.lose_answer(CHECKPOINT_WRITE, after=5, times=3)

    first = rig.run(settings=through, **QUICK)

    assert first.status == "failed"
    rig.assert_nothing_claimed_early()
    marks = rig.checkpoint().watermark

    rig.offer(hours_ago=100)
    second = rig.run()

    assert (second.status, second.pending) == ("succeeded", 0)
    assert marks is not None
    assert is_later(rig.checkpoint().watermark, marks)
    rig.assert_complete()
    assert rig.repeats() == 0


def is_later(mark: datetime | None, than: datetime) -> bool:
    return mark is not None and mark > than


def test_a_budget_write_whose_answer_was_lost_costs_requests_and_never_grants_them_twice(
    make_rig: Callable[..., Rig], proxy: Proxy, through: dict[str, str]
) -> None:
    rig = make_rig(requests_per_minute=120)
    rig.offer_many(20)
    lost = proxy.lose_answer(BUDGET_WRITE, times=-1, rate=0.3)

    summary = rig.run(settings={**through, "M365_REQUESTS_PER_MINUTE": "120"}, **QUICK)

    assert lost.acted > 0
    assert rig.tenant.books.max_requests_in(60) <= 120
    assert (summary.status, summary.throttled) == ("succeeded", 0)
    rig.assert_complete()


def test_storage_that_loses_every_tenth_answer_loses_nothing_else(
    rig: Rig, proxy: Proxy, through: dict[str, str]
) -> None:
    rig.run()
    rig.offer_many(40, records=2)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.02, times=-1))
    rules = [
        proxy.lose_answer("^(PUT|GET) ", times=-1, rate=0.15),
        proxy.refuse("^(PUT|GET) ", rate=0.1),
    ]

    for _ in range(3):
        rig.run(settings=through, storage_silence=1.0, flush_every=0.02)
        rig.assert_nothing_claimed_early()
        free_lease(rig)
    assert all(rule.acted for rule in rules)

    last = rig.run()

    assert (last.status, last.pending) == ("succeeded", 0)
    rig.assert_complete()
    assert_counts(rig, 40, 80)


def test_a_defect_ends_the_run_it_meets_by_name_and_the_next_one_completes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.offer_many(3)
    said_by_a_record = uuid.uuid4().hex

    def stumble(job: ContentJob) -> None:
        raise KeyError(said_by_a_record)

    with monkeypatch.context() as defect:
        defect.setattr(ContentJob, "collect", stumble)
        failed = rig.run()

    assert (failed.status, failed.error_code, failed.delivered) == ("failed", "internal", 0)
    assert "KeyError" in failed.error
    assert "failed unexpectedly" in caplog.text
    assert said_by_a_record not in caplog.text + failed.error
    (row,) = rig.run_rows()
    assert (row["status"], row["error_code"]) == ("failed", "internal")
    assert rig.run().status == "succeeded"
    rig.assert_complete()
