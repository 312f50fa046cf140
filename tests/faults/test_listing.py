"""Which contents are found: at the edges of windows, late, twice, or never again."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from local.tenant import Content, Fault
from shared.contents import pipeline
from shared.state.ledger import State
from shared.times import HOUR, hour_of
from tests.harness import EXCHANGE, Rig, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.contents.work import Work

SECOND = timedelta(seconds=1)
TEN_MINUTES = timedelta(minutes=10)
CYCLE = 42
"""Runs in which the rolling re-list comes round: seven days in slices of four hours."""


def listed_ranges(rig: Rig) -> set[tuple[datetime, datetime]]:
    """The windows for which the tenant was asked so far."""
    asked = [parse_qs(urlsplit(note.path).query) for note in rig.tenant.books.requests("list")]
    return {
        (
            datetime.fromisoformat(f"{query['startTime'][0]}+00:00"),
            datetime.fromisoformat(f"{query['endTime'][0]}+00:00"),
        )
        for query in asked
    }


def offer_at(rig: Rig, created: datetime, **options: Any) -> Content:
    """Put a content of one record into the tenant."""
    return rig.offer(created=created, records=[record()], **options)


def test_two_contents_of_one_instant_on_the_edge_of_two_windows_are_both_delivered_once(
    rig: Rig,
) -> None:
    # Windows meet at whole hours, every fourth.
    hour = hour_of(rig.tenant.now()) - timedelta(days=3)
    candidates = [hour + n * HOUR for n in range(4)]
    for created in candidates:
        offer_at(rig, created)
        offer_at(rig, created)
        offer_at(rig, created - timedelta(milliseconds=1))

    rig.run()

    windows = listed_ranges(rig)
    edges = {end for _, end in windows} & {start for start, _ in windows}
    assert edges & set(candidates), "no pair lay on an edge"
    rig.assert_complete()
    assert rig.repeats() == 0


def test_contents_at_the_second_of_the_watermark_are_delivered_once(rig: Rig) -> None:
    rig.run()
    watermark = rig.checkpoint().watermark
    assert watermark is not None
    # Both sides of the edge, and two of one instant on it; they turn up only after that run.
    offer_at(rig, watermark - timedelta(milliseconds=1))
    offer_at(rig, watermark)
    offer_at(rig, watermark)
    offer_at(rig, watermark + timedelta(milliseconds=1))
    # Whole seconds are listed, and the one of the watermark has to be over; a step below two seconds goes unnoticed.
    rig.tenant.advance(timedelta(seconds=4))

    first, second = rig.run(), rig.run()

    assert (first.delivered, second.delivered) == (4, 0)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_listed_five_days_late_inside_a_closed_window_is_delivered_once(
    rig: Rig,
) -> None:
    with_app = rig.app()
    rig.run(app=with_app)
    created = rig.tenant.now() - timedelta(hours=1)
    late = offer_at(rig, created, visible_at=created + timedelta(days=5))
    # The watermark passes it by days before it shows, and runs are ten minutes apart when it does.
    for pause in (timedelta(days=4, hours=22, minutes=40), TEN_MINUTES):
        rig.tenant.advance(pause)
        assert rig.run(app=with_app).caught_up
    assert not rig.tenant.shelf.visible()
    rig.tenant.advance(TEN_MINUTES)
    assert rig.tenant.shelf.visible() == [late]

    runs = 0
    while not rig.events():
        runs += 1
        assert runs <= CYCLE, "a whole cycle of the re-list passed it by"
        rig.run(app=with_app)
        rig.tenant.advance(TEN_MINUTES)
    with_app.close()

    watermark = rig.checkpoint().watermark
    assert watermark is not None
    assert watermark - created > timedelta(days=5)
    assert rig.delivered() == {late.content_id}
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_is_listed_again_after_its_delivery_is_not_delivered_again(rig: Rig) -> None:
    contents = rig.offer_many(5)

    summaries = [rig.run() for _ in range(3)]

    for content in contents:
        assert rig.tenant.books.listed(content.content_id) >= 3
        assert rig.tenant.books.served(content.content_id) == 1
    assert [summary.delivered for summary in summaries] == [5, 0, 0]
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_stands_in_two_windows_of_one_run_is_delivered_once(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(contents={EXCHANGE: 12}, records=3, relisted=1.0)

    summary = rig.run()

    listings = [rig.tenant.books.listed(c.content_id) for c in rig.tenant.shelf.offered()]
    assert max(listings) == 2
    assert (summary.status, summary.listed, summary.delivered) == ("succeeded", 12, 12)
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param("20991231235959999000001", id="in-the-future"),
        pytest.param("none", id="no-date"),
    ],
)
def test_a_content_belongs_to_the_day_it_was_created_whatever_its_id_says(
    rig: Rig, stamp: str
) -> None:
    content_id = f"{stamp}${stamp}$audit_exchange$Audit_Exchange$emea0001"
    created = rig.tenant.now() - timedelta(days=2)
    offer_at(rig, created, content_id=content_id)

    first, second = rig.run(), rig.run()

    assert (first.delivered, second.delivered) == (1, 0)
    assert set(rig.ledger_day(created.date()).entries) == {content_id}
    assert [(row["RowKey"], row["listed"]) for row in rig.day_rows() if row["listed"]] == [
        (created.date().isoformat(), 1)
    ]
    rig.assert_complete()


@pytest.mark.parametrize(
    "created",
    [
        pytest.param(None, id="missing"),
        pytest.param("yesterday", id="unreadable"),
        pytest.param("2099-12-31T00:00:00.000Z", id="absurd"),
    ],
)
def test_a_content_that_nobody_can_date_is_delivered_once_on_whatever_day_it_is_listed(
    rig: Rig, created: str | None
) -> None:
    content = rig.offer()
    list_as(rig, content, contentCreated=created)

    with_app = rig.app()
    delivered = [rig.run(app=with_app).delivered]
    for _ in range(2):
        rig.tenant.advance(timedelta(hours=26))
        delivered.append(rig.run(app=with_app).delivered)
    with_app.close()

    assert delivered == [1, 0, 0]
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_waits_and_is_listed_again_under_another_day_stays_one_content(
    rig: Rig,
) -> None:
    content = rig.offer(hours_ago=49)
    rig.tenant.faults.add(
        Fault(on="content", action="status", status=500, content_id=content.content_id)
    )
    assert rig.run(tries=1).pending == 1
    later = content.created + timedelta(days=1)
    list_as(
        rig,
        content,
        contentCreated=f"{later:%Y-%m-%dT%H:%M:%S}.000Z",
        contentExpiration=f"{later + timedelta(days=7):%Y-%m-%dT%H:%M:%S}.000Z",
    )

    rig.tenant.advance(timedelta(minutes=11))
    second = rig.run()
    rig.tenant.faults.clear()
    third = rig.run()

    assert (second.delivered, third.delivered) == (1, 0)
    assert [(row["RowKey"], row["listed"]) for row in rig.day_rows() if row["listed"]] == [
        (content.created.date().isoformat(), 1)
    ]
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize(
    ("content_id", "days"),
    [
        pytest.param("opaque$1$x", 1, id="on-the-next-day"),
        pytest.param("opaque$1$x", -1, id="on-the-day-before"),
        pytest.param("", 3, id="on-a-later-day-than-its-id-names"),
    ],
)
def test_a_delivered_content_that_is_listed_again_under_another_day_is_not_delivered_again(
    rig: Rig, content_id: str, days: int
) -> None:
    content = rig.offer(hours_ago=100, **({"content_id": content_id} if content_id else {}))
    # Later days are known as well, and none of them is this content's.
    rig.offer(hours_ago=100 - 24 * days)
    app = rig.app()
    assert rig.run(app=app).delivered == 2
    assert rig.run(app=app).delivered == 0
    other = content.created + timedelta(days=days)
    list_as(rig, content, contentCreated=f"{other:%Y-%m-%dT%H:%M:%S}.000Z")

    again = rig.run(app=app)
    app.close()

    assert (again.listed, again.delivered) == (0, 0)
    listed = {row["RowKey"]: row["listed"] for row in rig.day_rows() if row["listed"]}
    assert listed == {content.created.date().isoformat(): 1, other.date().isoformat(): 1}
    rig.assert_complete()
    assert rig.repeats() == 0


def list_as(rig: Rig, content: Content, **fields: str | None) -> None:
    """Let every listing consist of this content, with some of its fields changed or missing."""
    feed = f"{rig.server.endpoint}/api/v1.0/{rig.tenant.spec.tenant_id}/activity/feed"
    entry = {
        "contentType": EXCHANGE,
        "contentId": content.content_id,
        "contentUri": f"{feed}/audit/{content.content_id}",
        **fields,
    }
    body = json.dumps([{name: value for name, value in entry.items() if value is not None}])
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body=body, times=-1))


def test_a_content_that_is_never_listed_again_and_could_not_be_fetched_is_fetched_later(
    rig: Rig,
) -> None:
    once, siblings = offer_a_fleeting_content(rig)

    first = rig.run()

    assert (first.status, first.failed, first.pending) == ("incomplete", 1, 1)
    assert rig.delivered() == siblings
    rig.assert_nothing_claimed_early()

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=11))
    second = rig.run()

    assert rig.tenant.books.listed(once.content_id) == 1
    assert (second.status, second.listed, second.delivered) == ("succeeded", 0, 1)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_is_never_listed_again_nor_fetched_is_seen_pending_and_then_lost(
    rig: Rig,
) -> None:
    once, siblings = offer_a_fleeting_content(rig)
    day = once.created.date().isoformat()

    with_app = rig.app()
    rig.run(app=with_app)

    assert rig.ledger()[once.content_id].state == State.ATTEMPT
    assert (rig.run_rows()[0]["pending"], rig.run_rows()[0]["failed"]) == (1, 1)
    assert row_of(rig, day) == {"listed": 4, "delivered": 3, "pending": 1, "lost": 0}

    for _ in range(2):
        rig.tenant.advance(timedelta(days=3))
        summary = rig.run(app=with_app)
        assert (summary.pending, summary.lost) == (1, 0)
        assert summary.lag_seconds > timedelta(days=2).total_seconds()
    # The failure hides what the service says of it by now: that it has expired.
    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(days=1))
    summary = rig.run(app=with_app)
    with_app.close()

    assert (summary.pending, summary.lost) == (0, 1)
    entry = rig.ledger()[once.content_id]
    assert (entry.state, entry.reason) == (State.LOST, "expired")
    assert row_of(rig, day) == {"listed": 4, "delivered": 3, "pending": 0, "lost": 1}
    (row,) = [row for row in rig.day_rows() if row["RowKey"] == day]
    assert (row["lost_by_reason"], row["complete"]) == ('{"expired":1}', False)
    assert {event[0] for event in rig.events()} == siblings
    assert rig.repeats() == 0


def offer_a_fleeting_content(rig: Rig) -> tuple[Content, set[str]]:
    """One content that is listed only once and cannot be fetched, and the ids of three others."""
    start = rig.tenant.now() - timedelta(hours=1)
    once = offer_at(rig, start, hidden_after_listings=1)
    # All of one UTC day; more that succeeds than fails, or it would pass for an outage.
    siblings = {offer_at(rig, start + timedelta(milliseconds=n)).content_id for n in range(1, 4)}
    rig.tenant.faults.add(
        Fault(on="content", action="status", status=500, content_id=once.content_id, times=-1)
    )
    return once, siblings


def row_of(rig: Rig, day: str) -> dict[str, int]:
    """The counts in the row of a day."""
    (row,) = [row for row in rig.day_rows() if row["RowKey"] == day]
    return {name: row[name] for name in ("listed", "delivered", "pending", "lost")}


def test_a_first_run_queues_no_more_than_it_can_fetch_and_fetches_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has what is not queued; while there is time, it is taken from there."""
    rig.at_noon()
    monkeypatch.setattr(pipeline, "MOST_QUEUED", 6)
    longest = 0
    submit = pipeline.Pipeline.submit

    def watched(self: pipeline.Pipeline, work: Work) -> bool:
        nonlocal longest
        queued = submit(self, work)
        longest = max(longest, self._queue.qsize())
        return queued

    monkeypatch.setattr(pipeline.Pipeline, "submit", watched)
    for n in range(40):
        rig.offer(hours_ago=30 + n / 10)
    rig.offer(hours_ago=0.5)

    summary = rig.run(fetch_threads=1)

    assert (summary.delivered, summary.pending, summary.status) == (41, 0, "succeeded")
    assert longest <= 6 + 1
    rig.assert_complete()
