"""The links of publishers and readers, and which link a client gets.

A publisher's link is `<hub>` or `<hub>/Partitions/<id>`. A publication is stored whole or not at
all, and stored before it is acknowledged; the faults here are the ways in which that goes wrong
between a publisher and the service.

A reader's link is `<hub>/ConsumerGroups/<group>/Partitions/<id>`. Events are sent from the
position the client asks for, as far as its credit goes, and new ones as they are stored. A reader
with an owner level (an epoch) ends the readers of its group with a lower one, or with none, and is
itself refused where there is a higher one.

A client that has put no valid token, or names a hub or partition that does not exist, is refused
with the condition the service uses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from local.eventhubs import frames
from local.eventhubs.message import split_publication
from local.eventhubs.nodes import ReplyLink, RequestLink
from local.eventhubs.session import Attach, Link, Session

if TYPE_CHECKING:
    from local.eventhubs.faults import Fault
    from local.eventhubs.hub import Hub, Partition

NODES: Final = frozenset({"$cbs", "$management"})
"""The request nodes, which anyone may open and faults leave alone."""
SERVER_BUSY: Final = "com.microsoft:server-busy"
_SERVER_BUSY_TEXT: Final = (
    "The request was terminated because the entity is being throttled. Error code: 50002. "
    "Please wait 4 seconds and try again."
)
_STOLEN: Final = "amqp:link:stolen"
_SETTLED: Final = 1


class Refused(Exception):
    """A link is not opened; the text is for the client."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition


def link_for(session: Session, attach: Attach, fault: Fault | None) -> Link:
    """Make the link a client asks for, without opening it; Refused where it may not have it."""
    if attach.address in NODES:
        return (ReplyLink if attach.client_receives else RequestLink)(session, attach)
    if not session.wire.authorized:
        what = "Unauthorized access. 'Send' or 'Listen' claim(s) are required."
        raise Refused("amqp:unauthorized-access", what)
    if fault is not None and fault.action == "refuse":
        raise Refused(*fault.error)
    hub = session.wire.namespace.hubs.get(attach.hub)
    if hub is None:
        what = f"The messaging entity '{attach.hub}' could not be found."
        raise Refused("amqp:not-found", what)
    if not attach.client_receives:
        return _Publisher(session, attach, hub, fault)
    if attach.partition is None:
        what = f"'{attach.address}' names no partition to read from."
        raise Refused("amqp:not-allowed", what)
    try:
        return Reader(session, attach, _partition(hub, attach.partition))
    except ValueError as problem:
        raise Refused("amqp:invalid-field", str(problem)) from problem


def _partition(hub: Hub, number: str) -> Partition:
    try:
        return hub.partition(number)
    except KeyError:
        what = "The specified partition is invalid for an EventHub partition sender or receiver"
        raise Refused("com.microsoft:argument-out-of-range", f"{what}: {number}") from None


class _Publisher(Link):
    """Takes publications into a hub, or into one partition of it."""

    def __init__(self, session: Session, attach: Attach, hub: Hub, fault: Fault | None) -> None:
        super().__init__(session, attach)
        self._hub = hub
        self._partition = None if attach.partition is None else _partition(hub, attach.partition)
        self._gives_credit = fault is None

    def opened(self) -> None:
        if self._gives_credit:
            self.session.flow(self)

    def begun(self) -> None:
        if self._fault(mid_message=True) is not None:
            self.session.wire.abort()

    def received(self, transfer: frames.Frame, payload: bytes) -> None:
        stats = self.namespace.stats
        stats.transfers += 1
        if not self._gives_credit:  # the SDK sends all the same
            self.session.detach(self, "amqp:link:transfer-limit-exceeded", "The link has no credit")
            return
        fault = self._fault(mid_message=False)
        if fault is not None and self._fails_unstored(transfer, fault):
            return
        size, most = len(payload), self.namespace.max_message_bytes
        if size > most:
            what = f"The received message (size:{size} bytes) exceeds the limit ({most} bytes)."
            self.session.detach(self, "amqp:link:message-size-exceeded", what)
            return
        publication = split_publication(payload, transfer.field(3, 0))
        if not self.namespace.throughput.admit(size, len(publication.messages)):
            stats.throttled += 1
            self.session.settle(transfer, frames.rejected(SERVER_BUSY, _SERVER_BUSY_TEXT))
            return
        (self._partition or self._hub.route(publication.partition_key)).append(publication)
        stats.events += len(publication.messages)
        stats.bytes += size
        self._acknowledge(transfer, fault)

    def _fault(self, *, mid_message: bool) -> Fault | None:
        return self.namespace.faults.take(
            "publish",
            hub=self._hub.name,
            partition=self._partition.id if self._partition else None,
            mid_message=mid_message,
        )

    def _fails_unstored(self, transfer: frames.Frame, fault: Fault) -> bool:
        """Act out a fault that keeps the publication from being stored; False if it is not one."""
        session = self.session
        match fault.action:
            case "reject":
                self.namespace.stats.rejected += 1
                session.settle(transfer, frames.rejected(*fault.error))
            case "release":
                session.settle(transfer, frames.RELEASED)
            case "modify":
                session.settle(transfer, frames.MODIFIED)
            case "detach":
                session.detach(self, *fault.error)
            case "end":
                session.send(frames.Performative.END, [frames.error(*fault.error)])
                session.end()
            case "close":
                session.wire.close(frames.error(*fault.error))
            case "drop":
                session.wire.abort()
            case _:
                return False
        return True

    def _acknowledge(self, transfer: frames.Frame, fault: Fault | None) -> None:
        """Answer for what is stored, late or not at all when a fault says so."""
        accept, delay_s = partial(self._accept, transfer), self.namespace.latency_s
        match fault.action if fault else None:
            case "ack_lost":
                self.session.wire.abort()
                return
            case "no_ack":
                return
            case "hold":
                self.namespace.held.add(accept)
                return
            case "delay" if fault:
                delay_s = fault.delay
        if delay_s:
            self.session.wire.loop.call_later(delay_s, accept)
        else:
            accept()

    def _accept(self, transfer: frames.Frame) -> None:
        self.namespace.stats.accepted += 1
        self.session.settle(transfer, frames.ACCEPTED)


class Reader(Link):
    """Sends a partition's events to a client; ValueError where it asks for a position in unknown words."""

    def __init__(self, session: Session, attach: Attach, partition: Partition) -> None:
        super().__init__(session, attach)
        self.next_sequence_number = partition.position_of(attach.selector)
        self._partition = partition
        self._credit = 0

    def opened(self) -> None:
        """Take the partition over, or leave it to a reader with a higher epoch."""
        group, epoch = self.attach.group, self.attach.epoch
        rivals = [each for each in self._partition.readers if each.attach.group == group]
        owners = [each.attach.epoch for each in rivals if each.attach.epoch is not None]
        if owners and (epoch is None or max(owners) > epoch):
            self.session.detach(self, _STOLEN, "A receiver with a higher epoch exists")
            return
        if epoch is not None:
            for rival in rivals:
                what = f"New receiver with higher epoch of '{epoch}' is created"
                rival.session.detach(rival, _STOLEN, what)
        self._partition.readers.add(self)

    def credited(self, credit: int) -> None:
        """Send as many events as the client has now room for."""
        self._credit = credit
        if self in self._partition.readers:
            self.pump()

    def pump(self) -> None:
        """Send what is stored and not yet sent, as far as credit goes."""
        events = self._partition.events
        settled = self.attach.settle_modes[0] == _SETTLED
        while self._credit > 0 and self.next_sequence_number < len(events):
            event = events[self.next_sequence_number]
            self.next_sequence_number += 1
            self._credit -= 1
            self.session.transfer(self, event.as_delivered(), settled=settled)
            self.namespace.stats.delivered += 1

    def closed(self) -> None:
        """Leave the partition."""
        self._partition.readers.discard(self)
