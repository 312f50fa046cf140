"""The rows and the books of a simulated message trace, without sockets."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from local.tenant import Tenant, TenantSpec, TraceSpec, Triple
from local.tenant.trace.rows import graph_row, millis
from tests.local.tenant.conftest import NOW, make_spec, make_tenant

if TYPE_CHECKING:
    from local.tenant.trace import Row

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RICH: dict[str, Any] = {
    "late": 0.2,
    "changing": 0.3,
    "recalled": 0.2,
    "duplicates": 0.1,
    "odd": 0.2,
    "details_missing": 0.1,
}


def tenant_with(seed: int = 1, **trace: Any) -> Tenant:
    return make_tenant(seed=seed, trace=TraceSpec(**trace))


def written(tenant: Tenant) -> list[Row]:
    return list(tenant.trace.rows())


def test_the_same_seed_gives_the_same_rows_whatever_is_asked_first() -> None:
    one, two = (tenant_with(rows=2000, rate=10, **RICH) for _ in range(2))
    list(two.trace.newest_first(millis(NOW - HOUR), millis(NOW)))
    one.advance(HOUR)
    two.advance(HOUR)
    assert len(written(one)) == pytest.approx(2600, abs=5)
    assert [repr(row) for row in written(one)] == [repr(row) for row in written(two)]
    assert one.trace.books.bodies() != tenant_with(seed=2, rows=2000, **RICH).trace.books.bodies()


def test_a_history_has_the_rows_that_were_asked_for_in_the_order_of_time() -> None:
    rows = written(tenant_with(rows=5000, days=3.5, recipients=4, **RICH))
    assert len(rows) == 5000
    assert all(before.key < after.key for before, after in pairwise(rows))
    assert rows[0].received >= millis(NOW - timedelta(days=3.5))
    assert rows[-1].received <= millis(NOW - 3 * MINUTE)
    recipients = Counter(row.trace_id for row in rows)
    assert set(recipients.values()) >= {1, 2, 3, 4, 5, 6, 7}


def test_a_rich_history_has_everything_that_breaks_clients() -> None:
    tenant = tenant_with(rows=5000, **RICH)
    rows = written(tenant)
    assert {None, "", "<>"} <= {row.sender for row in rows}
    assert {None, ""} <= {row.recipient for row in rows}
    assert {None, ""} <= {row.subject for row in rows}
    assert "team#1@lumenfield.example" in {row.recipient for row in rows}
    assert {"recalled", "pending", "gettingStatus"} <= {row.phases[0][1] for row in rows} | {
        row.phases[-1][1] for row in rows
    }
    delays = {(row.phases[0][0] - row.received) // 1000 for row in rows}
    assert {600, 10_800, 144_000} <= delays
    times = Counter((row.trace_id, row.recipient, row.received) for row in rows)
    assert max(times.values()) > 1


def test_rows_appear_with_the_rate_and_their_latency() -> None:
    tenant = tenant_with(rate=60, latency_s=120)
    assert written(tenant) == []
    tenant.advance(HOUR)
    rows = written(tenant)
    assert 3590 <= len(rows) <= 3601
    shown = tenant.trace.books.summary()["visible"]
    assert 3400 < shown < 3600
    tenant.advance(timedelta(hours=2, minutes=30))
    assert len(written(tenant)) == pytest.approx(3.5 * 3600, abs=5)
    assert [row.uid for row in written(tenant)[: len(rows)]] == [row.uid for row in rows]


def test_a_burst_is_thousands_of_rows_in_one_second() -> None:
    rows = written(tenant_with(burst=5001))
    assert len(rows) == 5001
    assert {row.received // 1000 for row in rows} == {millis(NOW - HOUR) // 1000}


def test_seven_recipients_are_seven_triples_of_one_message() -> None:
    tenant = tenant_with()
    rows = tenant.trace.offer(recipients=[f"r{n}@x.example" for n in range(7)])
    assert len({row.trace_id for row in rows}) == 1
    assert len(tenant.trace.books.standing()) == 7


def test_a_late_row_stands_there_only_when_its_time_has_come() -> None:
    tenant = tenant_with()
    tenant.trace.offer(received=NOW, visible_at=NOW + 40 * HOUR)
    assert tenant.trace.books.standing() == set()
    tenant.advance(40 * HOUR)
    assert len(tenant.trace.books.standing()) == 1


def test_a_status_changes_by_the_clock_or_by_hand() -> None:
    tenant = tenant_with()
    (row,) = tenant.trace.offer(status="pending", then=[(NOW + HOUR, "delivered")])
    assert _statuses(tenant.trace.books.standing()) == {"pending"}
    tenant.advance(HOUR)
    assert _statuses(tenant.trace.books.standing()) == {"delivered"}
    tenant.advance(MINUTE)
    tenant.trace.change(row, "recalled")
    assert _statuses(tenant.trace.books.standing()) == {"recalled"}
    assert _statuses(tenant.trace.books.ever_visible()) == {"pending", "delivered", "recalled"}
    tenant.trace.change(row, "failed")
    with pytest.raises(ValueError, match="at most 4"):
        tenant.trace.change(row, "delivered")


def test_what_the_clock_jumped_over_was_never_visible() -> None:
    tenant = tenant_with()
    shown: dict[str, Any] = {"then": [(NOW + 2 * HOUR, "delivered")], "received": NOW}
    tenant.trace.offer(status="pending", visible_at=NOW + HOUR, **shown)
    tenant.trace.offer(status="gettingStatus", **shown)
    tenant.advance(3 * HOUR)
    assert _statuses(tenant.trace.books.ever_visible()) == {"gettingStatus", "delivered"}
    assert len(tenant.trace.books.ever_visible()) == 3


def test_books_expect_what_was_served_and_what_stands() -> None:
    tenant = tenant_with()
    (seen,) = tenant.trace.offer(status="pending", then=[(NOW + HOUR, "delivered")])
    (unseen,) = tenant.trace.offer(status="pending", then=[(NOW + HOUR, "failed")])
    tenant.trace.books.note_served([(seen, 0), (seen, 0)])
    tenant.advance(HOUR)
    pending, delivered = (seen.triple(phase) for phase in (0, 1))
    assert tenant.trace.books.expected() == {pending, delivered, unseen.triple(1)}
    assert tenant.trace.books.served() == {pending}
    assert tenant.trace.books.servings() == {pending: 2}
    assert tenant.trace.books.expected(NOW + MINUTE) == set()
    assert tenant.trace.books.expected(since=NOW) == {pending}
    assert tenant.trace.books.standing(since=NOW + HOUR) == {delivered, unseen.triple(1)}


def test_books_keep_what_was_served_of_hours_long_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("local.tenant.trace.trace._KEPT", 100)
    tenant = tenant_with(rows=3000, changing=0.5)
    tenant.trace.offer(count=20)
    now = millis(NOW)
    page = [
        (row, row.phase_at(now))
        for row in tenant.trace.newest_first(0, now)
        if row.phase_at(now) >= 0
    ]
    tenant.trace.books.note_served(page)
    assert len(tenant.trace._hours.kept) == 1
    assert tenant.trace.books.served() == tenant.trace.books.standing()
    lately = (NOW - 2 * HOUR, NOW - HOUR)
    assert tenant.trace.books.served(*lately) == tenant.trace.books.standing(*lately) != set()
    assert sum(tenant.trace.books.servings().values()) == 3020


def test_newest_first_goes_on_behind_any_row() -> None:
    tenant = tenant_with(rows=300, days=0.5)
    tenant.trace.offer(received=NOW - 2 * HOUR, count=50, within=HOUR)
    low, high = millis(NOW - 6 * HOUR), millis(NOW - HOUR)
    whole = list(tenant.trace.newest_first(low, high))
    assert [row.key for row in whole] == sorted((row.key for row in whole), reverse=True)
    assert len(whole) > 150
    for at in (0, 60, len(whole) - 1):
        behind = list(tenant.trace.newest_first(low, high, whole[at].key))
        assert [row.uid for row in behind] == [row.uid for row in whole[at + 1 :]]


def test_every_message_is_found_by_its_id() -> None:
    tenant = tenant_with(rows=300, rate=5, **RICH)
    tenant.advance(HOUR)
    (placed,) = tenant.trace.offer()
    for row in written(tenant):
        assert row in tenant.trace.find(row.trace_id)
    assert tenant.trace.find(placed.trace_id) == [placed]
    assert tenant.trace.find("5b9bb768-6c08-5bd7-8a7f-85225f7be894") == []
    assert tenant.trace.find("no guid") == []


def test_bodies_are_the_bytes_of_a_page() -> None:
    tenant = tenant_with(rows=50, odd=1.0)
    bodies = tenant.trace.books.bodies()
    row = written(tenant)[7]
    body = bodies[row.triple(0)]
    page = msgspec.json.encode([graph_row(row, row.phases[0][1])])
    assert page == b"[" + body + b"]"
    assert json.loads(body)["id"] == row.trace_id


def test_a_spec_goes_through_json_and_refuses_what_no_tenant_can_have() -> None:
    names = {name: getattr(make_spec(), name) for name in ("tenant_id", "client_id")}
    given = {**names, "client_secret": "x", "trace": {"rows": 7, "late_after_s": [60]}}
    assert TenantSpec.from_json(given).trace.rows == 7
    refused: list[dict[str, Any]] = [
        {"late": 2},
        {"rows": -1},
        {"max_page": 0},
        {"nonsense": 1},
        {"late_after_s": []},
        {"reporting_retired": 500},
    ]
    for trace in refused:
        with pytest.raises(ValueError, match=r"fraction|negative|or more|unknown|retired"):
            TenantSpec.from_json({**given, "trace": trace})


def _statuses(found: set[Triple]) -> set[str]:
    return {triple.status for triple in found}
