"""What a listing names and a run fetches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


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
