"""The rows of a simulated message trace: a message and one of its recipients, and what it turns into.

A row has phases: from when on which status stands in it. It is visible from its first phase on.
Times are whole milliseconds since 1970, as the service has no finer ones.

Rows are written from the seed, an hour of ``receivedDateTime`` at a time. The same seed, spec and
beginning give the same rows, whatever is asked first: an hour is written again when it is asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from local.tenant.records import SAMPLES, UPNS

if TYPE_CHECKING:
    from local.tenant.spec import TraceSpec

# What a client knows that does not ask for unknown statuses.
KNOWN = {"gettingStatus", "pending", "failed", "delivered", "expanded", "quarantined"}
KNOWN |= {"filteredAsSpam"}
MAX_PHASES = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
HOUR = 3_600_000
# Nothing of the history is younger, so that a first run has a settled past.
SETTLED = 180_000
ORDINALS = 24
"""Bits of a uid that number the rows of an hour; the hour stands before them."""
PLACED = 1 << 60
"""The first uid of the rows that a test placed."""

_SENDERS = tuple(
    f"{name}@sender{number}.example" for number in range(40) for name in ("news", "ap")
)
_SAMPLES = json.loads((SAMPLES / "trace.json").read_text("utf-8"))
_SUBJECTS: list[str] = _SAMPLES["subjects"]
# What a row of the real service may have, and what has broken clients.
_ODD: list[dict[str, str | None]] = _SAMPLES["odd"]
_FINAL = (
    *("delivered",) * 84 + ("filteredAsSpam",) * 5 + ("failed",) * 4,
    *("quarantined",) * 3 + ("expanded",) * 4,
)


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
        for index in range(len(self.phases) - 1, -1, -1):
            if self.phases[index][0] <= now:
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


def utc_time(text: str) -> datetime:
    """A time as ISO 8601, which is UTC where it names no zone."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def moment(ms: int) -> datetime:
    """The time that whole milliseconds stand for."""
    return EPOCH + timedelta(milliseconds=ms)


@dataclass(frozen=True)
class _Stretch:
    """A stretch of time in which rows come evenly: ``begin`` to ``end``, ``gap`` ms apart."""

    begin: float
    end: float
    gap: float

    def before(self, ms: int) -> int:
        """How many of its rows were received before a time."""
        return int((min(max(ms, self.begin), self.end) - self.begin) / self.gap + 1e-6)


class Writer:
    """Writes the rows of one tenant, whose history ends at ``started``."""

    def __init__(self, seed: int, spec: TraceSpec, started: int) -> None:
        self._seed = seed
        self._spec = spec
        self._started = started
        self._stretches: list[_Stretch] = []
        span = spec.days * 24 * HOUR - SETTLED
        if spec.rows and span > 0:
            end = started - SETTLED
            self._stretches.append(_Stretch(end - span, end, span / spec.rows))
        if spec.rate:
            self._stretches.append(_Stretch(started, float("inf"), 60_000 / spec.rate))

    @property
    def first_hour(self) -> int:
        """The first hour that has rows."""
        return min((int(one.begin // HOUR) for one in self._stretches), default=0)

    def last_hour(self, now: int) -> int:
        """The last hour that has rows by now; before the first when there are none."""
        return max((int(min(one.end, now) // HOUR) for one in self._stretches), default=-1)

    def hour(self, hour: int) -> list[Row]:
        """All rows of an hour since 1970, also those not visible yet, oldest first."""
        draw = Random(f"{self._seed} trace {hour}")
        rows: list[Row] = []
        for stretch in self._stretches:
            first, behind = stretch.before(hour * HOUR), stretch.before((hour + 1) * HOUR)
            self._write(rows, stretch, first, behind, hour, draw)
        return rows

    def _write(
        self, rows: list[Row], stretch: _Stretch, index: int, behind: int, hour: int, draw: Random
    ) -> None:
        spec, random = self._spec, draw.random
        earliest, latest = hour * HOUR, (hour + 1) * HOUR - 1
        while index < behind:
            at = int(stretch.begin + (index + random()) * stretch.gap)
            received = min(max(at, earliest), latest)
            count = min(1 + int(random() * (2 * spec.recipients - 1)), behind - index)
            self._message(rows, hour, received, count, draw)
            index += count
            if spec.duplicates and index < behind and random() < spec.duplicates * count:
                twin = rows[-1 - int(random() * count)]
                rows.append(replace(twin, uid=(hour << ORDINALS) | len(rows)))
                index += 1

    def _message(
        self, rows: list[Row], hour: int, received: int, recipients: int, draw: Random
    ) -> None:
        """Append a message's rows; its id says where they stand."""
        spec, random, ordinal = self._spec, draw.random, len(rows)
        bits = draw.getrandbits(64)
        text = f"{bits:016x}"
        inbound = bits % 3 != 0
        trace_id = f"{text[:8]}-{text[8:12]}-4{text[12:15]}-8{text[1:4]}-{hour:06x}{ordinal:06x}"
        message_id = f"<{text}.{ordinal}@DB9PR04MB{bits % 9000 + 1000}.eurprd04.prod.outlook.com>"
        ip = bits % 254 + 1
        for number in range(recipients):
            row = Row(
                uid=(hour << ORDINALS) | len(rows),
                received=received,
                trace_id=trace_id,
                sender=_SENDERS[bits % len(_SENDERS)] if inbound else UPNS[bits % len(UPNS)],
                recipient=UPNS[(bits + 7 * number) % len(UPNS)],
                message_id=message_id,
                subject=_SUBJECTS[bits % len(_SUBJECTS)],
                from_ip=f"203.0.113.{ip}" if inbound else f"198.51.100.{ip}",
                to_ip="" if inbound else f"192.0.2.{ip}",
                size=bits % 400_000 + 2000,
                phases=self._phases(received, draw),
            )
            if spec.odd and random() < spec.odd:
                for name, value in _ODD[int(random() * len(_ODD))].items():
                    setattr(row, name, value)
            if spec.details_missing and random() < spec.details_missing:
                row.details = "missing"
            rows.append(row)

    def _phases(self, received: int, draw: Random) -> tuple[tuple[int, str], ...]:
        spec, random = self._spec, draw.random
        if spec.late and random() < spec.late:
            delay = spec.late_after_s[int(random() * len(spec.late_after_s))]
        else:
            delay = random() * spec.latency_s
        visible = received + int(delay * 1000)
        final = _FINAL[int(random() * len(_FINAL))]
        phases = [(visible, final)]
        if spec.changing and random() < spec.changing:
            first = "gettingStatus" if random() < 0.2 else "pending"
            phases = [(visible, first), (visible + self._change(draw), final)]
        if spec.recalled and final == "delivered" and random() < spec.recalled:
            phases.append((phases[-1][0] + self._change(draw), "recalled"))
        return tuple(phases)

    def _change(self, draw: Random) -> int:
        return 1 + int((0.1 + 0.9 * draw.random()) * self._spec.changes_after_s * 1000)


def block_of(uid: int) -> int:
    """The hour of a row of the seed; of the placed ones a number beyond all hours."""
    return uid >> ORDINALS


def may_hold(block: int, low: float, high: float) -> bool:
    """Whether rows of a block can be received in ``low`` to ``high`` (ms)."""
    return block_of(PLACED) <= block or (low < (block + 1) * HOUR and block * HOUR <= high)


def place_of(trace_id: str) -> tuple[int, int] | None:
    """The hour and the number in it of a message that was written from the seed."""
    try:
        place = trace_id.split("-")[4]
        return int(place[:6], 16), int(place[6:], 16)
    except (IndexError, ValueError):
        return None
