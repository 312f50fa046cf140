"""The rows of runs, which people and alerts look at.

A run's row is written when it starts and again when it ends, so a row that stays open tells of a crash. The rows of
days are those of ``shared.days.table``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.state.tables import DAYS_TABLE, RUNS_TABLE

if TYPE_CHECKING:
    from shared.state.account import Storage

KEEP_RUNS = timedelta(days=90)
KEEP_DAYS = timedelta(days=400)
LATELY = timedelta(days=1)
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
        claim_checks: of the records those that went out as pointers to their bytes, being over the hub's limit.
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
    claim_checks: int = 0
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

    @property
    def quiet(self) -> bool:
        """Whether it found nothing, left nothing, and met nothing worth a word."""
        found = (self.listed, self.delivered, self.lost, self.dead_letters, self.gap_seconds)
        return self.caught_up and not any((*found, self.throttled, self.sink_busy, self.error))

    def fields(self) -> dict[str, str | int | float | bool]:
        """The flat fields, as logged and as written to the table."""
        return asdict(self)

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
        self._runs, self._days = storage.table(RUNS_TABLE), storage.table(DAYS_TABLE)
        self._partition = f"{tenant_id}_{source}"

    def write(self, summary: RunSummary) -> None:
        """Insert or replace a run's row; the newest run comes first in the table.

        Of quiet runs only the last one keeps its row: of each day they would be 144, and say nothing.
        """
        started = datetime.fromisoformat(summary.started)
        key = f"{_newest_first(started)}_{summary.run}"
        row = {"PartitionKey": self._partition, "RowKey": key, "quiet": summary.quiet}
        self._runs.upsert({**row, **summary.fields()})
        if summary.quiet:
            bounds = {"after": key, "before": _newest_first(started - LATELY)}
            self._runs.delete(self._partition, **bounds, more="quiet eq true")

    def drop_old(self, now: datetime) -> None:
        """Remove runs older than 90 days and days older than 13 months."""
        self._runs.delete(self._partition, after=_newest_first(now - KEEP_RUNS))
        self._days.delete(self._partition, before=(now - KEEP_DAYS).date().isoformat())


def _newest_first(started: datetime) -> str:
    return f"{int((FAR_FUTURE - started) / timedelta(milliseconds=1)):015d}"
