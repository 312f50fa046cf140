"""The link of a publisher: `<hub>` or `<hub>/Partitions/<id>`.

A publication is stored whole or not at all, and stored before it is acknowledged; the faults
here are the ways in which that goes wrong between a publisher and the service.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from local.eventhubs.faults import Fault
from local.eventhubs.frames import (
    ACCEPTED,
    MODIFIED,
    RELEASED,
    Attach,
    Performative,
    error,
    rejected,
)
from local.eventhubs.hub import Hub, Partition
from local.eventhubs.message import split_publication
from local.eventhubs.session import Delivery, Link, Session

SERVER_BUSY: Final = "com.microsoft:server-busy"
SERVER_BUSY_TEXT: Final = (
    "The request was terminated because the entity is being throttled. Error code: 50002. "
    "Please wait 4 seconds and try again."
)


class PublisherLink(Link):
    """Takes publications into a hub, or into one partition of it."""

    def __init__(
        self,
        session: Session,
        attach: Attach,
        address: str,
        hub: Hub,
        partition: Partition | None,
        *,
        gives_credit: bool,
    ) -> None:
        super().__init__(session, attach, address)
        self._hub = hub
        self._partition = partition
        self._gives_credit = gives_credit
        self._namespace = session.wire.namespace

    def opened(self) -> None:
        """Let the client send."""
        if self._gives_credit:
            self.session.flow(self)

    def first_frame(self) -> bool:
        """Cut the connection in the middle of the message, when a fault says so."""
        if self._fault(mid_message=True) is None:
            return True
        self.session.wire.drop()
        return False

    def received(self, delivery: Delivery) -> None:
        """Store a publication and acknowledge it."""
        stats = self._namespace.stats
        stats.transfers += 1
        if not self._gives_credit:  # the SDK sends all the same
            self.session.detach(self, "amqp:link:transfer-limit-exceeded", "The link has no credit")
            return
        fault = self._fault(mid_message=False)
        if fault is not None and self._fails_unstored(delivery, fault):
            return
        size = len(delivery.payload)
        if size > self._namespace.max_message_bytes:
            self.session.detach(
                self,
                "amqp:link:message-size-exceeded",
                f"The received message (size:{size} bytes) exceeds the limit "
                f"({self._namespace.max_message_bytes} bytes).",
            )
            return
        publication = split_publication(delivery.payload, delivery.message_format)
        if not self._namespace.throughput.admit(size, len(publication.messages)):
            stats.throttled += 1
            self.session.settle(delivery, rejected(SERVER_BUSY, SERVER_BUSY_TEXT))
            return
        (self._partition or self._hub.route(publication.partition_key)).append(publication)
        stats.events += len(publication.messages)
        stats.bytes += size
        self._acknowledge(delivery, fault)

    def _fault(self, *, mid_message: bool) -> Fault | None:
        fault = self._namespace.faults.take(
            "publish",
            hub=self._hub.name,
            partition=self._partition.id if self._partition else None,
            mid_message=mid_message,
        )
        if fault is not None:
            self._namespace.stats.faults += 1
        return fault

    def _fails_unstored(self, delivery: Delivery, fault: Fault) -> bool:
        """Act out a fault that keeps the publication from being stored; False if it is not one."""
        session = self.session
        condition, description = fault.error
        match fault.action:
            case "reject":
                self._namespace.stats.rejected += 1
                session.settle(delivery, rejected(condition, description))
            case "release":
                session.settle(delivery, RELEASED)
            case "modify":
                session.settle(delivery, MODIFIED)
            case "detach":
                session.detach(self, condition, description)
            case "end":
                session.send(Performative.END, [error(condition, description)])
                session.end()
            case "close":
                session.wire.close_with(condition, description)
            case "drop":
                session.wire.drop()
            case _:
                return False
        return True

    def _acknowledge(self, delivery: Delivery, fault: Fault | None) -> None:
        """Answer for what is stored, late or not at all when a fault says so."""
        delay_s = self._namespace.latency_s
        match fault.action if fault else None:
            case "ack_lost":
                self.session.wire.drop()
                return
            case "no_ack":
                return
            case "hold":
                self._namespace.held.add(partial(self._accept, delivery))
                return
            case "delay" if fault:
                delay_s = fault.delay
        if delay_s:
            self.session.wire.later(delay_s, self._accept, delivery)
        else:
            self._accept(delivery)

    def _accept(self, delivery: Delivery) -> None:
        self._namespace.stats.accepted += 1
        self.session.settle(delivery, ACCEPTED)
