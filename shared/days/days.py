"""The days of one feed during one run: what was looked at, since when, and what the rows of the days say.

In the order of a run: ``load`` reads what is known. Looks are noted once what they found is written down. ``keep`` puts
them into the checkpoint, and once an hour into their blob. ``write`` brings the rows up to date, whether or not
anything could be listed.

A row that is missing, or that was counted at another size of its day's ledger, is owed: ``owed`` names it. Nothing of
its day may be removed before it is written.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from shared.days.looks import WRITE_EVERY, Looks
from shared.days.states import UNVERIFIED, Facts, Flaw, State, state_of
from shared.days.table import (
    OF_OLDER_VERSION,
    Change,
    Found,
    columns_of,
    found_in,
    with_forgotten,
)
from shared.errors import CollectorError
from shared.state.checkpoint import SCHEMA
from shared.state.feed_ledger import KEEP
from shared.times import HOUR, Window, beginning_of, end_of, whole_hours, whole_second

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.days.looks import LookStore
    from shared.days.states import Rules, Verdict
    from shared.days.table import DayTable, Row
    from shared.state.checkpoint import Checkpoint, HeldCheckpoint, Look

logger = logging.getLogger("m365.days")

DAY = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)
RECALL = timedelta(days=7)
"""How far back the first run of an older version went."""

MOST_BACK = timedelta(days=180)
"""How far back rows are brought up to date after an outage."""

SPARE = timedelta(days=2)
"""Looks are kept so much longer than an hour can be listed."""

MOST_LOOKS = 1000
"""That wait in a checkpoint; of more the oldest are forgotten, which makes days less certain."""

TOGETHER = timedelta(minutes=5)
"""Looks at adjoining ranges within this are kept as one, of the earlier time."""


class Days:
    """The days of one feed during one run.

    Args:
        table: its rows.
        store: its looks; None for a feed that is not listed by the hour, as that of details.
        rules: of its source.
    """

    def __init__(self, table: DayTable, store: LookStore | None, rules: Rules) -> None:
        self._table = table
        self._store = store
        self._rules = rules
        self._rows: dict[date, Row] = {}
        self._older: dict[date, Row] = {}
        self._new: list[Look] = []
        self._closed: date | None = None
        self._wanted = date.max
        self._read_from: date | None = None
        self._upgrade = False
        self._looked = False
        self.looks = Looks(made=NEVER)

    # -- what is known

    def load(
        self,
        known: Checkpoint,
        now: datetime,
        ledger: Iterable[date] = (),
        last: Days | None = None,
    ) -> None:
        """Read rows and looks.

        Args:
            known: the checkpoint.
            now: the service's time.
            ledger: the days that are stored.
            last: as the last run left it: what it knows is not read again.
        """
        self._upgrade = known.watermark is not None and known.schema < SCHEMA
        if last is not None:
            self._store, self.looks = last._store, last.looks
            self._rows, self._older, self._read_from = last._rows, last._older, last._read_from
        elif self._store is not None:
            self.looks = self._store.load(now)
        self.looks.begin(known.beginning)
        self._closed = known.days_closed or self.looks.closed
        self._wanted = min(self._first(now), now.date() - DAY, *ledger, date.max)
        try:
            self._read_rows(now)
        except CollectorError as error:
            # A report that cannot be read is no reason not to collect.
            logger.warning("the rows of days cannot be read: %s", error)
        self._recall(known, now)

    def _read_rows(self, now: datetime) -> None:
        if self._read_from is not None and self._read_from <= self._wanted:
            return
        if self._upgrade:
            self._older = self._table.older_version()
        self._rows = self._table.read(self._wanted, now.date())
        self._read_from = self._wanted
        for row in self._rows.values():
            self.looks.begin(row.beginning)

    def _recall(self, known: Checkpoint, now: datetime) -> None:
        """Put together what is known of looks and of the beginning."""
        looks, back = self.looks, min(self._rules.leaves, RECALL)
        for start, end, at in known.looks:
            looks.note(Window(start, end), at)
        self._new = list(known.looks)
        if known.watermark is None or self._store is None:
            return
        if looks.written is None:
            # What was put off has not been listed.
            never = [Window(*each) for each in (*known.unlisted, *known.rows.backfill)]
            looks.listed_once(min(known.watermark, now), now - self._rules.leaves, but=never)
        if looks.beginning is None:
            # An older version has collected it, and its first run went back for so long: so long after the first day
            # that has a row it had begun for certain.
            first = min(self._older, default=now.date())
            begun = max(beginning_of(first) + back + DAY, now - back)
            looks.begin(min(begun, now))

    # -- what a run learns

    def look(self, window: Window, at: datetime) -> None:
        """Note a look.

        Args:
            window: a range that was listed to its end; what was found in it is written down.
            at: when its listing began.
        """
        look = (window.start, window.end, whole_second(at))
        if self._new and self._new[-1][1] == window.start and abs(at - self._new[-1][2]) < TOGETHER:
            # The earlier time holds for both.
            start, _, other = self._new.pop()
            look = (start, window.end, min(look[2], other))
        self._new.append(look)
        self._looked = True
        self.looks.note(Window(look[0], look[1]), look[2])

    def begin(self, at: datetime) -> None:
        """The feed is seen to be listed; what lies before it in its second is not."""
        second = whole_second(at)
        self.looks.begin(second if second == at else second + timedelta(seconds=1))

    def unsure(self, now: datetime, most: timedelta) -> list[datetime]:
        """The hours, ``most`` back at most, of which no look was late enough although one could be by now."""
        beginning = max(self.looks.beginning or now, beginning_of(self._closed or date.min))
        first, last = max(beginning, now - most), now - self._rules.late_enough
        hours = whole_hours(Window(first, last)) if first < last else ()
        late_enough = self._rules.late_enough
        return [hour for hour in hours if (self.looks.at(hour) or NEVER) < hour + late_enough]

    def keep(self, checkpoint: HeldCheckpoint, now: datetime) -> None:
        """Put looks and beginning where they are found again.

        A blob that cannot be written keeps no checkpoint from moving: its looks travel on in there.
        """
        if self._store is None:
            return
        if self._looked:
            # Not before the service has told its time.
            self.looks.drop_later(now)
            self._new = [each for each in self._new if each[2] <= now + HOUR]
        if self._new and (self.looks.written is None or _long_ago(self.looks.written, now)):
            try:
                self._save(self._store, now)
            except CollectorError as error:
                logger.warning("looks cannot be stored, and wait in the checkpoint: %s", error)
        note = {
            "looks": tuple(self._new[-MOST_LOOKS:]),
            "beginning": self.looks.beginning,
            "days_closed": self._closed,
        }
        if any(getattr(checkpoint.value, name) != value for name, value in note.items()):
            checkpoint.move_soon(**note)

    def _save(self, store: LookStore, now: datetime) -> None:
        # What the rows do not say for good yet is asked for again.
        if self._closed is not None:
            oldest = now - self._rules.leaves - SPARE
            self.looks.forget(min(oldest, beginning_of(self._closed)))
        self.looks.closed = self._closed
        written = self.looks.written
        try:
            store.save(self.looks, now)
        except CollectorError:
            self.looks.written = written
            raise
        self._new = []

    # -- the rows

    def column(self, day: date, name: str) -> str:
        """What stands in a column of a day's row; "" where there is none."""
        row = self._rows.get(day)
        return "" if row is None else str(row.columns.get(name, ""))

    def owed(self, ledger: Mapping[date, int]) -> list[date]:
        """The days whose ledger, of these sizes in bytes, is not what their row was made of."""
        return [day for day, size in ledger.items() if not self.confirmed(day, size)]

    def confirmed(self, day: date, size: int) -> bool:
        """Whether the row of a day says all that its ledger does, at this size."""
        row = self._rows.get(day)
        return row is not None and row.size == size

    def write(
        self,
        found: Mapping[date, Found],
        now: datetime,
        problem: CollectorError | None = None,
        *,
        others: bool = True,
    ) -> None:
        """Bring the rows up to date.

        Args:
            found: what is known of the days whose ledgers were read.
            now: the service's time.
            problem: what ended the run, or kept it from listing.
            others: whether those of other days are, too.

        Raises:
            CollectorError: rows are missing; the next run writes them.
        """
        self._read_rows(now)
        if found and (first := min(found)) < self._wanted:
            # A gap that was found just now goes further back.
            self._rows |= self._table.read(first, self._wanted - DAY)
            self._wanted = first
        listed = set(self._listed_days(now)) if others else set()
        verdicts: dict[date, Verdict] = {}
        changes: dict[date, Change] = {}
        for day in sorted(listed.union(self._unfinished() if others else (), found)):
            fresh = found.get(day)
            if day in listed or fresh is None or not fresh.empty:
                # Otherwise it is of before the beginning, or lies in the future.
                verdicts[day], changes[day] = self._change(day, fresh, now, problem)
        for day, row in self._older.items():
            if day not in changes and self._rows.get(day, row) is row:
                changes[day] = Change(columns=OF_OLDER_VERSION, before=row)
        stored, closing = self._table.write(changes, now), True
        self._rows = {day: row for day, row in self._rows.items() if day not in changes} | stored
        if len(stored) < len(changes):
            # Somebody else wrote one: whoever goes on from here has to read them.
            self._read_from = None
        for day in sorted(listed):
            closing = closing and day in stored and verdicts[day].closed
            if closing:
                self._closed = day + DAY

    def _listed_days(self, now: datetime) -> Iterable[date]:
        """The days whose rows looks may change, from the beginning to today."""
        first = today = now.date()
        if self.looks.beginning is not None:
            first = max(self._first(now), self.looks.beginning.date())
        return (first + n * DAY for n in range((today - first).days + 1))

    def _first(self, now: datetime) -> date:
        """The first day that looks may change; one that left during an outage has not been said for good."""
        if self._closed is not None or self.looks.beginning is None:
            first = self._closed or (now - self._rules.leaves).date()
        else:
            first = self.looks.beginning.date()
        return max(first, (now - MOST_BACK).date())

    def _unfinished(self) -> Iterable[date]:
        return (
            day
            for day, row in self._rows.items()
            if row.known.state in (State.OPEN, State.PROVISIONAL)
        )

    def _change(
        self, day: date, fresh: Found | None, now: datetime, problem: CollectorError | None
    ) -> tuple[Verdict, Change]:
        row = self._rows.get(day)
        found = fresh or found_in(row)
        if fresh is not None and now.date() - day > KEEP:
            found = with_forgotten(fresh, row)
        verdict = self._verdict(day, found, row, now)
        if row is None and fresh is None and now.date() - day > KEEP and not verdict.flaws:
            # Its ledger is gone by now, and its row with it: nobody knows what became of its contents.
            unknown = Flaw(beginning_of(day), end_of(day), UNVERIFIED)
            found = replace(found, facts=Facts(flaws=(unknown,)))
            verdict = self._verdict(day, found, row, now)
        said = problem if problem is not None and now < end_of(day) else None
        columns = columns_of(verdict, found, self.looks.beginning)
        return verdict, Change(columns=columns, before=row, problem=said)

    def _verdict(self, day: date, found: Found, row: Row | None, now: datetime) -> Verdict:
        return state_of(
            day,
            now,
            rules=self._rules,
            looks=self.looks if self._store is not None else None,
            facts=found.facts,
            known=None if row is None else row.known,
        )


def _long_ago(written: datetime, now: datetime) -> bool:
    return abs(now - written) >= WRITE_EVERY
