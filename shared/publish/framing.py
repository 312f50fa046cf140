"""Events written into a batch of the SDK as encoded AMQP sections, without an object for each.

What stands before a body is the same for all events of a parcel but for a few properties, so it is encoded once. The
SDK's public ``add`` makes several objects and two passes of its encoder for every event, at thirty times the cost.

Before any of it is used ``frame_of`` encodes samples both ways. Where a release of the SDK gives other bytes, or counts
sizes in another way, nothing of this is used and every event takes the public way.

Layout: AMQP 1.0, part 3.2 (sections), part 1.6 (types); sizes in a batch as in ``EventDataBatch.add``.
"""

from __future__ import annotations

import functools
import itertools
import logging
from typing import TYPE_CHECKING, Any

from shared.errors import textless
from shared.publish.format import Parcel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.eventhub import EventDataBatch

logger = logging.getLogger("m365.framing")

CONTENT_TYPE = "application/json"

PUBLIC_WAY = "azure-eventhub encodes in a way that is not known here: it encodes each event, at many times the cost"

_SMALL = 256
"""Lengths below it take one byte in AMQP, others four."""
_PROPERTIES = b"\x00\x53\x74"
_DATA_SMALL, _DATA = b"\x00\x53\x75\xa0", b"\x00\x53\x75\xb0"


def extend(batch: EventDataBatch, frame: bytes, parcel: Parcel, start: int, stop: int) -> int:
    """Append events to a batch until one does not fit.

    Args:
        batch: of the SDK.
        frame: what ``frame_of`` gave for its partition key.
        parcel: whose events.
        start: the first of them.
        stop: the one before which to end.

    Returns:
        How many fit.
    """
    inside: Any = batch
    append, used, most = inside._message[5].append, inside._size, batch.max_size_in_bytes
    heads = _Heads(frame, parcel)
    number = 0
    for at in range(start, stop):
        body = parcel.bodies[at]
        own, pairs = heads.own(at)
        length = len(body)
        data = (
            _DATA + length.to_bytes(4, "big")
            if length >= _SMALL
            else _DATA_SMALL + bytes((length,))
        )
        section = b"".join((heads.head(len(own), pairs), own, data, body))
        size = used + len(section) + (8 if len(section) >= _SMALL else 5)
        if size > most:
            break
        append(section)
        used = size
        number += 1
    inside._size = used
    inside._count += number
    return number


class _Heads:
    """What stands before the bodies of a parcel's events."""

    def __init__(self, frame: bytes, parcel: Parcel) -> None:
        self._frame = frame
        self._shared = b"".join(_text(each) for pair in parcel.shared.items() for each in pair)
        self._pairs = 2 * len(parcel.shared)
        self._columns = [(_text(name), values) for name, values in parcel.columns.items()]
        self._ids = parcel.ids
        self._made: dict[tuple[int, int], bytes] = {}

    def own(self, at: int) -> tuple[bytes, int]:
        """The properties of one event alone, and how many names and values they are."""
        identity = _EVENT_ID + _text(self._ids[at])
        if not self._columns:
            return identity, 2
        found = [name + _text(values[at]) for name, values in self._columns if values[at]]
        return b"".join((*found, identity)), 2 * len(found) + 2

    def head(self, length: int, pairs: int) -> bytes:
        """Everything before the properties of one event alone, which take ``length`` bytes."""
        if (made := self._made.get((length, pairs))) is not None:
            return made
        size, count = len(self._shared) + length, self._pairs + pairs
        if size + 1 < _SMALL:
            mark = b"\xc1" + bytes((size + 1, count))
        else:
            mark = b"\xd1" + (size + 4).to_bytes(4, "big") + count.to_bytes(4, "big")
        self._made[length, pairs] = head = b"".join((self._frame, _PROPERTIES, mark, self._shared))
        return head


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) < _SMALL:
        return b"\xa1" + bytes((len(raw),)) + raw
    return b"\xb1" + len(raw).to_bytes(4, "big") + raw


_EVENT_ID = _text("event_id")


def add(batch: EventDataBatch, parcel: Parcel, at: int) -> bool:
    """Add one event by the SDK's public way; False where it does not fit."""
    from azure.eventhub import EventData

    data = EventData(parcel.bodies[at])
    data.properties = parcel.properties(at)  # type: ignore[assignment]
    data.content_type = CONTENT_TYPE
    try:
        batch.add(data)
    except ValueError:
        return False
    return True


@functools.cache
def frame_of(key: str | None) -> bytes | None:
    """What the SDK writes before the application properties of each event, in batches of a partition key.

    None where this release of it encodes in another way than is known here.
    """
    return _sample(key)[0] if _agrees(None if key is None else "key") else None


@functools.cache
def _agrees(key: str | None) -> bool:
    """Whether the SDK encodes as it is known here."""
    try:
        _compare(key)
    except Exception as error:
        # Whatever it is, the public way is there.
        logger.warning(PUBLIC_WAY, exc_info=textless(error))
        return False
    return True


def _batch(key: str | None, size: int = 1 << 20) -> Any:
    from azure.eventhub import EventDataBatch

    return EventDataBatch(max_size_in_bytes=size, partition_key=key)


def _sample(key: str | None) -> tuple[bytes, Any]:
    """How events begin, and a batch of one."""
    batch = _batch(key)
    add(batch, _parcel([b"x" * 300], ["1"], {}), 0)
    frame, mark, _ = bytes(batch._message[5][0]).partition(_PROPERTIES)
    if not mark:
        raise ValueError("no application properties")
    return frame, batch


def _compare(key: str | None) -> None:
    frame, sample = _sample(key)
    for parcel in _samples():
        theirs, ours = _batch(key), _batch(key)
        count = len(parcel)
        if not all(add(theirs, parcel, at) for at in range(count)):
            raise ValueError("a sample does not fit")
        if extend(ours, frame, parcel, 0, count) != count or _state(theirs) != _state(ours):
            raise ValueError("other bytes")
    one = _parcel([b"x" * 300], ["1"], {})
    for spare, fits in ((0, 1), (-1, 0)):
        full = _batch(key, sample.size_in_bytes + spare)
        if extend(full, frame, one, 0, 1) != fits or add(full, one, 0):
            raise ValueError("other sizes")


def _state(batch: Any) -> tuple[list[bytes], int, int, list[Any]]:
    rest = [part for at, part in enumerate(batch._message) if at != 5]
    return [bytes(each) for each in batch._message[5]], batch.size_in_bytes, len(batch), rest


def _samples() -> Iterator[Parcel]:
    """Parcels of every class of size: of bodies, of ids, of the properties together."""
    bodies = [b"x" * length for length in (0, 1, 150, 255, 256, 1500, 70_000)]
    ids = ["", "i" * 36, "i" * 255, "i" * 256, "é" * 128, "\U0001f600" * 70]
    columns = {"content_id": ["", "c", "c" * 90, "", "c" * 200, "c" * 255]}
    for shared, more in itertools.product(
        ({}, {"one": "x", "two": "y" * 100}, {"one": "é" * 130}), ({}, columns)
    ):
        for body in bodies:
            yield _parcel([body] * len(ids), ids, shared, more)
    for length in range(230, 260):
        yield _parcel([b"x"], ["i" * length], {})
        yield _parcel([b"x" * length], ["i"], {})


def _parcel(
    bodies: list[bytes],
    ids: list[str],
    shared: dict[str, str],
    columns: dict[str, list[str]] | None = None,
) -> Parcel:
    return Parcel(
        bodies=bodies,
        records=bodies,
        ids=ids,
        shared=shared,
        columns=columns or {},
        first=0,
        count=len(bodies),
        last=True,
    )
