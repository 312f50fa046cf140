"""Which contents a tenant of the benchmark has, as a rule that the tenant and the ledger's prefill both follow.

Contents lie at equal distances on a grid of whole milliseconds, and ids follow from the time, so that any two stretches
of one grid agree about what they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=7)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One content: where it lies and what it is known by."""

    source: str
    content_id: str
    created: datetime

    @property
    def created_text(self) -> str:
        """``contentCreated`` as on the wire."""
        return _stamp(self.created)

    @property
    def expires_text(self) -> str:
        """``contentExpiration`` as on the wire."""
        return _stamp(self.created + LIFE)


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of one source, on a grid: ``start``, then every ``every_ms``, as long as ``end`` is not reached."""

    source: str
    start: datetime
    end: datetime
    every_ms: int
    records: int = 1

    def placed(self) -> Iterator[Placed]:
        """Each content, oldest first."""
        name, step = self.source.replace(".", "_"), self.every_ms * _MILLISECOND
        created = self.start
        while created < self.end:
            stamp = f"{created:%Y%m%d%H%M%S}{created.microsecond // 1000:03d}"
            content_id = f"{stamp}${stamp}${name.lower()}${name}$emea0001"
            yield Placed(source=self.source, content_id=content_id, created=created)
            created += step


class TenantOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's process is told.

    Attributes:
        spec: fields of a ``TenantSpec``; it has no contents of its own.
        now: what the tenant's clock shows when it starts.
        stretches: its contents.
        certs: directory with the rig's certificates.
    """

    spec: dict[str, Any]
    now: datetime
    stretches: list[Stretch]
    certs: str


def spread(source: str, start: datetime, end: datetime, contents: int, records: int) -> Stretch:
    """Exactly so many contents, spread evenly over a range."""
    every_ms = int((end - start) / _MILLISECOND) // contents
    return Stretch(
        source=source,
        start=start,
        end=start + contents * every_ms * _MILLISECOND,
        every_ms=every_ms,
        records=records,
    )


def daily(source: str, start: datetime, end: datetime, per_day: int) -> Stretch:
    """What a source with so many contents a day has in a range; its grid is the same for every range."""
    step = (DAY // per_day // _MILLISECOND) * _MILLISECOND
    first = EPOCH - (EPOCH - start) // step * step
    return Stretch(source=source, start=first, end=end, every_ms=step // _MILLISECOND)


def union(ranges: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """The same instants in ranges that do not overlap."""
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
