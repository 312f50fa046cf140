"""Hand parcels to a sink and know, content by content, when all of their events are acknowledged.

A content is settled when all its events are acknowledged. Not before.

A batch counts once. A send that hangs is given up by a watchdog, since Event Hubs can lose an acknowledgement and some
outcomes hang the SDK for good. Its events go out on another connection. If the first one answers after all, the answer
counts for nothing.

A send whose fate is unknown is sent again: an event may come twice, none is lost. Without any acknowledgement for 60
seconds the run ends.

Tests: tests/publish/test_publisher.py and tests/faults/test_batches.py.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Generic

from shared import policy
from shared.errors import CollectorError, EventTooLarge, SinkBusy, SinkError, textless
from shared.publish.outbox import Delivery, K, Outbox, count
from shared.publish.pace import Sending
from shared.publish.watchdog import Slot, Watchdog
from shared.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.publish.format import Parcel
    from shared.publish.sink import Sink

logger = logging.getLogger("m365.publisher")

MAX_EVENTS = 1 << 20


class Publisher(Generic[K]):
    """Publishes the events of one feed's run.

    Args:
        sink: where to.
        on_settled: called once for each delivery that is complete, from a sending thread.
        claim_check: given the parcel and the place of an event that not even an empty batch holds. Returns what is sent
            instead once its bytes are safe, and raises otherwise.
        on_failed: told the error for which the publisher gave up.
        sending: what it may use.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        on_settled: Callable[[Delivery[K]], None],
        claim_check: Callable[[Parcel, int], Parcel],
        on_failed: Callable[[CollectorError], None] = lambda _: None,
        sending: Sending | None = None,
    ) -> None:
        sending, self._sink = sending or Sending(), sink
        self._claim_check = claim_check
        self._on_failed = on_failed
        self._pace = sending.pace
        self._abandoned = sending.abandoned
        self._patience = sending.patience
        self._max_abandoned = sending.max_abandoned
        self._senders = sending.senders
        self._outbox = Outbox(on_settled)
        self._lock = self._outbox.lock
        self._last_error: CollectorError | None = None
        self._closing = self._stopped = False
        self.error: CollectorError | None = None
        self._cap = MAX_EVENTS
        self.abandoned = self.batches = self.busy = 0
        self._slots: list[Slot[K]] = []
        self._watchdog: Watchdog[K] | None = None

    def publish(self, work: K, parcel: Parcel) -> None:
        """Hand over a stretch of a content; the content settles once its last one is in and all are acknowledged.

        Returns at once: memory is bounded by the caller's reservation.

        Raises:
            SinkError: nothing more is published.
            Throttled: the same, because the hub was busy all the time.
            ValueError: the stretch does not follow the one before.
        """
        with self._lock:
            if self.error is not None:
                raise self.error
            if self._stopped:
                raise policy.error("closed", detail="nothing more is published")
            self._start()
            done = self._outbox.put(work, parcel)
        if done is not None:
            self._outbox.report(done)

    def close(self, timeout: float) -> None:
        """Wait until everything is acknowledged, for at most ``timeout`` seconds, then stop sending.

        Raises:
            SinkError: events are left unacknowledged; their contents did not settle.
            Throttled: the same, because the hub was busy all the time.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            # What is acknowledged must also have been reported: the caller writes it down next.
            while time.monotonic() < deadline and (
                self._outbox.unreported or (self._outbox.outstanding and self.error is None)
            ):
                self._lock.wait(0.05)
            left = self._outbox.outstanding
            self._stopped = True
            hanging = [slot for slot in self._slots if slot.busy_since is not None]
            for slot in hanging:
                # What they still answer comes too late for this run and must credit nothing.
                slot.abandoned = True
                self._abandoned.add()
            self._lock.notify_all()
        for slot in hanging:
            self._discard(slot)
        if self.error is not None:
            raise self.error
        if left:
            raise policy.error("deadline", detail=f"{left} events were not yet acknowledged")

    # -- the sending threads

    def _start(self) -> None:
        if self._watchdog is None:
            self._watchdog = Watchdog(
                self._slots,
                self._outbox,
                self._patience,
                ended=self._ended,
                on_late=self._abandon,
                on_silent=self._give_up,
            )
            self._watchdog.start()
            for _ in range(self._senders):
                self._add_slot()

    def _add_slot(self) -> None:
        slot: Slot[K] = Slot()
        self._slots.append(slot)
        start_thread(lambda: self._run(slot), name="sender")

    def _run(self, slot: Slot[K]) -> None:
        try:
            while self._wait_for_events():
                try:
                    self._send_one(slot)
                except CollectorError as error:
                    self._failed(slot, error)
                if slot.abandoned:
                    return
        except Exception as error:
            # A dead sender must end the run, not hang it.
            self._fail(policy.error("internal", area=policy.Area.HUB, detail=type(error).__name__))
            logger.exception("a sending thread failed", exc_info=textless(error))
            # Nobody knows what state its connection is in.
            self._discard(slot)
        finally:
            if slot.abandoned:
                self._abandoned.ended()
                self._discard(slot)
            elif slot.sender is not None:
                self._sink.give_back(slot.sender)

    def _wait_for_events(self) -> bool:
        with self._lock:
            while not self._outbox:
                if self._stopped or self.error is not None:
                    return False
                self._lock.wait(0.5)
            return not self._stopped and self.error is None

    def _send_one(self, slot: Slot[K]) -> None:
        """Fill a batch and send it."""
        slot.busy_since = time.monotonic()
        try:
            if slot.sender is None:
                slot.sender = self._sink.borrow()
            batch = slot.sender.new_batch()
        finally:
            slot.busy_since = None
        if slot.abandoned:
            return
        size = self._outbox.fill(
            slot.load,
            batch,
            most=self._cap,
            linger=lambda: 0.0 if self._closing or self._stopped else self._patience.linger,
        )
        if size is None:
            self._set_aside(slot)
            return
        if not slot.load:
            return
        if (delay := self._pace.delay(size)) > 0:
            self._pause(delay)
        if not self._may_send(slot):
            return
        try:
            slot.sender.send(batch)
        finally:
            slot.busy_since = None
        self._credit(slot, size)

    def _may_send(self, slot: Slot[K]) -> bool:
        """Count the slot as sending; False once the run has ended, when nobody writes an acknowledgement down."""
        with self._lock:
            if self._stopped or self.error is not None:
                return False
            slot.busy_since = time.monotonic()
            return True

    def _set_aside(self, slot: Slot[K]) -> None:
        """Keep the one event in hand, which no batch can carry, and queue a pointer to it.

        Where its bytes cannot be kept, or not even the pointer is taken, its content fails and no other does.
        """
        (piece,), slot.keeping = slot.load, True
        try:
            if piece.pointer:
                raise policy.error("claim-check-refused", detail=f"{piece.size} bytes")
            found: Parcel | CollectorError = self._claim_check(piece.parcel, piece.start)
        except CollectorError as error:
            found = error
        finally:
            slot.keeping = False
        with self._lock:
            if slot.abandoned or self._stopped:
                return
            slot.load = []
            done = self._outbox.swap(piece, found)
        if done:
            self._outbox.report(piece.delivery)

    def _credit(self, slot: Slot[K], size: int) -> None:
        """The batch is acknowledged: subtract it from its contents, once."""
        with self._lock:
            if slot.abandoned or self._stopped:
                return
            load, slot.load = slot.load, []
            self.batches += 1
            self._last_error = None
            self._cap = min(MAX_EVENTS, self._cap * 2)
            settled = self._outbox.credit(load)
        self._pace.acknowledged(size)
        for delivery in settled:
            self._outbox.report(delivery)

    def _failed(self, slot: Slot[K], error: CollectorError) -> None:
        """A send failed: its events go back to the head of the queue, and we wait a little."""
        if isinstance(error, EventTooLarge) and self._outbox.is_refused(slot.load):
            self._discard(slot)
            self._set_aside(slot)
            return
        with self._lock:
            if slot.abandoned:
                return
            load, slot.load = slot.load, []
            self._outbox.give_back(load)
            self._last_error = error
            if isinstance(error, EventTooLarge):
                # The hub takes less than it announced: halve until it fits or one event is left.
                self._cap = max(1, count(load) // 2)
        if not isinstance(error, SinkError):
            self._fail(error)
            return
        if isinstance(error, SinkBusy):
            self.busy += 1
            self._pace.busy()
            pause = self._patience.busy
        else:
            pause = 0.0 if isinstance(error, EventTooLarge) else self._patience.error
            self._discard(slot)
        logger.info("%s; the batch is offered again", error.log)
        self._pause(pause * random.uniform(0.5, 1.5))  # noqa: S311

    def _discard(self, slot: Slot[K]) -> None:
        """Close a sender that failed, in a thread of its own since closing can hang."""
        sender, slot.sender = slot.sender, None
        if sender is not None:
            if slot.abandoned:
                sender.cut()
            start_thread(sender.close, name="closer")

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._lock:
            while not self._stopped and self.error is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._lock.wait(left)

    def _fail(self, error: CollectorError) -> None:
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            self._lock.notify_all()
        self._on_failed(error)

    # -- the watchdog

    def _ended(self) -> bool:
        busy = any(slot.busy_since is not None and not slot.abandoned for slot in self._slots)
        return self.error is not None or (self._stopped and not busy)

    def _abandon(self, slot: Slot[K]) -> None:
        """Take the events away from a send that hangs and let another connection send them."""
        with self._lock:
            if slot.busy_since is None or slot.abandoned:
                return
            slot.abandoned = True
            load, slot.load = slot.load, []
            self._outbox.give_back(load)
            self._slots.remove(slot)
            self._last_error = policy.error("send-abandoned", detail="no answer in time")
            hanging = self._abandoned.add()
            self.abandoned += 1
            if not self._stopped:
                self._add_slot()
            self._lock.notify_all()
        logger.warning("a send of %d events hangs; it is abandoned and repeated", count(load))
        self._discard(slot)
        if max(hanging, self.abandoned) > self._max_abandoned:
            self._fail(
                policy.error(
                    "send-abandoned",
                    detail=f"{self.abandoned} sends to Event Hubs hung in this run, "
                    f"{hanging} still hang in this process",
                )
            )

    def _give_up(self) -> None:
        seconds = self._patience.no_acknowledgement
        last = self._last_error
        if isinstance(last, SinkBusy):
            self._fail(policy.error("sink-throttled", detail=f"for {seconds:.0f} s"))
            return
        silence = policy.error("no-acknowledgement", detail=f"for {seconds:.0f} s")
        # The last failure says more than the silence that came of it.
        self._fail(last if last and last.code else silence)
