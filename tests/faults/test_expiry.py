"""Contents that fail for hours, for days, or until they expire: waited for as long as there is hope, then on record."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from local.tenant import Fault
from shared.state.ledger import State

if TYPE_CHECKING:
    from local.tenant import Content
    from tests.harness import Rig

pytestmark = pytest.mark.usefixtures("collected_before")


def list_as(rig: Rig, content: Content, **fields: str) -> None:
    """Let every listing consist of this content, with some of its fields changed."""
    entry = {
        "contentId": content.content_id,
        "contentCreated": f"{content.created:%Y-%m-%dT%H:%M:%S.000Z}",
        **fields,
    }
    body = json.dumps([entry])
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body=body, times=-1))


def test_a_content_that_answers_an_internal_error_for_hours_is_delivered_when_it_heals(
    rig: Rig,
) -> None:
    contents = rig.offer_many(6)
    bad = contents[2].content_id
    rig.tenant.faults.add(
        Fault(on="content", action="status", code="AF50000", content_id=bad, times=-1)
    )
    app = rig.app()

    waited = []
    for _ in range(8):
        rig.run(app=app, tries=1)
        entry = rig.ledger()[bad]
        assert (entry.state, entry.reason) == (State.ATTEMPT, "AF50000")
        waited.append(len(entry.attempts))
        rig.tenant.advance(timedelta(minutes=40))

    # Ten minutes doubling: it is not asked for in vain each time.
    assert waited == sorted(waited)
    assert 3 <= waited[-1] < 8
    assert len(rig.delivered()) == 5

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(hours=6))
    assert rig.run(app=app).caught_up
    app.close()
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_that_fails_for_as_long_as_any_lives_is_lost_and_on_record(rig: Rig) -> None:
    contents = rig.offer_many(6)
    bad = contents[2]
    rig.tenant.faults.add(
        Fault(on="content", action="status", code="AF50000", content_id=bad.content_id, times=-1)
    )
    app = rig.app()
    # Its listing said seven days, and a failure is no word that it is gone.
    for pause in (timedelta(days=8), timedelta(days=22, hours=22), timedelta(hours=2)):
        summary = rig.run(app=app, tries=1)
        assert (summary.lost, summary.pending) == (0, 1)
        rig.tenant.advance(pause)

    summary = rig.run(app=app, tries=1)
    app.close()

    assert (summary.lost, summary.pending) == (1, 0)
    entry = rig.ledger()[bad.content_id]
    assert (entry.state, entry.reason) == (State.LOST, "expired")
    (row,) = [row for row in rig.day_rows() if row["lost"]]
    assert json.loads(row["lost_by_reason"]) == {"expired": 1}
    assert (row["RowKey"], row["complete"]) == (bad.created.date().isoformat(), False)
    assert {event[0] for event in rig.events()} == {c.content_id for c in contents if c != bad}


@pytest.mark.parametrize("other", ["AF50000", "AF20052"])
def test_the_day_of_a_definite_answer_begins_anew_with_every_other_answer(
    rig: Rig, other: str
) -> None:
    bad = rig.offer_many(3)[0].content_id
    app = rig.app()
    for code, pause in (
        (other, timedelta(hours=25)),
        ("AF20050", timedelta(minutes=21)),
        ("AF20050", timedelta(hours=23)),
        (other, timedelta(hours=2)),
        ("AF20050", timedelta(hours=23)),
        ("AF20050", timedelta(hours=7)),
    ):
        rig.tenant.faults.clear()
        rig.tenant.faults.add(
            Fault(on="content", action="status", code=code, content_id=bad, times=-1)
        )
        assert rig.run(app=app).lost == 0
        rig.tenant.advance(pause)

    rig.tenant.faults.clear()
    assert rig.run(app=app).delivered == 1
    app.close()
    rig.assert_complete()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("0001-01-01T00:00:00", id="long-before-it-was-created"),
        pytest.param("an hour ago", id="an-hour-ago"),
        pytest.param("12/5/2026 5:35:00 PM", id="unreadable"),
    ],
)
def test_a_content_that_is_listed_as_expired_and_fails_once_is_delivered(
    rig: Rig, said: str
) -> None:
    content = rig.offer(hours_ago=2)
    if said == "an hour ago":
        said = f"{rig.tenant.now() - timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}"
    list_as(rig, content, contentExpiration=said)
    rig.tenant.faults.add(
        Fault(on="content", action="status", status=500, content_id=content.content_id, times=1)
    )

    first = rig.run(tries=1)

    assert (first.lost, first.pending) == (0, 1)
    rig.tenant.advance(timedelta(minutes=11))
    assert rig.run().delivered == 1
    rig.assert_complete()


@pytest.mark.parametrize(
    ("days", "lost"), [pytest.param(19, 0, id="before"), pytest.param(21, 1, id="after")]
)
def test_a_content_that_is_said_to_live_for_twenty_days_is_not_given_up_before_for_one_answer(
    rig: Rig, days: float, lost: int
) -> None:
    content = rig.offer(hours_ago=2)
    until = content.created + timedelta(days=20)
    list_as(rig, content, contentExpiration=f"{until:%Y-%m-%dT%H:%M:%S.000Z}")
    bad = {"on": "content", "action": "status", "content_id": content.content_id}
    rig.tenant.faults.add(Fault(status=500, times=1, **bad), Fault(code="AF20051", times=1, **bad))  # type: ignore[arg-type]
    assert rig.run(tries=1).pending == 1

    rig.tenant.advance(timedelta(days=days))

    assert rig.run().lost == lost
    entry = rig.ledger()[content.content_id]
    assert entry.state == (State.LOST if lost else State.ATTEMPT)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("AF20050", "not-found", id="does-not-exist"),
        pytest.param("AF20051", "expired", id="expired"),
        pytest.param("AF20052", "malformed-id", id="id-malformed"),
    ],
)
def test_a_definite_answer_has_to_stand_for_a_day_and_is_then_a_loss_record_with_its_reason(
    rig: Rig, code: str, reason: str
) -> None:
    healing, gone = rig.offer_many(2)
    rig.offer_many(4, hours_ago=2)
    rig.tenant.faults.add(
        Fault(on="content", action="status", code=code, content_id=healing.content_id, times=2),
        Fault(on="content", action="status", code=code, content_id=gone.content_id, times=-1),
    )
    app = rig.app()
    for pause in (timedelta(hours=1), timedelta(hours=22), timedelta(hours=2)):
        summary = rig.run(app=app)
        assert summary.lost == 0
        rig.tenant.advance(pause)

    summary = rig.run(app=app)
    app.close()

    assert (summary.lost, summary.pending) == (1, 0)
    entries = rig.ledger()
    assert entries[healing.content_id].state == State.DELIVERED
    assert (entries[gone.content_id].state, entries[gone.content_id].reason) == (State.LOST, reason)
    assert rig.expected() - set(rig.events()) == {
        event for event in rig.expected() if event[0] == gone.content_id
    }
