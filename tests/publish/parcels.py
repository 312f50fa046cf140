"""Parcels for tests of what publishes them."""

from __future__ import annotations

from shared.publish.format import Parcel


def parcel(*bodies: bytes, first: int = 0, last: bool = True, **shared: str) -> Parcel:
    """A stretch of raw events with made-up ids and the given properties."""
    return Parcel(
        bodies=bodies,
        records=bodies,
        ids=[f"event-{first + number}" for number in range(len(bodies))],
        shared=shared,
        columns={},
        first=first,
        count=len(bodies),
        last=last,
    )
