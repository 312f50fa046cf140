"""Records: whatever they look like, each arrives byte for byte, under an id that never changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from local.tenant import Fault
from shared.state.ledger import State
from tests.harness import EXCHANGE, HUB, Rig, record

pytestmark = pytest.mark.usefixtures("collected_before")

ID = "5f1b2c3d-0000-4000-8000-00000000000a"


def digest(raw: bytes) -> str:
    """The event id of a record that has none of its own."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def bodies(rig: Rig) -> Counter[bytes]:
    """The body of every event at the hub, with how often it is there."""
    return Counter(stored.body for stored in rig.hubs.events(HUB))


def ids(rig: Rig) -> dict[bytes, str]:
    """The event id under which each body arrived."""
    return {stored.body: str(stored.properties["event_id"]) for stored in rig.hubs.events(HUB)}


def test_the_same_record_in_two_contents_is_delivered_twice_under_one_event_id(rig: Rig) -> None:
    twin, other = record(Id=ID), record(Id=ID, Operation="SendAs")
    contents = [rig.offer(records=[record(), twin]), rig.offer(records=[twin, other])]

    summary = rig.run()

    assert summary.delivered == 2
    assert bodies(rig)[twin] == 2
    same = {event for event in rig.events() if event[1] == ID}
    assert {(content_id, event_id) for content_id, event_id, _ in same} == {
        (content.content_id, ID) for content in contents
    }
    assert ids(rig)[other] == ID, "a record that changed keeps its id"
    rig.assert_complete()


def test_a_record_without_an_id_of_its_own_is_known_by_its_bytes(rig: Rig) -> None:
    odd = {
        "no id": record(Id=None),
        "null": b'{"Id":null,"RecordType":2}',
        "empty": record(Id=""),
        "number": record(Id=1234567890123456789),
        "list": record(Id=["a"]),
        "boolean": record(Id=True),
        "not an object": b'"text"',
        "nothing": b"null",
        "empty object": b"{}",
    }
    rig.offer(records=[*odd.values(), record(Id=ID)])

    summary = rig.run()

    assert (summary.delivered, summary.records) == (1, len(odd) + 1)
    found = ids(rig)
    assert {name: found.get(raw) for name, raw in odd.items()} == {
        name: digest(raw) for name, raw in odd.items()
    }
    rig.assert_complete()


def test_a_record_of_an_unusual_shape_arrives_as_it_is(rig: Rig) -> None:
    odd = {
        "time without a zone": record(CreationTime="2026-03-01T10:00:00"),
        "time with Z": record(CreationTime="2026-03-01T10:00:00Z"),
        "time with seven digits": record(CreationTime="2026-03-01T10:00:00.1234567"),
        "no time": record(CreationTime=None),
        "unreadable time": record(CreationTime="not a time"),
        "unknown record type": record(RecordType=987654),
        "text as record type": record(RecordType="Teams"),
        "no record type": record(RecordType=None, Workload=None),
        "id beyond ASCII": record(Id="ä-😀-\u2028"),
        "long id": record(Id="x" * 1024),
    }
    rig.offer(records=list(odd.values()))

    summary = rig.run()

    assert (summary.status, summary.records) == ("succeeded", len(odd))
    found = ids(rig)
    assert {name: found.get(raw) for name, raw in odd.items()} == {
        name: json.loads(raw)["Id"] for name, raw in odd.items()
    }
    rig.assert_complete()
    assert rig.repeats() == 0


PRETTY = json.dumps(json.loads(record(Id=ID)), indent=2).encode()
WINDOWS_LINES = PRETTY.replace(b"\n", b"\r\n")
SPACED = b'{ "Id" : "a" ,\t"Number" : 1.0e+02 , "Again":1,"Again":2 }'
ESCAPED = rb'{"Id":"\u0061\/b","Path":"C:\\x"}'


@pytest.mark.parametrize(
    ("body", "records"),
    [
        pytest.param(
            b"[\n  " + PRETTY + b",\r\n\t" + WINDOWS_LINES + b" ,\n" + SPACED + b"\n]\n",
            {PRETTY: ID, WINDOWS_LINES: ID, SPACED: "a"},
            id="pretty-printed",
        ),
        pytest.param(b"[" + ESCAPED + b"]", {ESCAPED: "a/b"}, id="escapes-in-the-id"),
        pytest.param(
            b"\xef\xbb\xbf[" + PRETTY + b"," + SPACED + b"]",
            {PRETTY: ID, SPACED: "a"},
            id="byte-order-mark",
        ),
        pytest.param(
            rb'[{"Id":"s","Subject":"\ud83d half"} , {"Id":"t","Subject":"\uDE00"}]',
            {
                rb'{"Id":"s","Subject":"\ud83d half"}': "s",
                rb'{"Id":"t","Subject":"\uDE00"}': "t",
            },
            id="lone-surrogate",
        ),
        pytest.param(
            rb'[{"Id":"half \ud83d"}, {"Id":"t"}]',
            {
                rb'{"Id":"half \ud83d"}': digest(rb'{"Id":"half \ud83d"}'),
                rb'{"Id":"t"}': "t",
            },
            id="lone-surrogate-in-the-id",
        ),
        pytest.param(
            b'[{"Id":"l","Subject":"\xe9t\xe9"},{"Id":"m"}]',
            {b'{"Id":"l","Subject":"\xe9t\xe9"}': "l", b'{"Id":"m"}': "m"},
            id="bytes-that-are-not-utf-8",
        ),
    ],
)
def test_the_bytes_of_a_record_are_sacred(rig: Rig, body: bytes, records: dict[bytes, str]) -> None:
    content = rig.offer(body=body)

    summary = rig.run()

    assert bodies(rig) == Counter(dict.fromkeys(records, 1))
    assert ids(rig) == records
    assert (summary.status, summary.records) == ("succeeded", len(records))
    assert summary.bytes == sum(map(len, records))
    assert rig.delivered() == {content.content_id}


def test_a_content_without_records_counts_as_empty_after_two_runs_that_asked_twice(
    rig: Rig,
) -> None:
    contents = {rig.offer(body=b"[]").content_id, rig.offer(body=b" [ ]\n").content_id}

    first = rig.run()

    assert (first.delivered, first.lost, first.pending) == (0, 0, 2)
    assert {(e.state, e.reason) for e in rig.ledger().values()} == {
        (State.ATTEMPT, "empty-content")
    }
    # Runs are ten minutes apart, and this one begins less than that after the answer.
    rig.tenant.advance(timedelta(minutes=9))
    second = rig.run()

    assert (second.status, second.delivered, second.records) == ("succeeded", 2, 0)
    assert rig.delivered() == contents
    assert rig.events() == []
    assert {(e.state, e.reason) for e in rig.ledger().values()} == {
        (State.DELIVERED, "confirmed-empty")
    }
    assert len(rig.tenant.books.requests("content")) == 8


@pytest.mark.parametrize("times", [1, 2, 3], ids=["once", "to-one-run", "to-the-next-run-once"])
def test_a_content_that_is_empty_for_a_while_is_delivered(rig: Rig, times: int) -> None:
    content = rig.offer_many(3)[1]
    rig.tenant.faults.add(empty(content.content_id, times))

    rig.run()
    rig.run()

    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_fails_after_it_was_empty_is_empty_only_to_two_more_runs(rig: Rig) -> None:
    bad = rig.offer_many(3)[1].content_id
    failing = Fault(on="content", action="status", code="AF50000", content_id=bad, times=-1)
    app = rig.app()
    for fault in (empty(bad, 2), failing, empty(bad, 2)):
        rig.tenant.faults.clear()
        rig.tenant.faults.add(fault)
        rig.run(app=app)
        reason = fault.code or "empty-content"
        assert rig.ledger()[bad].reason == reason
        rig.tenant.advance(timedelta(minutes=40))

    rig.tenant.faults.clear()
    assert rig.run(app=app).delivered == 1
    app.close()
    rig.assert_complete()


def test_a_few_empty_contents_are_no_outage_and_keep_no_failure_from_counting(rig: Rig) -> None:
    contents = rig.offer_many(9)
    for each in contents[:4]:
        rig.tenant.faults.add(empty(each.content_id, 2))
    bad = contents[5].content_id
    rig.tenant.faults.add(Fault(on="content", action="status", status=500, content_id=bad))

    assert rig.run(tries=1).delivered == 4

    ledger = rig.ledger()
    assert {ledger[each.content_id].reason for each in contents[:4]} == {"empty-content"}
    assert ledger[bad].reason == "http-500"
    rig.tenant.advance(timedelta(minutes=11))
    rig.run()
    rig.assert_complete()


def test_a_service_that_calls_everything_empty_for_three_runs_costs_time_only(rig: Rig) -> None:
    rig.offer_many(20)
    rig.tenant.faults.add(empty(None, -1))
    for _ in range(3):
        summary = rig.run()

        assert (summary.delivered, summary.failed, summary.pending) == (0, 20, 20)
        assert (summary.status, summary.error_code) == ("incomplete", "contents-failed")
        assert "20 of 20 contents came without records" in summary.error
        assert {(e.state, e.reason) for e in rig.ledger().values()} == {(State.LISTED, "")}
        rig.tenant.advance(timedelta(minutes=10))
    rig.tenant.faults.clear()

    assert rig.run().delivered == 20

    rig.assert_complete()
    assert {(e.state, e.reason) for e in rig.ledger().values()} == {(State.DELIVERED, "")}


def test_what_was_empty_before_an_outage_of_empty_answers_is_not_confirmed_by_it(rig: Rig) -> None:
    contents = rig.offer_many(8)
    for each in contents[:3]:
        rig.tenant.faults.add(empty(each.content_id, 2))
    assert rig.run().delivered == 5
    rig.tenant.faults.clear()
    rig.tenant.faults.add(empty(None, -1))
    rig.offer_many(2)

    assert rig.run().delivered == 0

    rig.tenant.faults.clear()
    assert rig.run().delivered == 5
    rig.assert_complete()


def test_several_that_are_truly_empty_are_confirmed_where_a_good_one_still_comes(rig: Rig) -> None:
    """They wait together, with nothing else to fetch: what was delivered before is asked for as a witness."""
    rig.offer_many(2)
    assert rig.run().delivered == 2
    bare = [rig.offer(body=b"[]").content_id for _ in range(4)]

    first, second = rig.run(), rig.run()

    assert (first.delivered, first.pending) == (0, 4)
    assert (second.status, second.delivered, second.failed) == ("succeeded", 4, 0)
    assert {rig.ledger()[each].reason for each in bare} == {"confirmed-empty"}
    assert rig.repeats() == 0
    rig.assert_complete()


def test_one_content_that_is_truly_empty_among_good_ones_is_confirmed(rig: Rig) -> None:
    bare = rig.offer(body=b"[]").content_id
    rig.offer_many(5)
    assert rig.run().delivered == 5
    rig.offer_many(5)

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.failed) == ("succeeded", 6, 0)
    entry = rig.ledger()[bare]
    assert (entry.state, entry.reason) == (State.DELIVERED, "confirmed-empty")
    rig.assert_complete()


def empty(content_id: str | None, times: int) -> Fault:
    """Let a content have no records, so often; every one where None."""
    return Fault(
        on="content", action="status", status=200, body="[]", content_id=content_id, times=times
    )


def test_an_event_says_where_it_comes_from(rig: Rig) -> None:
    raw = record(Id=ID)
    content = rig.offer(records=[raw])

    rig.run()

    (stored,) = rig.hubs.events(HUB)
    assert stored.properties == {
        "connection": "default",
        "tenant_id": rig.tenant.spec.tenant_id,
        "source": EXCHANGE,
        "content_id": content.content_id,
        "event_id": ID,
    }
    assert stored.message.content_type == "application/json"
    rig.assert_complete()


def test_real_records_arrive_byte_for_byte(rig: Rig) -> None:
    name = os.environ.get("RECORDS")
    if not name:
        pytest.skip("RECORDS names no file of real records, one JSON object a line")
    lines = Path(name).read_bytes().splitlines()
    assert lines
    middle = len(lines) // 2
    rig.offer(records=lines[:middle])
    rig.offer(body=b"[\n" + b" ,\n".join(lines[middle:]) + b"\n]")

    summary = rig.run()

    assert (summary.status, summary.records) == ("succeeded", len(lines))
    assert bodies(rig) == Counter(lines)
    rig.assert_complete()
    assert rig.repeats() == 0
