"""Gap records: what was never listed is written down once, day by day, and never for what is yet to come."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from shared.days.gaps import AUDITING_OFF, GAP, SUBSCRIPTION_OFF, Gaps, kind_of
from shared.state.ledger import GAP as GAP_LINE
from shared.state.ledger import Line
from shared.state.ledger_day import Day
from shared.state.run_summary import RunSummary
from shared.times import ServiceClock, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.state.feed_ledger import FeedLedger

NOW = datetime(2026, 3, 2, 12, 0, 0, 250_000, UTC)
HOUR = timedelta(hours=1)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


class Ledger:
    """Days in memory, and every line that was written."""

    def __init__(self) -> None:
        self.days: dict[date, Day] = {}
        self.lines: list[tuple[date, Line]] = []

    def day(self, day: date) -> Day:
        return self.days.setdefault(day, Day(day))

    def write(self, lines: Iterable[tuple[date, Line]]) -> None:
        for day, line in lines:
            self.lines.append((day, line))
            self.day(day).apply(line)


def written(start: str, end: str) -> Line:
    return Line(
        id=f"gap:{start}",
        state=GAP_LINE,
        created=start,
        expires=end,
        run="r",
        time=int(NOW.timestamp()),
        reason=GAP,
    )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def summary() -> RunSummary:
    return RunSummary(connection="c", tenant_id="t", source="s", run="r", started="")


@pytest.fixture
def gaps(ledger: Ledger, summary: RunSummary) -> Gaps:
    return Gaps(cast("FeedLedger", ledger), ServiceClock(lambda: NOW), summary)


def test_a_gap_is_a_line_for_each_day_that_says_which_range_and_why(
    gaps: Gaps, ledger: Ledger, summary: RunSummary, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "m365.gaps"):
        gaps.record(Window(MIDNIGHT - HOUR, MIDNIGHT + HOUR), "because")

    first, second = date(2026, 3, 1), date(2026, 3, 2)
    one, two, three = "2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z", "2026-03-02T01:00:00Z"
    assert ledger.lines == [
        (first, written(one, two)),
        (second, written(two, three)),
    ]
    assert summary.gap_seconds == 7200
    assert caplog.messages == [
        f"gap in t/s: nothing between {one} and {three} was listed (because)"
    ]


@pytest.mark.parametrize("kind", [SUBSCRIPTION_OFF, AUDITING_OFF])
def test_what_was_off_is_known_by_that(gaps: Gaps, ledger: Ledger, kind: str) -> None:
    gaps.record(Window(MIDNIGHT, MIDNIGHT + HOUR), "because", kind)

    ((_, line),) = ledger.lines
    assert (line.id, kind_of(line)) == (f"{kind}:2026-03-02T00:00:00Z", kind)


def test_no_gap_reaches_beyond_the_second_that_it_is(gaps: Gaps, ledger: Ledger) -> None:
    gaps.record(Window(MIDNIGHT, NOW + HOUR), "because")

    assert [line.expires for _, line in ledger.lines] == ["2026-03-02T12:00:00Z"]


@pytest.mark.parametrize("start", [NOW.replace(microsecond=0), NOW, NOW + HOUR])
def test_what_is_yet_to_come_is_no_gap(gaps: Gaps, ledger: Ledger, start: datetime) -> None:
    gaps.record(Window(start, start + HOUR), "because")

    assert not ledger.lines


def test_only_what_no_record_had_covered_is_counted_and_said(
    gaps: Gaps, ledger: Ledger, summary: RunSummary, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "m365.gaps"):
        gaps.record(Window(MIDNIGHT, MIDNIGHT + HOUR), "one")
        gaps.record(Window(MIDNIGHT, MIDNIGHT + HOUR), "again")
        gaps.record(Window(MIDNIGHT, MIDNIGHT + 3 * HOUR), "longer")

    assert summary.gap_seconds == ledger.day(MIDNIGHT.date()).gap_seconds == 3 * 3600
    assert [text.rpartition("(")[2] for text in caplog.messages] == ["one)", "longer)"]


@pytest.mark.parametrize("reason", ["", "a gap", "left the horizon", "up to nobody knows when"])
def test_whatever_else_an_older_version_wrote_was_a_gap(reason: str) -> None:
    assert kind_of(Line(id="gap:", state=GAP_LINE, reason=reason)) == GAP
