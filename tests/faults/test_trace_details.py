"""Details of rows: an opt-in with events, budget and ledger of their own, for which no row ever waits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from local.__main__ import main
from local.tenant import Fault
from shared.contents.replay import NOT_SPLIT
from shared.days.gaps import GAP
from shared.errors import Permanent
from shared.service.http import Limits
from shared.sources.message_trace import details as trace_details
from shared.sources.message_trace import graph
from shared.sources.message_trace.details import TraceDetails
from shared.sources.message_trace.replay import ROW
from shared.sources.message_trace.row import SOURCE, digest_of
from shared.state.dead_letters import RECORD, DeadLetters
from shared.state.ledger import State
from tests.campaign import free_lease, kill
from tests.harness import FAST, TRACE_HUB
from tests.letters import REASON, leave_letters
from tests.proxy import Proxy
from tests.tracing import MANY, TraceRig
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from local.azurite import Azurite
    from shared.records import Records
    from shared.rows.paging import Page
    from shared.run.replays import ReplaySummary
    from shared.service.http import Response
    from tests.runclock import RunClock

Mail = Callable[..., TraceRig]
DETAILS = f"{SOURCE}.Details"
WANTED = {"M365_MESSAGE_TRACE_DETAILS": "delivered"}


def detailed(rig: TraceRig) -> set[str]:
    """The rows of which details are at the hub, by their digests."""
    return {str(event.properties["content_id"]) for event in rig.details()}


@pytest.mark.parametrize("status", ["delivered", "failed"])
def test_details_are_events_of_their_own_and_hold_no_row_back(mail: Mail, status: str) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20), status="delivered")
    (gone,) = rig.tenant.trace.offer(
        received=rig.ago(minutes=20), status="delivered", details="missing"
    )
    rig.tenant.trace.offer(received=rig.ago(minutes=20), status="pending")
    settings = {"M365_MESSAGE_TRACE_DETAILS": status}

    summary = rig.trace(settings=settings)

    assert summary.delivered == 3
    assert len(rig.arrived()) == 3
    details = rig.details()
    if status != "delivered":
        assert not details
        return
    assert {event.properties["content_id"] for event in details} == {
        digest_of(row.trace_id, row.recipient, "delivered").hex()
    }
    assert all(row.trace_id.encode() in event.body for event in details)
    # The one without details waits in a ledger of its own, and is in nobody's way.
    pending = [each for each in rig.ledger(DETAILS).values() if not each.terminal]
    assert [each.id for each in pending] == [
        digest_of(gone.trace_id, gone.recipient, "delivered").hex()
    ]
    assert rig.trace(settings=settings).delivered == 0
    assert len(rig.details()) == len(details)


def test_details_take_a_quarter_of_the_budget_and_the_rest_of_them_waits_for_the_next_run(
    mail: Mail,
) -> None:
    rig = mail()
    rig.tenant.trace.offer(count=12, received=rig.ago(minutes=20))
    budget = {"M365_MESSAGE_TRACE_REQUESTS": "20", "M365_MESSAGE_TRACE_BACKFILL_DAYS": "0"}

    rig.trace(settings={**WANTED, **budget})

    assert len(rig.arrived()) == 12
    assert len(detailed(rig)) == 5
    for _ in range(2):
        rig.pass_time(minutes=6)
        rig.trace(settings={**WANTED, **budget})
    assert len(detailed(rig)) == 12
    assert rig.tenant.trace.books.max_requests_in_5_minutes <= 20


def test_details_that_never_answer_hold_up_no_row_and_come_once_they_can(
    mail: Mail, run_clock: RunClock
) -> None:
    rig = mail()
    (late,) = rig.tenant.trace.offer(received=rig.ago(days=3))
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))
    rig.tenant.faults.add(Fault(on="details", action="hang", delay_s=60, times=-1))

    limits = Limits(connect=20, read=3, total=20)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(rig.trace, settings=WANTED, limits=limits)
        wait_for(lambda: rig.tenant.books.requests("details"))
        run_clock.pass_deadline()
        summary = run.result(LONG)

    assert rig.statuses(row.trace_id)
    assert rig.statuses(late.trace_id)
    assert summary.delivered == 2
    assert not rig.checkpoint(SOURCE).rows.backfill
    rig.tenant.faults.clear()
    rig.trace(settings=WANTED)
    rig.assert_trace_complete()
    assert len(detailed(rig)) == 2


def test_killed_while_it_fetches_details_every_one_of_them_comes(mail: Mail) -> None:
    rig = mail()
    rows = rig.tenant.trace.offer(count=6, received=rig.ago(minutes=20))
    rig.tenant.faults.add(Fault(on="details", action="slow", delay_s=0.3, times=-1))
    worker = rig.spawn(SOURCE, settings={**MANY, **WANTED})
    wait_for(lambda: len(rig.details()) >= 2)
    kill(worker)
    rig.tenant.faults.clear()
    free_lease(rig, SOURCE)

    rig.trace(settings=WANTED)

    assert detailed(rig) == {
        digest_of(row.trace_id, row.recipient, "delivered").hex() for row in rows
    }
    assert rig.trace_repeats() == 0
    rig.assert_trace_complete()


def test_of_more_details_than_can_ever_be_fetched_no_more_are_asked_for_and_the_log_says_so(
    mail: Mail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace_details, "MOST_WAITING", 3)
    rig = mail()
    rig.tenant.trace.offer(count=8, received=rig.ago(minutes=20))

    rig.trace(settings=WANTED)

    assert len(rig.arrived()) == 8
    assert len(detailed(rig)) == len(rig.ledger(DETAILS)) == 3
    assert "the details of 5 rows are not asked for" in caplog.text
    rig.assert_trace_complete()


def test_that_details_are_not_asked_for_is_known_after_a_death_too(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_details, "MOST_WAITING", 3)
    rig = mail()
    rig.tenant.trace.offer(count=8, received=rig.ago(minutes=20))
    today = rig.tenant.now().date()
    with monkeypatch.context() as death:
        # After the rows were written down as delivered, and before the end of the run.
        death.setattr(TraceDetails, "fetch_due", lambda _: None)
        death.setattr(TraceDetails, "close", lambda _: None)
        rig.trace(settings=WANTED)

    rig.trace(settings=WANTED)

    assert len(detailed(rig)) == len(rig.ledger(DETAILS)) == 3
    assert [kind for kind, _, _ in rig.reasons(today, DETAILS)] == [GAP]


def test_a_row_that_no_address_can_name_has_no_details_and_holds_nothing_up(
    mail: Mail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = mail()
    rig.tenant.trace.offer(received=rig.ago(minutes=20), recipients=["LONELY@x.example"])
    (other,) = rig.tenant.trace.offer(received=rig.ago(minutes=25))
    today, read = rig.tenant.now().date(), graph._read_page

    def unpaired(answer: Response) -> Page:
        return read(replace(answer, body=answer.body.replace(b"LONELY", b"\\ud800")))

    monkeypatch.setattr(graph, "_read_page", unpaired)
    summary = rig.trace(settings=WANTED)

    assert (summary.status, summary.delivered) == ("succeeded", 2)
    assert detailed(rig) == {digest_of(other.trace_id, other.recipient, "delivered").hex()}
    assert caplog.text.count("its id or its recipient is no Unicode") == 1
    ((kind, start, end),) = rig.reasons(today, DETAILS)
    assert (kind, end - start) == (GAP, timedelta(seconds=1))
    assert rig.trace(settings=WANTED).delivered == 0


# -- dead letters


def replay(rig: TraceRig) -> list[ReplaySummary]:
    """Replay the dead letters of the rig's feed, in a process of its own as it were."""
    app = rig.app(FAST, **MANY)
    try:
        return list(app.replay(SOURCE))
    finally:
        app.close()


def refuse(body: bytes) -> Records:
    """A splitter with a defect: it refuses every body of details."""
    del body
    raise Permanent("not understood", code="not-records")


def dead_letter(rig: TraceRig, number: int) -> None:
    """Details of rows that are given up, since their bodies could not be split."""
    rig.tenant.trace.offer(count=number, received=rig.ago(minutes=20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.contents.reader.read_records", refuse)
        rig.trace(settings=WANTED)
        rig.pass_time(minutes=11)
        rig.trace(settings=WANTED)
    assert len(rig.dead_letters(DETAILS)) == number
    assert not rig.details()


def forget_everything(rig: TraceRig) -> None:
    """Remove the state of every feed, so that a run delivers all of it once more."""
    for prefix in ("checkpoints/", "digests/", "ledger/"):
        for blob in rig.storage.state.list_blobs(name_starts_with=prefix):
            rig.storage.state.delete_blob(blob.name)


def test_details_that_could_not_be_split_are_delivered_by_a_replay_as_a_run_delivers_them(
    mail: Mail,
) -> None:
    rig = mail()
    dead_letter(rig, 3)
    kept = rig.dead_letters(DETAILS)

    # Without a fix nothing changes.
    with pytest.MonkeyPatch.context() as same:
        same.setattr("shared.contents.replay.read_records", refuse)
        rows, details = replay(rig)
    assert (rows.source, rows.letters) == (SOURCE, 0)
    assert (details.letters, details.delivered, details.kept) == (3, 0, {NOT_SPLIT: 3})
    assert rig.dead_letters(DETAILS) == kept

    _, details = replay(rig)

    assert (details.source, details.letters, details.delivered) == (DETAILS, 3, 3)
    assert (details.kept, details.error) == ({}, "")
    assert rig.dead_letters(DETAILS) == {}
    assert len(detailed(rig)) == 3
    ledger = rig.ledger(DETAILS).values()
    assert {entry.state for entry in ledger} == {State.DELIVERED}
    arrived = Counter((each.body, tuple(sorted(each.properties.items()))) for each in rig.details())
    assert details.records == arrived.total() == sum(entry.records for entry in ledger)
    (day,) = rig.day_rows(DETAILS)
    assert (day["listed"], day["delivered"], day["lost"]) == (3, 3, 0)
    assert len(replay(rig)) == 1
    rig.trace(settings=WANTED)
    assert len(rig.details()) == arrived.total()

    # What a run delivers is the same to the last property.
    forget_everything(rig)
    rig.trace_until_caught_up(settings=WANTED)
    again = Counter((each.body, tuple(sorted(each.properties.items()))) for each in rig.details())
    assert again == arrived + arrived


def test_details_of_a_trace_that_is_no_longer_collected_are_delivered(mail: Mail) -> None:
    rig = mail()
    dead_letter(rig, 1)
    app = rig.app(FAST, M365_SOURCES="Audit.General")

    _, details = app.replay(SOURCE)

    app.close()
    assert (details.source, details.delivered, details.collected) == (DETAILS, 1, False)
    assert not rig.dead_letters(DETAILS)


def test_where_rows_cannot_be_counted_what_became_of_details_is_said_all_the_same(
    mail: Mail, azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = mail()
    dead_letter(rig, 1)
    file = tmp_path / "settings.json"
    with Proxy(azurite.blob_endpoint) as proxy:
        proxy.refuse(rf"GET \S*comp=list\S*{SOURCE}(%2F|/)", status=403)
        through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
        values = rig.values(**MANY, **WANTED, M365_STORAGE_CONNECTION_STRING=through)
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        status = main(["replay", "--settings", str(file), "--source", SOURCE])

    said = capsys.readouterr().out
    assert status == 1, said
    assert f"default/{SOURCE}: 0 of 0 dead letters delivered, 0 records\n  ended early: " in said
    assert f"default/{DETAILS}: 1 of 1 dead letters delivered" in said
    assert not rig.dead_letters(DETAILS)


def test_the_command_names_every_dead_letter_of_rows_and_of_details(
    mail: Mail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = mail()
    rig.tenant.trace.offer(received=rig.ago(minutes=30))
    body = json.dumps({"value": [{"event": "Receive"}]})
    rig.tenant.faults.add(Fault(on="details", action="status", status=200, body=body))
    rig.trace(settings=WANTED)
    (detail,) = rig.ledger(DETAILS)
    large = json.dumps({"event": "Deliver", "data": "y" * 1_100_000}).encode()
    leave_letters(rig, DETAILS, detail, [large])
    letters = DeadLetters(rig.storage.dead_letters, f"{rig.tenant.spec.tenant_id}/{SOURCE}")
    letters.put(RECORD, rig.ago(minutes=30).date(), b"{}", content_id="1", reason=REASON)
    file = tmp_path / "settings.json"
    values = rig.values(**MANY, **WANTED)
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    command = ["replay", "--settings", str(file), "--source", SOURCE]

    status = main(command)

    said = capsys.readouterr().out
    assert status == 1, said
    assert f"default/{SOURCE}: 0 of 1 dead letters delivered, 0 records" in said
    assert f"1 kept: {ROW}" in said
    assert f"default/{DETAILS}: 1 of 1 dead letters delivered, 1 records" in said
    assert not rig.dead_letters(DETAILS)
    assert len(rig.dead_letters(SOURCE)) == 1
    (entry,) = rig.ledger(DETAILS).values()
    assert (entry.state, entry.records, entry.dead) == (State.DELIVERED, 2, 0)
    assert [json.loads(each.body) for each in rig.details()] == [{"event": "Receive"}]
    (pointer,) = rig.pointers(TRACE_HUB)
    assert rig.body(pointer) == large
    assert pointer.properties["claim_kind"] == "detail"
    assert pointer.properties["content_id"] == detail
