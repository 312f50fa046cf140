"""The message trace of a simulated tenant: its rows, those of the seed and those a test placed."""

from __future__ import annotations

import heapq
import itertools
import threading
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any

from local.tenant.bodies import Kept
from local.tenant.subscriptions import Quota
from local.tenant.trace.books import TraceBooks
from local.tenant.trace.rows import (
    HOUR,
    MAX_PHASES,
    PLACED,
    Row,
    Writer,
    block_of,
    millis,
    place_of,
)

if TYPE_CHECKING:
    from local.tenant.spec import TraceSpec

QUOTA_PERIOD = timedelta(minutes=5)

# Rows kept in memory, of the hours that were asked for last; about half a kilobyte each.
_KEPT = 200_000
_KEY = attrgetter("key")

Lived = Callable[[], list[tuple[datetime, datetime]]]


class MessageTrace:
    """The rows of one tenant, and what its two trace APIs go by. Safe to use from several threads.

    ``lived`` gives the stretches of time that the tenant's clock has really gone through.
    """

    def __init__(
        self, spec: TraceSpec, seed: int, now: Callable[[], datetime], lived: Lived
    ) -> None:
        self.spec = spec
        self.quota = Quota(spec.quota, now, QUOTA_PERIOD)
        self._now = now
        self._started = now()
        self.provision(spec.service_principal_after_s)
        self._lock = threading.RLock()
        self._draw = Random(f"{seed} placed rows")
        self._writer = Writer(seed, spec, millis(self._started))
        self._hours: Kept[int, list[Row]] = Kept(_KEPT)
        self._placed: list[Row] = []
        self.books = TraceBooks(self, now, lived)
        if spec.burst:
            at = self._started.replace(microsecond=0) - timedelta(hours=1)
            self.offer(count=spec.burst, received=at, within=timedelta(seconds=1))

    def offer(
        self,
        *,
        received: datetime | None = None,
        recipients: Sequence[str | None] = ("mira.kovac@lumenfield.example",),
        status: str = "delivered",
        visible_at: datetime | None = None,
        then: Sequence[tuple[datetime, str]] = (),
        count: int = 1,
        within: timedelta = timedelta(0),
        trace_id: str | None = None,
        **fields: Any,
    ) -> list[Row]:
        """Place ``count`` messages, one row for each of ``recipients``, and return the rows.

        A row counts as received now and is visible at once, unless ``visible_at`` says otherwise;
        it begins with ``status`` and takes those of ``then`` at their times. The messages are
        spread over ``within`` from ``received`` on. ``fields`` are the others of ``Row``:
        ``sender``, ``message_id``, ``subject``, ``from_ip``, ``to_ip``, ``size``, ``details``.
        More than four statuses are a ``ValueError``.
        """
        now = self._now()
        received = now if received is None else received
        begin = millis(received)
        visible = millis(max(received, now) if visible_at is None else visible_at)
        phases = ((visible, status), *((millis(at), text) for at, text in sorted(then)))
        if len(phases) > MAX_PHASES:
            raise ValueError(f"a row has at most {MAX_PHASES} statuses")
        step = millis(received + within) - begin
        made: list[Row] = []
        with self._lock:
            for number in range(count):
                one = trace_id or str(uuid.UUID(int=self._draw.getrandbits(128), version=4))
                given = {**_DEFAULTS, "message_id": f"<{one}@sender.example>", **fields}
                for recipient in recipients:
                    given |= {"trace_id": one, "recipient": recipient, "phases": phases}
                    uid, at = PLACED + len(self._placed) + len(made), begin + step * number // count
                    made.append(Row(uid=uid, received=at, **given))
            # Another list, since somebody may be reading this one.
            self._placed = sorted(self._placed + made, key=_KEY)
        return made

    def change(self, row: Row, status: str, *, at: datetime | None = None) -> None:
        """Give a placed row another status, now or at a time; ``ValueError`` where it cannot have it."""
        with self._lock:
            when = millis(at or self._now())
            if row.uid < PLACED:
                raise ValueError("only rows that were placed can be changed")
            if len(row.phases) >= MAX_PHASES or row.phases[-1][0] > when:
                raise ValueError(f"a row has at most {MAX_PHASES} statuses, in the order of time")
            row.phases = (*row.phases, (when, status))

    @property
    def service_principal(self) -> bool:
        """Whether the tenant knows the service principal of the trace by now."""
        return self._known_from is not None and self._known_from <= self._now()

    def provision(self, after_s: float | None = 0.0) -> None:
        """Create the service principal, which the tenant knows in so many seconds; None: remove."""
        self._known_from = None if after_s is None else self._now() + timedelta(seconds=after_s)

    def rows(self, start: datetime | None = None, end: datetime | None = None) -> list[Row]:
        """Rows received from ``start`` to ``end``, both inclusive, oldest first.

        Also those that are not visible yet; none that the clock has not reached.
        """
        now = millis(self._now())
        low = 0 if start is None else millis(start)
        return [*self.newest_first(low, now if end is None else min(millis(end), now))][::-1]

    def newest_first(
        self, low: int, high: int, before: tuple[int, int] | None = None
    ) -> Iterator[Row]:
        """Rows received in ``low`` to ``high`` (ms, both inclusive), newest first.

        Begins behind ``before``, the key of the last row that was handed out.
        """
        top = min(before or (high, PLACED << 1), (high, PLACED << 1))
        with self._lock:
            placed = self._placed
        written = self._written(low, top)
        return heapq.merge(written, _downward(placed, low, top), key=_KEY, reverse=True)

    def page(
        self,
        low: int,
        high: int,
        takes: Callable[[Row, int], bool],
        limit: int,
        *,
        first: int = 0,
        before: tuple[int, int] | None = None,
    ) -> tuple[list[tuple[Row, int]], bool]:
        """Of the rows that are visible and taken, each with its phase, a page; and if more follow."""
        now = millis(self._now())
        found = (
            (row, phase)
            for row in self.newest_first(low, high, before)
            if (phase := row.phase_at(now)) >= 0 and takes(row, phase)
        )
        page = list(itertools.islice(found, first, first + limit + 1))
        return page[:limit], len(page) > limit

    def find(self, trace_id: str) -> list[Row]:
        """The rows of a message; none when there is no such message."""
        with self._lock:
            found = [row for row in self._placed if row.trace_id == trace_id]
        place = place_of(trace_id)
        if found or place is None:
            return found
        hour, ordinal = place
        if not self._writer.first_hour <= hour <= self._writer.last_hour(millis(self._now())):
            return []
        return [row for row in self.hour(hour)[ordinal:] if row.trace_id == trace_id]

    def hour(self, hour: int) -> list[Row]:
        """The rows of the seed in an hour since 1970, oldest first."""
        return self._hours.get(hour, lambda: self._writer.hour(hour))

    def block(self, number: int) -> list[Row]:
        """The rows of a ``block_of``: of an hour, or a part of the placed ones."""
        if number < block_of(PLACED):
            return self.hour(number)
        with self._lock:
            return [row for row in self._placed if block_of(row.uid) == number]

    def _written(self, low: int, top: tuple[int, int]) -> Iterator[Row]:
        last = min(self._writer.last_hour(millis(self._now())), top[0] // HOUR)
        for hour in range(last, max(self._writer.first_hour, low // HOUR) - 1, -1):
            yield from _downward(self.hour(hour), low, top)


def _downward(rows: list[Row], low: int, top: tuple[int, int]) -> Iterator[Row]:
    """Of rows in order, those from ``low`` (ms) to before the key ``top``, newest first."""
    lowest, highest = bisect_left(rows, (low, 0), key=_KEY), bisect_left(rows, top, key=_KEY)
    return (rows[at] for at in range(highest - 1, lowest - 1, -1))


_DEFAULTS: dict[str, Any] = {
    "sender": "news@sender.example",
    "subject": "Quarterly offer",
    "from_ip": "203.0.113.9",
    "to_ip": "",
    "size": 21984,
}
