"""A message trace that answers empty where there are rows: one such answer is believed by nobody, and costs little."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from local.tenant.trace.graph import GraphTrace
from shared.rows.digests import LISTED
from shared.sources.message_trace.row import SOURCE, digest_of
from shared.state.append_blobs import DigestStore
from shared.times import hour_of
from tests.tracing import HOUR, MINUTE, TraceRig

if TYPE_CHECKING:
    import pytest

    from local.tenant.trace.rows import Row

Mail = Callable[..., TraceRig]


def hide(patch: pytest.MonkeyPatch, *rows: Row) -> list[int]:
    """Let the first answer that would hold one of these rows be empty, with no link; returns how many rows it had."""
    hidden: list[int] = []
    ids, plain = {row.trace_id for row in rows}, GraphTrace._listing

    def listing(self: GraphTrace, request: Any, page: list[tuple[Row, int]], *more: Any) -> Any:
        if not hidden and any(row.trace_id in ids for row, _ in page):
            hidden.append(len(page))
            return plain(self, request, [], None, more[-1])
        return plain(self, request, page, *more)

    patch.setattr(GraphTrace, "_listing", listing)
    return hidden


def test_one_empty_answer_hides_nothing_of_the_past(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.at_noon()
    rows = rig.tenant.trace.offer(count=20, received=rig.ago(days=5), within=HOUR / 2)
    hidden = hide(monkeypatch, *rows)

    rig.trace_until_caught_up()

    assert hidden
    assert len(rig.arrived()) == 20


def test_one_empty_answer_to_the_last_reading_of_an_hour_hides_no_late_row(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    received = rig.ago(minutes=59)
    rig.tenant.trace.offer(count=20, received=received, within=HOUR / 2)
    late_at = rig.tenant.now() + 40 * HOUR
    (late,) = rig.tenant.trace.offer(received=received, visible_at=late_at)
    for _ in range(4):
        rig.trace_until_caught_up()
        rig.pass_time(hours=9)
    rig.pass_time(hours=20)
    hidden = hide(monkeypatch, late)

    rig.trace_until_caught_up()

    assert hidden
    assert rig.statuses(late.trace_id)


def test_one_empty_answer_gives_no_row_up(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    hour = hour_of(rig.ago(hours=9))
    (row,) = rig.tenant.trace.offer(received=hour + MINUTE)
    # A worker wrote it down, and died before it was published.
    line = bytes((LISTED,)) + digest_of(row.trace_id, row.recipient, "delivered")
    store = DigestStore(rig.storage.state, f"digests/{rig.tenant.spec.tenant_id}/{SOURCE}")
    store.append(hour, line)
    rig.change_note(again=[hour.isoformat()])
    hidden = hide(monkeypatch, row)

    summary = rig.trace()

    assert hidden
    assert (summary.lost, summary.caught_up) == (0, True)
    assert rig.statuses(row.trace_id)


def test_an_empty_answer_is_asked_for_once_more_only_where_no_later_reading_is_due(
    mail: Mail,
) -> None:
    rig = mail()
    rig.at_noon()
    rig.trace_until_caught_up()
    rig.pass_time(minutes=10)

    summary = rig.trace()

    # The time, what is new, and an hour or two in their turn, none of which had a row.
    assert summary.status == "succeeded"
    assert summary.requests <= 4
