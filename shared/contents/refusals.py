"""What the API says of one content and may mean of all: held back until it is known which.

Where another content is answered, in its turn or as a witness, the refusals are those contents' own, whose attempts
they are. Where none is, they concern all: the run ends, and no attempt is on record.

Tests: tests/faults/test_refusals.py.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.contents.witnesses import Witnesses
    from shared.contents.work import Work
    from shared.errors import CollectorError
    from shared.stop import Stop

logger = logging.getLogger("m365.refusals")

MAX_REFUSALS = 3
"""Contents that are refused in a row before others are asked."""


class Refusals:
    """The refusals of a run; thread-safe.

    Args:
        witnesses: are asked.
        stop: ends the run.
    """

    def __init__(self, witnesses: Witnesses, stop: Stop) -> None:
        self._witnesses = witnesses
        self._stop = stop
        self._held: list[tuple[Work, CollectorError]] = []
        self._ids: set[str] = set()
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def hold(self, work: Work, error: CollectorError) -> list[tuple[Work, CollectorError]]:
        """Note a refusal; returns those that are now known to be their contents' own."""
        with self._lock:
            self._held.append((work, error))
            self._ids.add(work.content.id)
        # Who is refused meanwhile waits for what comes of it.
        with self._asking:
            if self._few or self._stop():
                return []
            answered = self._witnesses.are_answered(self._ids)
            # Without a witness there is nothing else that the run could fetch. What is yet to be listed will tell.
            if answered is False and not self._few:
                self._stop.set(error)
            if not answered:
                return []
            own = self.take()
        names = ", ".join(each.content.id for each, _ in own)
        logger.warning("refused, where others are answered: %s (%s)", names, error.log)
        return own

    def take(self) -> list[tuple[Work, CollectorError]]:
        """What is held, now that another content was answered."""
        with self._lock:
            taken, self._held = self._held, []
        return taken

    def close(self) -> list[tuple[Work, CollectorError]]:
        """What is held when the run is over, and is too little to speak of all."""
        few, taken = self._few, self.take()
        if not few:
            self._stop.set(taken[-1][1])
        return taken if few and self._stop.error is None else []

    @property
    def _few(self) -> bool:
        with self._lock:
            return len(self._held) < MAX_REFUSALS
