"""State that is missing, unreadable, newer than the program, or torn.

No events are lost and none is claimed, and a feed never takes damage for a first run.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from local.tenant import Fault
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.state.account import read_blob
from shared.state.checkpoint import SCHEMA
from shared.state.ledger import Line, State, encode
from shared.times import iso
from tests.harness import EXCHANGE, Rig

if TYPE_CHECKING:
    from local.tenant import Content

SHAREPOINT = "Audit.SharePoint"


def overwrite(rig: Rig, data: bytes, source: str = EXCHANGE) -> None:
    rig.storage.state.get_blob_client(rig.checkpoint_name(source)).upload_blob(data, overwrite=True)


def segment(rig: Rig, content: Content) -> str:
    tenant = rig.tenant.spec.tenant_id
    return f"ledger/{tenant}/{EXCHANGE}/{content.created.date()}/00.jsonl"


def rewrite(rig: Rig, name: str, data: bytes) -> None:
    """Put other bytes in the place of a segment, and have it read."""
    rig.restart()
    blob = rig.storage.state.get_blob_client(name)
    blob.delete_blob()
    blob.create_append_blob()
    blob.append_block(data)


def test_a_deleted_checkpoint_costs_a_listing_of_the_horizon_and_repeats_nothing(rig: Rig) -> None:
    for hours in (1, 30, 80, 160):
        rig.offer(hours_ago=hours)
    rig.run()
    arrived = rig.events()
    rig.offer(hours_ago=120)
    known = rig.checkpoint()
    rig.storage.state.delete_blob(rig.checkpoint_name())
    rig.tenant.advance(timedelta(minutes=5))
    requests = len(rig.tenant.books.requests("list"))

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.pending) == ("succeeded", 1, 0)
    assert (
        len(rig.tenant.books.requests("list")) - requests
        >= AUDIT_POLICY.horizon / AUDIT_POLICY.slice - 1
    )
    assert set(arrived) < set(rig.events())
    rig.assert_complete()
    assert rig.repeats() == 0
    watermark = rig.checkpoint().watermark
    assert watermark is not None
    assert known.watermark is not None
    assert watermark > known.watermark


NEWER = json.dumps(
    {"schema": SCHEMA + 1, "watermark": "2030-01-01T00:00:00Z", "new": {"field": 1}}
).encode()


@pytest.mark.parametrize(
    ("stored", "code"),
    [
        pytest.param(NEWER, "checkpoint-newer", id="from-a-newer-version"),
        pytest.param(b"", "checkpoint-unreadable", id="empty"),
        pytest.param(b'{"schema":1,"watermark":"20', "checkpoint-unreadable", id="cut-short"),
        pytest.param(b'{"watermark":null}', "checkpoint-unreadable", id="without-a-version"),
    ],
)
def test_a_checkpoint_that_cannot_be_understood_stops_its_feed_and_is_left_alone(
    rig: Rig, stored: bytes, code: str
) -> None:
    rig.offer()
    rig.offer(SHAREPOINT)
    overwrite(rig, stored)

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", code)
    assert rig.checkpoint_name() in summary.error
    assert rig.run_rows()[0]["error_code"] == code
    assert not rig.events()
    assert not rig.ledger()
    assert not rig.tenant.books.requests("list", "content", "start")
    kept = read_blob(rig.storage.state, rig.checkpoint_name())
    assert kept is not None
    assert kept.data == stored

    # The remedy that the message names.
    rig.storage.state.delete_blob(rig.checkpoint_name())
    assert rig.run().status == "succeeded"
    rig.assert_complete(EXCHANGE)


def test_a_feed_that_is_stopped_does_not_touch_the_others(rig: Rig) -> None:
    rig.offer()
    rig.offer(SHAREPOINT)
    overwrite(rig, NEWER)
    app = rig.app()

    stopped, other = rig.run(app=app), rig.run(SHAREPOINT, app=app)
    app.close()

    assert (stopped.status, other.status) == ("failed", "succeeded")
    rig.assert_complete(SHAREPOINT)
    assert not rig.events(EXCHANGE)


def test_a_watermark_from_the_future_hides_nothing(rig: Rig) -> None:
    rig.run()
    content = rig.offer(hours_ago=50)
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    assert stored is not None
    changed = json.loads(stored.data) | {"watermark": "2099-01-01T00:00:00Z"}
    overwrite(rig, json.dumps(changed).encode())

    assert rig.run().status == "succeeded"

    assert rig.delivered() == {content.content_id}
    rig.assert_complete()
    assert "2099" not in str(rig.checkpoint().watermark)


def test_a_clock_that_went_back_a_little_makes_no_gap_of_what_was_listed(rig: Rig) -> None:
    rig.has_collected(hours_ago=1)
    rig.run()
    known = rig.checkpoint()
    assert known.watermark is not None
    ahead = iso(known.watermark + timedelta(seconds=3))
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    assert stored is not None
    overwrite(rig, json.dumps(json.loads(stored.data) | {"watermark": ahead}).encode())
    content = rig.offer()
    # The service tells a time that nobody expects, and some of the first answers are wrong.
    rig.tenant.advance(timedelta(hours=2))
    rig.tenant.faults.add(Fault(on="subscriptions", action="status", status=503, times=4))

    summary = rig.run()

    assert rig.delivered() == {content.content_id}
    assert summary.gap_seconds == sum(row["gap_seconds"] for row in rig.day_rows()) == 0


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("end", id="cut-off-at-the-end"),
        pytest.param("middle", id="garbage-in-the-middle"),
        pytest.param("binary", id="bytes-that-are-no-text"),
    ],
)
def test_torn_ledger_lines_are_skipped_and_said_and_repeat_at_worst_their_contents(
    rig: Rig, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    contents = rig.offer_many(6, records=2)
    rig.run()
    stored = read_blob(rig.storage.state, segment(rig, contents[0]))
    assert stored is not None
    data = stored.data
    if damage == "end":
        data = data[:-25]
    elif damage == "middle":
        middle = data.index(b"\n", len(data) // 2) + 1
        data = data[:middle] + b'{"id":"half a li\n]]}{"state":7}\n' + data[middle:]
    else:
        middle = data.rindex(b'"delivered"')
        data = data[:middle] + b"\x00\xff\xfe" + data[middle:]
    rewrite(rig, segment(rig, contents[0]), data)
    late = rig.offer(hours_ago=0.9)

    with caplog.at_level(logging.WARNING, "m365.ledger"):
        summary = rig.run()

    assert "cannot be read and are skipped" in caplog.text
    assert (summary.status, summary.pending) == ("succeeded", 0)
    assert late.content_id in rig.delivered()
    assert len(rig.delivered()) == 7
    rig.assert_complete()
    assert rig.repeats() == (0 if damage == "middle" else 2)
    assert sum(row["delivered"] for row in rig.day_rows()) == 7

    assert rig.run().delivered == 0


def test_a_torn_end_does_not_swallow_the_line_that_is_appended_next(rig: Rig) -> None:
    content = rig.offer(records=[b'{"Id":"one"}'])
    rig.run()
    blob = rig.storage.state.get_blob_client(segment(rig, content))
    blob.append_block(b'\n{"id":"torn","state":"deliv')

    blob.append_block(encode([Line(id="next", state=State.LISTED.value)]))

    assert set(rig.ledger()) == {content.content_id, "next"}


def test_a_ledger_that_is_deleted_repeats_but_loses_nothing(rig: Rig) -> None:
    (content,) = rig.offer_many(1, records=2)
    rig.run()
    rig.storage.state.delete_blob(segment(rig, content))
    rig.storage.state.delete_blob(rig.checkpoint_name())

    assert rig.run().delivered == 1

    rig.assert_complete()
    assert rig.repeats() == 2
