"""What goes through the pipeline, and what brings it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.state.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.contents.content import Content
    from shared.contents.memory import Reservation


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
        remark: what its line in the ledger says beside that it is delivered.
        damaged: where bytes of it are that are no record.
    """

    content: Content
    entry: Entry | None = None
    reservation: Reservation | None = None
    remark: str = ""
    damaged: str = ""

    def known(self, now: datetime) -> Entry:
        """What is known of it; of one that is new just what its listing said."""
        return self.entry or Entry(
            id=self.content.id,
            created=self.content.created,
            expires=self.content.expires,
            listed=int(now.timestamp()),
        )
