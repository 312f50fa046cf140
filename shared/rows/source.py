"""What a source hands to the engine: how its rows are read, from where, and what follows on a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.days.states import Rules
from shared.times import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, timedelta

    from shared.errors import CollectorError
    from shared.rows.row import Row
    from shared.service.budget import Payer
    from shared.times import Window


@dataclass(frozen=True, kw_only=True)
class RowPolicy:
    """All that a source decides of how its rows are read.

    Attributes:
        delay: how far windows trail the service's clock.
        backfill: how far back a first run reads.
        overlap: read again by every run.
        longest_live: what lies further back goes to the backfill, so that it does not keep the newest rows waiting.
        reread: how far back whole hours are read again.
        cycle: the time within which each of them is.
        first_width: of a window, while nobody knows how many rows it has.
        target_rows: that a window should have.
    """

    delay: timedelta
    backfill: timedelta
    overlap: timedelta
    longest_live: timedelta
    reread: timedelta
    cycle: timedelta
    first_width: timedelta
    target_rows: int

    def days(self, horizon: timedelta) -> Rules:
        """When its hours leave a horizon, and when a reading of one is late enough: so late after its end."""
        return Rules(leaves=horizon, late_enough=HOUR + self.reread)


class RowApi(Protocol):
    """What lists the rows of one tenant.

    Attributes:
        max_width: the widest window that may be asked for.
        horizon: how far back a window may start, measured from the service's now.
        asker: pays for the requests, and counts them.
    """

    @property
    def max_width(self) -> timedelta: ...  # noqa: D102

    @property
    def horizon(self) -> timedelta: ...  # noqa: D102

    @property
    def asker(self) -> Payer: ...  # noqa: D102

    def pages(self, window: Window) -> Iterator[Sequence[Row]]:
        """List the rows received in a window, newest first, page by page.

        A row is handed out at most once in a call. Rows of exactly the window's end may come too; they belong to the
        next one. The listing is complete when the iterator ends without an error, and only then. What was handed out
        before an error is good.

        Raises:
            Throttled: the quota is used up and the wait would be too long, or the run has to end.
            ConfigError: a person has to mend the tenant, a permission or a setting; the text says what and how.
            AuthError: the token is refused.
            Transient: the service fails, or cannot page through this window now (code ``PAGING``: a narrower one
                may be listed).
            Permanent: the window is refused (code ``WINDOW_TOO_OLD``: its start is past the service's memory), or a
                link leads to a foreign host.
            RunStopped: the run ended while an answer was read.
        """
        ...


class Follower(Protocol):
    """What follows on rows that were delivered, for a source that has it: it never holds up a row.

    Called in the order in which the methods stand here; ``note`` once for every page that was acknowledged.

    Attributes:
        problems: what ended its work early, without ending the run.
    """

    problems: list[CollectorError]

    def load(self, closed: dict[date, int]) -> None:
        """Read what is known of earlier runs, but for days that were ``closed``."""
        ...

    def note(self, rows: Sequence[Row]) -> None:
        """Write down what follows on these rows.

        Raises:
            CollectorError: that is not known to be stored; the rows are then not delivered yet.
        """
        ...

    def fetch_due(self) -> None:
        """Do what is due; every row was read."""
        ...

    def close(self) -> None:
        """Write down what was done."""
        ...

    def closed(self, known: dict[date, int]) -> dict[date, int]:
        """The days of which everything is settled, with their sizes; ``known`` are those of the last run."""
        ...

    def write_days(self, problem: CollectorError | None) -> None:
        """Bring the rows of its days up to date; see ``Job``."""
        ...

    def drop_old(self, closed: dict[date, int]) -> None:
        """Remove what nobody needs any more of days that are ``closed``."""
        ...
