"""Where events go: the seam between the publisher and Event Hubs (or a file).

A sink hands out senders; a sender is used by one thread at a time and may be abandoned at any moment. ``send``
returns only when the whole batch is acknowledged; everything else is an error, after which the batch may or may not
have been stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass

MAX_EVENT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event: a record's bytes and the application properties that travel with them."""

    body: bytes
    properties: dict[str, str]


class Batch(Protocol):
    """Events that are sent and acknowledged together."""

    def add(self, event: Event) -> bool:
        """Add an event; False where it does not fit."""
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
    """Makes senders and keeps idle ones for the next run."""

    name: str

    def borrow(self) -> Sender:
        """An idle sender, or a new one."""
        ...

    def give_back(self, sender: Sender) -> None:
        """Keep a healthy sender for later."""
        ...
