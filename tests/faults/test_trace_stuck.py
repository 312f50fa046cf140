"""Rows that the service can never give: they cost their own second, and neither what is new, late nor past waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from local.tenant import Fault
from local.tenant.trace.graph import GraphTrace
from local.tenant.trace.rows import Row, millis
from shared.rows.digests import LISTED
from shared.rows.row import PAGING
from shared.sources.message_trace import graph
from shared.sources.message_trace.row import SOURCE, digest_of
from shared.state.append_blobs import DigestStore
from shared.times import hour_of
from tests.harness import FAST
from tests.tracing import HOUR, MINUTE, TraceRig

Mail = Callable[..., TraceRig]
SECOND = timedelta(seconds=1)
ONCE = replace(FAST, tries=1)


def spoil(patch: pytest.MonkeyPatch, *moments: datetime, error: str = "internal") -> None:
    """Let the service fail, for ever, at each page that would hold a row of one of these times."""
    spoilt, plain = {millis(each) for each in moments}, GraphTrace._listing

    def listing(self: GraphTrace, request: Any, page: list[tuple[Row, int]], *more: Any) -> Any:
        if any(row.received in spoilt for row, _ in page):
            return self.error(error)
        return plain(self, request, page, *more)

    patch.setattr(GraphTrace, "_listing", listing)


def place(rig: TraceRig, moment: datetime) -> Row:
    """A row of that time."""
    (row,) = rig.tenant.trace.offer(received=moment)
    return row


def write_down(rig: TraceRig, hour: datetime, row: Row, status: str) -> None:
    """As a worker does that dies before it publishes the row."""
    line = bytes((LISTED,)) + digest_of(row.trace_id, row.recipient, status)
    store = DigestStore(rig.storage.state, f"digests/{rig.tenant.spec.tenant_id}/{SOURCE}")
    store.append(hour, line)


def test_a_row_that_can_never_be_had_keeps_no_other_of_the_past_waiting(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    bad = [rig.ago(days=4, hours=n).replace(microsecond=0) for n in range(3)]
    spoil(monkeypatch, *bad)
    for each in bad:
        place(rig, each)
    others = [place(rig, each + n * SECOND) for each in bad for n in (-7, -1, 1, 700)]
    others += [place(rig, rig.ago(days=n)) for n in (1, 2, 3, 6)]

    # The first run finds the first of them, and goes on from the other end.
    summaries = [rig.trace(tuning=ONCE) for _ in range(2)]

    assert all(rig.statuses(row.trace_id) for row in others)
    assert all(each.status == "failed" for each in summaries)
    left = rig.checkpoint(SOURCE).rows.backfill
    assert sum((end - start for start, end in left), timedelta()) <= 60 * SECOND
    for each in bad:
        assert any(start <= each <= end for start, end in left)


def test_bad_seconds_around_a_range_keep_it_waiting_for_one_run(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    base = hour_of(rig.ago(days=4))
    bad = [base, base + 30 * HOUR, base + 40 * HOUR]
    spoil(monkeypatch, *bad)
    for each in bad:
        place(rig, each)
    good = [place(rig, base + n * HOUR + MINUTE) for n in (3, 9, 15)]
    seconds = [(each, each + SECOND) for each in bad]
    missed = sorted([*seconds, (base + 2 * HOUR, base + 20 * HOUR)])
    rig.change_note(backfill=[[each.isoformat() for each in pair] for pair in missed])

    for _ in range(2):
        rig.trace(tuning=ONCE)

    assert all(rig.statuses(row.trace_id) for row in good)
    assert list(rig.checkpoint(SOURCE).rows.backfill) == seconds


@pytest.mark.parametrize("error", ["no-trace", "sp-missing", "no-role"])
@pytest.mark.parametrize("past", [{"days": 5}, {"minutes": 30}], ids=["past", "new"])
def test_a_second_that_is_refused_as_if_there_were_no_trace_is_its_own_trouble(
    mail: Mail, monkeypatch: pytest.MonkeyPatch, error: str, past: dict[str, int]
) -> None:
    rig = mail()
    rig.at_noon()
    bad = rig.ago(**past)
    spoil(monkeypatch, bad, error=error)
    place(rig, bad)
    others = [place(rig, bad + n * MINUTE) for n in (-1200, -20, 20)]

    summary = rig.trace(tuning=ONCE)

    assert summary.status == "failed"
    assert all(rig.statuses(row.trace_id) for row in others)
    assert any(start <= bad <= end for start, end in rig.checkpoint(SOURCE).rows.backfill)


def test_a_backlog_with_bad_seconds_at_both_ends_is_worked_off_by_runs_of_few_requests(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail(max_page=20)
    rig.at_noon()
    rig.trace_until_caught_up()
    bad: list[datetime] = []

    def pass_a_bad_second() -> None:
        rig.pass_time(minutes=40)
        bad.append(rig.ago(minutes=20).replace(microsecond=0))
        place(rig, bad[-1])
        spoil(monkeypatch, *bad)

    pass_a_bad_second()
    for _ in range(4):
        rig.trace(tuning=ONCE)
        rig.pass_time(hours=1)
    # The app is stopped for days; after them come two more.
    rig.pass_time(days=4)
    rows = rig.tenant.trace.offer(count=300, received=rig.ago(days=4), within=72 * HOUR)
    pass_a_bad_second()
    pass_a_bad_second()

    for _ in range(10):
        rig.free_budget()
        rig.trace(tuning=ONCE, settings={"M365_MESSAGE_TRACE_REQUESTS": "90"})
        rig.pass_time(minutes=10)

    assert len(rig.arrived()) == len(rows)


def test_rows_that_can_never_be_had_keep_no_late_row_waiting(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    bad = [hour_of(rig.ago(hours=n)) + 20 * MINUTE for n in range(6, 14, 2)]
    spoil(monkeypatch, *bad)
    for each in bad:
        place(rig, each)
    rig.change_note(again=[hour_of(each).isoformat() for each in bad])
    late = place(rig, rig.ago(hours=30))

    for _ in range(5):
        rig.pass_time(hours=1, minutes=12)
        rig.trace(tuning=ONCE)

    assert rig.statuses(late.trace_id)


def test_one_row_that_can_never_be_had_holds_up_a_few_minutes_of_what_is_new(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    rig.pass_time(minutes=40)
    bad = rig.ago(minutes=30)
    spoil(monkeypatch, bad)
    place(rig, bad)
    others = [place(rig, rig.ago(minutes=n)) for n in (39, 20, 10, 7)]

    summary = rig.trace(tuning=ONCE)

    assert all(rig.statuses(row.trace_id) for row in others)
    assert (summary.status, summary.error_code) == ("failed", "InternalServerError")
    assert rig.ago(minutes=6) < (rig.checkpoint(SOURCE).watermark or bad)


def test_a_page_of_one_time_that_nothing_parts_is_never_taken_for_the_last(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "PAGE_ROWS", 50)
    rig = mail()
    rig.tenant.faults.add(Fault(on="trace", action="drop_page_link", times=-1))
    bad = rig.ago(days=4).replace(microsecond=0)
    rig.tenant.trace.offer(count=60, received=bad)
    others = [place(rig, bad + n * SECOND) for n in (-700, -7, -1, 1, 7, 700)]

    for _ in range(2):
        summary = rig.trace()
        rig.free_budget()

    assert (summary.status, summary.error_code) == ("failed", PAGING)
    assert all(rig.statuses(row.trace_id) for row in others)
    left = rig.checkpoint(SOURCE).rows.backfill
    assert any(start <= bad <= end for start, end in left)
    assert sum((end - start for start, end in left), timedelta()) <= 10 * SECOND
    assert not rig.days()[f"{bad:%Y-%m-%d}"]["complete"]


def test_an_hour_that_could_not_be_read_again_waits_for_a_run_that_can(mail: Mail) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    hour = hour_of(rig.ago(hours=20))
    rig.change_note(again=[hour.isoformat()])
    late = place(rig, hour + 20 * MINUTE)
    # A run that has to yield reads nothing but what is new.
    name = f"budgets/{rig.tenant.spec.tenant_id}/trace.json"
    grants = [[int(rig.tenant.now().timestamp()), 95]]
    rig.storage.state.upload_blob(name, f'{{"grants":{grants}}}', overwrite=True)
    rig.trace(settings={"M365_MESSAGE_TRACE_REQUESTS": "100"})
    assert not rig.statuses(late.trace_id)
    assert rig.checkpoint(SOURCE).rows.again == (hour,)

    rig.free_budget()
    rig.trace()

    assert rig.statuses(late.trace_id)
    assert not rig.checkpoint(SOURCE).rows.again


def test_an_hour_with_a_stuck_row_that_can_never_be_read_keeps_no_last_reading_waiting(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    rig.pass_time(minutes=40)
    bad = hour_of(rig.tenant.now()) + 10 * MINUTE
    place(rig, bad)
    spoil(monkeypatch, bad)
    write_down(rig, hour_of(bad), place(rig, bad + 7 * MINUTE), "pending")
    rig.change_note(again=[hour_of(bad).isoformat()])

    for _ in range(11):
        rig.trace(tuning=ONCE)
        rig.pass_time(hours=12)

    states = rig.states(SOURCE)
    assert states[(bad + 24 * HOUR).date()] == "final"
    assert states[bad.date()] == "open"
    assert rig.checkpoint(SOURCE).rows.stuck == (hour_of(bad),)


def test_an_hour_whose_last_second_comes_after_a_week_is_read_to_its_end_and_no_gap(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    rig.pass_time(minutes=40)
    bad = rig.ago(minutes=30).replace(microsecond=0)
    row = place(rig, bad)
    with monkeypatch.context() as patch:
        spoil(patch, bad)
        for hours in (20, 20, 20, 48, 48, 48):
            rig.trace(tuning=ONCE)
            rig.pass_time(hours=hours)

    rig.trace_until_caught_up()
    rig.trace()

    assert rig.statuses(row.trace_id)
    assert rig.states(SOURCE)[bad.date()] == "final"


def test_an_hour_of_which_nothing_can_be_written_down_ends_no_two_runs_alike(mail: Mail) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    hour, old = hour_of(rig.ago(hours=20)), hour_of(rig.ago(days=5))
    write_down(rig, hour, place(rig, hour + MINUTE), "delivered")
    # A person, or a backup, holds its blob.
    root = f"digests/{rig.tenant.spec.tenant_id}/{SOURCE}"
    blob = rig.storage.state.get_blob_client(f"{root}/{hour:%Y-%m-%dT%H}/00.bin")
    lease = blob.acquire_lease(-1)
    late, missed = place(rig, hour + 5 * HOUR), place(rig, old)
    rig.change_note(
        again=[each.isoformat() for each in (hour, hour + 5 * HOUR)],
        backfill=[[old.isoformat(), (old + HOUR).isoformat()]],
    )

    assert rig.trace().status == "failed"
    rig.trace()
    assert rig.statuses(late.trace_id)
    # Which of the rest comes first is left to chance.
    for _ in range(20):
        if rig.statuses(missed.trace_id):
            break
        rig.trace()
    assert rig.statuses(missed.trace_id)

    lease.release()
    rig.trace_until_caught_up()
    assert rig.digests_by_hour()[hour].pending == 0


def test_a_row_is_not_given_up_while_its_hour_could_not_be_read_whole(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.trace_until_caught_up()
    hour = hour_of(rig.ago(hours=5))
    (row,) = rig.tenant.trace.offer(received=hour + 7 * MINUTE, status="delivered")
    # A worker wrote it down and died; since then the service fails at it.
    write_down(rig, hour, row, "delivered")
    rig.change_note(again=[hour.isoformat()])
    with monkeypatch.context() as patch:
        spoil(patch, hour + 7 * MINUTE)
        rig.trace(tuning=ONCE)

    counts = rig.digests_by_hour()[hour]
    assert (counts.listed, counts.pending, counts.gone) == (1, 1, 0)

    rig.trace()

    counts = rig.digests_by_hour()[hour]
    assert (counts.listed, counts.delivered, counts.gone) == (1, 1, 0)
    assert len(rig.statuses(row.trace_id)) == 1


def test_a_row_that_changed_before_it_was_delivered_is_accounted_for_in_a_busy_hour_too(
    mail: Mail,
) -> None:
    rig = mail(max_page=5)
    rig.tenant.trace.offer(count=60, received=rig.ago(minutes=62), within=HOUR)
    rig.trace_until_caught_up()
    received = hour_of(rig.tenant.now()) - 5 * HOUR + 7 * MINUTE
    row = place(rig, received)
    write_down(rig, hour_of(received), row, "pending")
    rig.change_note(again=[hour_of(received).isoformat()])

    summary = rig.trace()

    assert rig.checkpoint(SOURCE).rows.width < HOUR.total_seconds() / 2

    counts = rig.digests_by_hour()[hour_of(received)]
    assert (counts.listed, counts.delivered, counts.gone, counts.pending) == (2, 1, 1, 0)
    assert (summary.caught_up, summary.lost) == (True, 1)
