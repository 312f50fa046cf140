"""A made-up sink: all that adding one takes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shared import policy

if TYPE_CHECKING:
    from shared.publish.format import Parcel
    from shared.publish.sink import Batch, Sender

MOST_BYTES = 1_000_000


class Drawer:
    """Keeps events in memory."""

    name = "drawer"

    def __init__(self, refusals: int = 0) -> None:
        self.kept: list[tuple[bytes, dict[str, str]]] = []
        self.refusals = refusals
        self._lock = threading.Lock()

    def borrow(self) -> Sender:
        """A hand for one thread."""
        return Hand(self)

    def give_back(self, sender: Sender) -> None:
        """Hands are not kept."""

    def close(self) -> None:
        """Nothing is open."""

    def put(self, events: list[tuple[bytes, dict[str, str]]]) -> None:
        """Keep all of a batch, or refuse it."""
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                raise policy.error("not-acknowledged", detail="the drawer is stuck")
            self.kept += events


class Pile:
    """A batch."""

    def __init__(self) -> None:
        self.events: list[tuple[bytes, dict[str, str]]] = []

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        """Add what fits."""
        size = sum(len(body) for body, _ in self.events)
        for at in range(start, stop):
            size += len(parcel.bodies[at])
            if size > MOST_BYTES:
                return at - start
            own = {name: values[at] for name, values in parcel.columns.items() if values[at]}
            properties = {**parcel.shared, **own, "event_id": parcel.ids[at]}
            self.events.append((parcel.bodies[at], properties))
        return stop - start


class Hand:
    """A sender."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer

    def new_batch(self) -> Batch:
        """An empty pile."""
        return Pile()

    def send(self, batch: Batch) -> None:
        """Put it into the drawer."""
        assert isinstance(batch, Pile)
        self._drawer.put(batch.events)

    def cut(self) -> None:
        """Nothing hangs."""

    def close(self) -> None:
        """Nothing is open."""
