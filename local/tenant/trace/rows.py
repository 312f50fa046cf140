"""One row of a simulated message trace: a message and one of its recipients, and what it turns into.

A row has phases: from when on which status stands in it. It is visible from its first phase on.
Times are whole milliseconds since 1970, as the service has no finer ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# What a client knows that does not ask for unknown statuses.
KNOWN = (
    *("gettingStatus", "pending", "failed", "delivered"),
    *("expanded", "quarantined", "filteredAsSpam"),
)
MAX_PHASES = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Triple(NamedTuple):
    """What one event of a message trace is known by."""

    id: str
    recipient: str | None
    status: str


@dataclass(eq=False, slots=True)
class Row:
    """One row; ``phases`` are (visible from, status), in the order of time.

    ``uid`` tells rows apart, also those that are the same for a client. ``details`` is ``there``,
    ``empty`` or ``missing``.
    """

    uid: int
    received: int
    trace_id: str
    sender: str | None
    recipient: str | None
    message_id: str | None
    subject: str | None
    from_ip: str | None
    to_ip: str | None
    size: int
    phases: tuple[tuple[int, str], ...]
    details: str = "there"

    def phase_at(self, now: int) -> int:
        """Which phase stands at a time; -1 before the row is visible."""
        phases = self.phases
        for index in range(len(phases) - 1, -1, -1):
            if phases[index][0] <= now:
                return index
        return -1

    def triple(self, phase: int) -> Triple:
        """What the row is known by in a phase."""
        return Triple(self.trace_id, self.recipient, self.phases[phase][1])

    @property
    def key(self) -> tuple[int, int]:
        """Its place in the order, oldest first."""
        return self.received, self.uid


def graph_row(row: Row, status: str) -> dict[str, str | int | None]:
    """The row with a status; ``msgspec.json.encode`` gives the bytes that stand in a page."""
    return {
        "id": row.trace_id,
        "senderAddress": row.sender,
        "recipientAddress": row.recipient,
        "messageId": row.message_id,
        "receivedDateTime": stamp(row.received),
        "subject": row.subject,
        "status": status,
        "fromIP": row.from_ip,
        "toIP": row.to_ip,
        "size": row.size,
    }


def stamp(ms: int) -> str:
    """A time as Graph writes it: UTC with ``Z``, and no more digits of the second than needed."""
    text = f"{moment(ms):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{ms % 1000:03d}".rstrip("0") + "Z" if ms % 1000 else text + "Z"


def millis(moment: datetime) -> int:
    """A time in whole milliseconds."""
    return (moment - EPOCH) // _MS


def moment(ms: int) -> datetime:
    """The time that whole milliseconds stand for."""
    return EPOCH + timedelta(milliseconds=ms)
