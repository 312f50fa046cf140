"""How fast a process hands events to one hub.

Event Hubs refuses what exceeds its throughput units with ``server-busy``, and the SDK repeats such a send once, at
once, which only makes it worse. So the pace is ours: unlimited until the hub says that it is busy, then half of what
it last took, then slowly up again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A fifth of the smallest namespace (1 MB/s), since each timer may run in a process of its own; and fast enough that
# eight senders with a full batch each wait less than the publisher's patience.
MIN_RATE = 200_000.0
GROWTH = 1.1
SPAN = 5.0


class Pace:
    """A rate in bytes a second, shared by every sender of a process to one hub; thread-safe.

    Args:
        clock: monotonic seconds.
        min_rate: the slowest that it ever gets, so that a batch is never held back for long.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, min_rate: float = MIN_RATE
    ) -> None:
        self._clock = clock
        self._min_rate = min_rate
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._grown = 0.0
        self._halved = 0.0
        self._next = 0.0
        self._acknowledged: deque[tuple[float, int]] = deque()

    def delay(self, size: int) -> float:
        """Book ``size`` bytes; returns the seconds to wait before sending them."""
        with self._lock:
            now = self._clock()
            if self._rate is None:
                return 0.0
            if steps := int(now - self._grown):
                self._rate *= GROWTH**steps
                self._grown += steps
            start = max(now, self._next)
            self._next = start + size / self._rate
            return start - now

    def acknowledged(self, size: int) -> None:
        """Count bytes that the hub took."""
        with self._lock:
            now = self._clock()
            self._acknowledged.append((now, size))
            self._forget(now)

    def busy(self) -> None:
        """Halve the rate, once a second at most, because the hub is over its throughput."""
        with self._lock:
            now = self._clock()
            if self._rate is not None and now - self._halved < 1.0:
                # Several senders are refused at once for one and the same excess.
                return
            self._halved = now
            self._forget(now)
            measured = sum(size for _, size in self._acknowledged) / SPAN
            current = self._rate if self._rate is not None else measured
            self._rate = max(self._min_rate, min(current, measured or current) / 2)
            self._grown = now

    def _forget(self, now: float) -> None:
        while self._acknowledged and self._acknowledged[0][0] < now - SPAN:
            self._acknowledged.popleft()


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

    def add(self) -> int:
        """Count one; returns how many hang now."""
        with self._lock:
            self.hanging += 1
            return self.hanging

    def ended(self) -> None:
        """One of them came back after all."""
        with self._lock:
            self.hanging -= 1


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What sending may use, and how patient it is.

    Attributes:
        senders: connections used at the same time.
        patience: waits.
        pace: shared by the process.
        abandoned: shared by the process.
        max_abandoned: sends abandoned in this run, or hanging in the process, beyond which the run ends.
    """

    senders: int = 2
    patience: Patience = field(default_factory=Patience)
    pace: Pace = field(default_factory=Pace)
    abandoned: Abandoned = field(default_factory=Abandoned)
    max_abandoned: int = 3
