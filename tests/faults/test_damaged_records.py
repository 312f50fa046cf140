"""One damaged record: its siblings flow, its own bytes are kept with their place, and a replay brings them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from local.tenant import Content, Fault
from shared import policy
from shared.state.dead_letters import DeadLetters
from shared.state.ledger import State
from tests.faults.test_replay import counts, replay
from tests.harness import EXCHANGE, HUB, Rig, record
from tests.letters import run_as_before

RECORDS = [record(Subject=f"number {n}") for n in range(5)]
OVER_THE_LIMIT = 1 << 20


@pytest.fixture(autouse=True)
def _collected_before(rig: Rig) -> None:
    rig.has_collected(hours_ago=31)


def offer_damaged(rig: Rig, damaged: bytes, at: int = 2) -> Content:
    """A content whose records are whole but for one."""
    bodies = [*RECORDS[:at], damaged, *RECORDS[at + 1 :]]
    return rig.offer(hours_ago=30, body=b"[" + b",\r\n".join(bodies) + b"]")


def run_twice(rig: Rig) -> int:
    """Two runs, since what is damaged may have been spoilt on its way; how many letters they wrote."""
    first = rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    return first.dead_letters + rig.run().dead_letters


def arrived(rig: Rig) -> dict[bytes, str]:
    """Each body at the hub, and what is said of it."""
    return {
        rig.body(each): " ".join(
            f"{name}={each.properties[name]}"
            for name in ("recovered", "json")
            if name in each.properties
        )
        for each in rig.hubs.events(HUB)
    }


def test_siblings_of_a_damaged_record_flow_and_its_bytes_alone_are_kept_with_their_place(
    rig: Rig,
) -> None:
    damaged = RECORDS[2][:-9]
    content = offer_damaged(rig, damaged)
    rig.offer_many(2, hours_ago=30)

    first = rig.run()

    # What was spoilt on its way comes whole the next time.
    assert (first.delivered, first.pending, first.dead_letters) == (2, 1, 0)
    rig.tenant.advance(timedelta(minutes=11))
    second = rig.run()

    assert (second.delivered, second.records, second.dead_letters) == (0, 4, 1)
    said = arrived(rig)
    assert [said[each] for each in RECORDS if each in said] == [""] * 2 + ["recovered=true"] * 2
    ((name, kept),) = rig.dead_letters().items()
    assert kept == damaged
    metadata = rig.storage.dead_letters.get_blob_client(name).get_blob_properties().metadata
    offset = 1 + len(RECORDS[0]) + len(RECORDS[1]) + 2 * 3
    assert metadata["reason"] == f"record 3, from byte {offset}, is not JSON"
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.dead) == (State.DEAD_LETTERED, 4, 1)
    assert entry.bytes == sum(len(each) for at, each in enumerate(RECORDS) if at != 2)
    assert counts(rig) == {"listed": 3, "delivered": 2, "lost": 1, "dead_records": 1}
    day = content.created.date()
    assert [kind for kind, _, _ in rig.reasons(day)].count("dead-lettered") == 1

    # Nothing more is asked for.
    asked = len(rig.tenant.books.requests("content"))
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().delivered == 0
    assert len(rig.tenant.books.requests("content")) == asked


def test_a_replay_of_the_damaged_bytes_brings_them_alone_and_the_content_is_delivered(
    rig: Rig,
) -> None:
    content = offer_damaged(rig, RECORDS[2][:-9])
    assert run_twice(rig) == 1
    before = len(rig.events())

    summary = replay(rig)

    assert (summary.letters, summary.delivered, summary.records) == (1, 1, 1)
    assert len(rig.events()) == before + 1
    assert arrived(rig)[RECORDS[2][:-9]] == "json=invalid"
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.dead) == (State.DELIVERED, 5, 0)
    assert rig.dead_letters() == {}
    assert counts(rig) == {"listed": 1, "delivered": 1, "lost": 0, "dead_records": 0}
    assert "dead-lettered" not in [kind for kind, _, _ in rig.reasons(content.created.date())]
    assert replay(rig).letters == 0
    assert rig.repeats() == 0


@pytest.mark.parametrize("way", ["a-run", "a-replay", "old-letters"])
def test_a_record_over_the_limit_comes_with_all_that_is_said_of_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    before, after, odd = (record(Padding=each * OVER_THE_LIMIT) for each in ("x", "y", "a b"))
    odd = odd.replace(b"a b", b"a\n", 1)
    body = b",".join([before, RECORDS[1][:-1], RECORDS[2], after, odd])
    content = rig.offer(hours_ago=30, body=b"[" + body + b"]")
    if way == "a-replay":
        # A splitter with a defect leaves all of it to the replay.
        monkeypatch.setattr("shared.contents.reader.read_records", _refuse)
    if way == "old-letters":
        rig.run()
        rig.tenant.advance(timedelta(minutes=11))
        run_as_before(rig, content, [before, after, odd], recovered=[after, odd])
    else:
        run_twice(rig)
    while rig.dead_letters():
        assert replay(rig).delivered

    said = arrived(rig)
    assert [said[each] for each in (before, RECORDS[2], after, odd)] == [
        "",
        "recovered=true",
        "recovered=true",
        "recovered=true json=invalid",
    ]
    assert rig.dead_letters() == {}


def test_a_damage_beside_an_old_letter_of_a_record_over_the_limit_comes_back_with_it(
    rig: Rig,
) -> None:
    large = record(Padding="x" * OVER_THE_LIMIT)
    body = b"[" + b",".join([RECORDS[0], RECORDS[1][:-1], large]) + b"]"
    content = rig.offer(hours_ago=30, body=body)
    rig.run()
    rig.tenant.advance(timedelta(minutes=11))
    run_as_before(rig, content, [large])
    assert (rig.ledger()[content.content_id].dead, len(rig.dead_letters())) == (2, 2)

    assert replay(rig).delivered == 2
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.dead) == (State.DELIVERED, 3, 0)
    assert entry.claim_checks == 1
    assert rig.repeats() == 0


@pytest.mark.parametrize("runs", [0, 1], ids=["at-once", "in-the-next-run"])
def test_a_record_that_was_spoilt_on_its_way_costs_nothing(rig: Rig, runs: int) -> None:
    content = rig.offer(hours_ago=30, records=RECORDS)
    spoilt = b"[" + b",".join([RECORDS[0], RECORDS[1][:-1], *RECORDS[2:]]) + b"]"
    rig.tenant.faults.add(
        Fault(on="content", action="status", status=200, body=spoilt.decode(), times=1 + runs)
    )

    assert run_twice(rig) == 0

    assert rig.ledger()[content.content_id].state == State.DELIVERED
    assert arrived(rig) == dict.fromkeys(RECORDS, "")
    rig.assert_complete()


def test_raw_control_characters_are_taken_as_they_are_and_said(rig: Rig) -> None:
    raw = RECORDS[2].replace(b"number 2", b"a\r\n\x00\tb")
    content = offer_damaged(rig, raw)

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.records) == ("succeeded", 1, 5)
    assert arrived(rig) == {
        each: "json=invalid" if each == raw else "" for each in [*RECORDS[:2], raw, *RECORDS[3:]]
    }
    ids = {each.body: each.properties["event_id"] for each in rig.hubs.events(HUB)}
    assert ids[raw] == json.loads(RECORDS[2])["Id"]
    assert rig.ledger()[content.content_id].dead == 0


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param('},{"Id":"made-up"},{"Id":"', id="a-record"),
        pytest.param("},{},7,[],{", id="without-quotes"),
        pytest.param('"},{},{"Id":"made-up"}', id="an-early-end"),
    ],
)
def test_what_somebody_wrote_into_a_subject_is_no_record(rig: Rig, subject: str) -> None:
    whole = record(Subject=subject)
    for at in range(1, len(whole), 7):
        offer_damaged(rig, whole[:at])
    offer_damaged(rig, whole.replace(b'\\"', b'"', 1))

    run_twice(rig)

    assert set(arrived(rig)) <= set(RECORDS) | {whole}


def test_a_letter_of_a_whole_body_is_cut_by_a_replay(rig: Rig) -> None:
    """An older version gave up the whole body."""
    damaged = RECORDS[2][:-9]
    content = offer_damaged(rig, damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.contents.reader.read_records", _refuse)
        assert run_twice(rig) == 1
    assert list(rig.dead_letters().values()) == [content.body]

    assert replay(rig).delivered == 1

    assert list(rig.dead_letters().values()) == [damaged]
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.dead) == (State.DEAD_LETTERED, 4, 1)
    assert replay(rig).delivered == 1
    assert rig.ledger()[content.content_id].state == State.DELIVERED


def _refuse(body: bytes) -> None:
    raise policy.error("not-records")


def test_a_letter_that_cannot_be_stored_lets_no_sibling_be_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = offer_damaged(rig, RECORDS[2][:-9])
    rig.run()
    rig.tenant.advance(timedelta(minutes=11))

    def fail(*_: object, **__: object) -> str:
        raise policy.error("storage-unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "put", fail)
        assert rig.run().status == "failed"

    assert not rig.ledger(EXCHANGE)[content.content_id].terminal
    assert rig.run().dead_letters == 1
