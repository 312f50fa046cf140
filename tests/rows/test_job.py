"""A source that the engine has never heard of, collected by it: rows, digests, days, and what follows on a row."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shared.errors import CollectorError, Transient
from shared.publish.file import FileSink
from shared.rows.job import RowJob
from shared.rows.row import Row, digest_of_bytes
from shared.rows.source import RowPolicy
from shared.run.context import Feed, Parts
from shared.run.lifecycle import run_feed
from shared.service.budget import Budget, Payer
from shared.state.account import Storage, read_blob
from shared.state.tables import DAYS_TABLE
from shared.times import ServiceClock, Window, beginning_of, utc_now, whole_second
from tests.harness import FAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from local.azurite import Azurite
    from shared.state.run_summary import RunSummary

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

POLICY = RowPolicy(
    delay=MINUTE,
    backfill=timedelta(days=2),
    overlap=2 * HOUR,
    longest_live=4 * HOUR,
    reread=12 * HOUR,
    cycle=HOUR,
    first_width=HOUR / 2,
    target_rows=10,
)


@dataclass
class Doors:
    """Who went through which door, and when."""

    rows: list[tuple[datetime, bytes]] = field(default_factory=list)
    asked: list[Window] = field(default_factory=list)
    broken: bool = False
    asker: Payer = field(default_factory=lambda: Payer(Budget(None, "doors")))
    max_width: timedelta = 3 * HOUR
    horizon: timedelta = timedelta(days=4)

    def pages(self, window: Window) -> Iterator[list[Row]]:
        self.asked.append(window)
        if self.broken:
            raise Transient("the doors do not answer", code="http-503", status=503)
        found = [each for each in self.rows if window.start <= each[0] < window.end]
        found.sort(reverse=True)
        for start in range(0, len(found), 2):
            yield [
                Row(raw=raw, id=door(raw), received=at, digest=key(raw), lasting=(door(raw),))
                for at, raw in found[start : start + 2]
            ]

    def opened(self, at: datetime, door: int) -> bytes:
        at = whole_second(at)
        raw = json.dumps({"door": door, "at": at.isoformat()}).encode()
        self.rows.append((at, raw))
        return raw


def door(raw: bytes) -> str:
    return str(json.loads(raw)["door"])


def key(raw: bytes) -> bytes:
    return digest_of_bytes(b"door " + raw)


@dataclass
class Follows:
    """Remembers what the engine asks of a follower."""

    noted: list[Row] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    problems: list[CollectorError] = field(default_factory=list)

    def load(self, closed: dict[date, int]) -> None:
        self.calls.append(f"load {len(closed)}")

    def note(self, rows: Sequence[Row]) -> None:
        self.noted.extend(rows)

    def fetch_due(self) -> None:
        self.calls.append("fetch_due")

    def close(self) -> None:
        self.calls.append("close")

    def closed(self, known: dict[date, int]) -> dict[date, int]:
        self.calls.append("closed")
        return {**known, date(2026, 1, 1): 5}

    def write_days(self, problem: CollectorError | None) -> None:
        self.calls.append("write_days")

    def drop_old(self, closed: dict[date, int]) -> None:
        self.calls.append(f"drop_old {len(closed)}")


class Building:
    """A feed of such a source."""

    def __init__(self, storage: Storage, file: Path) -> None:
        self.storage = storage
        self.doors = Doors()
        self.follows: Follows | None = None
        self.feed = Feed(connection="tower", tenant_id=str(uuid.uuid4()), source="Doors")
        # Early in the afternoon, whenever it runs.
        self.later = beginning_of(utc_now().date()) + 13 * HOUR - utc_now()
        self._file = file

    def now(self) -> datetime:
        return utc_now() + self.later

    def run(self) -> RunSummary:
        sink = FileSink(self._file)
        parts = Parts(
            job=lambda run: RowJob(run, self.doors, POLICY, follower=self.follows),
            sink=sink,
            storage=self.storage,
            clock=ServiceClock(self.now),
        )
        try:
            return run_feed(self.feed, parts, FAST)
        finally:
            sink.close()

    def arrived(self) -> Counter[bytes]:
        return Counter(self._file.read_bytes().splitlines())

    def days(self) -> dict[str, dict[str, Any]]:
        rows = self.storage.table(DAYS_TABLE).rows(f"{self.feed.tenant_id}_{self.feed.source}")
        return {row["RowKey"]: row for row in rows}

    def note(self) -> dict[str, Any]:
        blob = read_blob(self.storage.state, f"checkpoints/{self.feed.state_key}.json")
        assert blob is not None
        return dict(json.loads(blob.data)["trace"])


@pytest.fixture
def building(azurite: Azurite, tmp_path: Path) -> Iterator[Building]:
    storage = Storage.from_connection_string(azurite.connection_string)
    try:
        yield Building(storage, tmp_path / "events.jsonl")
    finally:
        storage.close()


def test_a_source_that_nobody_knows_is_collected_once_and_accounted_for(building: Building) -> None:
    doors, now = building.doors, building.now()
    opened = [doors.opened(now - n * HOUR, n) for n in range(1, 50)]
    midnight = beginning_of(now.date())
    opened += [doors.opened(midnight, 98), doors.opened(midnight - timedelta(seconds=1), 99)]

    summary = building.run()

    expected = {raw: 1 for (at, raw) in doors.rows if at >= midnight - POLICY.backfill}
    assert (summary.status, summary.error, summary.caught_up) == ("succeeded", "", True)
    assert summary.delivered == len(expected) > 40
    assert building.arrived() == expected
    days = building.days()
    yesterday = days[(midnight - HOUR).date().isoformat()]
    assert (yesterday["listed"], yesterday["delivered"]) == (25, 25)
    assert yesterday["complete"]
    assert not days[now.date().isoformat()]["complete"]

    # What comes late, and what is new; nothing else a second time.
    building.later += POLICY.cycle
    late = doors.opened(now - 9 * HOUR, 7)
    new = doors.opened(building.now() - 5 * MINUTE, 8)
    building.run()

    assert building.arrived() == {**expected, late: 1, new: 1}


def test_what_a_source_decides_is_what_it_is_asked(building: Building) -> None:
    doors, before = building.doors, whole_second(building.now())
    building.run()
    first, after = len(doors.asked), building.now()
    # The question for the time comes before; then what is new, in windows of the first width that grow.
    assert doors.asked[1].end - doors.asked[1].start == POLICY.first_width
    back = POLICY.delay + POLICY.overlap
    assert before - back <= doors.asked[1].start <= after - back
    assert max(each.end - each.start for each in doors.asked) <= doors.max_width
    assert min(each.start for each in doors.asked) >= before - POLICY.backfill - timedelta(days=1)

    building.later += POLICY.cycle
    building.run()

    oldest = min(each.start for each in doors.asked[first:])
    later = before + POLICY.cycle - POLICY.reread
    assert later - HOUR <= oldest <= later + HOUR


def test_what_follows_on_a_row_is_told_of_each_and_waits_for_all(building: Building) -> None:
    building.follows = Follows()
    opened = [building.doors.opened(building.now() - n * HOUR, n) for n in range(1, 6)]

    building.run()

    assert sorted(row.raw for row in building.follows.noted) == sorted(opened)
    assert building.follows.calls == [
        "load 0",
        "fetch_due",
        "close",
        "closed",
        "write_days",
        "drop_old 1",
    ]
    assert building.note()["details_closed"] == {"2026-01-01": 5}
    building.run()
    assert building.follows.calls[6] == "load 1"


def test_what_could_not_be_read_is_said_and_read_by_the_next_run(building: Building) -> None:
    raw = building.doors.opened(building.now() - HOUR, 1)
    building.run()
    late = building.doors.opened(building.now() - 5 * MINUTE, 2)
    building.doors.broken = True

    summary = building.run()

    assert summary.error_code == "http-503"
    building.doors.broken = False
    building.run()
    assert building.arrived() == {raw: 1, late: 1}
