"""The two loops beside the collector: the least that has to be done, and what one would write first.

Both fetch the same contents and publish the same records to the same hub; neither keeps any state.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import msgspec
import requests
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.eventhub import EventDataBatch

_DATA = b"\x00\x53\x75\xb0"
"""AMQP's data section, whose length takes four bytes: what stands before every body."""

_OVERHEAD = len(_DATA) + 4 + 8
"""That, the length, and what the SDK reckons for a message in a batch."""

_GZIP = 31
_TIMEOUT_S = 60.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured program has done, and what that took.

    Attributes:
        events: events published and, by the collector, acknowledged and written down.
        bytes: sum of the records' sizes.
        contents: contents delivered.
        problem: why this is no figure, "" where it is one.
        cpu_s: CPU seconds of its process, all threads.
        wall_s: seconds.
        idle_mb: resident memory before.
        peak_mb: the most memory that the process has had resident.
    """

    events: int
    bytes: int
    contents: int
    problem: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    idle_mb: float = 0.0
    peak_mb: float = 0.0


def producer_options(hub: dict[str, str], ca_file: str) -> dict[str, Any]:
    """What the SDK takes to speak TLS with a hub on a port of its own."""
    from azure.eventhub import TransportType

    return {
        "custom_endpoint_address": hub["endpoint"],
        "connection_verify": ca_file,
        "transport_type": TransportType.Amqp,
    }


class Loop:
    """Collects contents by their addresses; batches go on over the end of a content, which spares half-empty ones."""

    def __init__(self, settings: dict[str, str], hub: dict[str, str], token: str) -> None:
        from azure.eventhub import EventHubProducerClient

        self.tenant_id, self.ca_file = settings["M365_TENANT_ID"], settings["M365_CA_FILE"]
        self.headers = {"Authorization": f"Bearer {token}"}
        self.session = requests.Session()
        self.producer = EventHubProducerClient.from_connection_string(
            hub["connection_string"],
            eventhub_name=hub["name"],
            **producer_options(hub, self.ca_file),
        )

    def collect(self, uris: list[str]) -> Reading:
        """Fetch and publish all of them."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections."""
        self.session.close()
        self.producer.close()


class BareLoop(Loop):
    """The ceiling: fetch, inflate, cut, and append bytes that need no more encoding to the SDK's own batch.

    One thread, which costs the least: nothing is handed over and nobody waits for a lock.
    """

    def __init__(self, settings: dict[str, str], hub: dict[str, str], token: str) -> None:
        super().__init__(settings, hub, token)
        self.session.trust_env = False
        self.session.verify = self.ca_file
        self.session.headers.update({**self.headers, "Accept-Encoding": "gzip"})
        self._records = msgspec.json.Decoder(list[msgspec.Raw])
        check_framing()

    def collect(self, uris: list[str]) -> Reading:
        """Fetch and publish all of them."""
        events = size = 0
        batch = self.producer.create_batch()
        for uri in uris:
            answer = self.session.get(uri, stream=True, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            body = isal_zlib.decompress(answer.raw.read(decode_content=False), _GZIP)
            records, rest = iter(self._records.decode(body)), None
            while True:
                added, length, rest = fill(batch, records, rest)
                events, size = events + added, size + length
                if rest is None:
                    break
                self.producer.send_batch(batch)
                batch = self.producer.create_batch()
        if len(batch):
            self.producer.send_batch(batch)
        return Reading(events=events, bytes=size, contents=len(uris))


def fill(
    batch: EventDataBatch, records: Iterator[msgspec.Raw], first: msgspec.Raw | None = None
) -> tuple[int, int, msgspec.Raw | None]:
    """Append records of 256 bytes or more to a batch, already encoded, until one does not fit.

    Returns:
        How many were added, the sum of their sizes, and the one that does not fit.
    """
    private: Any = batch
    data, room = private._message[5], batch.max_size_in_bytes - private._size
    added = size = 0
    rest = None
    for record in records if first is None else itertools.chain((first,), records):
        view = memoryview(record)
        length = view.nbytes
        room -= length + _OVERHEAD
        if room < 0:
            room += length + _OVERHEAD
            rest = record
            break
        data.append(b"".join((_DATA, length.to_bytes(4, "big"), view)))
        added += 1
        size += length
    private._size = batch.max_size_in_bytes - room
    private._count += added
    private._internal_events = range(private._count)
    return added, size, rest


def check_framing() -> None:
    """Make sure that what ``fill`` appends is what the SDK would have sent.

    Raises:
        RuntimeError: this release of the SDK encodes batches in another way.
    """
    from azure.eventhub import EventData, EventDataBatch

    bodies = [b'"%b"' % (b"x" * length) for length in (300, 1500, 70_000)]
    theirs, ours = (EventDataBatch(max_size_in_bytes=1 << 20) for _ in range(2))
    for body in bodies:
        theirs.add(EventData(body))
    fill(ours, iter(msgspec.Raw(body) for body in bodies))
    a: Any = theirs
    b: Any = ours
    same = [bytes(each) for each in a._message[5]] == b._message[5]
    if not same or len(theirs) != len(ours) or theirs.size_in_bytes != ours.size_in_bytes:
        raise RuntimeError("this release of azure-eventhub frames events in another way")


class PlainLoop(Loop):
    """What one would write first: ``json`` in and out, one ``EventData`` a record with the collector's properties."""

    def collect(self, uris: list[str]) -> Reading:
        """Fetch and publish all of them."""
        from azure.eventhub import EventData

        events = size = 0
        batch = self.producer.create_batch()
        for uri in uris:
            content_id = uri.rpartition("/")[2]
            answer = self.session.get(
                uri, headers=self.headers, verify=self.ca_file, timeout=_TIMEOUT_S
            )
            answer.raise_for_status()
            for record in answer.json():
                body = json.dumps(record)
                event = EventData(body)
                event.properties = {
                    "connection": "bench",
                    "tenant_id": self.tenant_id,
                    "source": "Audit.Exchange",
                    "content_id": content_id,
                    "event_id": record["Id"],
                }
                try:
                    batch.add(event)
                except ValueError:
                    self.producer.send_batch(batch)
                    batch = self.producer.create_batch()
                    batch.add(event)
                events += 1
                size += len(body)
        if len(batch):
            self.producer.send_batch(batch)
        return Reading(events=events, bytes=size, contents=len(uris))
