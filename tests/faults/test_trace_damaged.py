"""A row of message trace that is no JSON costs itself: its bytes are kept, the other rows come, the window is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant.trace.graph import GraphTrace
from shared.sources.message_trace.row import SOURCE
from tests.harness import FAST, TRACE_HUB
from tests.tracing import TraceRig

if TYPE_CHECKING:
    from local.tenant.trace.rows import Row

Mail = Callable[..., TraceRig]
Damage = Callable[[bytes, bytes], bytes]
ONCE = replace(FAST, tries=1)

DAMAGES = {
    "a-comma-missing-before-it": lambda body, key: body.replace(b",{" + key, b"{" + key),
    "a-value-missing": lambda body, key: body.replace(key + b",", key + b',"x":,'),
    "an-escape-that-is-none": lambda body, key: body.replace(key, key[:-1] + b'\\x41"'),
    "a-quote-missing": lambda body, key: body.replace(key, key[:-1]),
    "a-raw-line-break": lambda body, key: body.replace(key, key[:-1] + b'\n"'),
}


def spoil(patch: pytest.MonkeyPatch, bad: str, damage: Damage, times: int = 1 << 30) -> None:
    """Let every page that holds a row, or so many of them, have it damaged."""
    plain, left = GraphTrace._listing, [times]

    def listing(self: GraphTrace, request: Any, page: list[tuple[Row, int]], *more: Any) -> Any:
        answer = plain(self, request, page, *more)
        if not left[0] or all(row.trace_id != bad for row, _ in page):
            return answer
        left[0] -= 1
        return replace(answer, body=damage(answer.whole(), b'"id":"%b"' % bad.encode()))

    patch.setattr(GraphTrace, "_listing", listing)


def place(rig: TraceRig, count: int) -> list[str]:
    """Rows of one second, and some around it."""
    now = rig.ago(minutes=20).replace(microsecond=0)
    moments = [now] * count + [now - timedelta(seconds=20 * n) for n in range(-3, 4)]
    return [rig.tenant.trace.offer(received=each)[0].trace_id for each in moments]


def said(rig: TraceRig) -> dict[str, str]:
    """What is said of each row at the hub."""
    return {
        str(each.properties["content_id"]): " ".join(
            f"{name}={each.properties[name]}"
            for name in ("recovered", "json")
            if name in each.properties
        )
        for each in rig.hubs.events(TRACE_HUB)
    }


@pytest.mark.parametrize("name", DAMAGES)
def test_a_row_that_is_damaged_for_ever_keeps_no_other_waiting(
    mail: Mail, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rig = mail()
    ids = place(rig, 12)
    bad = ids[5]
    spoil(monkeypatch, bad, DAMAGES[name])

    first = rig.trace(tuning=ONCE)
    second = rig.trace(tuning=ONCE)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    arrived = said(rig)
    assert set(ids) - {bad} <= set(arrived)
    assert rig.trace_repeats() == 0
    letters = list(rig.dead_letters(SOURCE).values())
    (day,) = {row["RowKey"] for row in rig.day_rows(SOURCE) if row["listed"]}
    flaws = [kind for row in (day,) for kind in _flaws(rig, row)]
    if name == "a-comma-missing-before-it":
        assert (letters, bad in arrived, "dead-lettered" in flaws) == ([], True, False)
        assert "recovered=true" in arrived.values()
    elif name == "a-raw-line-break":
        assert (letters, arrived[bad + "\n"], flaws) == ([], "json=invalid", [])
    else:
        (kept,) = letters
        assert kept.startswith(b'{"id":"') or bad.encode() in kept
        assert bad.encode() in kept
        assert flaws.count("dead-lettered") == 1
        assert "recovered=true" in arrived.values()
        assert (first.dead_letters, second.dead_letters) == (1, 0)


def _flaws(rig: TraceRig, day: str) -> list[str]:
    return [kind for kind, _, _ in rig.reasons(date.fromisoformat(day), SOURCE)]


def test_a_page_that_was_spoilt_on_its_way_is_asked_for_again(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    ids = place(rig, 5)
    spoil(monkeypatch, ids[2], DAMAGES["a-value-missing"], times=1)

    assert rig.trace(tuning=ONCE).status == "succeeded"

    assert set(said(rig).values()) == {""}
    assert rig.dead_letters(SOURCE) == {}
    rig.assert_trace_complete()


def test_a_damaged_row_that_is_mended_later_is_delivered_then(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    ids = place(rig, 5)
    with monkeypatch.context() as patch:
        spoil(patch, ids[2], DAMAGES["a-value-missing"])
        rig.trace()
    assert ids[2] not in said(rig)

    rig.trace()

    assert set(said(rig)) == set(ids)
    assert rig.trace_repeats() == 0


def test_a_page_whose_only_row_is_damaged_is_read(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))
    spoil(monkeypatch, row.trace_id, DAMAGES["a-value-missing"])

    summary = rig.trace()

    assert (summary.status, summary.delivered, summary.dead_letters) == ("succeeded", 0, 1)
    assert [row.trace_id.encode() in each for each in rig.dead_letters(SOURCE).values()] == [True]
