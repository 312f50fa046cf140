"""Events on their way to the sink, and which content each belongs to.

A content is complete when its last stretch has come in and every one of its events is acknowledged or given up. Not
before. It is reported once.

A stretch counts only in its turn. Where a content breaks off between two of them, what was handed over of it is still
sent, and the content is never complete.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.errors import CollectorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.publish.format import Parcel
    from shared.publish.sink import Batch

K = TypeVar("K")

CHUNK = 64
"""Events taken from the queue at a time, so that several connections share a large content."""


@dataclass(eq=False)
class Delivery(Generic[K]):
    """One content on its way.

    Attributes:
        key: what the caller knows it by.
        following: number of the record that its next stretch has to begin with.
        ended: whether its last stretch has come in.
        outstanding: events handed over and not yet acknowledged.
        records: events acknowledged.
        bytes: sum of their bodies.
        claim_checks: of its events those that went out as pointers; their bytes are counted, not the pointers'.
        failed: why an event of it could neither be sent nor kept, None where all of them were; the content is not
            delivered then.
    """

    key: K
    following: int = 0
    ended: bool = False
    outstanding: int = 0
    records: int = 0
    bytes: int = 0
    claim_checks: int = 0
    failed: CollectorError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Piece(Generic[K]):
    """Events of one parcel that are next to each other: what is queued, sent and counted at once.

    Attributes:
        pointer: whether it is one event, sent in place of a larger one.
    """

    delivery: Delivery[K]
    parcel: Parcel
    start: int
    stop: int
    pointer: bool = False

    def __len__(self) -> int:
        """How many events it has."""
        return self.stop - self.start

    @property
    def size(self) -> int:
        """Sum of their bodies in bytes."""
        return sum(map(len, self.parcel.bodies[self.start : self.stop]))

    def cut(self, number: int) -> tuple[list[Piece[K]], list[Piece[K]]]:
        """Its first ``number`` events and the others; either may be none."""
        if number <= 0:
            return [], [self]
        if number >= len(self):
            return [self], []
        at = self.start + number
        return [replace(self, stop=at)], [replace(self, start=at)]


Load = list[Piece[K]]
"""What is in hand."""


def count(load: Load[K]) -> int:
    """How many events are in hand."""
    return sum(map(len, load))


class Outbox(Generic[K]):
    """The events that wait, and what each content still waits for; thread-safe.

    Args:
        on_settled: called once for each delivery that is complete.

    Attributes:
        lock: of everything in it; notified whenever something comes in or is done.
        outstanding: events handed over and not yet acknowledged.
        unreported: deliveries that are complete and not yet reported.
        waiting_since: when the last event was acknowledged, kept or given up, or the first came that waits for it; None
            while none does.
    """

    def __init__(self, on_settled: Callable[[Delivery[K]], None]) -> None:
        self._on_settled = on_settled
        self._queue: deque[Piece[K]] = deque()
        self._unfinished: dict[K, Delivery[K]] = {}
        self._refused: set[tuple[Delivery[K], int, int, bool]] = set()
        self.lock = threading.Condition()
        self.outstanding = 0
        self.unreported = 0
        self.waiting_since: float | None = None

    def __len__(self) -> int:
        """How many pieces wait to be sent."""
        return len(self._queue)

    def put(self, key: K, parcel: Parcel) -> Delivery[K] | None:
        """Take in a stretch of a content; returns the delivery where it is complete at once, having no events.

        Raises:
            ValueError: the stretch does not follow the one before; its content is never complete then.
        """
        with self.lock:
            delivery = self._unfinished.pop(key, None)
            if parcel.first == 0:
                # A content that broke off may be started over, and counts anew.
                delivery = Delivery(key)
            if delivery is None or delivery.following != parcel.first:
                raise ValueError(f"a stretch that begins with record {parcel.first} is out of turn")
            delivery.following += parcel.count
            delivery.ended = parcel.last
            if not parcel.last:
                self._unfinished[key] = delivery
            if number := len(parcel.bodies):
                self._queue.append(Piece(delivery, parcel, 0, number))
                delivery.outstanding += number
                self.outstanding += number
                if self.waiting_since is None:
                    self.waiting_since = time.monotonic()
                self.lock.notify_all()
            return delivery if self._complete(delivery) else None

    def take(self, most: int) -> Load[K]:
        """Hand out the oldest events that wait, ``most`` at most."""
        load: Load[K] = []
        with self.lock:
            while most > 0 and self._queue:
                head, rest = self._queue.popleft().cut(most)
                load += head
                self._queue.extendleft(rest)
                most -= count(head)
        return load

    def fill(
        self, load: Load[K], batch: Batch, *, most: int, linger: Callable[[], float]
    ) -> int | None:
        """Move events into a batch until it is full or nothing more comes for a moment.

        Args:
            load: what is in hand; it grows in place, and holds what the batch holds in the end.
            batch: an empty one.
            most: events in the batch.
            linger: seconds to wait, once, for more of them; asked under the lock.

        Returns:
            The sum of their bodies in bytes; None where not even the empty batch holds the first event, which alone is
            in hand then.
        """
        size = 0
        lingered = False
        while True:
            with self.lock:
                chunk = self.take(min(CHUNK, most - count(load)))
                load += chunk
                if not chunk:
                    seconds = 0.0 if lingered or not load else linger()
                    if not seconds:
                        return size
                    self.lock.wait(seconds)
                    lingered = True
            for position, piece in enumerate(chunk):
                taken = batch.take(piece.parcel, piece.start, piece.stop)
                head, rest = piece.cut(taken)
                size += sum(each.size for each in head)
                if rest:
                    return size if self._keep(load, head, rest + chunk[position + 1 :]) else None
            if count(load) >= most:
                return size

    def _keep(self, load: Load[K], head: Load[K], rest: Load[K]) -> bool:
        """Of the pieces that were taken last keep ``head`` alone; False where that, and all in hand, is nothing."""
        del load[len(load) - len(rest) :]
        load += head
        if load:
            self.give_back(rest)
            return True
        one, more = rest[0].cut(1)
        load += one
        self.give_back(more + rest[1:])
        return False

    def give_back(self, load: Load[K]) -> None:
        """Put events back to the head: they were not sent, or nobody knows."""
        with self.lock:
            self._queue.extendleft(reversed(load))
            self.lock.notify_all()

    def credit(self, load: Load[K]) -> list[Delivery[K]]:
        """Events are acknowledged; returns the deliveries that are complete with them, to be reported."""
        with self.lock:
            self.waiting_since = time.monotonic()
            settled = []
            for piece in load:
                delivery = piece.delivery
                delivery.records += len(piece)
                delivery.bytes += piece.size
                if self._subtract(delivery, len(piece)):
                    settled.append(delivery)
            return settled

    def is_refused(self, load: Load[K]) -> bool:
        """A load was refused for its size; returns whether it is one event that was so before, by itself as well.

        Once proves nothing: the event is no larger than what the hub announced, and it may say so by mistake.
        """
        if count(load) != 1:
            return False
        with self.lock:
            (one,) = load
            event = one.delivery, one.parcel.first, one.start, one.pointer
            known = event in self._refused
            self._refused.add(event)
            return known

    def swap(self, piece: Piece[K], found: Parcel | CollectorError) -> bool:
        """One event cannot be sent: a pointer to its bytes is, next, or its content fails with the error.

        Returns:
            Whether its delivery is complete with that.
        """
        delivery = piece.delivery
        with self.lock:
            # Keeping its bytes took time in which nothing could be acknowledged.
            self.waiting_since = time.monotonic()
            if isinstance(found, CollectorError):
                delivery.failed = found
                return self._subtract(delivery, 1)
            small = Piece(delivery, found, 0, 1, pointer=True)
            delivery.claim_checks += 1
            delivery.bytes += piece.size - small.size
            self.give_back([small])
            return False

    def report(self, delivery: Delivery[K]) -> None:
        """Tell that a delivery is complete."""
        try:
            self._on_settled(delivery)
        finally:
            with self.lock:
                self.unreported -= 1
                self.lock.notify_all()

    def _subtract(self, delivery: Delivery[K], number: int) -> bool:
        delivery.outstanding -= number
        self.outstanding -= number
        if not self.outstanding:
            self.waiting_since = None
            self.lock.notify_all()
        return self._complete(delivery)

    def _complete(self, delivery: Delivery[K]) -> bool:
        if delivery.outstanding or not delivery.ended:
            return False
        self.unreported += 1
        return True
