"""The loops beside the collector: the least that has to be done, and what one would write first.

All fetch the same contents and publish the same records to the same hub; none keeps any state.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import requests
from isal import isal_zlib

from local.rig import HUB

# AMQP's data section, whose length takes four bytes: what stands before every body.
_DATA = b"\x00\x53\x75\xb0"
_HEAD_BYTES = len(_DATA) + 4
SDK_BYTES = 8
"""What the SDK reckons for a message, beside the message."""
_GZIP = 31
_TIMEOUT_S = 60.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured program has done, and what that took."""

    events: int  # published and, by the collector, acknowledged and written down
    bytes: int  # of all records
    contents: int  # delivered
    requests: int = 0  # to the tenant
    storage_operations: int = 0
    log_bytes: int = 0  # as a function app logs
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
        self.begin()

    def collect(self, uris: list[str]) -> Reading:
        """Fetch and publish all of them."""
        events, sizes = zip(*map(self.publish, uris), strict=True)
        self.send()
        return Reading(events=sum(events), bytes=sum(sizes), contents=len(uris))

    def publish(self, uri: str) -> tuple[int, int]:
        """Fetch one and put its records into batches; returns how many, and the sum of their sizes."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin a batch."""
        self.batch = self.producer.create_batch()

    def send(self) -> None:
        """Send the batch, and begin another one."""
        self.producer.send_batch(self.batch)
        self.begin()


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

    def publish(self, uri: str) -> tuple[int, int]:
        """Append the records as they are."""
        answer = self.session.get(uri, stream=True, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        body = isal_zlib.decompress(answer.raw.read(decode_content=False), _GZIP)
        sections = self.sections(uri, body)
        for section in sections:
            if self._room < len(section) + SDK_BYTES:
                self.send()
            self._room -= len(section) + SDK_BYTES
            self._sections.append(section)
        # A compact array: two brackets, and a comma between two records.
        return len(sections), len(body) - len(sections) - 1

    def sections(self, _uri: str, body: bytes) -> list[bytes]:
        """What is appended for each record of a content."""
        return [section_of(record) for record in self._records.decode(body)]

    def begin(self) -> None:
        """Begin a batch that is filled past the SDK's own way, which would encode."""
        super().begin()
        private: Any = self.batch
        self._sections = private._message[5]
        self._room = self.batch.max_size_in_bytes - self.batch.size_in_bytes

    def send(self) -> None:
        """Tell the batch how much there is in it, and send it."""
        self.batch._count = len(self._sections)
        super().send()


class FullLoop(BareLoop):
    """The ceiling with the collector's properties: encoded once a content, by the SDK, each id put into its slot."""

    def __init__(self, settings: dict[str, str], token: str) -> None:
        super().__init__(settings, token)
        self._ids = msgspec.json.Decoder(list[_Identified])

    def sections(self, uri: str, body: bytes) -> list[bytes]:
        """Find each record and its id, and put the bytes together."""
        ids, records = self._ids.decode(body), self._records.decode(body)
        heads = {
            size: head_of(self.tenant_id, uri, size) for size in {len(each.Id) for each in ids}
        }
        return [
            b"".join((heads[len(each.Id)], each.Id.encode(), section_of(record)))
            for each, record in zip(ids, records, strict=True)
        ]


class _Identified(msgspec.Struct):
    Id: str


def head_of(tenant_id: str, uri: str, length: int) -> bytes:
    """What the SDK writes of an event of 256 bytes or more up to its id of that length; then comes its body."""
    from azure.eventhub import EventData, EventDataBatch

    event = EventData(b"x" * 300)
    event.content_type = "application/json"
    event.properties = properties(tenant_id, uri, "#" * length)
    batch: Any = EventDataBatch(max_size_in_bytes=1 << 20)
    batch.add(event)
    head = bytes(batch._message[5][0])[: -300 - _HEAD_BYTES]
    slot = b"#" * length
    if not head.endswith(slot):
        raise RuntimeError("the SDK writes properties in another order than it is given them")
    return head.removesuffix(slot)


def properties(tenant_id: str, uri: str, event_id: str) -> dict[str | bytes, Any]:
    """The properties that the collector gives an event."""
    return {
        "connection": "bench",
        "tenant_id": tenant_id,
        "source": "Audit.Exchange",
        "content_id": uri.rpartition("/")[2],
        "event_id": event_id,
    }


def section_of(record: msgspec.Raw) -> bytes:
    """What the SDK would make of a record of 256 bytes or more."""
    view = memoryview(record)
    return b"".join((_DATA, view.nbytes.to_bytes(4, "big"), view))


class PlainLoop(Loop):
    """What one would write first: ``json`` in and out, one ``EventData`` a record with the collector's properties."""

    def publish(self, uri: str) -> tuple[int, int]:
        """Write each record anew."""
        from azure.eventhub import EventData

        answer = self.session.get(uri, verify=self.ca_file, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        records, size = answer.json(), 0
        for record in records:
            body = json.dumps(record)
            event = EventData(body)
            event.properties = properties(self.tenant_id, uri, record["Id"])
            try:
                self.batch.add(event)
            except ValueError:
                self.send()
                self.batch.add(event)
            size += len(body)
        return len(records), size
