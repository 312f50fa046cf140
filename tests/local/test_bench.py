"""The benchmark: that it runs, that its figures have the promised shape, and that it does not flatter."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from azure.eventhub import EventDataBatch

from local.bench.figures import BEGIN, END, Spread
from local.bench.loops import check_framing, fill
from local.bench.tenants import (
    MEASURED,
    QUICK,
    Steady,
    daily,
    ledger_of,
    spread,
    start_of_clocks,
)
from local.tether import ROOT
from shared.contents.windows import plan
from shared.sources.management_api import AUDIT_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATES = (
    "end_to_end_events_per_s",
    "bare_ceiling_events_per_s",
    "plain_loop_events_per_s",
    "small_end_to_end_events_per_s",
    "small_bare_ceiling_events_per_s",
    "message_trace_events_per_s",
)
NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)


@pytest.mark.timeout(400)
def test_a_quick_run_prints_every_figure_and_writes_the_table(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    done = subprocess.run(
        [sys.executable, "-m", "local", "bench", "--quick", "--json", "--write", str(page)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in RATES:
        assert set(found[name]) == {"cpu", "wall"}, name
        assert min(found[name].values()) > 0, name
    assert set(found["idle_run_cpu_s"]) == {str(per_day) for per_day in QUICK.idle}
    assert min(found["idle_run_cpu_s"].values()) > 0
    assert found["listing_requests_per_delivered"] > 0
    assert found["peak_memory_mb_above_idle"] > 0
    for name in ("of_ceiling", "small_of_ceiling", "times_plain_loop"):
        assert set(found[name]) == {"cpu", "wall"}, name
    assert found["repeats"] == QUICK.repeats
    assert found["versions"]["python"].startswith("3.")
    events = QUICK.contents * QUICK.records
    assert found["corpora"]["large"]["events"] == events
    assert 1000 < found["corpora"]["large"]["bytes"] / events < 2000
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| measured |")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text


def test_the_bare_loop_sends_what_the_sdk_would_send() -> None:
    check_framing()


def test_the_bare_loop_hands_back_what_does_not_fit() -> None:
    records = iter([msgspec.Raw(b'"%b"' % (b"x" * length)) for length in (298, 698, 298)])
    batch = EventDataBatch(max_size_in_bytes=1024)
    added, size, rest = fill(batch, records)
    assert (added, size, len(batch)) == (1, 300, 1)
    assert rest is not None
    assert len(memoryview(rest)) == 700
    following = EventDataBatch(max_size_in_bytes=2048)
    assert fill(following, records, rest) == (2, 1000, None)
    assert len(following) == 2


def test_a_spread_has_exactly_the_contents_asked_for() -> None:
    placed = list(spread(MEASURED, NOW - timedelta(days=6), NOW, 137, 5).placed())
    assert len(placed) == len({each.content_id for each in placed}) == 137
    assert all(NOW - timedelta(days=6) <= each.created < NOW for each in placed)


@pytest.mark.parametrize("per_day", [pytest.param(n, id=str(n)) for n in (100, 6600, 50_000)])
def test_stretches_of_one_grid_agree_about_what_they_share(per_day: int) -> None:
    whole = daily(MEASURED, NOW, NOW + timedelta(hours=3), per_day).placed()
    part = daily(MEASURED, NOW + timedelta(hours=1), NOW + timedelta(hours=2), per_day).placed()
    inside = {each for each in whole if NOW + timedelta(hours=1) <= each.created}
    assert {each for each in inside if each.created < NOW + timedelta(hours=2)} == set(part)


def test_an_idle_run_lists_nothing_that_its_ledger_does_not_know() -> None:
    known = {each.content_id for each in ledger_of(500, NOW)}
    at = Steady.at(NOW)
    listed = [
        each.content_id
        for window in _windows(at)
        for each in daily(MEASURED, window[0], window[1], 500).placed()
    ]
    assert listed
    assert set(listed) <= known


def test_an_idle_run_makes_a_last_call_and_re_lists_a_slice() -> None:
    at = Steady.at(NOW)
    assert len(list(_windows(at))) == 3


def test_figures_do_not_depend_on_the_time_of_day() -> None:
    for hour in range(24):
        real = NOW.replace(hour=hour, minute=59)
        begin = start_of_clocks(real)
        assert begin.hour == 18
        assert timedelta() < begin - real <= timedelta(days=1)


def test_the_figure_is_the_median() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, least=1.0, most=10.0)


def _windows(at: Steady) -> Iterator[tuple[datetime, datetime]]:
    """What a run lists that stands there."""
    todo = plan(
        at.now,
        policy=AUDIT_POLICY,
        watermark=at.now - timedelta(minutes=10),
        cursor=at.cursor,
        tail=at.tail,
    )
    for window in (*todo.recent, todo.last_call, todo.slice):
        if window is not None:
            yield window.start, window.end
