"""Opening links: which kind a client asks for, and whether it gets it.

A client that has put no valid token, or names a hub or partition that does not exist, is refused
with the condition the service uses.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Final

from local.eventhubs.faults import Fault
from local.eventhubs.frames import Attach
from local.eventhubs.hub import Partition
from local.eventhubs.nodes import ReplyLink, RequestLink
from local.eventhubs.publishing import PublisherLink
from local.eventhubs.reading import ReaderLink
from local.eventhubs.session import Link, Session

_NODES: Final = frozenset({"$cbs", "$management"})


class Refused(Exception):
    """A link is not opened; the text is for the client."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Entity:
    """What a link's address names: `hub[/ConsumerGroups/group][/Partitions/id]`, or a node."""

    address: str
    hub: str
    group: str | None
    partition: str | None

    @classmethod
    def of(cls, attach: Attach) -> Entity:
        """Read the address a client wants to send to or receive from; it may be a URL."""
        address = attach.source_address if attach.client_receives else attach.target_address
        path = (address or "").strip("/")
        if "://" in path:
            path = urllib.parse.urlsplit(path).path.strip("/")
        hub, *rest = path.split("/")
        names = dict(zip(rest[::2], rest[1::2], strict=False))
        return cls(path, hub, names.get("ConsumerGroups"), names.get("Partitions"))

    @property
    def is_node(self) -> bool:
        """Whether it is a request node, which anyone may open and faults leave alone."""
        return self.address in _NODES


def link_for(session: Session, attach: Attach, entity: Entity, fault: Fault | None) -> Link:
    """Make the link a client asks for, without opening it.

    Raises:
        Refused: the client may not have it, it does not exist, or a fault says no.
    """
    if entity.is_node:
        kind = ReplyLink if attach.client_receives else RequestLink
        return kind(session, attach, entity.address)
    if not session.wire.authorized:
        raise Refused(
            "amqp:unauthorized-access",
            "Unauthorized access. 'Send' or 'Listen' claim(s) are required.",
        )
    if fault is not None and fault.action == "refuse":
        raise Refused(*fault.error)
    if attach.client_receives:
        return _reader(session, attach, entity)
    return _publisher(session, attach, entity, gives_credit=fault is None)


def _publisher(
    session: Session, attach: Attach, entity: Entity, *, gives_credit: bool
) -> PublisherLink:
    hub = session.wire.namespace.hubs.get(entity.hub)
    if hub is None:
        raise _not_found(entity)
    partition = None if entity.partition is None else _partition(session, entity)
    return PublisherLink(session, attach, entity.address, hub, partition, gives_credit=gives_credit)


def _reader(session: Session, attach: Attach, entity: Entity) -> ReaderLink:
    partition = _partition(session, entity)
    try:
        return ReaderLink(session, attach, entity.address, partition, entity.group)
    except ValueError as problem:
        raise Refused("amqp:invalid-field", str(problem)) from problem


def _partition(session: Session, entity: Entity) -> Partition:
    hub = session.wire.namespace.hubs.get(entity.hub)
    if hub is None:
        raise _not_found(entity)
    if entity.partition is None:
        raise Refused("amqp:not-allowed", f"'{entity.address}' names no partition to read from.")
    try:
        return hub.partition(entity.partition)
    except KeyError:
        raise Refused(
            "com.microsoft:argument-out-of-range",
            "The specified partition is invalid for an EventHub partition sender or receiver: "
            f"{entity.partition}",
        ) from None


def _not_found(entity: Entity) -> Refused:
    return Refused("amqp:not-found", f"The messaging entity '{entity.hub}' could not be found.")
