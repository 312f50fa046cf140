"""A row as the engine sees it: bytes, a time, and what it is known by.

What else a row says is its source's. A source makes its rows, and their keys, of what its service sends.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.records.salvage import PLAIN, Mark

if TYPE_CHECKING:
    from datetime import datetime

    from shared.times import Window

WINDOW_TOO_OLD = "window-too-old"
"""Code of the ``Permanent`` for a window whose start the service no longer answers for."""

PAGE_REFUSED = "page-refused"
"""Code of an error for a page token that the service refuses: the window is begun anew where it broke off."""

PAGING = "paging"
"""Code of the ``Transient`` for a window whose pages the service does not let us follow to their end."""

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a listing; a source adds what it needs besides.

    Attributes:
        raw: its own bytes where the service sends JSON, else a JSON object made of its fields.
        id: the service's id of what the row is about.
        received: UTC, cut to the millisecond, and always inside what was asked for: the nearest end where it is not,
            the first instant where the row has no time.
        digest: 16 bytes, the key of the row: another listing of the same row has the same.
        lasting: what of its key stays the same when the row changes.
        mark: what is said of it where its page was not as it should be.
    """

    raw: bytes
    id: str
    received: datetime
    digest: bytes
    lasting: tuple[str, ...]
    mark: Mark = PLAIN


def digest_of_bytes(raw: bytes) -> bytes:
    """A key: blake2b-128."""
    return hashlib.blake2b(raw, digest_size=DIGEST_BYTES).digest()


def whole_ms(moment: datetime) -> datetime:
    """Cut to the millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Asked:
    """What a service is asked for: a range of which both ends are included, UTC, whole milliseconds.

    The services know no other filter. ``list_window`` makes one of a window, and nobody else does.
    """

    first: datetime
    last: datetime

    @classmethod
    def of(cls, window: Window) -> Asked:
        """What has to be asked for so that no row of a window is missing: all of it, and the instant at which it ends.

        Up to the millisecond before would be too little. A service that cuts its filter to whole seconds would leave
        out the last second, one that keeps more digits than its filter takes the last millisecond. So a row of exactly
        the end may come with this window and with the next. It has the same key and the same hour in both.
        """
        return cls(window.start, window.end)

    def place(self, moment: datetime | None) -> tuple[datetime, datetime | None]:
        """Where a row of this time lies inside what was asked for, and its time where it truly does.

        Args:
            moment: the row's time; None where it has none that can be read.
        """
        # Services filter by the millisecond, some write more digits: a row of the last one still lies inside.
        at = self.first if moment is None else whole_ms(moment)
        if self.first <= at <= self.last:
            return at, moment
        return min(max(at, self.first), self.last), None
