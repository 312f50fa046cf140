"""The deadline of a run by an event in place of a time: the test says when the run's time is over."""

from __future__ import annotations

import time

from tests.harness import FAST


class RunClock:
    """The clock of every run's deadline, which the test can put forward; see the fixture ``run_clock``."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def pass_deadline(self) -> None:
        """Let the time of the run that is on its way be over."""
        self._ahead += FAST.run_seconds
