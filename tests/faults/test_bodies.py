"""Bodies that are not what was promised: none is taken for less than it is, and none holds a run."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from local.tenant import Fault
from shared.records import BOM
from shared.service.http import Limits
from shared.sources.audit.management_api import ManagementApi
from shared.state.feed_ledger import FeedLedger
from shared.state.ledger import State
from tests.harness import EXCHANGE, HUB, Rig, record
from tests.waits import LONG

pytestmark = pytest.mark.usefixtures("collected_before")

OLDEST = 166.0

QUICK = Limits(connect=20, read=20, total=2.0, min_rate=20_000, grace=1.0)
"""What a body may take, so that one which never comes to its end is given up at once."""

DAMAGES = [
    pytest.param({"action": "error_object"}, id="an-error-object"),
    pytest.param(
        {"action": "status", "status": 200, "body": '{"Message":"An error has occurred."}'},
        id="an-object-without-a-code",
    ),
    pytest.param({"action": "status", "status": 200, "body": '"a text"'}, id="no-array"),
    pytest.param({"action": "status", "status": 200, "body": ""}, id="an-empty-body"),
    pytest.param(
        {"action": "status", "status": 200, "body": "<html>Sign in</html>"}, id="a-web-page"
    ),
    pytest.param({"action": "truncate_json"}, id="cut-json"),
    pytest.param({"action": "truncate_gzip"}, id="cut-gzip"),
    pytest.param({"action": "wrong_length", "by": 64}, id="a-length-too-large"),
    pytest.param({"action": "wrong_length", "by": -40}, id="a-length-too-small"),
    pytest.param({"action": "reset_mid_body"}, id="a-reset-in-mid-body"),
    pytest.param({"action": "drip", "delay_s": 0.1, "pieces": 1000}, id="a-body-that-drips"),
    pytest.param({"action": "never_ends"}, id="a-body-that-never-ends"),
]


class Body(bytes):
    """A body that is counted for as long as somebody keeps it."""

    living = 0

    def __new__(cls, data: bytes) -> Body:
        cls.living += 1
        return super().__new__(cls, data)

    def __del__(self) -> None:
        Body.living -= 1


def test_no_body_is_kept_of_a_content_that_failed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        rig.offer(body=b'[{"Id":"1","x":"' + b"a" * 1000 + b'"},')
    rig.offer_many(8)
    fetch, close = ManagementApi.fetch, FeedLedger.close
    kept = []

    def counted(self: ManagementApi, *given: Any) -> bytes:
        return Body(fetch(self, *given))

    def looked(self: FeedLedger, **given: Any) -> None:
        # Everything was asked for, and the run knows of each failure.
        kept.append(Body.living)
        close(self, **given)

    monkeypatch.setattr(ManagementApi, "fetch", counted)
    monkeypatch.setattr(FeedLedger, "close", looked)

    summary = rig.run()

    assert (summary.delivered, summary.failed) == (8, 6)
    assert kept == [0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_answer_that_is_spoilt_once_is_asked_for_again_and_nothing_is_lost(
    rig: Rig, damage: dict[str, Any]
) -> None:
    # In the first window that a first run lists, so that its listing is the one that is spoilt.
    rig.offer_many(4, records=10, hours_ago=OLDEST)
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.tenant.faults.add(
        *(Fault(on=kind, **damage) for kind in ("subscriptions", "list", "content"))
    )

    summary = rig.run(limits=QUICK)

    assert sum(rig.tenant.faults.played().values()) == 3
    assert (summary.status, summary.delivered, summary.error) == ("succeeded", 4, "")
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.first_run
@pytest.mark.parametrize("damage", DAMAGES[::2])
def test_a_listing_that_is_always_spoilt_passes_nothing_and_is_made_up_for(
    rig: Rig, damage: dict[str, Any]
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    rig.offer_many(4, records=2)
    rig.tenant.faults.add(Fault(on="list", times=-1, **damage))

    summary = rig.run(limits=QUICK, tries=1)

    assert (summary.status, summary.listed, summary.caught_up) == ("failed", 0, False)
    assert summary.error_code not in ("", "internal")
    assert rig.checkpoint().watermark is None
    assert not rig.events()

    rig.tenant.faults.clear()
    assert rig.run().caught_up
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_body_that_drips_or_never_ends_holds_a_run_no_longer_than_a_body_may_take(
    rig: Rig,
) -> None:
    contents = rig.offer_many(6)
    for content, action in zip(contents, ("drip", "never_ends"), strict=False):
        rig.tenant.faults.add(
            Fault(on="content", action=action, content_id=content.content_id, delay_s=0.2, times=-1)
        )
    began = time.monotonic()

    summary = rig.run(limits=QUICK, tries=1)

    assert time.monotonic() - began < LONG, "left to themselves, they would never end"
    assert (summary.status, summary.delivered, summary.pending) == ("incomplete", 4, 2)
    reasons = {rig.ledger()[content.content_id].reason for content in contents[:2]}
    assert reasons == {"too-slow"}


ODD = [17, "text", None, True, [], {}, {"contentId": 5}, {"contentId": ""}, [{"contentId": "x"}]]


def test_entries_that_are_no_contents_are_kept_and_their_neighbours_are_delivered(
    rig: Rig,
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    content = rig.offer(records=[record()])
    good = {
        "contentType": EXCHANGE,
        "contentId": content.content_id,
        "contentCreated": content.created.isoformat(),
    }
    rig.tenant.faults.add(
        Fault(
            on="list",
            action="status",
            status=200,
            body=json.dumps([*ODD, good, *ODD]),
            times=1,
        )
    )

    summary = rig.run()

    assert (summary.status, summary.delivered) == ("succeeded", 1)
    kept = Counter(json.dumps(json.loads(each)) for each in rig.dead_letters().values())
    assert kept == Counter(json.dumps(each) for each in ODD)
    states = Counter(entry.state for entry in rig.ledger().values())
    assert states == {State.DELIVERED: 1, State.DEAD_LETTERED: len(ODD)}
    rig.assert_complete()


@pytest.mark.parametrize(
    ("odd", "mark"),
    [
        pytest.param(rb'{"contentId":"\ud800","contentUri":"\ud83d"}', b"", id="a-lone-surrogate"),
        pytest.param(
            '{"contentId":"\xe4\u2028\U0001f600"}'.encode(),
            BOM,
            id="beyond-ascii-after-a-byte-order-mark",
        ),
        pytest.param(
            b'{"contentId":"a","contentId":"b","contentId":7}', b"", id="a-key-three-times"
        ),
        pytest.param(
            b'{"contentId":"n","contentCreated":' + b"9" * 400 + b"}", b"", id="a-huge-number"
        ),
        pytest.param(b'{"x":' + b"[" * 900 + b"]" * 900 + b"}", b"", id="deep"),
        pytest.param(
            rb'{"contentId":"a\u0000b","contentCreated":"\u0000"}', b"", id="control-codes"
        ),
        pytest.param(b'{"contentId":"' + b"i" * 9000 + b'"}', b"", id="a-very-long-id"),
    ],
)
def test_an_entry_of_odd_text_costs_its_neighbours_nothing(
    rig: Rig, odd: bytes, mark: bytes
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    content = rig.offer(records=[record()])
    good = json.dumps(
        {"contentId": content.content_id, "contentCreated": content.created.isoformat()}
    ).encode()
    rig.tenant.faults.add(
        Fault(
            on="list",
            action="status",
            status=200,
            body=(mark + b"[" + odd + b" ,\r\n" + good + b"]").decode(),
            times=1,
        )
    )

    first = rig.run()

    assert first.error_code != "internal", first.error
    rig.assert_complete()
    # What it named is known, whether it can be fetched or not, and nothing was made up beside it.
    assert len(rig.ledger()) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("AF99", "AF99", id="a-code-of-the-service"),
        pytest.param("words-of-a-record", "error-object", id="a-code-of-its-own"),
    ],
)
def test_what_an_object_in_place_of_records_says_is_neither_logged_nor_stored(
    rig: Rig, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    contents = rig.offer_many(3)
    bad = contents[0].content_id
    body = json.dumps({"Id": "1", "code": code, "Message": "words-of-a-record"})
    rig.tenant.faults.add(
        Fault(on="content", action="status", status=200, content_id=bad, body=body, times=-1)
    )

    with caplog.at_level(logging.DEBUG, "m365"):
        rig.run(tries=1)
        known = rig.ledger()[bad]
        rig.tenant.advance(timedelta(days=31, hours=2))
        summary = rig.run(tries=1)

    assert (known.reason, summary.lost) == (reason, 1)
    assert f"content {bad} failed" in caplog.text
    assert "words-of-a-record" not in caplog.text
    assert "words-of-a-record" not in json.dumps(rig.run_rows() + rig.day_rows(), default=str)


def test_records_that_are_no_objects_arrive_beside_their_neighbours(rig: Rig) -> None:
    odd = [b"17", b'"text"', b"null", b"true", b"[]", b"[[1], {}]", b"{}", b"-0.0e1"]
    whole = record()
    rig.offer(body=b"[" + b" , ".join([*odd, whole, *odd]) + b"]")

    summary = rig.run()

    assert (summary.status, summary.records) == ("succeeded", 2 * len(odd) + 1)
    arrived = Counter(stored.body for stored in rig.hubs.events(HUB))
    assert arrived == Counter([*odd, whole, *odd])
