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

from local.rig import HUB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.eventhub import EventDataBatch

# AMQP's data section, whose length takes four bytes: what stands before every body.
_DATA = b"\x00\x53\x75\xb0"
_OVERHEAD = len(_DATA) + 4 + 8  # that, the length, and what the SDK reckons for a message
_GZIP = 31
_TIMEOUT_S = 60.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured program has done, and what that took."""

    events: int  # published and, by the collector, acknowledged and written down
    bytes: int  # of all records
    contents: int  # delivered
    problem: str = ""  # why this is no figure, "" where it is one
    cpu_s: float = 0.0  # of its process, all threads
    wall_s: float = 0.0
    idle_mb: float = 0.0  # resident before
    peak_mb: float = 0.0  # the most that the process has had resident


class Loop:
    """Collects contents by their addresses; batches go on over the end of a content, which spares half-empty ones."""

    def __init__(self, settings: dict[str, str], token: str) -> None:
        from azure.eventhub import EventHubProducerClient, TransportType

        self.tenant_id, self.ca_file = settings["M365_TENANT_ID"], settings["M365_CA_FILE"]
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.producer = EventHubProducerClient.from_connection_string(
            settings["M365_EVENTHUB_CONNECTION_STRING"],
            eventhub_name=HUB,
            custom_endpoint_address=settings["M365_EVENTHUB_ENDPOINT"],
            connection_verify=self.ca_file,
            transport_type=TransportType.Amqp,
        )

    def collect(self, uris: list[str]) -> Reading:
        """Fetch and publish all of them."""
        self.batch = self.producer.create_batch()
        events, size = 0, 0
        for uri in uris:
            added, length = self.publish(uri)
            events, size = events + added, size + length
        if len(self.batch):
            self.send()
        return Reading(events=events, bytes=size, contents=len(uris))

    def publish(self, uri: str) -> tuple[int, int]:
        """Fetch one and put its records into batches; returns how many, and the sum of their sizes."""
        raise NotImplementedError

    def send(self) -> None:
        """Send the batch, and begin another one."""
        self.producer.send_batch(self.batch)
        self.batch = self.producer.create_batch()

    def close(self) -> None:
        """Close the connections."""
        self.session.close()
        self.producer.close()


class BareLoop(Loop):
    """The ceiling: fetch, inflate, cut, and append bytes that need no more encoding to the SDK's own batch.

    One thread, which costs the least: nothing is handed over and nobody waits for a lock.
    """

    def __init__(self, settings: dict[str, str], token: str) -> None:
        super().__init__(settings, token)
        self.session.trust_env = False
        self.session.verify = self.ca_file
        self.session.headers["Accept-Encoding"] = "gzip"
        self._records = msgspec.json.Decoder(list[msgspec.Raw])
        check_framing()

    def publish(self, uri: str) -> tuple[int, int]:
        """Append the records as they are."""
        answer = self.session.get(uri, stream=True, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        body = isal_zlib.decompress(answer.raw.read(decode_content=False), _GZIP)
        records, rest = iter(self._records.decode(body)), None
        events = size = 0
        while True:
            added, length, rest = fill(self.batch, records, rest)
            events, size = events + added, size + length
            if rest is None:
                return events, size
            self.send()


def fill(
    batch: EventDataBatch, records: Iterator[msgspec.Raw], first: msgspec.Raw | None = None
) -> tuple[int, int, msgspec.Raw | None]:
    """Append records of 256 bytes or more to a batch, already encoded; returns number, size and what does not fit."""
    private: Any = batch
    data, room = private._message[5], batch.max_size_in_bytes - private._size
    added = size = 0
    rest = None
    for record in records if first is None else itertools.chain((first,), records):
        view = memoryview(record)
        length = view.nbytes
        if room < length + _OVERHEAD:
            rest = record
            break
        room -= length + _OVERHEAD
        data.append(b"".join((_DATA, length.to_bytes(4, "big"), view)))
        added += 1
        size += length
    private._size = batch.max_size_in_bytes - room
    private._count += added
    private._internal_events = range(private._count)
    return added, size, rest


def check_framing() -> None:
    """Make sure that what ``fill`` appends is what the SDK would have sent."""
    from azure.eventhub import EventData, EventDataBatch

    bodies = [b'"%b"' % (b"x" * length) for length in (300, 1500, 70_000)]
    theirs: Any = EventDataBatch(max_size_in_bytes=1 << 20)
    ours: Any = EventDataBatch(max_size_in_bytes=1 << 20)
    for body in bodies:
        theirs.add(EventData(body))
    fill(ours, iter(msgspec.Raw(body) for body in bodies))
    same = [bytes(each) for each in theirs._message[5]] == ours._message[5]
    if not same or len(theirs) != len(ours) or theirs.size_in_bytes != ours.size_in_bytes:
        raise RuntimeError("this release of azure-eventhub frames events in another way")


class PlainLoop(Loop):
    """What one would write first: ``json`` in and out, one ``EventData`` a record with the collector's properties."""

    def publish(self, uri: str) -> tuple[int, int]:
        """Write each record anew."""
        from azure.eventhub import EventData

        answer = self.session.get(uri, verify=self.ca_file, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        records, content_id, size = answer.json(), uri.rpartition("/")[2], 0
        for record in records:
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
                self.batch.add(event)
            except ValueError:
                self.send()
                self.batch.add(event)
            size += len(body)
        return len(records), size
