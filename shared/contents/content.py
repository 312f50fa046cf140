"""What a listing names and a run fetches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date, datetime

    from shared.times import Window


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
    expires: str
    day: date
    dated: bool = True
    malformed: bytes = b""


class ContentApi(Protocol):
    """What one source offers of one tenant: contents that are listed, and fetched one by one."""

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

    def read_entry(self, raw: bytes, start: datetime) -> Content:
        """Understand one entry of a listing.

        Args:
            raw: its bytes.
            start: the start of the window it was listed in, whose day it belongs to where it names no good one.
        """
        ...

    def horizon(self) -> datetime:
        """The oldest start of a window that may be asked for now."""
        ...
