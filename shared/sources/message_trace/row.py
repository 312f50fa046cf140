"""A row of the message trace, whichever service it comes from.

A row says what became of one message for one recipient, and changes while the message is on its way. So what makes a
row one event is (id, recipient, status): seven recipients are seven rows, pending and then delivered are two, the same
row listed again is none. Contract: Microsoft Graph "List messageTraces" and, for the retired service, "MessageTrace
report" of the Reporting Web Service.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.rows.row import DIGEST_BYTES, Asked, Row, digest_of_bytes

if TYPE_CHECKING:
    from datetime import datetime

SOURCE = "MessageTrace"

MALFORMED = "malformed:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow(Row):
    """One row of the trace.

    Its ``id`` is the service's id of the message, or ``malformed:<digest>`` where the row is no object or has none. Its
    digest is that of ``digest_of``, or of its bytes where it is malformed. What changes of it is its status.

    Attributes:
        recipient: as on the wire, "" where it is missing.
        status: as on the wire, whatever it is; "" where it is missing.
    """

    recipient: str
    status: str


def digest_of(row_id: str, recipient: str | None, status: str | None) -> bytes:
    """The key of a row: blake2b-128 of (id, recipient, status); letter case does not matter, null is not empty."""
    to = "\x00" if recipient is None else recipient
    state = "\x00" if status is None else status
    text = f"{row_id}\x1f{to}\x1f{state}".lower().encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def row_of(
    raw: bytes,
    asked: Asked,
    *,
    row_id: object,
    recipient: object,
    status: object,
    received: datetime | None,
    lasting: bytes | None = None,
) -> tuple[TraceRow, datetime | None]:
    """A row from its fields as they came, and its time where that can be read and lies in what was asked for.

    Args:
        raw: its bytes.
        asked: what was asked for.
        row_id: a text; the row is malformed where it is none.
        recipient: a text or nothing.
        status: a text or nothing.
        received: its time; None where it has none that can be read.
        lasting: what of its bytes does not depend on what was asked; None: all.
    """
    at, moment = asked.place(received)
    to, state = _text(recipient), _text(status)
    if isinstance(row_id, str) and row_id:
        name, digest = row_id, digest_of(row_id, to, state)
    else:
        digest = digest_of_bytes(raw if lasting is None else lasting)
        name = f"{MALFORMED}{digest.hex()}"
    row = TraceRow(
        raw=raw,
        id=name,
        recipient=to or "",
        status=state or "",
        received=at,
        digest=digest,
        lasting=(name, to or ""),
    )
    return row, moment


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
