"""Read a window of rows page by page, and publish what is new in it.

A row is written down as listed before it is published. It is written down as delivered only after all of its page was
acknowledged. At most one page is between the two, so a crash repeats at most one page. The next page is read meanwhile,
and waits.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.errors import CollectorError
from shared.records import Records
from shared.records.salvage import columns_of
from shared.rows.digests import DEAD, DELIVERED, GONE, LISTED, Digests
from shared.rows.windows import NARROWEST
from shared.state.dead_letters import RECORD, DeadLetters
from shared.stop import RunStopped
from shared.times import Window, hour_of, whole_hours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.publish.format import Parcel
    from shared.publish.outbox import Delivery
    from shared.publish.publisher import Publisher
    from shared.rows.row import Row
    from shared.rows.source import Follower, RowApi
    from shared.run.context import RunContext

logger = logging.getLogger("m365.rows")

CROWDED = 8
"""Pages after which a window is given up for a narrower one: the client remembers all of a window's rows, and a window
that is begun does not yield to what is new."""

Unseen = dict[datetime, set[bytes]]
"""Hours to the digests of their rows that are pending, as far as they were not offered again."""


@dataclass(eq=False)
class Page:
    """The new rows of a page, on their way to the hub.

    Attributes:
        claim_checks: of them those that went out as pointers.
        settled: set once every row is acknowledged.
    """

    rows: list[Row]
    claim_checks: int = 0
    settled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, kw_only=True)
class WindowRead:
    """What came of a window.

    Attributes:
        rows: that came, known ones too.
        pages: in which they came.
        whole: whether it was read to its end; else it had too many pages, and a narrower one has to be read.
    """

    rows: int
    pages: int
    whole: bool


class RowReader:
    """Reads windows and publishes their rows during one run.

    Args:
        run: what it is part of.
        api: what lists.
        digests: what is known of each row.
        late_enough: after the beginning of an hour, when a reading of it is its last.
        follower: told the rows of each page before they are written down as delivered.
        on_progress: called after each page.

    Attributes:
        listed: rows that were new in this run.
        delivered: rows acknowledged and written down.
        bytes: sum of their bodies.
        dead: rows that are no JSON.
        claim_checks: of the delivered those that went out as pointers, being over the hub's limit.
        gone: rows of earlier runs that were not delivered and are no longer offered.
    """

    def __init__(
        self,
        run: RunContext,
        *,
        api: RowApi,
        digests: Digests,
        late_enough: timedelta,
        follower: Follower | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._digests = digests
        self._late_enough = late_enough
        self._clock = run.parts.clock
        self._dead_letters = DeadLetters(run.parts.storage.dead_letters, run.feed.state_key)
        self._stop = run.stop
        self._format, self._about = run.parts.format, run.feed.about()
        self._follower = follower
        self._on_progress = on_progress
        self._page: Page | None = None
        self.publisher: Publisher[Page] = run.publisher(self._settled, run.stop.set)
        self.listed = self.delivered = self.bytes = self.dead = self.gone = self.claim_checks = 0

    def read(self, window: Window, unseen: Unseen | None = None) -> WindowRead:
        """Read a window and have every new row of it acknowledged and written down.

        Rows of its whole hours that an earlier run wrote down and never delivered, and that are not offered any more,
        have changed their status meanwhile: they are given up for the row that took their place.

        One empty answer may be wrong. It is asked for once more where it would give rows up, and where nothing of the
        window is read again later.

        Args:
            window: what to read.
            unseen: what is pending in hours of which this is a piece, less what is offered in it; whoever reads all of
                their pieces gives up what is left.

        Raises:
            CollectorError: the window was not read to its end; what was read of it counts.
            RunStopped: likewise, because the run ended.
        """
        own = self.pending(window) if unseen is None else {}
        due = own if unseen is None else unseen
        read = self._read(window, due)
        last = window.start + self._late_enough <= self._clock.now()
        if not read.rows and (last or any(due.values())):
            read = self._read(window, due)
        if read.whole:
            self.give_up(own)
        return read

    def _read(self, window: Window, unseen: Unseen) -> WindowRead:
        number, pages, whole = 0, 0, True
        for rows in self._api.pages(window):
            self._stop.raise_if_set()
            number, pages = number + len(rows), pages + 1
            for digests in unseen.values():
                digests.difference_update(row.digest for row in rows)
            with self._must_work():
                self._settle()
                self._take_up(rows)
                self._digests.trim()
            if pages > CROWDED and window.end - window.start > NARROWEST:
                whole = False
                break
        with self._must_work():
            self._settle()
        return WindowRead(rows=number, pages=pages, whole=whole)

    def pending(self, window: Window) -> Unseen:
        """The rows of a window's whole hours that were written down and are neither delivered nor lost."""
        found: Unseen = {}
        with self._must_work():
            for hour in whole_hours(window):
                if hour in self._digests.stored:
                    found[hour] = self._digests.hour(hour).pending()
                self._digests.trim()
        return {hour: digests for hour, digests in found.items() if digests}

    def give_up(self, unseen: Unseen) -> None:
        """Give up rows that the service offers no longer, unless they were delivered meanwhile."""
        with self._must_work():
            for hour, digests in unseen.items():
                left = digests & self._digests.hour(hour).pending()
                self._digests.write(GONE, ((hour, digest) for digest in left))
                self.gone += len(left)
                self._digests.trim()

    @contextlib.contextmanager
    def _must_work(self) -> Iterator[None]:
        """Around state and hub: without them there is no point in reading on, unlike without one window."""
        try:
            yield
        except CollectorError as error:
            if not isinstance(error, RunStopped):
                self._stop.set(error)
            raise

    def finish(self, timeout: float) -> None:
        """Wait for the page that is on its way, and write down what became of it.

        Raises:
            CollectorError: it was not acknowledged in time; it will be sent again.
        """
        try:
            self.publisher.close(timeout)
        finally:
            if self._page is not None and self._page.settled.is_set():
                self._write_delivered(self._page)

    def _take_up(self, rows: Sequence[Row]) -> None:
        """Write down what is new of a page, and hand over what is not delivered."""
        new: list[tuple[datetime, bytes]] = []
        due: list[Row] = []
        for row in rows:
            hour = hour_of(row.received)
            known = self._digests.hour(hour).states.get(row.digest)
            if known is None:
                new.append((hour, row.digest))
            if known not in (DELIVERED, DEAD):
                due.append(row)
        self._digests.write(LISTED, new)
        self.listed += len(new)
        self._keep([row for row in due if row.mark.place])
        due = [row for row in due if not row.mark.place]
        if due:
            self._page = Page(due)
            self.publisher.publish(self._page, self._parcel(due))

    def _parcel(self, rows: list[Row]) -> Parcel:
        records = Records(
            bodies=[row.raw for row in rows],
            ids=[row.digest.hex() for row in rows],
            columns={
                "content_id": [_plain(row.id) for row in rows],
                **columns_of([row.mark for row in rows]),
            },
        )
        return self._format.parcel(records, self._about)

    def _keep(self, damaged: list[Row]) -> None:
        """Rows that are no JSON: their bytes are kept, the others of their page flow."""
        for row in damaged:
            day, about, reason = row.received.date(), _plain(row.id), row.mark.place
            name = self._dead_letters.put(RECORD, day, row.raw, content_id=about, reason=reason)
            logger.warning(
                "a row of %d bytes is dead-lettered (%s): %s", len(row.raw), reason, name
            )
        self._digests.write(DEAD, ((hour_of(row.received), row.digest) for row in damaged))
        self.dead += len(damaged)

    def _settle(self) -> None:
        """Wait until the page that is on its way is acknowledged, and write that down."""
        page = self._page
        if page is None:
            return
        while not page.settled.wait(0.25):
            self._stop.raise_if_set()
        self._write_delivered(page)

    def _write_delivered(self, page: Page) -> None:
        rows = page.rows
        if self._follower is not None:
            self._follower.note(rows)
        self._on_progress()
        self._digests.write(DELIVERED, ((hour_of(row.received), row.digest) for row in rows))
        self._page = None
        self.delivered += len(rows)
        self.claim_checks += page.claim_checks
        self.bytes += sum(len(row.raw) for row in rows)

    # -- called from the publisher's threads

    def _settled(self, delivery: Delivery[Page]) -> None:
        if delivery.failed is not None:
            # Nothing of its page is written down, so the next run sends all of it again.
            self._stop.set(delivery.failed)
            return
        delivery.key.claim_checks = delivery.claim_checks
        delivery.key.settled.set()


def _plain(text: str) -> str:
    """A text that a property can carry: what is no Unicode has no bytes there."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
