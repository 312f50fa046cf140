"""Events on their way to the sink, and which content each belongs to.

Guarantees: a content is complete only when its stream ended without error and every one of its events is acknowledged
or dead-lettered; it is reported once.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.publish.sink import Event

K = TypeVar("K")


@dataclass(eq=False)
class Delivery(Generic[K]):
    """One content on its way.

    Attributes:
        key: what the caller knows it by.
        outstanding: events handed over and not yet acknowledged.
        records: events acknowledged.
        bytes: sum of their bodies.
        dead: records that no batch can carry, dead-lettered instead.
    """

    key: K
    outstanding: int = 0
    records: int = 0
    bytes: int = 0
    dead: int = 0
    ended: bool = False
    broken: bool = False
    settled: bool = False


Load = list[tuple[Delivery[K], Event]]
"""Events in hand, each with the content it belongs to."""


class Outbox(Generic[K]):
    """The events that wait, and what each content still waits for; thread-safe.

    Args:
        on_settled: called once for each delivery that is complete.
        clock: monotonic seconds.

    Attributes:
        lock: of everything in it; notified whenever something comes in or is done.
        outstanding: events handed over and not yet acknowledged.
        unreported: deliveries that are complete and not yet reported.
        waiting_since: when the last acknowledgement came, or the first event that waits for one; None while none does.
    """

    def __init__(
        self, on_settled: Callable[[Delivery[K]], None], clock: Callable[[], float]
    ) -> None:
        self._on_settled = on_settled
        self._clock = clock
        self._queue: deque[tuple[Delivery[K], Event]] = deque()
        self.lock = threading.Condition()
        self.outstanding = 0
        self.unreported = 0
        self.waiting_since: float | None = None

    def __len__(self) -> int:
        """How many events wait to be sent."""
        return len(self._queue)

    def put(self, delivery: Delivery[K], events: Iterable[Event]) -> None:
        """Take in events of a content."""
        with self.lock:
            before = len(self._queue)
            self._queue.extend((delivery, event) for event in events)
            count = len(self._queue) - before
            delivery.outstanding += count
            self.outstanding += count
            if count and self.waiting_since is None:
                self.waiting_since = self._clock()
            self.lock.notify_all()

    def take(self, most: int) -> Load[K]:
        """Hand out the oldest events that wait."""
        with self.lock:
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def give_back(self, load: Load[K]) -> None:
        """Put events back to the head: they were not sent, or nobody knows."""
        with self.lock:
            self._queue.extendleft(reversed(load))
            self.lock.notify_all()

    def credit(self, load: Load[K]) -> list[Delivery[K]]:
        """Events are acknowledged; returns the deliveries that are complete with them, to be reported."""
        with self.lock:
            self.waiting_since = self._clock()
            for delivery, event in load:
                delivery.records += 1
                delivery.bytes += len(event.body)
            return [
                delivery
                for delivery, number in Counter(delivery for delivery, _ in load).items()
                if self._subtract(delivery, number)
            ]

    def dead(self, delivery: Delivery[K]) -> bool:
        """One event is dead-lettered; returns whether the delivery is complete with it."""
        with self.lock:
            delivery.dead += 1
            return self._subtract(delivery, 1)

    def end(self, delivery: Delivery[K]) -> bool:
        """The content's stream ended without error; returns whether the delivery is complete with it."""
        with self.lock:
            delivery.ended = True
            return self._complete(delivery)

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
        if delivery.outstanding or not delivery.ended or delivery.broken or delivery.settled:
            return False
        delivery.settled = True
        self.unreported += 1
        return True
