"""The state of a message trace: what is written down is true whatever dies, and a day's row proves itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from local.eventhubs import Fault as HubFault
from local.tenant import Fault
from shared.rows.digests import LISTED
from shared.rows.schedule import Reading
from shared.sources.message_trace.replay import ROW
from shared.sources.message_trace.row import SOURCE, digest_of
from shared.state.account import read_blob, write_blob
from shared.state.append_blobs import DigestStore
from shared.state.checkpoint import CheckpointStore
from shared.state.dead_letters import RECORD, DeadLetters
from shared.state.lease import Lease
from shared.state.tables import DAYS_TABLE
from shared.times import end_of, hour_of
from tests.campaign import free_lease, kill
from tests.harness import FAST, TRACE_HUB, Nursery
from tests.proxy import Proxy
from tests.tracing import DAY, HOUR, MANY, MINUTE, TraceRig
from tests.waits import wait_for

if TYPE_CHECKING:
    from local.azurite import Azurite

Mail = Callable[..., TraceRig]

PAGE = 20
KILLS = 15


def test_killed_after_the_acknowledgement_repeats_one_page_at_most(mail: Mail) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=PAGE, received=rig.ago(minutes=30), within=timedelta(minutes=5))
    # The answer that nothing is left never comes, so nothing after the first page is written down.
    rig.tenant.faults.add(Fault(on="trace", action="hang", delay_s=60, after=2, times=-1))
    worker = rig.spawn(SOURCE, settings=MANY, tuning={"flush_every": 600})
    wait_for(lambda: len(rig.arrived()) >= PAGE)
    kill(worker)
    rig.tenant.faults.clear()
    free_lease(rig, SOURCE)

    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert rig.trace_repeats() <= PAGE


def test_what_is_at_the_hub_was_written_down_before_whatever_is_acknowledged(mail: Mail) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=PAGE, received=rig.ago(minutes=30), within=timedelta(minutes=5))
    rig.hubs.faults.add(HubFault(action="no_ack", times=-1))
    worker = rig.spawn(SOURCE, settings=MANY)
    wait_for(lambda: len(rig.arrived()) >= PAGE)
    kill(worker)
    rig.hubs.faults.clear()
    free_lease(rig, SOURCE)

    counts = rig.digests_by_hour().values()
    assert sum(each.listed for each in counts) == PAGE
    assert sum(each.pending for each in counts) == PAGE

    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert rig.trace_repeats() <= PAGE


def test_windows_of_which_no_checkpoint_was_written_before_a_death_are_read_again_and_not_repeated(
    mail: Mail,
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    store = CheckpointStore(rig.storage.state, rig.checkpoint_name(SOURCE))
    before = store.load()
    for _ in range(3):
        rig.pass_time(minutes=60)
        rig.tenant.trace.offer(count=5, received=rig.ago(minutes=1), within=timedelta(minutes=1))
    rig.pass_time(minutes=50)
    assert rig.trace(settings=MANY).delivered == 15
    assert store.load().watermark != before.watermark
    store.save(before, lease=None)

    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


@pytest.mark.timeout(300)
def test_killed_at_fifteen_moments_loses_nothing_and_repeats_a_page_each_at_most(
    mail: Mail,
) -> None:
    # What is read, and changes between a kill and the next run, was there and can never be had: here nothing does.
    changed = {"changing": 0.1, "changes_after_s": 1.0}
    rig = mail(rows=1500, days=1.0, max_page=PAGE, odd=0.1, **changed)
    # Slow enough that a kill finds work half done.
    rig.tenant.faults.add(Fault(on="any", source=SOURCE, action="slow", delay_s=0.03, times=-1))
    random, kills = Random(11), 0
    with Nursery(rig, SOURCE, settings=MANY) as workers:
        while kills < KILLS:
            before = len(rig.arrived())
            workers.begin()
            wait_for(partial(_begun, rig, before, workers), 90)
            time.sleep(random.uniform(0, 0.4))
            if workers.ended():
                break
            workers.kill()
            kills += 1
            free_lease(rig, SOURCE)
            delivered = sum(each.delivered for each in rig.digests_by_hour().values())
            assert delivered <= len(rig.arrived())
    rig.tenant.faults.clear()

    rig.trace_until_caught_up()

    assert kills >= 10
    rig.assert_trace_complete()
    assert rig.trace_repeats() <= kills * PAGE


def _begun(rig: TraceRig, before: int, workers: Nursery) -> bool:
    return len(rig.arrived()) > before or workers.ended()


def test_a_row_that_was_written_down_and_changed_before_it_was_delivered_is_accounted_for(
    mail: Mail,
) -> None:
    rig = mail()
    received = hour_of(rig.tenant.now()) - 5 * HOUR + timedelta(minutes=7)
    (row,) = rig.tenant.trace.offer(received=received, status="delivered")
    # A worker wrote it down as pending and died; since then it was delivered.
    lost = digest_of(row.trace_id, row.recipient, "pending")
    store = DigestStore(rig.storage.state, f"digests/{rig.tenant.spec.tenant_id}/{SOURCE}")
    store.append(hour_of(received), bytes((LISTED,)) + lost)

    rig.trace_until_caught_up()

    counts = rig.digests_by_hour()[hour_of(received)]
    assert (counts.listed, counts.delivered, counts.gone, counts.pending) == (2, 1, 1, 0)
    day = rig.days()[received.date().isoformat()]
    assert (day["listed"], day["delivered"], day["lost"], day["pending"]) == (2, 1, 1, 0)
    assert "no-longer-offered" in day["lost_by_reason"]
    assert not day["complete"]
    assert rig.statuses(row.trace_id) == [(row.recipient, "delivered")]


def test_a_row_over_the_limit_of_the_hub_is_claim_checked_and_holds_up_no_other(mail: Mail) -> None:
    rig = mail()
    (big,) = rig.tenant.trace.offer(received=rig.ago(minutes=30), subject="x" * 1_100_000)
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=31))

    summary = rig.trace()
    rig.trace()

    assert rig.statuses(row.trace_id)
    assert (summary.delivered, summary.lost, summary.claim_checks) == (2, 0, 1)
    (pointer,) = rig.pointers(TRACE_HUB)
    assert pointer.properties["content_id"] == big.trace_id
    assert big.trace_id.encode() in rig.body(pointer)
    (day,) = (each for each in rig.days().values() if each["listed"])
    assert (day["delivered"], day["lost"]) == (2, 0)
    assert rig.trace().delivered == 0


def test_a_row_whose_bytes_cannot_be_kept_ends_the_run_and_is_delivered_by_a_later_one(
    mail: Mail, azurite: Azurite
) -> None:
    rig = mail()
    rig.tenant.trace.offer(received=rig.ago(minutes=30), subject="x" * 1_100_000)
    rig.tenant.trace.offer(received=rig.ago(minutes=31))
    with Proxy(azurite.blob_endpoint) as proxy:
        proxy.refuse(r"PUT \S*/m365-claim-checks/", times=-1, status=403)
        through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
        summary = rig.trace(settings={"M365_STORAGE_CONNECTION_STRING": through})

    assert (summary.status, summary.error_code) == ("failed", "AuthorizationPermissionMismatch")
    assert (summary.pending, summary.lost, summary.delivered) == (2, 0, 0)

    assert rig.trace().delivered == 2
    assert len(rig.pointers(TRACE_HUB)) == 1


def test_a_replay_leaves_the_rows_that_were_too_large_where_they_are_and_says_so(
    mail: Mail,
) -> None:
    rig = mail()
    letters = DeadLetters(rig.storage.dead_letters, f"{rig.tenant.spec.tenant_id}/{SOURCE}")
    day = rig.ago(minutes=30).date()
    letters.put(RECORD, day, b"{}", content_id="1", reason="over the hub's limit")
    kept = rig.dead_letters(SOURCE)
    app = rig.app(FAST, **MANY)

    (summary,) = app.replay(SOURCE)

    app.close()
    assert (summary.letters, summary.delivered, summary.kept) == (1, 0, {ROW: 1})
    assert rig.dead_letters(SOURCE) == kept
    assert not rig.arrived()


def test_without_its_checkpoint_a_feed_reads_again_and_repeats_nothing(mail: Mail) -> None:
    rig = mail(rows=200, days=1.0)
    rig.trace_until_caught_up()
    rig.storage.state.delete_blob(rig.checkpoint_name(SOURCE))

    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_digests_that_were_torn_repeat_no_more_than_they_cover(mail: Mail) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=10, received=rig.ago(minutes=30))
    rig.trace()
    (hour,) = rig.digests_by_hour()
    store = DigestStore(rig.storage.state, f"digests/{rig.tenant.spec.tenant_id}/{SOURCE}")
    store.append(hour, b"D\x00")
    rig.tenant.trace.offer(count=5, received=rig.ago(minutes=30))

    rig.trace()

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0
    counts = rig.digests_by_hour()[hour]
    assert (counts.listed, counts.delivered) == (15, 15)


def test_a_day_adds_up_and_is_final_once_it_was_read_two_days_after_its_end(mail: Mail) -> None:
    rig = mail(rows=240, days=5.0, changing=0.3)
    rig.trace_until_caught_up(settings={"M365_MESSAGE_TRACE_BACKFILL_DAYS": "5"})
    now = rig.tenant.now()
    today = now.date()

    days = rig.days()

    for day in days.values():
        assert day["listed"] == day["delivered"] + day["lost"] + day["pending"]
    assert sum(day["listed"] for day in days.values()) == len(rig.arrived())
    states = rig.states(SOURCE)
    assert {states.pop(today), states.pop(today - DAY)} <= {"open", "provisional"}
    assert {day: state for day, state in states.items() if now - end_of(day) < 2 * DAY} == {
        today - 2 * DAY: "provisional"
    }
    # A first run begins at midnight, so its first day is whole.
    assert [states[day] for day in sorted(states)[:-1]] == ["final"] * (len(states) - 1)

    rig.pass_time(days=3)
    rig.trace_until_caught_up()

    states = rig.states(SOURCE)
    assert {states[today - n * DAY] for n in range(3)} == {"final"}
    assert states[rig.tenant.now().date()] == "open"
    assert [row["RowKey"] for row in rig.day_rows(SOURCE) if row["complete"]] == [
        str(day) for day, state in sorted(states.items()) if state == "final"
    ]


def test_a_day_whose_row_was_lost_is_counted_again_from_its_digests(mail: Mail) -> None:
    rig = mail(rows=120, days=2.0)
    rig.trace_until_caught_up()
    before = {key: (row["listed"], row["delivered"]) for key, row in rig.days().items()}
    rig.storage.table(DAYS_TABLE).delete(f"{rig.tenant.spec.tenant_id}_{SOURCE}", after="0")
    rig.restart()

    rig.trace()

    after = {key: (row["listed"], row["delivered"]) for key, row in rig.days().items()}
    assert after == {key: each for key, each in before.items() if each[0]} | after
    assert sum(each[0] for each in after.values()) == sum(each[0] for each in before.values())


def test_digests_are_removed_after_nine_days_and_their_days_keep_their_counts(mail: Mail) -> None:
    rig = mail()
    old = rig.ago(days=20)
    rig.tenant.trace.offer(count=7, received=old)
    rig.tenant.trace.offer(count=3, received=rig.ago(hours=5))

    rig.trace_until_caught_up(settings={"M365_MESSAGE_TRACE_BACKFILL_DAYS": "30"})
    rig.trace()

    assert hour_of(old) not in rig.digests_by_hour()
    assert hour_of(rig.ago(hours=5)) in rig.digests_by_hour()
    day = rig.days()[old.date().isoformat()]
    assert (day["listed"], day["delivered"], day["complete"]) == (7, 7, True)
    rig.assert_trace_complete()


def test_digests_that_the_stored_checkpoint_still_needs_are_kept(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=7, received=rig.ago(days=20), within=timedelta(hours=1))
    far_back = {"M365_MESSAGE_TRACE_BACKFILL_DAYS": "30"}
    lost: list[bool] = []
    read = Reading.read_backfill

    def lose_the_lease(reading: Reading, end: datetime) -> None:
        read(reading, end)
        lost.append(True)

    with monkeypatch.context() as another:
        another.setattr("shared.state.checkpoint.WRITE_EVERY", 600.0)
        another.setattr(Reading, "read_backfill", lose_the_lease)
        another.setattr(Lease, "lost", property(lambda _: bool(lost)))
        assert rig.trace(settings=far_back).error_code == "lease-lost"
    assert len(rig.arrived()) == 7

    rig.trace_until_caught_up(settings=far_back)

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_state_of_an_older_version_keeps_no_day_open(mail: Mail) -> None:
    rig = mail()
    for _ in range(14):
        rig.pass_time(hours=20)
        rig.trace()
    stored = read_blob(rig.storage.state, rig.checkpoint_name(SOURCE))
    assert stored is not None
    old = {**json.loads(stored.data), "schema": 1}
    for name in ("beginning", "days_closed", "looks"):
        old.pop(name, None)
    data = json.dumps(old).encode()
    write_blob(rig.storage.state, rig.checkpoint_name(SOURCE), data, etag=stored.etag)
    rig.storage.state.delete_blob(rig.checkpoint_name(SOURCE).replace("checkpoints/", "looks/"))
    table = rig.storage.table(DAYS_TABLE)
    for row in rig.day_rows(SOURCE):
        keep = ("PartitionKey", "RowKey", "listed", "delivered", "complete")
        table.replace([({name: row[name] for name in keep}, row["etag"])])

    rig.pass_time(hours=1)
    rig.trace()

    assert not [day for day, row in rig.days().items() if row["late"]]
    # Of what was read again since, more is known.
    states = [row["state"] for _, row in sorted(rig.days().items())]
    assert set(states) == {"final", "open", "provisional"}
    assert states[0] == "provisional"


def test_a_row_that_another_worker_wrote_down_meanwhile_keeps_its_day_from_being_complete(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.at_noon()
    old = hour_of(rig.ago(days=5))
    rig.tenant.trace.offer(count=5, received=old + MINUTE)
    plain, done = DigestStore.append, list[int]()

    def append(self: DigestStore, hour: datetime, data: bytes) -> tuple[str, int]:
        if hour == old and not done:
            # A worker whose lease is lost, and which is killed before it publishes the row.
            done.append(1)
            plain(self, hour, bytes((LISTED,)) + b"x" * 16)
        return plain(self, hour, data)

    with monkeypatch.context() as patch:
        patch.setattr(DigestStore, "append", append)
        rig.trace_until_caught_up()
    rig.pass_time(days=1)
    rig.trace()

    assert done
    row = rig.days()[str(old.date())]
    assert (row["listed"], row["delivered"], row["pending"], row["complete"]) == (6, 5, 1, False)


def test_a_day_that_was_never_read_stays_open_where_its_looks_are_deleted(mail: Mail) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    rig.pass_time(days=4)
    day = rig.ago(days=2).date()
    rig.tenant.trace.offer(count=9, received=rig.ago(days=2))
    for _ in range(2):
        # The time is told and what is new can be read, and what was missed cannot.
        rig.tenant.faults.clear()
        rig.tenant.faults.add(
            Fault(on="trace", action="status", code="internal", after=5, times=-1)
        )
        rig.trace(tuning=replace(FAST, tries=1))
        assert rig.checkpoint(SOURCE).rows.backfill
        assert rig.states(SOURCE)[day] == "open"
        rig.storage.state.delete_blob(f"looks/{rig.tenant.spec.tenant_id}/{SOURCE}.json")
        rig.restart()
        rig.pass_time(minutes=10)
