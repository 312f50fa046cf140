"""The contents of a simulated tenant: which there are, when they are visible, how they are listed.

The history is planned when the shelf is made, from the spec, its seed and the clock's time; with a
rate, more contents appear as the clock goes on. A listing has the order in which contents became
visible; which window they belong to is decided by their ``contentCreated``
(management-activity-api, sections 5 and 7).
"""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_left, bisect_right, insort
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from local.tenant.bodies import Bodies, Content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from local.tenant.spec import TenantSpec

# Nothing of the history is younger, so that a first run has a settled past.
SETTLED = timedelta(minutes=3)
HORIZON = timedelta(days=7)


class Shelf:
    """All contents of one tenant. Safe to use from several threads."""

    def __init__(self, spec: TenantSpec, now: Callable[[], datetime]) -> None:
        self._spec = spec
        self._now = now
        self._lock = threading.RLock()
        self._started = milliseconds(now())
        self._draw = Random(f"{spec.seed} contents")
        self._serial = 0
        self._grown = 0
        self._by_id: dict[str, Content] = {}
        self._written: dict[str, list[Content]] = {}
        # Per source, ordered by the time that decides about windows.
        self._places: dict[str, list[tuple[datetime, int, Content]]] = {}
        self._windows: dict[tuple[str, datetime, datetime], list[Content]] = {}
        self.bodies = Bodies(spec, self._written)
        self._plan_history()

    def offer(
        self,
        source: str,
        *,
        created: datetime | None = None,
        visible_at: datetime | None = None,
        expires: datetime | None = None,
        content_id: str | None = None,
        records: Sequence[bytes] | None = None,
        **fields: Any,
    ) -> Content:
        """Place one content and return it; ``ValueError`` where its ``content_id`` is taken.

        Its body is ``body`` as it is, or an array of ``records``, or ``count`` records written
        from the seed (the spec's mean by default). It counts as created now and is visible as
        soon as it is created, or now when that was earlier, unless ``visible_at`` says otherwise.
        ``fields`` are the others of ``Content``.
        """
        if records is not None and fields.get("body") is not None:
            raise ValueError("give records or body, not both")
        now = self._now()
        created = now if created is None else created
        with self._lock:
            self._serial += 1
            name = content_id or _content_id(source, milliseconds(created), self._serial)
            if name in self._by_id:
                raise ValueError(f"there is a content {name!r} already")
            content = Content(
                source=source,
                content_id=name,
                created=milliseconds(created),
                visible_at=max(created, now) if visible_at is None else visible_at,
                expires=milliseconds(expires or created + HORIZON),
                serial=self._serial,
                records=None if records is None else tuple(records),
                **{"count": self._spec.records, **fields},
            )
            self._put(content)
        return content

    def find(self, content_id: str) -> Content | None:
        """The content with that id, if it is visible by now."""
        self._grow()
        with self._lock:
            content = self._by_id.get(content_id)
        return content if content is not None and content.visible_at <= self._now() else None

    def visible(self, source: str | None = None) -> list[Content]:
        """Everything visible by now, in the order in which it was made."""
        now = self._now()
        return [content for content in self.offered(source) if content.visible_at <= now]

    def offered(self, source: str | None = None) -> list[Content]:
        """Everything there is, also what becomes visible later."""
        self._grow()
        with self._lock:
            return [c for c in self._by_id.values() if source is None or c.source == source]

    def listing(
        self, source: str, start: datetime, end: datetime, *, after: tuple[datetime, int]
    ) -> Iterator[Content]:
        """Contents with ``start <= contentCreated < end``, in the order of becoming visible.

        Begins behind ``after`` (when the last one became visible, and its serial) and also holds
        what is not visible yet, at its end. A content that is listed again in a later window
        stands in that one too.
        """
        self._grow()
        key = (source, start, end)
        with self._lock:
            found = self._windows.get(key)
            if found is None:
                places = self._places.get(source, [])
                low, high = (bisect_left(places, (limit, 0)) for limit in (start, end))
                found = [content for _, _, content in places[low:high]]
                found.sort(key=_turn)
                if len(self._windows) > 64:
                    self._windows.clear()
                self._windows[key] = found
        return itertools.islice(found, bisect_right(found, after, key=_turn), None)

    def _plan_history(self) -> None:
        spec, draw = self._spec, self._draw
        span = max(timedelta(days=spec.days) - SETTLED, timedelta(0))
        planned: list[Content] = []
        for source, number in spec.contents_by_source().items():
            times = sorted(
                milliseconds(self._started - SETTLED - span * draw.random()) for _ in range(number)
            )
            for index in range(1, number):
                # Two contents of one millisecond happen, and are a classic to lose.
                if draw.random() < 0.02:
                    times[index] = times[index - 1]
            planned += [self._drawn(source, created, live=False) for created in times]
        for extra in spec.extra_records:
            at = draw.randrange(len(planned))
            planned[at] = replace(planned[at], extras=(*planned[at].extras, extra))
        for content in planned:
            self._put(content)

    def _drawn(self, source: str, created: datetime, *, live: bool) -> Content:
        """The next content of a source as the spec's fractions have it."""
        spec, draw = self._spec, self._draw
        self._serial += 1
        visible_at, relisted_at = created, None
        if draw.random() < spec.late:
            delay = timedelta(seconds=spec.late_after_s)
            if not live:
                # It has to be listable when it turns up.
                span = min(timedelta(days=spec.days), HORIZON - delay - timedelta(hours=1))
                created = milliseconds(self._started - max(SETTLED, span * draw.random()))
            visible_at = (created if live else self._started) + delay
        if draw.random() < spec.relisted:
            # Somewhere between its own time and the youngest the history has.
            until = max(self._started - SETTLED, created + timedelta(hours=1))
            relisted_at = created + (until - created) * (0.1 + 0.9 * draw.random())
        written = self._written.setdefault(source, [])
        content = Content(
            source=source,
            content_id=_content_id(source, created, self._serial),
            created=created,
            visible_at=visible_at,
            expires=created + HORIZON,
            serial=self._serial,
            count=draw.randrange(1, 2 * spec.records),
            ordinal=len(written),
            relisted_at=relisted_at,
        )
        written.append(content)
        return content

    def _grow(self) -> None:
        """Make the contents that the rate has brought since the last time."""
        rate = self._spec.rate
        with self._lock:
            due = int((self._now() - self._started).total_seconds() * rate / 60)
            sources = list(self._spec.contents_by_source()) if self._grown < due else []
            while self._grown < due:
                self._grown += 1
                created = self._started + timedelta(minutes=self._grown / rate)
                source = sources[self._draw.randrange(len(sources))]
                self._put(self._drawn(source, milliseconds(created), live=True))

    def _put(self, content: Content) -> None:
        self._by_id[content.content_id] = content
        places = self._places.setdefault(content.source, [])
        insort(places, (content.created, 2 * content.serial, content))
        if content.relisted_at is not None:
            insort(places, (content.relisted_at, 2 * content.serial + 1, content))
        self._windows.clear()


def _turn(content: Content) -> tuple[datetime, int]:
    return content.visible_at, content.serial


def milliseconds(moment: datetime) -> datetime:
    """A time in UTC without what lies below a millisecond."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _content_id(source: str, created: datetime, serial: int) -> str:
    stamp = f"{created:%Y%m%d%H%M%S}{created.microsecond // 1000:03d}{serial % 10**6:06d}"
    name = source.replace(".", "_")
    return f"{stamp}${stamp}${name.lower()}${name}$emea{serial % 97:04d}"
