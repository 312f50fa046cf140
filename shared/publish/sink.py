"""Where events go: the seam between the publisher and Event Hubs (or a file).

A sink knows how batches are filled, sent and acknowledged. It knows nothing of contents, of the ledger or of sources.

It hands out senders; a sender is used by one thread at a time and may be abandoned at any moment. ``send``
returns only when the whole batch is acknowledged; everything else is an error, after which the batch may or may not
have been stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.publish.format import Parcel


class Batch(Protocol):
    """Events that are sent and acknowledged together."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        """Add events of a parcel, one after the other, from ``start`` to before ``stop``.

        Returns:
            How many fit. It is full once that is less than was offered; an empty one that takes none never will.
        """
        ...


class Sender(Protocol):
    """A connection to the sink."""

    def new_batch(self) -> Batch:
        """An empty batch; connects where there is no connection yet."""
        ...

    def send(self, batch: Batch) -> None:
        """Send a batch and wait for its acknowledgement.

        Raises:
            SinkError: it was not acknowledged.
        """
        ...

    def cut(self) -> None:
        """Cut the connection under a call that hangs, so that the call comes to an end."""
        ...

    def close(self) -> None:
        """Close the connection; may hang, so it is called from a thread that nobody waits for."""
        ...


class Sink(Protocol):
    """Makes senders and keeps idle ones for the next run.

    Attributes:
        name: of the hub or the file.
        remark: what makes it unusually slow, for the rows of runs; "" mostly.
    """

    name: str
    remark: str

    def borrow(self) -> Sender:
        """An idle sender, or a new one."""
        ...

    def give_back(self, sender: Sender) -> None:
        """Keep a healthy sender for later."""
        ...

    def close(self) -> None:
        """Close what is kept."""
        ...
