"""What a process keeps between its runs is believed no further than storage goes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from local.tenant import Fault
from shared.state.account import read_blob
from shared.state.append_blobs import LedgerStore
from shared.state.ledger import Line, State, encode
from shared.state.tables import DAYS_TABLE
from tests.harness import EXCHANGE, Rig

pytestmark = pytest.mark.usefixtures("collected_before")

MINUTES = timedelta(minutes=10)


def ledger(rig: Rig) -> LedgerStore:
    return LedgerStore(rig.storage.state, f"ledger/{rig.tenant.spec.tenant_id}/{EXCHANGE}")


def reads(rig: Rig, caplog: pytest.LogCaptureFixture) -> int:
    """Run once; returns how often the ledger was read."""
    caplog.clear()
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        rig.run()
    return sum("GET" in each and "jsonl" in each for each in caplog.messages)


def test_a_run_reads_no_ledger_that_its_process_knows_but_what_came_to_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.offer_many(3)
    rig.run()
    (day,) = ledger(rig).stored()
    assert reads(rig, caplog) == 0
    ledger(rig).append(day, b"\n")
    assert reads(rig, caplog) == 1
    assert reads(rig, caplog) == 0

    rig.restart()

    assert reads(rig, caplog) == 1


def test_what_another_process_did_in_between_is_done_once(rig: Rig) -> None:
    rig.offer_many(3)
    rig.run()
    other = rig.app()
    rig.tenant.advance(MINUTES)
    rig.offer_many(3, hours_ago=0.5)
    assert rig.run(app=other).delivered == 3
    other.close()
    rig.tenant.advance(MINUTES)

    assert rig.run().delivered == 0

    rig.assert_complete()
    assert rig.repeats() == 0
    assert [row["listed"] for row in rig.day_rows() if row["listed"]] == [6]


def test_what_a_worker_without_the_lease_wrote_down_is_not_done_again(rig: Rig) -> None:
    late = rig.offer()
    rig.tenant.faults.add(Fault(on="content", action="status", status=503, times=-1))
    assert rig.run().pending == 1
    (day,) = ledger(rig).stored()
    line = Line(id=late.content_id, state=State.DELIVERED.value, run="late", time=1, records=1)
    ledger(rig).append(day, encode([line]))
    rig.tenant.advance(timedelta(hours=1))

    summary = rig.run()

    assert (summary.delivered, summary.pending) == (0, 0)
    assert sum(row["delivered"] for row in rig.day_rows()) == 1


def test_a_ledger_that_was_taken_away_is_not_believed(rig: Rig) -> None:
    contents = rig.offer_many(3)
    rig.run()
    (day,) = ledger(rig).stored()
    ledger(rig).delete(day, ledger(rig).stored()[day])

    assert rig.run().delivered == 3

    assert rig.delivered() == {each.content_id for each in contents}
    assert rig.repeats() == 9


def test_a_row_of_a_day_that_somebody_changed_says_the_truth_again(rig: Rig) -> None:
    rig.offer_many(2)
    rig.run()
    (row,) = [row for row in rig.day_rows() if row["listed"]]
    plain = {name: value for name, value in row.items() if name != "etag"}
    rig.storage.table(DAYS_TABLE).upsert({**plain, "listed": 7, "ledger_bytes": 1})
    rig.offer_many(2, hours_ago=0.9)
    rig.run()

    rig.run()

    assert [row["listed"] for row in rig.day_rows() if row["listed"]] == [4]


def test_after_a_run_that_failed_everything_is_read_again(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.offer_many(2)
    rig.run()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broke:
        broke.setattr("shared.contents.job.ContentJob.drop_old", broken)
        assert rig.run().status == "failed"

    assert reads(rig, caplog) == 1
    rig.assert_complete()


def test_of_quiet_runs_one_row_is_left_whichever_process_has_them(rig: Rig) -> None:
    other = rig.app()
    rig.offer_many(2)
    for app in (None, None, other, other, None):
        rig.tenant.advance(MINUTES)
        rig.run(app=app)
    other.close()

    rows = rig.run_rows()

    assert [(row["quiet"], row["listed"]) for row in rows] == [(True, 0), (False, 2)]
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    assert stored is not None
    assert json.loads(stored.data)["run"] == rows[0]["run"]
