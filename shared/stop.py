"""Why a run takes no new work: set once, asked everywhere."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from shared import policy
from shared.errors import CollectorError, RunStopped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RunStopped", "Stop"]


class Stop:
    """The end of a run, whichever comes first: its deadline, or the first failure that concerns all of its work.

    Args:
        seconds: until no new work is taken.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline = clock() + seconds
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._checks: list[Callable[[], bool]] = []
        self.error: CollectorError | None = None

    def watch(self, check: Callable[[], bool]) -> None:
        """Also stop once this says so (a lost lease)."""
        self._checks.append(check)

    def set(self, error: CollectorError | None = None) -> None:
        """Stop; the first error is kept."""
        with self._lock:
            if self.error is None:
                self.error = error
        self._event.set()

    def __call__(self) -> bool:
        """Whether the run takes no new work."""
        return (
            self._event.is_set() or self.deadline_passed or any(check() for check in self._checks)
        )

    @property
    def deadline_passed(self) -> bool:
        """Whether the time of the run is used up."""
        return self._clock() >= self._deadline

    def raise_if_set(self) -> None:
        """Raise ``RunStopped`` where the run takes no new work."""
        if self():
            raise policy.error("stopped")

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the run lasts."""
        self._event.wait(max(0.0, min(seconds, self._deadline - self._clock())))
