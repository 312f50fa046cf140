"""What watches over sends: one that hangs is late, and a hub that acknowledges nothing is silent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from shared.publish.outbox import K, Load, Outbox
from shared.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.publish.pace import Patience
    from shared.publish.sink import Sender


@dataclass(eq=False)
class Slot(Generic[K]):
    """One sending thread and what it has in hand.

    Attributes:
        busy_since: since when it is inside a call of the sink that may hang, monotonic seconds.
        keeping: whether it writes an event to storage, which has time limits of its own.
        abandoned: whether nobody waits for it any more; what it still brings counts for nothing.
    """

    load: Load[K] = field(default_factory=list)
    sender: Sender | None = None
    busy_since: float | None = None
    keeping: bool = False
    abandoned: bool = False


class Watchdog(Generic[K]):
    """Looks at the slots of a publisher now and then, from a thread of its own.

    Args:
        slots: of the publisher; guarded by the outbox's lock.
        outbox: since when events wait.
        patience: how long a call may take, and the hub be silent.
        ended: whether there is nothing left to watch.
        on_late: given a slot whose call takes too long.
        on_silent: called where nothing was acknowledged for too long.
    """

    def __init__(
        self,
        slots: list[Slot[K]],
        outbox: Outbox[K],
        patience: Patience,
        *,
        ended: Callable[[], bool],
        on_late: Callable[[Slot[K]], None],
        on_silent: Callable[[], None],
    ) -> None:
        self._slots = slots
        self._outbox = outbox
        self._patience = patience
        self._ended = ended
        self._on_late = on_late
        self._on_silent = on_silent

    def start(self) -> None:
        """Begin to watch."""
        start_thread(self._watch, name="watchdog")

    def _watch(self) -> None:
        patience, outbox = self._patience, self._outbox
        interval = min(0.5, patience.watchdog / 4, patience.no_acknowledgement / 4)
        while True:
            with outbox.lock:
                outbox.lock.wait(interval)
                if self._ended():
                    return
                now = time.monotonic()
                late = [slot for slot in self._slots if self._is_late(slot, now)]
                since = outbox.waiting_since
                silent = since is not None and now - since > patience.no_acknowledgement
                silent = silent and not any(slot.keeping for slot in self._slots)
            for slot in late:
                self._on_late(slot)
            if silent:
                self._on_silent()

    def _is_late(self, slot: Slot[K], now: float) -> bool:
        busy = slot.busy_since is not None and now - slot.busy_since > self._patience.watchdog
        return busy and not slot.abandoned
