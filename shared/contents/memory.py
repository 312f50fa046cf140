"""Bodies in memory, bounded by bytes.

A reservation is made before a body is read and given back when all of it is acknowledged.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.stop import Stop

INFLATION = 6
UNKNOWN = 1 << 20


class Gate:
    """The bytes that one feed may hold.

    A body larger than the whole gate is let in alone. Nobody waits while holding something, so waiting always ends.

    Args:
        limit: bytes.
        stop: ends the waiting.
    """

    def __init__(self, limit: int, stop: Stop) -> None:
        self._limit = limit
        self._stop = stop
        self._used = 0
        self._changed = threading.Condition()

    def _acquire(self, size: int) -> None:
        with self._changed:
            while self._used and self._used + size > self._limit:
                self._stop.raise_if_set()
                self._changed.wait(0.25)
            self._add(size)

    def _add(self, size: int) -> None:
        with self._changed:
            self._used += size
            self._changed.notify_all()

    def reservation(self) -> Reservation:
        """A reservation that holds nothing yet."""
        return Reservation(self)


class Reservation:
    """What one content holds of the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._held = 0

    def announce(self, length: int, compressed: bool) -> None:
        """Wait until a body of this announced length may be read.

        Raises:
            RunStopped: the run ended first.
        """
        self.release()
        size = (length or UNKNOWN) * (INFLATION if compressed else 1)
        self._gate._acquire(size)
        self._held = size

    def actual(self, size: int) -> None:
        """Correct the estimate once the body is there."""
        self._gate._add(size - self._held)
        self._held = size

    def release(self) -> None:
        """Give everything back."""
        if self._held:
            self._gate._add(-self._held)
            self._held = 0
