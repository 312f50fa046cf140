"""Fill a batch from the outbox, across contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.publish.outbox import K, Load, Outbox, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.publish.sink import Batch

CHUNK = 64
"""Events taken from the outbox at a time, so that several connections share a large content."""


def fill(
    load: Load[K], batch: Batch, outbox: Outbox[K], *, most: int, linger: Callable[[], float]
) -> int | None:
    """Move events from the outbox into a batch until it is full or nothing more comes for a moment.

    Args:
        load: what is in hand; it grows in place, and holds what the batch holds in the end.
        batch: an empty one.
        outbox: where events wait.
        most: events in the batch.
        linger: seconds to wait, once, for more of them; asked under the outbox's lock.

    Returns:
        The sum of their bodies in bytes; None where not even the empty batch holds the first event, which alone is in
        hand then.
    """
    size = 0
    lingered = False
    while True:
        with outbox.lock:
            chunk = outbox.take(min(CHUNK, most - count(load)))
            load += chunk
            if not chunk:
                seconds = 0.0 if lingered or not load else linger()
                if not seconds:
                    return size
                outbox.lock.wait(seconds)
                lingered = True
        for position, piece in enumerate(chunk):
            taken = batch.take(piece.parcel, piece.start, piece.stop)
            head, rest = piece.cut(taken)
            size += sum(each.size for each in head)
            if rest:
                return size if _keep(load, head, rest + chunk[position + 1 :], outbox) else None
        if count(load) >= most:
            return size


def _keep(load: Load[K], head: Load[K], rest: Load[K], outbox: Outbox[K]) -> bool:
    """Of the pieces that were taken last keep ``head`` alone; False where that, and all in hand, is nothing."""
    del load[len(load) - len(rest) :]
    load += head
    if load:
        outbox.give_back(rest)
        return True
    one, more = rest[0].cut(1)
    load += one
    outbox.give_back(more + rest[1:])
    return False
