"""An index of what waits in the ledger, so that a day of which little does need not be read.

One content that cannot be had for weeks would otherwise keep all contents of its day in every run's memory. A day's
part of the index holds for one size of its ledger alone. Whatever has come since, whoever wrote it, makes it worthless,
and then the day is read as if there were none; so an index that is missing, old or unreadable costs time and no more.
"""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from shared.errors import CollectorError
from shared.state.account import read_blob, write_blob
from shared.state.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azure.storage.blob import ContainerClient

    from shared.state.ledger_day import Day

logger = logging.getLogger("m365.ledger")

MOST_WAITING = 10_000
"""Contents that an index holds; the days with the most are left out, and read."""


class Waiting(msgspec.Struct, frozen=True):
    """What waits of a day.

    Attributes:
        sizes: bytes of each segment of the day's ledger when that was so.
        entries: the contents that are neither delivered nor given up.
    """

    sizes: dict[str, int]
    entries: list[Entry]


_decoder = msgspec.json.Decoder(dict[date, Waiting])


class WaitingIndex:
    """The index of one feed.

    Args:
        container: the state container.
        feed: as it stands in the ledger's names.
    """

    def __init__(self, container: ContainerClient, feed: str) -> None:
        self._container = container
        self._name = f"waiting/{feed}.json"
        self._loaded = False
        self._etag: str | None = None
        self._known: dict[date, Waiting] = {}

    def load(self) -> dict[date, Waiting]:
        """What was stored; nothing where that cannot be read."""
        self._loaded = True
        try:
            if (stored := read_blob(self._container, self._name)) is not None:
                self._etag = stored.etag
                self._known = _decoder.decode(stored.data)
        except (CollectorError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("%s cannot be read, so the ledger is: %s", self._name, error)
        return self._known

    def save(self, days: Iterable[Day]) -> None:
        """Store what waits of some days."""
        found = {day.day: Waiting(dict(day.read_to), day.pending()) for day in days}
        left = MOST_WAITING
        kept: dict[date, Waiting] = {}
        for day, waiting in sorted(found.items(), key=lambda each: len(each[1].entries)):
            left -= len(waiting.entries)
            if left >= 0:
                kept[day] = waiting
        if not self._loaded:
            self.load()
        if kept == self._known:
            return
        data = msgspec.json.encode(kept)
        try:
            self._etag = write_blob(self._container, self._name, data, etag=self._etag)
            self._known = kept
        except CollectorError as error:
            logger.warning(
                "%s cannot be written; the next run reads the ledger: %s", self._name, error
            )
