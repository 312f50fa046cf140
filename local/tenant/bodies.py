"""What is in the contents (blobs) of a simulated tenant: their bodies, and the events expected of them.

Bodies are written from the seed when somebody asks for them and kept in a bounded cache; what a
test gave goes out as it is. The same content always has the same bytes.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from local.tenant.records import Record, RecordWriter

if TYPE_CHECKING:
    from datetime import datetime

    from local.tenant.spec import TenantSpec


KEPT_BYTES = 64 * 1024 * 1024

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One content (blob) of the tenant.

    ``records`` or ``body`` are given for contents that a test placed; otherwise ``count`` records
    are written from the seed, and ``extras`` mixed in. ``ordinal`` numbers the written contents
    of a source, from 0; it is -1 for placed ones. After ``hidden_after_listings`` listings it is
    in none any more, but can be fetched. ``content_uri`` replaces the true address in listings.
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
    content_uri: str | None = None
    hidden_after_listings: int | None = None
    records: tuple[bytes, ...] | None = None
    body: bytes | None = None
    extras: tuple[bytes, ...] = ()


class Event(NamedTuple):
    """One record as a collector has to deliver it; ``digest`` is the blake2b-128 of its bytes."""

    content_id: str
    event_id: str
    digest: str


def event_id(raw: bytes) -> str:
    """The id of the event a record becomes: its Id, else the blake2b-128 of its bytes."""
    return record_id(raw) or blake2b(raw, digest_size=16).hexdigest()


def record_id(raw: bytes) -> str | None:
    """The Id in a record's bytes, when it is a string with something in it."""
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    found = record.get("Id") if isinstance(record, dict) else None
    return found if isinstance(found, str) and found else None


def split_records(body: bytes) -> list[bytes]:
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


class Bodies:
    """Writes the bodies of one tenant. Safe to use from several threads.

    ``written`` holds, per source, the contents that are written from the seed, in the order of
    their ordinals; it may grow. Repeated records are taken from there.
    """

    def __init__(self, spec: TenantSpec, written: Mapping[str, Sequence[Content]]) -> None:
        self._spec = spec
        self._written = written
        self._writer = RecordWriter(
            seed=spec.seed, tenant_id=spec.tenant_id, record_bytes=spec.record_bytes
        )
        self._kept: Kept[str, bytes] = Kept(KEPT_BYTES)

    def body(self, content: Content) -> bytes:
        """What the tenant answers for a content: a JSON array, or what a test gave."""
        if content.body is not None:
            return content.body
        return self._kept.get(
            content.content_id,
            lambda: b"[" + b",".join(record.raw for record in self._records(content)) + b"]",
        )

    def events(self, content: Content) -> Iterator[Event]:
        """The events a collector has to make of a content."""
        for record in self._records(content):
            digest = blake2b(record.raw, digest_size=16).hexdigest()
            yield Event(content.content_id, record.record_id or digest, digest)

    def record_count(self, content: Content) -> int:
        """How many events a content makes, without writing its records."""
        if content.body is not None:
            return len(split_records(content.body))
        if content.records is not None:
            return len(content.records)
        return content.count + len(content.extras)

    def _records(self, content: Content) -> list[Record]:
        given = content.records
        if content.body is not None:
            given = tuple(split_records(content.body))
        if given is not None:
            return [_read(raw) for raw in given]
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
            records.insert(at % (len(records) + 1), _read(extra))
        return records

    def _twin(
        self, content: Content, key: bytes, number: int, taken: set[str | None]
    ) -> Record | None:
        """A record of an earlier content of the source, to stand in place of an own one."""
        if content.ordinal < 1 or not self._repeats(key, number):
            return None
        draw = Random(key + number.to_bytes(4, "big"))
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


class Kept(Generic[K, V]):
    """The values asked for last, up to a total length. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.kept: OrderedDict[K, V] = OrderedDict()
        self._size = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """What is kept under ``key``, or is made now and then kept; the last one always is."""
        with self._lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        made = make()
        with self._lock:
            if key not in self.kept:
                self.kept[key] = made
                self._size += len(made)
            while self._size > self._limit and len(self.kept) > 1:
                self._size -= len(self.kept.popitem(last=False)[1])
        return made


def _read(raw: bytes) -> Record:
    return Record(record_id=record_id(raw), raw=raw)
