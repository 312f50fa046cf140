"""Whose turn it is among the feeds of a source, and for how long: some that hang must not starve the others.

The feed whose last turn is longest ago comes first, whatever came of that turn. Each has its share of the run's time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from shared.state.account import read_blob
from shared.state.failures import storage_errors
from shared.times import iso, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from shared.config.connections import Connection
    from shared.state.account import Storage

logger = logging.getLogger("m365.turns")

LEAST = 32
"""A feed has this part of a run's time at least: where that is too little for all, some wait for the next run."""

_known = msgspec.json.Decoder(dict[str, str])


class Turns:
    """The turns of one run; thread-safe.

    Args:
        seconds: of the run.
        feeds: how many want a turn.
        workers: how many have one at the same time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        seconds: float,
        feeds: int,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._end = clock() + seconds
        self._least = seconds / LEAST
        self._workers = workers
        self._free = workers
        self._waiting = feeds
        self._clock = clock
        self._lock = threading.Lock()

    def take(self) -> float | None:
        """The seconds of the next feed; None where the run is over before it began."""
        with self._lock:
            left = max(0.0, self._end - self._clock())
            rounds = math.ceil(self._waiting / self._workers)
            self._waiting -= 1
            self._free -= 1
            # The first ones begin with the run, however short that is.
            if not left and self._free < 0:
                return None
            return min(left, max(left / rounds, self._least))


class LastTurns:
    """When the feeds of a source had their last turn, in a small blob: what hangs writes nothing else.

    Args:
        storage: the state account.
        source: of the feeds.
    """

    def __init__(self, storage: Storage, source: str) -> None:
        self._storage = storage
        self._name = f"turns/{source}.json"
        self._begun: dict[str, str] = {}
        self._lock = threading.Lock()

    def sort(self, connections: Iterable[Connection]) -> list[Connection]:
        """Those of which a turn is longest ago first; as they come where that is not known."""
        try:
            stored = read_blob(self._storage.state, self._name)
            self._begun = {} if stored is None else _known.decode(stored.data)
        except Exception as error:  # noqa: BLE001 - only the order depends on it
            logger.info("the order of the feeds is not known (%s)", type(error).__name__)
        return sorted(connections, key=lambda each: self._begun.get(each.tenant_id, ""))

    def note(self, connection: Connection, now: Callable[[], datetime] = utc_now) -> None:
        """Note that a feed has its turn now."""
        with self._lock:
            self._begun[connection.tenant_id] = iso(now())
            data = msgspec.json.encode(self._begun)
        try:
            with storage_errors(f"write {self._name}"):
                self._storage.state.upload_blob(self._name, data, overwrite=True)
        except Exception as error:  # noqa: BLE001 - only the order depends on it
            logger.info("the order of the feeds is not kept (%s)", type(error).__name__)
