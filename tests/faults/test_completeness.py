"""What the ledger, the runs and the days say about completeness, and that it is true."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from local.tenant import Fault
from shared.run.runs import Runs
from shared.state.tables import DAYS_TABLE, RUNS_TABLE
from tests.harness import EXCHANGE, Rig


def test_for_every_day_listed_is_delivered_and_lost_and_pending(rig: Rig) -> None:
    rig.has_collected(hours_ago=60)
    good = rig.offer_many(3, hours_ago=30)
    late = rig.offer_many(2, hours_ago=2)
    broken = rig.offer(hours_ago=2, body=b'[{"Id":"1"}, oops')
    rig.tenant.faults.add(
        Fault(
            on="content", action="status", content_id=late[0].content_id, code="AF20051", times=-1
        ),
        Fault(on="content", action="status", content_id=late[1].content_id, status=500, times=-1),
    )

    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    rig.tenant.advance(timedelta(hours=25))
    summary = rig.run()

    rows = {row["RowKey"]: row for row in rig.day_rows()}
    assert sum(row["listed"] for row in rows.values()) == 6
    for row in rows.values():
        assert row["listed"] == row["delivered"] + row["lost"] + row["pending"]
    recent = [day for day in rig.states() if day >= good[0].created.date()]
    found = {kind for day in recent for kind, _, _ in rig.reasons(day)}
    assert found == {"lost", "dead-lettered"}
    assert rig.reasons(good[0].created.date()) == []
    lost = [row["lost_by_reason"] for row in rows.values()]
    assert any("expired" in text and "dead-lettered" in text for text in lost)
    assert (summary.pending, summary.status) == (1, "incomplete")
    assert broken.content_id in rig.ledger()


def test_a_run_row_is_open_while_the_run_lasts_and_closed_at_its_end(rig: Rig) -> None:
    rig.offer_many(2)
    states: list[str] = []
    app = rig.app()
    app._on_progress = lambda summary: states.extend(row["status"] for row in rig.run_rows())

    rig.run(app=app)
    app.close()

    assert "running" in states
    (row,) = rig.run_rows()
    assert (row["status"], row["delivered"], row["listed"]) == ("succeeded", 2, 2)
    assert row["ended"] >= row["started"]


def test_the_newest_run_comes_first_and_old_rows_are_removed(rig: Rig) -> None:
    runs = Runs(rig.storage, rig.tenant.spec.tenant_id, EXCHANGE)
    rig.run()
    (row,) = rig.run_rows()
    rig.storage.table(RUNS_TABLE).upsert(
        {**row, "RowKey": "999999999999999_old", "status": "crashed"},
    )
    partition = {"PartitionKey": row["PartitionKey"]}
    rig.storage.table(DAYS_TABLE).upsert({**partition, "RowKey": "2020-01-01", "listed": 1})

    rig.run()
    assert [each["RowKey"] for each in rig.run_rows()][0] < row["RowKey"]
    runs.drop_old(datetime.now(UTC))

    assert all(each["status"] != "crashed" for each in rig.run_rows())
    assert all(each["RowKey"] != "2020-01-01" for each in rig.day_rows())


def test_an_outage_of_nine_days_leaves_a_gap_record_and_loses_nothing_that_is_still_listed(
    rig: Rig,
) -> None:
    rig.run()
    before = rig.tenant.now()
    rig.offer(hours_ago=-1, visible_at=before)
    rig.tenant.advance(timedelta(days=9))
    reachable = rig.offer_many(3, hours_ago=5 * 24)

    summary = rig.run()

    assert {event[0] for event in rig.events()} == {content.content_id for content in reachable}
    missed = timedelta(days=2)
    assert abs(summary.gap_seconds - missed.total_seconds()) < 900
    rows = {row["RowKey"]: row for row in rig.day_rows()}
    assert sum(row["gap_seconds"] for row in rows.values()) == summary.gap_seconds
    assert not rows[(before.date() + timedelta(days=1)).isoformat()]["complete"]
    assert rig.run().gap_seconds == 0


def test_what_was_lost_and_dead_lettered_is_not_asked_for_again(rig: Rig) -> None:
    gone = rig.offer()
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=gone.content_id, code="AF20051", times=-1)
    )
    rig.run()
    rig.tenant.advance(timedelta(hours=25))
    assert rig.run().lost == 1
    asked = len(rig.tenant.books.requests("content"))

    summary = rig.run()

    assert len(rig.tenant.books.requests("content")) == asked
    assert (summary.status, summary.pending) == ("succeeded", 0)


def test_a_day_that_was_listed_in_part_is_open(rig: Rig) -> None:
    rig.at_noon()
    rig.has_collected(hours_ago=100)
    (content, *_) = rig.offer_many(3, hours_ago=90)
    # Listing fails after the window that holds the contents, in windows of four hours.
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, after=5, times=-1))

    rig.run(tries=1)
    watermark = rig.checkpoint().watermark
    assert watermark is not None
    assert content.created < watermark
    # Of the oldest day some hours have left, and nobody knows how late they were looked at.
    oldest = min(rig.states())
    listed = {day: state for day, state in rig.states().items() if day < watermark.date()}
    assert set(listed.values()) == {"provisional", "flawed"}
    assert {kind for kind, _, _ in rig.reasons(oldest)} == {"unverified"}
    assert {state for day, state in rig.states().items() if day not in listed} == {"open"}

    rig.tenant.faults.clear()
    rig.run()
    today = rig.tenant.now().date()
    states = {day: state for day, state in rig.states().items() if day not in (oldest, today)}
    assert set(states.values()) == {"provisional"}
    assert rig.states()[today] == "open"


def test_today_is_provisional_when_it_is_over_although_nothing_more_of_it_is_listed(
    rig: Rig,
) -> None:
    noon = datetime.combine(rig.tenant.now().date() + timedelta(days=1), time(12), UTC)
    rig.tenant.advance(noon - rig.tenant.now())
    rig.has_collected(hours_ago=13)
    rig.offer_many(2, hours_ago=1)
    assert rig.run().status == "succeeded"
    assert rig.states()[noon.date()] == "open"

    # More than two hours past midnight, so that nothing of the day is listed but by a slice of old days.
    rig.tenant.advance(timedelta(hours=15))
    asked = len(rig.tenant.books.requests("content"))
    rig.run()

    assert rig.states()[noon.date()] == "provisional"
    assert rig.states()[rig.tenant.now().date()] == "open"
    assert len(rig.tenant.books.requests("content")) == asked


def test_a_gap_found_after_a_ledger_was_dropped_leaves_the_numbers_of_its_day(rig: Rig) -> None:
    app = rig.app()
    # Of the day on which the gap begins, even shortly after midnight.
    now = rig.tenant.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rig.offer_many(3, hours_ago=min(1.0, (now - midnight) / timedelta(hours=2)))
    rig.run(app=app)
    before = {row["RowKey"]: (row["listed"], row["delivered"]) for row in rig.day_rows()}
    rig.tenant.subscriptions.set(EXCHANGE, None)
    rig.tenant.faults.add(Fault(on="start", action="status", status=503, times=-1))
    for _ in range(4):
        rig.tenant.advance(timedelta(days=3))
        rig.run(app=app, tries=1)
    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=16))
    # As after nine days; a run drops what is old only where this machine's own clock says so too.
    for day in before:
        prefix = f"ledger/{rig.tenant.spec.tenant_id}/{EXCHANGE}/{day}/"
        for blob in rig.storage.state.list_blobs(name_starts_with=prefix):
            rig.storage.state.delete_blob(blob.name)

    rig.run(app=app)
    app.close()

    after = {row["RowKey"]: row for row in rig.day_rows()}
    for day, numbers in before.items():
        assert (after[day]["listed"], after[day]["delivered"]) == numbers
    assert any(after[day]["gap_seconds"] for day in before)
    assert not any(after[day]["complete"] for day in before if after[day]["gap_seconds"])


def test_a_feed_that_cannot_list_lags_by_what_it_has_not_listed_and_not_once_it_has(
    rig: Rig,
) -> None:
    rig.run()
    rig.tenant.advance(timedelta(hours=30))
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, times=-1))
    assert abs(rig.run(tries=1).lag_seconds - timedelta(hours=30).total_seconds()) < 60

    rig.tenant.faults.clear()
    summary = rig.run()

    assert (summary.caught_up, summary.lag_seconds) == (True, 0)


def test_of_runs_that_found_nothing_the_last_one_keeps_its_row(rig: Rig) -> None:
    rig.run()
    rig.offer()
    rig.run()
    for _ in range(3):
        rig.tenant.advance(timedelta(minutes=10))
        rig.run()

    rows = rig.run_rows()

    assert [(row["quiet"], row["delivered"]) for row in rows] == [(True, 0), (False, 1)]
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, times=-1))
    rig.run(tries=1)
    assert [row["status"] for row in rig.run_rows()] == ["failed", "succeeded", "succeeded"]
