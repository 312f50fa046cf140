from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from local.outcome import FeedOutcome, Outcome
from local.progress import Lines, age, make_display
from local.readback import Event, Sample
from local.report import print_json, print_report, size
from shared.state.ledger import Entry
from shared.state.ledger_day import Counts

EXCHANGE = "Audit.Exchange"
EVENTS: frozenset[Event] = frozenset({("c1", "e1", "d1"), ("c1", "e2", "d2")})
COUNTS = Counts(listed=1, delivered=1, records=2, bytes=3_000)
GOOD = Outcome(
    feeds=[FeedOutcome(connection="local", source=EXCHANGE, offered=1, counts=COUNTS)],
    expected=EVENTS,
    found=EVENTS,
    events=3,
    sample=Sample(body=b'{"Id":"e1"}', properties={"event_id": "e1"}),
    seconds=2.0,
    rounds=1,
    peak_memory_mb=71.5,
)


def with_counts(counts: Counts, pending: tuple[Entry, ...] = ()) -> Outcome:
    return replace(GOOD, feeds=[replace(GOOD.feeds[0], counts=counts, pending=pending)])


def printed(outcome: Outcome, width: int = 120) -> str:
    file = io.StringIO()
    print_report(outcome, Console(file=file, width=width))
    return file.getvalue()


def test_a_perfect_run_differs_in_nothing_and_says_so() -> None:
    assert GOOD.differences() == []
    text = printed(GOOD)
    assert "3 events, 2 distinct, 1 repeats" in text
    assert "peak memory of the collector 72 MB" in text
    assert '"Id": "e1"' in text
    assert "exactly what the tenant's books say" in text


def test_every_column_has_room_on_eighty_columns() -> None:
    heading, _, row, *_ = printed(GOOD, width=80).strip("\n").splitlines()
    assert heading.split() == [
        "feed",
        "offered",
        "listed",
        "delivered",
        "lost",
        "pending",
        "records",
        "bytes",
    ]
    assert row.split() == [EXCHANGE, "1", "1", "1", "0", "0", "2", "3.0", "kB"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        pytest.param(with_counts(Counts()), "Nothing was listed", id="nothing"),
        pytest.param(
            with_counts(Counts(listed=2, delivered=2)), "offered 1 contents and 2", id="offered"
        ),
        pytest.param(
            with_counts(Counts(listed=1, lost={"expired": 1})),
            "1 content is lost (expired)",
            id="lost",
        ),
        pytest.param(
            with_counts(Counts(listed=1, pending=1), (Entry(id="c1", reason="http-500"),)),
            "pending, such as c1 (http-500)",
            id="pending",
        ),
        pytest.param(
            with_counts(replace(COUNTS, dead_records=1)), "1 records went", id="dead-letters"
        ),
        pytest.param(with_counts(replace(COUNTS, gap_seconds=9)), "9 seconds", id="gap"),
        pytest.param(
            replace(GOOD, found=frozenset({("c1", "e1", "d1")})),
            "1 events of the tenant's books are not at the hub, such as event e2 of content c1",
            id="missing",
        ),
        pytest.param(
            replace(GOOD, found=EVENTS | {("c1", "e2", "other bytes")}),
            "1 events of the hub are not in the tenant's books",
            id="altered",
        ),
        pytest.param(replace(GOOD, found=None, unread="silence"), "silence", id="unread"),
        pytest.param(replace(GOOD, expected=None, errors=["no access"]), "no access", id="error"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_said(outcome: Outcome, words: str) -> None:
    assert words in " ".join(outcome.differences())
    assert words in printed(outcome)
    assert outcome.as_json()["ok"] is False


def test_an_error_that_left_nothing_undone_does_not_fail_a_run_that_can_be_compared() -> None:
    assert replace(GOOD, errors=["a fault was played"]).differences() == []


def test_the_json_report_is_one_object_with_the_promised_names() -> None:
    file = io.StringIO()
    print_json(GOOD, Console(file=file, width=40))
    report = json.loads(file.getvalue())
    feed = report["feeds"][EXCHANGE]
    names = ("offered", "listed", "delivered", "lost", "pending", "records", "bytes")
    assert [feed[name] for name in names] == [1, 1, 1, 0, 0, 2, 3000]
    assert (report["events_at_hub"], report["distinct_events_at_hub"]) == (3, 2)
    assert (report["offered_events"], report["repeats"]) == (2, 1)
    assert (report["peak_memory_mb"], report["events_per_s"]) == (71.5, 1.0)


def test_feeds_of_several_tenants_are_told_apart() -> None:
    feeds = [replace(GOOD.feeds[0], connection=name, offered=None) for name in ("a", "b")]
    outcome = replace(GOOD, feeds=feeds, expected=None, found=None, events=None)
    assert set(outcome.as_json()["feeds"]) == {f"a/{EXCHANGE}", f"b/{EXCHANGE}"}
    assert f"b/{EXCHANGE}" in printed(outcome)
    assert "offered" not in printed(outcome).split("\n")[1]


def test_a_body_that_is_no_json_is_shown_as_it_is() -> None:
    assert "not json" in printed(replace(GOOD, sample=Sample(body=b"not json", properties={})))


def summary(delivered: int, listed: int, *, ended: bool = False) -> dict[str, object]:
    return {
        "connection": "local",
        "source": EXCHANGE,
        "delivered": delivered,
        "listed": listed,
        "records": 10 * delivered,
        "bytes": 1000 * delivered,
        "lag_seconds": 90,
        "ended": "now" if ended else "",
    }


@pytest.mark.parametrize(
    ("terminal", "whole"),
    [
        pytest.param(True, 8, id="bars"),
        pytest.param(False, 8, id="lines"),
        pytest.param(False, None, id="whole-unknown"),
    ],
)
def test_progress_adds_up_over_rounds(
    terminal: bool, whole: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.progress.LINE_EVERY_S", 0.0)
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    display = make_display({f"local/{EXCHANGE}": whole}, console)
    with display:
        for each in (summary(3, 4), summary(5, 6, ended=True), summary(2, 2, ended=True)):
            display.feed(each)
        display.reading(7, 70)
    text = file.getvalue()
    assert "70 events" in text
    assert "lag 1.5 min" in text
    assert isinstance(display, Lines) is not terminal
    if not terminal:
        assert f"7 of {whole or 8} contents and rows, 70 events" in text
        assert "7 of 70 events read back" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (90, "1.5 min"), (7200, "2.0 h"), (129_600, "1.5 d")],
)
def test_ages_are_told_in_the_unit_a_person_would_use(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB")]
)
def test_sizes_are_told_in_the_unit_a_person_would_use(number: int, text: str) -> None:
    assert size(number) == text
