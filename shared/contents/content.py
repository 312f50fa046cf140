"""What a source hands to the engine: what its listings name, how they are asked for, and what a run fetches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from shared.days.states import Rules
from shared.times import whole_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.days.gaps import Gaps
    from shared.errors import CollectorError
    from shared.run.context import Counted
    from shared.times import Window


@dataclass(frozen=True, kw_only=True)
class ContentPolicy:
    """All that a source decides of how its contents are listed.

    Attributes:
        horizon: how far back the service lists, measured from its now. A content of which no listing says when it
            expires is taken to be there for as long.
        slice: the widest window of what is new, and what a run lists again at least.
        cycle: the time within which the whole horizon is listed again, as far as ``max_width`` allows.
        max_width: the widest window that may be asked for.
        margin: no window starts closer to the horizon, since time passes before it is asked for.
        overlap: listed again by every run, behind what is new.
        last_call: the least for which a last look before the horizon is worth a request, and how much later than
            expected the next run may be.
        last_look: before an hour leaves the horizon, the time in which a look counts as its last; what is listed for
            the first time after it may be missed.

    Raises:
        ValueError: a slice is empty, or wider than a window may be.
    """

    horizon: timedelta
    slice: timedelta
    cycle: timedelta
    max_width: timedelta
    margin: timedelta = timedelta(minutes=5)
    overlap: timedelta = timedelta(hours=2)
    last_call: timedelta = timedelta(hours=1)
    last_look: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        """Refuse a slice that cannot be asked for."""
        if not timedelta(0) < self.slice <= self.max_width:
            raise ValueError(f"slice width {self.slice} is not between 0 and {self.max_width}")

    @property
    def days(self) -> Rules:
        """When its hours leave, and when a look at one is late enough."""
        leaves = self.horizon - self.margin
        return Rules(leaves=leaves, late_enough=leaves - self.last_look)

    def oldest(self, now: datetime) -> datetime:
        """The oldest start of a window that the service accepts for certain."""
        return whole_second(now) - self.horizon + self.margin


@dataclass(frozen=True, kw_only=True)
class Content:
    """One content as the API lists it.

    Attributes:
        id: opaque content id.
        uri: where it is fetched.
        created: ``contentCreated`` as on the wire; the start of its window where that is missing or absurd.
        expires: ``contentExpiration`` as on the wire, "" where it is missing.
        day: the UTC day of ``created``.
        dated: whether ``created`` is the service's word.
        malformed: the entry's bytes where it could not be understood; such a content cannot be fetched.
    """

    id: str
    uri: str
    created: str
    expires: str = ""
    day: date
    dated: bool = True
    malformed: bytes = b""


class Gate:
    """What a source knows of whether its contents are listed at all: as it stands here, they always are.

    Attributes:
        doubt: what it could not find out; named by the run, which lists all the same.
    """

    doubt: CollectorError | None = None

    def ensure(self, gaps: Gaps) -> CollectorError | None:
        """Make sure, before anything is listed, that the service lists; returns why listing makes no sense yet.

        Args:
            gaps: where what was never listed is recorded.
        """
        del gaps
        return None

    def refused(self, error: CollectorError, gaps: Gaps) -> None:
        """The listing broke off with this error."""


class ContentApi(Protocol):
    """What one source offers of one tenant: contents that are listed, and fetched one by one.

    Attributes:
        asker: counts the requests.
    """

    @property
    def asker(self) -> Counted: ...  # noqa: D102

    def pages(self, window: Window) -> Iterator[list[Content]]:
        """List a window page by page; it is listed to its end when the iterator ends without an error.

        Raises:
            Permanent: of which the policy says what to do: list the window again, clamp it to the horizon, or give up.
            Transient: the service fails; what was listed so far is good.
        """
        ...

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a content's body, inflated and whole.

        Args:
            content: as listed.
            reserve: told the announced length and whether it is compressed, before the body is read.
        """
        ...

    def content_uri(self, content_id: str) -> str:
        """Where a content is fetched unless its listing said otherwise."""
        ...
