"""Message trace as the collector sees it: rows of a listing, whichever service they come from.

A row says what became of one message for one recipient, and changes while the message is on its way. So what makes a
row one event is (id, recipient, status): seven recipients are seven rows, pending and then delivered are two, the same
row listed again is none. Contract: Microsoft Graph "List messageTraces" and, for the retired service, "MessageTrace
report" of the Reporting Web Service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from shared.contents.content import Content
from shared.service.asking import Asker
from shared.times import Window

SOURCE = "MessageTrace"

MALFORMED = "malformed:"

WINDOW_TOO_OLD = "window-too-old"
"""Code of the ``Permanent`` for a window whose start the service no longer answers for."""

PAGING = "paging"
"""Code of the ``Transient`` for a window whose pages the service does not let us follow to their end."""

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the trace.

    Attributes:
        raw: its own bytes where the service sends JSON, else a JSON object made of its fields.
        id: the service's id of the message; ``malformed:<digest>`` where the row is no object or has none.
        recipient: as on the wire, "" where it is missing.
        status: as on the wire, whatever it is; "" where it is missing.
        received: UTC, cut to the millisecond, and always inside the window that was asked for, both ends included: the
            nearest end where it is not, the start where the row has no time.
        digest: 16 bytes, the key of the row; see ``digest_of``. Of ``raw`` where the row is malformed.
    """

    raw: bytes
    id: str
    recipient: str
    status: str
    received: datetime
    digest: bytes


def digest_of(row_id: str, recipient: str | None, status: str | None) -> bytes:
    """The key of a row: blake2b-128 of (id, recipient, status); letter case does not matter, null is not empty."""
    to = "\x00" if recipient is None else recipient
    state = "\x00" if status is None else status
    text = f"{row_id}\x1f{to}\x1f{state}".lower().encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def digest_of_bytes(raw: bytes) -> bytes:
    """The key of a row that cannot be understood: blake2b-128 of its bytes."""
    return hashlib.blake2b(raw, digest_size=DIGEST_BYTES).digest()


def row_of(
    raw: bytes,
    window: Window,
    *,
    row_id: object,
    recipient: object,
    status: object,
    received: object,
) -> tuple[Row, datetime | None]:
    """A row from its fields as they came, and its time where that can be read and lies inside the window.

    Args:
        raw: its bytes.
        window: that was asked for.
        row_id: a text; the row is malformed where it is none.
        recipient: a text or nothing.
        status: a text or nothing.
        received: a datetime, or what is none.
    """
    moment = received if isinstance(received, datetime) else None
    # Services filter by the millisecond, some write more digits: a row of the window's last one still lies in it.
    at = window.start if moment is None else whole_ms(moment)
    if not window.start <= at <= window.end:
        at, moment = min(max(at, window.start), window.end), None
    to, state = _text(recipient), _text(status)
    if isinstance(row_id, str) and row_id:
        name, digest = row_id, digest_of(row_id, to, state)
    else:
        digest = digest_of_bytes(raw)
        name = f"{MALFORMED}{digest.hex()}"
    row = Row(
        raw=raw,
        id=name,
        recipient=to or "",
        status=state or "",
        received=at,
        digest=digest,
    )
    return row, moment


def whole_ms(moment: datetime) -> datetime:
    """Cut to the millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


class TraceApi(Protocol):
    """One tenant's message trace.

    Attributes:
        max_width: the widest window that may be asked for.
        horizon: how far back a window may start, measured from the service's now.
        asker: asks it, and counts.
    """

    @property
    def max_width(self) -> timedelta: ...  # noqa: D102

    @property
    def horizon(self) -> timedelta: ...  # noqa: D102

    @property
    def asker(self) -> Asker: ...  # noqa: D102

    def pages(self, window: Window) -> Iterator[list[Row]]:
        """List the rows received in a window, both ends included, newest first, page by page.

        A row is handed out at most once in a call. The listing is complete when the iterator ends without an error,
        and only then; what was handed out before an error is good.

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

    def details_uri(self, row: Row) -> str | None:
        """Where the details of a row are fetched; None where this service has none, or the row is malformed."""
        ...

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch the details behind ``content.uri``: a JSON array, as a content's body is.

        Args:
            content: with the ``uri`` that ``details_uri`` gave.
            reserve: told the announced length and whether it is compressed, before the body is read.
        """
        ...
