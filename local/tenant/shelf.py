"""The contents of a simulated tenant: which there are, when they can be seen, what is in them.

The history is planned when the shelf is made, from the spec, its seed and the clock's time; with a
rate, more contents appear as the clock goes on. Bodies are written when somebody asks for them and
kept in a bounded cache. The order of a listing is the order in which contents became visible, and
that of ``contentCreated`` decides which window they belong to (management-activity-api, 5 and 7).
"""

from __future__ import annotations

import itertools
import json
import threading
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from local.tenant.records import Record, RecordWriter
from local.tenant.spec import TenantSpec

# Nothing of the history is younger, so that a first run has a settled past.
SETTLED = timedelta(minutes=3)
HORIZON = timedelta(days=7)

_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One content (blob) of the tenant.

    ``records`` or ``body`` are given for contents that a test placed; otherwise ``count`` records
    are written from the seed, and ``extras`` mixed in. ``ordinal`` numbers the written contents
    of a source, from 0; it is -1 for placed ones.
    """

    source: str
    content_id: str
    created: datetime
    visible_at: datetime
    expires: datetime
    serial: int
    count: int = 0
    ordinal: int = -1
    relisted_at: datetime | None = None
    uri: str | None = None
    hidden_after_listings: int | None = None
    records: tuple[bytes, ...] | None = None
    body: bytes | None = None
    extras: tuple[bytes, ...] = ()


class Event(NamedTuple):
    """One record as a collector has to deliver it; ``digest`` is the blake2b-128 of its bytes."""

    content_id: str
    event_id: str
    digest: str


class Shelf:
    """All contents of one tenant. Safe to use from several threads."""

    def __init__(self, spec: TenantSpec, now: Callable[[], datetime]) -> None:
        self._spec = spec
        self._now = now
        self._lock = threading.RLock()
        self._writer = RecordWriter(
            seed=spec.seed, tenant_id=spec.tenant_id, record_bytes=spec.record_bytes
        )
        self._started = _milliseconds(now())
        self._draw = Random(f"{spec.seed} contents")
        self._serial = 0
        self._grown = 0
        self._by_id: dict[str, Content] = {}
        self._written: dict[str, list[Content]] = {}
        # Per source, ordered by the time that decides about windows.
        self._places: dict[str, list[tuple[datetime, int, Content]]] = {}
        self._windows: OrderedDict[tuple[str, datetime, datetime], list[Content]] = OrderedDict()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._body_bytes = 0
        self._plan_history()

    def add(
        self,
        source: str,
        *,
        created: datetime,
        visible_at: datetime,
        expires: datetime,
        content_id: str | None = None,
        uri: str | None = None,
        hidden_after_listings: int | None = None,
        records: Sequence[bytes] | None = None,
        body: bytes | None = None,
        count: int = 0,
    ) -> Content:
        """Place a content; the tenant's ``offer`` is the comfortable way.

        Raises:
            ValueError: there is a content with that id already.
        """
        with self._lock:
            self._serial += 1
            created = _milliseconds(created)
            content = Content(
                source=source,
                content_id=content_id or _content_id(source, created, self._serial),
                created=created,
                visible_at=visible_at,
                expires=_milliseconds(expires),
                serial=self._serial,
                count=count,
                uri=uri,
                hidden_after_listings=hidden_after_listings,
                records=None if records is None else tuple(records),
                body=body,
            )
            if content.content_id in self._by_id:
                raise ValueError(f"there is a content {content.content_id!r} already")
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
                self._windows[key] = found
                if len(self._windows) > 64:
                    self._windows.popitem(last=False)
            else:
                self._windows.move_to_end(key)
        return itertools.islice(found, bisect_right(found, after, key=_turn), None)

    def body(self, content: Content) -> bytes:
        """What the tenant answers for a content: a JSON array, or what a test gave."""
        if content.body is not None:
            return content.body
        with self._lock:
            cached = self._bodies.get(content.content_id)
            if cached is not None:
                self._bodies.move_to_end(content.content_id)
                return cached
        body = b"[" + b",".join(self._raws(content)) + b"]"
        with self._lock:
            if len(body) < _CACHE_BYTES // 4 and content.content_id not in self._bodies:
                self._bodies[content.content_id] = body
                self._body_bytes += len(body)
                while self._body_bytes > _CACHE_BYTES:
                    self._body_bytes -= len(self._bodies.popitem(last=False)[1])
        return body

    def events(self, content: Content) -> Iterator[Event]:
        """The events a collector has to make of a content."""
        for record in self._records(content):
            digest = blake2b(record.raw, digest_size=16).hexdigest()
            yield Event(content.content_id, record.record_id or digest, digest)

    def record_count(self, content: Content) -> int:
        """How many events a content makes, without writing its records."""
        if content.body is not None:
            return len(_split(content.body))
        if content.records is not None:
            return len(content.records)
        return content.count + len(content.extras)

    def _raws(self, content: Content) -> Iterable[bytes]:
        if content.records is not None:
            return content.records
        return (record.raw for record in self._records(content))

    def _records(self, content: Content) -> list[Record]:
        if content.body is not None:
            return [_found(raw) for raw in _split(content.body)]
        if content.records is not None:
            return [_found(raw) for raw in content.records]
        key = self._writer.key(content.content_id)
        taken: set[str | None] = set()
        records = []
        for number in range(content.count):
            record = self._twin(content, key, number, taken) or self._writer.write(
                content.source, key, number, content.created
            )
            taken.add(record.record_id)
            records.append(record)
        for extra in content.extras:
            at = int.from_bytes(blake2b(extra, digest_size=4).digest(), "big")
            records.insert(at % (len(records) + 1), _found(extra))
        return records

    def _twin(
        self, content: Content, key: bytes, number: int, taken: set[str | None]
    ) -> Record | None:
        """A record of an earlier content of the source, to stand in place of an own one."""
        if content.ordinal < 1 or not self._repeats(key, number):
            return None
        draw = Random(key + number.to_bytes(4, "big"))
        with self._lock:
            written = self._written[content.source]
        for _ in range(8):
            other = written[draw.randrange(content.ordinal)]
            if not other.count:
                continue
            other_key = self._writer.key(other.content_id)
            at = draw.randrange(other.count)
            if other.ordinal > 0 and self._repeats(other_key, at):
                continue
            # Most repeats are the same bytes; some differ in a field, as tenants do it.
            shift_s = 1 if draw.random() < 0.25 else 0
            record = self._writer.write(
                content.source, other_key, at, other.created, shift_s=shift_s
            )
            if record.record_id not in taken:
                return record
        return None

    def _repeats(self, key: bytes, number: int) -> bool:
        if not self._spec.duplicate_ids:
            return False
        draw = blake2b(number.to_bytes(4, "big"), key=key, digest_size=4, person=b"repeat")
        return int.from_bytes(draw.digest(), "big") < self._spec.duplicate_ids * 2**32

    def _plan_history(self) -> None:
        spec, draw = self._spec, self._draw
        span = max(timedelta(days=spec.days) - SETTLED, timedelta(0))
        planned: list[Content] = []
        for source, number in spec.contents_by_source().items():
            times = sorted(
                _milliseconds(self._started - SETTLED - span * draw.random()) for _ in range(number)
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
                created = _milliseconds(self._started - max(SETTLED, span * draw.random()))
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
            expires=created + timedelta(days=spec.expires_days),
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
        if not rate:
            return
        with self._lock:
            due = int((self._now() - self._started).total_seconds() * rate / 60)
            sources = list(self._spec.contents_by_source())
            while self._grown < due:
                self._grown += 1
                created = self._started + timedelta(minutes=self._grown / rate)
                source = sources[self._draw.randrange(len(sources))]
                self._put(self._drawn(source, _milliseconds(created), live=True))

    def _put(self, content: Content) -> None:
        self._by_id[content.content_id] = content
        places = self._places.setdefault(content.source, [])
        times = [content.created]
        if content.relisted_at is not None:
            times.append(content.relisted_at)
        for number, time in enumerate(times):
            insort(places, (time, 2 * content.serial + number, content))
        self._windows.clear()


def event_id(raw: bytes) -> str:
    """The id of the event a record becomes: its Id, else the blake2b-128 of its bytes."""
    return _record_id(raw) or blake2b(raw, digest_size=16).hexdigest()


def _found(raw: bytes) -> Record:
    return Record(record_id=_record_id(raw), raw=raw)


def _record_id(raw: bytes) -> str | None:
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    found = record.get("Id") if isinstance(record, dict) else None
    return found if isinstance(found, str) and found else None


def _split(body: bytes) -> list[bytes]:
    """The records of an array, as they stand in it; none when it is not a JSON array."""
    decoder = json.JSONDecoder()
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
        whole = json.loads(text)
    except ValueError:
        return []
    if not isinstance(whole, list):
        return []
    raws, at = [], text.index("[") + 1
    for _ in whole:
        while text[at] in " \t\r\n,":
            at += 1
        _, end = decoder.raw_decode(text, at)
        raws.append(text[at:end].encode())
        at = end
    return raws


def _turn(content: Content) -> tuple[datetime, int]:
    return content.visible_at, content.serial


def _milliseconds(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _content_id(source: str, created: datetime, serial: int) -> str:
    stamp = f"{created:%Y%m%d%H%M%S}{created.microsecond // 1000:03d}{serial % 10**6:06d}"
    name = source.replace(".", "_")
    return f"{stamp}${stamp}${name.lower()}${name}$emea{serial % 97:04d}"
