"""What goes through the pipeline, and what brings it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from shared.state.ledger import Entry
from shared.times import parse_wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.contents.content import Content
    from shared.contents.memory import Reservation

SOON = timedelta(days=1)
"""What can no longer be had after so long comes first."""

LIVE = timedelta(hours=4)
"""What is younger is new, and waits for no backlog."""

Turn = tuple[int, int, float]
URGENT, NEW, BACKLOG = range(3)
LAST: Turn = (9, 0, 0.0)


def turn_of(created: str, until: datetime, now: datetime) -> Turn:
    """When it is a content's turn: the least is next. Of those of a kind and a day it is left to chance.

    Else contents that hang until the run ends would keep the same others waiting run after run.

    Args:
        created: as on the wire.
        until: it can be fetched.
        now: the service's time.
    """
    if until - now < SOON:
        return URGENT, 0, random.random()  # noqa: S311 - fairness, no secret
    try:
        made = parse_wire(created)
    except ValueError:
        made = now - LIVE
    kind, day = (NEW, 0) if now - made < LIVE else (BACKLOG, until.toordinal())
    return kind, day, random.random()  # noqa: S311 - as above


class Fetches(Protocol):
    """An API, as far as contents are concerned."""

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a content's body; ``reserve`` is told its announced length and whether it is compressed."""
        ...


@dataclass(eq=False)
class Work:
    """One content to collect, and what it holds while it is on its way.

    Attributes:
        content: as it was listed.
        entry: what the ledger knows of it, None where it is new.
        reservation: of the memory for its body.
        damaged: where bytes of it are that are no record.
    """

    content: Content
    entry: Entry | None = None
    reservation: Reservation | None = None
    damaged: str = ""

    def known(self, now: datetime) -> Entry:
        """What is known of it; of one that is new just what its listing said."""
        return self.entry or Entry(
            id=self.content.id,
            created=self.content.created,
            expires=self.content.expires,
            listed=int(now.timestamp()),
        )
