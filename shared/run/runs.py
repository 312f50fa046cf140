"""The rows of runs, which people and alerts look at.

A run's row is written when it starts and again when it ends, so a row that stays open tells of a crash. The rows of
days are those of ``shared.days.table``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.state.tables import DAYS_TABLE, RUNS_TABLE

if TYPE_CHECKING:
    from shared.state.account import Storage
    from shared.state.run_summary import RunSummary

KEEP_RUNS = timedelta(days=90)
KEEP_DAYS = timedelta(days=400)
LATELY = timedelta(days=1)
FAR_FUTURE = datetime(3000, 1, 1, tzinfo=UTC)


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

    def write(self, summary: RunSummary, quiet: str | None = None) -> str | None:
        """Insert or replace a run's row; the newest run comes first in the table.

        Of quiet runs only the last one keeps its row: of each day they would be 144, and say nothing.

        Args:
            summary: the run.
            quiet: the key of the last quiet run's row; None where that is not known.

        Returns:
            The same after this one.
        """
        started = datetime.fromisoformat(summary.started)
        key = f"{_newest_first(started)}_{summary.run}"
        row = {"PartitionKey": self._partition, "RowKey": key, "quiet": summary.quiet}
        row |= summary.fields()
        if not summary.quiet:
            self._runs.upsert(row)
            return quiet
        since = _newest_first(started - LATELY)
        if quiet is None or quiet > since or not self._runs.take_over(row, quiet):
            self._runs.upsert(row)
            self._runs.delete(self._partition, after=key, before=since, more="quiet eq true")
        return key

    def drop_old(self, now: datetime) -> None:
        """Remove runs older than 90 days and days older than 13 months."""
        self._runs.delete(self._partition, after=_newest_first(now - KEEP_RUNS))
        self._days.delete(self._partition, before=(now - KEEP_DAYS).date().isoformat())


def _newest_first(started: datetime) -> str:
    return f"{int((FAR_FUTURE - started) / timedelta(milliseconds=1)):015d}"
