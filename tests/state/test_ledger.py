"""The ledger: a merge that no order, repetition or torn line can make forget or invent anything."""

from __future__ import annotations

import functools
import json
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from shared.state.ledger import (
    GAP,
    MOST_TOGETHER,
    VOID,
    Entry,
    Line,
    State,
    decode,
    encode,
    entry_of,
    merge,
    parts,
)
from shared.state.ledger_day import Counts, Day

DAY = date(2026, 3, 1)
CREATED = "2026-03-01T10:00:00.000Z"
NOW = 1_772_400_000
BASE = timedelta(minutes=10)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)

states = st.sampled_from([*State]).map(lambda state: state.value)
lines = st.builds(
    Line,
    id=st.sampled_from(["a", "b", "c"]),
    state=states | st.just("from-a-newer-version"),
    created=st.sampled_from(["", CREATED]),
    expires=st.sampled_from(["", "2026-03-08T10:00:00.000Z"]),
    uri=st.sampled_from(["", "https://example.test/x"]),
    run=st.sampled_from(["", "run1", "run2", "run3"]),
    time=st.integers(0, 3),
    records=st.integers(0, 2),
    bytes=st.integers(0, 2),
    dead=st.integers(0, 1),
    reason=st.sampled_from(["", "expired", "AF50000"]),
)
same = lines.map(lambda line: entry_of(structs.replace(line, id="a")))
many = settings(max_examples=60)


def _day(*found: Line) -> Day:
    day = Day(DAY)
    for line in found:
        day.apply(line)
    return day


def _line(state: State | str, content: str = "a", **fields: object) -> Line:
    return Line(**{"id": content, "state": str(state), "time": NOW, **fields})  # type: ignore[arg-type]


def _gap(start: str, end: str) -> Line:
    return Line(id=f"gap:{start}", state=GAP, created=start, expires=end)


# -- the merge


@given(same, same)
@many
def test_merging_does_not_depend_on_the_order(one: Entry, other: Entry) -> None:
    assert merge(one, other) == merge(other, one)


@given(same, same, same)
@many
def test_merging_does_not_depend_on_the_grouping(one: Entry, two: Entry, three: Entry) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(same, same)
@many
def test_merging_again_changes_nothing(one: Entry, other: Entry) -> None:
    assert merge(one, one) == one
    assert merge(merge(one, other), other) == merge(one, other)


@given(found=st.lists(lines, max_size=12), repeats=st.integers(0, 5), seed=st.integers(0, 99))
@many
def test_lines_in_any_order_and_number_say_the_same(
    found: list[Line], repeats: int, seed: int
) -> None:
    shuffled = [*found, *found[:repeats]]
    random.Random(seed).shuffle(shuffled)

    assert _day(*shuffled).entries == _day(*found).entries
    assert _day(*shuffled).counts() == _day(*found).counts()


@given(st.lists(lines, min_size=1, max_size=12), st.integers(0, 12))
@many
def test_two_halves_merge_to_the_whole(found: list[Line], cut: int) -> None:
    halves = [_day(*found[:cut]).entries, _day(*found[cut:]).entries]
    joined = {
        content: functools.reduce(merge, [half[content] for half in halves if content in half])
        for content in {*halves[0], *halves[1]}
    }

    assert joined == _day(*found).entries


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        pytest.param(weak, strong, id=f"{strong.value}-beats-{weak.value}")
        for index, weak in enumerate(State)
        for strong in list(State)[index + 1 :]
    ],
)
def test_the_stronger_state_wins_even_when_it_is_older(weak: State, strong: State) -> None:
    day = _day(_line(strong, time=NOW, records=7), _line(weak, time=NOW + 999, records=3))

    # An attempt publishes nothing, so it has no records.
    records = 7 if day.settled else 0
    assert (day.entries["a"].state, day.entries["a"].records) == (strong, records)


@pytest.mark.parametrize("state", ["archived", "withdrawn"])
def test_an_unknown_state_counts_as_listed_so_that_the_content_is_delivered_again(
    state: str,
) -> None:
    day = Day(DAY)
    day.load(encode([_line(state, created=CREATED)]))

    assert [entry.id for entry in day.pending()] == ["a"]
    assert day.counts().pending == 1


def test_attempts_are_counted_by_run_not_by_line() -> None:
    attempt = _line(State.ATTEMPT, run="run1")
    day = _day(_line(State.LISTED), attempt, attempt, _line(State.ATTEMPT, run="run2"), attempt)

    assert day.entries["a"].attempts == {"run1", "run2"}


voids = st.builds(
    Line,
    id=st.just("void"),
    state=st.just(VOID),
    run=st.sampled_from(["", "run1", "run2"]),
    reason=st.sampled_from(["", "AF50000"]),
)


@given(found=st.lists(lines | voids, max_size=14), cut=st.integers(0, 14), seed=st.integers(0, 99))
@many
def test_what_an_outage_takes_back_is_gone_in_whatever_order_it_is_read(
    found: list[Line], cut: int, seed: int
) -> None:
    taken = {(line.run, line.reason) for line in found if line.state == VOID}
    shuffled = [*found, *found[:3]]
    random.Random(seed).shuffle(shuffled)
    read = Day(DAY)
    read.load(encode(shuffled[:cut]))
    read.load(encode(shuffled[cut:]))

    assert read.entries == _day(*found).entries
    for entry in read.entries.values():
        assert not {(each.run, each.reason) for each in entry.tries} & taken
        assert entry.terminal or entry.state == ("attempt" if entry.tries else "listed")
    assert read.counts().listed == len({line.id for line in found if line.state != VOID})


def test_an_outage_takes_back_the_attempts_of_its_run_and_no_others() -> None:
    day = _day(
        _line(State.LISTED),
        _line(State.ATTEMPT, run="run1", time=NOW, reason="AF20050"),
        _line(State.ATTEMPT, run="run2", time=NOW + 60, reason="AF50000"),
        _line(VOID, "void:run2", run="run2", reason="AF50000"),
    )

    assert day.entries["a"].attempts == {"run1"}
    assert day.entries["a"].reason == "AF20050"
    assert list(day.entries) == ["a"]


def test_where_a_content_is_known_by_its_settling_line_alone_its_place_is_kept() -> None:
    day = _day(_line(State.DELIVERED, records=5), _line(State.LISTED, created=CREATED, uri="u"))

    assert (day.entries["a"].created, day.entries["a"].uri) == (CREATED, "u")
    assert day.settled


@pytest.mark.parametrize("reverse", [False, True], ids=["in-order", "in-reverse"])
def test_where_a_content_is_listed_again_the_latest_line_says_where_it_is(reverse: bool) -> None:
    wrong = _line(State.LISTED, created=CREATED, expires="2026-03-09", uri="https://z.test/x")
    right = _line(State.LISTED, created=CREATED, expires="2026-03-08", time=NOW + 60)
    found = [wrong, _line(State.ATTEMPT, run="run1", time=NOW + 90), right]
    entry = _day(*(reversed(found) if reverse else found)).entries["a"]

    assert (entry.created, entry.expires, entry.uri) == (CREATED, "2026-03-08", "")
    assert (entry.listed, entry.attempts) == (NOW, frozenset({"run1"}))


def test_listed_twice_in_one_second_is_merged_to_one_of_both_and_never_mixed() -> None:
    one = _line(State.LISTED, expires="2026-03-09", uri="https://a.test/x")
    two = _line(State.LISTED, expires="2026-03-08", uri="https://z.test/x")
    entries = [_day(one, two).entries["a"], _day(two, one).entries["a"]]

    assert {(e.expires, e.uri) for e in entries} == {("2026-03-09", "https://a.test/x")}


# -- when to try again, and when to stop


@pytest.mark.parametrize(
    ("runs", "minutes"),
    [
        pytest.param(1, 10, id="first"),
        pytest.param(2, 20, id="second"),
        pytest.param(3, 40, id="third"),
        pytest.param(6, 320, id="sixth"),
        pytest.param(7, 360, id="limit"),
        pytest.param(5000, 360, id="many"),
    ],
)
def test_waits_double_up_to_six_hours(runs: int, minutes: int) -> None:
    attempts = [_line(State.ATTEMPT, run=f"run{n}", time=NOW - runs + 1 + n) for n in range(runs)]
    entry = _day(_line(State.LISTED), *attempts).entries["a"]

    assert entry.due(BASE) == datetime.fromtimestamp(NOW, UTC) + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("answers", "hours"),
    [
        pytest.param([], 0, id="never-tried"),
        pytest.param([(30, "gone")], 30, id="once"),
        pytest.param([(30, "gone"), (10, "gone"), (1, "gone")], 30, id="always"),
        pytest.param([(30, "http-500"), (1, "gone")], 1, id="after-a-failure"),
        pytest.param([(30, "gone"), (2, "http-500"), (1, "gone")], 1, id="with-a-failure-between"),
        pytest.param([(30, "gone"), (1, "http-500")], 0, id="before-a-failure"),
        pytest.param([(30, "gone"), (-90, "http-500")], 30, id="with-one-of-a-wrong-clock"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True], ids=["in-order", "in-reverse"])
def test_an_answer_stands_since_the_first_after_which_none_was_different(
    answers: list[tuple[int, str]], hours: int, reverse: bool
) -> None:
    found = [
        _line(State.ATTEMPT, run=f"run{hour}", time=NOW - hour * 3600, reason=reason)
        for hour, reason in answers
    ]
    entry = _day(_line(State.LISTED), *(reversed(found) if reverse else found)).entries["a"]

    now = datetime.fromtimestamp(NOW, UTC)
    assert entry.since(lambda reason: reason == "gone", now) == now - timedelta(hours=hours)


def test_what_was_never_tried_is_due_at_once() -> None:
    assert entry_of(_line(State.LISTED)).due(BASE) <= datetime.fromtimestamp(NOW, UTC)


def test_an_attempt_dated_in_the_future_keeps_nothing_waiting() -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    ahead = _line(State.ATTEMPT, run="run1", time=NOW + 6 * 86_400)
    entry = _day(_line(State.LISTED), ahead).entries["a"]

    assert entry.due(BASE, now) <= now
    assert entry.due(BASE, now + timedelta(days=6)) == now + timedelta(days=6) + BASE


SEVENTH = datetime(2026, 3, 8, 10, tzinfo=UTC)
LISTED = datetime.fromtimestamp(NOW, UTC)


@pytest.mark.parametrize(
    ("created", "expires", "expected"),
    [
        pytest.param(CREATED, "2026-03-08T10:00:00.000Z", SEVENTH, id="seven-days"),
        pytest.param(CREATED, "2026-03-21T10:00:00Z", SEVENTH + timedelta(days=13), id="twenty"),
        pytest.param(CREATED, "2026-05-01T00:00:00Z", SEVENTH + timedelta(days=23), id="too-late"),
        pytest.param(CREATED, "9999-12-31T23:59:59Z", SEVENTH + timedelta(days=23), id="never"),
        pytest.param(CREATED, "2026-03-05T00:00:00Z", SEVENTH, id="too-early"),
        pytest.param(CREATED, "0001-01-01T00:00:00", SEVENTH, id="the-beginning-of-time"),
        pytest.param(CREATED, "", SEVENTH, id="missing"),
        pytest.param(CREATED, "soon", SEVENTH, id="unreadable"),
        pytest.param(CREATED, "0001-01-01T00:00:00+05:00", SEVENTH, id="out-of-range"),
        pytest.param("9999-12-31T23:00:00Z", "", LISTED + WEEK, id="beyond-time"),
        pytest.param("", "", LISTED + WEEK, id="nothing-known"),
    ],
)
def test_an_expiration_is_believed_between_seven_and_thirty_days_after_the_creation(
    created: str, expires: str, expected: datetime
) -> None:
    entry = entry_of(_line(State.LISTED, created=created, expires=expires))

    assert entry.expires_at(WEEK, MONTH) == expected


def test_a_content_whose_listed_line_is_torn_is_not_taken_for_expired() -> None:
    entry = _day(
        _line(State.ATTEMPT, run="run1"), _line(State.ATTEMPT, run="run2", time=NOW + 60)
    ).entries["a"]

    assert entry.expires_at(WEEK, MONTH) == datetime.fromtimestamp(NOW, UTC) + WEEK


def test_nothing_is_hoped_for_a_day_after_the_longest_that_a_content_lives() -> None:
    listed = entry_of(_line(State.LISTED, created=CREATED))

    assert listed.hopeless_at(MONTH) == SEVENTH + timedelta(days=24)
    assert entry_of(_line(State.LISTED)).hopeless_at(MONTH) == LISTED + timedelta(days=31)


# -- on disk


def test_many_lines_are_appended_in_parts_whatever_makes_them_long() -> None:
    long = {"uri": "u" * 300, "reason": "r" * 200}
    found = [_line(State.LISTED, f"{n:0300}", **long) for n in range(1200)]
    most = MOST_TOGETHER // 1000 + 1

    cut = list(parts(found))

    assert [line for part in cut for line in part] == found
    assert [len(part) for part in cut] == [most, most, 1200 - 2 * most]
    assert list(parts([])) == []


@given(st.lists(lines, max_size=8), st.lists(lines, max_size=8))
@many
def test_what_is_appended_is_read_back(first: list[Line], second: list[Line]) -> None:
    assert decode(encode(first) + encode(second)) == ([*first, *second], 0)


@given(found=st.lists(lines, min_size=1, max_size=6), cut=st.integers(1, 40))
@many
def test_a_torn_append_costs_one_line_and_none_of_the_next(found: list[Line], cut: int) -> None:
    torn = encode(found).rstrip(b"\n")[:-cut]
    whole = encode(found)

    lines_read, unread = decode(torn + whole)

    assert lines_read[-len(found) :] == found
    assert unread <= 1


@pytest.mark.parametrize(
    ("garbage", "unread"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"\n\n  \r\n\n", 0, id="blank-lines"),
        pytest.param(b'{"id":"x"', 1, id="torn"),
        pytest.param(b'"x"', 1, id="not-an-object"),
        pytest.param(b"{}", 1, id="no-id"),
        pytest.param(b'{"id":"x","state":"listed","time":"soon"}', 1, id="wrong-type"),
        pytest.param(b"\x00\xff\xfe", 1, id="bytes"),
        pytest.param(b'{"id":"\xff","state":"listed"}', 1, id="not-utf-8"),
        pytest.param(b"nonsense\n\nmore nonsense", 2, id="two-lines"),
    ],
)
def test_garbage_is_skipped_and_counted_and_hides_nothing(garbage: bytes, unread: int) -> None:
    good = encode([_line(State.LISTED, "a")])

    day = Day(DAY)
    day.load(good + garbage + encode([_line(State.LISTED, "b")]))

    assert (set(day.entries), day.torn) == ({"a", "b"}, unread)


@given(st.binary(max_size=60))
@many
def test_no_bytes_stop_the_reading_of_a_ledger(data: bytes) -> None:
    day = Day(DAY)
    day.load(data + encode([_line(State.LISTED, "the-next")]))

    assert "the-next" in day.entries
    day.counts()


def test_fields_of_a_newer_version_are_passed_over() -> None:
    stored = json.dumps({"id": "a", "state": "delivered", "records": 3, "shard": 9}).encode()

    assert decode(stored) == ([Line(id="a", state="delivered", records=3)], 0)


# -- completeness


@given(st.lists(lines, max_size=20))
@many
def test_listed_is_delivered_and_lost_and_pending(found: list[Line]) -> None:
    counts = _day(*found).counts()

    assert counts.listed == len({line.id for line in found})
    assert counts.listed == counts.delivered + sum(counts.lost.values()) + counts.pending


@given(st.lists(st.lists(lines, max_size=6), max_size=4))
@many
def test_the_identity_holds_for_sums_of_days(days: list[list[Line]]) -> None:
    total = Counts()
    for found in days:
        total.add(_day(*found).counts())

    assert total.listed == total.delivered + sum(total.lost.values()) + total.pending


def test_lost_is_told_apart_by_reason() -> None:
    counts = _day(
        _line(State.LOST, "a", reason="expired"),
        _line(State.LOST, "b", reason="expired"),
        _line(State.LOST, "c"),
        _line(State.DEAD_LETTERED, "d", reason="record 3 of the body is not JSON"),
    ).counts()

    assert counts.lost == {"expired": 2, "unknown": 1, "dead-lettered": 1}


@pytest.mark.parametrize(
    ("gaps", "seconds"),
    [
        pytest.param([("01:00", "02:00"), ("01:00", "02:00")], 3600, id="twice"),
        pytest.param([("01:00", "02:00"), ("01:00", "03:00")], 7200, id="grown"),
        pytest.param([("01:00", "03:00"), ("01:00", "02:00")], 7200, id="grown-read-late"),
        pytest.param([("01:00", "03:00"), ("02:00", "04:00")], 10_800, id="overlapping"),
        pytest.param([("01:00", "04:00"), ("02:00", "03:00")], 10_800, id="one-inside-another"),
        pytest.param([("05:00", "06:00"), ("01:00", "02:00")], 7200, id="apart"),
    ],
)
def test_overlapping_gaps_are_counted_once(gaps: list[tuple[str, str]], seconds: int) -> None:
    day = _day(*(_gap(f"2026-03-01T{start}:00Z", f"2026-03-01T{end}:00Z") for start, end in gaps))

    assert day.counts().gap_seconds == seconds


@given(st.lists(st.tuples(st.integers(0, 23), st.integers(1, 24)), max_size=8), st.integers(0, 99))
@many
def test_gap_seconds_are_those_of_the_union_in_any_order(
    spans: list[tuple[int, int]], seed: int
) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    found = [
        _gap(
            (midnight + timedelta(hours=start)).isoformat(),
            (midnight + timedelta(hours=min(24, start + length))).isoformat(),
        )
        for start, length in spans
    ]
    random.Random(seed).shuffle(found)

    hours = {hour for start, length in spans for hour in range(start, min(24, start + length))}
    assert _day(*found).counts().gap_seconds == len(hours) * 3600


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("yesterday", "today", id="unreadable"),
        pytest.param("0001-01-01T00:00:00+05:00", "2026-03-01T01:00:00Z", id="out-of-range"),
    ],
)
def test_a_gap_that_cannot_be_read_is_counted_as_unreadable_and_stops_nothing(
    start: str, end: str
) -> None:
    day = _day(_gap(start, end), _line(State.DELIVERED))

    assert (day.counts().delivered, day.counts().gap_seconds, day.torn) == (1, 0, 1)


def test_pending_contents_come_oldest_first() -> None:
    day = _day(
        _line(State.LISTED, "b", created="2026-03-01T02:00:00Z"),
        _line(State.LISTED, "c", created="2026-03-01T01:00:00Z"),
        _line(State.LISTED, "a", created="2026-03-01T02:00:00Z"),
        _line(State.DELIVERED, "d"),
    )

    assert [entry.id for entry in day.pending()] == ["c", "a", "b"]
    assert not day.settled
