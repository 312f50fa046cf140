"""Hubs, their partitions, and the events in them.

Events are kept in memory, in order, as the bytes the publisher sent; a partition's sequence
numbers start at 0 and its offsets count bytes. Everything here belongs to the server's thread,
except that lists of events may be copied from any other.
"""

from __future__ import annotations

import itertools
import re
import time
import zlib
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from local.eventhubs.message import Publication, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.eventhubs.links import Reader


class Partition:
    """An append-only sequence of events, and those who read it."""

    def __init__(self, partition_id: str, *, keep: bool) -> None:
        self.id = partition_id
        self.readers: set[Reader] = set()
        self._keep = keep
        self.clear()

    def clear(self) -> None:
        """Forget every event and number from 0 again; readers start over."""
        self.events: list[StoredEvent] = []
        self.next_sequence_number = 0
        self.next_offset = 0
        self.last_offset = -1
        self.last_enqueued_ms = 0
        for reader in self.readers:
            reader.next_sequence_number = 0

    def append(self, publication: Publication) -> None:
        """Store a publication and hand it to the readers."""
        now = time.time_ns() // 1_000_000
        number, offset = self.next_sequence_number, self.next_offset
        key, store = publication.partition_key, self.events.append
        for encoded in publication.messages:
            self.last_offset = offset
            if self._keep:
                store(StoredEvent(self.id, number, offset, now, key, encoded))
            number += 1
            offset += len(encoded)
        self.next_sequence_number, self.next_offset = number, offset
        self.last_enqueued_ms = now
        for reader in tuple(self.readers):
            reader.pump()

    def position_of(self, selector: str | None) -> int:
        """Return the first sequence number that a selector admits; ValueError if it is no selector.

        It is SQL-like text as the SDK writes it, for example
        `amqp.annotation.x-opt-offset > '@latest'`; None is everything.
        """
        if not selector:
            return 0
        match = _SELECTOR.fullmatch(selector)
        if match is None:
            raise ValueError(f"unknown selector {selector!r}")
        if match["value"] == "@latest":
            return self.next_sequence_number
        bisect = bisect_left if match["operator"] == ">=" else bisect_right
        index = bisect(self.events, int(match["value"]), key=_SELECTABLE[match["field"]])
        # Nothing is ever removed from the front, so an index is a sequence number.
        return index if index < len(self.events) else self.next_sequence_number


class Hub:
    """A named event hub."""

    def __init__(self, name: str, partitions: int, *, keep: bool) -> None:
        if partitions < 1:
            raise ValueError(f"hub {name!r} needs one partition or more, not {partitions}")
        self.name = name
        self.created_ms = time.time_ns() // 1_000_000
        self.partitions: Sequence[Partition] = tuple(
            Partition(str(number), keep=keep) for number in range(partitions)
        )
        self._round_robin = itertools.cycle(self.partitions)

    def partition(self, partition_id: str) -> Partition:
        """Return a partition by id; KeyError if there is none."""
        if partition_id.isdecimal() and int(partition_id) < len(self.partitions):
            return self.partitions[int(partition_id)]
        raise KeyError(partition_id)

    def route(self, partition_key: str | None) -> Partition:
        """Choose a partition: the same one for the same key, in turn where there is none.

        The service's own hash is another one; which partition a key gets is no promise of either.
        """
        if partition_key is None:
            return next(self._round_robin)
        return self.partitions[zlib.crc32(partition_key.encode()) % len(self.partitions)]

    def events(self) -> list[StoredEvent]:
        """Copy the events of all partitions, partition by partition, in order."""
        return [event for partition in self.partitions for event in tuple(partition.events)]


_SELECTOR: Final = re.compile(
    r"(?:amqp\.annotation\.)?(?P<field>x-opt-(?:offset|sequence-number|enqueued-time))"
    r" (?P<operator>>=?) '?(?P<value>-?\d+|@latest)'?"
)
_SELECTABLE: Final[dict[str, Callable[[StoredEvent], int]]] = {
    "x-opt-offset": lambda event: event.offset,
    "x-opt-sequence-number": lambda event: event.sequence_number,
    "x-opt-enqueued-time": lambda event: event.enqueued_ms,
}
