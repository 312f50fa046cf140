"""The rows people and alerts look at: one per run, one per feed and day.

A run's row is written when it starts and again when it ends, so a row that stays open tells of a crash. A day's row is
recomputed from the ledger, never counted up: listed = delivered + lost + pending. It is complete only when the day was
listed to its end, so never before it is over.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.state.account import DAYS_TABLE, RUNS_TABLE, Storage
from shared.state.feed_ledger import KEEP
from shared.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from shared.state.ledger import Counts

KEEP_RUNS = timedelta(days=90)
KEEP_DAYS = timedelta(days=400)
FAR_FUTURE = datetime(3000, 1, 1, tzinfo=UTC)


@dataclass(kw_only=True)
class RunSummary:
    """What one feed's run did; its field names are a contract with queries and alerts.

    Attributes:
        status: ``running``, ``succeeded``, ``incomplete`` (ended in an orderly way with work left), ``skipped``
            (another worker has the feed), or ``failed``.
        listed: contents that were new in this run.
        delivered: contents of which every event was acknowledged in this run.
        failed: contents that could not be fetched and stay pending.
        pending: contents of the feed that are neither delivered nor lost when the run ends.
        lost: contents given up in this run.
        gap_seconds: length of the ranges that this run was the first to record as never listed.
        lag_seconds: age of the oldest pending content, or of the watermark where the run did not list up to now,
            whichever is more; 0 where the feed is caught up.
        caught_up: whether the run listed up to now and left nothing pending.
        credential_expires: when the connection's secret or certificate ends, "" where that is not known.
    """

    connection: str
    tenant_id: str
    source: str
    run: str
    started: str
    ended: str = ""
    status: str = "running"
    listed: int = 0
    delivered: int = 0
    failed: int = 0
    pending: int = 0
    lost: int = 0
    dead_letters: int = 0
    records: int = 0
    bytes: int = 0
    requests: int = 0
    throttled: int = 0
    batches: int = 0
    sink_busy: int = 0
    gap_seconds: int = 0
    lag_seconds: int = 0
    watermark: str = ""
    caught_up: bool = False
    seconds: float = 0.0
    error: str = ""
    error_code: str = ""
    hub: str = ""
    credential_expires: str = ""
    version: str = ""
    days: dict[str, Counts] = field(default_factory=dict, repr=False)

    def fields(self) -> dict[str, str | int | float | bool]:
        """The flat fields, as logged and as written to the table."""
        return {name: value for name, value in asdict(self).items() if name != "days"}

    def log_line(self) -> str:
        """One line of JSON for the log."""
        return msgspec.json.encode(self.fields()).decode()


class Runs:
    """The tables ``runs`` and ``days`` of one feed.

    Args:
        storage: the state account.
        tenant_id: with the source the partition of both tables.
        source: see ``tenant_id``.
    """

    def __init__(self, storage: Storage, tenant_id: str, source: str) -> None:
        self._storage = storage
        self._partition = f"{tenant_id}_{source}"

    def write(self, summary: RunSummary) -> None:
        """Insert or replace a run's row; the newest run comes first in the table."""
        key = f"{_newest_first(datetime.fromisoformat(summary.started))}_{summary.run}"
        self._storage.upsert(
            RUNS_TABLE,
            {"PartitionKey": self._partition, "RowKey": key, **summary.fields()},
        )

    def write_days(
        self,
        days: dict[date, Counts],
        now: datetime,
        listed: Callable[[date], bool],
        more: Mapping[date, Mapping[str, str]] | None = None,
    ) -> None:
        """Replace the rows of these days; where a day's ledger was dropped, only its gaps are added to its row.

        Args:
            days: what the ledger says of each.
            now: the service's time.
            listed: whether a day was listed to its end.
            more: columns that only some kind of feed has.
        """
        known = self.known_days([day for day in days if now.date() - day > KEEP])
        for day, counts in days.items():
            row = {
                "PartitionKey": self._partition,
                "RowKey": day.isoformat(),
                "listed": counts.listed,
                "delivered": counts.delivered,
                "pending": counts.pending,
                "lost": sum(counts.lost.values()),
                "lost_by_reason": msgspec.json.encode(counts.lost).decode(),
                "records": counts.records,
                "bytes": str(counts.bytes),
                "dead_records": counts.dead_records,
                "gap_seconds": counts.gap_seconds,
                "complete": counts.flawless and listed(day),
                "updated": iso(now),
                **(more or {}).get(day, {}),
            }
            self._storage.upsert(DAYS_TABLE, _merged(row, known.get(day)))

    def known_days(self, days: Collection[date]) -> dict[date, dict[str, Any]]:
        """The stored rows of these days."""
        if not days:
            return {}
        first, last = min(days).isoformat(), max(days).isoformat()
        rows = self._storage.rows(DAYS_TABLE, self._partition, first=first, last=last)
        stored = {row["RowKey"]: row for row in rows}
        return {day: stored[str(day)] for day in days if str(day) in stored}

    def drop_old(self, now: datetime) -> None:
        """Remove runs older than 90 days and days older than 13 months."""
        self._storage.delete_rows(
            RUNS_TABLE, self._partition, after=_newest_first(now - KEEP_RUNS), before=None
        )
        self._storage.delete_rows(
            DAYS_TABLE, self._partition, after=None, before=(now - KEEP_DAYS).date().isoformat()
        )


def _merged(row: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    """A day's row without what the ledger has forgotten.

    A ledger only grows until it is dropped, so a stored row that counts more was made from one that is gone.
    """
    if known is None:
        return row
    gap_seconds = max(row["gap_seconds"], known.get("gap_seconds", 0))
    if known.get("listed", 0) > row["listed"]:
        row = {**known, "updated": row["updated"]}
    complete = bool(row.get("complete")) and not gap_seconds
    return {**row, "gap_seconds": gap_seconds, "complete": complete}


def _newest_first(started: datetime) -> str:
    return f"{int((FAR_FUTURE - started) / timedelta(milliseconds=1)):015d}"
