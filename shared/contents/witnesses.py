"""Contents that are asked for their word: whether what others were answered concerns all contents, or those alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from shared.contents.reader import ContentReader, Unreadable
from shared.contents.work import Work
from shared.errors import CollectorError, Throttled
from shared.state.ledger import EMPTY

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from datetime import date

    from shared.contents.content import Content
    from shared.contents.memory import Gate
    from shared.state.feed_ledger import FeedLedger
    from shared.state.ledger import Entry
    from shared.times import ServiceClock

MOST_ASKED = 5


class Witnesses:
    """Contents of which more is known than of those that fail. What they answer is not kept.

    Args:
        ledger: knows them.
        content: makes a content of what the ledger knows.
        reader: fetches them.
        gate: bounds their bytes.
        clock: of the service.
    """

    def __init__(
        self,
        ledger: FeedLedger,
        content: Callable[[date, Entry], Content],
        reader: ContentReader,
        gate: Gate,
        clock: ServiceClock,
    ) -> None:
        self._ledger = ledger
        self._content = content
        self._reader = reader
        self._gate = gate
        self._clock = clock
        self._began = int(clock.now().timestamp())

    def have_records(self, but: Set[str]) -> bool:
        """Whether one still comes with records, so that it is not the service that gives none."""
        return any(self._answer(each) == "records" for each in self._chosen(but)[:1])

    def are_answered(self, but: Set[str]) -> bool | None:
        """Whether one of a few is answered, whatever with, so that not all are refused; None where there is none."""
        chosen = self._chosen(but)
        for each in chosen:
            answer = self._answer(each)
            if answer == "throttled":
                # To ask another would be asking too much.
                break
            if answer:
                return True
        return False if chosen else None

    def _chosen(self, but: Set[str]) -> list[Content]:
        """A few that can be fetched, by chance: first such as came with records, last such as failed before.

        Args:
            but: ids of those that it is about.
        """
        now = self._clock.now()
        found = [
            (not entry.records, bool(entry.tries), random.random(), day, entry)  # noqa: S311
            for day, known in self._ledger.loaded().items()
            # A copy: others are being listed meanwhile.
            for entry in list(known.entries.values())
            if (entry.records or self._is_fresh(entry))
            and entry.id not in but
            and now < self._ledger.expires_at(entry)
        ]
        found.sort(key=lambda each: each[:3])
        return [self._content(day, entry) for *_, day, entry in found[:MOST_ASKED]]

    def _is_fresh(self, entry: Entry) -> bool:
        """Whether this run is the first to ask for it: what waits from earlier runs may well be refused for good."""
        return not entry.terminal and entry.listed >= self._began

    def _answer(self, content: Content) -> str:
        """What a content comes with; "" where it does not."""
        held = self._gate.reservation()
        try:
            return "records" if self._reader.records(Work(content), held).ids else "none"
        except Unreadable:
            return "none"
        except Throttled:
            return "throttled"
        except CollectorError as error:
            return "none" if error.code == EMPTY else ""
        finally:
            held.release()
