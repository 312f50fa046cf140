"""A made-up sink: all that adding one takes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shared import policy

if TYPE_CHECKING:
    from shared.publish.format import Parcel
    from shared.publish.sink import Batch, Sender

MOST_BYTES = 1_000_000


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
            self.events.append((parcel.bodies[at], parcel.properties(at)))
        return stop - start


class Drawer:
    """Keeps events in memory. It connects to nothing, so it is its own sender, for any number of threads."""

    name = "drawer"
    remark = ""

    def __init__(self, refusals: int = 0) -> None:
        self.kept: list[tuple[bytes, dict[str, str]]] = []
        self.refusals = refusals
        self._lock = threading.Lock()

    def borrow(self) -> Sender:
        """Itself."""
        return self

    def give_back(self, sender: Sender) -> None:
        """There is no other to keep."""

    def new_batch(self) -> Batch:
        """An empty pile."""
        return Pile()

    def send(self, batch: Batch) -> None:
        """Keep all of a pile, or refuse it."""
        assert isinstance(batch, Pile)
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                raise policy.error("not-acknowledged", detail="the drawer is stuck")
            self.kept += batch.events

    def cut(self) -> None:
        """Nothing hangs."""

    def close(self) -> None:
        """Nothing is open."""
