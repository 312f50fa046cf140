"""A stand-in for Azure Event Hubs that the unmodified azure-eventhub SDK talks to.

It speaks the part of AMQP 1.0 that the SDK uses, over TCP, TLS and WebSockets, on 127.0.0.1 only:
publishing (single events and batches), reading from a position, tokens, hub and partition
properties. Publications are stored before they are acknowledged, and fault rules break that in
the ways a network and a service do. Use `EventHubs` in a test, or `python -m local.eventhubs`
as a process. Why it is our own: docs/adr/0007-our-own-amqp-stand-in.md.
"""

from __future__ import annotations

from local.eventhubs.amqp import AmqpError
from local.eventhubs.faults import Fault, Faults
from local.eventhubs.links import SERVER_BUSY
from local.eventhubs.message import StoredEvent
from local.eventhubs.namespace import Stats
from local.eventhubs.server import EventHubs

__all__ = ["SERVER_BUSY", "AmqpError", "EventHubs", "Fault", "Faults", "Stats", "StoredEvent"]
