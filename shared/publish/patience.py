"""How long the publisher waits for Event Hubs, and how many sends of a process hang."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the publisher waits, in seconds.

    Attributes:
        watchdog: a send (or connecting) that takes longer is abandoned.
        no_acknowledgement: without any acknowledgement for so long the publisher gives up.
        linger: how long a batch that is not full waits for more events.
        busy: before the same events are offered again to a busy hub, with jitter.
        error: before they are offered again after another failure, with jitter.
    """

    watchdog: float = 45.0
    no_acknowledgement: float = 60.0
    linger: float = 0.1
    busy: float = 4.0
    error: float = 1.0


class Abandoned:
    """Sends of this process that hang: counted for as long as their threads do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.hanging = 0
        self.total = 0

    def add(self) -> int:
        """Count one; returns how many hang now."""
        with self._lock:
            self.hanging += 1
            self.total += 1
            return self.hanging

    def ended(self) -> None:
        """One of them came back after all."""
        with self._lock:
            self.hanging -= 1
