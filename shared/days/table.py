"""The table of days: one row a feed and UTC day, as people and alerts read it.

A day's numbers are recomputed from the ledger, never counted up: listed = delivered + lost + pending. A row says at
which size of the ledger it was counted. So a row that a death or a failing table kept from being written is owed, and
the next run sees it: no ledger day is removed before its row says all of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.days.states import ALERTING, BY_LOOKS, Facts, Flaw, Known, State, Verdict, merged
from shared.state.ledger_day import Counts
from shared.state.tables import DAYS_TABLE, ETAG
from shared.times import iso, utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.errors import CollectorError
    from shared.state.account import Storage

logger = logging.getLogger("m365.days")

MOST_FLAWS = 100
"""Ranges that a row names; a table's column holds no more than 32,000 characters."""


class _Flaw(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A flaw, as a row holds it."""

    kind: str
    start: datetime
    end: datetime
    count: int = 0


_flaws = msgspec.json.Decoder(list[_Flaw])
_lost = msgspec.json.Decoder(dict[str, int])


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run learnt of a day from its ledger.

    Attributes:
        counts: of its contents.
        facts: what is wrong with them.
        size: of the ledger, in bytes, of which that holds.
        more: columns that only some kind of feed has.
    """

    counts: Counts
    facts: Facts
    size: int = 0
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say of it."""
        return not (self.counts.listed or self.facts.flaws)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: what it says, and its columns as they are stored.

    Attributes:
        known: of the looks.
        facts: of the contents.
        size: of the ledger of which that holds; -1 where an older version wrote it.
        beginning: of the feed, where the row knows it.
        late: whether it was reported as open for too long.
        columns: everything.
    """

    known: Known
    facts: Facts
    size: int
    beginning: datetime | None
    late: bool
    columns: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a row is to say.

    Attributes:
        columns: all but those of the problem.
        before: the row as it is stored; None where there is none.
        problem: what ended the last run, where the day is not over.
    """

    columns: Mapping[str, Any]
    before: Row | None
    problem: CollectorError | None = None

    @property
    def all_columns(self) -> dict[str, Any]:
        """The columns, those of the problem included."""
        problem = self.problem
        code, text = ("", "") if problem is None else (problem.code, str(problem))
        return {**self.columns, "error_code": code, "error": text}


OF_OLDER_VERSION: Mapping[str, Any] = {
    "state": State.UNKNOWN.value,
    "complete": False,
    "late": False,
    "reasons": "[]",
}
"""What is said of a day that only an older version looked at, which knew no states."""


class DayTable:
    """The rows of one feed's days.

    Args:
        storage: the state account.
        tenant_id: with the source the partition.
        source: see ``tenant_id``.
        connection: its display name, for the log.
    """

    def __init__(self, storage: Storage, tenant_id: str, source: str, connection: str) -> None:
        self._table = storage.table(DAYS_TABLE)
        self._partition = f"{tenant_id}_{source}"
        self._feed = {"connection": connection, "tenant_id": tenant_id, "source": source}

    def read(self, first: date, last: date) -> dict[date, Row]:
        """The stored rows from one day to another, both included."""
        rows = self._table.rows(self._partition, first=first.isoformat(), last=last.isoformat())
        return {date.fromisoformat(each["RowKey"]): _row(each) for each in rows}

    def older_version(self) -> dict[date, Row]:
        """The rows that a version without states wrote."""
        rows = self._table.rows(self._partition)
        return {
            date.fromisoformat(each["RowKey"]): _row(each) for each in rows if "state" not in each
        }

    def write(self, changes: Mapping[date, Change], now: datetime) -> dict[date, Row]:
        """Replace the rows that change; a change of a state is logged first, so that none goes unsaid.

        Args:
            changes: what the rows of days are to say.
            now: the service's time.

        Returns:
            The rows as they are stored now; without those that another worker has written since they were read.
        """
        found: dict[date, Row] = {}
        todo: dict[date, tuple[dict[str, Any], str | None]] = {}
        for day, change in changes.items():
            columns, before = change.all_columns, change.before
            old = dict(before.columns) if before is not None else {}
            if before is not None and all(old.get(name) == it for name, it in columns.items()):
                found[day] = before
                continue
            was = (old.get("state"), old.get("late"))
            if before is None or was != (columns["state"], columns["late"]):
                self._log(day, columns, before)
            key = {"PartitionKey": self._partition, "RowKey": day.isoformat()}
            etag = old.pop(ETAG, None)
            todo[day] = {**old, **columns, **key, "updated": iso(now)}, etag
        stored = self._table.replace(list(todo.values()))
        for (day, (row, _)), etag in zip(todo.items(), stored, strict=True):
            if etag is not None:
                found[day] = _row({**row, ETAG: etag})
            else:
                logger.info("another worker has written the row of %s", day)
        return found

    def _log(self, day: date, columns: Mapping[str, Any], before: Row | None) -> None:
        if columns["state"] == State.UNKNOWN:
            return
        was = "" if before is None else before.known.state.value
        line = {
            **self._feed,
            "day": day.isoformat(),
            "state": columns["state"],
            "was": was,
            "late": columns["late"],
            "reasons": msgspec.Raw(str(columns["reasons"]).encode()),
        }
        kinds = {each.kind for each in _decode(columns["reasons"])}
        level = logging.WARNING if kinds & ALERTING or columns["late"] else logging.INFO
        logger.log(level, "day_state %s", msgspec.json.encode(line).decode())


def columns_of(verdict: Verdict, found: Found, beginning: datetime | None) -> dict[str, Any]:
    """What a row says, but for when it was written and what ended the run.

    Args:
        verdict: on the day.
        found: its numbers, and what is wrong with its contents.
        beginning: of the feed.
    """
    counts = found.counts
    return {
        "state": verdict.state.value,
        "complete": verdict.state is State.FINAL,
        "reasons": _encode(verdict.flaws),
        "looked_until_hours": int(verdict.looked_until / timedelta(hours=1)),
        "sure": verdict.sure,
        "late": verdict.late,
        "beginning": "" if beginning is None else iso(beginning),
        "listed": counts.listed,
        "delivered": counts.delivered,
        "pending": counts.pending,
        "lost": sum(counts.lost.values()),
        "lost_by_reason": msgspec.json.encode(counts.lost).decode(),
        "records": counts.records,
        "bytes": str(counts.bytes),
        "dead_records": counts.dead_records,
        "claim_checks": counts.claim_checks,
        "gap_seconds": counts.gap_seconds,
        "on_record": _encode(found.facts.flaws),
        "ledger_bytes": found.size,
        **found.more,
    }


def found_in(row: Row | None) -> Found:
    """What a row says of a day's contents; of a day without one, that there are none."""
    if row is None:
        return Found(counts=Counts(), facts=Facts())
    old = row.columns
    counts = Counts(
        listed=int(old.get("listed", 0)),
        delivered=int(old.get("delivered", 0)),
        pending=int(old.get("pending", 0)),
        lost=_lost.decode(old.get("lost_by_reason") or "{}"),
        records=int(old.get("records", 0)),
        bytes=int(old.get("bytes", 0)),
        dead_records=int(old.get("dead_records", 0)),
        claim_checks=int(old.get("claim_checks", 0)),
        gap_seconds=int(old.get("gap_seconds", 0)),
    )
    return Found(counts=counts, facts=row.facts, size=row.size)


def with_forgotten(found: Found, row: Row | None) -> Found:
    """What a ledger says of an old day, with what it has forgotten.

    A ledger only grows until it is dropped, so a row that counts more was made from one that is gone; what came since
    is on record there.
    """
    if row is None:
        return found
    old = found_in(row)
    kept = old if old.counts.listed > found.counts.listed else found
    gap_seconds = max(found.counts.gap_seconds, old.counts.gap_seconds)
    ranges = [each for one in (found, old) for each in one.facts.flaws if not each.count]
    return Found(
        counts=replace(kept.counts, gap_seconds=gap_seconds),
        facts=Facts(pending=kept.facts.pending, flaws=merged([*kept.facts.flaws, *ranges])),
        size=found.size,
        more=found.more,
    )


def _row(columns: Mapping[str, Any]) -> Row:
    looked = timedelta(hours=int(columns.get("looked_until_hours", 0)))
    on_record = _decode(columns.get("on_record", ""))
    beginning = columns.get("beginning") or ""
    return Row(
        known=Known(
            state=State(columns.get("state", State.UNKNOWN)),
            sure=bool(columns.get("sure")),
            flaws=tuple(
                each for each in _decode(columns.get("reasons", "")) if each.kind in BY_LOOKS
            ),
            looked_until=looked,
        ),
        facts=Facts(pending=int(columns.get("pending", 0)), flaws=on_record),
        size=int(columns.get("ledger_bytes", -1)),
        beginning=utc(datetime.fromisoformat(beginning)) if beginning else None,
        late=bool(columns.get("late")),
        columns=columns,
    )


def _encode(flaws: tuple[Flaw, ...]) -> str:
    shown = [
        _Flaw(kind=each.kind, start=each.start, end=each.end, count=each.count)
        for each in flaws[:MOST_FLAWS]
    ]
    return msgspec.json.encode(shown).decode()


def _decode(text: str) -> tuple[Flaw, ...]:
    try:
        found = _flaws.decode(text or "[]")
    except msgspec.MsgspecError:
        return ()
    return tuple(Flaw(utc(each.start), utc(each.end), each.kind, each.count) for each in found)
