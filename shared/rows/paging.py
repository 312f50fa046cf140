"""Through a window of rows page by page, whichever service the pages come from.

A service hands out the rows of a window newest first, a few thousand at a time, each page with a link to the next. Its
page tokens break (HTTP 400 in mid-chain, a token that comes twice, pages without end that hold nothing new), and links
are missing. Then the window is begun anew at the oldest row that came so far. The filter is inclusive, so that row has
to come again, which proves that nothing lies between. A service that does not list newest first is begun anew at the
window's end. A full page of one single time is asked for in parts.

Guarantees: a listing ends without an error only with a page that has room for more rows and no link to a next one. One
that is as large as the largest of the run may have no room, and is believed once nothing new comes behind it. A row is
handed out once; a link is followed only where ``ask`` lets it; every chain of pages is finite.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from shared import policy
from shared.errors import CollectorError, Permanent, Transient
from shared.records.salvage import Mark
from shared.rows.row import PAGING, Asked, Row, whole_ms
from shared.service.answers import retry_after
from shared.times import Window, format_wire

if TYPE_CHECKING:
    from shared.records.salvage import Cut
    from shared.service.asking import Asker
    from shared.service.http import Response

logger = logging.getLogger("m365.rows")

MAX_IDLE = 3
"""Beginnings in a row that bring nothing new."""
MAX_STALE = 10
"""Pages in a row that bring nothing new."""
LIKELY_FULL = 100
"""Rows from which on the largest page of a run may be full, although none had a next one."""
MAYBE_FULL = 10
"""The same where one had."""

REFUSED = frozenset({400, 404, 410})
"""Statuses that refuse a request itself; of a page that is not the first, its token."""
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: the bytes of its rows, and where the next one is.

    Attributes:
        rows: that can be read.
        link: where the next one is; None where the service does not say.
        full: no more rows fit on it, so that a missing link does not mean that there are none.
        large: none of the run had more rows, so that nobody knows whether more fit.
        cut: what the rows were cut into, where one of them is no JSON.
    """

    rows: list[bytes]
    link: str | None
    full: bool = False
    large: bool = False
    cut: Cut | None = None

    @classmethod
    def of(cls, cut: Cut, link: str | None, most: int) -> Page:
        """A page of what was cut, on which so many rows fit."""
        odd = cut.damage is not None or bool(cut.invalid)
        return cls(rows=cut.records, link=link, full=fills(cut, most), cut=cut if odd else None)


def fills(cut: Cut, most: int) -> bool:
    """Whether no more rows fit on a page of so many. Of damaged bytes nobody knows how many rows they were."""
    return len(cut.records) + _lost(cut) >= most


def _lost(cut: Cut) -> int:
    return 0 if cut.damage is None or not cut.damage.raw else max(1, cut.damage.raw.count(b"{"))


class Largest:
    """The largest page of a run: a service may have smaller ones than were asked for."""

    def __init__(self) -> None:
        self._rows = 0
        self._chained = False

    def judge(self, page: Page) -> Page:
        """Say of a page whether it is as large."""
        count, self._chained = len(page.rows), self._chained or page.link is not None
        if page.cut is None:
            self._rows = max(self._rows, count)
        else:
            count += _lost(page.cut)
        # A run of small windows, none of which has a second page, is not to be listed twice.
        least = MAYBE_FULL if self._chained else LIKELY_FULL
        return replace(page, large=count >= max(least, self._rows))


def asked_twice(ask: Callable[[], Page]) -> Page:
    """A page; where a row of it is damaged, as it comes the second time: it may have been spoilt on its way."""
    page = ask()
    return page if page.cut is None or page.cut.damage is None else ask()


First = Callable[[datetime, datetime], str]
"""The URL that begins a listing from one time to another, both included, whole milliseconds."""
Ask = Callable[[str, bool], Page]
"""Asks for a page; told whether it is the first of its chain. If not, a refusal has the code ``PAGE_REFUSED``."""
R = TypeVar("R", bound=Row)
Lasting = tuple[str, ...]
"""What a row is known by for as long as it is there."""
Read = Callable[[bytes, Asked], tuple[R, datetime | None]]
"""Reads a row; with its time where it has one inside what was asked for."""


def list_window(
    window: Window,
    first: First,
    ask: Ask,
    read: Read[R],
    *,
    largest: Largest,
    parts: Sequence[First] = (),
) -> Iterator[list[R]]:
    """List a window; see ``RowApi.pages``.

    Args:
        window: whose rows are wanted.
        first: begins a listing.
        ask: asks for a page.
        read: reads a row.
        largest: of the run's pages.
        parts: begin listings that together hold what ``first`` lists; none where the service cannot be asked so.
    """
    asked = Asked.of(window)
    listing = _Listing(asked, ask, lambda raw: read(raw, asked), largest)
    yield from listing.rows(first, asked.last, parts)


class _BrokenChain(Exception):
    """The chain of pages cannot be followed to its end."""


class _NoLink(_BrokenChain):
    """A page that is full, or may be, has no link to the next.

    Args:
        page: its rows.
    """

    def __init__(self, page: set[Lasting]) -> None:
        super().__init__("a full page names no next one")
        self.page = page


class _Listing(Generic[R]):
    """The listing of a window.

    Args:
        asked: what the service is asked for.
        ask: asks for a page.
        read: reads a row.
        largest: of the run's pages.
    """

    def __init__(
        self,
        asked: Asked,
        ask: Ask,
        read: Callable[[bytes], tuple[R, datetime | None]],
        largest: Largest,
    ) -> None:
        self._asked = asked
        self._ask = ask
        self._largest = largest
        self._read = read
        self._seen: set[bytes] = set()
        self._missing: set[Lasting] = set()

    def rows(self, first: First, last: datetime, parts: Sequence[First] = ()) -> Iterator[list[R]]:
        """List from the beginning of what is asked for to ``last``, page by page."""
        asked, seen, idle = self._asked, self._seen, 0
        progress = _Progress(seen)
        while True:
            known = len(seen)
            try:
                yield from self._chain(first(asked.first, last), progress)
            except _BrokenChain as broken:
                idle = 0 if len(seen) > known else idle + 1
                anew = progress.begin_anew(asked)
                if parts and idle and anew == last and isinstance(broken, _NoLink):
                    # Time cannot part these rows any further.
                    yield from self._in_parts(last, parts, broken.page)
                    return
                if idle >= MAX_IDLE:
                    start, end = format_wire(asked.first), format_wire(asked.last)
                    raise policy.error(PAGING, detail=f"{start} to {end}: {broken}") from broken
                last = anew
                logger.info("a chain of pages broke (%s); the window is begun anew", broken)
            else:
                return

    def _in_parts(
        self, last: datetime, parts: Sequence[First], page: set[Lasting]
    ) -> Iterator[list[R]]:
        """List the rest in parts. Each row of a page that had no room for more has to come again in one of them."""
        logger.info("a full page of one time names no next one; it is asked for in parts")
        self._missing = page
        for part in parts:
            yield from self.rows(part, last)
        if self._missing:
            raise policy.error(PAGING, detail="rows of a full page came in none of its parts")

    def _chain(self, url: str, progress: _Progress) -> Iterator[list[R]]:
        """Follow one chain of pages to its end."""
        followed = {url}
        first, stale = True, 0
        while True:
            page = self._largest.judge(_ask(url, self._ask, first=first))
            rows = _rows(page, self._read)
            self._missing.difference_update(row.lasting for row, _ in rows)
            fresh = progress.take(rows)
            if fresh:
                yield fresh
            if page.link is None and (page.full or (page.large and fresh)):
                raise _NoLink({row.lasting for row, _ in rows})
            if page.link is None:
                progress.end()
                return
            stale = 0 if fresh else stale + 1
            if page.link in followed:
                raise _BrokenChain("it came twice")
            if stale > MAX_STALE:
                raise _BrokenChain("one page after the other holds nothing new")
            followed.add(page.link)
            url, first = page.link, False


class _Progress:
    """What has come of a window so far, or of a part of it.

    Args:
        seen: digests of all that has come of the window.
    """

    def __init__(self, seen: set[bytes]) -> None:
        self.seen = seen
        self._newest_first = True
        self._last: datetime | None = None
        self._oldest: datetime | None = None
        self._bottom: datetime | None = None
        self._at_oldest: set[Lasting] = set()
        self._due: set[Lasting] = set()

    def begin_anew(self, asked: Asked) -> datetime:
        """Where the next chain ends: at the oldest row so far, which then has to come again."""
        self._last = None
        self._due = set()
        if not self._newest_first or self._bottom is None:
            return asked.last
        self._due = self._at_oldest.copy()
        return min(asked.last, max(self._bottom, asked.first + _MS))

    def take(self, page: list[tuple[R, datetime | None]]) -> list[R]:
        """Note what a page holds; returns the rows that did not come before."""
        self._meet(page)
        fresh = []
        for row, moment in page:
            if moment is not None:
                self._place(row, moment)
            if row.digest not in self.seen:
                self.seen.add(row.digest)
                fresh.append(row)
        return fresh

    def end(self) -> None:
        """The chain ended."""
        self._meet([], ended=True)

    def _meet(self, page: list[tuple[R, datetime | None]], *, ended: bool = False) -> None:
        """After a new beginning comes a row that it began at before any older one, or something lies between.

        Newer ones may come first, and fill pages: it begins at the millisecond above where a time has more digits.
        """
        if not self._due:
            return
        if not self._due.isdisjoint(row.lasting for row, _ in page):
            self._due = set()
        elif ended or any(self._is_older(moment) for _, moment in page):
            raise policy.error(
                PAGING, detail="it does not go on where a broken chain of pages left off"
            )

    def _is_older(self, moment: datetime | None) -> bool:
        return moment is not None and self._oldest is not None and whole_ms(moment) < self._oldest

    def _place(self, row: Row, moment: datetime) -> None:
        # Filters take milliseconds, and what lies below them is in no order.
        at = whole_ms(moment)
        up = at if at == moment else at + _MS
        if self._last is not None and at > self._last:
            self._newest_first = False
        self._last = at
        if self._oldest is None or self._bottom is None or at < self._oldest:
            self._oldest, self._bottom, self._at_oldest = at, up, set()
        if at == self._oldest:
            self._bottom = max(self._bottom, up)
            self._at_oldest.add(row.lasting)


def _rows(
    page: Page, read: Callable[[bytes], tuple[R, datetime | None]]
) -> list[tuple[R, datetime | None]]:
    """The rows of a page; the bytes of it that are none are one, which says so and has no place in the order."""
    rows = [read(raw) for raw in page.rows]
    if page.cut is None:
        return rows
    marked = zip(rows, page.cut.marks(), strict=True)
    rows = [(replace(row, mark=mark), moment) for (row, moment), mark in marked]
    if (damage := page.cut.damage) is not None and damage.raw:
        row, _ = read(damage.raw)
        rows.insert(damage.before, (replace(row, mark=Mark(place=damage.place)), None))
    return rows


def _ask(url: str, ask: Ask, *, first: bool) -> Page:
    try:
        return asked_twice(lambda: ask(url, first))
    except (Permanent, Transient) as error:
        # A failure of the service may be one of this token; where it is not, the new beginning fails too.
        broken = policy.rule_of(error).action is policy.Action.LIST_AGAIN or error.status >= 500
        if first or not broken:
            raise
        raise _BrokenChain(f"HTTP {error.status}") from error


def paused(answer: Response, asker: Asker) -> CollectorError | None:
    """A 503 that names a time is a pause for everybody who shares the budget, as a 429 is."""
    if answer.status != 503:
        return None
    seconds = retry_after(answer.headers, asker.clock.now)
    if seconds is None:
        return None
    detail = f"for {seconds:.0f} s, HTTP 503"
    return policy.error("throttled", detail=detail, status=503, retry_after=seconds)
