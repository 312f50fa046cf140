"""A replay: what could not be delivered is, once it can be; nothing is removed before the ledger says so."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import shared.sources.audit.management_api
from local.__main__ import main
from local.eventhubs import Fault as HubFault
from local.tenant import Content, Fault
from shared import policy
from shared.app import NO_CONNECTION, NO_REPLAY, App
from shared.contents.replay import LEFT_OUT, LISTED, NOT_SPLIT, NOT_STORED_SO
from shared.errors import Permanent
from shared.records import Records, read_records
from shared.sources.registry import load
from shared.state.dead_letters import DeadLetters, count_letters
from shared.state.ledger import State
from tests.harness import EXCHANGE, FAST, HUB, Rig, record
from tests.letters import LeavingOut, run_as_before
from tests.proxy import APPEND, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.azurite import Azurite
    from shared.run.replays import ReplaySummary

OVER_THE_LIMIT = 1 << 20


def replay(rig: Rig, **changes: Any) -> ReplaySummary:
    """Replay the dead letters of the rig's feed, in a process of its own as it were."""
    app = rig.app(replace(FAST, **changes))
    try:
        (summary,) = app.replay(EXCHANGE)
        return summary
    finally:
        app.close()


def counts(rig: Rig) -> Counter[str]:
    """What the table of days says in all."""
    found: Counter[str] = Counter()
    for row in rig.day_rows():
        assert row["listed"] == row["delivered"] + row["lost"] + row["pending"]
        found.update({name: row[name] for name in ("listed", "delivered", "lost", "dead_records")})
    return found


@pytest.fixture(autouse=True)
def _collected_before(rig: Rig) -> None:
    """The feed has run before, long enough ago for everything here to be new: that spares most of a first run."""
    rig.has_collected(hours_ago=31)


@pytest.fixture
def broken_split(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A splitter with a defect: it refuses every body that has this word in it."""
    with monkeypatch.context() as patch:
        patch.setattr("shared.contents.reader.read_records", refuse)
        yield patch


def refuse(body: bytes) -> Records:
    """Cut a body into its records, unless it holds what the defect is about."""
    if b"refused-by-a-defect" in body:
        raise Permanent("not understood", code="not-records")
    return read_records(body)


def dead_letter(rig: Rig, number: int = 2) -> list[Content]:
    """Contents whose bodies a splitter with a defect refuses, given up beside others that are delivered."""
    refused = [
        rig.offer(
            hours_ago=30,
            body=b"[\n" + record(Subject="refused-by-a-defect") + b" ,\r\n" + record() + b"]",
        )
        for _ in range(number)
    ]
    rig.offer_many(2, hours_ago=30)
    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().dead_letters == number
    assert len(rig.dead_letters()) == number
    return refused


def test_bytes_that_could_not_be_split_are_delivered_by_a_replay_after_a_fix(
    rig: Rig, broken_split: pytest.MonkeyPatch
) -> None:
    refused = dead_letter(rig)
    assert counts(rig) == {"listed": 4, "delivered": 2, "lost": 2, "dead_records": 0}
    day = refused[0].created.date()
    assert "dead-lettered" in [kind for kind, _, _ in rig.reasons(day)]

    # Without a fix nothing changes.
    before = rig.dead_letters()
    with pytest.MonkeyPatch.context() as same:
        same.setattr("shared.contents.replay.read_records", refuse)
        summary = replay(rig)
    assert (summary.letters, summary.delivered, summary.kept) == (2, 0, {NOT_SPLIT: 2})
    assert rig.dead_letters() == before

    broken_split.undo()
    summary = replay(rig)

    assert (summary.letters, summary.delivered, summary.records) == (2, 2, 4)
    assert (summary.kept, summary.error) == ({}, "")
    rig.assert_complete()
    assert rig.repeats() == 0
    for content in refused:
        arrived = [
            each
            for each in rig.hubs.events(HUB)
            if each.properties["content_id"] == content.content_id
        ]
        assert {each.properties["connection"] for each in arrived} == {"default"}
        assert {each.properties["source"] for each in arrived} == {EXCHANGE}
        assert rig.ledger()[content.content_id].records == 2
    assert rig.dead_letters() == {}
    assert counts(rig) == {"listed": 4, "delivered": 4, "lost": 0, "dead_records": 0}
    assert "dead-lettered" not in [kind for kind, _, _ in rig.reasons(day)]

    # Runs and replays after it find nothing to do, and take nothing back.
    assert (replay(rig).letters, rig.run().delivered) == (0, 0)
    assert counts(rig)["delivered"] == 4
    assert rig.repeats() == 0


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of the blob service; only the replay goes through it."""
    with Proxy(azurite.blob_endpoint) as running:
        yield running


@pytest.mark.parametrize(
    ("pattern", "repeats"),
    [
        pytest.param(APPEND, 4, id="before-the-ledger-is-written"),
        pytest.param(r"DELETE \S*/m365-dead-letters/", 0, id="before-anything-is-removed"),
    ],
)
def test_a_replay_that_dies_half_way_removes_nothing_too_early_and_is_simply_repeated(
    rig: Rig,
    azurite: Azurite,
    proxy: Proxy,
    broken_split: pytest.MonkeyPatch,
    pattern: str,
    repeats: int,
) -> None:
    dead_letter(rig)
    broken_split.undo()
    kept = rig.dead_letters()
    proxy.refuse(pattern)
    through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
    app = rig.app(replace(FAST, close_seconds=0.5), M365_STORAGE_CONNECTION_STRING=through)

    (died,) = app.replay(EXCHANGE)
    app.close()

    assert died.error
    assert died.delivered == 0
    assert rig.dead_letters() == kept
    rig.assert_nothing_claimed_early()

    assert replay(rig).delivered == 2
    rig.assert_complete()
    assert rig.repeats() == repeats
    assert rig.dead_letters() == {}
    assert counts(rig) == {"listed": 4, "delivered": 4, "lost": 0, "dead_records": 0}


def test_a_hub_that_takes_nothing_ends_a_replay_and_every_letter_stays(
    rig: Rig, broken_split: pytest.MonkeyPatch
) -> None:
    dead_letter(rig)
    broken_split.undo()
    rig.hubs.faults.add(
        HubFault(on="attach", action="refuse", condition="amqp:unauthorized-access", times=-1)
    )

    summary = replay(rig, patience=replace(FAST.patience, no_acknowledgement=1.0))

    assert summary.error
    assert (summary.delivered, sum(summary.kept.values())) == (0, 2)
    assert len(rig.dead_letters()) == 2
    assert counts(rig)["delivered"] == 2

    rig.hubs.faults.clear()
    assert replay(rig).delivered == 2
    rig.assert_complete()


@pytest.mark.parametrize("takes", [1, 2, 4], ids=["neither", "one", "both"])
def test_old_letters_of_records_over_the_limit_are_claim_checked_or_sent_where_the_hub_takes_them(
    rig: Rig, takes: int
) -> None:
    large = record(Padding="x" * OVER_THE_LIMIT)
    larger = record(Padding="y" * 3 * OVER_THE_LIMIT)
    content = rig.offer(records=[record(), large, larger])
    run_as_before(rig, content, [large, larger])
    assert counts(rig) == {"listed": 1, "delivered": 1, "lost": 0, "dead_records": 0}

    rig.hubs.take_up_to(takes * OVER_THE_LIMIT)
    summary = replay(rig)

    assert (summary.delivered, summary.records, summary.kept) == (2, 2, {})
    assert rig.dead_letters() == {}
    claimed = {1: 2, 2: 1, 4: 0}[takes]
    assert len(rig.pointers()) == claimed
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.dead) == (State.DELIVERED, 3, 0)
    assert (entry.bytes, entry.claim_checks) == (sum(map(len, content.records or ())), claimed)
    assert counts(rig)["dead_records"] == 0
    assert sum(row["claim_checks"] for row in rig.day_rows()) == claimed
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_record_over_the_limit_inside_bytes_that_are_replayed_is_claim_checked(
    rig: Rig, broken_split: pytest.MonkeyPatch
) -> None:
    huge = record(Padding="z" * OVER_THE_LIMIT)
    small = record(Subject="refused-by-a-defect")
    content = rig.offer(records=[huge, small])
    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().dead_letters == 1
    broken_split.undo()

    assert replay(rig).delivered == 1

    assert rig.dead_letters() == {}
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.claim_checks) == (State.DELIVERED, 2, 1)
    assert [rig.body(each) for each in rig.pointers()] == [huge]
    rig.assert_complete()


def test_a_replay_whose_bytes_cannot_be_kept_leaves_their_letters_and_says_why(
    rig: Rig, azurite: Azurite, proxy: Proxy
) -> None:
    large = record(Padding="x" * OVER_THE_LIMIT)
    content = rig.offer(records=[record(), large])
    run_as_before(rig, content, [large])
    proxy.refuse(r"PUT \S*/m365-claim-checks/", times=-1, status=403)
    through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
    app = rig.app(FAST, M365_STORAGE_CONNECTION_STRING=through)

    (summary,) = app.replay(EXCHANGE)
    app.close()

    assert "m365-claim-checks" in summary.error or "claim-checked event" in summary.error
    assert (summary.delivered, list(rig.dead_letters().values())) == (0, [large])
    assert rig.pointers() == []

    assert replay(rig).delivered == 1
    rig.assert_complete()


def test_an_entry_that_could_not_be_understood_is_fetched_after_a_fix_and_then_done(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = rig.offer(hours_ago=30, hidden_after_listings=1)
    right = shared.sources.audit.management_api._object

    def wrong(raw: bytes) -> dict[str, Any]:
        return {} if content.content_id.encode() in raw else right(raw)

    with monkeypatch.context() as patch:
        patch.setattr(shared.sources.audit.management_api, "_object", wrong)
        assert rig.run().dead_letters == 1
    assert rig.events() == []

    assert replay(rig).kept == {LISTED: 1}
    assert rig.run().delivered == 1
    rig.assert_complete()
    assert replay(rig).delivered == 1

    assert rig.dead_letters() == {}
    assert counts(rig)["lost"] == 0
    assert {entry.state for entry in rig.ledger().values()} == {State.DELIVERED}


@pytest.mark.parametrize(
    "content_id",
    [
        pytest.param("a\x01$\u2028$ä", id="what-no-header-holds"),
        pytest.param(" a$b$c ", id="blanks-around"),
        pytest.param("i" * 3000, id="very-long"),
    ],
)
def test_a_letter_of_a_content_with_an_odd_id_is_delivered_under_its_true_id(
    rig: Rig, content_id: str
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    huge = record(Padding="x" * OVER_THE_LIMIT)
    content = rig.offer(records=[huge, record()], hours_ago=30)
    feed = f"{rig.server.endpoint}/api/v1.0/{rig.tenant.spec.tenant_id}/activity/feed"
    entry = {
        "contentId": content_id,
        "contentUri": f"{feed}/audit/{content.content_id}",
        "contentCreated": content.created.isoformat(),
    }
    body = json.dumps([entry])
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body=body, times=-1))
    run_as_before(rig, content, [huge], content_id=content_id)

    assert replay(rig).delivered == 1

    assert rig.dead_letters() == {}
    arrived = {rig.body(each): each.properties["content_id"] for each in rig.hubs.events(HUB)}
    assert arrived[huge] == content_id
    assert rig.ledger()[content_id].dead == 0


def test_a_letter_whose_bytes_were_changed_is_not_delivered_as_if_they_had_come_so(
    rig: Rig, broken_split: pytest.MonkeyPatch
) -> None:
    dead_letter(rig, 1)
    broken_split.undo()
    (name,) = rig.dead_letters()
    before = len(rig.events())
    blob = rig.storage.dead_letters.get_blob_client(name)
    metadata = blob.get_blob_properties().metadata
    blob.upload_blob(b'[{"Id":"made up"}]', overwrite=True, metadata=metadata)

    summary = replay(rig)

    assert (summary.delivered, summary.kept) == (0, {NOT_STORED_SO: 1})
    assert (list(rig.dead_letters()), len(rig.events())) == ([name], before)


def test_what_was_delivered_meanwhile_is_not_sent_again_and_its_letter_goes(rig: Rig) -> None:
    content = rig.offer()
    rig.run()
    letters = DeadLetters(rig.storage.dead_letters, f"{rig.tenant.spec.tenant_id}/{EXCHANGE}")
    letters.put(
        "content", content.created.date(), b"[1]", content_id=content.content_id, reason="r"
    )

    assert replay(rig).delivered == 1

    assert rig.dead_letters() == {}
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_record_of_which_the_format_makes_no_event_stays_and_is_named(rig: Rig) -> None:
    large = record(Padding="x" * OVER_THE_LIMIT)
    left_out = record(Padding="y" * OVER_THE_LIMIT)
    content = rig.offer(records=[record(), large, left_out])
    run_as_before(rig, content, [large, left_out])

    app = App(load(rig.values()), tuning=FAST, format=LeavingOut([left_out]))
    (first, second) = [*app.replay(EXCHANGE), *app.replay(EXCHANGE)]
    app.close()

    assert (first.letters, first.delivered, first.records) == (2, 1, 1)
    assert (second.letters, second.delivered) == (1, 0)
    assert first.kept == second.kept == {LEFT_OUT: 1}
    assert list(rig.dead_letters().values()) == [left_out]
    entry = rig.ledger()[content.content_id]
    assert (entry.records, entry.dead) == (2, 1)
    assert counts(rig)["dead_records"] == 1

    # A format that has it brings it back.
    assert replay(rig).delivered == 1
    assert rig.ledger()[content.content_id].dead == 0
    rig.assert_complete()
    assert rig.repeats() == 0


def settings_file(folder: Path, values: dict[str, str]) -> str:
    """A local settings file."""
    file = folder / "settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    return str(file)


def test_letters_of_what_is_no_longer_collected_are_delivered_or_named_with_the_reason(
    rig: Rig,
    broken_split: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dead_letter(rig, 1)
    broken_split.undo()
    tenant, other = rig.tenant.spec.tenant_id, str(uuid.uuid4())
    nobodys = [f"{other}/{EXCHANGE}", f"{tenant}/Audit.Gone"]
    for key in nobodys:
        letters = DeadLetters(rig.storage.dead_letters, key)
        for number in range(2):
            letters.put("record", date(2026, 3, 1), b"%d" % number, content_id="c", reason="r")
    file = settings_file(tmp_path, rig.values(M365_SOURCES="Audit.General,DLP.All"))

    status = main(["replay", "--settings", file])

    said = capsys.readouterr().out
    assert status == 1, said
    where = f"default/{EXCHANGE} (not collected by these settings)"
    assert f"{where}: 1 of 1 dead letters delivered, 2 records\n" in said
    assert "default/DLP.All: 0 of 0 dead letters delivered, 0 records\n" in said
    assert "default/Audit.SharePoint" not in said
    for key, reason in zip(nobodys, (NO_CONNECTION, NO_REPLAY), strict=True):
        stays = f"{key} (not collected by these settings): 0 of 2 dead letters delivered, 0 records"
        assert f"{stays}\n  2 kept: {reason}\n" in said
    rig.assert_complete()
    assert rig.dead_letters() == {}
    assert {event.properties["connection"] for event in rig.hubs.events(HUB)} == {"default"}

    assert main(["replay", "--settings", file, "--source", EXCHANGE]) == 0


def test_of_two_connections_of_a_tenant_the_one_that_collects_a_source_replays_it(
    rig: Rig, broken_split: pytest.MonkeyPatch
) -> None:
    dead_letter(rig, 1)
    broken_split.undo()
    settings = load(rig.values())
    (only,) = settings.connections
    first = replace(only, name="first", sources=("Audit.General",))
    second = replace(only, name="second", sources=(EXCHANGE,))
    app = App(replace(settings, connections=(first, second)), tuning=FAST)

    (summary,) = app.replay(EXCHANGE)

    app.close()
    assert (summary.connection, summary.delivered, summary.collected) == ("second", 1, True)


def test_what_a_replay_has_to_say_is_said_before_anything_later_can_fail(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = rig.offer(body=b"[1")
    letters = DeadLetters(rig.storage.dead_letters, f"{rig.tenant.spec.tenant_id}/{EXCHANGE}")
    letters.put("content", content.created.date(), b"[1", content_id=content.content_id, reason="r")
    file = settings_file(tmp_path, rig.values())

    def fail(container: object, prefix: str = "") -> Counter[str]:
        raise policy.error("storage-unreachable")

    monkeypatch.setattr("shared.app.count_letters", fail)

    status = main(["replay", "--settings", file])

    said = capsys.readouterr()
    assert status == 1
    assert f"default/{EXCHANGE}: 0 of 1 dead letters delivered" in said.out
    assert f"  1 kept: {NOT_SPLIT}" in said.out
    assert "storage account does not answer" in said.err


def test_a_feed_that_cannot_be_replayed_is_no_reason_to_leave_the_letters_of_another(
    rig: Rig, broken_split: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letter(rig, 1)
    broken_split.undo()
    app = rig.app(M365_SOURCES=EXCHANGE)

    def fail_once(container: object, prefix: str = "") -> Counter[str]:
        if prefix.endswith("Audit.AzureActiveDirectory"):
            raise policy.error("storage-unreachable")
        return count_letters(container, prefix)  # type: ignore[arg-type]

    monkeypatch.setattr("shared.app.count_letters", fail_once)

    # In the same account lie letters of other tenants, too.
    done = {each.source: each for each in app.replay() if each.connection == "default"}

    app.close()
    failed = done["Audit.AzureActiveDirectory"]
    assert ("storage account does not answer" in failed.error, failed.collected) == (True, False)
    assert (done[EXCHANGE].delivered, done[EXCHANGE].error) == (1, "")


def test_the_command_replays_what_its_settings_name_and_says_what_stays(
    rig: Rig,
    broken_split: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dead_letter(rig, 1)
    rig.offer(hours_ago=0.5, body=b"[oops")
    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    broken_split.undo()
    file = settings_file(tmp_path, rig.values())
    before = len(rig.events())

    status = main(["replay", "--settings", file, "--source", EXCHANGE])

    said = capsys.readouterr().out
    assert status == 1, said
    assert f"default/{EXCHANGE}: 1 of 2 dead letters delivered, 2 records" in said
    assert f"1 kept: {NOT_SPLIT}" in said
    assert len(rig.events()) == before + 2
    assert list(rig.dead_letters().values()) == [b"[oops"]
    assert main(["replay", "--settings", file, "--source", "Audit.General"]) == 0
    assert main(["replay", "--settings", file, "--source", "Nonsense"]) == 2
