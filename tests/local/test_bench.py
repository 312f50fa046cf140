"""The benchmark: that it runs, that its figures have the promised shape, and that it does not flatter."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from azure.eventhub import EventData, EventDataBatch

from local.bench.figures import BEGIN, END, FIGURES, RATIOS, spread
from local.bench.loops import SDK_BYTES, head_of, properties, section_of
from local.bench.state import TIMER, up_to_date
from local.bench.tenants import (
    DEFAULT,
    LARGE,
    MEASURED,
    QUICK,
    WHOLE_DAY,
    first_name,
    idle_name,
    listed_days,
    make_tenants,
    start_of_clocks,
)
from local.tenant import SOURCES
from local.tether import ROOT
from shared.contents.windows import plan
from shared.sources.audit.management_api import AUDIT_POLICY

if TYPE_CHECKING:
    from pathlib import Path

RATES = (
    "end_to_end",
    "bare_ceiling",
    "ceiling_with_properties",
    "plain_loop",
    "small_end_to_end",
    "small_bare_ceiling",
    "small_ceiling_with_properties",
    "message_trace",
)
COUNTED = ("requests", "storage_operations", "log_bytes")
"""What loops beside the collector do not count."""
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
    idle = {name(per_day) for per_day in QUICK.idle for name in (idle_name, first_name)}
    assert set(found["measured"]) == {*RATES, *idle}
    for kind, figures in found["measured"].items():
        assert set(figures) == set(FIGURES), kind
        for name, figure in figures.items():
            assert figure["min"] <= figure["median"] <= figure["max"], name
            counted = name in COUNTED and kind not in idle
            assert figure["min"] > 0 or counted or (kind in idle and "events" in name), name
    assert set(found["ratios"]) == set(RATIOS)
    assert found["listing"]["requests_a_content"] > 0
    for name in ("ceiling_with_properties", "small_ceiling_with_properties"):
        median = found["measured"][name]["events_per_cpu_s"]["median"]
        assert found[f"{name}_events_per_s"] == median > 0
    assert 0 < found["idle_storage_operations"]["100"] <= 10
    assert 0 < found["idle_log_bytes"]["100"] <= 4096
    assert found["sizes"]["repeats"] == QUICK.repeats
    assert found["machine"]["versions"]["python"].startswith("3.")
    events = QUICK.contents * QUICK.records
    assert found["corpora"]["large"]["events"] == events
    assert 1000 < found["corpora"]["large"]["bytes"] / events < 2000
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| measured |")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text


def test_the_bare_loop_sends_what_the_sdk_would_send() -> None:
    bodies = [b'"%b"' % (b"x" * length) for length in (300, 1500, 70_000)]
    theirs: Any = EventDataBatch(max_size_in_bytes=1 << 20)
    empty = theirs.size_in_bytes
    for body in bodies:
        theirs.add(EventData(body))
    ours = [section_of(msgspec.Raw(body)) for body in bodies]
    assert [bytes(each) for each in theirs._message[5]] == ours
    assert theirs.size_in_bytes - empty == sum(len(each) + SDK_BYTES for each in ours)


def test_the_ceiling_with_properties_sends_what_the_sdk_would_send() -> None:
    uri, name = "https://localhost/api/audit/2026$1$audit_exchange", "i" * 36
    theirs: Any = EventDataBatch(max_size_in_bytes=1 << 20)
    event = EventData(b'"%b"' % (b"x" * 1500))
    event.content_type = "application/json"
    event.properties = properties("t", uri, name)
    theirs.add(event)

    ours = head_of("t", uri, 36) + name.encode() + section_of(msgspec.Raw(b'"%b"' % (b"x" * 1500)))

    assert bytes(theirs._message[5][0]) == ours


def test_a_tenant_has_exactly_the_contents_asked_for() -> None:
    tenants = make_tenants(QUICK, NOW)
    large = tenants[LARGE].shelf.offered(MEASURED)
    assert len(large) == QUICK.contents
    assert {each.count for each in large} == {QUICK.records}
    assert all(NOW - timedelta(days=7) < each.created < NOW for each in large)
    whole = QUICK.day_contents // len(SOURCES)
    for source in SOURCES:
        created = [each.created for each in tenants[WHOLE_DAY].shelf.offered(source)]
        for start, end in listed_days(NOW)[:2]:
            assert sum(start <= each < end for each in created) == whole, source


def test_runs_list_only_days_of_which_everything_is_known_and_make_one_last_call_an_hour() -> None:
    stands, calls = up_to_date(NOW, {}), []
    cursor, tail = stands.cursor, stands.tail
    for number in range(DEFAULT.day_runs):
        # A run takes a moment.
        now = NOW + number * TIMER + timedelta(seconds=20)
        since = now - TIMER - timedelta(seconds=20)
        todo = plan(now, policy=AUDIT_POLICY, watermark=since, cursor=cursor, tail=tail)
        cursor, tail = todo.cursor, todo.tail
        calls += [number] if todo.last_call else []
        assert todo.slice is not None
        for each in (*todo.recent, todo.slice, *filter(None, [todo.last_call])):
            known = [a <= each.start and each.end <= b for a, b in listed_days(NOW)]
            assert any(known), each
    assert calls == [0]


def test_figures_do_not_depend_on_the_time_of_day() -> None:
    for hour in range(24):
        real = NOW.replace(hour=hour, minute=59)
        begin = start_of_clocks(real)
        assert begin.hour == 18
        assert timedelta() < begin - real <= timedelta(days=1)


def test_the_figure_is_the_median() -> None:
    assert spread([3.0, 1.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0}
